import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet18_Weights, get_model

from interpretable.errors import ModelError
from interpretable.models import InterpretableCNN, small
from interpretable.models.weights import build


@pytest.fixture
def donor() -> nn.Module:
    torch.manual_seed(11)
    return small(4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_file_gives_every_tensor(donor: nn.Module, suffix: str, tmp_path: Path) -> None:
    path = str(tmp_path / f"donor{suffix}")
    save_file(donor.state_dict(), path) if suffix == ".safetensors" else torch.save(donor.state_dict(), path)
    net = build("small", 4, path)
    expected = donor.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in net.state_dict().items())
    cut = InterpretableCNN("small", 4, weights=path).state_dict()
    assert torch.equal(cut["trunk.features.13.weight"], expected["features.13.weight"])
    assert torch.equal(cut["head.fc.weight"], expected["fc.weight"])


def test_the_last_layer_starts_afresh_for_another_number_of_classes(donor: nn.Module) -> None:
    torch.save(donor.state_dict(), "donor.pth")
    net = build("small", 7, "donor.pth")
    assert net.fc.weight.shape == (7, 96)
    assert 0 < net.fc.weight.std() < 1
    assert torch.equal(net.features[0].weight, donor.features[0].weight)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.pop("features.0.weight"), "it lacks features.0.weight"),
        (lambda state: state.update({"layer9.weight": torch.ones(1)}), "it has unknown layer9.weight"),
        (
            lambda state: state.update({"features.3.weight": torch.ones(1, 2)}),
            "it has another shape for features.3.weight",
        ),
        (lambda state: state.update({"fc.weight": torch.ones(4, 64)}), "it has another shape for fc.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_sentence(donor: nn.Module, change: object, sentence: str) -> None:
    state = dict(donor.state_dict())
    change(state)
    torch.save(state, "wrong.pth")
    with pytest.raises(ModelError, match=sentence) as caught:
        build("small", 4, "wrong.pth")
    assert "wrong.pth of small" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_networks_file_is_refused_briefly() -> None:
    torch.save(get_model("squeezenet1_1", num_classes=3).state_dict(), "squeezenet.pth")
    with pytest.raises(ModelError, match="is it another network's file") as caught:
        build("resnet18", 3, "squeezenet.pth")
    assert len(str(caught.value)) < 500


class Arbitrary:
    """Something that only unpickling could restore."""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"not a file of tensors", "cannot be read safely"),
        (b"", "cannot be read safely"),
        (Arbitrary(), "cannot be read safely"),
        (
            {"state_dict": {"fc.weight": torch.ones(2)}, "epoch": 3},
            "got entries state_dict, epoch; save net.state_dict",
        ),
        ({3: torch.ones(2)}, "got entries 3; save net.state_dict"),
        ([torch.ones(2)], "got list; save net.state_dict"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_without_a_state_dict_is_refused(content: object, sentence: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    sentence = "cannot be read safely" if suffix == ".safetensors" else sentence
    with pytest.raises(ModelError, match=sentence) as caught:
        build("small", 4, str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("resnet18", "must be one of IMAGENET1K_V1, DEFAULT or a state-dict file, got 'IMAGENET22K'"),
        ("small", "must be a state-dict file, got 'IMAGENET22K'"),
    ],
)
def test_unknown_weights_name_the_choices(key: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=re.escape(sentence)):
        build(key, 4, "IMAGENET22K")


@pytest.mark.parametrize("name", ["DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_named_weights_are_torchvisions_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    published = get_model("resnet18").state_dict()
    asked = []

    def deliver(self: ResNet18_Weights, **_: object) -> dict[str, torch.Tensor]:
        asked.append(self.name)
        return dict(published)

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", deliver)
    kept, replaced = build("resnet18", 1000, name), build("resnet18", 3, name)
    assert asked == ["IMAGENET1K_V1"] * 2
    assert all(torch.equal(tensor, published[key]) for key, tensor in kept.state_dict().items())
    assert torch.equal(replaced.layer4[1].conv2.weight, published["layer4.1.conv2.weight"])
    assert replaced.fc.weight.shape == (3, 512)


def test_a_download_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ResNet18_Weights, **_: object) -> None:
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fail)
    with pytest.raises(
        ModelError, match=r"could not be downloaded .*; go online, or pass the path of a state-dict file"
    ):
        build("resnet18", 3, "DEFAULT")


def test_the_layer_names_of_old_densenet_files_are_read() -> None:
    state = get_model("densenet121", num_classes=2).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value for name, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, "old.pth")
    net = build("densenet121", 2, "old.pth")
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_an_auxiliary_classifier_in_inceptions_file_is_left_out() -> None:
    net = build("inception_v3", 2)
    state = net.state_dict() | {"AuxLogits.fc.weight": torch.ones(2, 768)}
    torch.save(state, "inception.pth")
    loaded = build("inception_v3", 2, "inception.pth")
    assert torch.equal(loaded.fc.weight, net.fc.weight)
    assert loaded.transform_input
    assert not net.transform_input
