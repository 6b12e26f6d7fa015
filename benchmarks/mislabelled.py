"""Prints how many wrong labels are found by looking at training images in the order of their self-influence.

Trains a small network on drawn creatures of which a tenth have another creature's label, and scores every training
image by the estimators of `interpretable.influence`, beside its loss and chance. Three to five minutes on two cores.
"""

import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.data import Creatures
from interpretable.data.transforms import standardise
from interpretable.influence import (
    EKFAC,
    LastLayer,
    LastLayerInfluence,
    TracIn,
    last_layer_features,
    mislabel_detection,
)
from interpretable.models import InterpretableCNN

IMAGES, SIDE, CLASSES, FLIPPED, EPOCHS, BATCH, RATE, SEED = 3200, 64, 8, 0.1, 10, 64, 2e-3, 0
LATE = 5
"""Epochs whose checkpoints TracIn adds up."""


def drawn(split: str, number: int) -> tuple[Tensor, Tensor]:
    """Images as a network takes them, and labels."""
    data = Creatures(split, size=number, image_size=SIDE, seed=SEED)
    images = [standardise(data[index], (SIDE, SIDE))["image"].as_subclass(Tensor) for index in range(number)]
    return torch.stack(images), data.labels


def flipped(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of which a tenth are another class's, and which ones."""
    generator = torch.Generator().manual_seed(SEED)
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    wrong[torch.randperm(len(labels), generator=generator)[: round(FLIPPED * len(labels))]] = True
    others = (labels + torch.randint(1, CLASSES, labels.shape, generator=generator)) % CLASSES
    return torch.where(wrong, others, labels), wrong


def in_order(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(200), labels.split(200), strict=True))


def train(images: Tensor, labels: Tensor) -> tuple[nn.Module, list[tuple[LastLayer, float]]]:
    """The network, and what its last layer saw after each late epoch, with the learning rate then."""
    torch.manual_seed(SEED)
    net = InterpretableCNN("small", CLASSES, part_layers=0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.05)
    kept = []
    for epoch in range(EPOCHS):
        net.train()
        rate = schedule.get_last_lr()[0]
        for rows in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            optimizer.zero_grad()
            F.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
        if epoch >= EPOCHS - LATE:
            kept.append((last_layer_features(net, in_order(images, labels)), rate))
    return net.eval(), kept


def main() -> None:
    console = Console(width=110)
    (images, true), (test_images, test_labels) = drawn("train", IMAGES), drawn("test", 400)
    labels, wrong = flipped(true)
    net, late = train(images, labels)
    with torch.no_grad():
        accuracy = float((net(test_images).argmax(1) == test_labels).double().mean())
    last, batches = late[-1][0], in_order(images, labels)
    logits = F.linear(last.features, last.weight, last.bias)
    ways: dict[str, Callable[[], Tensor]] = {
        "chance": lambda: torch.rand(len(images)),
        "loss of the image": lambda: F.cross_entropy(logits, labels, reduction="none"),
        "last layer": lambda: LastLayerInfluence().fit(last).self_influence(),
        "TracIn, last checkpoint": lambda: TracIn().fit([last], [1.0]).self_influence(),
        f"TracIn, last {LATE} epochs": lambda: TracIn().fit(*map(list, zip(*late, strict=True))).self_influence(),
        "EK-FAC, all layers": lambda: EKFAC().fit(net, batches).self_influence(batches),
    }
    table = Table(
        "by", "found in the first 10 %", "20 %", "30 %", "area", "s",
        title=f"{IMAGES} creatures, {int(wrong.sum())} wrong labels, test accuracy {accuracy:.3f}",
    )  # fmt: skip
    for name, scores in ways.items():
        start = time.perf_counter()
        found, area = mislabel_detection(scores(), wrong)
        shares = [f"{found[round(share * len(found)) - 1]:.3f}" for share in (0.1, 0.2, 0.3)]
        table.add_row(name, *shares, f"{area:.3f}", f"{time.perf_counter() - start:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
