import pytest
import torch
from attribution.awkward_nets import NETS, drawn_images, drawn_net
from attribution.path_nets import Counted, Saturating, Smooth, Squares, linear, saved_bytes, without_biases
from oracles.integrated_gradients import integrated_gradients
from torch import Tensor, nn

from interpretable.attribution.gradient import GradientTimesInput
from interpretable.attribution.integrated_gradients import IntegratedGradients
from interpretable.errors import AttributionError

TARGETS = torch.tensor([[0, 2], [2, 1], [1, 0], [2, 2]])


def same(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def logits(net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    return net(images).detach().gather(1, classes)


class Minimum(nn.Module):
    """min(x₁, x₂) of an image of two pixels, without a function of that name."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.flatten(1).double().unbind(1)
        return (first - torch.relu(first - second))[:, None]


def test_of_a_linear_network_it_is_weight_times_difference_by_one_point() -> None:
    net, images, baseline = linear(), drawn_images(4, (4, 5)), drawn_images(4, (4, 5), seed=7)
    weights = net[1].weight.detach()[TARGETS].unflatten(2, (3, 4, 5))
    found = IntegratedGradients(baseline=baseline, steps=1).explain(net, images, TARGETS)
    same(found.attributions, weights * (images - baseline)[:, None])
    same(found.delta, torch.zeros(4, 2).double())
    assert (found.steps == 1).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
def test_the_weights_of_the_points_sum_to_1(steps: int) -> None:
    net, images = linear(), drawn_images(4, (4, 5))
    found = IntegratedGradients(steps=steps, tolerance=None)(net, images, TARGETS)
    same(found, GradientTimesInput()(net, images, TARGETS))


def test_of_squares_it_is_the_square_of_the_pixel() -> None:
    images, baseline = drawn_images(4, (4, 5)), drawn_images(1, (4, 5), seed=7)[0]
    factors = (TARGETS + 1)[..., None, None, None]
    found = IntegratedGradients(baseline=baseline)(Squares(), images, TARGETS)
    same(found, factors * (images**2 - baseline**2)[:, None])


def test_of_a_rectified_network_without_biases_it_is_gradient_times_input() -> None:
    net, images = without_biases(), drawn_images(4)
    same(IntegratedGradients()(net, images, TARGETS), GradientTimesInput()(net, images, TARGETS))


def test_it_sees_what_a_saturated_logit_was_decided_by() -> None:
    image = torch.full((1, 1, 1, 1), 2.0).double()
    found = IntegratedGradients(steps=16)(Saturating(), image, [[0, 1]])
    same(found.flatten(), torch.tensor([1.0, -1.0]).double(), 1e-12)


def test_the_smaller_of_two_pixels_gets_all() -> None:
    images = torch.tensor([[1.0, 3.0], [3.0, 1.0], [-2.0, 5.0]]).view(3, 1, 1, 2)
    found = IntegratedGradients()(Minimum(), images, 0).flatten(1)
    same(found, torch.tensor([[1.0, 0.0], [0.0, 1.0], [-2.0, 0.0]]), 1e-6)


def test_of_a_smooth_network_it_equals_dense_quadrature_by_sixteen_points() -> None:
    net, images, baseline = Smooth(), drawn_images(2, (6, 5)), drawn_images(2, (6, 5), seed=7)
    found = IntegratedGradients(baseline=baseline, steps=16)(net, images, [0, 2])
    for row, target in enumerate([0, 2]):
        expected = integrated_gradients(net, images[row], baseline[row], target)
        assert expected.abs().max() > 1e-3
        same(found[row], expected, 1e-9)


@pytest.mark.parametrize("name", NETS)
def test_of_awkward_networks_it_equals_dense_quadrature_where_it_has_many_points(name: str) -> None:
    net, images, baseline = drawn_net(name), drawn_images(2, (8, 9)), drawn_images(2, (8, 9), seed=7)
    method = IntegratedGradients(baseline=baseline, steps=512, tolerance=None, batch_size=64)
    found = method(net, images, TARGETS[:2, 0])
    for row in range(2):
        expected = integrated_gradients(net, images[row], baseline[row], int(TARGETS[row, 0]), points=4000)
        assert (found[row] - expected).abs().sum() < 5e-3 * expected.abs().sum()


@pytest.mark.parametrize("tolerance", [0.05, 0.005])
@pytest.mark.parametrize("name", NETS)
def test_attributions_sum_to_the_change_of_the_logit(name: str, tolerance: float) -> None:
    net, images, baseline = drawn_net(name), drawn_images(4), drawn_images(4, seed=7)
    method = IntegratedGradients(baseline=baseline, steps=8, tolerance=tolerance, max_steps=1024, batch_size=64)
    found = method.explain(net, images, TARGETS)
    after, before = logits(net, images, TARGETS), logits(net, baseline, TARGETS)
    same(found.delta, after - before - found.attributions.sum((2, 3, 4)))
    scale = torch.maximum((after - before).abs(), torch.maximum(after.abs(), before.abs()) / 10)
    assert (found.delta.abs() <= tolerance * scale).all()
    assert (found.delta.abs() > 0).all()


def test_points_are_doubled_only_where_the_sum_is_too_far_off() -> None:
    net, images = drawn_net("residual"), drawn_images(4)
    method = IntegratedGradients(steps=4, tolerance=0.01, max_steps=256)
    found = method.explain(net, images, TARGETS)
    assert len(found.steps.unique()) > 2
    after, before = logits(net, images, TARGETS), logits(net, torch.zeros_like(images), TARGETS)
    allowed = 0.01 * torch.stack([(after - before).abs(), after.abs() / 10, before.abs() / 10]).amax(0)
    enough = torch.zeros_like(TARGETS, dtype=torch.bool)
    for steps in (4, 8, 16, 32, 64, 128, 256):
        fixed = IntegratedGradients(steps=steps, tolerance=None).explain(net, images, TARGETS)
        assert (fixed.steps == steps).all()
        here = ~enough & ((fixed.delta.abs() <= allowed) | (steps == 256))
        assert torch.equal(found.steps == steps, here)
        same(found.attributions[here], fixed.attributions[here])
        same(found.delta[here], fixed.delta[here])
        enough |= here
    assert enough.all()


def test_at_most_max_steps_points_are_taken_and_the_rest_is_in_delta() -> None:
    net, images = drawn_net("residual"), drawn_images(4)
    found = IntegratedGradients(steps=5, tolerance=1e-9, max_steps=39).explain(net, images, TARGETS)
    assert (found.steps == 20).all()
    assert (found.delta.abs() > 1e-9).all()


def test_an_image_that_is_its_own_baseline_has_zeros() -> None:
    net, images = drawn_net("residual"), drawn_images(2)
    found = IntegratedGradients(baseline=images).explain(net, images, 1)
    same(found.attributions, torch.zeros_like(images), 0)
    same(found.delta, torch.zeros(2).double(), 0)
    assert (found.steps == 32).all()


def test_baselines_are_zeros_a_number_an_image_or_an_image_for_each() -> None:
    net, images = drawn_net("dense"), drawn_images(4)

    def found(baseline: object) -> Tensor:
        return IntegratedGradients(baseline=baseline)(net, images, 1)

    same(found(None), found(torch.zeros_like(images)))
    same(found(0.5), found(torch.full_like(images, 0.5)))
    one = drawn_images(1, seed=7)[0]
    same(found(one), found(one.expand_as(images)))
    assert (found(0.5) - found(None)).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(1, 3, 9, 11), (3, 9, 9), (9, 11), (2, 3, 9, 11)])
def test_baselines_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    sentence = (
        r"a number, one image \(3, 9, 11\), or one for each image \(4, 3, 9, 11\), got shape \(" + str(shape)[1:-1]
    )
    with pytest.raises(AttributionError, match=sentence):
        IntegratedGradients(baseline=torch.zeros(shape))(drawn_net("dense"), drawn_images(4), 1)


@pytest.mark.parametrize("baseline", [float("nan"), torch.full((3, 9, 11), torch.inf)])
def test_baselines_that_are_not_finite_are_refused(baseline: object) -> None:
    with pytest.raises(AttributionError, match="A baseline must be of finite numbers"):
        IntegratedGradients(baseline=baseline)(drawn_net("dense"), drawn_images(4), 1)


@pytest.mark.parametrize("tolerance", [None, 0.02])
def test_a_batch_is_its_images_one_by_one_and_several_classes_are_each_alone(tolerance: float | None) -> None:
    net, images, baseline = drawn_net("residual"), drawn_images(4), drawn_images(4, seed=7)
    options = {"steps": 6, "tolerance": tolerance, "max_steps": 100}
    found = IntegratedGradients(baseline=baseline, **options).explain(net, images, TARGETS)
    assert (len(found.steps.unique()) > 2) == (tolerance is not None)
    for row, classes in enumerate(TARGETS.tolist()):
        method = IntegratedGradients(baseline=baseline[row], **options)
        for column, target in enumerate(classes):
            alone = method.explain(net, images[row : row + 1], target)
            for field in found._fields:
                same(getattr(found, field)[row, column], getattr(alone, field)[0])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_neither_chunks_nor_a_small_memory_nor_the_mode_change_anything(mode: type) -> None:
    net, images = drawn_net("in place"), drawn_images(4)
    options = {"steps": 7, "tolerance": 0.03}
    whole = IntegratedGradients(batch_size=1000, **options)(net, images, TARGETS)
    for batch_size in (3, 16):
        same(IntegratedGradients(batch_size=batch_size, **options)(net, images, TARGETS), whole)
    small = Counted(net, fits=3)
    with mode():
        same(IntegratedGradients(batch_size=16, **options)(small, images.clone(), TARGETS), whole)
    assert max(small.examples) <= 3


def test_several_classes_share_the_forward_passes_and_a_shared_baseline_is_one_example() -> None:
    net, images = Counted(drawn_net("residual")), drawn_images(4)
    IntegratedGradients(steps=8, tolerance=None, batch_size=16)(net, images, TARGETS)
    assert net.examples == [4, 1, 16, 16]
    net.examples.clear()
    IntegratedGradients(steps=8, tolerance=None, batch_size=12, baseline=images / 2)(net, images, TARGETS)
    assert net.examples == [4, 4, 12, 12, 8]


def test_only_what_is_too_far_off_is_run_again() -> None:
    net, images = Counted(drawn_net("residual")), drawn_images(4)
    found = IntegratedGradients(steps=8, tolerance=0.02, batch_size=4096).explain(net, images, TARGETS)
    last = found.steps.amax(1)
    expected = [int((last >= steps).sum()) * steps for steps in (8, 16, 32, 64, 128, 256)]
    assert net.examples == [4, 1, *(examples for examples in expected if examples)]
    assert len(last.unique()) > 1


def test_memory_is_that_of_a_chunk_whatever_the_number_of_points() -> None:
    pixels = 3 * 9 * 11
    images, net = drawn_images(4), Squares()

    def peak(steps: int, batch_size: int) -> int:
        method = IntegratedGradients(steps=steps, tolerance=None, batch_size=batch_size)
        return saved_bytes(lambda: method(net, images, TARGETS))

    # The squares save their input and the products the factors.
    assert [peak(32, size) for size in (8, 16, 128)] == [8 * (size * pixels + 3) for size in (8, 16, 128)]
    assert peak(512, 16) == peak(32, 16)


def test_a_network_of_convolutions_takes_a_quarter_of_the_memory_of_all_points_at_once() -> None:
    net, images = drawn_net("residual"), drawn_images(4)
    chunked = saved_bytes(lambda: IntegratedGradients(steps=32, tolerance=None)(net, images, 0))
    whole = saved_bytes(lambda: IntegratedGradients(steps=32, tolerance=None, batch_size=128)(net, images, 0))
    assert chunked < whole / 4


@pytest.mark.parametrize("name", NETS)
def test_captum_gives_the_same_in_four_times_the_memory(name: str) -> None:
    captum = pytest.importorskip("captum.attr")
    net, images, target, baseline = drawn_net(name), drawn_images(4), TARGETS[:, 0], drawn_images(4, seed=7)
    peer, method = captum.IntegratedGradients(net), IntegratedGradients(baseline=baseline, steps=32, tolerance=None)
    expected, delta = peer.attribute(
        images, baseline, target, n_steps=32, method="gausslegendre", return_convergence_delta=True
    )
    found = method.explain(net, images, target)
    rounding = 1e-6 * expected.abs().max().item()  # their points are float32
    same(found.attributions, expected, rounding)
    same(found.delta, -delta, 100 * rounding)
    theirs = saved_bytes(lambda: peer.attribute(images, baseline, target, n_steps=32))
    assert saved_bytes(lambda: method(net, images, target)) < theirs / 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"steps": 512}, "max_steps must be no fewer than steps, 512, got 256"),
        ({"tolerance": 0.0}, "tolerance must be a share of the logit's change, above 0, or None for none, got 0.0"),
        ({"tolerance": float("nan")}, "got nan"),
    ],
)
def test_options_out_of_their_range_are_refused(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(AttributionError, match=sentence):
        IntegratedGradients(**options)


def test_a_class_that_the_network_does_not_have_is_refused() -> None:
    with pytest.raises(AttributionError, match="from 0 to 2, the network's classes, got 3"):
        IntegratedGradients()(drawn_net("dense"), drawn_images(2), [1, 3])


def test_progress_is_shown_over_the_points_of_each_doubling() -> None:
    seen: list[tuple[str, int]] = []

    def track(items: range, what: str) -> range:
        seen.append((what, len(items)))
        return items

    IntegratedGradients(steps=4, tolerance=1e-9, max_steps=8, track=track)(drawn_net("dense"), drawn_images(3), 0)
    assert seen == [("integrated gradients at 4 points", 12), ("integrated gradients at 8 points", 24)]
