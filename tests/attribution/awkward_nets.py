"""Small networks with everything that attribution goes wrong on; drawn weights, any size of image from 8 pixels."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def draw_weights(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64 and evaluation mode, with drawn weights and statistics of its batch norms."""
    generator = torch.Generator().manual_seed(seed)
    net = net.double().eval()

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.copy_(0.3 * noise(module.running_mean))
                module.running_var.copy_(torch.exp(0.3 * noise(module.running_var)))
                if module.affine:
                    module.weight.copy_(1 + 0.3 * noise(module.weight))
                    module.bias.copy_(0.3 * noise(module.bias))
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.copy_(noise(parameter) / parameter[0].numel() ** 0.5)
            elif not any(
                parameter is m.weight or parameter is m.bias
                for m in net.modules()
                if isinstance(m, nn.modules.batchnorm._BatchNorm)
            ):
                parameter.copy_(0.2 * noise(parameter))
    return net


class Functional(nn.Module):
    """No module for anything but weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, stride=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = torch.relu(F.max_pool2d(self.second(x), 2, 1))
        return self.head(x.mean((2, 3)))


class InPlace(nn.Module):
    """Rectifiers and sums that write into their input, and whose result is not looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        self.relu(x)
        y = self.second(x)
        y += x
        y.relu_()
        return self.head(F.adaptive_avg_pool2d(y, 1).flatten(1))


class Reused(nn.Module):
    """One convolution, one rectifier and one pool for all layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.pool, self.head = nn.ReLU(), nn.MaxPool2d(3, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        for _ in range(3):
            x = self.relu(self.layer(x))
        return self.head(self.pool(self.pool(x)).mean((2, 3)))


class Residual(nn.Module):
    """Batch norms, a sum with a branch of its own, overlapping pools, groups and dilation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.grouped = nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2)
        self.norm_grouped = nn.BatchNorm2d(8)
        self.branch, self.norm_branch = nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.norm(self.stem(x))))
        x = self.relu(self.norm_grouped(self.grouped(x)) + self.norm_branch(self.branch(x)))
        return self.head(F.avg_pool2d(x, 3, 1, 1).mean((2, 3)))


class Dense(nn.Module):
    """Normalised before the rectifier, concatenated, one of its convolutions normalised behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm_first, self.first = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1, bias=False)
        self.norm_second, self.second = nn.BatchNorm2d(7), nn.Conv2d(7, 4, 1, bias=False)
        self.norm_last, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.first(F.relu(self.norm_first(x)))], 1)
        x = F.relu(self.norm_last(self.second(F.relu(self.norm_second(x)))), inplace=True)
        return self.head(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


class Applied(nn.Module):
    """A function, and the means of the maps that it gives."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x).mean((2, 3))


NETS: dict[str, Callable[[], nn.Module]] = {
    "functional": Functional, "in place": InPlace, "reused": Reused, "residual": Residual, "dense": Dense,
}  # fmt: skip


def drawn_net(name: str, seed: int = 0) -> nn.Module:
    """One of `NETS` with drawn weights."""
    return draw_weights(NETS[name](), seed)


def drawn_images(batch: int, size: tuple[int, int] = (9, 11), seed: int = 1) -> Tensor:
    """Images of both signs."""
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
