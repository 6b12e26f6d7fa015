"""`interpretable prototypes` on a tiny run: what it writes, what it keeps, and what it refuses."""

import csv
import io
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import pytest
import torch
from changed_runs import Drawn, configure, logged_by_wandb, on_other_data, with_wandb, without_pictures
from data.drawn import draw_part_folder, write_csv
from drawn_fruit import CLASSES, IMAGES, SIDE, draw_fruit, draw_fruit_without_parts
from oracles import mmd_critic
from PIL import Image
from rich.cells import cell_len
from sklearn.neighbors import KNeighborsClassifier
from test_commands import command, fails, files, fit
from test_tree_command import LEARNING

from interpretable import load_run
from interpretable.activations import ActivationStore, weights_digest
from interpretable.commands import (
    prototype_errors,
    prototype_export,
    prototype_filters,
    prototype_pictures,
    prototypes,
)
from interpretable.commands.prototype_features import compared_by_pixels, features_at_peaks
from interpretable.commands.stores import predict_split
from interpretable.commands.tree_images import picture, region
from interpretable.data.splits import Split
from interpretable.documents import read_document
from interpretable.errors import ExemplarError
from interpretable.exemplars import MMDCritic
from interpretable.exemplars.exemplar_records import ExemplarsRecord, SelectionRecord
from interpretable.exemplars.exemplar_view import ClassCounts, ErrorCurve, ExemplarSheet, Mmd2Curve

APPLE, BUD, PLUM = CLASSES
BELOW, TOP = ("net.part_filters.0", "net.part_filters.1")
CHANNELS = 96
OF_CLASS = IMAGES["train"]
PHOTOGRAPHS = OF_CLASS // 2
"""Training images of a class are crops of so many photographs, two of each."""
FEW = ("--prototypes", "3", "--criticisms", "2")
SHEETS = {APPLE: "0_apple", BUD: "1_bud_i_leaf", PLUM: "2_plum"}


DRAWERS = {
    name: getattr(prototype_export, name)
    for name in ("draw_sheet", "draw_sheets", "draw_mmd2", "draw_errors", "draw_class_counts")
}


quick = partial(without_pictures, "prototypes", prototype_export, *DRAWERS)


@pytest.fixture(autouse=True)
def drawn() -> Iterator[Drawn]:
    with quick() as found:
        yield found


