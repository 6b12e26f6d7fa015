"""Prints what attribution costs beside Captum's, and beside the passes that it is made of.

Needs ``pip install captum``. Results of both are compared before anything is timed; both get the same network, images,
targets and examples in a forward pass. One thread, processor time, the least of several turns in which the rows take
their turn in a drawn order: wall times of one call vary threefold on a busy machine. Where a peer cannot do what is
asked, or does something else, the row says so.
"""

import os
import random
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import captum.attr
import torch
import torchvision
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from interpretable.attribution import (
    LRP,
    DeconvNet,
    DeepLIFT,
    GradCAM,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    Occlusion,
    Saliency,
)
from interpretable.attribution.lrp import Composite
from interpretable.attribution.lrp_rules import Epsilon

CLASSES, IMAGES, SIDE, STEPS, CHUNK, TURNS = 20, 4, 96, 32, 16, 7
WINDOW, STRIDE = 16, 16
EPSILON = 1e-9  # Captum's
COMPOSITE = Composite(convolution=Epsilon(EPSILON), dense=Epsilon(EPSILON))


def drawn(net: nn.Module) -> nn.Module:
    """With batch norms that are not the identity."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


@dataclass(frozen=True)
class Row:
    """One thing that both do."""

    what: str
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]
    passes: tuple[str, float]
    """What it is made of: a key of `floors`, and how many of them."""


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def least(runs: dict[str, Callable[[], object]], turns: int = TURNS) -> dict[str, float]:
    """The least processor time of each call over turns of all of them in a drawn order."""
    order = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(turns):
        for name in order.sample(list(runs), len(runs)):
            times[name].append(seconds(runs[name]))
    return {name: min(found) for name, found in times.items()}


def saved_bytes(net: nn.Module, run: Callable[[], object]) -> int:
    """Most bytes of distinct tensors that the graph of one forward pass keeps."""
    storages: dict[int, int] = {}
    most = 0

    def begin(*_: object) -> None:
        nonlocal most
        most = max(most, sum(storages.values()))
        storages.clear()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    hook = net.register_forward_pre_hook(begin)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    hook.remove()
    begin()
    return most


def gradient(net: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """What any method of gradients takes at the least: a forward pass and a backward pass to the images."""
    leaf = images.clone().requires_grad_()
    chosen = net(leaf).gather(1, targets[:, None]).sum()
    return torch.autograd.grad(chosen, leaf)[0]


def floors(net: nn.Module, plain: nn.Module, images: Tensor, targets: Tensor) -> dict[str, float]:
    """Seconds of the passes that methods are made of."""
    chunk = images.repeat(CHUNK // IMAGES, 1, 1, 1)
    return least(
        {
            "gradient": lambda: gradient(net, images, targets),
            "gradient of VGG-11": lambda: gradient(plain, images, targets),
            "gradient of a chunk": lambda: gradient(net, chunk, targets.repeat(CHUNK // IMAGES)),
            "forward pass of a chunk": lambda: torch.no_grad()(net)(chunk),
        }
    )


def rows(net: nn.Module, plain: nn.Module, images: Tensor, targets: Tensor) -> list[Row]:
    """ResNet-18 for most; VGG-11 where Captum cannot explain a network that uses a rectifier twice."""
    attr = captum.attr
    windows = (SIDE // STRIDE) ** 2
    given = (net, images, targets)
    return [
        Row("saliency", partial(Saliency(), *given),
            lambda: attr.Saliency(net).attribute(images, targets, abs=False), ("gradient", 1)),
        Row("gradient × input", partial(GradientTimesInput(), *given),
            lambda: attr.InputXGradient(net).attribute(images, targets), ("gradient", 1)),
        Row(f"integrated gradients, {STEPS} steps, {CHUNK} at once",
            partial(IntegratedGradients(steps=STEPS, tolerance=None, batch_size=CHUNK), *given),
            lambda: attr.IntegratedGradients(net).attribute(
                images, target=targets, n_steps=STEPS, internal_batch_size=CHUNK),
            ("gradient of a chunk", IMAGES * STEPS / CHUNK)),
        Row("deconvnet", partial(DeconvNet(), *given),
            lambda: attr.Deconvolution(net).attribute(images, targets), ("gradient", 1)),
        Row("guided backprop", partial(GuidedBackprop(), *given),
            lambda: attr.GuidedBackprop(net).attribute(images, targets), ("gradient", 1)),
        Row("Grad-CAM, layer3", partial(GradCAM(layer="layer3"), *given),
            lambda: attr.LayerGradCam(net, net.layer3).attribute(images, targets), ("gradient", 1)),
        Row(f"occlusion, {windows} windows", partial(Occlusion(window=WINDOW, stride=STRIDE), *given),
            lambda: attr.Occlusion(net).attribute(
                images, (3, STRIDE, STRIDE), (3, WINDOW, WINDOW), target=targets,
                perturbations_per_eval=CHUNK // IMAGES),
            ("forward pass of a chunk", IMAGES * windows / CHUNK)),
        Row("DeepLIFT, VGG-11", partial(DeepLIFT(), plain, images, targets),
            lambda: attr.DeepLift(plain).attribute(images, target=targets), ("gradient of VGG-11", 2)),
        Row("LRP-ε, VGG-11", partial(LRP(rule=COMPOSITE, stabiliser=EPSILON), plain, images, targets),
            lambda: attr.LRP(plain).attribute(images, targets), ("gradient of VGG-11", 2)),
    ]  # fmt: skip


def compare(compared: list[Row]) -> list[float]:
    """Largest difference of each row over the largest value, in float64: a rounding can flip a rectifier in float32."""
    found = []
    for row in compared:
        ours, theirs = row.ours(), row.theirs().detach()
        found.append(float((ours - theirs).abs().max() / theirs.abs().max()))
        # Captum's ε acts on pools too.
        assert found[-1] < (1e-4 if "LRP" in row.what else 1e-6), (
            f"{row.what} differs by {found[-1]:.1e} of the largest value"
        )
    return found


def measure(console: Console, compared: list[Row], differences: list[float], passes: dict[str, float]) -> None:
    table = Table("method", "difference", "ms", "Captum ms", "ours / Captum", "passes alone, ms", "ours / passes",
                  title=f"{IMAGES} images of {SIDE} px, one thread, float32")  # fmt: skip
    for row, difference in zip(compared, differences, strict=True):
        times = least({"ours": row.ours, "theirs": row.theirs})
        key, count = row.passes
        floor = count * passes[key]
        table.add_row(
            row.what, f"{difference:.0e}", *(f"{1e3 * times[name]:.0f}" for name in ("ours", "theirs")),
            f"{times['ours'] / times['theirs']:.3f}", f"{1e3 * floor:.0f}", f"{times['ours'] / floor:.2f}",
        )  # fmt: skip
    console.print(table)


def measure_classes(console: Console, net: nn.Module, images: Tensor) -> None:
    """All classes of each image, which Captum takes one call for each."""
    every = torch.arange(CLASSES).expand(IMAGES, -1)
    peer = captum.attr.Saliency(net)
    runs = {
        "ours": partial(Saliency(), net, images, every),
        "theirs": lambda: torch.stack([peer.attribute(images, c, abs=False) for c in range(CLASSES)], 1),
    }
    torch.testing.assert_close(runs["ours"](), runs["theirs"](), rtol=1e-4, atol=1e-6)
    times = least(runs)
    console.print(
        f"saliency of {CLASSES} classes: {1e3 * times['ours']:.0f} ms, Captum {1e3 * times['theirs']:.0f} ms: "
        f"{times['theirs'] / times['ours']:.2f} times"
    )


def measure_memory(console: Console, net: nn.Module, images: Tensor, targets: Tensor) -> None:
    """Saved tensors of integrated gradients, both by default, and as steps grow."""
    integrated = captum.attr.IntegratedGradients(net)
    for steps in (STEPS, 4 * STEPS):
        ours = saved_bytes(net, partial(IntegratedGradients(steps=steps, tolerance=None), net, images, targets))
        theirs = saved_bytes(net, partial(integrated.attribute, images, target=targets, n_steps=steps))
        console.print(
            f"integrated gradients, {steps} steps, {IMAGES} images, both by default: {ours / 2**20:.0f} MiB of saved "
            f"tensors, Captum {theirs / 2**20:.0f} MiB: {theirs / ours:.1f} times"
        )


def main() -> None:
    warnings.simplefilter("ignore")  # Captum's, on hooks and on required gradients
    torch.manual_seed(0)
    torch.set_num_threads(1)
    console = Console(width=140)
    net = drawn(torchvision.models.resnet18(num_classes=CLASSES))
    plain = drawn(torchvision.models.vgg11(num_classes=CLASSES))
    images, targets = torch.randn(IMAGES, 3, SIDE, SIDE), torch.randint(CLASSES, (IMAGES,))
    for parameter in (*net.parameters(), *plain.parameters()):
        parameter.requires_grad_(False)
    differences = compare(rows(deepcopy(net).double(), deepcopy(plain).double(), images.double(), targets))
    given = (net, plain, images, targets)
    measure(console, rows(*given), differences, floors(*given))
    measure_classes(console, net, images)
    measure_memory(console, net, images, targets)


if __name__ == "__main__":
    main()
