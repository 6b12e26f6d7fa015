"""`interpretable attribute` on a tiny run: what it writes, what it leaves out, and what it refuses."""

import io
import json
import re
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
from changed_runs import Drawn, configure, logged_by_wandb, with_wandb, without_pictures
from drawn_fruit import CLASSES, IMAGES, SIDE, draw_fruit
from PIL import Image
from safetensors import safe_open
from test_commands import command, fails, fit
from test_tree_command import LEARNING

from interpretable import load_run
from interpretable.activations import weights_digest
from interpretable.attribution import METHODS, Patterns, attribute, method_named
from interpretable.attribution.attribution_sheet import (
    AttributionRow,
    AttributionSheet,
    ShownAttribution,
    attributions_figure,
    draw_attributions,
)
from interpretable.attribution.cam import CAM
from interpretable.commands import attribution_pictures, attribution_results
from interpretable.commands.attribution_images import a_few
from interpretable.commands.attribution_pictures import title_of
from interpretable.commands.attribution_results import PATTERN_IMAGES, USUAL, methods_of
from interpretable.commands.stores import predict_split
from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from interpretable.errors import AttributionError

APPLE, BUD, PLUM = CLASSES
OF_CLASS = IMAGES["test"]
QUICK = ("--methods", "saliency")
TRAINED = [*LEARNING, "--trainer.max_epochs=1", "--model.num_classes=3", "--test_after_fit=false"]


quick = partial(without_pictures, "attribution", attribution_pictures, "draw_attributions")


@pytest.fixture(autouse=True)
def drawn() -> Iterator[Drawn]:
    with quick() as found:
        yield found


@pytest.fixture(scope="module")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_fruit(tmp_path_factory.mktemp("fruit") / "data")


@pytest.fixture(scope="module")
def trained(fruit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with part layers that has learned little."""
    return fit(tmp_path_factory.mktemp("trained"), *TRAINED, f"--data.root={fruit}")


class Explained(NamedTuple):
    run: Path
    printed: str
    sheet: AttributionSheet


@pytest.fixture(scope="module")
def built(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Explained:
    """The run with a few images explained, what was printed, and what the sheet shows."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("built") / "run"))
    with quick() as found, redirect_stdout(io.StringIO()) as printed:
        assert command("attribute", run, "--methods", "deep_lift,grad_cam", "--methods", "guided_backprop") == 0
    assert list(found.views) == ["sheet.png"]
    return Explained(run, printed.getvalue(), found.views["sheet.png"])


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, of which nothing is explained yet."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def again(built: Explained, tmp_path: Path) -> Path:
    """A copy of the run with its attributions."""
    return Path(shutil.copytree(built.run, tmp_path / "run"))


class Arrays(NamedTuple):
    tensors: dict[str, torch.Tensor]
    about: dict[str, Any]


def arrays(run: Path) -> Arrays:
    with safe_open(run / "attribution" / "attributions.safetensors", "pt") as file:
        about = {name: json.loads(text) for name, text in file.metadata().items()}
        return Arrays({name: file.get_tensor(name) for name in sorted(file.keys())}, about)


def everything(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "attribution").iterdir()}


def shift_bias(run: Path, output: int, value: float) -> None:
    """Adds to a logit of the network."""
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["net.head.fc.bias"][output] += value
    torch.save(checkpoint, path)


def test_the_arrays_are_what_the_verb_gives_for_the_same_images(built):
    opened, (tensors, about) = load_run(built.run), arrays(built.run)
    images, classes = tensors["images"], tensors["classes"]
    with torch.no_grad():
        logits = opened.model(images)
    torch.testing.assert_close(tensors["logits"], logits)
    assert classes.tolist() == logits.argmax(1).tolist()
    assert list(about["methods"]) == ["part_filters", "deep_lift", "grad_cam", "guided_backprop"]
    for name in about["methods"]:
        torch.testing.assert_close(tensors[name], attribute(opened.model, images, classes, name))
    assert tensors["deep_lift"].shape == (6, 3, SIDE, SIDE)
    assert tensors["grad_cam"].shape[1] == 1
    assert 1 < tensors["grad_cam"].shape[-1] < SIDE