def in_pairs(root: Path) -> Path:
    """The drawn fruit, of each class and split two and two of one photograph."""
    with (root / "annotations.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        number = seen[row[1], row[2]] = seen.get((row[1], row[2]), -1) + 1
        row[3] = f"{row[1]}-{row[2]}-{number // 2}"
    write_csv(root / "annotations.csv", header, rows)
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned little, with activations of its training and test images."""
    root = tmp_path_factory.mktemp("fruit")
    data = in_pairs(draw_fruit(root / "data"))
    words = ["--trainer.max_epochs=1", "--model.part_layers=2", "--model.num_classes=3", "--test_after_fit=false"]
    run = fit(root, *LEARNING, *words, f"--data.root={data}")
    assert command("activations", run) == 0
    return run


class Built(NamedTuple):
    run: Path
    printed: str
    views: dict[str, Any]


@pytest.fixture(scope="module")
def built(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The run with prototypes of each class and of three filters, what was printed, and what pictures show."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("built") / "run"))
    with quick() as found, pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("COLUMNS", "80")
        assert command("prototypes", run, *FEW, "--filters", "3") == 0
    return Built(run, printed.getvalue(), found.views)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run with its activations, without prototypes."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def bare(run: Path) -> Path:
    """A copy of the run without activations."""
    shutil.rmtree(run / "activations")
    return run


@pytest.fixture
def again(built: Built, tmp_path: Path) -> Path:
    """A copy of the run with its prototypes."""
    return Path(shutil.copytree(built.run, tmp_path / "run"))


def record(run: Path) -> ExemplarsRecord:
    return read_document(run / "prototypes" / "prototypes.json", ExemplarsRecord)


def chosen(run: Path, *words: object) -> dict[str, SelectionRecord]:
    """What the command chooses without filters, by the names of the sets."""
    assert command("prototypes", run, "--filters", "0", *words) == 0
    return {selection.name: selection for selection in record(run).selections}


class Images(NamedTuple):
    """Images of a split by their filter peaks."""

    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def of(self, *names: str) -> np.ndarray:
        return np.flatnonzero(np.isin(self.labels, [CLASSES.index(name) for name in names]))


_GROUPS: dict[str, np.ndarray] = {}
"""Of data by their fingerprint: opening a run takes time."""


def images_of(run: Path, split: Split = "train", layer: str = TOP) -> Images:
    store = ActivationStore.open(run / "activations" / split)
    if store.manifest.data not in _GROUPS:
        _GROUPS[store.manifest.data] = predict_split(load_run(run), split).predict_dataset.groups.numpy()
    return Images(store.layer(layer).peaks[:].numpy(), store.labels.numpy(), _GROUPS[store.manifest.data])


def change(run: Path, name: str, values: dict[int, float]) -> None:
    """Adds to entries of a weight of the network, to whole rows of a matrix."""
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for number, value in values.items():
        checkpoint["state_dict"][f"net.{name}"][number] += value
    torch.save(checkpoint, path)


def change_filters(run: Path, shifts: dict[int, float]) -> None:
    """Adds to what filters of the top layer give before the ReLU."""
    change(run, "part_filters.1.norm.bias", shifts)


def everything(run: Path) -> dict[str, bytes]:
    folder = run / "prototypes"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_is_the_choice(
    found: SelectionRecord,
    images: Images,
    rows: np.ndarray,
    kernel: np.ndarray,
    count: int,
    criticisms: int,
    weights: np.ndarray | None = None,
    weight: float = 1.0,
) -> None:
    """By the definitions, with what the data set says of the images."""
    shares = mmd_critic.shares(len(rows), weights)
    groups = images.groups[rows]
    picked = mmd_critic.prototypes(kernel, shares, count, groups)
    witness = mmd_critic.witness(kernel, shares, picked)
    critics, terms = mmd_critic.criticisms(kernel, witness, picked, criticisms, weight, groups)
    for exemplars, expected in ((found.prototypes, picked), (found.criticisms, critics)):
        assert [one.index for one in exemplars] == rows[expected].tolist()
        assert [one.label for one in exemplars] == [CLASSES[images.labels[rows[row]]] for row in expected]
        assert [one.group for one in exemplars] == groups[expected].tolist()
        assert [one.witness for one in exemplars] == pytest.approx(witness[expected].tolist(), abs=1e-6)
    assert [one.weight for one in found.prototypes] == pytest.approx([1 / count] * count)
    assert [one.log_residual for one in found.criticisms] == pytest.approx([log for _, log in terms], abs=1e-5)
    curve = [mmd_critic.mmd2(kernel, shares, picked[:number]) for number in range(1, count + 1)]
    assert list(found.mmd2) == pytest.approx(curve, abs=1e-6)
    assert found.images == len(rows)
    assert found.kernel_mean == pytest.approx(mmd_critic.kernel_mean(kernel, shares), rel=1e-5)


def in_turn(found: list[list[int]]) -> list[int]:
    """The first of each list, then the second of each, and so on."""
    return [one[place] for place in range(max(map(len, found))) for one in found if place < len(one)]


def nearest_errors(images: Images, references: list[int], test: Any) -> list[float]:
    errors = []
    for number in range(1, len(references) + 1):
        known = references[:number]
        neighbour = KNeighborsClassifier(1).fit(images.rows[known], images.labels[known])
        errors.append(float(np.mean(neighbour.predict(test.rows) != test.labels)))
    return errors


@pytest.mark.parametrize("name", CLASSES)
def test_of_each_class_what_mmd_critic_chooses_by_the_filter_peaks_is_in_the_file(name, built):
    images = images_of(built.run)
    rows = images.of(name)
    assert len(rows) == OF_CLASS
    found = record(built.run).selections[CLASSES.index(name)]
    assert found.name == name
    gamma = mmd_critic.median_gamma(images.rows[rows].astype(np.float64))
    assert found.gamma == pytest.approx(gamma, rel=1e-6)
    kernel = mmd_critic.rbf(images.rows[rows], images.rows[rows], gamma)
    assert_is_the_choice(found, images, rows, kernel, 3, 2)
    assert found.off_diagonal_ratio == pytest.approx(
        mmd_critic.off_diagonal_ratio(kernel, mmd_critic.shares(len(rows))), rel=1e-5
    )
    assert found.regularizer_weight == 1


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("names", [CLASSES, (PLUM, APPLE)], ids=len)
def test_together_is_one_choice_among_the_images_of_all_classes_asked_for(local, names, run):
    words = [word for name in names for word in ("--class", name)] if len(names) < 3 else []
    found = chosen(run, "--together", *(["--local"] if local else []), *words, "--prototypes", 5, "--criticisms", 3)
    (name,) = found
    assert name == ("apple, plum" if words else "all classes")
    images = images_of(run)
    rows = images.of(*names)
    values = images.rows[rows].astype(np.float64)
    kernel = mmd_critic.rbf(values, values, mmd_critic.median_gamma(values))
    if local:
        kernel = mmd_critic.block_masked(kernel, images.labels[rows], images.labels[rows])
    assert_is_the_choice(found[name], images, rows, kernel, 5, 3)


def test_the_kernel_is_of_the_layer_that_is_named(run):
    found = chosen(run, *FEW, "--layer", BELOW)[BUD]
    images = images_of(run, layer=BELOW)
    rows = images.of(BUD)
    values = images.rows[rows].astype(np.float64)
    assert_is_the_choice(found, images, rows, mmd_critic.rbf(values, values, found.gamma), 3, 2)
    assert record(run).about.features == f"filter peaks of {BELOW}"
    assert found.gamma == pytest.approx(mmd_critic.median_gamma(values), rel=1e-6)


def test_two_crops_of_a_photograph_are_never_both_prototypes_nor_both_criticisms(run):
    images = images_of(run)
    crossed = False
    for name, found in chosen(run, "--prototypes", PHOTOGRAPHS, "--criticisms", 0).items():
        rows = images.of(name)
        assert sorted(one.group for one in found.prototypes) == sorted(set(images.groups[rows].tolist()))
        values = images.rows[rows].astype(np.float64)
        free = mmd_critic.prototypes(
            mmd_critic.rbf(values, values, found.gamma), mmd_critic.shares(len(rows)), PHOTOGRAPHS
        )
        crossed |= len(set(images.groups[rows[free]].tolist())) < PHOTOGRAPHS
    assert crossed  # groups make a difference
    for found in chosen(run, "--prototypes", 2, "--criticisms", 4).values():
        assert len({one.group for one in found.criticisms}) == len(found.criticisms) == 4


def test_by_pixels_what_mmd_critic_chooses_of_the_shrunk_images_is_in_the_file(run):
    found = chosen(run, *FEW, "--pixels")
    images, about = images_of(run), record(run).about
    opened = load_run(run)
    shrunk = compared_by_pixels(opened, "train", ActivationStore.open(run / "activations" / "train")).rows
    assert shrunk.shape == (3 * OF_CLASS, 3 * 32 * 32)
    for name, selection in found.items():
        rows = images.of(name)
        values = shrunk[rows].astype(np.float64)
        kernel = mmd_critic.rbf(values, values, mmd_critic.median_gamma(values))
        assert_is_the_choice(selection, images, rows, kernel, 3, 2)
    assert (about.features, about.layer) == ("pixels", "")
    test = compared_by_pixels(opened, "test", ActivationStore.open(run / "activations" / "test"))
    references = in_turn([[one.index for one in selection.prototypes] for selection in found.values()])
    errors = nearest_errors(Images(shrunk, images.labels, images.groups), references, test)
    assert list(record(run).errors.prototypes) == pytest.approx(errors)
    assert len(set(errors)) > 3
    neighbour = KNeighborsClassifier(1).fit(shrunk, images.labels)
    assert record(run).errors.all_rows == pytest.approx(1 - neighbour.score(test.rows, test.labels))


def test_the_file_says_of_which_network_images_and_settings_the_choice_is(built):
    opened = load_run(built.run)
    found = record(built.run)
    assert found.about.checkpoint == weights_digest(opened.model)
    assert found.about.data == predict_split(opened, "train").predict_dataset.fingerprint()
    assert (found.about.split, found.about.features, found.about.layer) == ("train", f"filter peaks of {TOP}", TOP)
    assert found.about.classes == CLASSES
    assert found.parameters == {
        "n_prototypes": 3, "n_criticisms": 2, "gamma": "median", "local": False, "regularizer_weight": 1.0,
        "colmean_samples": None, "random_state": 0, "device": "cpu", "together": False,
    }  # fmt: skip


def of_filter(number: int, peaks: np.ndarray, most: int) -> np.ndarray:
    """The images on which a filter fires, at most so many, those with the highest peaks first."""
    ranked = sorted(range(len(peaks)), key=lambda row: (-peaks[row, number], row))
    return np.array([row for row in ranked[:most] if peaks[row, number] > 0])


def assert_is_the_choice_of_a_filter(run: Path, found: SelectionRecord, number: int, most: int) -> None:
    images = images_of(run)
    store = ActivationStore.open(run / "activations" / "train")
    rows = of_filter(number, images.rows, most)
    vectors = features_at_peaks(load_run(run), "train", store.layer(TOP), BELOW, rows[None], np.array([number]))[0]
    values = vectors.astype(np.float64)
    gamma = mmd_critic.median_gamma(values)
    assert found.gamma == pytest.approx(gamma, rel=1e-5)
    kernel = mmd_critic.rbf(values, values, gamma)
    assert_is_the_choice(found, images, rows, kernel, 3, 2, weights=images.rows[rows, number])


def test_of_the_loudest_part_filters_images_count_by_how_strongly_they_fire(built):
    part_filters = ActivationStore.open(built.run / "activations" / "train").layer().info.filters
    assert 3 < part_filters < CHANNELS
    found = {one.name: one for one in record(built.run).selections[3:]}
    peaks = images_of(built.run).rows
    means = [math.fsum(column) / len(column) for column in peaks.T.tolist()]
    loudest = sorted(range(part_filters), key=lambda number: (-means[number], number))[:3]
    assert list(found) == [f"filter {number}" for number in loudest]
    for number in loudest:
        assert_is_the_choice_of_a_filter(built.run, found[f"filter {number}"], number, 100)


def test_filters_that_are_named_are_shown_in_their_order_by_the_images_on_which_they_fire_strongest(
    run, drawn, monkeypatch
):
    monkeypatch.setattr(prototype_filters, "FILTER_IMAGES", 9)
    assert command("prototypes", run, *FEW, "--class", PLUM, "--filter", 11, "--filter", 4) == 0
    assert [one.name for one in record(run).selections] == [PLUM, "filter 11", "filter 4"]
    for number, found in zip((11, 4), record(run).selections[1:], strict=True):
        assert found.images == 9
        assert_is_the_choice_of_a_filter(run, found, number, 9)
    assert [sheet.name for sheet in drawn.views["sheets/filters.png"]] == ["filter 11", "filter 4"]


def test_images_of_a_filter_are_like_each_other_whatever_their_classes_also_where_the_choice_is_local(run):
    assert command("prototypes", run, *FEW, "--together", "--local", "--filter", 4) == 0
    (found,) = record(run).selections[1:]
    assert len({one.label for one in found.prototypes}) > 1
    assert_is_the_choice_of_a_filter(run, found, 4, 100)


def test_without_filters_none_is_looked_at(run, drawn, monkeypatch):
    monkeypatch.setattr(prototype_filters, "features_at_peaks", None)
    assert list(chosen(run, *FEW)) == list(CLASSES)
    assert "sheets/filters.png" not in drawn.views


def test_a_filter_that_fires_on_one_image_or_none_is_left_out_with_a_line(run, capsys):
    tops = np.sort(images_of(run).rows[:, 20])[::-1]
    change_filters(run, {7: -1e3, 20: -float(tops[0] + tops[1]) / 2})
    assert command("prototypes", run, *FEW, "--filter", 7, "--filter", 20, "--filter", 4) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "filter 7 is left out: it fires on 0 images" in lines
    assert [line for line in lines if line.startswith("filter 20 is left out: it fires on 1 image")]
    assert [one.name for one in record(run).selections] == [*CLASSES, "filter 4"]


def test_silent_filters_are_not_among_the_loudest(run, drawn):
    change_filters(run, dict.fromkeys(range(2, CHANNELS), -1e3))
    assert command("prototypes", run, *FEW, "--filters", 5) == 0
    assert {one.name for one in record(run).selections[3:]} == {"filter 0", "filter 1"}
    change_filters(run, dict.fromkeys(range(2), -1e3))
    assert command("prototypes", run, *FEW, "--gamma", "1") == 0
    assert len(record(run).selections) == 3
    assert not (run / "prototypes" / "sheets" / "filters.png").exists()


def test_errors_are_those_of_the_nearest_prototype_of_the_classes_in_turn_on_test_images(built):
    images, test = images_of(built.run), images_of(built.run, "test")
    found = record(built.run)
    picked = [[one.index for one in selection.prototypes] for selection in found.selections[:3]]
    references = in_turn(picked)
    assert images.labels[references].tolist() == [0, 1, 2] * 3
    expected = nearest_errors(images, references, test)
    assert list(found.errors.prototypes) == pytest.approx(expected)
    everything = KNeighborsClassifier(1).fit(images.rows, images.labels)
    assert found.errors.all_rows == pytest.approx(1 - everything.score(test.rows, test.labels))


def test_classes_of_fewer_prototypes_drop_out_of_the_turns(run, tmp_path):
    on_other_data(run, tmp_path / "data", at_most={(BUD, "train"): 2, (APPLE, "test"): 2})
    found = chosen(run, "--prototypes", 4, "--criticisms", 1)
    assert [len(one.prototypes) for one in found.values()] == [4, 2, 4]
    assert [len(one.criticisms) for one in found.values()] == [1, 0, 1]
    images, test = images_of(run), images_of(run, "test")
    references = in_turn([[one.index for one in selection.prototypes] for selection in found.values()])
    assert images.labels[references].tolist() == [0, 1, 2, 0, 1, 2, 0, 2, 0, 2]
    errors = record(run).errors
    assert list(errors.prototypes) == pytest.approx(nearest_errors(images, references, test))
    # With one reference image, of the first class whichever it is, all others are wrong.
    assert errors.random_mean[0] == pytest.approx(12 / 14)
    assert errors.random_deviation[0] == pytest.approx(0)


def test_more_prototypes_than_images_are_all_images_which_random_picks_are_too(run, tmp_path):
    on_other_data(run, tmp_path / "data")
    for name, found in chosen(run, "--prototypes", 40).items():
        assert sorted(one.index for one in found.prototypes) == images_of(run).of(name).tolist()
        assert found.criticisms == ()
        assert found.mmd2[-1] == pytest.approx(0, abs=1e-6)
        assert found.random_mmd2_mean[-1] == pytest.approx(0, abs=1e-6)
        assert found.random_mmd2_deviation[-1] == pytest.approx(0, abs=1e-9)
        assert all(mean > greedy for mean, greedy in zip(found.random_mmd2_mean[:-1], found.mmd2, strict=False))
    errors = record(run).errors
    assert len(errors.prototypes) == 3 * OF_CLASS
    assert errors.prototypes[-1] == pytest.approx(errors.all_rows)
    assert errors.random_mean[-1] == pytest.approx(errors.all_rows)


def test_of_photographs_there_are_no_more_prototypes_and_criticisms_than_there_are(run, capsys):
    fewer = "Criticisms fewer than 40, as no more photographs have an image that is no prototype: " + ", ".join(
        f"{name} {PHOTOGRAPHS}" for name in CLASSES
    )
    for found in chosen(run, "--prototypes", 40, "--criticisms", 40).values():
        assert (len(found.prototypes), len(found.criticisms)) == (PHOTOGRAPHS, PHOTOGRAPHS)
        assert len({one.group for one in found.criticisms}) == PHOTOGRAPHS
    assert fewer in capsys.readouterr().out.splitlines()
    for found in chosen(run, "--prototypes", 4, "--criticisms", 40).values():
        assert (len(found.prototypes), len(found.criticisms)) == (4, PHOTOGRAPHS)
    chosen(run, "--prototypes", 4, "--criticisms", PHOTOGRAPHS)
    assert "Criticisms fewer" not in capsys.readouterr().out.split(fewer)[-1]


def test_a_photograph_of_one_image_that_is_a_prototype_has_none_left_to_criticise_with(run, tmp_path, capsys):
    on_other_data(run, tmp_path / "data", at_most={(APPLE, "train"): 5})
    found = chosen(run, "--prototypes", 3, "--criticisms", 4)
    assert [len(one.criticisms) for one in found.values()] == [2, 4, 4]
    line = "Criticisms fewer than 4, as no more photographs have an image that is no prototype: apple 2"
    assert line in capsys.readouterr().out.splitlines()


def test_errors_of_some_classes_are_on_their_test_images_alone(run):
    found = chosen(run, *FEW, "--class", PLUM, "--class", APPLE)
    assert list(found) == [APPLE, PLUM]
    images, everything = images_of(run), images_of(run, "test")
    rows = everything.of(APPLE, PLUM)
    test = Images(everything.rows[rows], everything.labels[rows], everything.groups[rows])
    references = in_turn([[one.index for one in selection.prototypes] for selection in found.values()])
    errors = record(run).errors
    assert list(errors.prototypes) == pytest.approx(nearest_errors(images, references, test))
    known = images.of(APPLE, PLUM)
    neighbour = KNeighborsClassifier(1).fit(images.rows[known], images.labels[known])
    assert errors.all_rows == pytest.approx(1 - neighbour.score(test.rows, test.labels))


def test_of_one_class_there_are_no_errors(run, drawn):
    assert list(chosen(run, *FEW, "--class", BUD)) == [BUD]
    assert record(run).errors is None
    assert set(drawn.views) == {f"sheets/0_{SHEETS[BUD][2:]}.png", "mmd2.png"}


def test_of_test_images_there_are_prototypes_without_errors(run, capsys):
    found = chosen(run, *FEW, "--split", "test")
    images = images_of(run, "test")
    for name, selection in found.items():
        rows = images.of(name)
        values = images.rows[rows].astype(np.float64)
        kernel = mmd_critic.rbf(values, values, mmd_critic.median_gamma(values))
        assert_is_the_choice(selection, images, rows, kernel, 3, 2)
    assert record(run).errors is None
    assert record(run).about.split == "test"
    printed = capsys.readouterr().out
    assert "errors.png" not in printed
    assert "named wrongly" not in printed


def test_of_validation_images_there_are_prototypes_with_errors_on_test_images(run):
    found = chosen(run, "--prototypes", 1, "--split", "validation")
    images, test = images_of(run, "validation"), images_of(run, "test")
    assert [one.images for one in found.values()] == [IMAGES["validation"]] * 3
    references = [one.prototypes[0].index for one in found.values()]
    assert list(record(run).errors.prototypes) == pytest.approx(nearest_errors(images, references, test))


@pytest.mark.parametrize(("word", "expected"), [("1/d", 1 / CHANNELS), ("0.004", 0.004), ("2e-3", 0.002)])
def test_gamma_is_a_word_or_a_number_for_all_classes(word, expected, run):
    found = chosen(run, *FEW, "--gamma", word)
    assert [one.gamma for one in found.values()] == pytest.approx([expected] * 3)
    images = images_of(run)
    rows = images.of(BUD)
    assert_is_the_choice(found[BUD], images, rows, mmd_critic.rbf(images.rows[rows], images.rows[rows], expected), 3, 2)
    assert record(run).parameters["gamma"] == (word if word == "1/d" else expected)


@pytest.mark.parametrize("names", [(), (PLUM, BUD)], ids=["all", "some"])
def test_cross_validation_of_gamma_for_each_class_is_of_all_classes_at_once(names, run):
    words = [word for name in names for word in ("--class", name)]
    found = chosen(run, "--pixels", "--prototypes", 2, "--gamma", "cv-1nn", *words)
    images = compared_by_pixels(load_run(run), "train", ActivationStore.open(run / "activations" / "train"))
    local, other = (
        MMDCritic(6, 0, gamma="cv-1nn", local=local).fit(images.rows, images.labels, groups=images.groups).gamma_
        for local in (True, False)
    )
    assert local != pytest.approx(other)
    assert [one.gamma for one in found.values()] == pytest.approx([local] * len(found))
    assert record(run).parameters["gamma"] == "cv-1nn"


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
def test_cross_validation_of_gamma_for_one_choice_is_of_that_choice(local, run):
    found = chosen(run, *FEW, "--gamma", "cv-1nn", "--together", *(["--local"] if local else []), "--seed", 4)
    images = images_of(run)
    critic = MMDCritic(3, 2, gamma="cv-1nn", local=local, random_state=4)
    critic.fit(images.rows, images.labels, groups=images.groups)
    assert found["all classes"].gamma == pytest.approx(critic.gamma_)
    assert [one.index for one in found["all classes"].prototypes] == critic.prototype_indices_.tolist()


def test_cross_validation_is_with_the_seed_the_device_and_the_samples_that_are_asked_for(run, monkeypatch):
    seen_with = []
    plain = MMDCritic.fit

    def seen(self: MMDCritic, *rows: Any, **others: Any) -> MMDCritic:
        seen_with.append((self.gamma, self.random_state, self.device, self.colmean_samples))
        return plain(self, *rows, **others)

    monkeypatch.setattr(MMDCritic, "fit", seen)
    chosen(run, *FEW, "--gamma", "cv-1nn", "--seed", 4, "--samples", 7, "--class", BUD)
    assert [one[1:] for one in seen_with] == [(4, "cpu", 7), (4, "cpu", 7)]
    assert [one[0] == "cv-1nn" for one in seen_with] == [True, False]


def test_the_weight_balances_the_terms_of_criticisms_where_it_is_auto(run):
    found = chosen(run, *FEW, "--weight", "auto")
    images = images_of(run)
    for name, selection in found.items():
        rows = images.of(name)
        values = images.rows[rows].astype(np.float64)
        kernel = mmd_critic.rbf(values, values, mmd_critic.median_gamma(values))
        shares, groups = mmd_critic.shares(len(rows)), images.groups[rows]
        picked = mmd_critic.prototypes(kernel, shares, 3, groups)
        witness = mmd_critic.witness(kernel, shares, picked)
        weight = mmd_critic.automatic_weight(kernel, witness, picked, 2, groups)
        assert selection.regularizer_weight == pytest.approx(weight, rel=1e-4)
        assert_is_the_choice(selection, images, rows, kernel, 3, 2, weight=weight)
    assert record(run).parameters["regularizer_weight"] == "auto"


def test_without_weight_criticisms_are_the_images_with_the_largest_witness(run):
    images = images_of(run)
    for name, found in chosen(run, "--prototypes", 2, "--criticisms", 3, "--weight", "0").items():
        rows = images.of(name)
        values = images.rows[rows].astype(np.float64)
        assert_is_the_choice(found, images, rows, mmd_critic.rbf(values, values, found.gamma), 2, 3, weight=0)
        sizes = [abs(one.witness) for one in found.criticisms]
        assert sizes == sorted(sizes, reverse=True)


def test_few_images_can_stand_for_all_and_the_seed_says_which(run):
    images = images_of(run)
    rows = images.of(APPLE)
    means = {}
    for seed in (0, 1):
        found = chosen(run, *FEW, "--class", APPLE, "--samples", 5, "--seed", seed)[APPLE]
        critic = MMDCritic(3, 2, colmean_samples=5, random_state=seed)
        critic.fit(images.rows[rows], groups=images.groups[rows])
        assert [one.index for one in found.prototypes] == rows[critic.prototype_indices_].tolist()
        assert [one.index for one in found.criticisms] == rows[critic.criticism_indices_].tolist()
        means[seed] = found.kernel_mean
        assert found.kernel_mean == pytest.approx(critic.kernel_mean_)
    assert means[0] != means[1]


def shown(sheet: ExemplarSheet) -> dict[str, list[tuple[int, float, str]]]:
    return {
        kind: [(one.index, one.witness, one.label) for one in getattr(sheet, kind)]
        for kind in ("prototypes", "criticisms")
    }


def test_pictures_show_what_is_in_the_file(built):
    found, views = record(built.run), built.views
    names = {f"sheets/{name}.png" for name in (*SHEETS.values(), "prototypes", "filters")}
    assert set(views) == names | {"mmd2.png", "errors.png"}
    assert set(everything(built.run)) == set(views) | {"prototypes.json"}
    of_classes, of_filters = found.selections[:3], found.selections[3:]
    alone = [views[f"sheets/{SHEETS[name]}.png"] for name in CLASSES]
    for sheets, selections in (
        (alone, of_classes),
        (views["sheets/prototypes.png"], of_classes),
        (views["sheets/filters.png"], of_filters),
    ):
        assert [sheet.name for sheet in sheets] == [selection.name for selection in selections]
        for sheet, selection in zip(sheets, selections, strict=True):
            assert shown(sheet) == {
                "prototypes": [(one.index, one.witness, one.label) for one in selection.prototypes],
                "criticisms": [(one.index, one.witness, one.label) for one in selection.criticisms],
            }
    curves: list[Mmd2Curve] = views["mmd2.png"]
    assert [curve.name for curve in curves] == [selection.name for selection in found.selections]
    for curve, selection in zip(curves, found.selections, strict=True):
        assert curve.prototypes.tolist() == list(selection.mmd2)
        assert curve.random_mean.tolist() == list(selection.random_mmd2_mean)
        assert curve.random_deviation.tolist() == list(selection.random_mmd2_deviation)
    errors: ErrorCurve
    (errors,) = views["errors.png"]
    assert errors.prototypes.tolist() == list(found.errors.prototypes)
    assert errors.random_mean.tolist() == list(found.errors.random_mean)
    assert errors.all_rows == found.errors.all_rows


def test_of_classes_whole_images_are_shown_and_of_filters_what_they_look_at(built):
    dataset = predict_split(load_run(built.run), "train").predict_dataset
    for name in CLASSES:
        sheet = built.views[f"sheets/{SHEETS[name]}.png"]
        for one in (*sheet.prototypes, *sheet.criticisms):
            np.testing.assert_array_equal(one.image, picture(dataset, one.index))
            assert one.image.shape == (SIDE, SIDE, 3)
    layer = ActivationStore.open(built.run / "activations" / "train").layer(TOP)
    positions = layer.peak_positions().numpy()
    for sheet in built.views["sheets/filters.png"]:
        number = int(sheet.name.removeprefix("filter "))
        for one in (*sheet.prototypes, *sheet.criticisms):
            assert one.image.shape == (21, 21, 3)  # a third of the image
            expected = region(picture(dataset, one.index), positions[one.index, number], 21)
            np.testing.assert_array_equal(one.image, expected)


def test_classes_of_one_choice_are_counted(run, drawn):
    found = chosen(run, "--together", "--prototypes", 5, "--criticisms", 4)["all classes"]
    counts: ClassCounts = drawn.views["classes.png"]
    assert counts.classes == CLASSES
    assert counts.data.tolist() == [OF_CLASS] * 3
    for exemplars, column in ((found.prototypes, counts.prototypes), (found.criticisms, counts.criticisms)):
        assert column.tolist() == [sum(one.label == name for one in exemplars) for name in CLASSES]
    found = chosen(run, "--together", "--class", PLUM, "--class", BUD, *FEW)["bud & <i>leaf, plum"]
    counts = drawn.views["classes.png"]
    assert (counts.classes, counts.data.tolist()) == ((BUD, PLUM), [OF_CLASS] * 2)
    assert counts.prototypes.tolist() == [sum(one.label == name for one in found.prototypes) for name in (BUD, PLUM)]


def test_more_than_ten_filters_are_on_several_pages(run, drawn):
    words = [word for number in range(12) for word in ("--filter", number)]
    assert command("prototypes", run, "--prototypes", 1, "--criticisms", 0, "--class", APPLE, *words) == 0
    assert [len(drawn.views[f"sheets/filters_{page}.png"]) for page in (1, 2)] == [10, 2]
    assert "sheets/filters.png" not in drawn.views


def test_more_classes_than_fit_on_a_page_are_on_several(run, drawn, monkeypatch):
    for module in (prototype_pictures, prototype_export):
        monkeypatch.setattr(module, "SHEETS_ON_A_PAGE", 2)
    chosen(run, *FEW)
    pages = [drawn.views[f"sheets/prototypes_{page}.png"] for page in (1, 2)]
    assert [[sheet.name for sheet in page] for page in pages] == [[APPLE, BUD], [PLUM]]
    assert "sheets/prototypes.png" not in drawn.views
    chosen(run, *FEW, "--class", PLUM)
    assert sorted(path.name for path in (run / "prototypes" / "sheets").iterdir()) == ["0_plum.png"]


@pytest.mark.parametrize(("sets", "pages"), [(0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_ten_sets_are_on_a_page_and_pages_have_numbers_where_there_are_several(sets, pages):
    names = [f"sheets/filters_{page + 1}.png" for page in range(pages)] if pages > 1 else ["sheets/filters.png"][:pages]
    assert prototype_pictures.page_names("filters", sets) == names


def test_whatever_a_class_is_called_its_sheet_is_among_the_sheets():
    assert prototype_pictures.sheet_name(3, "../../etc/passwd") == "sheets/3_etc_passwd.png"


def test_images_picked_at_random_are_never_two_of_a_photograph_as_prototypes_are(run, monkeypatch):
    images = images_of(run)
    picked: list[list[int]] = []
    plain = MMDCritic.mmd2_of
    monkeypatch.setattr(MMDCritic, "mmd2_of", lambda self, some: picked.append(some.tolist()) or plain(self, some))
    references = []
    errors = prototype_errors.nearest_prototype_errors
    monkeypatch.setattr(
        prototype_errors,
        "nearest_prototype_errors",
        lambda known, *others: references.append(known) or errors(known, *others),
    )
    chosen(run, "--prototypes", PHOTOGRAPHS, "--criticisms", 0)
    assert len(picked) == 3 * 20
    for number, some in enumerate(picked):
        rows = images.of(CLASSES[number // 20])
        assert sorted(images.groups[rows[some]]) == sorted(set(images.groups[rows]))
    assert len({tuple(some) for some in picked}) == 20  # the same numbers of each class
    of_row = {row.tobytes(): group for row, group in zip(images.rows, images.groups.tolist(), strict=True)}
    assert len(references) == 20 + 2  # random picks, the prototypes and all images
    for some in references[:20]:
        assert len({of_row[row.tobytes()] for row in some}) == len(some) == 3 * PHOTOGRAPHS


@pytest.fixture
def alike(bare: Path, tmp_path: Path) -> Path:
    """The run on images of which all apples are the same."""
    on_other_data(bare, tmp_path / "data")
    apples = sorted((tmp_path / "data" / "images").iterdir())[: sum(IMAGES.values())]
    for path in apples[1:]:
        shutil.copy(apples[0], path)
    return bare


def test_a_class_whose_images_are_equal_is_left_out_with_a_line(alike, capsys):
    assert list(chosen(alike, *FEW)) == [BUD, PLUM]
    line = f"{APPLE} is left out: half of the pairs of its images or more are equal, so their median is 0"
    assert line in capsys.readouterr().out.splitlines()
    assert record(alike).errors is not None
    assert list(chosen(alike, *FEW, "--class", APPLE, "--class", PLUM)) == [PLUM]
    assert record(alike).errors is None
    before = everything(alike)
    sentence = "No median distance of train images is above 0, as half of their pairs or more are equal; give --gamma a"
    assert sentence in fails(capsys, "prototypes", alike, *FEW, "--class", APPLE)
    assert everything(alike) == before


def test_of_equal_images_with_a_gamma_the_first_are_chosen(alike):
    found = chosen(alike, *FEW, "--gamma", "1", "--class", APPLE)[APPLE]
    assert [one.index for one in found.prototypes] == [0, 1, 2]
    assert [one.index for one in found.criticisms] == [3, 4]
    assert found.mmd2 == pytest.approx([0.0] * 3, abs=1e-6)


def test_every_picture_is_drawn(run):
    with pytest.MonkeyPatch.context() as patch:
        for name, draw in DRAWERS.items():
            patch.setattr(prototype_export, name, draw)
        words = ["--prototypes", 2, "--criticisms", 1]
        assert command("prototypes", run, *words, "--filters", 1, "--class", APPLE, "--class", BUD) == 0
        folder = run / "prototypes"
        names = ["mmd2.png", "errors.png", *(f"sheets/{name}.png" for name in ("0_apple", "prototypes", "filters"))]
        for name in names:
            assert matplotlib.image.imread(folder / name)[..., :3].std() > 0.02
        assert command("prototypes", run, *words, "--filters", 0, "--together") == 0
        assert matplotlib.image.imread(folder / "classes.png")[..., :3].std() > 0.02


def test_a_second_time_the_file_is_the_same_byte_by_byte_and_nothing_is_recorded(again):
    stores, before = files(again), everything(again)
    assert command("prototypes", again, *FEW, "--filters", 3) == 0
    assert everything(again) == before
    assert files(again) == stores


def test_sheets_of_other_classes_and_pictures_that_do_not_hold_any_more_go(again):
    assert command("prototypes", again, *FEW, "--class", PLUM, "--filters", 0) == 0
    assert set(everything(again)) == {"prototypes.json", "mmd2.png", "sheets/0_plum.png"}
    assert command("prototypes", again, *FEW, "--class", PLUM, "--class", APPLE, "--filters", 0) == 0
    assert set(everything(again)) == {
        "prototypes.json", "mmd2.png", "errors.png", "sheets/0_apple.png", "sheets/1_plum.png", "sheets/prototypes.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "splits"),
    [
        ([], ("test", "train")),
        (["--class", PLUM], ("train",)),
        (["--together", "--class", PLUM], ("train",)),
        (["--split", "test"], ("test",)),
        (["--split", "validation", "--class", BUD, "--class", PLUM, "--prototypes", "1"], ("test", "validation")),
    ],
    ids=" ".join,
)
def test_of_test_images_activations_are_recorded_only_for_errors(words, splits, bare):
    chosen(bare, *FEW, *words)
    assert tuple(sorted(path.name for path in (bare / "activations").iterdir())) == splits
    assert (record(bare).errors is not None) == (len(splits) == 2)


def test_a_layer_that_is_not_recorded_of_test_images_is_told_before_any_work(run, capsys):
    shutil.rmtree(run / "activations" / "train")
    record_layers(run, "test", BELOW)
    capsys.readouterr()
    line = fails(capsys, "prototypes", run, *FEW)
    assert f"Errors need {TOP} of the test images too, of which {BELOW} is recorded; record it with" in line
    assert f"`interpretable activations RUN --overwrite --split test --layer {TOP}`" in line
    assert not (run / "activations" / "train").exists()
    chosen(run, *FEW, "--class", BUD)  # of which there are no errors
    chosen(run, *FEW, "--pixels")  # which need no layer
    assert record(run).errors is not None


def test_activations_that_are_missing_or_of_other_weights_are_recorded(run):
    shutil.rmtree(run / "activations" / "test")
    train = {name: when for name, when in files(run).items() if "/train/" in name}
    chosen(run, *FEW)
    assert ActivationStore.open(run / "activations" / "test").manifest.images == 3 * IMAGES["test"]
    assert {name: when for name, when in files(run).items() if "/train/" in name} == train
    change_filters(run, {0: 1.0})
    chosen(run, *FEW)
    assert not set(files(run).items()) & set(train.items())
    assert record(run).about.checkpoint == weights_digest(load_run(run).model)
    assert ActivationStore.open(run / "activations" / "train").manifest.model == weights_digest(load_run(run).model)


def test_a_class_of_one_image_or_none_is_left_out_with_a_line(run, tmp_path, capsys):
    on_other_data(run, tmp_path / "data", at_most={(APPLE, "validation"): 1, (BUD, "validation"): 0})
    assert list(chosen(run, *FEW, "--split", "validation")) == [PLUM]
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(f"{APPLE} is left out: it has 1 validation image")]
    assert f"{BUD} is left out: it has 0 validation images" in lines
    before = everything(run)
    words = ["--split", "validation", "--class", APPLE, "--class", BUD]
    line = fails(capsys, "prototypes", run, *FEW, *words)
    assert "No class has two validation images or more; choose others" in line
    assert everything(run) == before


BAD = [
    (["--class", "pear"], f"The run has the classes {', '.join(CLASSES)}, not pear; choose among them"),
    (
        ["--layer", "net.part_filters.7"],
        f"The layers that are recorded of train images are {BELOW}, {TOP}, not net.part_filters.7; choose among them",
    ),
    (["--pixels", "--layer", "net.trunk"], f"{BELOW}, {TOP}, not net.trunk; choose among them"),
    (["--layer", BELOW, "--filter", "96"], f"{BELOW} has the filters 0 to 95, not 96; choose among them"),
    (["--filter", "96"], f"{TOP} has the filters 0 to 95, not 96; choose among them"),
    (["--filter", "5", "--filter", "1000"], f"{TOP} has the filters 0 to 95, not 1000; choose among them"),
    (["--local"], "--local is of one choice among several classes; add --together, or leave it out"),
    (["--gamma", "0"], "--gamma must be above 0, got 0"),
    (["--gamma", "x"], "--gamma must be median, 1/d, cv-1nn or a number of 0 or more, got 'x'"),
    (["--gamma", "-1"], "or a number of 0 or more, got '-1'"),
    (["--gamma", "inf"], "or a number of 0 or more, got 'inf'"),
    (["--gamma", "nan"], "or a number of 0 or more, got 'nan'"),
    (["--gamma", "auto"], "or a number of 0 or more, got 'auto'"),
    (["--weight", "-1"], "--weight must be auto or a number of 0 or more, got '-1'"),
    (["--weight", "nan"], "--weight must be auto or a number of 0 or more, got 'nan'"),
    (["--weight", "median"], "--weight must be auto or a number of 0 or more, got 'median'"),
    (["--split", "foo"], "--split must be train, validation, test, got 'foo'"),
    (["--device", "nope"], "device must be one that this machine has, such as cpu or cuda, got 'nope'"),
    (["--device", "cuda:99"], "device must be one that this machine has, such as cpu or cuda, got 'cuda:99'"),
]


@pytest.mark.parametrize(("words", "sentence"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_what_cannot_be_chosen_is_told_in_one_line_and_leaves_everything(words, sentence, again, capsys):
    stores, before = files(again), everything(again)
    assert sentence in fails(capsys, "prototypes", again, *words)
    assert everything(again) == before
    assert files(again) == stores


@pytest.mark.parametrize(("words", "sentence"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_what_cannot_be_chosen_is_told_before_activations_are_recorded(words, sentence, bare, capsys):
    assert sentence in fails(capsys, "prototypes", bare, *words)
    assert not (bare / "prototypes").exists()
    assert not (bare / "activations").exists()


def test_a_stale_store_is_left_alone_by_a_bad_word(run, capsys):
    change_filters(run, {0: 1.0})
    stores = files(run)
    assert f"not {TOP}s; choose" in fails(capsys, "prototypes", run, "--layer", f"{TOP}s")
    assert files(run) == stores


@pytest.mark.parametrize(
    "words",
    [
        ["--prototypes", "0"], ["--criticisms", "-1"], ["--filters", "-1"], ["--filter", "-1"], ["--samples", "0"],
        ["--seed", "-1"], ["--seed", str(2**32)], ["--prototypes", "two"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_number_out_of_its_range_is_refused_before_any_work(words, run, capsys):
    assert command("prototypes", run, *words) == 2
    assert words[0] in capsys.readouterr().err
    assert not (run / "prototypes").exists()


def test_settings_are_checked_before_the_run_is_even_read(tmp_path, capsys):
    assert "--gamma must be" in fails(capsys, "prototypes", tmp_path / "nowhere", "--gamma", "x")
    assert "is not the folder of a finished run" in fails(capsys, "prototypes", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_of_several_labels_is_told_in_one_line(run, monkeypatch, capsys):
    opened = load_run(run)
    opened.model.hparams["task"] = "multilabel"
    monkeypatch.setattr(prototypes, "load_run", lambda _: opened)
    sentence = "Prototypes are of one class each, but the run's images have several labels"
    assert sentence in fails(capsys, "prototypes", run)
    assert not (run / "prototypes").exists()


def test_images_without_parts_have_prototypes(run, tmp_path):
    configure(run, "data", root=str(draw_fruit_without_parts(tmp_path / "plain")), dataset="ImageFolder")
    found = chosen(run, *FEW)
    images = images_of(run)
    for name, selection in found.items():
        rows = images.of(name)
        values = images.rows[rows].astype(np.float64)
        assert_is_the_choice(selection, images, rows, mmd_critic.rbf(values, values, selection.gamma), 3, 2)


@pytest.mark.parametrize(
    "rename",
    [
        {APPLE: "a b", PLUM: "a_b"},
        {APPLE: "苹果", PLUM: "李子"},
        {APPLE: "../x", BUD: "a [/b]", PLUM: "a" * 90},
    ],
    ids=["alike", "chinese", "odd"],
)
def test_every_class_has_its_own_sheet_whatever_its_name(rename, run, tmp_path, drawn, capsys):
    on_other_data(run, tmp_path / "data", rename=rename)
    names = sorted(rename.get(name, name) for name in CLASSES)
    assert list(chosen(run, *FEW)) == names
    sheets = [view.name for name, view in drawn.views.items() if isinstance(view, ExemplarSheet)]
    assert sheets == names
    assert len(list((run / "prototypes" / "sheets").iterdir())) == 4
    assert len(list((run / "prototypes").iterdir())) == 4
    printed = capsys.readouterr().out
    assert all(name in printed for name in names if len(name) < 90)


def record_layers(run: Path, split: str, *layers: str) -> None:
    words = [word for layer in layers for word in ("--layer", layer)]
    assert command("activations", run, "--overwrite", "--split", split, *words) == 0


def test_errors_compare_peaks_of_one_layer_though_the_stores_hold_others(run):
    record_layers(run, "train", BELOW)
    found = chosen(run, *FEW)
    assert record(run).about.layer == BELOW
    images, test = images_of(run, layer=BELOW), images_of(run, "test", BELOW)
    references = in_turn([[one.index for one in selection.prototypes] for selection in found.values()])
    assert list(record(run).errors.prototypes) == pytest.approx(nearest_errors(images, references, test))


def test_filters_of_a_layer_below_the_part_layers_are_left_out_with_a_line(run, capsys):
    for split in ("train", "test"):
        record_layers(run, split, "net.trunk")
    capsys.readouterr()
    assert command("prototypes", run, *FEW, "--filters", 1) == 0
    line = "Filters are left out: what they look at is known of part layers alone, not of net.trunk"
    assert line in capsys.readouterr().out.splitlines()
    assert [one.name for one in record(run).selections] == list(CLASSES)
    assert record(run).about.layer == "net.trunk"


def test_a_filter_that_is_named_twice_is_shown_once(run):
    assert command("prototypes", run, *FEW, "--filter", 3, "--filter", 3) == 0
    assert [one.name for one in record(run).selections] == [*CLASSES, "filter 3"]


def test_a_class_may_be_called_as_a_filter_is(run, tmp_path, drawn):
    on_other_data(run, tmp_path / "data", rename={PLUM: "filter 3"})
    assert command("prototypes", run, *FEW, "--filter", 3) == 0
    found = record(run).selections
    assert [(one.name, one.filter, one.layer) for one in found] == [
        (APPLE, None, ""),
        (BUD, None, ""),
        ("filter 3", None, ""),
        ("filter 3", 3, TOP),
    ]
    assert drawn.views["sheets/2_filter_3.png"].prototypes[0].image.shape == (SIDE, SIDE, 3)
    assert drawn.views["sheets/filters.png"][0].prototypes[0].image.shape == (21, 21, 3)


def test_a_filter_that_sees_the_same_in_all_images_does_not_cost_the_others(run, tmp_path, capsys):
    """It fires on the corner, where there is nothing."""
    draw_fruit(tmp_path / "data")
    random = np.random.default_rng(0)
    for path in sorted((tmp_path / "data" / "images").iterdir()):
        pixels = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
        pixels[48:, 48:] = random.integers(0, 256, (16, 16, 3))
        Image.fromarray(pixels).save(path)
    configure(run, "data", root=str(tmp_path / "data"))
    change(run, "part_filters.0.conv.weight", {4: -1e3})
    change(run, "part_filters.0.norm.bias", {4: 1e6})
    for split in ("train", "test"):
        record_layers(run, split, BELOW)
    capsys.readouterr()
    words = [word for number in range(3, 12) for word in ("--filter", number)]
    assert command("prototypes", run, *FEW, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "filter 4 is left out: half of the pairs of places that it fires at or more are equal" in lines
    others = {one.filter for one in record(run).selections if one.filter is not None}
    assert others
    assert 4 not in others


def test_of_some_classes_the_table_says_that_the_network_decides_among_all(run, capsys):
    change(run, "head.fc.bias", {CLASSES.index(BUD): 1e3})
    chosen(run, *FEW, "--class", PLUM, "--class", APPLE)
    rows = table_rows(capsys.readouterr().out)
    assert rows["none: the network (of all 3 classes)"] == ["", "100.0%"]  # it names the one that is not there
    assert "none: the network" not in rows


WITHOUT_ERRORS = "Errors are left out: there are no test images of these classes"


def test_classes_without_test_images_have_prototypes_without_errors(run, tmp_path, capsys):
    on_other_data(run, tmp_path / "data", at_most={(APPLE, "test"): 0, (BUD, "test"): 0})
    assert list(chosen(run, *FEW, "--class", APPLE, "--class", BUD)) == [APPLE, BUD]
    assert record(run).errors is None
    assert WITHOUT_ERRORS in capsys.readouterr().out.splitlines()
    assert list(chosen(run, *FEW, "--class", APPLE, "--class", PLUM)) == [APPLE, PLUM]
    assert record(run).errors is not None
    assert WITHOUT_ERRORS not in capsys.readouterr().out.splitlines()


def test_data_without_test_images_have_prototypes_without_errors(run, tmp_path, capsys):
    on_other_data(run, tmp_path / "data", at_most={(name, "test"): 0 for name in CLASSES})
    shutil.rmtree(run / "activations")
    assert list(chosen(run, *FEW)) == list(CLASSES)
    assert record(run).errors is None
    assert WITHOUT_ERRORS in capsys.readouterr().out.splitlines()


def test_one_choice_among_too_few_images_is_told_in_words_of_the_command(run, tmp_path, capsys):
    on_other_data(run, tmp_path / "data", at_most={(APPLE, "validation"): 1, (BUD, "validation"): 0})
    for name in (APPLE, BUD):
        line = fails(capsys, "prototypes", run, "--together", "--class", name, "--split", "validation")
        assert "validation images" in line
        assert not (run / "prototypes").exists()


def test_a_persons_files_are_left_alone(again):
    names = ("notes.txt", "classes.png", "sheets/notes.txt", "sheets/mine.png", "sheets/7_plum.png")
    notes = [again / "prototypes" / name for name in names]
    for path in notes:
        path.write_text("mine")
    assert command("prototypes", again, *FEW, "--class", PLUM, "--filters", 0) == 0
    assert [path.read_text() for path in notes] == ["mine"] * len(names)
    assert set(everything(again)) == {"prototypes.json", "mmd2.png", "sheets/0_plum.png", *names}


def test_beside_a_file_that_is_damaged_no_picture_is_deleted(again):
    before = everything(again)
    (again / "prototypes" / "prototypes.json").write_text("{")
    assert command("prototypes", again, *FEW, "--class", PLUM, "--filters", 0) == 0
    assert set(everything(again)) == {*before, "sheets/0_plum.png"}
    assert list(record(again).selections[0].mmd2)


def test_an_image_that_cannot_be_shown_leaves_what_is_there(again, monkeypatch):
    def breaks(*_: object) -> None:
        raise ExemplarError("It cannot be read.")

    before = everything(again)
    monkeypatch.setattr(prototype_export, "picture", breaks)
    assert command("prototypes", again, *FEW, "--class", PLUM) == 1
    assert everything(again) == before


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("binary")
    draw_part_folder(root / "data", train=6, validation=2, test=4)
    words = ["--data.dataset=PartAnnotatedFolder", "--data.batch_size=4", "--test_after_fit=false"]
    return fit(root, "--model.num_classes=2", "--model.task=binary", f"--data.root={root / 'data'}", *words)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without part layers."""
    root = tmp_path_factory.mktemp("ordinary")
    draw_part_folder(root / "data", train=6, validation=2, test=4)
    words = ["--data.dataset=PartAnnotatedFolder", "--data.batch_size=4", "--test_after_fit=false"]
    return fit(root, "--model.num_classes=2", "--model.part_layers=0", f"--data.root={root / 'data'}", *words)


def test_of_a_network_without_part_layers_filters_are_left_out_with_a_line(ordinary, capsys):
    line = fails(capsys, "prototypes", ordinary, *FEW, "--filter", 3)
    assert "What filters look at is known of part layers alone, not of net.trunk; leave out --filter" in line
    assert not (ordinary / "activations").exists()
    assert command("prototypes", ordinary, *FEW) == 0
    line = "Filters are left out: what they look at is known of part layers alone, not of net.trunk"
    assert line in capsys.readouterr().out.splitlines()
    assert [one.name for one in record(ordinary).selections] == ["cat", "dog"]
    assert record(ordinary).about.features == "filter peaks of net.trunk"
    assert not (ordinary / "prototypes" / "sheets" / "filters.png").exists()
    assert command("prototypes", ordinary, *FEW, "--filters", 0) == 0
    assert "Filters" not in capsys.readouterr().out


def test_a_binary_run_has_prototypes_of_both_classes(binary, capsys):
    assert command("activations", binary, "--split", "test") == 0
    first, second = ActivationStore.open(binary / "activations" / "test").logits[:].flatten().topk(2).values.tolist()
    change(binary, "head.fc.bias", {0: -(first + second) / 2})  # so that it names one image a dog
    assert command("prototypes", binary, "--prototypes", 2, "--criticisms", 1, "--filters", 1) == 0
    found = record(binary)
    assert [one.name for one in found.selections[:2]] == ["cat", "dog"]
    store, test = (ActivationStore.open(binary / "activations" / split) for split in ("train", "test"))
    references = in_turn([[one.index for one in selection.prototypes] for selection in found.selections[:2]])
    peaks, labels = store.layer().peaks[:].numpy(), store.labels.numpy()
    neighbour = KNeighborsClassifier(1).fit(peaks[references], labels[references])
    wrong = 1 - neighbour.score(test.layer().peaks[:].numpy(), test.labels.numpy())
    assert found.errors.prototypes[-1] == pytest.approx(wrong)
    decided = (test.logits[:].squeeze(1) > 0).long()
    assert decided.sum() == 1
    network = (decided != test.labels).double().mean()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "the network" in line]
    assert line.split("│")[3].strip() == f"{network:.1%}"


