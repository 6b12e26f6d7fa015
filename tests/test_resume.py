"""A run that is stopped and resumed ends bit for bit where it would have ended without the stop."""

import sys
from collections import OrderedDict
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from interpretable.classifier import InterpretableClassifier
from interpretable.cli import main
from interpretable.data import PartsDataModule
from interpretable.data.sampling import EpochSampler
from interpretable.models import small
from interpretable.resume import LastCheckpoint, RandomState

# A resumed run writes to a folder of its own, and Lightning remarks on it.
pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed from")

SIZE, BATCH, EPOCHS = 24, 8, 3
BATCHES = SIZE // BATCH
MIDDLE = BATCHES + 1
"""Steps after one batch of the second epoch."""
WORDS = [
    "fit",
    "--model.num_classes=8",
    "--model.part_layers=2",
    "--model.head=backbone",  # which is noisy
    "--model.filter_schedule=gradient_ratio",
    "--model.objective=authors",  # the one with the most running statistics
    f"--data.options={{size: {SIZE}}}",
    f"--data.batch_size={BATCH}",
    f"--trainer.max_epochs={EPOCHS}",
    "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.callbacks+=ModelCheckpoint",
    "--trainer.callbacks.filename={step}",
    "--trainer.callbacks.every_n_train_steps=1",
    "--trainer.callbacks.save_top_k=-1",
]


class StopError(Exception):
    """What ends a run from outside."""


def noisy(num_classes: int) -> nn.Sequential:
    """The backbone ``small`` with dropout before its last layer."""
    layers = list(small(num_classes).named_children())
    return nn.Sequential(OrderedDict([*layers[:-1], ("dropout", nn.Dropout(0.5)), layers[-1]]))


def fit(*words: str, stop: int | None = None) -> SimpleNamespace:
    """A run of the command line on the noisy network: what it ends with, and the images of every step it trained.

    With ``stop`` it ends in the middle of that step, as far as the optimizer is concerned before it.
    """
    seen = []
    step = InterpretableClassifier.training_step

    def recording(self, batch, batch_idx):
        if self.global_step == stop:
            raise StopError
        seen.append((self.current_epoch, self.global_step, batch_idx, batch["index"].tolist()))
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["train.py"])  # Lightning warns of pytest's own words
        patched.setattr("interpretable.filter_weight.MEASURE_EVERY", 2)  # else a run so short measures once
        patched.setattr("interpretable.models.weights.small", noisy)
        patched.setattr(InterpretableClassifier, "training_step", recording)
        if stop is not None:
            with pytest.raises(StopError):
                main([*WORDS, *words])
            return SimpleNamespace(seen=seen)
        trainer = main([*WORDS, *words]).trainer
    state = {
        "model": trainer.lightning_module.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict(),
        "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        "random": torch.get_rng_state(),
        "filter weight": [trainer.callback_metrics[f"train/filter_weight/layer{number}"] for number in (1, 2)],
    }
    return SimpleNamespace(seen=seen, state=state)


def differences(left, right, name="state") -> list[str]:
    """Names of what is not equal to the last bit, recursively."""
    if isinstance(left, torch.Tensor):
        return [] if left.dtype == right.dtype and torch.equal(left, right) else [name]
    if isinstance(left, dict):
        assert left.keys() == right.keys(), name
        return [found for key in left for found in differences(left[key], right[key], f"{name}.{key}")]
    if isinstance(left, list | tuple):
        pairs = enumerate(zip(left, right, strict=True))
        return [found for number, pair in pairs for found in differences(*pair, f"{name}.{number}")]
    return [] if left == right else [name]


@pytest.fixture(scope="module", params=[0, 1], ids=["no worker", "one worker"])
def runs(request, tmp_path_factory) -> SimpleNamespace:
    """A run that was never stopped, and the folder of one that died one batch after ``MIDDLE``."""
    folder = tmp_path_factory.mktemp("runs")
    words = [f"--data.num_workers={request.param}", f"--trainer.logger.init_args.save_dir={folder}"]
    through = fit(*words)
    stopped = fit(*words, stop=MIDDLE + 1)
    assert stopped.seen == through.seen[: MIDDLE + 1]
    return SimpleNamespace(through=through, words=words, checkpoints=(folder / "latest").resolve() / "checkpoints")


@pytest.mark.parametrize(("name", "step"), [(f"step={MIDDLE}.ckpt", MIDDLE), ("last.ckpt", BATCHES)])
def test_a_resumed_run_ends_bit_for_bit_like_one_that_was_never_stopped(runs, name, step):
    resumed = fit(*runs.words, f"--ckpt_path={runs.checkpoints / name}")
    assert resumed.seen == runs.through.seen[step:]
    buffers = {key.rpartition(".")[2] for key in resumed.state["model"]}
    assert {"running_peak", "running_mean", "gradient_ratio"} <= buffers
    assert differences(resumed.state, runs.through.state) == []