def test_what_a_method_knows_more_is_beside_its_attributions(built):
    opened, (tensors, _) = load_run(built.run), arrays(built.run)
    for name in ("deep_lift", "part_filters"):
        explanation = method_named(name).explain(opened.model, tensors["images"], tensors["classes"])._asdict()
        further = {field: value for field, value in explanation.items() if field != "attributions"}
        assert {key for key in tensors if key.startswith(f"{name}.")} == {f"{name}.{field}" for field in further}
        for field, value in further.items():
            torch.testing.assert_close(tensors[f"{name}.{field}"], value)


def test_without_images_a_few_of_the_split_are_explained_evenly_over_its_classes(built):
    opened, (tensors, about) = load_run(built.run), arrays(built.run)
    dataset = predict_split(opened, "test").predict_dataset
    assert tensors["index"].tolist() == [0, 5, 6, 11, 12, 17]
    for place, index in enumerate(tensors["index"].tolist()):
        assert torch.equal(tensors["images"][place], dataset[index]["image"].as_subclass(torch.Tensor))
    assert about["labels"] == [APPLE, APPLE, BUD, BUD, PLUM, PLUM]
    assert about["names"][1] == "test 5"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 0, 1, 1, 1], [0, 2, 3]),  # of the first class one more
        ([2, 0, 2], [1, 0]),  # of a class no more than it has
        (list(range(9)), [0, 4, 8]),  # more classes than images
        ([1], [0]),
    ],
)
def test_a_few_images_are_spread_over_classes_and_within_them(labels, expected):
    assert a_few(torch.tensor(labels), 3) == expected


def test_a_few_images_with_several_labels_each_are_spread_over_all():
    assert a_few(torch.ones(9, 2), 3) == [0, 4, 8]


def test_the_file_says_what_its_arrays_are_of(built):
    about = arrays(built.run).about
    assert about["classes"] == list(CLASSES)
    assert (about["target"], about["split"]) == ("predicted", "test")
    assert (about["mean"], about["std"]) == (list(IMAGENET_MEAN), list(IMAGENET_STD))
    assert about["weights"] == weights_digest(load_run(built.run).model)
    assert about["methods"]["grad_cam"] == {"layer": None, "relu": False, "upsample": False}
    assert about["methods"]["guided_backprop"] == {}


def test_the_first_column_is_the_part_filters_at_the_pixels_of_the_image_with_the_strongest_named(built):
    opened, (tensors, _) = load_run(built.run), arrays(built.run)
    columns = ("part filters", "DeepLIFT", "Grad-CAM", "guided backpropagation")
    assert built.sheet.columns == columns
    images, classes = tensors["images"], tensors["classes"]
    parts, grad_cam = (
        attribute(opened.model, images, classes, name, upsample=True)[:, 0] for name in ("part_filters", "grad_cam")
    )
    for place, row in enumerate(built.sheet.rows):
        own, deep_lift, coarse, _ = row.attributions
        np.testing.assert_allclose(own.values, parts[place].numpy(), atol=1e-6)
        np.testing.assert_allclose(coarse.values, grad_cam[place].numpy(), atol=1e-6)
        np.testing.assert_allclose(deep_lift.values, tensors["deep_lift"][place].sum(0).numpy(), atol=1e-6)
        contributions = tensors["part_filters.contributions"][place]
        first, second = contributions.topk(2).indices.tolist()
        assert own.note == f"filters {first} {contributions[first]:+.2g}, {second} {contributions[second]:+.2g}"
        assert deep_lift.note == coarse.note == ""
    assert "filters that are named" in built.sheet.notes


