"""Fixtures of all tests: one thread, a clean environment, nothing left behind."""

import os
import sys

# Before torch is imported: a forked child deadlocks in its first OpenMP region if the parent has used several threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test starts from the same seed, in an empty folder, and leaves no variable or process group behind."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])  # Lightning warns of pytest's own words
    torch.manual_seed(0)
    yield
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    monkeypatch.undo()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder that INTERPRETABLE_DATA points at; the test is skipped, saying so, where it is unset."""
    folder = os.environ.get("INTERPRETABLE_DATA")
    if not folder:
        pytest.skip("INTERPRETABLE_DATA is unset: this test needs the real photographs")
    return Path(folder)
