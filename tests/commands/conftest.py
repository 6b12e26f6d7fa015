"""What the tests of several commands need."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb


@pytest.fixture
def everything_of_wandb_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    yield
    wandb.teardown()
