import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from oracles.part_template import positive_template
from torch import Tensor, nn
from torch.nn import functional as F

import interpretable
from interpretable.errors import ConfigurationError, ModelError
from interpretable.models import InterpretableCNN, export_onnx, export_program, from_module

Runner = Callable[[Tensor], Tensor]


def as_program(net: InterpretableCNN, image_size: int | tuple[int, int]) -> Runner:
    return export_program(net, image_size).module()


def as_onnx(net: InterpretableCNN, image_size: int | tuple[int, int]) -> Runner:
    session = onnxruntime.InferenceSession(export_onnx(net, "net.onnx", image_size))
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def after_a_training_step(net: InterpretableCNN, image_size: int | tuple[int, int]) -> InterpretableCNN:
    """The statistics of the batch normalisations are no longer 0 and 1."""
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    optimizer = torch.optim.SGD(net.train().parameters(), 0.01)
    F.cross_entropy(net(torch.randn(4, 3, *size)), torch.arange(4)).backward()
    optimizer.step()
    return net.eval()


def assert_same_logits(runner: Runner, net: InterpretableCNN, image_size: int | tuple[int, int]) -> None:
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    for batch in (1, 3):
        images = torch.randn(batch, 3, *size)
        with torch.no_grad():
            expected, found = net(images), runner(images)
        assert found.shape == (batch, 4)
        tolerance = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def picture_of_the_masked_map(position: str = "argmax", mask: bool = True) -> InterpretableCNN:
    """Its raw map is the image itself, one channel of 7×9, and its logits are the cells of the masked map."""
    layers = OrderedDict(features=nn.Conv2d(1, 1, 1), flatten=nn.Flatten(), fc=nn.Linear(63, 63))
    for layer in (layers["features"], layers["fc"]):
        layer.weight.data = torch.eye(len(layer.weight)).reshape_as(layer.weight)
        nn.init.zeros_(layer.bias)
    module = nn.Sequential(layers)
    return from_module(module, "features", torch.zeros(1, 1, 7, 9), part_layers=1, mask=mask, position=position)


def blobs_at(cells: list[tuple[int, int]]) -> Tensor:
    """One image per cell: 2 in the cell and 0.5 around, but for a corner that holds 1."""
    images = torch.full((len(cells), 1, 7, 9), 0.5)
    images[:, :, 6, 8] = 1.0
    for image, (row, column) in zip(images, cells, strict=True):
        image[0, row, column] = 2.0
    return images


RECIPE = {"part_layers": 1, "first_layer": "convolution", "norm": True, "head": "linear"}
NETWORKS = [
    ("small", 64, RECIPE),
    *(("small", (64, 72), {"position": p, "part_layers": n}) for p in ("argmax", "centroid") for n in (1, 2)),
    ("resnet18", 97, {"position": "argmax", "part_layers": 2}),
    ("resnet18", 97, {"position": "centroid", "part_layers": 1}),
]
MORE_NETWORKS = [
    ("small", 64, {"part_layers": 0}),
    ("mobilenet_v3_small", 97, {}),
    ("mobilenet_v2", 97, RECIPE | {"frozen": "features.10"}),
    ("convnext_tiny", 112, {}),
]


@pytest.mark.parametrize(
    ("export", "backbone", "image_size", "options"),
    [*((as_onnx, *network) for network in NETWORKS), *((as_program, *network) for network in NETWORKS + MORE_NETWORKS)],
)
def test_exported_logits_are_the_networks_for_other_batch_sizes(export, backbone, image_size, options) -> None:
    net = after_a_training_step(InterpretableCNN(backbone, 4, **options), image_size)
    runner = export(net.train(), image_size)
    assert_same_logits(runner, net.eval(), image_size)


@pytest.mark.parametrize("export", [as_program, as_onnx])
def test_the_mask_is_in_the_graph_and_follows_the_first_peak(export) -> None:
    two_peaks = blobs_at([(5, 1)]).maximum(blobs_at([(2, 6)]))
    images = torch.cat([blobs_at([(0, 0), (3, 4), (2, 7), (6, 0)]), two_peaks, torch.ones(1, 1, 7, 9)])
    cells = [(0, 0), (3, 4), (2, 7), (6, 0), (2, 6), (0, 0)]
    masked = export(picture_of_the_masked_map(), (7, 9))(images)
    plain = export(picture_of_the_masked_map(mask=False), (7, 9))(images)
    templates = torch.tensor([positive_template(7, 9, *cell, 4.0) for cell in cells])
    torch.testing.assert_close(masked, (images[:, 0] * templates.clamp(min=0)).flatten(1))
    assert torch.equal(plain, images.flatten(1))


@pytest.mark.parametrize("export", [as_program, as_onnx])
def test_the_mask_at_the_centroid_is_in_the_graph(export) -> None:
    images = torch.zeros(3, 1, 7, 9)
    images[0, 0, 2, 1] = images[0, 0, 4, 7] = 1.0  # half way: row 3, column 4
    images[1, 0, 1, 2] = images[1, 0, 1, 3] = 1.0  # row 1, column 2.5, which is rounded up
    images[2, 0, 5, 8] = 3.0
    found = export(picture_of_the_masked_map("centroid"), (7, 9))(images)
    templates = torch.tensor([positive_template(7, 9, *cell, 4.0) for cell in [(3, 4), (1, 3), (5, 8)]])
    torch.testing.assert_close(found, (images[:, 0] * templates.clamp(min=0)).flatten(1))


