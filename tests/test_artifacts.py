"""Trees and tables reach the W&B run of the training, and nothing is lost where W&B fails. All offline."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import wandb
from pytorch_lightning.loggers import WandbLogger
from test_sweeps import records
from wandb.proto.wandb_internal_pb2 import Record

from interpretable.artifacts import log_artifact
from interpretable.runs import Run

TABLE = {"tree/levels": [("level", "accuracy"), ("leaves", 0.5), ("2", None)]}


@pytest.fixture(autouse=True)
def _everything_of_wandb_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    yield
    wandb.teardown()  # the mode of the first run would stay


def finished_run(logger: Any, folder: str = "runs/parts/abc123") -> Run:
    """A run folder with a tree; neither network nor data are needed."""
    path = Path(folder).resolve()
    (path / "tree").mkdir(parents=True)
    (path / "tree" / "tree.json").write_text('{"schema_version": 1}\n')
    (path / "curves.png").write_bytes(b"picture")
    return Run(cast(Any, None), cast(Any, None), {"trainer": {"logger": logger}}, path)


def wandb_logger(**arguments: Any) -> dict[str, Any]:
    """The logger as a run's config.yaml names it."""
    return {"class_path": "pytorch_lightning.loggers.WandbLogger", "init_args": {"project": "parts", **arguments}}


def files_of(run: Run) -> list[Path]:
    return [run.folder / "tree" / "tree.json", run.folder / "curves.png"]


def written(folder: Path) -> list[Record]:
    """What W&B has written of an offline run, whose last records may follow the run's end."""
    wandb.teardown()
    return records(folder)


def offline_folder(root: str = "runs") -> Path:
    (folder,) = Path(root).glob("wandb/offline-run-*")
    return folder


def test_files_and_tables_are_logged_to_the_run_that_the_training_logged_to(tmp_path, monkeypatch):
    logger = WandbLogger(save_dir="runs", project="parts", offline=True)
    logger.log_metrics({"val/accuracy": 0.5})
    number = logger.version
    wandb.finish()
    trained = offline_folder()
    run = finished_run(wandb_logger(save_dir="runs", entity="zoo"), f"runs/parts/{number}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the configuration's `runs` is another folder from here
    other = tmp_path / "notes.txt"
    other.write_text("of no run")

    assert log_artifact(run, f"tree-{number}", "tree", [*files_of(run), other], TABLE)

    assert wandb.run is None
    (added,) = set((tmp_path / "runs" / "wandb").glob("offline-run-*")) - {tmp_path / trained}
    assert added.name.endswith(f"-{number}")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    found = written(added)
    (started,) = (record.run for record in found if record.HasField("run"))
    assert (started.run_id, started.project, started.entity) == (number, "parts", "zoo")
    artifacts = {record.artifact.type: record.artifact for record in found if record.HasField("artifact")}
    assert artifacts["tree"].name == f"tree-{number}"
    contents = artifacts["tree"].manifest.contents
    assert sorted(entry.path for entry in contents) == ["curves.png", "notes.txt", "tree/tree.json"]
    staged = {entry.path: Path(entry.local_path).read_bytes() for entry in contents}
    assert staged["tree/tree.json"] == files_of(run)[0].read_bytes()
    (table,) = (added / "files/media/table/tree").glob("levels_*.table.json")
    assert json.loads(table.read_text()) == {"columns": ["level", "accuracy"], "data": [["leaves", 0.5], ["2", None]]}
    assert "tree/levels" in {item.key for record in found for item in record.summary.update}
    assert not any(record.HasField("history") for record in found)  # whose steps would begin again
    (ended,) = (record.exit for record in found if record.HasField("exit"))
    assert ended.exit_code == 0


@pytest.mark.parametrize("how", ["configuration", "environment"])
def test_a_run_is_offline_where_its_configuration_or_the_environment_says_so(how, monkeypatch):
    if how == "configuration":
        monkeypatch.delenv("WANDB_MODE")
    run = finished_run(wandb_logger(offline=how == "configuration"))
    assert log_artifact(run, "tree", "tree", files_of(run))
    assert offline_folder().name.endswith("-abc123")


def test_a_project_that_only_the_environment_named_is_read_off_the_run_folder():
    run = finished_run({"class_path": "WandbLogger", "init_args": None, "dict_kwargs": {"entity": "zoo"}})
    assert log_artifact(run, "tree", "tree", files_of(run))
    (started,) = (record.run for record in written(offline_folder()) if record.HasField("run"))
    assert (started.run_id, started.project, started.entity) == ("abc123", "parts", "zoo")


@pytest.mark.parametrize(
    "logger", ["WandbLogger", [wandb_logger(), {"class_path": "CSVLogger"}]], ids=["name", "first"]
)
def test_the_logger_may_be_a_name_or_the_first_of_several(logger):
    run = finished_run(logger)
    assert log_artifact(run, "tree", "tree", files_of(run))
    assert offline_folder().name.endswith("-abc123")


def test_a_logger_after_another_needs_an_id(capsys):
    csv = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "runs", "name": ""}}
    run = finished_run([csv, wandb_logger()], "runs/version_0")
    assert not log_artifact(run, "tree", "tree", files_of(run))
    assert "which of W&B's runs is this one's is not known" in capsys.readouterr().err
    named = Run(
        run.model, run.datamodule, {"trainer": {"logger": [csv, wandb_logger(id="mine", save_dir=".")]}}, run.folder
    )
    assert log_artifact(named, "tree", "tree", files_of(run))
    assert offline_folder(".").name.endswith("-mine")


