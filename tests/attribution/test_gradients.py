import pytest
import torch
from attribution.awkward_nets import NETS, drawn_images, drawn_net
from attribution.path_nets import Counted, Saturating, Squares, linear, without_biases
from torch import Tensor

from interpretable.attribution.gradient import GradientTimesInput, Saliency
from interpretable.errors import AttributionError

TARGETS = torch.tensor([[0, 2], [2, 1], [1, 0], [2, 2]])
METHODS = [Saliency, GradientTimesInput]


def same(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def test_the_saliency_of_a_linear_network_is_its_signed_weights() -> None:
    net, images = linear(), drawn_images(4, (4, 5))
    found = Saliency()(net, images, TARGETS)
    same(found, net[1].weight.detach()[TARGETS].unflatten(2, (3, 4, 5)), 0)
    assert (found < 0).any()


def test_gradient_times_input_of_a_linear_network_is_weight_times_pixel() -> None:
    net, images = linear(), drawn_images(4, (4, 5))
    weights = net[1].weight.detach()[TARGETS].unflatten(2, (3, 4, 5))
    same(GradientTimesInput()(net, images, TARGETS), weights * images[:, None])


def test_the_gradient_of_squares_is_twice_the_image_times_the_factor_of_the_class() -> None:
    images = drawn_images(4, (4, 5))
    factors = 2.0 * (TARGETS + 1)[..., None, None, None]
    same(Saliency()(Squares(), images, TARGETS), factors * images[:, None])
    same(GradientTimesInput()(Squares(), images, TARGETS), factors * images[:, None] ** 2)


def test_where_the_logit_has_saturated_the_gradient_is_0() -> None:
    images = torch.tensor([2.0, 0.5]).double().view(2, 1, 1, 1)
    expected = torch.tensor([[0.0, 0.0], [1.0, -1.0]]).double()
    same(Saliency()(Saturating(), images, [[0, 1], [0, 1]]).flatten(1), expected, 0)


def test_gradient_times_input_sums_to_the_logits_of_a_rectified_network_without_biases() -> None:
    net, images = without_biases(), drawn_images(4)
    found = GradientTimesInput()(net, images, TARGETS)
    same(found.sum((2, 3, 4)), net(images).detach().gather(1, TARGETS))


@pytest.mark.parametrize("name", NETS)
def test_the_saliency_is_the_slope_of_the_logit(name: str) -> None:
    net, images = drawn_net(name), drawn_images(4)
    found = Saliency()(net, images, TARGETS)
    direction, step = torch.randn_like(images), 1e-6
    with torch.no_grad():
        slope = (net(images + step * direction) - net(images - step * direction)) / (2 * step)
    assert slope.abs().min() > 1e-5
    same((found * direction[:, None]).sum((2, 3, 4)), slope.gather(1, TARGETS), 1e-7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["residual", "in place"])
def test_a_batch_is_its_images_one_by_one_and_several_classes_are_each_alone(name: str, method: type) -> None:
    net, images = drawn_net(name), drawn_images(4)
    found = method()(net, images, TARGETS)
    for row, classes in enumerate(TARGETS.tolist()):
        for column, target in enumerate(classes):
            same(found[row, column], method()(net, images[row : row + 1], target)[0])
    same(found[:, 0], method()(net, images, TARGETS[:, 0]))
    same(found, method(batch_size=3)(net, images, TARGETS))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_without_gradients_and_in_inference_mode(mode: type, method: type) -> None:
    net, images = drawn_net("residual"), drawn_images(4)
    expected = method()(net, images, TARGETS)
    with mode():
        found = method()(net, images.clone(), TARGETS.clone())
    assert not found.requires_grad
    same(found, expected, 0)


def test_several_classes_share_the_forward_pass_of_a_chunk() -> None:
    net = Counted(linear())
    Saliency(batch_size=3)(net, drawn_images(4, (4, 5)), TARGETS)
    assert net.examples == [3, 1]


def test_a_class_that_the_network_does_not_have_is_refused() -> None:
    with pytest.raises(AttributionError, match="from 0 to 2, the network's classes, got 3"):
        Saliency()(linear(), drawn_images(1, (4, 5)), 3)


@pytest.mark.parametrize("name", NETS)
def test_captum_gives_the_same(name: str) -> None:
    captum = pytest.importorskip("captum.attr")
    net, images, target = drawn_net(name), drawn_images(4), TARGETS[:, 0]
    leaf = images.clone().requires_grad_()
    same(Saliency()(net, images, target), captum.Saliency(net).attribute(leaf, target=target, abs=False))
    same(GradientTimesInput()(net, images, target), captum.InputXGradient(net).attribute(leaf, target=target).detach())
