"""Every sweep of configs/sweeps/: the words and variables that W&B's own agent hands over, and what a trial leaves."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger
from wandb import wandb_agent
from wandb.proto.wandb_internal_pb2 import Record

from interpretable import InterpretableClassifier
from interpretable.cli import main

SWEEPS = sorted((Path(__file__).parent.parent / "configs" / "sweeps").glob("*.yaml"))
TWO_BATCHES = {
    "data.options": {"size": 32, "image_size": 64},
    "data.batch_size": 4,
    "data.num_workers": 0,
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 2,
    "trainer.limit_test_batches": 2,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}
"""Fewer data for a trial, in the form of a sweep's parameters."""


class Trial(NamedTuple):
    """What the agent starts: a command in an environment."""

    command: list[str]
    environment: dict[str, str]


def choices(parameter: dict[str, Any]) -> list[Any]:
    """The values to try: each of a list, both ends of a range."""
    if "values" in parameter:
        return parameter["values"]
    assert parameter["distribution"] in ("uniform", "log_uniform_values", "int_uniform")
    assert parameter["min"] < parameter["max"]
    assert parameter["min"] > 0 or not parameter["distribution"].startswith("log")
    return [parameter["min"], parameter["max"]]


def value_sets(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Sets of values in which each value of a list and both ends of each range occur."""
    columns = {name: choices(parameter) for name, parameter in sweep["parameters"].items()}
    return [
        {name: column[row % len(column)] for name, column in columns.items()}
        for row in range(max(map(len, columns.values())))
    ]


def start_trial(sweep: dict[str, Any], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Trial:
    """What wandb's agent would start for these values; it writes its two files below the working folder."""
    started = []
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda **trial: started.append(trial) or SimpleNamespace())
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_DIR", os.getcwd())
    agent = wandb_agent.Agent(api=None, queue=None)
    agent._sweep_command = list(sweep["command"])
    arguments = {name: {"value": value} for name, value in values.items()}
    agent._command_run({"run_id": "trial1", "program": sweep["program"], "args": arguments})
    (trial,) = started
    return Trial(trial["command"], trial["env"])


def at(config: dict[str, Any], name: str) -> Any:
    for word in name.split("."):
        config = config[word]
    return config


def records(folder: Path) -> list[Record]:
    """The records of an offline run, whose file is a log of LevelDB's form behind a header of seven bytes."""
    (path,) = folder.glob("*.wandb")
    data, place, parts, found = path.read_bytes(), 7, b"", []
    while place < len(data):
        if (left := 32768 - place % 32768) < 7:  # the rest of a block is too short for a record's header
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def wandb_config(found: list[Record]) -> dict[str, Any]:
    """The run's configuration: what it started with, and what was added."""
    items = [item for record in found for item in (*record.run.config.update, *record.config.update)]
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> None:
    """Configurations and train.py in the working folder, as at the root of a checkout."""
    for name in ("configs", "train.py"):
        (tmp_path / name).symlink_to(repository / name)


@pytest.fixture(params=SWEEPS, ids=lambda path: path.stem)
def sweep(request: pytest.FixtureRequest) -> dict[str, Any]:
    return yaml.safe_load(request.param.read_text())


def test_there_is_a_sweep_over_the_part_template_loss():
    assert "part_loss" in [path.stem for path in SWEEPS]


def test_every_value_of_a_sweep_reaches_the_configuration_and_builds_a_network(sweep, checkout, monkeypatch, capsys):
    for values in value_sets(sweep):
        command = start_trial(sweep, values, monkeypatch).command
        assert command[:4] == ["/usr/bin/env", "python", "train.py", "fit"]
        with pytest.raises(SystemExit) as stopped:
            main([*command[3:], "--print_config"])
        assert stopped.value.code == 0
        parsed = yaml.safe_load(capsys.readouterr().out)
        assert {name: at(parsed, name) for name in values} == values
        assert parsed["test_after_fit"] is True
        assert parsed["trainer"]["logger"]["class_path"].endswith("WandbLogger")
        InterpretableClassifier(**parsed["model"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.weights", None),
        ("model.mask", False),
        ("model.lr", 1e-05),
        ("model.optimizer_options", {"betas": [0.8, 0.9]}),
        ("data.classes", ["fernhart", "None"]),
    ],
)
def test_a_further_parameter_of_any_type_keeps_it(sweep, name, value, checkout, monkeypatch, capsys):
    command = start_trial(sweep, {name: value}, monkeypatch).command
    with pytest.raises(SystemExit):
        main([*command[3:], "--print_config"])
    parsed = at(yaml.safe_load(capsys.readouterr().out), name)
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_parameter_that_nothing_has_is_refused(sweep, checkout, monkeypatch, capsys):
    command = start_trial(sweep, {"model.part_weight": 0.1}, monkeypatch).command
    with pytest.raises(SystemExit) as stopped:
        main(command[3:])
    assert stopped.value.code != 0
    assert "part_weight" in capsys.readouterr().err


def test_the_metric_of_a_sweep_is_logged_by_a_run(sweep, checkout, monkeypatch):
    command = start_trial(sweep, TWO_BATCHES, monkeypatch).command
    logger = "--trainer.logger={class_path: CSVLogger, init_args: {save_dir: runs, name: ''}}"
    cli = main([*command[3:], logger])
    assert isinstance(cli.trainer.logger, CSVLogger)
    header = Path("runs/version_0/metrics.csv").read_text().splitlines()[0].split(",")
    assert sweep["metric"]["name"] in header


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.ddp)])
def test_a_trial_is_one_wandb_run_that_holds_its_values_its_numbers_and_its_pictures(
    sweep, ranks, checkout, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # the agent says `python`
    if ranks == 2:  # where the file's first lines say it goes
        sweep["command"][-2:-2] = ["--config", "configs/trainer/ddp_cpu.yaml"]
    values = value_sets(sweep)[ranks - 1]
    trial = start_trial(sweep, {**values, **TWO_BATCHES}, monkeypatch)
    environment = trial.environment | {"WANDB_SILENT": "false"}
    result = subprocess.run(trial.command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Run folder:") == 1
    assert "Tracking run with wandb" in result.stderr  # W&B's warnings would be there too
    assert "locked" not in result.stderr  # a value of the sweep was logged again

    (folder,) = Path("runs/interpretable").iterdir()
    (offline,) = tmp_path.rglob("offline-run-*")
    assert folder.name == "trial1"
    assert offline.name.endswith("-trial1")
    assert Path("runs/latest").resolve() == folder.resolve()

    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert written["trainer"]["devices"] == ranks
    assert {name: at(written, name) for name in values} == values

    found = records(offline)
    (run,) = (record.run for record in found if record.HasField("run"))
    assert (run.run_id, run.sweep_id) == ("trial1", "sweep1")
    config = wandb_config(found)
    assert {name: config[name] for name in values} == values
    assert config["config"] == written
    names = {item.key or item.nested_key[0] for record in found for item in record.history.item}
    assert {sweep["metric"]["name"], "val/mutual_information/layer1", "test/mutual_information/layer1"} <= names
    pictures = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    layers = range(1, values["model.part_layers"] + 1)
    assert set(pictures) == {"curves.png", *(f"filters_layer{layer}.png" for layer in layers)}
    assert sorted(path.read_bytes() for path in (offline / "files/media/images").glob("*.png")) == sorted(
        pictures.values()
    )