def table_rows(printed: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


def test_the_tables_and_the_line_say_what_is_in_the_file(run, capsys):
    assert command("prototypes", run, *FEW, "--filters", 2) == 0
    printed, found = capsys.readouterr().out, record(run)
    rows = table_rows(printed)
    for one in found.selections:
        mean, deviation = one.random_mmd2_mean[-1], one.random_mmd2_deviation[-1]
        assert rows[one.name] == [
            f"3 of {one.images}", f"{one.mmd2[-1]:.1e}", f"{mean:.1e} ± {deviation:.0e}", f"{one.gamma:.2g}",
            f"{one.off_diagonal_ratio:.3g}",
        ]  # fmt: skip
    errors = found.errors
    assert rows["prototypes"] == ["9", f"{errors.prototypes[-1]:.1%}"]
    assert rows["at random"] == ["9", f"{errors.random_mean[-1]:.1%} ± {errors.random_deviation[-1]:.1%}"]
    assert rows["all"] == [str(3 * OF_CLASS), f"{errors.all_rows:.1%}"]
    test = ActivationStore.open(run / "activations" / "test")
    wrong = (test.logits[:].argmax(1) != test.labels).double().mean()
    assert rows["none: the network"] == ["", f"{wrong:.1%}"]
    ratio = np.mean([one.off_diagonal_ratio for one in found.selections[:3]])
    (line,) = [line for line in printed.splitlines() if line.startswith("Off-diagonal")]
    assert line == (
        f"Off-diagonal sums of the kernel are {ratio:.3g} times its diagonal: that greedy comes within 1 - 1/e of the "
        "best choice is proven only where they are near 0."
    )


def test_every_file_is_named_on_the_terminal(built):
    folder = built.run / "prototypes"
    lines = built.printed.splitlines()
    assert f"{folder}: prototypes.json and pictures" in lines
    for name in everything(built.run):
        if name.endswith(".png"):
            assert str(folder / name) in lines
    assert "left out" not in built.printed
    assert "W&B" not in built.printed


def test_on_a_terminal_of_80_columns_tables_and_titles_do_not_break(built):
    lines = [line for line in built.printed.splitlines() if str(built.run) not in line]
    assert max(cell_len(line) for line in lines if not line.startswith("Off-diagonal")) <= 80
    assert "…" not in built.printed
    titles = [line.strip() for line in lines if line and line[0].isalpha() and not line.startswith("Off-diagonal")]
    assert titles == [
        "Prototypes against as many images picked at random",
        "Test images named wrongly by the nearest",
    ]
    heads = [line for line in lines if line.startswith("┃")]
    assert [[cell.strip() for cell in line.split("┃")[1:-1]] for line in heads] == [
        ["set", "chosen", "MMD²", "random", "γ", "K off/on"],
        ["reference images", "number", "error"],
    ]
    rows = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    sets = [one.name for one in record(built.run).selections]
    assert rows == [*sets, "prototypes", "at random", "all", "none: the network"]  # each on one line


def test_only_what_was_written_now_is_logged(again, monkeypatch):
    handed: list[Path] = []
    monkeypatch.setattr(prototypes, "log_artifact", lambda *words: bool(handed.extend(words[3])))
    (again / "prototypes" / "notes.txt").write_text("mine")
    assert command("prototypes", again, *FEW, "--class", PLUM, "--filters", 0) == 0
    folder = (again / "prototypes").resolve()
    assert {path.relative_to(folder).as_posix() for path in handed} == {
        "prototypes.json", "mmd2.png", "sheets/0_plum.png",
    }  # fmt: skip
    assert (again / "prototypes" / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("everything_of_wandb_here")
def test_the_prototypes_are_an_artifact_of_the_run_where_wandb_is_its_logger(trained, tmp_path, capsys):
    run = with_wandb(trained, tmp_path)
    assert command("prototypes", run, *FEW, "--filters", 1) == 0
    assert "W&B: logged as an artifact of the run" in capsys.readouterr().out
    _, artifacts = logged_by_wandb(tmp_path)
    assert artifacts["prototypes"].name == "prototypes-abc123"
    staged = {entry.path: Path(entry.local_path) for entry in artifacts["prototypes"].manifest.contents}
    assert set(staged) == {f"prototypes/{name}" for name in everything(run)}
    written = (run / "prototypes" / "prototypes.json").read_bytes()
    assert staged["prototypes/prototypes.json"].read_bytes() == written
    assert json.loads(written)["schema_version"] == 1


def test_the_help_names_every_option(capsys):
    assert command("prototypes", "--help") == 0
    shown = capsys.readouterr().out
    for name in (
        "RUN", "--class", "--together", "--local", "--prototypes", "--criticisms", "--layer", "--pixels", "--split",
        "--gamma", "--weight", "--filters", "--filter", "--samples", "--seed", "--device",
    ):  # fmt: skip
        assert name in shown
