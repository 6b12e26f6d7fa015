"""Prints what mask and part-template loss cost: of a training step, against the hardware's floor, and as maps grow.

The rows of the first two tables take turns within one run, so that a busy machine slows all of them. A step is
forward, backward and SGD on random images; "plain twin" is the same network with mask and loss off. On a GPU, where
there is one, the step is that of a ResNet-50 at 224 px in bfloat16 instead of a ResNet-18 at 128 px.
"""

import gc
import math
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import NamedTuple, get_args

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # or the profiler, which counts the memory, talks on every use

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from interpretable.losses import Objective, PartTemplateLoss, mutual_information
from interpretable.losses.fitness import log_likelihood, template_fitness, uniform_log_prior
from interpretable.models import InterpretableCNN
from interpretable.templates import part_templates, template_mask

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
BACKBONE, SIDE, BATCH = ("resnet50", 224, 32) if ON_GPU else ("resnet18", 128, 32)
STEPS = 60 if ON_GPU else 15
CLASSES = 10
SCALE = 2.0
"""Of the fitness; what temperature 0.2 comes to on these random maps."""


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call, waiting for the device."""
    if ON_GPU:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Wall times of each call, all of them once before it is the first one's turn again."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return times


def ratio(times: list[float], reference: list[float]) -> float:
    """Median of the ratios within a turn."""
    return statistics.median(mine / theirs for mine, theirs in zip(times, reference, strict=True))


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes that a call has allocated at a time."""
    gc.collect()
    if ON_GPU:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    changes = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())))


class Step(NamedTuple):
    """A training step of a network with so many part layers, with mask and loss or without either."""

    net: InterpretableCNN
    losses: nn.ModuleList
    optimizer: torch.optim.Optimizer
    images: Tensor
    labels: Tensor

    @classmethod
    def build(cls, part_layers: int, interpretable: bool) -> "Step":
        """The network after so many part layers were inserted, with everything that a step needs."""
        torch.manual_seed(0)
        net = InterpretableCNN(BACKBONE, CLASSES, part_layers, mask=interpretable)
        net.to(DEVICE, memory_format=torch.channels_last)
        losses = nn.ModuleList(PartTemplateLoss(net.num_filters) for _ in range(part_layers * interpretable)).to(DEVICE)
        images = torch.randn(BATCH, 3, SIDE, SIDE, device=DEVICE).to(memory_format=torch.channels_last)
        labels = torch.arange(BATCH, device=DEVICE) % CLASSES
        return cls(net, losses, torch.optim.SGD(net.parameters(), 1e-3), images, labels)

    def __call__(self) -> None:
        """Forward, backward and an optimizer step."""
        self.optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=ON_GPU):
            maps = self.net.forward_features(self.images)
            cost = F.cross_entropy(self.net.forward_head(maps[-1]), self.labels)
            for loss, layer in zip(self.losses, maps, strict=False):
                cost = cost + 0.1 * loss(layer)
        cost.backward()
        self.optimizer.step()

    def peak_bytes(self) -> int:
        """Most bytes in use at a time, those of parameters included."""
        self()
        self.optimizer.zero_grad()
        held = sum(tensor.nbytes for tensor in (*self.net.parameters(), *self.net.buffers(), self.images))
        return held + peak_bytes(self)


def measure_steps(console: Console) -> None:
    variants = {
        "backbone alone": Step.build(0, False),
        "plain twin, 1 part layer": Step.build(1, False),
        "with mask and loss, 1 part layer": Step.build(1, True),
        "plain twin, 2 part layers": Step.build(2, False),
        "with mask and loss, 2 part layers": Step.build(2, True),
    }
    times = in_turns(dict(variants), STEPS)
    peaks = {name: step.peak_bytes() for name, step in variants.items()}
    table = Table(
        "step", "ms", "time / twin", "peak MB", "memory / twin", title=f"{BACKBONE}, {SIDE} px, batch {BATCH}"
    )
    for name in variants:
        twin = name.replace("with mask and loss", "plain twin")
        table.add_row(
            name,
            f"{1e3 * statistics.median(times[name]):.1f}",
            f"{ratio(times[name], times[twin]):.3f}" if twin != name else "",
            f"{peaks[name] / 1e6:.0f}",
            f"{peaks[name] / peaks[twin]:.3f}" if twin != name else "",
        )
    console.print(table)
    added = ratio(times["plain twin, 2 part layers"], times["plain twin, 1 part layer"])
    console.print(f"The convolution of the second part layer alone makes a plain step {added:.3f} times as long.")


def maps(batch: int, filters: int, side: int) -> Tensor:
    torch.manual_seed(0)
    x = torch.randn(batch, filters, side, side, device=DEVICE).relu()
    return x.to(memory_format=torch.channels_last).requires_grad_()


