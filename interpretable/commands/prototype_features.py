"""Images as rows of numbers, by which prototypes are chosen: filter peaks, pixels, or what a filter looks at."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from interpretable.activations import ActivationStore, StoredLayer, tap
from interpretable.activations.batches import as_weights, batch_rows
from interpretable.activations.recording import recording_of
from interpretable.commands.stores import predict_split
from interpretable.commands.terminal import show_progress
from interpretable.data.splits import Split
from interpretable.evaluation_mode import evaluation_mode
from interpretable.runs import Run

PIXELS = 32
"""Longer side at the most of images that are compared by their pixels."""

_TRUNK = "net.trunk"


class ComparedImages(NamedTuple):
    """Images of a split as rows."""

    name: str
    """What they are compared by."""
    rows: np.ndarray
    """(n, d) float32."""
    labels: np.ndarray
    """(n,) int64."""
    groups: np.ndarray
    """(n,) int64: what images are of the same photograph."""
    indices: np.ndarray
    """(n,) int64: of the images in their data set."""


def compared_by_peaks(run: Run, split: Split, store: ActivationStore, layer: str) -> ComparedImages:
    """Each image as the peaks of a layer's filters."""
    peaks = store.layer(layer).peaks[:].numpy()
    return _compared(run, split, store, f"filter peaks of {layer}", peaks)


def compared_by_pixels(run: Run, split: Split, store: ActivationStore) -> ComparedImages:
    """Each image as its normalised pixels, 32 along the longer side at the most."""
    dataset = predict_split(run, split).predict_dataset
    shrunk = []
    for batch in show_progress(
        _loader(run, dataset), f"pixels, {split}", -(-len(dataset) // run.datamodule.batch_size)
    ):
        images = batch_rows(batch)[0].float().cpu()
        scale = min(1.0, PIXELS / max(images.shape[-2:]))
        size = [max(1, round(scale * side)) for side in images.shape[-2:]]
        shrunk.append(F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False).flatten(1))
    return _compared(run, split, store, "pixels", torch.cat(shrunk)[store.recorded].numpy())


def features_at_peaks(
    run: Run, split: Split, layer: StoredLayer, below: str, rows: np.ndarray, filters: np.ndarray
) -> np.ndarray:
    """(filters, k, d) float32: what the layer below has in the cell where each filter peaks.

    Args:
        run: The run.
        split: Which of its images.
        layer: Of the filters, in the store of the split, which holds all of its images.
        below: Name of the layer below, of `layer_below`.
        rows: (filters, k) images to look at for each filter.
        filters: (filters,) numbers of the filters.
    """
    wanted, place = np.unique(rows, return_inverse=True)
    # Pairs of an image and a filter, in the order of the images
    order = place.ravel().argsort(kind="stable")
    of_pairs = torch.from_numpy(place.ravel()[order])
    peaks = layer.peak_indices[torch.from_numpy(wanted)].long()
    cells = peaks[of_pairs, torch.from_numpy(np.repeat(filters, rows.shape[1])[order])]
    loader = _loader(run, Subset(predict_split(run, split).predict_dataset, wanted.tolist()))
    vectors, seen, first = torch.empty(0), 0, 0
    with torch.inference_mode(), evaluation_mode(run.model), tap(run.model, [below]) as read:
        for batch in show_progress(loader, "what filters look at"):
            maps = read(as_weights(batch_rows(batch)[0], run.model))[below].float().cpu()
            if not len(vectors):
                vectors = torch.empty(rows.size, maps.shape[1])
            last = int(torch.searchsorted(of_pairs, seen + len(maps)))
            pairs = slice(first, last)
            found = _at_cells(maps, of_pairs[pairs] - seen, cells[pairs], (layer.info.height, layer.info.width))
            vectors[torch.from_numpy(order[pairs])] = found
            seen, first = seen + len(maps), last
    return vectors.reshape(*rows.shape, -1).numpy()


def layer_below(run: Run, layer: str) -> str | None:
    """Name of the layer that a part layer sees; None of other layers."""
    own = recording_of(run.model).layers
    if layer not in own or own == (_TRUNK,):
        return None
    return (_TRUNK, *own)[own.index(layer)]


def _at_cells(maps: Tensor, images: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """(p, d) columns of maps (N, d, h, w) of images (p,) below the cells (p,) of maps of another size."""
    height, width = maps.shape[-2:]
    y = ((cells // size[1] + 0.5) * height / size[0]).long()
    x = ((cells % size[1] + 0.5) * width / size[1]).long()
    return maps[images, :, y, x]


def _compared(run: Run, split: Split, store: ActivationStore, name: str, rows: np.ndarray) -> ComparedImages:
    groups = predict_split(run, split).predict_dataset.groups[store.recorded]
    return ComparedImages(name, rows, store.labels.numpy(), groups.numpy(), store.recorded.numpy())


def _loader(run: Run, dataset: object) -> DataLoader[object]:
    return DataLoader(dataset, batch_size=run.datamodule.batch_size)  # type: ignore[arg-type]
