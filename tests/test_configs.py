"""Every file of configs/ is parsed and trains up to two batches, on a drawn folder of the form it expects."""

from inspect import signature
from pathlib import Path

import pytest
import yaml
from data.drawn import draw_cub, draw_food101, draw_part_folder

from interpretable import InterpretableClassifier
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


def pretrained_animals(root: Path, classes: list[str]) -> list[str]:
    return [*animals(root, classes), "--model.weights=null"]


def cub(root: Path, classes: list[str]) -> list[str]:
    draw_cub(root)
    return ["--model.num_classes=3", "--model.weights=null"]


def food(root: Path, classes: list[str]) -> list[str]:
    draw_food101(root, classes)
    return ["--model.weights=null"]


DRAWN = {
    "quickstart": creatures,
    "experiments/animalpart_interpretable": pretrained_animals,
    "experiments/animalpart_plain": pretrained_animals,
    "experiments/animalpart_scratch": animals,
    "experiments/animalpart_scratch_plain": animals,
    "experiments/animalpart_single": animals,
    "experiments/creatures": creatures,
    "experiments/cub200": cub,
    "experiments/food101_inception": food,
}
"""How each experiment's data is drawn; the words say what the drawing changes of the configuration."""


RECIPE = CONFIGS / "experiments" / "animalpart_interpretable.yaml"
"""What the files of experiments/recipe/ change."""


DEFAULTS = {name: argument.default for name, argument in signature(InterpretableClassifier).parameters.items()}


def names(pattern: str) -> list[str]:
    return [str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.glob(pattern)]


def test_every_file_of_configs_is_among_those_that_are_run():
    run_by_test_sweeps = names("sweeps/*.yaml")
    changes = [*names("trainer/*.yaml"), *names("experiments/recipe/*.yaml")]
    assert sorted(names("**/*.yaml")) == sorted([*DRAWN, *changes, *run_by_test_sweeps])


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
    assert cli.model.hparams["filter_weight"] == config["model"].get("filter_weight", DEFAULTS["filter_weight"])


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


@pytest.mark.slow
@pytest.mark.parametrize("name", names("experiments/recipe/*.yaml"))
def test_a_change_of_the_recipe_trains_and_is_a_change(name, tmp_path, monkeypatch):
    monkeypatch.setenv("INTERPRETABLE_DATA", str(tmp_path))
    recipe, changed = (yaml.safe_load(path.read_text()) for path in (RECIPE, CONFIGS / f"{name}.yaml"))
    words = pretrained_animals(tmp_path, recipe["data"]["classes"])
    cli = main(["fit", f"--config={RECIPE}", f"--config={CONFIGS / name}.yaml", *words, *CHEAP, *ONE_CPU])
    assert cli.trainer.callback_metrics["train/loss"].isfinite()
    assert list(changed) == ["model"]
    for key, value in changed["model"].items():
        assert cli.model.hparams[key] == value != recipe["model"].get(key, DEFAULTS[key])


def test_what_trains_part_filters_is_by_default_as_in_the_recipe():
    recipe = yaml.safe_load(RECIPE.read_text())["model"]
    of_the_data_and_its_fine_tuning = {"backbone", "weights", "frozen", "num_classes", "lr", "trunk_lr"}
    for key in set(recipe) - of_the_data_and_its_fine_tuning:
        assert recipe[key] == DEFAULTS[key]


@pytest.mark.parametrize("recipe", ["animalpart_interpretable", "animalpart_scratch"])
def test_the_twins_differ_in_mask_and_losses_alone(recipe):
    twin = recipe.replace("_interpretable", "") + "_plain"
    interpretable, plain = (
        yaml.safe_load((CONFIGS / "experiments" / f"{name}.yaml").read_text()) for name in (recipe, twin)
    )
    assert plain["model"].pop("mask") is False
    assert plain["model"].pop("filter_weight") == 0  # which takes distinctness and equivariance with it
    weights = ("filter_weight", "distinctness", "equivariance")
    assert interpretable["model"]["filter_weight"] > 0
    for config in (interpretable, plain):
        config["model"] = {key: value for key, value in config["model"].items() if key not in weights}
    assert plain == interpretable
