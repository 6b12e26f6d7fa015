import copy

import pytest
import torch
from torch import Tensor, nn

from interpretable.activations import Rationales, rationales


@pytest.fixture
def head() -> nn.Sequential:
    """Convolution, normalisation and an in-place ReLU above the maps: the gradient differs from image to image."""
    head = nn.Sequential(
        nn.Conv2d(6, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    head[1].running_mean.normal_()
    head[1].running_var.uniform_(0.5, 2)
    return head.eval()


@pytest.fixture
def maps() -> Tensor:
    return torch.rand(4, 6, 7, 9)


CLASSES = torch.tensor([[0, 3], [4, 1], [2, 2], [1, 0]])


def literal(head: nn.Module, maps: Tensor) -> Rationales:
    """One backward pass per image and class, in float64."""
    head = copy.deepcopy(head).double()
    gradients = torch.zeros(4, 2, 6, dtype=torch.float64)
    intercepts = torch.zeros(4, 2, dtype=torch.float64)
    for image in range(4):
        for place, label in enumerate(CLASSES[image].tolist()):
            x = maps[image : image + 1].double().requires_grad_()
            y = head(x)[0, label]
            (gradient,) = torch.autograd.grad(y, x)
            gradients[image, place] = gradient[0].mean((1, 2))
            intercepts[image, place] = y.detach() - (gradient * x.detach()).sum()
    return Rationales(gradients, intercepts)


@pytest.mark.parametrize("inference", [False, True], ids=["gradients on", "inference mode"])
def test_rationales_above_a_convolution_are_those_of_one_pass_per_image_and_class(
    head: nn.Sequential, maps: Tensor, inference: bool
) -> None:
    expected = literal(head, maps)
    before = copy.deepcopy(head.state_dict())
    with torch.inference_mode(inference):
        found = rationales(head, maps.clone(), CLASSES)
    for value, known in zip(found, expected, strict=True):
        torch.testing.assert_close(value.double(), known, rtol=1e-5, atol=1e-6)
    assert all(parameter.grad is None for parameter in head.parameters())
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_another_type_are_taken_as_they_are_and_computed_with_in_float32(
    head: nn.Sequential, maps: Tensor, dtype: torch.dtype
) -> None:
    head = head.to(dtype)
    maps = maps.to(dtype)
    found = rationales(head, maps, CLASSES)
    for value, known in zip(found, literal(head, maps), strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), known, rtol=1e-5, atol=1e-6)
    assert {parameter.dtype for parameter in head.parameters()} == {dtype}


def test_autocast_around_the_call_does_not_reach_it(head: nn.Sequential, maps: Tensor) -> None:
    expected = rationales(head, maps, CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        found = rationales(head, maps, CLASSES)
    for value, known in zip(found, expected, strict=True):
        torch.testing.assert_close(value, known, rtol=0, atol=0)
