import pytest
import torch
from explained_nets import CLASSES, FunctionalEnd, Holder, chain, drawn_images, drawn_weights, hooks, interpretable
from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.attribution.grad_cam import GradCAM
from interpretable.attribution.guided_grad_cam import GuidedGradCAM
from interpretable.attribution.rectifiers import GuidedBackprop
from interpretable.errors import AttributionError, ModelError
from interpretable.models import InterpretableCNN
from interpretable.receptive_field import theoretical_receptive_field
from interpretable.upsampling import upsample

same = {"rtol": 0, "atol": 1e-12}


class Net(nn.Module):
    """A head whose gradients differ between images and cells, above a layer that an activation follows."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.relu = nn.ReLU(inplace=inplace)
        self.top = nn.Conv2d(4, 6, 3)
        self.hidden, self.fc = nn.Linear(6 * 5 * 7, 8), nn.Linear(8, CLASSES)
        self.unused = nn.Conv2d(3, 4, 3)
        self.passes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        x = self.relu(self.top(self.relu(self.stem(x))))
        return self.head(x)

    def head(self, x: Tensor) -> Tensor:
        return self.fc(self.hidden(x.flatten(1)).relu())


def net(inplace: bool = False) -> Net:
    torch.manual_seed(1)
    return drawn_weights(Net(inplace))


def literal(model: Net, images: Tensor, labels: list[int], layer: str) -> Tensor:
    """One image after the other, from the formula."""
    maps = []
    for image, label in zip(images, labels, strict=True):
        stem = model.stem(image[None])
        if layer == "stem":
            stem = stem.detach().requires_grad_()
        top = model.top(stem.relu())
        if layer == "top":
            top = top.detach().requires_grad_()
        last = top.relu()
        if layer == "relu":
            last = last.detach().requires_grad_()
        read = {"stem": stem, "top": top, "relu": last}[layer]
        (gradient,) = torch.autograd.grad(model.head(last)[0, label], read)
        weights = [gradient[0, k].mean() for k in range(read.shape[1])]
        maps.append(sum(weight * read[0, k].detach() for k, weight in enumerate(weights)))
    return torch.stack(maps)[:, None]


@pytest.mark.parametrize("inplace", [False, True], ids=["copies", "in place"])
@pytest.mark.parametrize("layer", ["stem", "top", "relu"])
def test_a_map_is_the_formula_also_below_a_rectifier_in_place_and_of_a_layer_that_runs_twice(
    layer: str, inplace: bool
) -> None:
    images, labels = drawn_images(), [4, 0, 2]
    expected = literal(net(), images, labels, layer)
    found = GradCAM(layer=layer, batch_size=2)(net(inplace), images, labels)
    torch.testing.assert_close(found, expected, **same)
    assert (found < 0).any()


def test_the_default_layer_is_the_last_that_gives_maps() -> None:
    images = drawn_images()
    torch.testing.assert_close(GradCAM()(net(), images, 1), GradCAM(layer="relu")(net(), images, 1), **same)
    # Pooling to 1×1 gives maps no longer; of a container and its last layer the maps are the same.
    model = chain()
    torch.testing.assert_close(GradCAM()(model, images, 1), GradCAM(layer="features.4")(model, images, 1), **same)


@pytest.mark.parametrize("part_layers", [0, 1, 2])
def test_the_default_layer_of_an_interpretable_network_is_its_top_part_layer(part_layers: int) -> None:
    images, model = drawn_images(), interpretable(part_layers=part_layers)
    top = f"part_filters.{part_layers - 1}" if part_layers else "trunk"
    expected = GradCAM(layer=top)(model, images, 1)
    torch.testing.assert_close(GradCAM()(model, images, 1), expected, **same)
    torch.testing.assert_close(GradCAM()(Holder(model), images, 1), expected, **same)
    torch.testing.assert_close(GradCAM(layer=f"net.{top}")(Holder(model), images, 1), expected, **same)


def test_the_rectified_map_is_the_signed_one_without_what_is_negative_and_rectified_before_it_is_upsampled() -> None:
    images, model = drawn_images(), net()
    signed = GradCAM()(model, images, 1)
    assert (signed < 0).any()
    torch.testing.assert_close(GradCAM(relu=True)(model, images, 1), signed.clamp(min=0), **same)
    expected = F.interpolate(signed.clamp(min=0), (16, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(GradCAM(relu=True, upsample=True)(model, images, 1), expected, **same)


def test_layers_of_an_interpretable_network_are_upsampled_where_their_units_lie() -> None:
    images, model = drawn_images(), interpretable(part_layers=2)
    fields = {
        "part_filters.0": model.receptive_fields[0],
        "part_filters.1": model.receptive_fields[1],
        "part_filters.1.conv": model.receptive_fields[1],
        "trunk.features.0": theoretical_receptive_field(model.trunk.features[0]),
        "trunk": theoretical_receptive_field(model.trunk),
    }
    for layer, field in fields.items():
        coarse = GradCAM(layer=layer)(model, images, torch.tensor([[0, 1]] * 3))
        fine = GradCAM(layer=layer, upsample=True)(model, images, torch.tensor([[0, 1]] * 3))
        assert fine.shape == (3, 2, 1, 16, 20)
        for column in (0, 1):
            expected = upsample(coarse[:, column], (16, 20), field, (16, 20))
            torch.testing.assert_close(fine[:, column], expected, **same)
    assert not torch.allclose(expected, F.interpolate(coarse[:, 1], (16, 20), mode="bilinear"))


def test_maps_whose_units_have_no_known_place_are_upsampled_as_equal_cells() -> None:
    features = nn.Sequential(nn.Conv2d(3, 4, (3, 1), padding=(1, 0)), nn.ReLU())
    module = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).double()
    model = InterpretableCNN.from_module(module, "0", drawn_images(1), part_layers=0).eval()
    images = drawn_images()
    coarse, fine = (GradCAM(upsample=fine)(model, images, 1) for fine in (False, True))
    torch.testing.assert_close(fine, F.interpolate(coarse, (16, 20), mode="bilinear"), **same)


class NoGradient(torch.autograd.Function):
    """Passes values on, and refuses a backward pass."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        raise AssertionError("a backward pass below the layer")


