"""The command line, end to end on small drawn data."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wandb
import yaml
from data.drawn import draw_part_folder

from interpretable import load_run
from interpretable.callbacks import LearningCurves
from interpretable.cli import main
from interpretable.errors import RunError
from interpretable.models import small

TINY = [
    "--data.options={size: 48, image_size: 64}",
    "--data.batch_size=16",
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory, repository):
    """A run folder of the quickstart on 48 creatures, with what it printed."""
    folder = tmp_path_factory.mktemp("quickstart")
    command = [
        sys.executable,
        repository / "train.py",
        "fit",
        "--config",
        repository / "configs/quickstart.yaml",
        *TINY,
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "latest", result.stdout


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_folder_holds_configuration_checkpoints_numbers_and_pictures(quickstart):
    folder, _ = quickstart
    expected = [
        "best.ckpt",
        "config.yaml",
        "curves.png",
        "filters_layer1.png",
        "filters_layer2.png",
        "last.ckpt",
        "metrics.csv",
    ]
    assert sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "hparams.yaml") == expected


def test_the_last_lines_say_where_the_run_is_and_what_to_do_next(quickstart):
    folder, printed = quickstart
    place = Path("runs") / folder.resolve().name
    assert printed.rstrip().splitlines()[-2].startswith(f"Run folder: {place}")
    assert printed.rstrip().splitlines()[-1] == (
        f"Next: python train.py test --config {place}/config.yaml --ckpt_path {place}/checkpoints/best.ckpt"
    )


def test_the_command_that_a_run_recommends_gives_the_numbers_of_its_own_test(quickstart, repository):
    folder, printed = quickstart
    words = printed.rstrip().splitlines()[-1].removeprefix("Next: python train.py ").split()
    root = folder.parent.parent
    command = [sys.executable, repository / "train.py", *words, "--trainer.logger.init_args.save_dir=again"]
    subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    (again,) = (root / "again").glob("version_*")
    for name in ("test/task_loss", "test/mutual_information/layer2"):  # an untrained network has the same accuracy here
        assert rows(again)[-1][name] == rows(folder)[-1][name]
    assert (root / "runs" / "latest").resolve() == folder.resolve()  # a test is no training run


def test_every_term_of_the_loss_is_logged(quickstart):
    folder, _ = quickstart
    named = set(rows(folder)[0])
    layers = ("layer1", "layer2")
    per_layer = ("filter_loss", "mutual_information", "mutual_information_bound", "effective_images", "dead_filters")
    for stage in ("train", "val", "test"):
        assert {f"{stage}/{term}/{layer}" for term in per_layer for layer in layers} <= named
        assert {f"{stage}/loss", f"{stage}/task_loss", f"{stage}/accuracy"} <= named
    floors = ("instability", "best_class", "centre", "centre_best_class", "random", "random_best_class")
    assert {f"test/location_instability/{name}" for name in floors} <= named


def test_a_checkpoint_loads_without_unpickling_and_the_run_opens(quickstart):
    folder, _ = quickstart
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["backbone"] == "small"
    run = load_run(folder)
    assert run.folder == folder.resolve()
    assert run.config["data"]["dataset"] == "Creatures"
    assert not run.model.training
    saved = checkpoint["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in run.model.state_dict().items())
    assert run.datamodule.num_classes == run.model.hparams["num_classes"] == 8


def test_a_checkpoint_needs_the_initial_weights_no_more(tmp_path):
    torch.manual_seed(3)
    torch.save(small(8).state_dict(), tmp_path / "initial.pt")
    main(["fit", "--model.num_classes=8", f"--model.weights={tmp_path}/initial.pt", *TINY, "--trainer.accelerator=cpu"])
    (tmp_path / "initial.pt").unlink()
    checkpoint = "runs/version_0/checkpoints/best.ckpt"
    cli = main(["test", "--config=runs/version_0/config.yaml", f"--ckpt_path={checkpoint}"])
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    for state in (cli.model.state_dict(), load_run("runs/version_0").model.state_dict()):
        assert all(torch.equal(value, saved[name]) for name, value in state.items())


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"is not the folder of a finished run: it has no config.yaml; give a folder"):
        load_run(tmp_path)


def test_two_runs_write_two_folders_and_latest_points_at_the_second():
    arguments = ["fit", "--data.image_size=64", "--model.num_classes=8", *TINY, "--trainer.accelerator=cpu"]
    for _ in range(2):
        main(arguments)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["latest", "version_0", "version_1"]
    assert os.readlink("runs/latest") == "version_1"


def test_a_wandb_run_keeps_its_configuration_beside_its_checkpoints():
    logger = ["WandbLogger", "init_args.save_dir=runs", "init_args.project=parts", "init_args.offline=true"]
    words = [f"--trainer.logger={logger[0]}", *(f"--trainer.logger.{word}" for word in logger[1:])]
    for _ in range(2):
        main(["fit", "--model.num_classes=8", *TINY, "--trainer.accelerator=cpu", *words])
        wandb.finish()
    runs = sorted(Path("runs/parts").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert {path.name for path in run.iterdir()} == {"config.yaml", "checkpoints", "curves.png"}
    newer = max(runs, key=lambda run: (run / "checkpoints" / "best.ckpt").stat().st_mtime_ns)
    assert Path("runs/latest").resolve() == newer.resolve()


def test_last_is_the_last_epoch_even_when_accuracy_stands_still_and_training_goes_on_from_it():
    words = ["fit", "--model.num_classes=8", "--model.lr=0", *TINY, "--trainer.accelerator=cpu"]
    main(words)
    last = torch.load("runs/latest/checkpoints/last.ckpt", weights_only=True)
    best = torch.load("runs/latest/checkpoints/best.ckpt", weights_only=True)
    assert (best["epoch"], last["epoch"]) == (0, 1)
    resumed = main([*words, "--trainer.max_epochs=3", "--ckpt_path=runs/version_0/checkpoints/last.ckpt"])
    assert resumed.trainer.current_epoch == 3
    (curves,) = [callback for callback in resumed.trainer.callbacks if isinstance(callback, LearningCurves)]
    assert [epoch["epoch"] for epoch in curves.history] == [0, 1, 2]


def test_a_start_that_fails_leaves_latest_alone(capsys):
    words = ["fit", *TINY, "--trainer.accelerator=cpu"]
    main([*words, "--model.num_classes=8"])
    with pytest.raises(SystemExit):
        main([*words, "--model.num_classes=5"])
    assert os.readlink("runs/latest") == "version_0"
    assert "error: The model has num_classes=5" in capsys.readouterr().err


def test_a_trial_run_writes_nothing_and_a_run_without_logger_overwrites_nothing():
    Path("config.yaml").write_text("mine")
    words = ["fit", "--model.num_classes=8", *TINY, "--trainer.accelerator=cpu"]
    main([*words, "--trainer.fast_dev_run=1"])
    assert [path.name for path in Path().iterdir()] == ["config.yaml"]
    main([*words, "--trainer.logger=false"])
    assert {path.name for path in Path().iterdir()} == {"config.yaml", "checkpoints"}
    assert Path("config.yaml").read_text() == "mine"


def test_validate_and_predict_go_through_the_same_door():
    words = ["--model.num_classes=8", *TINY, "--trainer.accelerator=cpu"]
    validated = main(["validate", *words])
    assert validated.trainer.callback_metrics["val/task_loss"].isfinite()
    assert main(["predict", *words]).trainer.num_predict_batches == [3]


def test_a_missing_test_split_is_told_before_training(tmp_path, capsys):
    folder = draw_part_folder(tmp_path / "folder", test=0)
    words = [f"--data.root={folder}", "--data.dataset=PartAnnotatedFolder", "--data.batch_size=2", *TINY[2:]]
    with pytest.raises(SystemExit):
        main(["fit", "--model.num_classes=2", "--test_after_fit=true", "--trainer.accelerator=cpu", *words])
    assert "the split test" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not Path("runs").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_data_ends_in_one_line_with_any_number_of_workers(tmp_path, capsys, workers):
    folder = draw_part_folder(tmp_path / "folder")
    for image in (folder / "images").rglob("*.png"):
        image.write_bytes(b"no image")
    words = [f"--data.root={folder}", "--data.dataset=PartAnnotatedFolder", "--data.batch_size=2", *TINY[2:]]
    with pytest.raises(SystemExit):
        main(["fit", "--model.num_classes=2", f"--data.num_workers={workers}", "--trainer.accelerator=cpu", *words])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "annotations.csv:" in line
    assert "Traceback" not in line


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ckpt_path=missing.ckpt"], "missing.ckpt"),
        (["--trainer.max_epochs=-1", "--trainer.max_time=00:00:00:01"], "set trainer.max_epochs or trainer.max_steps"),
        (["--model.optimizer_options={betas: 3}"], "AdamW does not take optimizer_options {'betas': 3}"),
        (["--model.optimizer=LBFGS"], "torch.optim has no optimizer 'LBFGS'; choose one of"),
        (["--model.filter_weight=-1"], "filter_weight must be 0 or more, got -1"),
        (["--model.filter_warmup=1"], "filter_warmup must be a share of the run in [0, 1), got 1"),
        (["--model.part_layers=-1"], "The number of part layers must be 0 or more, got -1"),
        (["--model.part_share=0"], "The share of part filters must be above 0 and at most 1, got 0"),
        (["--model.beta=-3"], "The slope beta of the templates must be above 0, got -3"),
        (["--last.every_n_steps=-3"], "last.every_n_steps must be 1 or more, or null, got -3"),
        (["--data.num_workers=-1"], "num_workers was expected to be 0 or more, found -1"),
    ],
)
def test_what_cannot_work_ends_in_one_line(words, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--model.num_classes=8", *TINY, "--trainer.accelerator=cpu", *words])
    assert stopped.value.code != 0
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]


def test_classes_that_disagree_with_the_data_end_in_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--model.num_classes=5", *TINY, "--trainer.accelerator=cpu"])
    assert stopped.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1] == (
        "error: The model has num_classes=5 but the data has 8 classes: set model.num_classes to 8, or choose classes "
        "with data.classes."
    )


def test_an_error_reaches_a_terminal_without_a_traceback(repository, tmp_path):
    command = [sys.executable, repository / "train.py", "fit", "--model.num_classes=8", "--data.dataset=Creature"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")


@pytest.mark.slow
@pytest.mark.ddp
def test_two_cpu_processes_train_through_the_same_door(repository, tmp_path):
    configs = [repository / "configs/quickstart.yaml", repository / "configs/trainer/ddp_cpu.yaml"]
    recipe = {"first_layer": "convolution", "norm": "true", "head": "linear", "distinctness": 64, "equivariance": 2}
    recipe |= {"frozen": "features.2"}
    words = [*(f"--config={path}" for path in configs), *(f"--model.{key}={value}" for key, value in recipe.items())]
    command = [sys.executable, repository / "train.py", "fit", *words, *TINY]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=280)
    assert result.returncode == 0, result.stderr
    folders = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    assert [path.name for path in folders] == ["version_0"]
    config = yaml.safe_load((folders[0] / "config.yaml").read_text())
    assert config["trainer"]["devices"] == 2
    assert (folders[0] / "curves.png").is_file()
    assert (folders[0] / "filters_layer2.png").is_file()
    assert result.stdout.count("Run folder:") == 1
    assert {row["epoch"] for row in rows(folders[0]) if row["train/accuracy"]} == {"0", "1"}