def test_rows_of_the_sheet_show_the_image_its_label_and_the_logit_that_is_explained(built, fruit):
    tensors = arrays(built.run).tensors
    for place, row in enumerate(built.sheet.rows):
        output = int(tensors["classes"][place])
        assert (row.name, row.label) == (f"test {int(tensors['index'][place])}", CLASSES[place // 2])
        assert row.explained == CLASSES[output]
        assert row.logit == pytest.approx(float(tensors["logits"][place, output]))
    first_test_image = np.asarray(Image.open(fruit / "images" / f"{IMAGES['train'] + IMAGES['validation']:03}.png"))
    np.testing.assert_array_equal(built.sheet.rows[0].image, first_test_image)


def test_what_attributions_sum_to_is_printed_beside_what_they_should(built):
    tensors = arrays(built.run).tensors
    place, output = 3, int(arrays(built.run).tensors["classes"][3])
    (line,) = [line for line in built.printed.splitlines() if "test 11 " in line]
    logit = float(tensors["logits"][place, output])
    parts = float(tensors["part_filters"][place].sum())
    assert f"{parts:.3g} of {logit:.3g}" in line
    total = float(tensors["deep_lift"][place].double().sum())
    assert f"{total:.3g} of {total + float(tensors['deep_lift.delta'][place]):.3g}" in line
    assert BUD in line
    assert CLASSES[output] in line
    heading = next(line for line in built.printed.splitlines() if "logit " in line)
    assert "Grad-CAM" not in heading
    for name in ("attributions.safetensors", "sheet.png"):
        assert str(built.run / "attribution" / name) in built.printed.splitlines()


def test_the_usual_methods_come_after_part_filters_where_none_is_named(trained):
    run = load_run(trained)
    assert methods_of(run, ()) == ("part_filters", *USUAL)
    assert methods_of(run, ("rise", "part_filters")) == ("part_filters", "rise")
    assert set(USUAL) < set(METHODS)


def test_no_method_has_a_title_that_is_broken_or_shortened_above_its_column():
    titles = tuple(map(title_of, METHODS))
    silent = (ShownAttribution(np.zeros((8, 8))),) * len(titles)
    row = AttributionRow("test 0", np.zeros((8, 8, 3), np.uint8), APPLE, APPLE, 1.0, silent)
    written = [text.get_text() for text in attributions_figure(AttributionSheet(titles, (row,))).axes[0].texts]
    headings = written[: written.index("test 0")]
    assert " ".join(headings) == " ".join(("image", *titles))


def test_the_sheet_is_a_picture(run, monkeypatch):
    monkeypatch.setattr(attribution_pictures, "draw_attributions", draw_attributions)
    assert command("attribute", run, *QUICK, "--images", 2) == 0
    page = matplotlib.image.imread(run / "attribution" / "sheet.png")
    assert page.shape[0] > 200
    assert page.std() > 0.1
    assert set(everything(run)) == {"attributions.safetensors", "sheet.png"}


def test_an_image_file_is_seen_as_the_same_image_of_the_split_is(run, fruit, drawn):
    number = IMAGES["train"] + IMAGES["validation"] + 3  # the fourth test image, of the first class
    file = fruit / "images" / f"{number:03}.png"
    assert command("attribute", run, *QUICK, "--images", file, "--images", 3) == 0
    tensors, about = arrays(run)
    assert tensors["index"].tolist() == [-1, 3]
    assert torch.equal(tensors["images"][0], tensors["images"][1])
    torch.testing.assert_close(tensors["saliency"][0], tensors["saliency"][1])
    assert about["names"] == [file.name, "test 3"]
    assert about["labels"] == ["", APPLE]
    assert [row.label for row in drawn.views["sheet.png"].rows] == ["", APPLE]


def test_images_of_a_folder_come_by_name_and_are_resized_as_the_run_does(run, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (90, 30), 200).save(folder / "b.JPG")
    Image.new("RGB", (200, 100), (255, 0, 0)).save(folder / "a.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "c.png").mkdir()
    assert command("attribute", run, *QUICK, "--images", folder) == 0
    tensors, about = arrays(run)
    assert about["names"] == ["a.png", "b.JPG"]
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    for image, colour in zip(tensors["images"], ((255, 0, 0), (200, 200, 200)), strict=True):
        expected = (torch.tensor(colour) / 255 - mean) / std
        torch.testing.assert_close(image, expected[:, None, None].expand(3, SIDE, SIDE), atol=0.01, rtol=0)


def test_a_number_means_an_image_of_the_split_that_is_named(run):
    assert command("attribute", run, *QUICK, "--split", "train", "--images", IMAGES["train"]) == 0
    tensors, about = arrays(run)
    expected = predict_split(load_run(run), "train").predict_dataset[IMAGES["train"]]["image"]
    assert torch.equal(tensors["images"][0], expected.as_subclass(torch.Tensor))
    assert (about["names"], about["labels"]) == ([f"train {IMAGES['train']}"], [BUD])


@pytest.mark.parametrize(
    ("target", "explained"), [("predicted", [2, 2]), ("label", [0, 1]), (BUD, [1, 1]), (APPLE, [0, 0])]
)
def test_the_class_that_is_explained_is_the_predicted_one_the_label_or_one_by_name(target, explained, run):
    shift_bias(run, 2, 100)
    assert command("attribute", run, *QUICK, "--images", 0, "--images", OF_CLASS, "--target", target) == 0
    tensors, about = arrays(run)
    assert tensors["classes"].tolist() == explained
    assert about["target"] == target
    expected = attribute(load_run(run).model, tensors["images"], explained, "saliency")
    torch.testing.assert_close(tensors["saliency"], expected)


def test_methods_are_given_one_by_one_or_by_commas_and_each_is_done_once(run, drawn):
    words = ("--methods", "saliency, gradient_times_input", "--methods", "saliency", "--methods", "part_filters")
    assert command("attribute", run, *words, "--images", 1, "--batch-size", 2) == 0
    assert drawn.views["sheet.png"].columns == ("part filters", "saliency", "gradient × input")
    tensors = arrays(run).tensors
    torch.testing.assert_close(tensors["gradient_times_input"], tensors["saliency"] * tensors["images"])


def test_deep_taylor_decomposition_has_the_box_that_pixels_are_in(run):
    assert command("attribute", run, "--methods", "deep_taylor", "--images", 1) == 0
    tensors, about = arrays(run)
    low, high = about["methods"]["deep_taylor"]["low"], about["methods"]["deep_taylor"]["high"]
    black, white = ((value - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD) for value in (0, 1))
    torch.testing.assert_close(torch.tensor(low), black)
    torch.testing.assert_close(torch.tensor(high), white)
    options = {"low": low, "high": high}
    expected = attribute(load_run(run).model, tensors["images"], tensors["classes"], "deep_taylor", **options)
    torch.testing.assert_close(tensors["deep_taylor"], expected)


def refuse(patch: pytest.MonkeyPatch) -> None:
    """Has CAM refuse this network."""

    def refused(*_: object) -> None:
        raise AttributionError("CAM is for networks with another head.")

    patch.setattr(CAM, "_attributions", refused)


def test_a_method_that_refuses_the_network_is_left_out_with_its_sentence(run, monkeypatch, capsys, drawn):
    refuse(monkeypatch)
    assert command("attribute", run, "--methods", "cam,saliency", "--images", 1) == 0
    assert "cam is left out: CAM is for networks with another head." in capsys.readouterr().out.splitlines()
    assert drawn.views["sheet.png"].columns == ("part filters", "saliency")
    assert set(arrays(run).tensors) >= {"part_filters", "saliency"}
    assert "cam" not in arrays(run).tensors


def test_where_all_methods_that_are_named_refuse_the_command_fails_and_keeps_what_was_there(again, monkeypatch, capsys):
    before = everything(again)
    refuse(monkeypatch)
    line = fails(capsys, "attribute", again, "--methods", "cam", "--images", 1)
    assert line.startswith("error: No method that was asked for explains this network; cam is left out: CAM is for ")
    assert everything(again) == before


@pytest.fixture(scope="module")
def plain(fruit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network without part layers."""
    words = [*TRAINED, "--model.part_layers=0", f"--data.root={fruit}"]
    return fit(tmp_path_factory.mktemp("plain"), *words)


def test_a_network_without_part_layers_has_no_column_of_them_unless_it_is_asked_for(plain, capsys, drawn):
    assert methods_of(load_run(plain), ()) == USUAL
    assert command("attribute", plain, "--methods", "grad_cam", "--images", 1) == 0
    assert drawn.views["sheet.png"].columns == ("Grad-CAM",)
    assert drawn.views["sheet.png"].notes == ""
    assert drawn.views["sheet.png"].rows[0].attributions[0].values.shape == (SIDE, SIDE)
    line = fails(capsys, "attribute", plain, "--methods", "part_filters", "--images", 1)
    assert "part_filters explains networks with part layers" in line


def test_patterns_are_fitted_on_training_images_and_kept_for_the_networks_weights(run, monkeypatch, capsys):
    words = ("attribute", run, "--methods", "pattern_net,pattern_attribution", "--images", 1)
    monkeypatch.setattr(attribution_results, "PATTERN_IMAGES", 9)
    assert command(*words) == 0
    assert f"Patterns are fitted on 9 of {3 * IMAGES['train']} training images" in capsys.readouterr().out
    path = run / "attribution" / "patterns.safetensors"
    opened, kept = load_run(run), path.read_bytes()
    dataset = predict_split(opened, "train").predict_dataset
    chosen = [place for first in (0, 12, 24) for place in (first, first + 5, first + 11)]
    images = torch.stack([dataset[place]["image"].as_subclass(torch.Tensor) for place in chosen])
    patterns = Patterns.load(path, opened.model)
    for found, expected in zip(patterns.tensors, Patterns.fit(opened.model, [images]).tensors, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    tensors, about = arrays(run)
    for name in ("pattern_net", "pattern_attribution"):
        expected = attribute(opened.model, tensors["images"], tensors["classes"], name, patterns=patterns)
        torch.testing.assert_close(tensors[name], expected)
        assert about["methods"][name] == {"patterns": "two_component"}
    with monkeypatch.context() as patch:
        patch.setattr(Patterns, "fit", None)
        assert command(*words) == 0
    assert path.read_bytes() == kept
    shift_bias(run, 0, 1.0)
    assert command(*words) == 0
    assert Patterns.load(path, load_run(run).model).weights != patterns.weights


def test_patterns_that_cannot_be_read_are_fitted_again(run, monkeypatch):
    monkeypatch.setattr(attribution_results, "PATTERN_IMAGES", 3)
    path = run / "attribution" / "patterns.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    assert command("attribute", run, "--methods", "pattern_net", "--images", 1) == 0
    assert Patterns.load(path, load_run(run).model)


def test_a_second_call_takes_the_place_of_the_first(run, monkeypatch, drawn):
    monkeypatch.setattr(attribution_pictures, "ROWS", 2)
    many = [word for number in range(5) for word in ("--images", number)]
    assert command("attribute", run, *QUICK, *many) == 0
    assert set(everything(run)) == {"attributions.safetensors", "sheet.png", "sheet_2.png", "sheet_3.png"}
    named = [[row.name for row in drawn.views[f"sheet{page}.png"].rows] for page in ("", "_2", "_3")]
    assert named == [["test 0", "test 1"], ["test 2", "test 3"], ["test 4"]]
    assert command("attribute", run, "--methods", "gradient_times_input", "--images", 7) == 0
    assert set(everything(run)) == {"attributions.safetensors", "sheet.png"}
    tensors = arrays(run).tensors
    assert "saliency" not in tensors
    assert tensors["index"].tolist() == [7]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--methods", "salience"), "--methods must be among saliency, .*, got 'salience'; the closest are saliency"),
        (("--methods", "saliency,"), "--methods must be among saliency, .*, got ''"),
        (("--split", "nonsense"), "--split must be train, validation, test, got 'nonsense'"),
        (("--device", "nonsense"), "device must be one that this machine has, such as cpu or cuda, got 'nonsense'"),
        (("--target", "pear"), f"--target must be predicted, label or one of the classes {APPLE}, .*, got 'pear'"),
        (("--images", "18"), "--images must be from 0 to 17, the test images of the run, or a file, got 18"),
        (("--images=-1",), "--images must be from 0 to 17, the test images of the run, or a file, got -1"),
        (("--images", "none.png"), "--images must be indices of test images, or files .*, but there is no none.png"),
        (("--images", "empty"), "--images empty must be a folder with images in it, but it has none"),
        (
            ("--images", "text.png"),
            "text.png, named at --images, was expected to be an image, but it cannot be decoded",
        ),
        (
            ("--images", "red.png", "--target", "label"),
            "one label each, but that of red.png is not known; give --target",
        ),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence_before_anything_is_written(
    words, sentence, run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(attribution_results, "logits_of", None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "red.png")
    line = fails(capsys, "attribute", run, *words)
    assert re.search(sentence, line)
    assert not (run / "attribution").exists()


def test_a_run_without_test_images_says_so(run, fruit, tmp_path, capsys):
    data = Path(shutil.copytree(fruit, tmp_path / "data"))
    lines = (data / "annotations.csv").read_text().splitlines()
    (data / "annotations.csv").write_text("\n".join(line for line in lines if ",test," not in line))
    configure(run, "data", root=str(data))
    assert "test" in fails(capsys, "attribute", run)
    assert not (run / "attribution").exists()


@pytest.fixture(scope="module")
def binary(fruit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one logit: plum, not apple."""
    words = ["--model.num_classes=2", "--model.task=binary", f"--data.classes=[{APPLE}, {PLUM}]"]
    return fit(tmp_path_factory.mktemp("binary"), *TRAINED, *words, f"--data.root={fruit}")


@pytest.mark.parametrize("target", ["predicted", "label", PLUM])
def test_of_a_binary_run_the_one_logit_is_explained(target, binary):
    assert command("attribute", binary, *QUICK, "--images", 0, "--images", 7, "--target", target) == 0
    tensors, about = arrays(binary)
    assert tensors["classes"].tolist() == [0, 0]
    assert tensors["logits"].shape == (2, 1)
    assert about["classes"] == [PLUM]
    assert about["labels"] == [APPLE, PLUM]


def test_of_a_binary_run_the_background_has_no_logit(binary, capsys):
    line = fails(capsys, "attribute", binary, *QUICK, "--target", APPLE)
    assert f"--target must be predicted, label or one of the classes {PLUM}, got '{APPLE}'" in line


@pytest.mark.usefixtures("everything_of_wandb_here")
def test_the_attributions_are_an_artifact_of_the_run_where_wandb_is_its_logger(trained, tmp_path, capsys):
    run = with_wandb(trained, tmp_path)
    assert command("attribute", run, *QUICK, "--images", 1) == 0
    assert "W&B: logged as an artifact of the run" in capsys.readouterr().out
    found, _ = logged_by_wandb(tmp_path)
    (artifact,) = [one.artifact for one in found if one.HasField("artifact")]
    assert (artifact.type, artifact.name) == ("attribution", "attribution-abc123")
    staged = {entry.path: Path(entry.local_path).read_bytes() for entry in artifact.manifest.contents}
    assert staged == {f"attribution/{name}": content for name, content in everything(run).items()}


def test_the_help_names_every_option_and_method(capsys):
    assert command("attribute", "--help") == 0
    shown = capsys.readouterr().out
    for name in ("RUN", "--images", "--methods", "--target", "--split", "--device", "--batch-size", *METHODS):
        assert name in shown
    assert f"up to {PATTERN_IMAGES} training images" in " ".join(shown.replace("│", " ").split())
