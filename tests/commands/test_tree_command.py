"""`interpretable tree`, `tree-labels` and `review` on a run whose network is right on every image."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import pytest
import torch
from changed_runs import configure, logged_by_wandb, with_wandb
from drawn_fruit import CLASSES, IMAGES, PARTS, draw_fruit, draw_fruit_without_parts
from test_commands import command, fails, files, fit

from interpretable import load_run
from interpretable.activations import ActivationStore, weights_digest
from interpretable.commands import evaluate, tree_export
from interpretable.commands.stores import predict_split
from interpretable.documents import digest_of, read_document
from interpretable.runs import Run
from interpretable.surrogates import DecisionModeTree, FilterTree, LinearSurrogate, fitting
from interpretable.surrogates.approval import read_reviews
from interpretable.surrogates.export.levels import draw_levels
from interpretable.surrogates.export.picture import draw_tree
from interpretable.surrogates.fidelity import fidelity_table
from interpretable.surrogates.filter_labels import read_labels, write_labels
from interpretable.surrogates.records import DocumentRecord

APPLE, BUD, PLUM = CLASSES
FILTERS = 24
"""Of 96 channels."""
TREES = ("0_apple", "1_bud_i_leaf", "2_plum", "3_all_classes_by_filters")
LEVELS = ["1", "2", "3", "4", "5", "6", "7", "leaves"]
LEARNING = [
    "--trainer.max_epochs=8",
    "--model.part_layers=1",
    "--model.part_share=0.25",
    "--model.filter_weight=0",
    "--model.equivariance=0",
    "--model.lr=5e-3",
    "--data.dataset=PartAnnotatedFolder",
    "--data.batch_size=6",
]


@contextmanager
def quick(drawn: bool = False) -> Iterator[None]:
    """Without what takes the time of the command: most depths of the fidelity table, and the pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        patch.setattr(evaluate, "_draw", lambda *_: None)
        patch.setattr(fitting, "fidelity_table", partial(fidelity_table, depths=(1, 8)))
        if drawn:
            patch.setattr(tree_export, "draw_tree", partial(draw_tree, max_nodes=7))
            patch.setattr(tree_export, "draw_levels", draw_levels)
        else:
            patch.setattr(tree_export, "draw_tree", lambda tree, path, images: path.write_bytes(b"drawn"))
            patch.setattr(tree_export, "draw_levels", lambda levels, path: path.write_bytes(b"drawn"))
        yield


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_fruit(tmp_path_factory.mktemp("fruit") / "data")


@pytest.fixture(scope="module")
def trained(fruit: Path) -> Path:
    return fit(fruit.parent, *LEARNING, "--model.num_classes=3", f"--data.root={fruit}")


class Built(NamedTuple):
    run: Path
    printed: str


@pytest.fixture(scope="module")
def built(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The run with its trees, and what building them printed."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("built") / "run"))
    with quick(drawn=True), redirect_stdout(io.StringIO()) as printed:
        assert command("tree", run) == 0
    return Built(run, printed.getvalue())


@pytest.fixture
def run(built: Built, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.run, tmp_path / "run"))


class Seen(NamedTuple):
    """What the network itself gives for the images of a class."""

    sums: np.ndarray
    gradients: np.ndarray
    scores: np.ndarray


def seen(run: Run, split: Any, label: int, score: Any) -> Seen:
    dataset = predict_split(run, split).predict_dataset
    own = torch.stack([sample["image"] for sample in map(dataset.__getitem__, range(len(dataset)))])
    own = own[dataset.data.labels == label]
    net = run.model.net
    maps = net.part_filters[-1].mask(net.forward_features(own)[-1]).detach().requires_grad_()
    scores = score(net.head(maps))
    (gradients,) = torch.autograd.grad(scores.sum(), maps)
    arrays = maps.sum((2, 3)), gradients.mean((2, 3)), scores
    return Seen(*(array.detach().double().numpy() for array in arrays))


