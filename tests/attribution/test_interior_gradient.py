import pytest
import torch
from attribution.awkward_nets import NETS, drawn_images, drawn_net
from attribution.path_nets import Counted, Saturating, Smooth, linear, without_biases
from torch import Tensor

from interpretable.attribution.gradient import Saliency
from interpretable.attribution.interior_gradient import InteriorGradient, saturation
from interpretable.errors import AttributionError

TARGETS = torch.tensor([[0, 2], [2, 1], [1, 0]])


def same(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance, equal_nan=True)


def pixel(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1)


def test_a_logit_that_has_saturated_at_the_image_has_its_gradient_before() -> None:
    net, image = Saturating(), pixel(2)
    assert InteriorGradient(alpha=1)(net, image, 0).item() == 0
    assert InteriorGradient(alpha=0.25)(net, image, 0).item() == 1
    assert InteriorGradient()(net, image, [[0, 1]]).flatten().tolist() == [1, -1]


def test_the_curves_of_a_saturating_logit_are_known() -> None:
    curves = InteriorGradient(steps=8).explain(Saturating(), pixel(2), [[0, 1]])
    alphas = torch.arange(9).double() / 8
    rising = (alphas < 0.5).double()  # the rectifier's gradient at 0 is 0
    up = (2 * alphas).clamp(max=1)
    same(curves.alphas, alphas.expand(1, 2, 9), 0)
    same(curves.logits, torch.stack([up, -up])[None], 0)
    same(curves.slopes, torch.stack([2 * rising, -2 * rising])[None], 0)
    same(curves.norms, rising.expand(1, 2, 9), 0)
    # 90 % of the change is reached at 0.45
    same(curves.saturation, torch.full((1, 2), 0.5).double(), 0)
    same(curves.attributions.flatten(), torch.tensor([1.0, -1.0]).double(), 0)


def test_from_another_baseline_the_curves_begin_there() -> None:
    curves = InteriorGradient(steps=4, baseline=pixel(-2)[0]).explain(Saturating(), pixel(2), 0)
    same(curves.logits, torch.tensor([[-2.0, -1, 0, 1, 1]]).double(), 0)
    same(curves.slopes, torch.tensor([[4.0, 4, 4, 0, 0]]).double(), 0)
    same(curves.saturation, torch.tensor([0.75]).double(), 0)


def test_of_a_rectified_network_without_biases_it_is_the_same_everywhere() -> None:
    net, images = without_biases(), drawn_images(3)
    saliency = Saliency()(net, images, TARGETS)
    for alpha in (1e-3, 0.25, 0.8, 1):
        same(InteriorGradient(alpha=alpha)(net, images, TARGETS), saliency)


@pytest.mark.parametrize("name", NETS)
def test_at_the_image_it_is_the_saliency_and_at_the_baseline_that_of_the_baseline(name: str) -> None:
    net, images, baseline = drawn_net(name), drawn_images(3), drawn_images(3, seed=7)
    method = InteriorGradient(alpha=1, baseline=baseline)
    same(method(net, images, TARGETS), Saliency()(net, images, TARGETS), 0)
    same(InteriorGradient(alpha=0, baseline=baseline)(net, images, TARGETS), Saliency()(net, baseline, TARGETS), 0)
    between = 0.7 * baseline + 0.3 * images
    same(InteriorGradient(alpha=0.3, baseline=baseline)(net, images, TARGETS), Saliency()(net, between, TARGETS))


@pytest.mark.parametrize("name", NETS)
def test_the_curves_are_those_of_each_point_alone(name: str) -> None:
    net, images, baseline = drawn_net(name), drawn_images(3), drawn_images(3, seed=7)
    curves = InteriorGradient(steps=5, baseline=baseline).explain(net, images, TARGETS)
    for step in range(6):
        points = baseline + step / 5 * (images - baseline)
        gradients = Saliency()(net, points, TARGETS)
        same(curves.logits[..., step], net(points).detach().gather(1, TARGETS))
        same(curves.slopes[..., step], (gradients * (images - baseline)[:, None]).sum((2, 3, 4)))
        same(curves.norms[..., step], gradients.pow(2).sum((2, 3, 4)).sqrt())


