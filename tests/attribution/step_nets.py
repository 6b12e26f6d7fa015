"""Networks that the oracles read as steps, and that run by torch's own operations; drawn weights in float64."""

from collections.abc import Sequence

import numpy
import torch
import torch.nn.functional as F
from oracles.layer_graph import Step
from torch import Tensor, nn


class StepNet(nn.Module):
    """Runs steps on a batch."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = list(steps)
        self.marker = nn.Parameter(torch.zeros(1, dtype=torch.float64))  # of the type that the images are to have

    def forward(self, x: Tensor) -> Tensor:
        values = {"x": x}
        for kind, inputs, output, parameters in self.steps:
            read = [values[name] for name in inputs]
            arrays = {name: torch.from_numpy(v) for name, v in parameters.items() if isinstance(v, numpy.ndarray)}
            options = {name: v for name, v in parameters.items() if name not in arrays and name != "kernel"}
            match kind:
                case "convolution":
                    values[output] = F.conv2d(*read, arrays["weight"], arrays.get("bias"), **options)
                case "linear":
                    values[output] = F.linear(*read, arrays["weight"], arrays.get("bias"))
                case "batch_norm":
                    of = [arrays[name] for name in ("mean", "variance", "weight", "bias")]
                    values[output] = F.batch_norm(*read, *of, eps=parameters["eps"])
                case "max_pool":
                    values[output] = F.max_pool2d(*read, parameters["kernel"], **options)
                case "average_pool":
                    values[output] = F.avg_pool2d(*read, parameters["kernel"], **options)
                case "concatenate":
                    values[output] = torch.cat(read, 1)
                case "add":
                    values[output] = read[0] + read[1]
                case "flatten":
                    values[output] = read[0].flatten(1)
                case "relu":
                    values[output] = F.relu(*read)
        return values[output]


class Draw:
    """Draws steps with weights; biases are of both signs, or all of one."""

    def __init__(self, seed: int, sign: float | None = None) -> None:
        self.random = numpy.random.default_rng(seed)
        self.sign = sign

    def bias(self, size: int) -> numpy.ndarray:
        return self.random.normal(size=size) if self.sign is None else self.sign * self.random.uniform(0.1, 0.5, size)

    def weighted(self, kind: str, source: str, output: str, shape: tuple[int, ...], **options: int) -> Step:
        weight = self.random.normal(size=shape) / numpy.prod(shape[1:]) ** 0.5
        return Step(kind, (source,), output, {"weight": weight, "bias": self.bias(shape[0]), **options})

    def batch_norm(self, source: str, output: str, channels: int) -> Step:
        random = self.random
        parameters = {
            "mean": random.normal(size=channels),
            "variance": random.uniform(0.5, 2, channels),
            "weight": random.normal(size=channels),
            "bias": random.normal(size=channels),
            "eps": 1e-3,
        }
        return Step("batch_norm", (source,), output, parameters)


def residual_steps(seed: int) -> list[Step]:
    """A residual sum, batch norm behind a convolution and before one, overlapping pools; images (2, 6, 5)."""
    draw = Draw(seed)
    return [
        draw.weighted("convolution", "x", "c1", (4, 2, 3, 3), padding=1),
        draw.batch_norm("c1", "n1", 4),
        Step("relu", ("n1",), "r1"),
        Step("max_pool", ("r1",), "p1", {"kernel": 3, "stride": 2, "padding": 1}),
        draw.weighted("convolution", "p1", "c2", (4, 2, 3, 3), padding=2, dilation=2, groups=2),
        draw.batch_norm("c2", "n2", 4),
        Step("add", ("n2", "p1"), "s"),
        Step("relu", ("s",), "r2"),
        draw.batch_norm("r2", "n3", 4),
        Step("relu", ("n3",), "r3"),
        draw.weighted("convolution", "r3", "c3", (2, 4, 1, 1)),
        Step("concatenate", ("r2", "c3"), "joined"),
        Step("average_pool", ("joined",), "p2", {"kernel": 2, "stride": 1}),
        Step("flatten", ("p2",), "flat"),
        draw.weighted("linear", "flat", "logits", (3, 24)),
    ]


def chain_steps(seed: int, sign: float | None) -> list[Step]:
    """A chain with biases of one sign, the root rules' own ground; images (2, 9, 7)."""
    draw = Draw(seed, sign)
    return [
        draw.weighted("convolution", "x", "z1", (4, 2, 3, 3), padding=1, stride=2),
        Step("relu", ("z1",), "r1"),
        Step("max_pool", ("r1",), "p1", {"kernel": 2, "stride": 1}),
        draw.weighted("convolution", "p1", "z2", (4, 4, 2, 2)),
        Step("relu", ("z2",), "r2"),
        Step("average_pool", ("r2",), "p2", {"kernel": 2, "stride": 1}),
        Step("flatten", ("p2",), "flat"),
        draw.weighted("linear", "flat", "z3", (6, 8)),
        Step("relu", ("z3",), "r3"),
        draw.weighted("linear", "r3", "logits", (3, 6)),
    ]