def margin(label: int) -> Any:
    return lambda logits: logits[:, label] - logits.index_fill(1, torch.tensor([label]), -torch.inf).amax(1)


def at_leaves(path: Path, name: str, images: Seen) -> np.ndarray:
    tree = DecisionModeTree.load(path, name)
    return tree.predict(images.sums, images.gradients, None, tree.fitted_paths())


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def named_parts(run: Path) -> list[str]:
    """Parts that any filter was found in, those of the first filters first."""
    names = read_document(run / "tree" / "tree.json", DocumentRecord).about.filters
    return list(dict.fromkeys(name.split(" · ")[0] for name in names if " · " in name))


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_form_of_the_trees_is_there_and_is_named_on_the_terminal(built):
    folder = built.run / "tree"
    pictures = [f"{name}.{suffix}" for name in TREES for suffix in ("dot", "png", "svg")]
    tables = ["levels.csv", "levels.png", "fidelity.csv"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*pictures, *tables, "tree.json", "tree.txt", "tree.html"]
    )
    for name in TREES:
        assert matplotlib.image.imread(folder / f"{name}.png")[..., :3].std() > 0.02
        assert (folder / f"{name}.dot").read_text().startswith("digraph tree {")
        assert (folder / f"{name}.svg").read_text().rstrip().endswith("</svg>")
    assert matplotlib.image.imread(folder / "levels.png")[..., :3].std() > 0.02
    assert built.printed.rstrip().endswith(str(folder / "tree.html"))
    assert "left out" not in built.printed


def test_the_file_says_of_which_network_images_and_classes_it_is(built):
    document, opened = read_document(built.run / "tree" / "tree.json", DocumentRecord), load_run(built.run)
    about = document.about
    assert about.checkpoint == weights_digest(opened.model)
    assert about.train_data == opened.datamodule.train_dataset.fingerprint()
    assert about.test_data == opened.datamodule.test_dataset.fingerprint()
    assert (about.layer, about.classes, about.score) == ("net.part_filters.0", CLASSES, "margin")
    assert len(about.filters) == 96
    assert all(name.split(" · ")[0] in (*PARTS, f"filter {place}") for place, name in enumerate(about.filters))
    assert about.filters[FILTERS:] == tuple(f"filter {place}" for place in range(FILTERS, 96))
    assert "torch" in about.versions
    assert [tree.target for tree in document.decision_modes] == list(CLASSES)


@pytest.mark.parametrize("label", range(3))
def test_the_leaves_of_each_tree_predict_the_networks_margins(built, label):
    images = seen(load_run(built.run), "train", label, margin(label))
    assert len(images.scores) == IMAGES["train"]
    assert images.scores.mean() > 0.5
    predicted = at_leaves(built.run / "tree" / "tree.json", CLASSES[label], images)
    np.testing.assert_allclose(predicted, images.scores, rtol=1e-4, atol=1e-4)


def test_the_surrogates_of_all_decisions_are_read_back_and_imitate_the_network(built):
    document = read_document(built.run / "tree" / "tree.json", DocumentRecord)
    store = ActivationStore.open(built.run / "activations" / "test")
    peaks = store.layer().peaks[:][:, :FILTERS].numpy()
    decided = store.logits[:].argmax(1).numpy()
    fidelity = {(row["surrogate"], row["depth"]): row for row in rows_of(built.run / "tree" / "fidelity.csv")}
    for surrogate, row in (
        (FilterTree.from_record(document.filter_tree), fidelity["filter tree", "8"]),
        (LinearSurrogate.from_record(document.linear), fidelity["linear", ""]),
    ):
        agreed = (surrogate.predict(peaks) == decided).mean()
        assert agreed > 0.9
        assert float(row["fidelity"]) == pytest.approx(agreed, abs=5e-4)
    right = float((decided == store.labels.numpy()).mean())
    assert float(fidelity["network", ""]["accuracy"]) == pytest.approx(right, abs=5e-4)
    assert fidelity["network", ""]["fidelity"] == "1.000"