class Walled(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(NoGradient.apply(x.clone().requires_grad_()))


def test_gradients_are_computed_down_to_the_layer_and_passes_are_one_for_a_chunk_and_one_for_the_default() -> None:
    torch.manual_seed(1)
    model, images = drawn_weights(Walled()), drawn_images()
    found = GradCAM(layer="top", batch_size=2)(model, images, [[0, 1, 2]] * 3)
    assert model.passes == [2, 1]
    torch.testing.assert_close(found[:, 2], GradCAM(layer="top")(net(), images, 2), **same)
    model.passes.clear()
    GradCAM(batch_size=3)(model, images, [[0, 1, 2]] * 3)
    assert model.passes == [1, 3]


class Cut(FunctionalEnd):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(x)).mean((2, 3)).detach())


def test_layers_that_cannot_explain_are_refused_in_a_sentence_and_leave_no_hook() -> None:
    images = drawn_images()
    model = chain()
    with pytest.raises(ModelError, match=r"got 'feature.4'; the closest are features\.4"):
        GradCAM(layer="feature.4")(model, images, 0)
    with pytest.raises(ModelError, match="got ''"):
        GradCAM(layer="")(model, images, 0)
    with pytest.raises(AttributionError, match=r"larger than 1×1, got shape \(3, 6, 1, 1\) from pool"):
        GradCAM(layer="pool")(model, images, 0)
    assert hooks(model) == 0
    with pytest.raises(AttributionError, match="got nothing, for it did not run from unused"):
        GradCAM(layer="unused")(net(), images, 0)
    with pytest.raises(AttributionError, match="must depend on the maps of relu by operations that have gradients"):
        GradCAM()(Cut().double(), images, 0)
    with pytest.raises(AttributionError, match="must have a layer that gives maps"):
        GradCAM()(nn.Sequential(nn.Flatten(), nn.Linear(960, 5)).double(), images, 0)
    with pytest.raises(AttributionError, match="from 0 to 4"):
        GradCAM()(model, images, 5)


@pytest.mark.parametrize("model", [net(True), chain(), interpretable()], ids=["net", "chain", "interpretable"])
def test_guided_grad_cam_is_guided_backpropagation_times_the_rectified_map(model: nn.Module) -> None:
    images, labels = drawn_images(), torch.tensor([[0, 3], [1, 2], [4, 4]])
    found = GuidedGradCAM()(model, images, labels)
    guided = GuidedBackprop()(model, images, labels)
    expected = guided * GradCAM(relu=True, upsample=True)(model, images, labels)
    torch.testing.assert_close(found, expected, **same)
    assert found.shape == (3, 2, 3, 16, 20)
    assert found.abs().sum() > 0


def test_a_plain_network_gets_what_captum_gives_it() -> None:
    captum = pytest.importorskip("captum.attr")
    images, labels, model = drawn_images(), torch.tensor([4, 0, 2]), net()
    peer = captum.LayerGradCam(model, model.top).attribute(images, labels)
    torch.testing.assert_close(GradCAM(layer="top")(model, images, labels), peer.detach(), **same)
    fine = captum.LayerAttribution.interpolate(peer, (16, 20), interpolate_mode="bilinear")
    torch.testing.assert_close(GradCAM(layer="top", upsample=True)(model, images, labels), fine.detach(), **same)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
def test_a_network_whose_rectifiers_are_layers_used_once_gets_the_guided_grad_cam_of_captum() -> None:
    captum = pytest.importorskip("captum.attr")
    images, labels = drawn_images(), torch.tensor([4, 0, 2])
    model = FunctionalEnd().double().eval()
    leaf = images.clone().requires_grad_()  # or Captum warns
    with pytest.warns(UserWarning, match="backward hooks"):
        peer = captum.GuidedGradCam(model, model.conv).attribute(leaf, labels, interpolate_mode="bilinear")
    torch.testing.assert_close(GuidedGradCAM(layer="conv")(model, images, labels), peer.detach(), **same)
