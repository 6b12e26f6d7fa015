"""What the package needs to know of torch.distributed; one process is the case of world size 1."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of ranks, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's rank, 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose backward is the all-reduce of the gradients.

    Every rank uses the sum, so a rank's input receives the gradients of all ranks' losses. With each rank
    back-propagating the same global loss the gradients come out world_size times too large, which is the
    factor that DDP's average divides by.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum of x over ranks, the same on each, differentiable: gradients are summed over ranks too."""
    if world_size() == 1:
        return x
    summed: Tensor = _SumOverRanks.apply(x)
    return summed


@torch.no_grad()
def max_over_ranks(x: Tensor) -> Tensor:
    """Elementwise maximum of x over ranks, detached."""
    if world_size() == 1:
        return x.detach()
    largest = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


def concatenate_over_ranks(x: Tensor) -> tuple[Tensor, int]:
    """The rows of all ranks one after the other, detached, and the number of the first row that is this rank's own.

    Ranks may have different numbers of rows.
    """
    if world_size() == 1:
        return x.detach(), 0
    from torchmetrics.utilities.distributed import gather_all_tensors  # loads matplotlib, 190 MiB

    parts = gather_all_tensors(x.detach().contiguous())
    return torch.cat(parts), sum(len(part) for part in parts[: rank()])
