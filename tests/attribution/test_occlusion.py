import pytest
import torch
from explained_nets import CLASSES, drawn_weights
from oracles import occlusion as literal
from torch import Tensor, nn

from interpretable.attribution.occlusion import Occlusion
from interpretable.errors import AttributionError


class Counting(nn.Module):
    """A small network of images of 7×9 pixels that notes how many it is shown, and whether with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 5 * 7, CLASSES)
        self.passes: list[int] = []
        self.graphs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        logits = self.fc(self.conv(x).relu().flatten(1))
        self.graphs += torch.is_grad_enabled()
        return logits


def net() -> Counting:
    torch.manual_seed(2)
    return drawn_weights(Counting())


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 7, 9, dtype=torch.float64)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("window", "stride"), [((3, 2), (2, 1)), ((2, 4), (2, 3)), ((7, 9), (1, 1)), ((1, 5), (1, 5)), ((6, 3), (5, 3))]
)
def test_each_pixel_has_the_mean_fall_of_the_windows_that_cover_it(
    window: tuple[int, int], stride: tuple[int, int]
) -> None:
    model, x, other = net(), images(), images()
    labels = [4, 1]
    found = Occlusion(window=window, stride=stride, baseline=other, batch_size=7)(model, x, labels)
    for image, label in enumerate(labels):

        def score(pixels: literal.Image, label: int = label) -> float:
            with torch.no_grad():
                return model(torch.tensor(pixels, dtype=torch.float64)[None])[0, label].item()

        expected = literal.attribution(score, x[image].tolist(), window, stride, other[image].tolist())
        for channel in range(3):
            same(found[image, channel], torch.tensor(expected, dtype=torch.float64))


def test_one_pixel_of_a_linear_network_is_its_distance_from_the_baseline_times_its_weight() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 7 * 9, CLASSES)).double()
    x, labels = images(), torch.tensor([[0, 3], [2, 1]])
    weights = linear[1].weight.detach()[labels].view(2, 2, 3, 7, 9)
    expected = (weights * x[:, None]).sum(2, keepdim=True).expand(-1, -1, 3, -1, -1)
    same(Occlusion(window=1, stride=1)(linear, x, labels), expected)
    expected = (weights * (x[:, None] - 0.5)).sum(2, keepdim=True).expand(-1, -1, 3, -1, -1)
    same(Occlusion(window=1, stride=1, baseline=0.5)(linear, x, labels), expected)


def test_a_window_over_everything_has_the_whole_fall() -> None:
    model, x = net(), images()
    with torch.no_grad():
        falls = (model(x) - model(torch.zeros_like(x)))[:, 2]
    same(Occlusion(window=(7, 9), stride=1)(model, x, 2), falls[:, None, None, None].expand_as(x))


def test_an_image_that_is_its_own_baseline_and_a_network_that_does_not_look_get_zeros() -> None:
    model, x = net(), images()
    same(Occlusion(window=3, stride=2, baseline=x)(model, x, 1), torch.zeros_like(x))
    with torch.no_grad():
        model.conv.weight.zero_()
    same(Occlusion(window=3, stride=2)(model, x, 1), torch.zeros_like(x))


def test_all_classes_come_from_one_pass_of_each_image_and_window_without_a_graph() -> None:
    model, x = net(), images()
    # From 0, 2, 4 and 0, 2, 4, 6 on.
    Occlusion(window=3, stride=2, batch_size=5)(model, x, [[0, 1, 2, 3, 4]] * 2)
    assert model.passes == [2, 5, 5, 5, 5, 4]
    assert model.graphs == 0


@pytest.mark.parametrize("options", [{"window": 0}, {"stride": 0}, {"window": (4, 2), "stride": 3}])
def test_windows_that_leave_pixels_out_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(AttributionError, match="so that every pixel is covered"):
        Occlusion(**options)


def test_a_window_larger_than_the_image_and_an_unknown_class_are_refused() -> None:
    with pytest.raises(AttributionError, match="must fit into the image, got 8 pixels for 7"):
        Occlusion(window=8)(net(), images(), 0)
    with pytest.raises(AttributionError, match="from 0 to 4"):
        Occlusion(window=3, stride=2)(net(), images(), 5)


def test_captum_gives_the_same() -> None:
    captum = pytest.importorskip("captum.attr")
    model, x, labels = net(), images(), torch.tensor([4, 1])
    peer = captum.Occlusion(model).attribute(x, (3, 3, 4), strides=(1, 2, 3), baselines=0.25, target=labels)
    found = Occlusion(window=(3, 4), stride=(2, 3), baseline=0.25)(model, x, labels)
    torch.testing.assert_close(found.float(), peer.float(), rtol=0, atol=1e-6)  # Captum adds up in float32
