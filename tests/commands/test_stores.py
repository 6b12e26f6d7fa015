"""What `open_or_write` keeps, adds and writes anew."""

from pathlib import Path

import pytest
import torch
from test_commands import files

from interpretable import InterpretableClassifier, PartsDataModule
from interpretable.activations import ActivationStore, shards, weights_digest
from interpretable.activations.manifest import Manifest
from interpretable.commands.stores import begun_store, open_or_write, store_folder, write_store
from interpretable.errors import ConfigurationError, StoreError
from interpretable.runs import Run

LAYERS = ["net.part_filters.0", "net.part_filters.1"]
CLASSES = PartsDataModule().classes
FIRST, SECOND, THIRD = CLASSES[:3]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose network was never trained."""
    model = InterpretableClassifier(num_classes=8, part_layers=2).eval()
    data = PartsDataModule(options={"size": 10}, image_size=64, batch_size=4)
    return Run(model, data, {}, tmp_path / "run")


@pytest.fixture
def binary(tmp_path: Path) -> Run:
    from data.drawn import draw_part_folder

    root = draw_part_folder(tmp_path / "data", test=2)
    model = InterpretableClassifier(num_classes=2, task="binary").eval()
    return Run(model, PartsDataModule("PartAnnotatedFolder", str(root), batch_size=4), {}, tmp_path / "run")


def kept(store: ActivationStore) -> tuple[list[str], bool, object]:
    """Layers, maps and rationales."""
    manifest = store.manifest
    return [layer.name for layer in manifest.layers], manifest.maps, manifest.rationales


def written(run: Run, split: str = "test") -> Manifest:
    return ActivationStore.open(run.folder / "activations" / split).manifest


def gradients_of(run: Run, store: ActivationStore, label: int) -> torch.Tensor:
    """Of a logit at the masked maps of each image, mean over cells."""
    net, dataset = run.model.net, run.datamodule.predict_dataset
    images = torch.stack([dataset[index]["image"] for index in range(len(store))])
    maps = net.part_filters[-1].mask(net.forward_features(images)[-1]).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(net.head(maps)[:, label].sum(), maps)
    return gradients.mean((2, 3))


def test_a_missing_store_is_written_with_what_is_asked_for(run):
    store = open_or_write(run, "test", maps=True, rationales=[THIRD, FIRST])
    assert kept(store) == (LAYERS, True, (2, 0))
    assert store.folder == store_folder(run, "test")
    assert (store.manifest.model, len(store)) == (weights_digest(run.model), 10)
    for column, label in enumerate((2, 0)):
        torch.testing.assert_close(
            store.rationales[:][:, column], gradients_of(run, store, label), atol=1e-6, rtol=1e-4
        )


def test_without_wishes_there_are_neither_maps_nor_rationales(run):
    assert kept(open_or_write(run, "train")) == (LAYERS, False, None)


def test_a_store_that_has_what_is_asked_for_is_not_written_again(run):
    open_or_write(run, "test", maps=True, rationales=[FIRST, SECOND])
    before = files(run.folder)
    for wishes in ({}, {"maps": True}, {"rationales": [SECOND]}, {"maps": True, "rationales": [SECOND, FIRST]}):
        assert kept(open_or_write(run, "test", **wishes)) == (LAYERS, True, (0, 1))
    assert files(run.folder) == before


def test_named_rationales_are_added_to_those_before_and_maps_and_layers_are_kept(run):
    write_store(run, "test", layers=LAYERS[1:], maps=True, rationales=[SECOND])
    store = open_or_write(run, "test", rationales=[FIRST, SECOND, THIRD])
    assert kept(store) == (LAYERS[1:], True, (1, 0, 2))
    torch.testing.assert_close(store.rationales[:][:, 1], gradients_of(run, store, 0), atol=1e-6, rtol=1e-4)


def test_maps_are_added_to_rationales_and_rationales_to_a_store_without_any(run):
    open_or_write(run, "test", rationales=[SECOND])
    assert kept(open_or_write(run, "test", maps=True)) == (LAYERS, True, (1,))
    open_or_write(run, "train")
    assert kept(open_or_write(run, "train", rationales=[THIRD])) == (LAYERS, False, (2,))


def test_rationales_of_each_images_own_class_stay_until_classes_are_named(run):
    write_store(run, "test", rationales=["label"])
    before = files(run.folder)
    assert open_or_write(run, "test").manifest.rationales == "label"
    assert files(run.folder) == before
    assert kept(open_or_write(run, "test", maps=True)) == (LAYERS, True, "label")
    assert kept(open_or_write(run, "test", rationales=[SECOND])) == (LAYERS, True, (1,))


def test_the_one_logit_of_a_binary_task_is_that_of_the_category(binary):
    assert open_or_write(binary, "test", rationales=["dog"]).manifest.rationales == (1,)
    before = files(binary.folder)
    assert open_or_write(binary, "test", rationales=["dog"]).rationales.shape[1] == 1
    assert files(binary.folder) == before
    with pytest.raises(ConfigurationError, match="Rationales must be of classes"):
        open_or_write(binary, "train", rationales=["cat"])


@pytest.mark.parametrize("wishes", [{}, {"rationales": [SECOND]}, {"rationales": [SECOND], "maps": True}])
def test_a_store_that_was_stopped_goes_on_with_what_it_was_begun_with(run, wishes, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_IMAGES", 4)
    whole = open_or_write(run, "test", maps=True, rationales=[SECOND, FIRST]).rationales[:]
    first, *_, last = sorted(store_folder(run, "test").glob("shard-*"))
    when = first.stat().st_mtime_ns
    last.unlink()
    store = open_or_write(run, "test", **wishes)
    assert kept(store) == (LAYERS, True, (1, 0))
    assert first.stat().st_mtime_ns == when
    torch.testing.assert_close(store.rationales[:], whole)


def test_a_stopped_store_that_lacks_what_is_asked_for_is_begun_anew(run, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_IMAGES", 4)
    open_or_write(run, "test", rationales=[SECOND])
    sorted(store_folder(run, "test").glob("shard-*"))[-1].unlink()
    store = open_or_write(run, "test", rationales=[THIRD])
    assert kept(store) == (LAYERS, False, (1, 2))
    assert len(store) == 10


@pytest.mark.parametrize("change", ["weights", "damage"])
def test_a_stale_or_damaged_store_is_written_anew_with_what_is_asked_for_alone(change, run):
    folder = open_or_write(run, "test", maps=True, rationales=[SECOND]).folder
    if change == "weights":
        with torch.no_grad():
            next(run.model.parameters()).add_(0.1)
    else:
        (folder / "manifest.json").write_text("{")
    assert kept(open_or_write(run, "test", rationales=[FIRST])) == (LAYERS, False, (0,))
    assert written(run).model == weights_digest(run.model)


def test_what_is_not_of_a_store_is_never_deleted(run):
    folder = open_or_write(run, "test").folder
    (folder / "notes.txt").write_text("mine")
    before = files(run.folder)
    with pytest.raises(StoreError, match=r"notes\.txt, which is not of a store"):
        open_or_write(run, "test", rationales=[FIRST])
    with pytest.raises(StoreError, match=r"notes\.txt, which is not of a store"):
        begun_store(folder, "of other weights", "of other data")
    assert files(run.folder) == before
