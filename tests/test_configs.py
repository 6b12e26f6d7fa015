"""Every file of configs/ is parsed and trains up to two batches, on a drawn folder of the form it expects."""

from pathlib import Path

import pytest
import yaml
from data.drawn import draw_cub, draw_food101, draw_part_folder

from interpretable.cli import main

CONFIGS = Path(__file__).parent.parent / "configs"
CHEAP = [
    "--data.batch_size=2",
    "--data.num_workers=0",
    "--trainer.fast_dev_run=2",
    "--trainer.enable_model_summary=false",
    "--trainer.enable_progress_bar=false",
]
ONE_CPU = ["--trainer.accelerator=cpu", "--trainer.devices=1"]


def creatures(root: Path, classes: list[str]) -> list[str]:
    return ["--data.options={size: 8}"]


def animals(root: Path, classes: list[str]) -> list[str]:
    draw_part_folder(root / "animalpart20", [name for name in classes if name != "background"])
    if "background" in classes:
        drawn = draw_part_folder(root / "drawn", ["background"])
        (drawn / "annotations.csv").rename(root / "animalpart20" / "background.csv")
        (drawn / "images" / "background").rename(root / "animalpart20" / "images" / "background")
    return []


def cub(root: Path, classes: list[str]) -> list[str]:
    draw_cub(root)
    return ["--model.num_classes=3", "--model.weights=null"]


def food(root: Path, classes: list[str]) -> list[str]:
    draw_food101(root, classes)
    return ["--model.weights=null"]


DRAWN = {
    "quickstart": creatures,
    "experiments/animalpart_interpretable": animals,
    "experiments/animalpart_plain": animals,
    "experiments/animalpart_single": animals,
    "experiments/cub200": cub,
    "experiments/food101_inception": food,
}
"""How each experiment's data is drawn; the words say what the drawing changes of the configuration."""


def names(pattern: str) -> list[str]:
    return [str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.glob(pattern)]


def test_every_file_of_configs_is_among_those_that_are_run():
    run_by_test_sweeps = names("sweeps/*.yaml")
    assert sorted(names("**/*.yaml")) == sorted([*DRAWN, *names("trainer/*.yaml"), *run_by_test_sweeps])


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_an_experiment_trains_up_to_two_batches(name, tmp_path, monkeypatch):
    monkeypatch.setenv("INTERPRETABLE_DATA", str(tmp_path))
    path = CONFIGS / f"{name}.yaml"
    config = yaml.safe_load(path.read_text())
    changes = DRAWN[name](tmp_path, config["data"].get("classes", []))
    cli = main(["fit", f"--config={path}", *changes, *CHEAP, *ONE_CPU])
    assert cli.trainer.global_step == min(2, cli.trainer.num_training_batches) > 0
    assert cli.trainer.callback_metrics["train/loss"].isfinite()
    assert cli.model.hparams["filter_weight"] == config["model"]["filter_weight"]


@pytest.mark.parametrize("name", ["cpu", "gpu", "ddp", "ddp_cpu"])
def test_a_trainer_file_composes_with_the_quickstart(name, capsys):
    """Parsed for the machine it names, then trained with on this one."""
    path = CONFIGS / "trainer" / f"{name}.yaml"
    words = ["fit", f"--config={CONFIGS / 'quickstart.yaml'}", f"--config={path}"]
    with pytest.raises(SystemExit):
        main([*words, "--print_config"])
    parsed = yaml.safe_load(capsys.readouterr().out)
    for key, value in yaml.safe_load(path.read_text())["trainer"].items():
        assert parsed["trainer"][key] == value
    cli = main(
        [*words, "--data.options={size: 8}", *CHEAP, *ONE_CPU, "--trainer.strategy=auto", "--trainer.precision=32"]
    )
    assert cli.trainer.global_step == 2


def test_the_twins_differ_in_mask_and_loss_alone():
    interpretable, plain = (
        yaml.safe_load((CONFIGS / "experiments" / f"animalpart_{name}.yaml").read_text())
        for name in ("interpretable", "plain")
    )
    assert plain["model"].pop("mask") is False
    assert plain["model"].pop("filter_weight") == 0
    assert interpretable["model"].pop("filter_weight") > 0
    assert plain == interpretable
