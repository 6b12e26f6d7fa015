"""Labels that name no class are refused: counted by class, they would be lost or end up with another one."""

from jaxtyping import Int64
from torch import Tensor

from interpretable.errors import MetricError


def refuse_unknown_class(labels: Int64[Tensor, " image"], num_classes: int) -> None:
    """Raises a MetricError where a label is not in 0..K−1."""
    unknown = (labels < 0) | (labels >= num_classes)
    if unknown.any():
        image = int(unknown.nonzero()[0])
        raise MetricError(
            f"Labels must be classes 0 to {num_classes - 1}, got {int(labels[image])} in row {image} of {len(labels)}; "
            "give every class a column of logits (a single logit z of a binary network is the two columns 0 and z)."
        )