def test_the_mean_slope_is_the_change_of_the_logit() -> None:
    net, images = Smooth(), drawn_images(3)
    curves = InteriorGradient(steps=200).explain(net, images, TARGETS)
    change = (net(images) - net(torch.zeros_like(images))).detach().gather(1, TARGETS)
    same(torch.trapezoid(curves.slopes, curves.alphas), change, 1e-4 * change.abs().max().item())


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0, 1, 2, 3, 4], 1.0),
        ([0, 4, 4, 4, 4], 0.25),
        ([0, 3.6, 3.7, 3.8, 4], 0.25),
        ([0, 0.9 * 4 - 1e-15, 4, 4, 4], 0.25),  # but for rounding
        ([0, 3.5, 3.7, 3.8, 4], 0.5),
        ([0, 4, 2, 4, 4], 0.75),  # reached, but not for good
        ([0, 9, 8, 7, 4], 0.25),  # more than all of it is reached
        ([5, 1, 1, 1, 1], 0.25),  # downwards
        ([5, 9, 5, 1, 1], 0.75),
        ([2, 7, -3, 1, 2], float("nan")),  # the last is the first
        ([3, 3, 3, 3, 3], float("nan")),
    ],
)
def test_saturation_is_where_nine_tenths_of_the_change_are_reached_for_good(
    logits: list[float], expected: float
) -> None:
    alphas = torch.linspace(0, 1, 5, dtype=torch.float64)
    same(saturation(alphas, torch.tensor([logits], dtype=torch.float64)), torch.tensor([expected]).double(), 0)


def test_rounding_is_no_change_of_the_logit() -> None:
    logits = torch.tensor([0.1 + 0.2, 0.0, 0.3], dtype=torch.float64)
    assert logits[0] != logits[2]
    assert saturation(torch.linspace(0, 1, 3, dtype=torch.float64), logits).isnan()


def test_an_image_that_is_its_baseline_never_saturates_and_has_no_slope() -> None:
    net, images = drawn_net("residual"), drawn_images(2)
    curves = InteriorGradient(baseline=images).explain(net, images, 1)
    assert curves.saturation.isnan().all()
    same(curves.slopes, torch.zeros(2, 21).double(), 0)


def test_a_batch_is_its_images_one_by_one_and_several_classes_are_each_alone() -> None:
    net, images, baseline = drawn_net("residual"), drawn_images(3), drawn_images(3, seed=7)
    found = InteriorGradient(baseline=baseline, steps=6).explain(net, images, TARGETS)
    same(found.attributions, InteriorGradient(baseline=baseline)(net, images, TARGETS), 0)
    for row, classes in enumerate(TARGETS.tolist()):
        method = InteriorGradient(baseline=baseline[row], steps=6)
        for column, target in enumerate(classes):
            alone = method.explain(net, images[row : row + 1], target)
            for field in found._fields:
                same(getattr(found, field)[row, column], getattr(alone, field)[0])


def test_neither_chunks_nor_a_small_memory_nor_inference_mode_change_anything() -> None:
    net, images = drawn_net("in place"), drawn_images(3)
    whole = InteriorGradient(steps=6, batch_size=100).explain(net, images, TARGETS)
    with torch.inference_mode():
        small = InteriorGradient(steps=6, batch_size=16).explain(Counted(net, fits=3), images, TARGETS)
    for field, one, other in zip(whole._fields, whole, small, strict=True):
        assert not other.is_inference(), field
        same(one, other)


def test_each_point_is_one_example_of_one_forward_pass_for_all_classes() -> None:
    net = Counted(linear())
    InteriorGradient(batch_size=4)(net, drawn_images(3, (4, 5)), TARGETS)
    assert net.examples == [3]
    net.examples.clear()
    InteriorGradient(batch_size=5, steps=3).explain(net, drawn_images(3, (4, 5)), TARGETS)
    assert sorted(net.examples) == [2, 3, 5, 5]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": 1.5}, "alpha must be from 0, the baseline, to 1, the image, got 1.5"),
        ({"alpha": float("nan")}, "got nan"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
    ],
)
def test_options_out_of_their_range_are_refused(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(AttributionError, match=sentence):
        InteriorGradient(**options)