def back_and_forth(loss: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(loss(x), x)


def by_autograd(x: Tensor) -> Tensor:
    """The same loss, vectorised, its gradient left to autograd."""
    likelihood, log_prior = log_likelihood(template_fitness(x, 4.0, SCALE), "global"), uniform_log_prior(x)
    joint = likelihood + log_prior
    return -(joint.exp() * (likelihood - joint.logsumexp(-1, keepdim=True))).sum((0, 2)).mean()


def by_image(x: Tensor) -> Tensor:
    """The same loss, one image after the other, all filters of it at once."""
    templates = part_templates(*x.shape[-2:], device=x.device).flatten(1)
    templates = torch.cat([templates, -torch.ones_like(templates[:1])])
    log_prior = -math.log(len(templates))
    fitness = [SCALE * image.flatten(1) @ templates.T for image in x]
    log_z = torch.stack(fitness).logsumexp(0)
    total = torch.zeros(x.shape[1], device=x.device)
    for s in fitness:
        likelihood = s - log_z
        evidence = (likelihood + log_prior).logsumexp(-1, keepdim=True)
        total = total + ((likelihood + log_prior).exp() * (likelihood - evidence)).sum(-1)
    return -total.mean()


def by_map(x: Tensor) -> Tensor:
    """The same loss, one image of one filter after the other, as most published ports have it."""
    return torch.stack([by_image(x[:, c : c + 1]) for c in range(x.shape[1])]).mean()


def ours(x: Tensor) -> Tensor:
    return -mutual_information(x, scale=SCALE).mean()


def floor(x: Tensor) -> tuple[float, float]:
    """Seconds that two products with the templates take, and reading the maps and writing their gradient once."""
    cells = x[0, 0].numel()
    a, b = torch.randn(2048, 2048, device=DEVICE), torch.randn(2048, 2048, device=DEVICE)
    flops = 2 * 2048**3 / statistics.median(in_turns({"product": lambda: a @ b}, 9)["product"])
    big, copy = torch.randn(2**25, device=DEVICE), torch.empty(2**25, device=DEVICE)
    rate = 2 * big.nbytes / statistics.median(in_turns({"copy": lambda: copy.copy_(big)}, 9)["copy"])
    return 2 * 2 * x.numel() * (cells + 1) / flops, 2 * x.nbytes / rate


def measure_loss(console: Console) -> None:
    table = Table("loss and gradient of one layer", "ms", "times ours", title="32 images, 256 filters, 8×8")
    x, labels = maps(32, 256, 8), torch.arange(32, device=DEVICE) % CLASSES
    functions = {"ours": ours, "vectorised, autograd": by_autograd, "per image": by_image, "per map": by_map}
    for function in functions.values():
        torch.testing.assert_close(function(x), ours(x), rtol=1e-4, atol=1e-5)
    runs = {name: back_and_forth(function, x) for name, function in functions.items()}
    runs["the mask alone"] = lambda: template_mask(x.detach())
    for objective in get_args(Objective):
        module = PartTemplateLoss(256, objective, num_classes=CLASSES).to(DEVICE)
        loss = partial(PartTemplateLoss.forward, module, labels=labels)
        runs[f"with its statistics, {objective}"] = back_and_forth(loss, x)
    times = in_turns(runs, 7)
    for name, taken in times.items():
        table.add_row(name, f"{1e3 * statistics.median(taken):.2f}", f"{ratio(taken, times['ours']):.1f}")
    console.print(table)


def measure_growth(console: Console) -> None:
    table = Table("images", "filters", "map", "ms", "ms by flops", "ms by bytes", "times floor", "peak / maps' bytes")
    for batch, filters, side in [
        *((32, 256, side) for side in (8, 14, 28)),
        *((32, filters, 14) for filters in (128, 512)),
        *((batch, 256, 14) for batch in (8, 128)),
    ]:
        x = maps(batch, filters, side)
        taken = statistics.median(in_turns({"loss": back_and_forth(ours, x)}, 11)["loss"])
        by_flops, by_bytes = floor(x)
        numbers = [1e3 * taken, 1e3 * by_flops, 1e3 * by_bytes, taken / max(by_flops, by_bytes)]
        numbers.append(peak_bytes(back_and_forth(ours, x)) / x.nbytes)
        table.add_row(f"{batch}", f"{filters}", f"{side}×{side}", *(f"{number:.2f}" for number in numbers))
    console.print(table)


def main() -> None:
    console = Console()
    name = torch.cuda.get_device_name() if ON_GPU else f"CPU, {torch.get_num_threads()} threads"
    console.print(f"{name}, torch {torch.__version__}")
    measure_steps(console)
    measure_loss(console)
    measure_growth(console)


if __name__ == "__main__":
    main()
