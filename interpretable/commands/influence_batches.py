"""Images with their labels as estimators of influence take them, and what a network says of them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from interpretable.commands.stores import predict_split
from interpretable.commands.terminal import show_progress
from interpretable.evaluation_mode import evaluation_mode
from interpretable.influence.labelled_images import LabelledImages, in_passes
from interpretable.precision import full_precision
from interpretable.runs import Run


class TrainingImages:
    """A run's training images with their labels, not augmented, in their order; decoded anew in each sweep.

    Args:
        run: The run.
        batch_size: Images of a batch; as in training if None.
    """

    def __init__(self, run: Run, batch_size: int | None) -> None:
        datamodule = predict_split(run, "train")
        if batch_size is not None:
            datamodule.batch_size = batch_size
        self.dataset = datamodule.predict_dataset
        self._loader = datamodule.predict_dataloader()

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return self.dataset.labels

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((batch["image"].as_subclass(Tensor), batch["label"]) for batch in self._loader)


def logits_of(run: Run, batches: LabelledImages, batch_size: int | None = None) -> Tensor:
    """Logits (N, K) of images in their order, on the CPU.

    Args:
        run: The run, whose network is on its device.
        batches: Pairs of images and labels, which are not looked at.
        batch_size: Images in a pass at the most; chosen by the device if None.
    """
    network = run.model.net
    weight = next(network.parameters())
    with full_precision(), evaluation_mode(network):
        passes = in_passes(show_progress(batches, "logits"), batch_size, weight.device, weight.dtype)
        return torch.cat([network(images).cpu() for images, _ in passes])
