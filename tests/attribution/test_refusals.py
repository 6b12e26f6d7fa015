"""What no method can explain rightly is refused in a sentence, and what looks like it is explained rightly."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from attribution.awkward_nets import draw_weights, drawn_images, drawn_net
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from interpretable.attribution import LRP, DeepLIFT, DeepTaylor, GuidedBackprop, Saliency, attribute
from interpretable.errors import AttributionError


class Spelled(nn.Module):
    """A convolution, something done to its maps, a rectifier and a head."""

    def __init__(self, done: object) -> None:
        super().__init__()
        self.stem, self.next, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.done = done

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.next(self.done(self.stem(x)))).mean((2, 3)))


def net(done: object) -> nn.Module:
    return draw_weights(Spelled(done))


def conserved(model: nn.Module) -> None:
    x = drawn_images(3)
    logits = model(x)[:, 1].detach()
    relevance, absorbed = LRP(rule="epsilon").explain(model, x, 1)
    torch.testing.assert_close(relevance.sum((1, 2, 3)) + absorbed, logits, rtol=0, atol=1e-12)
    change = logits - model(torch.zeros_like(x))[:, 1].detach()
    contributions = DeepLIFT()(model, x, 1).sum((1, 2, 3))
    torch.testing.assert_close(contributions, change, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "done",
    [
        lambda z: z * 0.1 + 0.3,
        lambda z: 0.7 - z / 0.3,
        lambda z: torch.add(z, z, alpha=0.1).relu() - 0.1,
        lambda z: torch.hstack([z[:, :2], torch.full_like(z[:, :2], 0.3)]),
        lambda z: torch.cat([z[:, :3], torch.ones_like(z[:, :1])], 1),
    ],
    ids=["scalars", "reversed", "alpha", "beside constants", "with a constant channel"],
)
def test_numbers_and_constants_beside_the_maps_are_accounted_for(done):
    conserved(net(done))


def into_constants(z: Tensor) -> Tensor:
    canvas = torch.ones_like(z)
    canvas[:, :2] = z[:, :2]
    return canvas


def constants_into(z: Tensor) -> Tensor:
    z = z.clone()
    z[:, :, 0] = 1.0
    return z


def rectified(z: Tensor) -> Tensor:
    return z.relu_()


with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # of TorchScript itself
    scripted = torch.jit.script(rectified)


class Dirty(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.clone())
        return x.square_()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


def dirty_aside(z: Tensor) -> Tensor:
    Dirty.apply(z)
    return z


@pytest.mark.parametrize(
    ("method", "done", "sentence"),
    [
        (LRP(), into_constants, "writing constants beside"),
        (LRP(), constants_into, "writing constants beside"),
        (GuidedBackprop(), scripted, "no function of torch's"),
        (DeepLIFT(), dirty_aside, "no function of torch's"),
        (LRP(), lambda z: torch.stack([F.conv2d(y, torch.ones(4, 4, 1, 1).to(y)) for y in z.unbind()]), "conv2d"),
        (DeepLIFT(), lambda z: F.layer_norm(z, z.shape[1:]), "layer_norm"),
        (LRP(), lambda z: z * z.sigmoid(), "sigmoid"),
        (DeepTaylor(), lambda z: F.interpolate(z, scale_factor=2.0, mode="bicubic"), "negative weights"),
    ],
)
def test_what_would_be_wrong_is_refused_by_its_name(method, done, sentence):
    with pytest.raises(AttributionError, match=sentence):
        method(net(done), 3 * drawn_images(3), [0, 1, 2])


def test_what_is_written_elsewhere_without_a_gradient_is_a_constant():
    def elsewhere(z: Tensor) -> Tensor:
        result = torch.empty_like(z.detach())
        with torch.no_grad():
            torch.add(z, 1.0, out=result)
        return z + result

    model = net(elsewhere)
    relevance, absorbed = LRP(rule="epsilon").explain(model, drawn_images(2), 1)
    expected = model(drawn_images(2))[:, 1].detach()
    torch.testing.assert_close(relevance.sum((1, 2, 3)) + absorbed, expected, rtol=0, atol=1e-12)


class Sequence(nn.Module):
    """Six positions of each image, positions first."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Linear(3, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        positions = x.flatten(2)[:, :, :6].permute(2, 0, 1)
        return self.head(F.relu(self.mix(positions) + 0.1).mean(0))


@pytest.mark.parametrize("method", [LRP(rule="epsilon"), DeepLIFT()])
def test_images_that_do_not_come_first_are_refused(method):
    with pytest.raises(AttributionError, match="first"):
        method(draw_weights(Sequence()), drawn_images(3), 1)


def test_a_network_that_is_computed_again_in_the_backward_pass_is_refused_or_explained():
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = drawn_net("residual")

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    with pytest.raises(AttributionError, match=r"torch.utils.checkpoint\) cannot be explained"):
        GuidedBackprop()(Again(), drawn_images(2), 0)


def test_the_network_in_a_data_parallel_is_explained():
    inner = drawn_net("residual")
    found, expected = (Saliency()(model, drawn_images(2), 0) for model in (nn.DataParallel(inner), inner))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_refused():
    with pytest.raises(AttributionError, match="got one of TorchScript"):
        attribute(torch.jit.trace(drawn_net("functional"), drawn_images(1)), drawn_images(1), 0, "saliency")


def test_a_batch_norm_over_the_batch_is_refused():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(27, 2)).double().eval()
    with pytest.raises(AttributionError, match="Batch norms must have running statistics"):
        attribute(model, drawn_images(2, (3, 3)), 0, "occlusion", window=1, stride=1)