def test_the_text_and_the_page_name_the_file_that_they_show_and_names_are_escaped_in_it(built):
    folder = built.run / "tree"
    digest, page = digest_of(folder / "tree.json"), (folder / "tree.html").read_text()
    assert digest in page
    assert f"digest: {digest}" in (folder / "tree.txt").read_text()
    assert "<i>leaf" not in page
    assert "bud \\u0026 \\u003ci\\u003eleaf" in page
    assert "\nTree bud & <i>leaf\n" in (folder / "tree.txt").read_text()


def test_a_second_time_every_file_is_the_same_and_no_store_is_written(run, built):
    before, stores = texts(run / "tree"), files(run)
    (run / "tree" / "tree.txt").unlink()
    with quick(drawn=True):
        assert command("tree", run) == 0
    after = texts(run / "tree")
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == []
    assert files(run) == stores


def test_the_table_of_levels_has_each_class_and_their_means(built):
    rows = rows_of(built.run / "tree" / "levels.csv")
    measures = ["nodes", "prediction_error", "fitness", "accuracy", "network_accuracy"]
    measures += [f"part_error/{part}" for part in named_parts(built.run)]
    assert len(measures) > 5
    assert list(rows[0]) == ["class", "level", *measures]
    assert [row["level"] for row in rows] == LEVELS * 4
    assert [row["class"] for row in rows] == [name for name in (*CLASSES, "mean of classes") for _ in LEVELS]
    for place, row in enumerate(rows[24:]):
        of_classes = rows[place:24:8]
        for name in measures:
            assert float(row[name]) == pytest.approx(np.mean([float(one[name]) for one in of_classes]))
    assert {row["nodes"] for row in rows if row["level"] == "1"} == {"1", "1.0"}
    assert {row["nodes"] for row in rows[:24] if row["level"] == "leaves"} == {str(IMAGES["train"])}
    assert {float(row["network_accuracy"]) for row in rows} == {1}  # it is right on every image
    for row in rows[7:24:8]:
        assert float(row["prediction_error"]) < 0.05


def test_the_part_errors_of_the_root_are_those_of_networks_without_the_parts_filters(built):
    """The head is linear in the masked maps: a part's contribution to a logit is what the logit loses without it."""
    opened, folder = load_run(built.run), built.run / "tree"
    tree = DecisionModeTree.load(folder / "tree.json", PLUM)
    names = read_document(folder / "tree.json", DocumentRecord).about.filters
    images = seen(opened, "test", 2, margin(2))
    contributed = tree.contributions(images.sums, images.gradients, 1)
    (row,) = [row for row in rows_of(folder / "levels.csv") if row["class"] == PLUM and row["level"] == "1"]
    net, dataset = opened.model.net, predict_split(opened, "test").predict_dataset
    own = [index for index in range(len(dataset)) if dataset.data.labels[index] == 2]
    with torch.inference_mode():
        raw = net.forward_features(torch.stack([dataset[index]["image"] for index in own]))[-1]
        for part in named_parts(built.run):
            filters = [place for place, name in enumerate(names) if name.startswith(f"{part} · ")]
            left = raw.clone()
            left[:, filters] = 0
            lost = (margin(2)(net.forward_head(raw)) - margin(2)(net.forward_head(left))).double().numpy()
            error = np.abs(contributed[:, filters].sum(1) - lost).mean() / images.scores.mean()
            assert float(row[f"part_error/{part}"]) == pytest.approx(error, abs=2e-3)


