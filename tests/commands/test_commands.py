"""What comes after training, through the command line, on tiny runs."""

import io
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import matplotlib.image
import numpy as np
import pytest
import torch
from data.drawn import draw_cub, draw_image_folder, draw_part_folder
from matplotlib.colors import to_rgb
from PIL import Image
from rich.console import Console

from interpretable import load_run
from interpretable.activations import ActivationStore, shards, weights_digest
from interpretable.cli import main as train
from interpretable.commands import dissect, pictures
from interpretable.commands.app import main
from interpretable.commands.pictures import in_turn
from interpretable.commands.stores import open_or_write
from interpretable.commands.tables import MEASURES, measure_table, number
from interpretable.data import PartAnnotatedFolder
from interpretable.dissection import Dissection
from interpretable.evaluation import Evaluation
from interpretable.figures import BARS, OUTLINE

QUIET = [
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data.image_size=64",
]
CREATURES = ["--model.num_classes=8", "--model.part_layers=2", "--data.options={size: 32}", "--data.batch_size=16"]
PLAIN = ["--model.mask=false", "--model.filter_weight=0", "--seed_everything=1"]


def command(*words: object) -> int:
    """Runs a command and gives the code that it ends with."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Runs a command that cannot work and gives the one line that says why."""
    assert command(*words) == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert captured.err.rstrip().endswith(line)
    return line


