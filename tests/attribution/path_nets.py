"""Networks whose gradients along the way from a baseline are known, and how they are run: counted, in little memory."""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn


def linear(classes: int = 3, pixels: int = 3 * 4 * 5) -> nn.Sequential:
    """Logits that are linear in images (B, 3, 4, 5)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes)).double()


def without_biases() -> nn.Sequential:
    """Convolutions, rectifiers and a pool, homogeneous in images (B, 3, H, W)."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, bias=False),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3, bias=False),
    ).double()  # fmt: skip


class Saturating(nn.Module):
    """1 − relu(1 − x) of an image of one pixel, and the negative of it."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        value = self.limit - torch.relu(self.limit - x.flatten(1))
        return torch.cat([value, -value], 1)


class Squares(nn.Module):
    """Logit k is k + 1 times the sum of squared pixels: the gradient is 2(k + 1)x."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.arange(1, 4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.pow(2).sum((1, 2, 3))[:, None] * self.factors


class Smooth(nn.Module):
    """No kinks, so that quadrature converges quickly."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.conv(x)).mean((2, 3)))


class Counted(nn.Module):
    """A network that counts the examples of its forward passes, and does not fit more than so many into memory."""

    def __init__(self, net: nn.Module, fits: int | None = None) -> None:
        super().__init__()
        self.net, self.fits = net, fits
        self.examples: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.fits is not None and len(x) > self.fits:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        self.examples.append(len(x))
        return self.net(x)


class _Held:
    def __init__(self, value: Tensor) -> None:
        self.value = value


def saved_bytes(work: Callable[[], object]) -> int:
    """The most bytes that graphs hold at once while the work is done, each storage counted once."""
    users: dict[int, int] = {}
    held, most = 0, 0

    def release(storage: int, size: int) -> None:
        nonlocal held
        users[storage] -= 1
        if not users[storage]:
            held -= size

    def pack(value: Tensor) -> _Held:
        nonlocal held, most
        box, storage, size = _Held(value), value.untyped_storage()._cdata, value.untyped_storage().nbytes()
        users[storage] = users.get(storage, 0) + 1
        if users[storage] == 1:
            held += size
            most = max(most, held)
        weakref.finalize(box, release, storage, size)
        return box

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.value):
        work()
    return most