def test_only_the_classes_asked_for_are_explained(run, capsys):
    before = read_document(run / "tree" / "tree.json", DocumentRecord)
    assert command("tree", run, "--class", PLUM, "--class", APPLE) == 0
    document = read_document(run / "tree" / "tree.json", DocumentRecord)
    assert [tree.target for tree in document.decision_modes] == [PLUM, APPLE]
    assert document.decision_modes == (before.decision_modes[2], before.decision_modes[0])
    left_out = {name: "not asked for" for name in before.about.classes if name not in (PLUM, APPLE)}
    assert (before.about.left_out, document.about.left_out) == ({}, left_out)
    assert document.about.model_copy(update={"left_out": {}}) == before.about
    assert {row["class"] for row in rows_of(run / "tree" / "levels.csv")} == {PLUM, APPLE, "mean of classes"}
    assert "Tree bud" not in (run / "tree" / "tree.txt").read_text()
    assert (run / "tree" / "0_plum.dot").is_file()


def test_no_picture_of_a_tree_before_stays(run):
    assert command("tree", run, "--class", PLUM) == 0
    assert {path.name for path in (run / "tree").glob("*.dot")} == {"0_plum.dot", "1_all_classes_by_filters.dot"}


def test_fewer_images_are_spread_over_those_of_the_class(run):
    assert command("tree", run, "--class", BUD, "--images", "4") == 0
    images = seen(load_run(run), "train", 1, margin(1))
    spread = [0, 3, 7, 11]
    predicted = at_leaves(run / "tree" / "tree.json", BUD, Seen(*(array[spread] for array in images)))
    np.testing.assert_allclose(predicted, images.scores[spread], rtol=1e-4, atol=1e-4)