def fit(folder: Path, *words: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train.py"])
        train(["fit", *QUIET, *words])
    return (folder / "runs" / "latest").resolve()


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module", autouse=True)
def _few_images() -> Iterator[None]:
    """Two images a filter instead of nine: most of the time of a command goes into its picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "SHOWN_IMAGES", 2)
        patch.setattr(dissect, "SHOWN_FILTERS", 4)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of an interpretable run and of its plain twin."""
    folder = tmp_path_factory.mktemp("trained")
    return fit(folder, *CREATURES), fit(folder, *CREATURES, *PLAIN)


@pytest.fixture
def run(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the interpretable run as training left it."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


class Evaluated(NamedTuple):
    folders: tuple[Path, Path]
    printed: str


@pytest.fixture(scope="module")
def evaluated(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Copies of both runs, evaluated and dissected, and what evaluating the first one printed."""
    root = tmp_path_factory.mktemp("evaluated")
    folders = tuple(Path(shutil.copytree(folder, root / folder.name)) for folder in trained)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        with redirect_stdout(io.StringIO()) as printed:
            assert command("evaluate", folders[0]) == 0
        with redirect_stdout(io.StringIO()):
            assert command("evaluate", folders[1], "--no-random-network") == 0
            assert command("dissect", folders[0]) == 0
            assert command("dissect", folders[1], "--no-nulls") == 0
    return Evaluated((folders[0], folders[1]), printed.getvalue())


@pytest.fixture
def pair(evaluated: Evaluated, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the evaluated runs."""
    first, second = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in evaluated.folders)
    return first, second


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A binary run on a part-annotated folder without masks, which lies beside the run."""
    root = tmp_path_factory.mktemp("folder")
    draw_part_folder(root / "data")
    data = [f"--data.root={root / 'data'}", "--data.dataset=PartAnnotatedFolder", "--data.batch_size=4"]
    return fit(root, "--model.num_classes=2", "--model.task=binary", *data)


def files(folder: Path) -> dict[str, int]:
    """When each file of the stores was written."""
    return {str(path): path.stat().st_mtime_ns for path in (folder / "activations").rglob("*") if path.is_file()}


def pixels_near(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture[..., :3] - np.array(to_rgb(colour))).max(-1) < 0.1).sum())


def content(path: Path) -> np.ndarray:
    """A picture that shows something."""
    picture = matplotlib.image.imread(path)
    assert min(picture.shape[:2]) > 100
    assert picture[..., :3].std() > 0.02
    return picture


def row(printed: str, label: str) -> str:
    (line,) = [line for line in printed.splitlines() if re.match(rf"│ {re.escape(label)} +│", line)]
    return line


def test_activations_of_test_and_training_images_are_there_with_the_networks_numbers(run, capsys):
    assert command("activations", run) == 0
    printed = capsys.readouterr().out
    opened = load_run(run)
    for split, dataset in (("test", opened.datamodule.test_dataset), ("train", opened.datamodule.train_dataset)):
        store = ActivationStore.open(run / "activations" / split, model=weights_digest(opened.model))
        assert len(store) == 32
        assert (store.manifest.split, store.manifest.maps, store.manifest.rationales) == (split, False, None)
        assert [layer.info.name for layer in store.layers] == ["net.part_filters.0", "net.part_filters.1"]
        assert torch.equal(store.labels, dataset.data.labels)
        assert f"{run / 'activations' / split}: 32 images, " in printed
    sample = opened.datamodule.test_dataset[5]
    store = ActivationStore.open(run / "activations" / "test")
    with torch.inference_mode():
        torch.testing.assert_close(store.logits[5], opened.model(sample["image"][None])[0], rtol=1e-4, atol=1e-4)


def test_a_second_time_nothing_is_written_and_overwriting_writes_all_again(run):
    command("activations", run)
    first = files(run)
    assert command("activations", run) == 0
    assert files(run) == first
    assert command("activations", run, "--split", "test", "--overwrite") == 0
    assert [name for name, written in files(run).items() if written != first[name] and "/test/" not in name] == []
    assert [name for name, written in files(run).items() if written == first[name] and "/train/" not in name] == []


def test_a_store_goes_on_where_it_was_stopped(run, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_IMAGES", 8)
    folder = run / "activations" / "test"
    command("activations", run, "--split", "test")
    complete = ActivationStore.open(folder).logits[:]
    first, second = sorted(folder.glob("shard-*"))
    written = first.stat().st_mtime_ns
    second.unlink()
    assert command("activations", run, "--split", "test") == 0
    torch.testing.assert_close(ActivationStore.open(folder).logits[:], complete)
    second.unlink()
    store = open_or_write(load_run(run), "test")  # as every other command opens it
    torch.testing.assert_close(store.logits[:], complete)
    assert first.stat().st_mtime_ns == written


@pytest.mark.slow
@pytest.mark.ddp
def test_two_devices_write_the_store_of_one_and_say_so_once(run):
    command("activations", run, "--split", "test")
    alone = ActivationStore.open(run / "activations" / "test").logits[:]
    words = ["activations", str(run), "--devices", "2", "--accelerator", "cpu", "--overwrite"]
    result = subprocess.run(
        [sys.executable, "-m", "interpretable", *words], capture_output=True, text=True, check=False, timeout=200
    )
    assert result.returncode == 0, result.stderr
    for split in ("test", "train"):
        assert result.stdout.count(f"{run / 'activations' / split}: 32 images") == 1
        assert len(list((run / "activations" / split).glob("shard-*"))) == 2
    torch.testing.assert_close(ActivationStore.open(run / "activations" / "test").logits[:], alone)


def test_maps_rationales_layers_and_splits_are_chosen_by_options(run):
    words = ["--split", "validation", "--maps", "--layer", "net.part_filters.1", "--batch-size", "7"]
    assert command("activations", run, *words, "--rationales", "label") == 0
    assert [path.name for path in (run / "activations").iterdir()] == ["validation"]
    store = ActivationStore.open(run / "activations" / "validation")
    assert [layer.info.name for layer in store.layers] == ["net.part_filters.1"]
    assert store.layer().maps.shape == (32, 96, 8, 8)
    assert store.rationales.shape == (32, 1, 96)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--split", "tset"], "split was expected to be train, validation or test, found 'tset'"),
        (["--layer", "net.part_filter.1"], "net.part_filters.1"),
        (["--rationales", "unicorn"], "Rationales must be of classes of the data"),
        (["--accelerator", "abacus"], "There is no such accelerator as 'abacus' with 1 devices"),
    ],
)
def test_what_cannot_be_recorded_is_told_in_one_line(run, words, sentence, capsys):
    assert sentence in fails(capsys, "activations", run, *words)


def test_a_store_of_another_network_is_refused_and_overwritten_on_request_alone(run, trained, capsys):
    command("activations", run, "--split", "test")
    before = files(run)
    shutil.copy(trained[1] / "checkpoints" / "best.ckpt", run / "checkpoints" / "best.ckpt")
    assert "holds a store of another" in fails(capsys, "activations", run, "--split", "test")
    assert files(run) == before
    assert command("activations", run, "--split", "test", "--overwrite") == 0
    digest = weights_digest(load_run(trained[1]).model)
    assert ActivationStore.open(run / "activations" / "test").manifest.model == digest


def test_overwriting_deletes_no_file_that_is_not_of_the_store(run, capsys):
    command("activations", run, "--split", "test")
    (run / "activations" / "test" / "notes.txt").write_text("mine")
    before = files(run)
    line = fails(capsys, "activations", run, "--split", "test", "--overwrite")
    assert "holds notes.txt, which is not of a store; move it away" in line
    assert files(run) == before


@pytest.mark.parametrize("name", ["activations", "evaluate", "dissect"])
def test_a_folder_that_is_no_run_is_told_in_one_line(name, tmp_path, capsys):
    line = fails(capsys, name, tmp_path / "nowhere")
    assert "is not the folder of a finished run: it has no config.yaml; give a folder" in line
    assert not (tmp_path / "nowhere").exists()


def test_a_checkpoint_of_another_architecture_is_told_in_one_line(run, capsys):
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["num_classes"] = 5
    torch.save(checkpoint, path)
    line = fails(capsys, "evaluate", run)
    assert f"{path} was expected to hold a network of this version of the package" in line
    assert "size mismatch" in line


def test_an_image_that_a_loaders_worker_cannot_read_is_told_in_one_line(folder_run, tmp_path, capsys):
    run = Path(shutil.copytree(folder_run, tmp_path / "run"))
    data = Path(shutil.copytree(folder_run.parent.parent / "data", tmp_path / "data"))
    config = (run / "config.yaml").read_text().replace(str(folder_run.parent.parent / "data"), str(data))
    (run / "config.yaml").write_text(config.replace("num_workers: 0", "num_workers: 1"))
    (data / "images/dog/dog010.png").write_bytes(b"no image")  # the last one: the first is read without a worker
    assert "annotations.csv:23" in fails(capsys, "activations", run, "--split", "test")


def test_the_table_shows_the_numbers_that_the_file_holds(evaluated):
    folder, printed = evaluated.folders[0], evaluated.printed
    found = Evaluation.read(folder / "metrics.json")
    assert {measure.name for measure in MEASURES} <= found.numbers.keys() | {"mutual_information"}
    for measure in MEASURES:
        line = row(printed, measure.label)
        assert number(found.numbers[measure.name]) in line
        for name, word in measure.floors:
            assert f"{word} {number(found.numbers[name])}" in line
        baseline = f"random_network/{measure.name}"
        assert ("random network" in line) == (baseline in found.numbers)
        if baseline in found.numbers:
            assert f"random network {number(found.numbers[baseline])}" in line
    assert row(printed, "accuracy").split("│")[2].strip() == "↑"
    assert f"{folder / 'metrics.json'}, {folder / 'evaluation' / 'filters.png'}" in printed


def test_an_evaluation_says_what_it_is_of_and_agrees_with_the_network(evaluated):
    folder = evaluated.folders[0]
    found, opened = Evaluation.read(folder / "metrics.json"), load_run(folder)
    data = opened.datamodule.test_dataset
    with torch.inference_mode():
        logits = opened.model(torch.stack([data[index]["image"] for index in range(32)]))
    right = logits.argmax(1) == data.data.labels
    assert found.numbers["accuracy"] == pytest.approx(float(right.double().mean()))
    assert found.about["model"] == weights_digest(opened.model)
    assert found.about["layer"] == "net.part_filters.1"
    assert found.about["images"] == {"train": 32, "test": 32}
    assert found.about["parts"] == list(data.parts)
    assert found.about["part_regions"] == "masks"
    assert {len(column) for column in found.filters.values()} == {96}
    assert {len(column) for column in found.classes.values()} == {8}
    fields = found.numbers["effective_field"], found.numbers["theoretical_field"]
    assert 8 < fields[0] < fields[1] == opened.model.net.receptive_fields[-1].size


def test_the_random_network_is_another_one_with_the_same_floors_and_can_be_left_out(evaluated):
    with_baseline, without = (Evaluation.read(folder / "metrics.json").numbers for folder in evaluated.folders)
    assert [name for name in without if name.startswith("random_network/")] == []
    assert with_baseline["random_network/tracking"] != with_baseline["tracking"]
    assert with_baseline["random_network/constant_hit_rate"] == with_baseline["constant_hit_rate"]
    assert with_baseline["constant_hit_rate"] == without["constant_hit_rate"]


def test_the_picture_of_the_filters_shows_images_with_outlined_regions(evaluated):
    picture = content(evaluated.folders[0] / "evaluation" / "filters.png")
    assert pixels_near(picture, OUTLINE) > 100


def test_evaluating_again_gives_the_same_numbers_and_leaves_the_stores(pair):
    stores, before = files(pair[0]), (pair[0] / "metrics.json").read_text()
    assert len(stores) == 4
    assert command("evaluate", pair[0]) == 0
    assert files(pair[0]) == stores
    assert (pair[0] / "metrics.json").read_text() == before


def test_another_layer_is_evaluated_by_name_and_an_unknown_one_is_told(pair, capsys):
    assert command("evaluate", pair[0], "--layer", "net.part_filters.0", "--no-random-network") == 0
    found = Evaluation.read(pair[0] / "metrics.json")
    assert found.about["layer"] == "net.part_filters.0"
    assert "largest_drop" not in found.numbers  # the head does not read it
    capsys.readouterr()
    line = fails(capsys, "evaluate", pair[0], "--layer", "top")
    assert "has the layers net.part_filters.0, net.part_filters.1, not top; choose one of them" in line


def test_maps_are_added_to_a_store_that_lacks_them_and_what_it_has_is_kept(run):
    command("activations", run, "--rationales", "label")
    assert command("evaluate", run, "--no-random-network") == 0
    for split, maps in (("train", False), ("test", True)):
        manifest = ActivationStore.open(run / "activations" / split).manifest
        assert (manifest.maps, manifest.rationales) == (maps, "label")


def test_a_binary_run_without_masks_is_evaluated_by_boxes_and_not_dissected(folder_run, tmp_path, capsys):
    run = Path(shutil.copytree(folder_run, tmp_path / "run"))
    assert command("evaluate", run) == 0
    found = Evaluation.read(run / "metrics.json")
    assert found.about["part_regions"] == "boxes"
    assert found.about["parts"] == ["head", "left ear"]
    assert "largest_drop" not in found.numbers
    assert 0 <= found.numbers["accuracy"] <= 1
    content(run / "evaluation" / "filters.png")
    capsys.readouterr()
    line = fails(capsys, "dissect", run)
    assert "was expected to have pixel masks of parts" in line
    assert line.endswith("; or name a set with --concepts")


def test_a_run_on_images_without_parts_is_evaluated_without_them(tmp_path, capsys):
    split = {"apple": 6, "pear": 6}
    draw_image_folder(tmp_path / "data", {"train": split, "val": split, "test": split})
    data = [f"--data.root={tmp_path / 'data'}", "--data.dataset=ImageFolder", "--data.batch_size=4"]
    run = fit(tmp_path, "--model.num_classes=2", *data)
    assert command("evaluate", run) == 0
    found = Evaluation.read(run / "metrics.json")
    assert {"accuracy", "class_share", "largest_drop"} <= found.numbers.keys()
    assert {"tracking", "hit_rate", "part_purity", "location_instability"}.isdisjoint(found.numbers)
    assert "tracking" not in capsys.readouterr().out
    content(run / "evaluation" / "filters.png")


def test_a_dissection_names_filters_after_concepts_of_the_data(evaluated):
    folder = evaluated.folders[0]
    found = Dissection.read(folder / "dissection" / "test.json")
    assert found.about["model"] == weights_digest(load_run(folder).model)
    assert found.about["layer"] == "net.part_filters.1"
    assert found.about["images"] == 32
    assert len(found.concept) == len(found.iou) == 96
    assert set(found.category) <= {"part", "object", "colour", "texture"}
    assert list(found.detectors_per_category) == ["part", "object", "colour", "texture"]
    assert set(found.nulls) == {"random rotation", "shuffled labels"}
    assert Dissection.read(evaluated.folders[1] / "dissection" / "test.json").nulls == {}
    assert sorted(path.name for path in (folder / "dissection").iterdir()) == [
        "test.json",
        "test_detectors.png",
        "test_filters.png",
    ]
    for name in ("test_detectors.png", "test_filters.png"):
        content(folder / "dissection" / name)


def test_the_threshold_of_a_detector_is_an_option_and_the_table_says_it(pair, capsys):
    assert command("dissect", pair[0], "--iou-threshold", "0.001", "--no-nulls") == 0
    found = Dissection.read(pair[0] / "dissection" / "test.json")
    assert found.num_detectors == sum(iou > 0.001 for iou in found.iou) > 0
    printed = capsys.readouterr().out
    assert str(found.num_detectors) in row(printed, "detectors (IoU > 0.001)")
    assert "by chance" not in printed
    assert pixels_near(content(pair[0] / "dissection" / "test_detectors.png"), BARS[0]) > 100


def draw_masks(folder: Path) -> Path:
    """A part folder whose images show the head as a rectangle."""
    draw_part_folder(folder)
    mask = np.zeros((24, 32), np.uint8)
    mask[4:8, 3:9] = 255
    for image in (folder / "images").rglob("*.png"):
        (folder / "masks" / image.stem).mkdir(parents=True)
        Image.fromarray(mask).save(folder / "masks" / image.stem / "head.png")
    return folder


def test_another_set_of_concepts_has_a_store_and_files_of_its_own(run, tmp_path, capsys):
    folder = draw_masks(tmp_path / "my set")
    assert command("dissect", run, "--concepts", f"folder:{folder}", "--no-nulls") == 0
    (path,) = (run / "dissection").glob("*.json")
    assert re.fullmatch(r"folder_\w+_my_set\.json", path.name)
    found = Dissection.read(path)
    assert found.about["images"] == 6
    assert found.detectors_per_category.keys() == {"part", "object"}
    stores = files(run)
    assert [name for name in stores if "/concepts_folder_" not in name] == []
    assert command("dissect", run, "--concepts", f"folder:{folder}", "--no-nulls") == 0
    assert files(run) == stores
    capsys.readouterr()
    assert "did you mean voc" in fails(capsys, "dissect", run, "--concepts", "vok:somewhere")


def test_runs_are_compared_in_one_table_and_one_picture(pair, capsys):
    before = {folder: files(folder) for folder in pair}
    assert command("compare", *pair) == 0
    printed = capsys.readouterr().out
    found = [Evaluation.read(folder / "metrics.json") for folder in pair]
    cells = [cell.strip() for cell in row(printed, "hit rate").split("│")[3:5]]
    assert cells == [number(one.numbers["hit_rate"]) for one in found]
    assert f"best constant {number(found[0].numbers['constant_hit_rate'])}" in row(printed, "hit rate")
    single = content(pair[0] / "evaluation" / "filters.png")
    both = content(pair[0] / "comparison.png")
    assert both.shape[1] > 1.5 * single.shape[1]
    assert pixels_near(both[:, : both.shape[1] // 2], OUTLINE) > 100
    assert pixels_near(both[:, both.shape[1] // 2 :], OUTLINE) > 100
    gain = found[0].numbers["tracking"] - found[1].numbers["tracking"]
    assert f"less that of {pair[1]}: {gain:+.3f} (" in " ".join(printed.split())
    assert row(printed, "unique concepts").count("│") == 4
    detectors = content(pair[0] / "comparison_test_detectors.png")
    assert all(pixels_near(detectors, colour) > 20 for colour in BARS[:2])  # at least in the legend
    assert not (pair[1] / "comparison.png").exists()
    assert {folder: files(folder) for folder in pair} == before


def change(path: Path, **about: str) -> None:
    """Gives an evaluation's or a dissection's file another accuracy and makes it of another network."""
    found = json.loads(path.read_text())
    found["about"] |= about
    if "numbers" in found:
        found["numbers"]["accuracy"] = 0.98765
    path.write_text(json.dumps(found))


def test_numbers_of_the_present_weights_are_taken_as_they_are_and_stale_ones_measured_again(pair, capsys):
    accuracy = Evaluation.read(pair[1] / "metrics.json").numbers["accuracy"]
    change(pair[0] / "metrics.json")
    change(pair[1] / "metrics.json", model="of other weights")
    change(pair[1] / "dissection" / "test.json", model="of other weights")
    assert command("compare", *pair) == 0
    printed = capsys.readouterr().out
    cells = [cell.strip() for cell in row(printed, "accuracy").split("│")[3:5]]
    assert cells == ["0.988", number(accuracy)]
    assert Evaluation.read(pair[1] / "metrics.json").numbers["accuracy"] == accuracy
    assert f"test: dissected with other weights; run `interpretable dissect {pair[1]}` again." in printed
    assert not (pair[0] / "comparison_test_detectors.png").exists()


def test_a_damaged_evaluation_is_measured_again_and_a_dissection_that_one_run_lacks_is_not_compared(pair):
    (pair[1] / "metrics.json").write_text("{")
    (pair[1] / "dissection" / "test.json").unlink()
    assert command("compare", *pair) == 0
    assert Evaluation.read(pair[1] / "metrics.json").about["layer"] == "net.part_filters.1"
    assert not (pair[0] / "comparison_test_detectors.png").exists()  # not both runs are dissected


def test_a_published_layout_is_converted_to_a_folder_that_can_be_read(tmp_path, capsys):
    source = draw_cub(tmp_path / "in")
    assert command("convert", "cub-200-2011", source, tmp_path / "out", "--size", 32) == 0
    assert f"{tmp_path / 'out'}: 12 images" in capsys.readouterr().out
    data = PartAnnotatedFolder(tmp_path / "out", "test")
    assert len(data) == 6
    assert data[0]["image"].shape == (3, 32, 32)
    assert command("convert", "cub-200-2011", source, tmp_path / "kept", "--keep-size") == 0
    assert PartAnnotatedFolder(tmp_path / "kept", "test")[0]["image"].shape == (3, 20, 30)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["cub", "in", "out"], "The layout must be one of animal-part, cub-200-2011, voc-part, celeba-mask-hq, "),
        (["cub-200-2011", "in", "out", "--own-parts"], "The layout cub-200-2011 has no use for --own-parts; leave it"),
        (["cub-200-2011", "in", "out", "--attribute", "Male"], "has no use for --attribute; leave it out"),
        (["voc-part", "in", "out", "--part-boxes", "x"], "has no use for --part-boxes; leave it out"),
        (["cub-200-2011", "missing", "out"], "missing"),
        (["cub-200-2011", "in", "in"], "in"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line_and_writes_nothing(words, sentence, capsys):
    draw_cub(Path("in"))
    before = sorted(Path().rglob("*"))
    assert sentence in fails(capsys, "convert", *words)
    assert sorted(Path().rglob("*")) == before


def test_training_commands_are_passed_on_with_all_their_words(capsys):
    assert command("fit", "--help") == 0
    assert "--model.filter_weight" in capsys.readouterr().out
    words = [*QUIET, *CREATURES, "--trainer.fast_dev_run=1"]
    assert command("fit", *words) == 0
    assert list(Path().iterdir()) == []
    assert "num_classes=5 but the data has 8 classes" in fails(capsys, "fit", *words, "--model.num_classes=5")


def test_help_lists_every_command_without_loading_torch():
    code = (
        "import sys\nfrom interpretable.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n"
        "    print(sorted({'torch', 'pytorch_lightning', 'numpy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    for words in (["--help"], ["evaluate", "--help"], ["graph", "--help"], []):
        result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert result.stderr.strip() == "[]", words
        if words == ["--help"]:
            assert result.returncode == 0
            for name in (
                "activations", "evaluate", "dissect", "compare", "tree", "tree-labels", "review", "graph", "convert",
                "fit", "validate", "test", "predict",
            ):  # fmt: skip
                assert re.search(rf"\b{name}\b", result.stdout)


def test_an_unknown_command_or_a_missing_run_is_told(capsys):
    assert command("evalute", "runs/latest") == 2
    assert "No such command 'evalute'" in capsys.readouterr().err
    assert command("evaluate") == 2
    assert "RUN" in capsys.readouterr().err


def test_the_best_of_each_group_come_before_the_second_best():
    assert in_turn("aabbc", [3.0, 9.0, 5.0, 4.0, 1.0]) == [1, 2, 4, 3, 0]
    assert in_turn("aaa", [1.0, 2.0, 1.0]) == [1, 0, 2]  # of equal ones the first
    assert in_turn("abb", [math.nan, 1.0, math.nan]) == [1, 0, 2]
    assert in_turn("aab", [2.0, 1.0, math.nan]) == [0, 1, 2]  # what is no number is no group's best
    assert in_turn([], []) == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.12345, "0.123"),
        (-0.5, "-0.500"),
        (0.0, "0.000"),
        (1.0, "1.000"),
        (2.0, "2"),
        (40.0, "40"),
        (9.9999, "10.000"),
        (12.345, "12.3"),
        (-21.54, "-21.5"),
        (math.nan, "–"),
    ],
)
def test_numbers_are_short(value, shown):
    assert number(value) == shown


def rendered(**runs: Evaluation) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(measure_table(runs))
    return console.file.getvalue()


def test_a_table_has_a_column_for_each_run_and_only_measures_that_one_has():
    first = Evaluation({"tracking": 0.5, "tracking_low": 0.4, "tracking_high": 0.6, "dead": 0.25})
    second = Evaluation({"tracking": math.nan, "accuracy": 0.9})
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in rendered(a=first, b=second).splitlines()]
    assert [line for line in lines if len(line) == 5] == [
        ["accuracy", "↑", "–", "0.900", ""],
        ["tracking R²", "↑", "0.500 (0.400 to 0.600)", "– (– to –)", ""],
        ["dead filters", "↓", "0.250", "–", ""],
    ]


def test_floors_are_told_once_where_they_agree_and_for_each_run_where_not():
    first = Evaluation({"hit_rate": 0.5, "constant_hit_rate": 0.3, "random_network/hit_rate": 0.1})
    second = Evaluation({"hit_rate": 0.6, "constant_hit_rate": 0.3, "random_network/hit_rate": 0.2})
    assert "│ best constant 0.300, random network 0.100 / 0.200 " in rendered(a=first, b=second)
    assert "│ best constant 0.300, random network 0.100 " in rendered(a=first)
