"""Every command and every snippet of README.md does what it says, on less data."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from data.drawn import draw_part_folder
from test_configs import pretrained_animals
from test_sweeps import SWEEPS
from wandb.cli import cli as wandb_cli

from interpretable.cli import main
from interpretable.commands.app import main as commands
from interpretable.models import BACKBONES

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
LESS = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def training_words(block: str) -> list[list[str]]:
    """The words after ``python train.py`` of each command, which may begin with an installation."""
    commands = block.replace("\\\n", " ").strip().splitlines()
    return [shlex.split(command.split("python train.py ")[1]) for command in commands]


def test_two_commands_do_all_the_set_up(repository):
    first, second = blocks("bash")[:2]
    assert first == "pip install -e . && python train.py fit --config configs/quickstart.yaml\n"
    assert second == 'pip install -e ".[test]" && pytest\n'
    assert """grep -m 1 -F 'pip install -e ".[test]"' README.md""" in (repository / ".ci" / "run").read_text()


@pytest.mark.slow
def test_commands_and_snippets_run_one_after_the_other(repository, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(repository / "configs")
    draw_part_folder(tmp_path / "my_folder")
    monkeypatch.syspath_prepend(str(tmp_path))
    first, _, again, after, recipe, trees, graphs, prototypes, why, last = [
        block for block in blocks("bash") if not block.startswith("wandb ")
    ]
    opening, attribution, network, export = blocks("python")
    ((quickstart,), (test, resume), (photographs,), (own,)) = map(training_words, (first, again, recipe, last))
    less_data = ["--data.options={size: 16}", "--data.batch_size=8"]
    main([*quickstart, *less_data, "--trainer.max_epochs=1", *LESS])
    main([*test, *LESS])
    assert main([*resume, "--trainer.max_epochs=2", *LESS]).trainer.current_epoch == 2
    run = {}
    exec(opening, run)
    assert run["run"].config["data"]["dataset"] == "Creatures"
    graphs += " --iterations 1 --class " + run["run"].datamodule.classes[0]
    for command in (
        *after.strip().splitlines(),
        *trees.strip().splitlines(),
        graphs.replace("\n", ""),
        prototypes.strip(),
        *why.strip().splitlines(),
    ):
        name, *words = shlex.split(command)
        assert name == "interpretable"
        with pytest.raises(SystemExit) as end:
            commands(words)
        assert end.value.code == 0
    for left in (
        "metrics.json",
        "evaluation/filters.png",
        "dissection/test.json",
        "tree/tree.html",
        "tree/review.json",
        "graph/measures.csv",
        "prototypes/prototypes.json",
        "attribution/sheet.png",
        "influence/influence.png",
    ):
        assert (Path("runs/latest") / left).is_file()
    monkeypatch.setenv("INTERPRETABLE_DATA", str(tmp_path))
    animals = yaml.safe_load(Path(photographs[-1]).read_text())["data"]["classes"]
    main([*photographs, *pretrained_animals(tmp_path, animals), "--data.batch_size=8", "--trainer.max_epochs=1", *LESS])
    main([*own, "--data.batch_size=4", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", *LESS])
    assert Path("runs/latest/checkpoints/best.ckpt").is_file()
    explained = {}
    exec(attribution, explained)
    assert explained["relevance"].shape == explained["images"].shape
    net = {}
    exec(network, net)
    assert [tuple(layer.shape) for layer in net["raw_maps"]] == [(1, 256, 14, 14)] * 2
    exec(export, {})
    assert Path("net.onnx").is_file()


def test_a_sweep_is_started_by_commands_that_wandb_takes_from_a_file_that_is_tested(repository):
    (block,) = (block for block in blocks("bash") if block.startswith("wandb "))
    sweep, agent = (shlex.split(command)[1:] for command in block.splitlines())
    taken = [wandb_cli.cli.commands[name].make_context(name, words).params for name, *words in (sweep, agent)]
    path = repository / taken[0]["config_yaml_or_sweep_id"]
    assert path in SWEEPS
    project = yaml.safe_load(path.read_text())["project"]
    assert taken[1]["sweep_id"] == f"ENTITY/{project}/SWEEP_ID"


def test_every_file_that_readme_names_exists(repository):
    named = re.findall(r"\]\(((?!http)[^)#]+)\)|`((?:configs|docs|benchmarks)/[\w/.]+)`", README)
    paths = {first or second for first, second in named}
    assert {"docs/design.md", "configs/quickstart.yaml"} <= paths
    assert [path for path in sorted(paths) if not (repository / path).exists()] == []


def test_readme_lists_every_backbone():
    assert [name for name in BACKBONES if f"`{name}`" not in README] == []