def test_the_logit_of_a_class_needs_that_classes_rationales_alone(run):
    shutil.rmtree(run / "activations")
    assert command("tree", run, "--score", "logit", "--class", PLUM) == 0
    for split in ("train", "test"):
        manifest = ActivationStore.open(run / "activations" / split).manifest
        assert (manifest.rationales, manifest.maps) == ((2,), split == "test")
    document = read_document(run / "tree" / "tree.json", DocumentRecord)
    assert (document.about.score, len(document.decision_modes)) == ("logit", 1)
    images = seen(load_run(run), "train", 2, lambda logits: logits[:, 2])
    predicted = at_leaves(run / "tree" / "tree.json", PLUM, images)
    np.testing.assert_allclose(predicted, images.scores, rtol=1e-4, atol=1e-4)
    assert "score: logit" in (run / "tree" / "tree.txt").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--class", "pear"], f"The run has the classes {', '.join(CLASSES)}, not pear; choose among them"),
        (["--score", "probability"], "--score must be margin or logit, got 'probability'"),
        (["--selection", "some"], "selection must be 'all' or 'binary' or 'sparse', got 'some'"),
        (["--gain", "most"], "gain must be 'objective' or 'per_image', got 'most'"),
        (["--labels", "no.csv"], "no.csv is missing; write it with `interpretable tree-labels"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line_and_leaves_the_tree_that_is_there(words, sentence, run, capsys):
    before = texts(run / "tree")
    assert sentence in fails(capsys, "tree", run, *words)
    assert texts(run / "tree") == before


@pytest.mark.parametrize(
    "words", [["--images", "1"], ["--sparsity", "-1"], ["--penalty", "-0.1"]], ids=lambda words: words[0]
)
def test_a_number_out_of_its_range_is_refused(words, run, capsys):
    assert command("tree", run, *words) == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tree", "tree-labels", "review"])
def test_a_folder_that_is_no_run_is_told_in_one_line(name, tmp_path, capsys):
    line = fails(capsys, name, tmp_path / "nowhere")
    assert "is not the folder of a finished run: it has no config.yaml; give a folder" in line
    assert not (tmp_path / "nowhere").exists()


def test_a_reviewers_names_are_in_every_form_and_stay_in_the_table(run, capsys):
    assert command("tree-labels", run) == 0
    path = run / "tree" / "filters.csv"
    labels = read_labels(path, FILTERS)
    document = read_document(run / "tree" / "tree.json", DocumentRecord)
    asked = document.filter_tree.nodes[0].filter
    labels[asked] = labels[asked]._replace(name="rind <i>", note="seen on all of them")
    write_labels(path, labels)
    assert f"{path}: {FILTERS} filters, " in capsys.readouterr().out

    assert command("tree", run, "--labels", path) == 0

    named = read_document(run / "tree" / "tree.json", DocumentRecord)
    assert named.about.filters[asked] == f"rind <i> · {asked}"
    assert named.decision_modes == document.decision_modes
    text, page = (run / "tree" / "tree.txt").read_text(), (run / "tree" / "tree.html").read_text()
    images = seen(load_run(run), "train", 0, margin(0))
    tree = DecisionModeTree.load(run / "tree" / "tree.json", APPLE)
    mean = tree.contributions(images.sums, images.gradients, 1).mean(0)[asked]
    (line,) = re.findall(r"^- apple .*\n\|    parts: (.*)$", text, re.MULTILINE)
    assert float(re.search(r"rind <i> (\S+)", line)[1]) == pytest.approx(mean, rel=0.01)
    assert f"\n|  - rind <i> · {asked} > " in text
    assert f"rind \\u003ci\\u003e \\u00b7 {asked} \\u2264 " in page
    assert "part_error/rind <i>" in rows_of(run / "tree" / "levels.csv")[0]

    assert command("tree-labels", run) == 0
    assert read_labels(path, FILTERS) == labels


def test_a_label_of_a_filter_that_is_none_is_told_with_its_line(run, capsys):
    command("tree-labels", run)
    path = run / "tree" / "filters.csv"
    path.write_text(path.read_text() + f"{FILTERS},,,rind,\n")
    line = fails(capsys, "tree", run, "--labels", path)
    assert f"filters.csv:{FILTERS + 2}: there is no filter {FILTERS}, the layer has the filters 0 to 23" in line


def test_a_review_stands_until_the_tree_changes_and_is_made_anew(run, capsys):
    assert command("review", run, "--approve", "--by", "Ann", "--note", "squares") == 0
    capsys.readouterr()
    assert command("review", run) == 0
    shown = capsys.readouterr().out
    for text in ("approved", "Ann", "squares", digest_of(run / "tree" / "tree.json")):
        assert text in shown
    assert command("tree", run) == 0  # the same tree
    assert command("review", run) == 0

    command("tree-labels", run)
    path = run / "tree" / "filters.csv"
    labels = read_labels(path, FILTERS)
    write_labels(path, [labels[0]._replace(name="rind"), *labels[1:]])
    assert command("tree", run, "--labels", path) == 0
    capsys.readouterr()
    assert "tree.json has changed since Ann approved it on 20" in fails(capsys, "review", run)

    assert command("review", run, "--reject", "--by", "Bo") == 0
    assert "rejected" in capsys.readouterr().out
    assert [review.by for review in read_reviews(run / "tree")] == ["Ann", "Bo"]


def edit(path: Path) -> None:
    """A weight of a leaf is changed by hand; the file stays whole."""
    content = json.loads(path.read_text())
    content["decision_modes"][1]["nodes"][-1]["rationale"][0] += 0.25
    path.write_text(json.dumps(content))


def test_a_tree_that_was_edited_by_hand_is_not_approved_and_its_review_stands_no_more(run, capsys):
    assert command("review", run, "--approve", "--by", "Ann") == 0
    before = (run / "tree" / "review.json").read_bytes()
    edit(run / "tree" / "tree.json")
    capsys.readouterr()
    assert "tree.json has changed since Ann approved it" in fails(capsys, "review", run)
    line = fails(capsys, "review", run, "--approve", "--by", "Ann")
    assert "tree.json: the field decision_modes[1] was changed since it was written" in line
    assert (run / "tree" / "review.json").read_bytes() == before


def test_a_class_that_the_network_is_wrong_on_is_left_out_and_the_others_stay(run, capsys):
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    (bias,) = [name for name in checkpoint["state_dict"] if name.startswith("net.head") and name.endswith("bias")]
    checkpoint["state_dict"][bias][0] -= 20
    torch.save(checkpoint, path)
    capsys.readouterr()
    assert command("tree", run) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "left out" in line]
    assert re.match(r"apple is left out: The scores of apple\b.* must be above 0 on average", line)
    assert [tree.target for tree in read_document(run / "tree" / "tree.json", DocumentRecord).decision_modes] == [
        BUD,
        PLUM,
    ]
    assert "\nTree plum\n" in (run / "tree" / "tree.txt").read_text()

    before = texts(run / "tree")
    assert "must be above 0 on average" in fails(capsys, "tree", run, "--class", APPLE)
    assert texts(run / "tree") == before


