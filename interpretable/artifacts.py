"""Files of a finished run as an artifact of the same W&B run, where it was logged to W&B."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interpretable.errors import sentence_of
from interpretable.runs import Run

Row = Sequence[Any]


def log_artifact(
    run: Run, name: str, kind: str, files: Sequence[Path], tables: Mapping[str, Sequence[Row]] | None = None
) -> bool:
    """Hands files and tables to the W&B run that the training logged to; without W&B's logger does nothing.

    A W&B that cannot be reached, or refuses them, costs a line on the terminal. What is logged offline is a second
    folder ``offline-run-*-ID`` beside that of the training, and ``wandb sync`` of both uploads them in order: files and
    tables are added to the run and its history and configuration stay, but wandb 0.31 puts the second folder's summary
    in the place of the first one's. Logged online, after the training was synced, the summary is added to.

    Args:
        run: The run.
        name: What the artifact is called; a new version of it where it exists.
        kind: The artifact's type.
        files: Its files, by their paths in the run folder.
        tables: Tables by name, the first row the names of the columns. They enter the run's summary, where a workspace
            shows them, and not its history, whose steps an offline run would count from 0 again.

    Returns:
        Whether they were logged.
    """
    arguments = _wandb_arguments(run)
    if arguments is None:
        return False
    import wandb

    try:
        logged = wandb.init(**arguments, resume="allow", settings=wandb.Settings(console="off"))
        try:
            artifact = wandb.Artifact(name, kind)
            for path in files:
                inside = path.resolve().is_relative_to(run.folder)
                artifact.add_file(str(path), path.resolve().relative_to(run.folder).as_posix() if inside else path.name)
            for title, (columns, *rows) in (tables or {}).items():
                logged.summary[title] = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
            logged.log_artifact(artifact)
        finally:
            logged.finish()
    except Exception as error:  # W&B raises those of a dozen libraries; the files are on disk whatever happened to it
        print(f"warning: W&B did not take the {kind} ({sentence_of(error)}); its files stay on disk.", file=sys.stderr)
        return False
    return not logged.disabled


def _wandb_arguments(run: Run) -> dict[str, Any] | None:
    """What ``wandb.init`` needs to open the run's own W&B run again; None for a run without one."""
    loggers = run.config["trainer"]["logger"]
    loggers = loggers if isinstance(loggers, list) else [loggers]
    classes = [one.get("class_path", "") if isinstance(one, dict) else str(one) for one in loggers]
    place = next((number for number, name in enumerate(classes) if name.split(".")[-1] == "WandbLogger"), None)
    if place is None:
        return None
    words = loggers[place] if isinstance(loggers[place], dict) else {}
    given: dict[str, Any] = (words.get("dict_kwargs") or {}) | (words.get("init_args") or {})
    arguments = {"entity": given.get("entity")}
    if place == 0:  # the run folder is SAVE_DIR/PROJECT/ID, wherever the command is started
        arguments |= {"id": run.folder.name, "dir": str(run.folder.parents[1])}
        arguments |= {"project": given.get("project") or run.folder.parent.name}
    else:
        arguments |= {"id": given.get("version") or given.get("id"), "dir": given.get("save_dir") or given.get("dir")}
        arguments |= {"project": given.get("project") or os.environ.get("WANDB_PROJECT", "lightning_logs")}
    if arguments["id"] is None:
        print(
            "warning: which of W&B's runs is this one's is not known, as W&B's logger is not the first of them; put it "
            "first, or give it an id.",
            file=sys.stderr,
        )
        return None
    offline = given.get("offline") and "WANDB_MODE" not in os.environ
    return arguments | {"mode": "offline" if offline else None}
