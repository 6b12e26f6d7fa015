"""Every command of docs/ does what it says, on less data, and every file that is named exists."""

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread
from test_configs import pretrained_animals
from test_readme import LESS, training_words

from interpretable.cli import main

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_training_command_runs(page, repository, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(repository / "configs")
    monkeypatch.setenv("INTERPRETABLE_DATA", str(tmp_path))
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for words in training_words(block):
            if "animalpart" in " ".join(words):
                config = yaml.safe_load((repository / words[words.index("--config") + 1]).read_text())
                less_data = pretrained_animals(tmp_path, config["data"]["classes"])
            else:
                less_data = ["--data.options={size: 16}"]
            cli = main([*words, *less_data, "--data.batch_size=8", "--trainer.max_epochs=1", *LESS])
            assert cli.trainer.callback_metrics["test/loss"].isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_snippet_runs(page, tmp_path):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_names_exists(page):
    named = re.findall(r"\]\(((?!http)[^)#]+)\)", page.read_text(encoding="utf-8"))
    scripts = re.findall(r"`python ((?:docs|benchmarks)/[\w/.]+)", page.read_text(encoding="utf-8"))
    missing = [name for name in named if not (DOCS / name).exists()]
    assert missing + [name for name in scripts if not (DOCS.parent / name).exists()] == []


def test_the_picture_of_the_loss_is_drawn_by_its_script_and_shows_what_the_page_says():
    drawing = load(DOCS / "draw_loss.py")
    drawing.main(Path("part_loss.png"))
    assert imread("part_loss.png").shape == imread(DOCS / "images" / "part_loss.png").shape
    curves = [drawing.information_as_half_of_the_peaks_move(temperature) for temperature in drawing.TEMPERATURES]
    assert all(abs(curve[0]) < 1e-6 for curve in curves)
    assert all(curve[:6] == sorted(curve[:6]) for curve in curves)
    assert all(curve[-1] < max(curve) for curve in curves)
    assert all(
        cold > warm for lower, higher in pairwise(curves) for cold, warm in zip(lower[1:], higher[1:], strict=True)
    )
