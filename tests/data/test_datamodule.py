import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from drawn import draw_cub, draw_food101, draw_image_folder, draw_part_folder
from pytorch_lightning.cli import LightningCLI
from torchvision.transforms import v2

from interpretable.data import PartsDataModule
from interpretable.data.sampling import EpochSampler
from interpretable.errors import ConfigurationError, DataError

# The drawn folders are loaded in the process itself; Lightning advises workers for that.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")


@pytest.fixture
def folder(tmp_path) -> Path:
    return draw_part_folder(tmp_path / "animals")


def module_of(folder, **arguments) -> PartsDataModule:
    arguments = {"dataset": "PartAnnotatedFolder", "batch_size": 4, "image_size": 16, "validation": 0.25} | arguments
    return PartsDataModule(root=str(folder), **arguments)


def epoch_of(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


class Recorder(pl.LightningModule):
    """Learns nothing to speak of and writes down which images every epoch trains on, and their mean."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[int]] = {}
        self.means: dict[int, list[float]] = {}

    def training_step(self, batch, _):
        self.seen.setdefault(self.current_epoch, []).extend(batch["index"].tolist())
        self.means.setdefault(self.current_epoch, []).extend(batch["image"].mean(dim=(1, 2, 3)).tolist())
        return self.weight**2

    def validation_step(self, batch, _):
        pass

    test_step = validation_step

    def predict_step(self, batch, _):
        return batch["index"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(tmp_path, epochs, **arguments):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(default_root_dir=tmp_path, max_epochs=epochs, log_every_n_steps=1, **quiet, **arguments)


def test_attributes_are_there_before_setup_and_setup_may_be_called_again(folder):
    data = module_of(folder)
    assert (data.classes, data.parts, data.num_classes) == (("cat", "dog"), ("head", "left ear"), 2)
    train = data.train_dataset
    for stage in ("fit", "fit", "validate", "test", "predict", None):
        data.setup(stage)
    assert data.train_dataset is train
    assert [len(found) for found in (data.train_dataset, data.validation_dataset, data.test_dataset)] == [12, 4, 6]


def test_batches_are_standardised_and_evaluation_keeps_the_order_of_the_split(folder):
    data = module_of(folder, image_size=(12, 20))
    batch = epoch_of(data)[0]
    assert batch["image"].shape == (4, 3, 12, 20)
    assert batch["image"].dtype == torch.float32
    for loader, expected in ((data.val_dataloader(), range(4)), (data.test_dataloader(), range(6))):
        assert torch.cat([batch["index"] for batch in loader]).tolist() == list(expected)
    predicted, tested = (next(iter(loader)) for loader in (data.predict_dataloader(), data.test_dataloader()))
    assert torch.equal(predicted["image"], tested["image"])
    # Test images are not mirrored: cat008 of 32 x 24 pixels has its head at (12, 6).
    torch.testing.assert_close(tested["landmarks"][0, 0], torch.tensor([12 * 20 / 32, 6 * 12 / 24]))


def test_the_mirror_moves_training_landmarks_only_when_asked(folder):
    index = {True: 1.0, False: 0.0}
    heads = {}
    for mirrored, probability in index.items():
        data = module_of(folder, mirror=probability, image_size=(24, 32))
        heads[mirrored] = torch.stack([data.train_dataset[i]["landmarks"][0] for i in range(12)])
    torch.testing.assert_close(heads[True][:, 0], 32 - heads[False][:, 0])
    torch.testing.assert_close(heads[True][:, 1], heads[False][:, 1])


def test_one_seed_gives_the_same_batches_and_another_does_not(folder, monkeypatch):
    def images(**arguments):
        return torch.cat([batch["image"] for batch in epoch_of(module_of(folder, **arguments))])

    assert torch.equal(images(seed=3), images(seed=3))
    assert not torch.equal(images(seed=3), images(seed=4))
    assert torch.equal(images(), images(seed=0))
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    assert torch.equal(images(), images(seed=3))


def test_the_last_incomplete_batch_is_left_out_unless_it_is_the_only_one(folder):
    assert [len(batch["index"]) for batch in epoch_of(module_of(folder, batch_size=5))] == [5, 5]
    assert [len(batch["index"]) for batch in epoch_of(module_of(folder, batch_size=50))] == [12]


def test_the_trainer_keeps_the_sampler_and_tells_it_the_epoch(folder, tmp_path):
    recorder, data = Recorder(), module_of(folder)
    fitted = trainer(tmp_path, 3, enable_checkpointing=False)
    fitted.fit(recorder, data)
    assert isinstance(fitted.train_dataloader.sampler, EpochSampler)
    for epoch in range(3):
        assert recorder.seen[epoch] == [draw["index"].item() for draw in _singles(epoch_of(data, epoch))]
        assert sorted(recorder.seen[epoch]) == list(range(12))
    assert recorder.seen[0] != recorder.seen[1] != recorder.seen[2]


def _singles(batches):
    return [{"index": index} for batch in batches for index in batch["index"]]


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(folder, tmp_path):
    through, first, second = Recorder(), Recorder(), Recorder()
    trainer(tmp_path, 4, enable_checkpointing=False).fit(through, module_of(folder))
    interrupted = trainer(tmp_path, 2, enable_checkpointing=False)
    interrupted.fit(first, module_of(folder))
    interrupted.save_checkpoint(tmp_path / "half.ckpt")
    resumed = trainer(tmp_path, 4, enable_checkpointing=False)
    resumed.fit(second, module_of(folder), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert second.seen == {epoch: through.seen[epoch] for epoch in (2, 3)}
    assert second.means == {epoch: through.means[epoch] for epoch in (2, 3)}


@pytest.mark.ddp
def test_two_ranks_share_the_order_of_one_process_and_predict_each_image_once(folder, tmp_path):
    class Writing(Recorder):
        def on_train_end(self):
            self.write(self.seen[1])

        def on_predict_batch_end(self, outputs, *_):
            self.seen.setdefault(-1, []).extend(outputs.tolist())

        def on_predict_end(self):
            self.write(self.seen[-1])

        def write(self, numbers):
            Path(tmp_path / f"rank{self.global_rank}.txt").write_text(" ".join(map(str, numbers)))

    def written():
        return [list(map(int, (tmp_path / f"rank{rank}.txt").read_text().split())) for rank in (0, 1)]

    two = trainer(tmp_path, 2, strategy="ddp_fork", devices=2, enable_checkpointing=False)
    two.predict(Writing(), module_of(folder, batch_size=2, classes=["dog"]), return_predictions=False)
    assert written() == [[0, 2], [1]]
    two.fit(Writing(), module_of(folder, batch_size=2))
    shares = written()
    order = [draw["index"].item() for draw in _singles(epoch_of(module_of(folder, batch_size=2), 1))]
    assert shares == [order[0::2], order[1::2]]


def test_fit_does_without_test_images_and_the_test_loader_says_they_are_missing(tmp_path):
    folder = draw_part_folder(tmp_path, test=0)
    data = module_of(folder)
    trainer(tmp_path, 1, enable_checkpointing=False).fit(Recorder(), data)
    assert len(data.fingerprint) == 64
    with pytest.raises(DataError, match="in the split test"):
        data.test_dataloader()


@pytest.mark.parametrize(
    ("dataset", "draw", "classes"),
    [
        ("CUB200", draw_cub, ["003.Sooty_Albatross", "001.Black_footed_Albatross"]),
        ("Food101", draw_food101, ["ramen", "apple_pie"]),
        (
            "ImageFolder",
            lambda path: draw_image_folder(path, {split: {"a": 4, "b": 4} for split in ("train", "val", "test")}),
            ["b", "a"],
        ),
    ],
)
def test_every_kind_of_data_set_trains_by_name_on_chosen_classes(tmp_path, dataset, draw, classes):
    draw(tmp_path / "data")
    data = PartsDataModule(dataset, str(tmp_path / "data"), classes=classes, image_size=16, batch_size=2)
    recorder = Recorder()
    fitted = trainer(tmp_path, 1, enable_checkpointing=False)
    fitted.fit(recorder, data)
    assert data.classes == tuple(classes)
    assert sorted(recorder.seen[0]) == list(range(len(data.train_dataset)))
    fitted.test(recorder, data, verbose=False)
    predicted = torch.cat(fitted.predict(recorder, data))
    assert predicted.tolist() == list(range(len(data.test_dataset)))


def test_a_set_without_root_takes_its_options():
    data = PartsDataModule("FakeData", options={"size": 20, "image_size": [3, 9, 9], "num_classes": 2}, batch_size=4)
    assert data.num_classes == 2
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 3, 64, 64)


def test_creatures_are_drawn_at_the_size_asked_and_bring_their_own_validation():
    data = PartsDataModule(options={"size": 24}, image_size=32, batch_size=4)
    assert [len(found) for found in (data.train_dataset, data.validation_dataset, data.test_dataset)] == [24] * 3
    assert data.train_dataset.data[0]["image"].shape == (3, 32, 32)
    with pytest.raises(ConfigurationError, match="Creatures has a fixed set of classes"):
        PartsDataModule(classes=["gruffle"])


def test_the_root_may_hold_variables_and_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("ANIMALS", str(folder.parent))
    monkeypatch.setenv("HOME", str(folder.parent))
    for root in ("$ANIMALS/animals", "${ANIMALS}/animals", "~/animals"):
        assert len(module_of(root).test_dataset) == 6
    with pytest.raises(ConfigurationError, match=r"root=\$NOWHERE/x needs the environment variable NOWHERE"):
        module_of("$NOWHERE/x").setup("fit")


def test_the_fingerprint_is_that_of_all_splits(folder):
    first = module_of(folder).fingerprint
    assert module_of(folder, image_size=32, seed=5, num_workers=1).fingerprint == first
    assert module_of(folder, classes=["dog", "cat"]).fingerprint != first
    text = (folder / "annotations.csv").read_text()
    (folder / "annotations.csv").write_text(text.replace("cat-test-4,12,6", "cat-test-4,13,6"))
    assert module_of(folder).fingerprint != first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"dataset": "CIFAR11"}, r"dataset was expected to be .* found 'CIFAR11'; did you mean CIFAR10"),
        ({"dataset": "PartAnotatedFolder"}, r"did you mean PartAnnotatedFolder"),
        ({"options": {"csv": "x"}}, r"options of PartAnnotatedFolder has 'csv'; it accepts annotations"),
        ({"dataset": "Food101", "options": {"loud": 1}}, r"options of Food101 has 'loud'; it accepts download, loader"),
        ({"root": None}, r"PartAnnotatedFolder reads files: set root"),
        ({"dataset": "FakeData"}, r"FakeData reads no files, found root="),
        ({"batch_size": 1}, r"batch_size was expected to be at least 2, found 1"),
        ({"validation": 1.0}, r"validation was expected .* found 1.0"),
        ({"image_size": (0, 8)}, r"image_size was expected .* found 0x8"),
        ({"mirror": 2.0}, r"mirror was expected .* found 2.0"),
        ({"augmentation": [v2.RandomHorizontalFlip()]}, r"RandomHorizontalFlip.*set mirror"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_in_a_sentence(folder, arguments, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        PartsDataModule(**{"dataset": "PartAnnotatedFolder", "root": str(folder)} | arguments)


# LightningCLI 2.6 makes calls that jsonargparse 4.49 and later deprecate; the bound below 5 keeps them working.
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_arguments_come_from_yaml(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    config = tmp_path / "data.yaml"
    config.write_text(
        f"""
data:
  dataset: PartAnnotatedFolder
  root: {folder}
  options: {{annotations: [annotations.csv]}}
  classes: [dog, cat]
  image_size: [16, 20]
  batch_size: 4
  augmentation:
    - class_path: torchvision.transforms.v2.RandomResizedCrop
      init_args: {{size: [20, 24], scale: [0.5, 1.0], antialias: true}}
    - class_path: torchvision.transforms.v2.ColorJitter
      init_args: {{brightness: 0.3}}
"""
    )
    args = ["--config", str(config)]
    cli = LightningCLI(
        Recorder, PartsDataModule, run=False, args=args, seed_everything_default=5, trainer_defaults={"logger": False}
    )
    data = cli.datamodule
    assert data.seed == 5
    assert [type(transform) for transform in data.augmentation] == [v2.RandomResizedCrop, v2.ColorJitter]
    assert data.image_size == (16, 20)
    assert data.classes == ("dog", "cat")
    assert epoch_of(data)[0]["image"].shape == (4, 3, 16, 20)


def test_reading_samples_loads_no_lightning():
    code = """
import sys
import interpretable.data
from interpretable.data import CUB200, Batch, PartAnnotatedFolder, Sample, TorchvisionImages
assert not {"pytorch_lightning", "wandb"} & set(sys.modules), "Lightning"
from interpretable.data import PartsDataModule
assert "pytorch_lightning" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    import interpretable.data

    with pytest.raises(AttributeError, match="no attribute 'Zoo'"):
        _ = interpretable.data.Zoo