def test_the_gradient_of_a_program_is_the_networks() -> None:
    net = after_a_training_step(InterpretableCNN("small", 4), 64)
    program = export_program(net, 64).module()
    images = torch.randn(3, 3, 64, 64)
    gradients = []
    for network in (net, program):
        x = images.clone().requires_grad_()
        gradients.append(torch.autograd.grad(network(x)[:, 1].sum(), x)[0])
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])


def test_written_files_keep_names_and_logits_and_name_no_folder_of_this_machine() -> None:
    net = InterpretableCNN("small", 4).eval()
    torch.export.save(export_program(net, 64), "net.pt2")
    assert_same_logits(torch.export.load("net.pt2").module(), net, 64)
    assert_same_logits(as_onnx(net, 64), net, 64)
    session = onnxruntime.InferenceSession("net.onnx")
    (images,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape) == ("images", ["batch", 3, 64, 64])
    assert (logits.name, logits.shape) == ("logits", ["batch", 4])
    folders = [str(Path(module.__file__).parents[1]).encode() for module in (interpretable, torch)]
    written = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert set(written) == {"net.pt2", "net.onnx"}
    assert [name for name, content in written.items() for folder in folders if folder in content] == []


def test_a_network_in_channels_last_is_exported_and_left_as_it_was() -> None:
    net = after_a_training_step(InterpretableCNN("small", 4), 64).to(memory_format=torch.channels_last).train()
    net.trunk.eval()
    before = {name: (tensor, tensor.clone(), tensor.stride()) for name, tensor in net.state_dict().items()}
    gradients = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    modes = {name: module.training for name, module in net.named_modules()}
    runner = as_onnx(net, 64)
    after = net.state_dict()
    assert list(after) == list(before)
    for name, (tensor, values, strides) in before.items():
        assert after[name].data_ptr() == tensor.data_ptr()
        assert torch.equal(after[name], values)
        assert after[name].stride() == strides
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert all(torch.equal(parameter.grad, gradients[name]) for name, parameter in net.named_parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert_same_logits(runner, net.eval(), 64)


def test_a_program_keeps_its_parameters_when_the_network_trains_on() -> None:
    net = InterpretableCNN("small", 4).eval()
    program = export_program(net, 64).module()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        for parameter in net.parameters():
            parameter.zero_()
        torch.testing.assert_close(program(images), expected)


def test_a_network_of_half_precision_is_exported_in_it() -> None:
    net = InterpretableCNN("small", 4).eval().to(torch.bfloat16)
    images = torch.randn(3, 3, 64, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(export_program(net, 64).module()(images), net(images))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(monkeypatch) -> None:
    path = Path("deployed", "net.onnx")
    path.parent.mkdir()
    path.write_bytes(b"the old network")

    def half(self: torch.onnx.ONNXProgram, destination: Path) -> None:
        Path(destination).write_bytes(self.model_proto.SerializeToString()[:100])
        assert path.read_bytes() == b"the old network"
        raise OSError("no space left on device")

    monkeypatch.setattr(torch.onnx.ONNXProgram, "save", half)
    with pytest.raises(OSError, match="no space left"):
        export_onnx(picture_of_the_masked_map(), path, (7, 9))
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == b"the old network"


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(package, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    command = re.escape('pip install "interpretable[onnx]"')
    with pytest.raises(ConfigurationError, match=f"got no {package}; .*{command}"):
        export_onnx(InterpretableCNN("small", 4), "net.onnx", 64)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("export", [export_program, lambda net, size: export_onnx(net, "net.onnx", size)])
def test_images_that_are_too_small_are_refused_as_by_the_network(export) -> None:
    with pytest.raises(ModelError, match="at least 7×7, got 4×5 from images of 32×40 px"):
        export(InterpretableCNN("small", 4), (32, 40))
    assert not list(Path().iterdir())


@pytest.mark.parametrize("size", [0, -5, (64,), 64.0, "64", (64, 0)])
def test_a_size_that_is_none_is_refused(size) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"in whole pixels, got {size!r}.")):
        export_program(InterpretableCNN("small", 4), size)


class Brightness(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class PairsOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


class Silent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            raise AssertionError
        return x


@pytest.mark.parametrize("layer", [Brightness(), PairsOnly(), Silent()])
def test_a_network_that_looks_at_its_batch_is_refused_in_a_sentence(layer) -> None:
    layers = OrderedDict(features=nn.Conv2d(3, 4, 1), look=layer, flatten=nn.Flatten(), fc=nn.Linear(256, 2))
    net = from_module(nn.Sequential(layers), "features", torch.zeros(2, 3, 8, 8))
    with pytest.raises(ModelError, match="must take the same steps for every batch") as refusal:
        export_program(net, 8)
    assert "\n" not in str(refusal.value)
