"""`interpretable influence` on a tiny run with a training image of a wrong label: numbers, order, files, refusals."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import pytest
import torch
from changed_runs import Drawn, configure, logged_by_wandb, with_wandb, without_pictures
from data.drawn import write_csv
from drawn_fruit import CLASSES, IMAGES, SIDE, draw_fruit
from PIL import Image
from rich.cells import cell_len
from test_commands import command, fails, fit
from test_tree_command import LEARNING
from torch import Tensor
from torch.nn import functional as F

from interpretable import load_run
from interpretable.activations import weights_digest
from interpretable.commands import influence, influence_export
from interpretable.commands.influence_records import InfluenceRecord
from interpretable.commands.stores import predict_split
from interpretable.data.splits import Split
from interpretable.documents import read_document
from interpretable.errors import InfluenceError
from interpretable.influence import LastLayerInfluence, TracIn, last_layer_features
from interpretable.influence.ek_fac import EKFAC
from interpretable.influence.influence_pictures import influence_figure, self_influence_figure
from interpretable.influence.influence_view import InfluenceRow, InfluenceWords, InfluentialImage
from interpretable.runs import Run

APPLE, BUD, PLUM = CLASSES
WRONG = 4
"""Index of the training image that is drawn as an apple and annotated as a plum."""
TRAINING = len(CLASSES) * IMAGES["train"]
FROZEN = "features.10"
"""Layer up to which the trunk is frozen where that is tested."""
QUERIES = (1, 14)
WHOLE = {"influence.json", "influence.csv", "influence.png", "self_influence.csv", "self_influence.png"}
ALONE = {"influence.json", "self_influence.csv", "self_influence.png"}


quick = partial(without_pictures, "influence", influence_export, "draw_influence", "draw_self_influence")


@pytest.fixture(autouse=True)
def drawn() -> Iterator[Drawn]:
    with quick() as found:
        yield found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose training saw an apple that is annotated as a plum."""
    root = tmp_path_factory.mktemp("fruit")
    data = draw_fruit(root / "data")
    with (data / "annotations.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    rows[WRONG][1] = PLUM
    write_csv(data / "annotations.csv", header, rows)
    words = ["--model.num_classes=3", "--model.schedule=constant", "--test_after_fit=false"]
    return fit(root, *LEARNING, *words, f"--data.root={data}")


@pytest.fixture(scope="module")
def opened(trained: Path) -> Run:
    return load_run(trained)


class Built(NamedTuple):
    run: Path
    printed: str
    views: dict[str, tuple[Any, ...]]


@pytest.fixture(scope="module")
def built(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The run with the influence on two test images, what was printed, and what pictures show."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("built") / "run"))
    with quick() as found, pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("COLUMNS", "80")
        assert command("influence", run, *asking(*QUERIES)) == 0
    return Built(run, printed.getvalue(), found.views)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run without influence."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def again(built: Built, tmp_path: Path) -> Path:
    """A copy of the run with its influence."""
    return Path(shutil.copytree(built.run, tmp_path / "run"))


def asking(*images: object) -> list[object]:
    return [word for image in images for word in ("--image", image)]


def table(run: Path, name: str = "influence") -> list[dict[str, str]]:
    with (run / "influence" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def record(run: Path) -> InfluenceRecord:
    return read_document(run / "influence" / "influence.json", InfluenceRecord)


def written(run: Path) -> set[str]:
    return {path.name for path in (run / "influence").iterdir()}


def labelled(run: Run, split: Split, *indices: int) -> list[tuple[Tensor, Tensor]]:
    """Images of a split with their labels, all of them where none is named, in one batch."""
    dataset = predict_split(run, split).predict_dataset
    samples = [dataset[index] for index in indices or range(len(dataset))]
    images = torch.stack([sample["image"].as_subclass(Tensor) for sample in samples])
    return [(images, torch.stack([sample["label"] for sample in samples]))]


def by_hand(run: Run, damping: float | None = None) -> tuple[Tensor, Tensor]:
    """Influence on the queries, and self-influence, by the last layer."""
    seen = last_layer_features(run.model.net, labelled(run, "train"))
    estimator = LastLayerInfluence(damping=damping).fit(seen)
    queries = last_layer_features(run.model.net, labelled(run, "test", *QUERIES))
    return estimator.influence(queries), estimator.self_influence()


def assert_lists(rows: list[dict[str, str]], name: str, expected: Tensor, top: int = 8, within: float = 1e-6) -> None:
    """The rows of a query are those of largest and of least influence, strongest first, each of its own sign."""
    scale = float(expected.abs().max())
    for kind, sign in (("helpful", 1), ("harmful", -1)):
        own = [row for row in rows if (row["query"], row["kind"]) == (name, kind)]
        values = [float(row["influence"]) for row in own]
        strongest = sorted((sign * value for value in expected.tolist() if sign * value > 0), reverse=True)[:top]
        assert len(own) == len(strongest) > 0
        assert [row["rank"] for row in own] == [str(rank + 1) for rank in range(len(own))]
        assert values == pytest.approx([sign * value for value in strongest], rel=1e-3, abs=within * scale)
        assert values == pytest.approx(
            [float(expected[int(row["index"])]) for row in own], rel=1e-3, abs=within * scale
        )


def assert_itself(rows: list[dict[str, str]], expected: Tensor) -> None:
    """Every training image once, with its self-influence, the highest first."""
    values = [float(row["self_influence"]) for row in rows]
    assert sorted(int(row["index"]) for row in rows) == list(range(TRAINING))
    assert values == sorted(values, reverse=True)
    assert values == pytest.approx([float(expected[int(row["index"])]) for row in rows], rel=1e-3, abs=1e-12)


def test_influence_is_that_of_the_estimator_most_helpful_and_most_harmful_first(built, opened):
    influence, itself = by_hand(opened)
    rows = table(built.run)
    for name, expected in zip(("test 1", "test 14"), influence, strict=True):
        assert_lists(rows, name, expected)
    assert [row["query"] for row in rows] == sorted((row["query"] for row in rows), key=("test 1", "test 14").index)
    assert_itself(table(built.run, "self_influence"), itself)


def test_labels_and_misclassified_images_are_those_of_the_data_and_the_network(built, opened):
    ((images, labels),) = labelled(opened, "train")
    with torch.no_grad():
        predicted = opened.model.net(images).argmax(1)
    assert predicted[WRONG] != labels[WRONG]
    for row in table(built.run):
        index = int(row["index"])
        assert row["label"] == CLASSES[labels[index]]
        assert row["misclassified"] == ("yes" if predicted[index] != labels[index] else "no")
    for row in table(built.run, "self_influence"):
        index = int(row["index"])
        assert (row["label"], row["predicted"]) == (CLASSES[labels[index]], CLASSES[predicted[index]])


def test_a_wrong_label_has_the_highest_self_influence(built):
    first, second = table(built.run, "self_influence")[:2]
    assert (int(first["index"]), first["label"], first["predicted"]) == (WRONG, PLUM, APPLE)
    assert float(first["self_influence"]) > 1.5 * float(second["self_influence"])


def test_leaving_out_a_helpful_image_raises_the_loss(built, opened):
    # One Newton step without the image, on the head's mean loss with the same damping about its present weights.
    influence, _ = by_hand(opened)
    network = opened.model.net
    seen = last_layer_features(network, labelled(opened, "train"))
    queries = last_layer_features(network, labelled(opened, "test", *QUERIES))
    estimator = LastLayerInfluence(leave_one_out=True).fit(seen)
    changes = estimator.loss_changes(queries)
    for row in table(built.run):
        place, index = ("test 1", "test 14").index(row["query"]), int(row["index"])
        if row["rank"] == "1":
            assert changes[place, index] * (1 if row["kind"] == "helpful" else -1) > 0
            assert influence[place, index] * changes[place, index] > 0


def test_damping_is_what_is_asked_for(run, opened):
    assert command("influence", run, *asking(*QUERIES), "--damping", "0.5") == 0
    influence, itself = by_hand(opened, 0.5)
    assert_lists(table(run), "test 1", influence[0])
    assert_itself(table(run, "self_influence"), itself)
    assert record(run).damping == 0.5


def test_trac_in_sums_over_the_checkpoints_with_the_learning_rates_recorded(run, opened, capsys):
    make_older(run, "before", shrunk=0.5, rate=0.25)
    checkpoints = {path.name: content(path) for path in (run / "checkpoints").iterdir()}
    assert command("influence", run, *asking(*QUERIES), "--method", "trac_in") == 0
    steps = {one.file: (one.step, one.learning_rate) for one in record(run).checkpoints}
    assert "before.ckpt" in steps
    assert "best.ckpt" in steps
    assert [step for step, _ in steps.values()] == sorted(step for step, _ in steps.values())
    seen, tested, rates = [], [], []
    network = load_run(run).model.net
    for name, (step, rate) in steps.items():
        weights = {key.removeprefix("net."): value for key, value in checkpoints[name]["state_dict"].items()}
        network.load_state_dict({key: value for key, value in weights.items() if key in network.state_dict()})
        assert step == checkpoints[name]["global_step"]
        seen.append(last_layer_features(network, labelled(opened, "train")))
        tested.append(last_layer_features(network, labelled(opened, "test", *QUERIES)))
        rates.append(rate)
    assert rates[0] == 0.25
    assert set(rates[1:]) == {0.005}
    estimator = TracIn().fit(seen, rates)
    for name, expected in zip(("test 1", "test 14"), estimator.influence(tested), strict=True):
        assert_lists(table(run), name, expected)
    assert_itself(table(run, "self_influence"), estimator.self_influence())
    printed = capsys.readouterr().out
    assert "TracIn uses the checkpoints that the run keeps: before.ckpt (step 1, learning rate 0.25), " in printed
    assert "gradient descent on the training image alone" in record(run).meaning
    assert record(run).damping is None


def test_a_checkpoint_whose_learning_rate_is_0_is_left_out_of_trac_in(run, capsys):
    make_older(run, "before", shrunk=1.0, rate=0.0)
    assert command("influence", run, "--method", "trac_in") == 0
    assert "Left out, as the learning rate recorded is 0: before.ckpt" in capsys.readouterr().out
    assert "before.ckpt" not in {one.file for one in record(run).checkpoints}


def test_trac_in_needs_a_learning_rate_above_0(run, capsys):
    for path in (run / "checkpoints").iterdir():
        change(path, rate=0.0)
    line = fails(capsys, "influence", run, "--method", "trac_in")
    assert "best.ckpt" in line
    assert "is 0" in line
    assert "--method" in line
    assert not (run / "influence").exists()


def test_a_checkpoint_that_cannot_be_read_is_refused_by_name(run, capsys):
    (run / "checkpoints" / "half.ckpt").write_bytes((run / "checkpoints" / "best.ckpt").read_bytes()[:5000])
    line = fails(capsys, "influence", run, "--method", "trac_in")
    assert "half.ckpt was expected to be a checkpoint" in line
    torch.save({"state_dict": {}}, run / "checkpoints" / "half.ckpt")
    line = fails(capsys, "influence", run, "--method", "trac_in")
    assert "half.ckpt" in line
    assert "state of the optimizer" in line
    make_older(run, "half", shrunk=1.0, rate=1.0, without="head.")
    line = fails(capsys, "influence", run, "--method", "trac_in")
    assert "half.ckpt" in line
    assert "do not fit" in line
    assert not (run / "influence").exists()


def test_ek_fac_is_that_of_the_estimator_on_the_layers_that_were_trained(run, opened, monkeypatch):
    configure(run, "model", frozen=FROZEN)
    for path in (run / "checkpoints").iterdir():
        found = content(path)
        found["hyper_parameters"]["frozen"] = FROZEN
        torch.save(found, path)
    assert command("influence", run, *asking(*QUERIES), "--method", "ek_fac", "--damping", "0.01") == 0
    network = load_run(run).model.net
    trained = [name for name, layer in network.named_modules() if hasattr(layer, "weight") and layer.weight.ndim > 1]
    frozen = [name for name in trained if not network.get_parameter(f"{name}.weight").requires_grad]
    trained = [name for name in trained if name not in frozen]
    assert frozen
    assert set(record(run).layers) == set(trained)
    batches = labelled(opened, "train")
    estimator = EKFAC(layers=trained, damping=0.01).fit(network, batches)
    expected = estimator.influence(labelled(opened, "test", *QUERIES), batches).double()
    assert_lists(table(run), "test 1", expected[0], within=1e-4)
    assert_lists(table(run), "test 14", expected[1], within=1e-4)
    assert_itself(table(run, "self_influence"), estimator.self_influence(batches))
    assert int(table(run, "self_influence")[0]["index"]) == WRONG
    assert record(run).damping == 0.01


def test_without_an_image_it_is_self_influence_alone(run, opened, drawn, capsys):
    assert command("influence", run) == 0
    assert written(run) == ALONE
    assert_itself(table(run, "self_influence"), by_hand(opened)[1])
    assert set(drawn.views) == {"self_influence.png"}
    assert record(run).queries == ()
    assert "helpful" not in capsys.readouterr().out


def test_a_file_is_seen_by_the_transforms_of_evaluation_and_has_the_predicted_class(run, opened, drawn, tmp_path):
    dataset = predict_split(opened, "test").predict_dataset
    pixels = dataset.data[QUERIES[1]]["image"].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(pixels).resize((3 * SIDE, 2 * SIDE)).save(tmp_path / "large.png")
    assert command("influence", run, *asking(tmp_path / "photo.png", QUERIES[1], tmp_path / "large.png")) == 0
    photo, known, large = record(run).queries
    assert (photo.name, known.name, large.name) == ("photo.png", "test 14", "large.png")
    assert (photo.index, known.index, large.index) == (-1, 14, -1)
    assert photo.label == photo.predicted == known.predicted == known.label == PLUM
    rows = {name: [row for row in table(run) if row["query"] == name] for name in ("photo.png", "test 14", "large.png")}
    for row, same in zip(rows["photo.png"], rows["test 14"], strict=True):
        assert (row["index"], row["kind"]) == (same["index"], same["kind"])
        assert float(row["influence"]) == pytest.approx(float(same["influence"]), rel=1e-4, abs=1e-12)
    assert rows["large.png"]
    views = drawn.views["influence.png"][0]
    assert np.array_equal(views[0].image, pixels)
    assert [view.name for view in views] == ["photo.png", "test 14", "large.png"]


def test_the_class_of_a_file_can_be_given(run, opened, tmp_path):
    dataset = predict_split(opened, "test").predict_dataset
    Image.fromarray(dataset.data[QUERIES[1]]["image"].permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    assert command("influence", run, *asking(tmp_path / "photo.png", QUERIES[1]), "--label", BUD) == 0
    photo, known = record(run).queries
    assert (photo.label, photo.predicted) == (BUD, PLUM)
    assert known.label == PLUM
    ((images, _),) = labelled(opened, "test", QUERIES[1])
    label = torch.tensor([CLASSES.index(BUD)])
    with torch.no_grad():
        loss = F.cross_entropy(opened.model.net(images), label)
    assert photo.loss == pytest.approx(float(loss), rel=1e-4)
    estimator = LastLayerInfluence().fit(last_layer_features(opened.model.net, labelled(opened, "train")))
    seen = last_layer_features(opened.model.net, [(images, label)])
    assert_lists(table(run), "photo.png", estimator.influence(seen)[0])


def test_an_image_of_another_split_is_named_by_it(run):
    assert command("influence", run, *asking(WRONG), "--split", "train", "--top", 1) == 0
    (query,) = record(run).queries
    assert (query.name, query.label, query.predicted) == (f"train {WRONG}", PLUM, APPLE)
    first = table(run)[0]
    assert (first["kind"], int(first["index"]), first["misclassified"]) == ("helpful", WRONG, "yes")
    assert float(first["influence"]) == pytest.approx(
        float(table(run, "self_influence")[0]["self_influence"]), rel=1e-4
    )


def test_top_bounds_both_kinds(run, opened):
    influence, _ = by_hand(opened)
    assert command("influence", run, *asking(*QUERIES), "--top", 2) == 0
    assert len(table(run)) == 2 * 2 * len(QUERIES)
    assert command("influence", run, *asking(*QUERIES), "--top", 1000) == 0
    assert_lists(table(run), "test 1", influence[0], top=1000)
    assert len(table(run)) == int((influence != 0).sum())


def test_batches_do_not_change_the_numbers(run, built):
    assert command("influence", run, *asking(*QUERIES), "--batch-size", 5) == 0
    for row, same in zip(table(run), table(built.run), strict=True):
        assert (row["query"], row["kind"], row["rank"]) == (same["query"], same["kind"], same["rank"])
        assert float(row["influence"]) == pytest.approx(float(same["influence"]), rel=1e-3)


def test_the_settings_stand_beside_the_tables(built, opened):
    found = record(built.run)
    estimator = LastLayerInfluence().fit(last_layer_features(opened.model.net, labelled(opened, "train")))
    assert found.method == "last_layer"
    assert found.damping == pytest.approx(estimator.damping_, rel=1e-4)
    assert found.split == "test"
    assert found.training_images == TRAINING
    assert found.checkpoint == weights_digest(opened.model)
    assert found.data == predict_split(opened, "train").predict_dataset.fingerprint()
    assert found.classes == CLASSES
    assert "positive is helpful" in found.meaning
    assert "if the training image were left out" in found.meaning
    with torch.no_grad():
        ((images, labels),) = labelled(opened, "test", *QUERIES)
        losses = F.cross_entropy(opened.model.net(images), labels, reduction="none")
    assert [query.loss for query in found.queries] == pytest.approx(losses.tolist(), rel=1e-3, abs=1e-6)


def test_pictures_show_what_the_tables_say(built):
    rows, words = built.views["influence.png"]
    assert "Most helpful" in words.helpful
    assert "Most harmful" in words.harmful
    assert "first-order change of this image's loss if the training image were left out" in words.meaning
    listed = [
        (row.name, str(rank), kind, str(image.index), image.label, repr(image.influence))
        for row in rows
        for kind in ("helpful", "harmful")
        for rank, image in enumerate(getattr(row, kind), start=1)
    ]
    assert listed == [tuple(row.values())[:-1] for row in table(built.run)]
    images, title, meaning = built.views["self_influence.png"]
    assert [(image.index, image.influence) for image in images] == [
        (int(row["index"]), float(row["self_influence"])) for row in table(built.run, "self_influence")[:32]
    ]
    assert (images[0].label, images[0].predicted) == (PLUM, APPLE)
    assert "first for wrong labels" in title
    assert "own loss" in meaning


def test_pictures_show_the_images_themselves(built, opened):
    rows, _ = built.views["influence.png"]
    test, training = (predict_split(opened, split).predict_dataset.data for split in ("test", "train"))
    assert np.array_equal(rows[1].image, test[QUERIES[1]]["image"].permute(1, 2, 0).numpy())
    for shown in (*rows[0].helpful, *rows[0].harmful):
        assert np.array_equal(shown.image, training[shown.index]["image"].permute(1, 2, 0).numpy())


def shown(index: int, influence: float, predicted: str = APPLE) -> InfluentialImage:
    return InfluentialImage(np.full((8, 8, 3), 200, np.uint8), index, APPLE, predicted, influence)


def texts(figure: Any) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


WORDS = InfluenceWords("Helpful", "Harmful", "What it means.")


def test_a_sheet_says_the_unit_where_numbers_are_small():
    pixels = np.zeros((8, 8, 3), np.uint8)
    small = InfluenceRow("one", pixels, APPLE, APPLE, 0.25, (shown(3, 3.24e-5), shown(4, 1e-6)), (shown(5, -2e-5),))
    plain = InfluenceRow("two", pixels, APPLE, BUD, 1.5, (), (shown(6, -0.125, PLUM),))
    found = texts(influence_figure([small, plain], WORDS))
    for line in ("Helpful", "Harmful", "one", "loss 0.25, unit 10⁻⁵", "+3.24", "+0.10", "−2.00", "3", "4", "5"):
        assert line in found
    for line in ("two", "loss 1.5", "−0.125", "none", f"as {BUD}", f"as {PLUM}"):
        assert line in found
    assert found[-1] == "What it means. Orange: the network names the image otherwise."


def test_a_sheet_of_self_influence_is_in_the_order_given():
    found = texts(self_influence_figure([shown(7, 2e-7), shown(2, 1e-7)], "Title", "Meaning."))
    assert [line for line in found if line in ("7", "2", "+2.00", "+1.00")] == ["+2.00", "7", "+1.00", "2"]
    assert found[0] == "Title"
    assert found[-1] == "Meaning. Numbers are in units of 10⁻⁷ nats."
    assert "0" in texts(self_influence_figure([shown(7, 0.0)], "Title", "Meaning."))


def test_a_gap_stands_between_helpful_and_harmful_images():
    many = tuple(shown(number, 1.0) for number in range(8))
    row = InfluenceRow("one", np.zeros((8, 8, 3), np.uint8), APPLE, APPLE, 0.25, many, many)
    figure = influence_figure([row], WORDS)
    lefts = sorted(image.get_extent()[:2] for image in figure.axes[0].images)
    gaps = [after[0] - before[1] for before, after in pairwise(lefts[1:])]
    assert len(lefts) == 17
    assert gaps.index(max(gaps)) == 7
    assert max(gaps) > 4 * sorted(gaps)[-2]


def test_a_sheet_of_nothing_is_refused():
    for draw in (lambda: influence_figure([], WORDS), lambda: self_influence_figure([], "Title", "Meaning.")):
        with pytest.raises(InfluenceError, match="at least"):
            draw()


def test_pictures_are_drawn(again, monkeypatch):
    monkeypatch.undo()
    from interpretable.influence import influence_pictures

    for name in ("draw_influence", "draw_self_influence"):
        monkeypatch.setattr(influence_export, name, getattr(influence_pictures, name))
    assert command("influence", again, *asking(*QUERIES), "--top", 2) == 0
    for name in ("influence.png", "self_influence.png"):
        assert matplotlib.image.imread(again / "influence" / name).std() > 0.05


def test_more_images_than_eight_take_several_sheets_and_fewer_delete_them(run, drawn):
    (run / "influence").mkdir()
    (run / "influence" / "notes.txt").write_text("mine")
    assert command("influence", run, *asking(*range(18)), "--top", 1) == 0
    assert written(run) == WHOLE | {"influence_2.png", "influence_3.png", "notes.txt"}
    counts = [len(drawn.views[f"{name}.png"][0]) for name in ("influence", "influence_2", "influence_3")]
    assert counts == [8, 8, 2]
    assert command("influence", run, *asking(*range(9)), "--top", 1) == 0
    assert written(run) == WHOLE | {"influence_2.png", "notes.txt"}
    assert command("influence", run) == 0
    assert written(run) == ALONE | {"notes.txt"}


def test_files_are_replaced_together_or_not_at_all(again, monkeypatch):
    before = {path.name: path.read_bytes() for path in (again / "influence").iterdir()}

    def fail(*_: object) -> None:
        raise InfluenceError("No picture.")

    monkeypatch.setattr(influence_export, "draw_self_influence", fail)
    assert command("influence", again, *asking(3)) == 1
    assert {path.name: path.read_bytes() for path in (again / "influence").iterdir()} == before


def test_the_terminal_shows_tables_and_the_files_in_80_columns(built):
    lines = built.printed.splitlines()
    titles = [line.strip() for line in lines if line.startswith(("test ", "Highest"))]
    assert [title.split(",")[0] for title in titles] == [
        f"test 1: {APPLE}",
        f"test 14: {PLUM}",
        "Highest self-influence",
    ]
    heads = [[cell.strip() for cell in line.split("┃")[1:-1]] for line in lines if line.startswith("┃")]
    assert heads == 2 * [["rank", "helpful", "label", "influence", "harmful", "label", "influence"]] + [
        ["index", "label", "self_influence", "predicted"]
    ]
    assert max(cell_len(line) for line in lines if line.startswith(("│", "┃"))) <= 80
    for name in WHOLE:
        assert str(built.run / "influence" / name) in lines
    assert any(line.startswith("Influence: first-order change of this image's loss") for line in lines)
    assert any(line.startswith(f"By last_layer, of {TRAINING} training images, damping ") for line in lines)
    assert "W&B" not in built.printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--image", "18"), ("0 to 17", "18")),
        (("--image=-1",), ("0 to 17", "-1")),
        (("--image", "nowhere.jpg"), ("nowhere.jpg",)),
        (("--image", "text.jpg"), ("text.jpg", "cannot be decoded")),
        (("--image", "1", "--method", "arnoldi"), ("last_layer, trac_in, ek_fac", "arnoldi")),
        (("--image", "1", "--split", "all"), ("train, validation, test", "all")),
        (("--image", "text.jpg", "--label", "pear"), (APPLE, "pear")),
        (("--image", "1", "--label", APPLE), ("leave it out",)),
        (("--label", APPLE), ("no --image",)),
        (("--damping", "0"), ("above 0", "0")),
        (("--damping", "nan"), ("above 0", "nan")),
        (("--damping", "1", "--method", "trac_in"), ("trac_in", "leave it out")),
        (("--device", "abacus"), ("device", "abacus")),
    ],
)
def test_bad_input_is_refused_in_a_sentence_before_anything_is_computed(
    words, said, trained, tmp_path, capsys, monkeypatch
):
    (tmp_path / "text.jpg").write_text("no image")
    monkeypatch.setattr(influence, "influence_of", lambda *_: pytest.fail("computed"))
    line = fails(capsys, "influence", trained, *words)
    for word in said:
        assert word in line
    assert not (trained / "influence").exists()


def test_a_top_of_0_and_a_folder_that_is_no_run_are_refused(trained, tmp_path, capsys):
    assert command("influence", trained, "--top", 0) == 2
    assert command("influence", trained, "--batch-size", 0) == 2
    capsys.readouterr()
    assert "is not the folder of a finished run" in fails(capsys, "influence", tmp_path)


@pytest.mark.parametrize("task", ["multilabel", "binary"])
def test_a_run_of_another_task_is_refused(task, run, capsys, monkeypatch):
    opened = load_run(run)
    opened.model.task = task
    monkeypatch.setattr(influence, "load_run", lambda _: opened)
    line = fails(capsys, "influence", run)
    assert "task=multiclass" in line
    assert f"task={task}" in line
    assert not (run / "influence").exists()


def test_only_what_was_written_now_is_logged(again, monkeypatch):
    handed: list[Path] = []
    monkeypatch.setattr(influence, "log_artifact", lambda *words: bool(handed.extend(words[3])))
    assert command("influence", again) == 0
    assert {path.name for path in handed} == ALONE


@pytest.mark.usefixtures("everything_of_wandb_here")
def test_influence_is_an_artifact_of_the_run_where_wandb_is_its_logger(trained, tmp_path, capsys):
    run = with_wandb(trained, tmp_path)
    assert command("influence", run, *asking(1)) == 0
    assert "W&B: logged as an artifact of the run" in capsys.readouterr().out
    _, artifacts = logged_by_wandb(tmp_path)
    assert artifacts["influence"].name == "influence-abc123"
    staged = {entry.path: Path(entry.local_path) for entry in artifacts["influence"].manifest.contents}
    assert set(staged) == {f"influence/{name}" for name in WHOLE}
    document = (run / "influence" / "influence.json").read_bytes()
    assert staged["influence/influence.json"].read_bytes() == document
    assert json.loads(document)["schema_version"] == 1


def test_the_help_names_every_option_and_the_unit(capsys):
    assert command("influence", "--help") == 0
    text = capsys.readouterr().out
    for name in (
        "RUN", "--image", "--label", "--method", "last_layer", "trac_in", "ek_fac", "--top", "--split", "--damping",
        "--device", "--batch-size", "first-order change",
    ):  # fmt: skip
        assert name in text


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def change(path: Path, rate: float) -> dict[str, Any]:
    """Gives a checkpoint another learning rate."""
    found = content(path)
    for group in found["optimizer_states"][0]["param_groups"]:
        group["lr"] = rate
    torch.save(found, path)
    return found


def make_older(run: Path, name: str, shrunk: float, rate: float, without: str = "nothing") -> None:
    """Adds a checkpoint of step 1 with smaller weights."""
    path = run / "checkpoints" / f"{name}.ckpt"
    shutil.copy(run / "checkpoints" / "best.ckpt", path)
    found = change(path, rate)
    weights = found["state_dict"].items()
    kept = {key: value * shrunk if value.is_floating_point() else value for key, value in weights if without not in key}
    torch.save({**found, "global_step": 1, "state_dict": kept}, path)