def test_a_disabled_wandb_logs_nothing(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = finished_run(wandb_logger(offline=True))
    assert not log_artifact(run, "tree", "tree", files_of(run), TABLE)
    assert not list(Path().rglob("offline-run-*"))


def test_a_wandb_that_cannot_be_reached_costs_one_line(monkeypatch, capsys):
    def init(**_: Any) -> None:
        raise wandb.errors.CommError("Run initialization has timed out after 90.0 sec")

    monkeypatch.setattr(wandb, "init", init)
    run = finished_run(wandb_logger())
    assert not log_artifact(run, "tree", "tree", files_of(run))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "warning: W&B did not take the tree (Run initialization has timed out after 90.0 sec); its files stay on disk."
    )


def test_a_file_that_cannot_be_logged_costs_one_line_and_the_run_is_finished(capsys):
    run = finished_run(wandb_logger())
    missing = run.folder / "tree" / "tree.html"
    assert not log_artifact(run, "tree", "tree", [*files_of(run), missing], TABLE)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: W&B did not")]
    assert str(missing) in line
    assert wandb.run is None
    found = written(offline_folder())
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [0]
    assert all(path.is_file() for path in files_of(run))


@pytest.mark.parametrize("logger", ["CSVLogger", True, False, None, [], {"class_path": "my.NotWandbLogger"}])
def test_without_wandbs_logger_nothing_is_logged(logger, capsys):
    run = finished_run(logger)
    assert not log_artifact(run, "tree", "tree", files_of(run), TABLE)
    assert [path.name for path in Path().iterdir()] == ["runs"]
    assert capsys.readouterr().err == ""


def test_without_wandbs_logger_wandb_is_not_imported():
    code = (
        "import sys; from pathlib import Path; from interpretable.artifacts import log_artifact;"
        "from interpretable.runs import Run;"
        "logger = {'class_path': 'pytorch_lightning.loggers.CSVLogger'};"
        "run = Run(None, None, {'trainer': {'logger': logger}}, Path('run'));"
        "print(log_artifact(run, 'tree', 'tree', []));"
        "print(sorted({'wandb', 'pytorch_lightning', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert result.stdout.strip() == "False\n[]"