def test_the_last_checkpoint_can_be_kept_in_mid_epoch_and_a_resumed_run_keeps_it_up(runs, tmp_path):
    words = ["--last.every_n_steps=2", f"--trainer.logger.init_args.save_dir={tmp_path}"]
    last = "checkpoints/last.ckpt"
    fit(*words, stop=5)
    assert torch.load(tmp_path / "version_0" / last, weights_only=True)["global_step"] == 4
    resumed = fit(*words, f"--ckpt_path={tmp_path}/version_0/{last}")
    assert resumed.seen == runs.through.seen[4:]
    assert differences(resumed.state, runs.through.state) == []
    assert torch.load(tmp_path / "version_1" / last, weights_only=True)["global_step"] == EPOCHS * BATCHES
    kept = [path.name for path in (tmp_path / "version_1/checkpoints").iterdir() if "=" not in path.name]
    assert sorted(kept) == ["best.ckpt", "last.ckpt"]


def test_without_the_random_state_the_noise_differs_and_so_does_the_network(runs, monkeypatch):
    monkeypatch.setattr(RandomState, "load_state_dict", lambda self, state: None)
    resumed = fit(*runs.words, f"--ckpt_path={runs.checkpoints}/step={MIDDLE}.ckpt")
    assert resumed.seen == runs.through.seen[MIDDLE:]
    assert {"state.random", "state.model.net.head.fc.weight"} <= set(differences(resumed.state, runs.through.state))


def test_validation_changes_nothing_in_training(runs):
    validated = fit(*runs.words, "--trainer.val_check_interval=1", "--trainer.num_sanity_val_steps=0")
    assert differences(validated.state, runs.through.state) == []


class Recorder(pl.LightningModule):
    """Learns nothing to speak of; writes down the images of every epoch, batch by batch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, batch["index"].tolist()))
        return self.weight**2

    def validation_step(self, batch, _):
        self.log("score", float(self.global_step))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def record(*callbacks, resume=None, workers=0, **arguments) -> tuple[Recorder, pl.Trainer]:
    """Trains the recorder for two epochs of three batches."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=2, callbacks=list(callbacks), **quiet, **arguments)
    recorder = Recorder()
    data = PartsDataModule(options={"size": SIZE}, image_size=32, batch_size=BATCH, num_workers=workers)
    trainer.fit(recorder, data, ckpt_path=resume, weights_only=True)
    return recorder, trainer


def every_step(folder="checkpoints") -> ModelCheckpoint:
    return ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)


def test_the_epoch_after_a_resumed_one_is_whole_and_so_is_the_length():
    through, _ = record(every_step())
    assert [epoch for epoch, _ in through.seen] == [0] * BATCHES + [1] * BATCHES
    resumed, trainer = record(every_step("resumed"), resume="checkpoints/step=2.ckpt")
    assert resumed.seen == through.seen[2:]
    assert sorted(index for epoch, indices in resumed.seen if epoch == 1 for index in indices) == list(range(SIZE))
    assert len(trainer.train_dataloader) == trainer.num_training_batches == BATCHES


def test_a_checkpoint_of_a_validation_in_mid_epoch_is_resumed_behind_it():
    def best(folder="checkpoints") -> ModelCheckpoint:
        return ModelCheckpoint(folder, "{step}", monitor="score", mode="max", save_top_k=-1)

    through, _ = record(best(), val_check_interval=2)
    resumed, _ = record(best("resumed"), resume="checkpoints/step=2.ckpt", val_check_interval=2)
    assert resumed.seen == through.seen[2:]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_epoch_may_be_limited_to_some_of_its_batches(step):
    through, _ = record(every_step(), limit_train_batches=2)
    resumed, _ = record(every_step("resumed"), resume=f"checkpoints/step={step}.ckpt", limit_train_batches=2)
    assert resumed.seen == through.seen[step:]


