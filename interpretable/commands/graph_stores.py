"""The stores that an explanatory graph is fitted to: maps of its layers, of the images as they are and mirrored."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader

from interpretable.activations import ActivationStore, record_activations, weights_digest
from interpretable.activations.batches import as_weights
from interpretable.activations.recording import describe_layers, recording_of
from interpretable.commands.stores import begun_store, predict_split, remove_store
from interpretable.commands.terminal import show_progress
from interpretable.data.mirrored import MirroredImages
from interpretable.data.splits import Split
from interpretable.runs import Run
from interpretable.surrogates.layer_maps import field_of

_TRUNK = "net.trunk"


def graph_layers(run: Run, names: Sequence[str]) -> tuple[str, ...]:
    """The layers of a graph, bottom to top: those that are named, or the trunk's map and the part layers.

    Raises:
        ModelError: The network has no such layer, or it gives no maps.
        SurrogateError: It is not known where a layer's units are in the image.
    """
    own = recording_of(run.model).layers
    wanted = tuple(dict.fromkeys(names)) or (own if _TRUNK in own else (_TRUNK, *own))
    image = predict_split(run, "test").predict_dataset[0]["image"].as_subclass(Tensor)
    infos = describe_layers(run.model, recording_of(run.model, wanted, maps=True), as_weights(image, run.model))
    for info in infos:
        field_of(info)
    return tuple(info.name for info in sorted(infos, key=lambda info: field_of(info).size))


def graph_store(
    folder: Path, run: Run, split: Split, layers: tuple[str, ...], mirrored: bool = False
) -> ActivationStore:
    """Maps of these layers on the images of a split, written where they are missing or stale, gone on with if stopped.

    Args:
        folder: Of all stores of graphs.
        run: The run.
        split: Which of its images.
        layers: Of `graph_layers`.
        mirrored: Whether the images are mirrored first.
    """
    name = f"{split}-mirrored" if mirrored else split
    images = predict_split(run, split).predict_dataset
    dataset = MirroredImages(images) if mirrored else images
    place = folder / name
    found = begun_store(place, weights_digest(run.model), dataset.fingerprint())
    if found and (tuple(layer.name for layer in found.layers) != layers or not found.maps):
        remove_store(place)
    loader = DataLoader(dataset, batch_size=run.datamodule.batch_size)
    return record_activations(
        run.model,
        loader,
        place,
        layers,
        maps=True,
        split=split,
        progress=partial(show_progress, what=f"maps, {name}"),
    )
