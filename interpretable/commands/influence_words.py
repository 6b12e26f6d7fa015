"""What the numbers of each method mean, in words."""

from typing import NamedTuple

from interpretable.commands.influence_request import InfluenceMethod


class Words(NamedTuple):
    """Of one method."""

    influence: str
    """What an influence on an image is, its unit, and what is positive."""
    itself: str
    """What self-influence is, and its unit."""
    helpful: str
    """Heading of the helpful images."""
    harmful: str


_LEFT_OUT = Words(
    "first-order change of this image's loss if the training image were left out, in nats; positive is helpful: "
    "without the training image the loss would rise",
    "first-order change of the training image's own loss if it were left out of the training, in nats",
    "Most helpful: without them the loss would rise",
    "Most harmful: without them the loss would fall",
)

WORDS: dict[InfluenceMethod, Words] = {
    "last_layer": _LEFT_OUT,
    "ek_fac": _LEFT_OUT,
    "trac_in": Words(
        "first-order fall of this image's loss by a step of gradient descent on the training image alone, at the "
        "learning rate of each checkpoint and added up over them, in nats; positive is helpful",
        "first-order fall of the training image's own loss by a step of gradient descent on it alone, at the learning "
        "rate of each checkpoint and added up over them, in nats",
        "Most helpful: steps on them lower the loss",
        "Most harmful: steps on them raise the loss",
    ),
}