def test_a_step_that_an_exception_broke_off_is_taken_again():
    class Breaking(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 2:
                raise StopError

    through, _ = record(enable_checkpointing=False)
    with pytest.raises(StopError):
        record(Breaking(), ModelCheckpoint("broken", "{step}", save_on_exception=True))
    resumed, _ = record(ModelCheckpoint("resumed", "{step}"), resume="broken/step=2.ckpt")
    assert resumed.seen == through.seen[2:]


def test_the_last_checkpoint_is_written_behind_the_batch_that_made_a_step_after_a_resume_too(monkeypatch):
    written = []
    save = pl.Trainer.save_checkpoint

    def recording(self, path, *arguments, **options):
        if Path(path).name == "last.ckpt":
            written.append((self.global_step, self.fit_loop.epoch_loop.batch_idx))
        save(self, path, *arguments, **options)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", recording)
    accumulating = {"accumulate_grad_batches": 2, "limit_val_batches": 0}
    record(LastCheckpoint(every_n_steps=1), every_step("steps"), **accumulating)
    # two batches to a step; what is left of an epoch of three batches is a step too, and its end is written again
    assert list(dict.fromkeys(written)) == [(1, 1), (2, 2), (3, 1), (4, 2)]
    written.clear()
    again = {"resume": "steps/step=2.ckpt", "default_root_dir": "second"}
    record(LastCheckpoint(every_n_steps=1), every_step("second/steps"), **again, **accumulating)
    assert list(dict.fromkeys(written)) == [(3, 1), (4, 2)]


@pytest.mark.parametrize("workers", [0, 1])
def test_other_readers_of_the_training_images_get_whole_epochs_while_a_run_goes_on(workers):
    class Reader(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            lengths.append(sum(len(batch["index"]) for batch in trainer.datamodule.train_dataloader()))

    lengths: list[int] = []
    _, trainer = record(Reader(), enable_checkpointing=False, workers=workers)
    assert lengths == [SIZE] * 2 * BATCHES
    assert sum(len(batch["index"]) for batch in trainer.train_dataloader) == SIZE


def test_a_sampler_that_lightning_puts_in_place_of_ours_is_iterated_as_it_is():
    with pytest.warns(UserWarning, match="turning off the train dataloader shuffling"):
        overfitted, _ = record(enable_checkpointing=False, overfit_batches=1)
    assert overfitted.seen == [(epoch, list(range(BATCH))) for epoch in range(2)]


@pytest.mark.ddp
def test_two_ranks_each_go_on_with_their_own_share(tmp_path):
    class Writing(pl.Callback):
        def __init__(self, name):
            self.name = name

        def on_train_end(self, trainer, pl_module):
            (tmp_path / f"{self.name}{trainer.global_rank}").write_text(repr(pl_module.seen))

    two = {"strategy": "ddp_fork", "devices": 2, "limit_val_batches": 0}
    record(Writing("through"), every_step(), **two)
    record(Writing("resumed"), every_step("resumed"), resume="checkpoints/step=1.ckpt", **two)
    shares = []
    for rank in range(2):
        through, resumed = (eval((tmp_path / f"{name}{rank}").read_text()) for name in ("through", "resumed"))
        assert [epoch for epoch, _ in through] == [0, 1]
        assert resumed == through[1:]
        shares.append({index for epoch, indices in through for index in indices if epoch == 0})
    assert not shares[0] & shares[1]


def test_skipped_draws_are_left_out_of_one_iteration_of_each_rank_alone(monkeypatch):
    data = PartsDataModule(options={"size": SIZE}).train_dataset
    for rank, skipped in product(range(2), (0, 5, SIZE // 2)):
        monkeypatch.setattr("interpretable.data.sampling.world_size", lambda: 2)
        monkeypatch.setattr("interpretable.data.sampling.rank", lambda rank=rank: rank)
        sampler = EpochSampler(data, seed=0)
        whole = list(sampler)
        sampler.skip(skipped)
        assert list(sampler) == whole[skipped:]
        assert list(sampler) == whole
        assert len(sampler) == SIZE // 2


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_nothing_from_the_random_state(workers):
    data = PartsDataModule(options={"size": SIZE}, image_size=32, batch_size=BATCH, num_workers=workers)
    before = torch.get_rng_state()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        assert len(list(loader)) == BATCHES
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_is_plain_bytes_and_goes_back_once_before_the_first_step_alone():
    saved = RandomState().state_dict()
    assert saved.keys() == {"cpu"}
    assert saved["cpu"].dtype == torch.uint8
    drawn = torch.rand(3)
    resumed = RandomState()
    resumed.load_state_dict(saved)
    assert not torch.equal(torch.rand(3), drawn)
    resumed.on_train_batch_start()
    assert torch.equal(torch.rand(3), drawn)
    resumed.on_train_batch_start()
    assert not torch.equal(torch.rand(3), drawn)


def test_a_state_of_a_gpu_is_passed_over_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    callback = RandomState()
    callback.load_state_dict(RandomState().state_dict() | {"cuda": torch.zeros(16, dtype=torch.uint8)})
    callback.on_train_batch_start()
