"""Relevance in the place of gradients: a backward pass in which every operation shares what its output has."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from interpretable.attribution.ledger import BookedCalls, Ledger
from interpretable.attribution.network import Network, check_classes, check_depends, vector_jacobian_products
from interpretable.attribution.operations import Call, Kind, as_is
from interpretable.attribution.sharing import Sharing, by_factor


class _Redistribution(torch.autograd.Function):
    """An operation whose backward pass shares relevance; what a constant operand receives is booked as absorbed."""

    @staticmethod
    def forward(ctx: Any, call: Call, sharing: Sharing, ledger: Ledger, *operands: Tensor | None) -> Tensor:
        # Copies, since the network may write over its own; and not the call, whose output would keep itself alive.
        copies = [x.detach().clone() if x is not None and x.requires_grad else x for x in operands]
        ctx.share, ctx.ledger = partial(sharing, call.run, *copies), ledger
        ctx.shapes = [None if x is None else x.shape for x in operands]
        return call.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        shares, absorbed = ctx.share(relevance)
        ctx.ledger.book(absorbed)
        gradients: list[Tensor | None] = [None, None, None]
        for share, shape, wanted in zip(shares, ctx.shapes, ctx.needs_input_grad[3:], strict=True):
            if share is not None and not wanted:
                ctx.ledger.book(share)
            gradients.append(share.sum_to_size(shape) if wanted else None)
        return tuple(gradients)


class _Passing(torch.autograd.Function):
    """An operation that has one input for each output, which receives all relevance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call) -> Tensor:
        return call.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None]:
        return relevance, None


def relevance_of(
    network: Network,
    images: Tensor,
    classes: Tensor,
    sharings: Mapping[Kind, Callable[[Call], Sharing]],
    method: str,
    start: Callable[[Tensor], Tensor] = torch.clone,
) -> tuple[Tensor, Tensor]:
    """Relevance (N, K, C, H, W) of the images to the classes, and what was absorbed (N, K), from one forward pass.

    Args:
        network: Within its block of `explained`.
        images: (N, C, H, W).
        classes: (N, K).
        sharings: How a call of each kind shares; rectifiers, scalings and max pools have what every method gives them.
        method: What the method is called in messages.
        start: Gives the relevance that logits (N, K) begin with, their own if omitted.

    Raises:
        AttributionError: The logits do not depend on the images, a class is none of the network's, or an operation has
            no rule.
    """
    leaf, ledger = images.detach().clone().requires_grad_(), Ledger(images)
    sharings = {Kind.SCALING: lambda call: by_factor, **sharings}
    rules = {kind: partial(_redistributed, sharing, ledger) for kind, sharing in sharings.items()}
    with BookedCalls({Kind.RECTIFIER: _passed, Kind.MAX_POOL: as_is, **rules}, method, ledger):
        logits = network(leaf)
    check_depends(logits)
    check_classes(classes, logits.shape[1])
    begin = start(logits.detach().gather(1, classes))
    relevance, absorbed = [], []
    for k, column in enumerate(torch.split(classes, 1, 1)):
        more = k + 1 < classes.shape[1]
        relevance.append(vector_jacobian_products(logits, leaf, column, begin[:, k], retain_graph=more))
        absorbed.append(ledger.closed())
    return torch.cat(relevance, 1), torch.stack(absorbed, 1)


def _redistributed(sharing_of: Callable[[Call], Sharing], ledger: Ledger, call: Call) -> Tensor:
    output: Tensor = _Redistribution.apply(call, sharing_of(call), ledger, *call.operands)
    return output


def _passed(call: Call) -> Tensor:
    output: Tensor = _Passing.apply(call.operands[0], call)
    return output