@pytest.mark.usefixtures("everything_of_wandb_here")
def test_the_trees_are_an_artifact_of_the_run_where_wandb_is_its_logger(built, tmp_path, capsys):
    run = with_wandb(built.run, tmp_path)
    assert command("tree", run, "--class", PLUM) == 0
    assert "W&B: logged as an artifact of the run" in capsys.readouterr().out
    found, artifacts = logged_by_wandb(tmp_path)
    assert artifacts["tree"].name == "tree-abc123"
    staged = {entry.path: Path(entry.local_path) for entry in artifacts["tree"].manifest.contents}
    assert {"tree/tree.json", "tree/tree.html", "tree/levels.csv", "tree/0_plum.svg"} <= staged.keys()
    assert staged["tree/tree.json"].read_bytes() == (run / "tree" / "tree.json").read_bytes()
    assert {"tree/levels", "tree/fidelity"} <= {item.key for record in found for item in record.summary.update}


@pytest.mark.parametrize("name", [PLUM, APPLE])
def test_a_binary_run_has_one_tree_of_its_one_logit(name, binary, tmp_path):
    run = Path(shutil.copytree(binary, tmp_path / "run"))
    assert command("tree", run, *(["--class", APPLE] if name == APPLE else [])) == 0
    document = read_document(run / "tree" / "tree.json", DocumentRecord)
    assert [tree.target for tree in document.decision_modes] == [name]
    assert (document.about.score, document.about.classes) == ("logit", (APPLE, PLUM))
    sign = 1 if name == PLUM else -1
    images = seen(load_run(run), "train", int(name == PLUM), lambda logits: sign * logits[:, 0])
    np.testing.assert_allclose(at_leaves(run / "tree" / "tree.json", name, images), images.scores, rtol=1e-4, atol=1e-4)
    assert "against:" not in (run / "tree" / "tree.txt").read_text()
    (row,) = [row for row in rows_of(run / "tree" / "levels.csv") if row["class"] == name and row["level"] == "leaves"]
    assert float(row["network_accuracy"]) == 1


@pytest.fixture(scope="module")
def binary(fruit: Path) -> Path:
    words = [
        "--model.num_classes=2",
        "--model.task=binary",
        f"--data.root={fruit}",
        f"--data.classes=[{APPLE}, {PLUM}]",
    ]
    run = fit(fruit.parent, *LEARNING, *words)
    with quick(), redirect_stdout(io.StringIO()):
        assert command("tree", run) == 0
    return run


def test_a_run_without_parts_has_trees_of_filters(run, tmp_path):
    configure(run, "data", root=str(draw_fruit_without_parts(tmp_path / "plain")), dataset="ImageFolder")
    assert command("tree", run, "--class", PLUM) == 0
    text = (run / "tree" / "tree.txt").read_text()
    assert "    filters: filter " in text
    assert "    parts: " not in text
    assert [name for name in rows_of(run / "tree" / "levels.csv")[0] if name.startswith("part_error")] == []
    (run / "metrics.json").unlink()
    assert command("tree-labels", run) == 0
    assert not any(label.suggested_part for label in read_labels(run / "tree" / "filters.csv", FILTERS))
