"""The loss depends on the numbers of a map alone: not on strides, types, memory formats, compilation or autocast."""

import math
import shutil
import subprocess
import sys
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.maps import close, gradient_of, random_maps
from torch import Tensor

from interpretable.losses import Objective, PartTemplateLoss, decompose, effective_images, mutual_information

OBJECTIVES = list(get_args(Objective))
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def strided(x: Tensor, layout: str) -> Tensor:
    """The same numbers in another layout of memory."""
    if layout == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        return x.transpose(0, 3).contiguous().transpose(0, 3)
    if layout == "every other":
        twice = torch.full((*x.shape[:3], 2 * x.shape[3]), torch.nan, dtype=x.dtype)
        twice[..., ::2] = x
        return twice[..., ::2]
    if layout == "a share of the channels":
        return torch.cat([x, torch.full_like(x, torch.nan)], 1)[:, : x.shape[1]]
    return x


def loss_of(objective: str, filters: int) -> PartTemplateLoss:
    return PartTemplateLoss(filters, objective=objective, num_classes=3)


@settings(deadline=None, max_examples=40, database=None)
@given(
    images=st.integers(1, 6),
    filters=st.integers(1, 4),
    height=st.integers(2, 6),
    width=st.integers(2, 6),
    strength=st.sampled_from([1e-6, 1.0, 1e4]),
    silent=st.floats(0, 1),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    layout=st.sampled_from(["channels last", "transposed", "every other", "a share of the channels"]),
    objective=st.sampled_from(OBJECTIVES),
    seed=st.integers(0, 99),
)
def test_any_shape_type_layout_and_strength_gives_the_loss_of_its_numbers(
    images: int,
    filters: int,
    height: int,
    width: int,
    strength: float,
    silent: float,
    dtype: torch.dtype,
    layout: str,
    objective: str,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    # The gradient grows as the activations fall: float16 could not hold that of the smallest.
    strength = max(strength, 1e-2) if dtype == torch.float16 else strength
    x = (strength * random_maps(images, filters, height, width)).clamp(max=6e4).to(dtype)
    x = torch.where(torch.rand(images, filters, 1, 1) < silent, 0, x)
    labels = torch.randint(3, (images,))
    loss, twin = loss_of(objective, filters), loss_of(objective, filters)
    value = loss(strided(x, layout), labels)
    same = x.double() if dtype == torch.float64 else x.float()
    assert value.dtype == same.dtype
    tolerance = 1e-5 * (1 + abs(value.item()))
    close(value, twin(same, labels), tolerance)
    assert value.isfinite()
    loss.eval()
    gradient = gradient_of(lambda x: loss(strided(x, layout), labels), x)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()
    if objective in ("mutual_information", "paper"):
        assert -math.log(min(images, height * width + 1)) - 1e-4 <= value <= 1e-4


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_channels_last_maps_give_the_same_loss_and_gradient(objective: str) -> None:
    x = random_maps(6, 8, 7, 9).float()
    loss, twin = loss_of(objective, 8), loss_of(objective, 8)
    close(loss(strided(x, "channels last"), LABELS), twin(x, LABELS), 1e-5)
    by_last = gradient_of(lambda x: loss.eval()(strided(x, "channels last"), LABELS), x)
    close(by_last, gradient_of(lambda x: twin.eval()(x, LABELS), x), 1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_autocast_leaves_every_objective_in_float32(objective: str) -> None:
    x = random_maps(6, 3, 4, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = loss_of(objective, 3).terms(x, LABELS)
    expected = loss_of(objective, 3).terms(x, LABELS)
    for name, value in terms._asdict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, getattr(expected, name)), name


COMPILED = """
import sys
import torch
from interpretable.losses import PartTemplateLoss
torch.manual_seed(0)
x = (2 * torch.randn(6, 4, 7, 7)).clamp(min=0)
labels = torch.tensor([0, 1, 0, 2, 1, 0])
for objective in sys.argv[2:]:
    eager, module = (PartTemplateLoss(4, objective=objective, num_classes=3) for _ in range(2))
    compiled = torch.compile(module, backend=sys.argv[1])
    for step in range(2):
        y, z = (((step + 1) * x).requires_grad_() for _ in range(2))
        expected, value = eager(y, labels), compiled(z, labels)
        expected.backward()
        value.backward()
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(z.grad, y.grad, rtol=0, atol=1e-5)
        assert y.grad.abs().max() > 1e-3
    for name, buffer in eager.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], buffer, rtol=1e-5, atol=1e-6, equal_nan=True)
print("equal", torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_loss_has_the_same_value_gradient_and_state(backend: str) -> None:
    if backend == "inductor" and not (shutil.which("c++") or shutil.which("g++")):
        pytest.skip("torch.compile's default backend needs a C++ compiler on a CPU")
    # In a process of its own: within a test every function has a wrapper that checks shapes and is compiled too.
    words = [sys.executable, "-c", COMPILED, backend, *OBJECTIVES]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.removeprefix("equal ")) >= len(OBJECTIVES)


@pytest.mark.parametrize("scale", [1.0, 20.0, 300.0])
def test_float32_has_the_value_and_gradient_of_float64_however_far_apart_images_are(scale: float) -> None:
    x = random_maps(16, 4, 7, 7)
    close(mutual_information(x.float(), scale=scale).double(), mutual_information(x, scale=scale), 2e-4)
    single, double = (gradient_of(lambda x: mutual_information(x, scale=scale).sum(), maps) for maps in (x.float(), x))
    close(single.double(), double, 2e-3 * double.abs().max().item())


@pytest.mark.parametrize("function", [mutual_information, decompose, effective_images])
def test_a_batch_in_any_layout_has_the_terms_of_its_numbers(function) -> None:
    x = random_maps(5, 3, 4, 6)
    found = function(strided(x, "every other"), scale=2.0)
    expected = function(x, scale=2.0)
    for value, same in zip(
        found if isinstance(found, tuple) else [found],
        expected if isinstance(expected, tuple) else [expected],
        strict=True,
    ):
        close(value, same, 1e-12)
