"""Kinds of operation between an image and its logits, and what a call of one is."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class Kind(Enum):
    """Kinds of operation that a method may have a rule for; operands in brackets do not depend on the image."""

    WEIGHTED = "convolution or linear layer"
    """x, [weight], [bias or None]."""
    RECTIFIER = "rectifier"
    """x; a ReLU in any spelling, with an upper limit or without."""
    ACTIVATION = "activation"
    """x; any other function of each value alone."""
    SUM = "sum"
    """Two summands, signs and factors included; one of them may be [constant]."""
    SCALING = "scaling"
    """x, [factor]."""
    PRODUCT = "product"
    """Two factors that both depend on the image."""
    MAX_POOL = "maximum over cells"
    """x."""
    LINEAR = "average over cells"
    """x; linear functions without weights: averages, sums, interpolation."""
    AFFINE = "batch norm"
    """x, [scale], [shift]."""


@dataclass
class PassLength:
    """How many weighted calls a pass has had so far; when it is over, in all."""

    weighted: int = 0


@dataclass(frozen=True)
class Call:
    """One call of an operation, as a function of its operands."""

    name: str
    """The function's own name."""
    kind: Kind
    run: Callable[..., Tensor]
    """Gives the output of the operands, out of place."""
    operands: tuple[Tensor | None, ...]
    position: int = -1
    """Number of a weighted call among those of its pass."""
    of: PassLength | None = None
    """How many of these there are."""
    known: Tensor | None = None
    """The output, where it has been computed already."""

    def value(self) -> Tensor:
        """The output."""
        return self.run(*self.operands) if self.known is None else self.known


Rule = Callable[[Call], Tensor]
"""Gives the output of a call in such a way that the backward pass through it is the method's.

What a rule keeps of the operands of a rectifier, sum or scaling for its backward pass is a copy: the network may write
over them.
"""


def as_is(call: Call) -> Tensor:
    """The rule of operations whose gradient is what the method needs."""
    return call.run(*call.operands)


def followed(value: object) -> list[Tensor]:
    """Those of a value, or of several, that depend on the image by operations that have gradients."""
    if isinstance(value, Tensor):
        return [value] if value.requires_grad else []
    return [x for item in value for x in followed(item)] if isinstance(value, (tuple, list)) else []


def follows(value: object) -> bool:
    """Whether a value, or one of several, depends on the image by operations that have gradients."""
    return bool(followed(value))
