import pytest
import torch
from attribution.awkward_nets import NETS, drawn_images, drawn_net
from attribution.path_nets import Counted, Squares, linear
from torch import Tensor, nn

from interpretable.attribution.gradient import Saliency
from interpretable.attribution.smooth_grad import SmoothGrad
from interpretable.errors import AttributionError

TARGETS = torch.tensor([[0, 2], [2, 1], [1, 0]])
KINDS = ["mean", "squared", "variance"]


def same(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def standard_noise(samples: int, images: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(samples, *images.shape[1:], generator=torch.Generator().manual_seed(seed)).to(images)


def literal(net: nn.Module, image: Tensor, target: int, noise: Tensor, level: float, kind: str) -> Tensor:
    """Image by image and copy by copy: σ is the level times (max − min)."""
    deviation = level * (max(image.flatten().tolist()) - min(image.flatten().tolist()))
    gradients = []
    for one in noise:
        copy = (image + deviation * one)[None].requires_grad_()
        gradients.append(torch.autograd.grad(net(copy)[0, target], copy)[0][0])
    mean = sum(gradients) / len(noise)
    if kind == "mean":
        return mean
    return sum((g if kind == "squared" else g - mean) ** 2 for g in gradients) / len(noise)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETS)
def test_it_equals_the_literal_definition(name: str, kind: str) -> None:
    net, images = drawn_net(name), drawn_images(3)
    found = SmoothGrad(samples=7, noise=0.2, kind=kind, seed=5)(net, images, TARGETS)
    noise = standard_noise(7, images, 5)
    for row, classes in enumerate(TARGETS.tolist()):
        for column, target in enumerate(classes):
            expected = literal(net, images[row], target, noise, 0.2, kind)
            assert expected.abs().max() > 0
            same(found[row, column], expected)


def test_of_squares_the_mean_moves_with_the_noise_and_the_variance_is_that_of_the_noise() -> None:
    images = drawn_images(3, (4, 5))
    noise = standard_noise(25, images)
    deviation = 0.15 * (images.flatten(1).amax(1) - images.flatten(1).amin(1))[:, None, None, None]
    same(SmoothGrad()(Squares(), images, 1), 4 * (images + deviation * noise.mean(0)))
    same(SmoothGrad(kind="variance")(Squares(), images, 1), 16 * deviation**2 * noise.var(0, correction=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [1, 4, 16, 64])
def test_the_variance_of_a_linear_network_is_exactly_0(batch_size: int, dtype: torch.dtype) -> None:
    net, images = linear().to(dtype), 100 * drawn_images(3, (4, 5)).to(dtype)
    method = SmoothGrad(kind="variance", samples=9, noise=3.0, batch_size=batch_size)
    assert torch.equal(method(net, images, TARGETS), torch.zeros(3, 2, 3, 4, 5, dtype=dtype))
    same(SmoothGrad(samples=9, noise=3.0, batch_size=batch_size)(net, images, TARGETS),
         Saliency()(net, images, TARGETS), 1e-6)  # fmt: skip


def test_the_variance_is_never_negative_even_where_the_gradient_is_large_and_hardly_moves() -> None:
    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (1e3 * x + 0.05 * x.pow(2)).sum((2, 3))

    images = torch.rand(2, 1, 5, 5)
    gradients = 1e3 + 0.1 * (images[0] + 0.15 * standard_noise(25, images))
    naive = gradients.pow(2).mean(0) - gradients.mean(0).pow(2)
    assert (naive < 0).any()
    found = SmoothGrad(kind="variance")(Steep(), images, 0)
    assert (found >= 0).all()
    assert 1e-5 < found.min() <= found.max() < 1e-3


def test_without_noise_it_is_the_saliency_and_so_it_is_of_a_constant_image() -> None:
    net, images = drawn_net("residual"), drawn_images(3)
    same(SmoothGrad(noise=0)(net, images, TARGETS), Saliency()(net, images, TARGETS))
    constant = torch.full_like(images, 0.7)
    same(SmoothGrad()(net, constant, TARGETS), Saliency()(net, constant, TARGETS))
    same(SmoothGrad(kind="squared")(net, constant, 0), Saliency()(net, constant, 0) ** 2)
    same(SmoothGrad(kind="variance", samples=1)(net, images, 0), torch.zeros_like(images), 0)


def test_the_noise_follows_the_range_of_each_image() -> None:
    images = drawn_images(2, (4, 5))
    images[1] = 10 * images[0] + 3
    variance = SmoothGrad(kind="variance")(Squares(), images, 0)
    torch.testing.assert_close(variance[1], 100 * variance[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_images_one_by_one_and_several_classes_are_each_alone(kind: str) -> None:
    net, images, method = drawn_net("residual"), drawn_images(3), SmoothGrad(samples=6, kind=kind)
    found = method(net, images, TARGETS)
    for row, classes in enumerate(TARGETS.tolist()):
        for column, target in enumerate(classes):
            same(found[row, column], method(net, images[row : row + 1], target)[0])
    with torch.inference_mode():
        same(method(net, images, TARGETS), found)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_chunks_nor_a_small_memory_change_anything(kind: str) -> None:
    net, images = drawn_net("functional"), drawn_images(3)
    found = SmoothGrad(samples=7, kind=kind, batch_size=100)(net, images, TARGETS)
    for batch_size in (1, 2, 5, 7, 20):
        same(SmoothGrad(samples=7, kind=kind, batch_size=batch_size)(net, images, TARGETS), found)
    small = Counted(net, fits=3)
    same(SmoothGrad(samples=7, kind=kind, batch_size=16)(small, images, TARGETS), found)
    assert max(small.examples) <= 3


def test_the_noise_is_that_of_the_seed_and_the_random_state_stays() -> None:
    net, images = drawn_net("residual"), drawn_images(3)
    torch.manual_seed(1)
    state, one = torch.get_rng_state(), SmoothGrad()(net, images, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(SmoothGrad()(net, images, 0), one)
    assert (SmoothGrad(seed=1)(net, images, 0) - one).abs().max() > 1e-4


def test_each_copy_is_one_example_of_one_forward_pass_for_all_classes() -> None:
    net = Counted(linear())
    SmoothGrad(samples=5, batch_size=4)(net, drawn_images(2, (4, 5)), TARGETS[:2])
    assert net.examples == [4, 4, 2]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"samples": 0}, "samples must be 1 or more, got 0"),
        ({"noise": -0.1}, "noise must be a share of the image's range, 0 or more, got -0.1"),
        ({"noise": float("nan")}, "0 or more, got nan"),
        ({"kind": "vargrad"}, "kind must be one of mean, squared, variance, got 'vargrad'"),
    ],
)
def test_options_out_of_their_range_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(AttributionError, match=sentence):
        SmoothGrad(**options)
