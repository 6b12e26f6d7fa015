import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, Subset, TensorDataset

import interpretable.activations.shards as shards
from interpretable import InterpretableClassifier, PartsDataModule
from interpretable.activations import ActivationStore, ActivationWriter, record_activations, weights_digest
from interpretable.cli import main
from interpretable.errors import ConfigurationError, ModelError, StoreError

LAYERS = ["net.part_filters.0", "net.part_filters.1"]


@pytest.fixture
def classifier() -> InterpretableClassifier:
    torch.manual_seed(1)
    return InterpretableClassifier(num_classes=8, part_layers=2).eval()


def creatures(size: int = 21, batch_size: int = 4, **options: Any) -> PartsDataModule:
    return PartsDataModule(options={"size": size}, image_size=64, batch_size=batch_size, **options)


def predict(
    module: pl.LightningModule,
    data: Any,
    writer: ActivationWriter,
    more: Sequence[ActivationWriter] = (),
    **options: Any,
) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[writer, *more],
        **options,
    )
    trainer.predict(module, data, return_predictions=False)


def everything(store: ActivationStore) -> dict[str, Tensor]:
    names = ["label", "logits", "landmarks", "boxes"]
    kinds = ["peaks", "peak_indices", "sums", *(["maps"] if store.manifest.maps else [])]
    names += [f"{layer.info.name}/{kind}" for layer in store.layers for kind in kinds]
    names += ["masked_sums"] if store.manifest.masked else []
    names += ["rationales", "intercepts"] if store.manifest.rationales is not None else []
    return {name: store.array(name)[:] for name in names}


def same(a: ActivationStore, b: ActivationStore, tolerance: float = 1e-5) -> None:
    assert a.manifest == b.manifest
    assert torch.equal(a.recorded, b.recorded)
    first, second = everything(a), everything(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        close = 2e-3 if value.dtype == torch.float16 else tolerance  # a rounding of 1e-5 may be one of 2^-11
        torch.testing.assert_close(value, second[name], rtol=close, atol=close, equal_nan=True, msg=name)


def test_predict_writes_what_each_image_alone_gives(classifier: InterpretableClassifier, tmp_path: Path) -> None:
    data = creatures()
    predict(classifier, data, ActivationWriter(str(tmp_path / "s"), maps=True))
    store = ActivationStore.open(tmp_path / "s")
    assert store.classes == data.classes
    assert store.parts == data.parts
    assert len(store) == 21
    for row, sample in enumerate(data.test_dataset):
        maps = classifier.net.forward_features(sample["image"][None])
        torch.testing.assert_close(store.logits[row], classifier(sample["image"][None])[0], rtol=1e-5, atol=1e-5)
        assert store.labels[row] == sample["label"]
        for name in ("landmarks", "boxes"):
            torch.testing.assert_close(getattr(store, name)[row], sample[name].as_subclass(Tensor), equal_nan=True)
        for layer, raw, field in zip(store.layers, maps, classifier.net.receptive_fields, strict=True):
            flat = raw[0].flatten(1)
            torch.testing.assert_close(layer.peaks[row], flat.amax(1), rtol=1e-5, atol=1e-5)
            at_peak = flat.gather(1, layer.peak_indices[row].long()[:, None])[:, 0]
            torch.testing.assert_close(at_peak, flat.amax(1), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(layer.sums[row], flat.sum(1), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(layer.means[row], flat.mean(1), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(layer.maps[row].float(), raw[0], rtol=2e-3, atol=2e-3)
            x, y = layer.peak_positions()[row].unbind(-1)
            index = layer.peak_indices[row]
            torch.testing.assert_close(x, field.offset + field.stride * (index % 8).float())
            torch.testing.assert_close(y, field.offset + field.stride * (index // 8).float())


@pytest.mark.ddp
def test_two_ranks_write_each_image_once_and_the_store_of_one_process(
    classifier: InterpretableClassifier, tmp_path: Path
) -> None:
    options = {"maps": True, "rationales": ["label"]}
    predict(classifier, creatures(), ActivationWriter(str(tmp_path / "one"), **options))
    predict(classifier, creatures(), ActivationWriter(str(tmp_path / "two"), **options), devices=2, strategy="ddp_fork")
    ranks = [shards.open_shard(path).get_tensor("index") for path in shards.shard_paths(tmp_path / "two")]
    assert [len(index) for index in ranks] == [11, 10]
    same(ActivationStore.open(tmp_path / "one"), ActivationStore.open(tmp_path / "two"))


def test_the_function_and_predict_write_the_same_store(classifier: InterpretableClassifier, tmp_path: Path) -> None:
    predict(classifier, creatures(predict_split="train"), ActivationWriter(str(tmp_path / "a"), rationales=["label"]))
    loader = creatures(predict_split="train").predict_dataloader()
    store = record_activations(classifier, loader, tmp_path / "b", rationales="label", split="train")
    same(store, ActivationStore.open(tmp_path / "a"))


class PartByPart(pl.LightningModule):
    """Calls a part of itself in ``predict_step``, so that its own hooks do not run."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return {"logits": self.net(batch["image"])}


def test_each_batch_is_read_anew_from_a_module_that_calls_its_parts(
    classifier: InterpretableClassifier, tmp_path: Path
) -> None:
    predict(classifier, creatures(8), ActivationWriter(str(tmp_path / "a")))
    predict(PartByPart(classifier.net), creatures(8), ActivationWriter(str(tmp_path / "b")))
    first, second = (everything(ActivationStore.open(tmp_path / name)) for name in "ab")
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, equal_nan=True, msg=name)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_a_network_of_another_type_is_recorded_and_the_store_has_its_own_types(
    classifier: InterpretableClassifier, tmp_path: Path, precision: Any
) -> None:
    options: dict[str, Any] = {"maps": True, "rationales": ["label"]}
    predict(classifier, creatures(8), ActivationWriter(str(tmp_path / "single"), **options))
    # Lightning converts the network in place.
    predict(classifier, creatures(8), ActivationWriter(str(tmp_path / "s"), **options), precision=precision)
    expected = everything(ActivationStore.open(tmp_path / "single"))
    found = everything(ActivationStore.open(tmp_path / "s"))
    assert {name: value.dtype for name, value in found.items()} == {n: value.dtype for n, value in expected.items()}
    close = 1e-2 if precision == "bf16-true" else 1e-5
    for name in ("logits", "rationales", "landmarks", "boxes"):
        torch.testing.assert_close(found[name], expected[name], rtol=close, atol=close, equal_nan=True)


def test_two_writers_of_one_predict_each_write_what_they_lack(
    classifier: InterpretableClassifier, tmp_path: Path
) -> None:
    predict(classifier, creatures(8), ActivationWriter(str(tmp_path / "a")))
    first, second = (ActivationWriter(str(tmp_path / name)) for name in "ab")
    predict(classifier, creatures(8), second, more=[first])
    same(ActivationStore.open(tmp_path / "a"), ActivationStore.open(tmp_path / "b"))


def test_a_predict_that_fails_leaves_the_data_module_with_all_images(
    classifier: InterpretableClassifier, tmp_path: Path
) -> None:
    predict(classifier, creatures(8), ActivationWriter(str(tmp_path / "s")))
    data = creatures(8)
    with pytest.raises(StoreError, match="another maps"):
        predict(classifier, data, ActivationWriter(str(tmp_path / "s"), maps=True))
    data.trainer = None
    assert len(data.predict_dataloader().dataset) == 8


@pytest.mark.ddp
def test_fewer_images_than_devices_and_a_trainer_without_a_folder_are_refused(
    classifier: InterpretableClassifier, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="Each device needs an image, got 1 for 2"):
        predict(classifier, creatures(1), ActivationWriter(str(tmp_path / "s")), devices=2, strategy="ddp_fork")
    with pytest.raises(ConfigurationError, match="A store needs a folder"):
        predict(classifier, creatures(2), ActivationWriter())
    predict(classifier, creatures(2), ActivationWriter(), fast_dev_run=True)


def test_a_full_disk_is_told_in_a_sentence_and_loses_nothing(
    classifier: InterpretableClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_IMAGES", 4)
    predict(classifier, creatures(8), ActivationWriter(str(tmp_path / "s")), limit_predict_batches=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match=r"shard-000-000001\.safetensors .* make room"):
            predict(classifier, creatures(8), ActivationWriter(str(tmp_path / "s")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        "manifest.json",
        "shard-000-000000.safetensors",
    ]
    predict(classifier, creatures(8), ActivationWriter(str(tmp_path / "s")))
    assert len(ActivationStore.open(tmp_path / "s")) == 8


def test_training_images_are_recorded_as_they_are(classifier: InterpretableClassifier, tmp_path: Path) -> None:
    data = creatures(predict_split="train", mirror=1.0)
    predict(classifier, data, ActivationWriter(str(tmp_path / "s")))
    store = ActivationStore.open(tmp_path / "s", data=data.predict_dataset.fingerprint())
    assert store.manifest.split == "train"
    unmirrored = data.predict_dataset[3]["landmarks"].as_subclass(Tensor)
    torch.testing.assert_close(store.landmarks[3], unmirrored, equal_nan=True)
    assert not torch.equal(data.train_dataset[3]["image"], data.predict_dataset[3]["image"])


class StopError(Exception):
    pass


class StoppingWriter(ActivationWriter):
    """Fails at a batch, as a killed process does but for the interpreter's end."""

    def __init__(self, *args: Any, batches: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches = batches

    def on_predict_batch_end(self, *args: Any) -> None:
        if self.batches == 0:
            raise StopError
        self.batches -= 1
        super().on_predict_batch_end(*args)


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_stopped_store_says_so_and_is_gone_on_with(
    classifier: InterpretableClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(shards, "SHARD_IMAGES", 8)  # two batches
    kept = 8 * (batches // 2)
    with pytest.raises(StopError):
        predict(classifier, creatures(), StoppingWriter(str(tmp_path / "s"), batches=batches))
    assert sum(len(module._forward_hooks) for module in classifier.modules()) == 0
    with pytest.raises(StoreError, match=f"holds {kept} of 21 images: its writing was stopped"):
        ActivationStore.open(tmp_path / "s")
    partial = ActivationStore.open(tmp_path / "s", allow_incomplete=True)
    assert partial.recorded.tolist() == list(range(kept))
    data = creatures()
    predict(classifier, data, ActivationWriter(str(tmp_path / "s")))
    assert len(data.predict_dataloader().dataset) == 21
    predict(classifier, creatures(), ActivationWriter(str(tmp_path / "whole")))
    same(ActivationStore.open(tmp_path / "s"), ActivationStore.open(tmp_path / "whole"))


@pytest.mark.ddp
def test_what_one_process_left_is_finished_by_two_even_if_it_is_one_image(
    classifier: InterpretableClassifier, tmp_path: Path
) -> None:
    predict(classifier, creatures(), ActivationWriter(str(tmp_path / "whole")))
    whole = shards.shard_paths(tmp_path / "whole")[0]
    rows = {name: shards.open_shard(whole).get_tensor(name)[:20] for name in shards.open_shard(whole).keys()}  # noqa: SIM118
    (tmp_path / "s").mkdir()
    shards.save_file({name: array.contiguous() for name, array in rows.items()}, tmp_path / "s" / whole.name)
    ActivationStore.open(tmp_path / "whole").manifest.write(tmp_path / "s")
    predict(classifier, creatures(), ActivationWriter(str(tmp_path / "s")), devices=2, strategy="ddp_fork")
    same(ActivationStore.open(tmp_path / "s"), ActivationStore.open(tmp_path / "whole"))


@pytest.mark.slow
def test_a_killed_predict_leaves_a_store_that_the_next_one_completes(tmp_path: Path, repository: Path) -> None:
    words = ["--data.options", "{size: 1500}", "--data.image_size", "64", "--model.num_classes", "8"]
    words += ["--trainer.accelerator", "cpu", "--trainer.logger", "false", "--activations.folder", str(tmp_path / "s")]
    words += ["--trainer.enable_progress_bar", "false"]
    process = subprocess.Popen([sys.executable, repository / "train.py", "predict", *words], stdout=subprocess.DEVNULL)
    started = time.monotonic()
    while not list((tmp_path / "s").glob("shard-*")) and time.monotonic() - started < 120:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(StoreError, match="of 1500 images: its writing was stopped"):
        ActivationStore.open(tmp_path / "s")
    before = {path.name: path.stat().st_mtime_ns for path in shards.shard_paths(tmp_path / "s")}
    main(["predict", *words])
    store = ActivationStore.open(tmp_path / "s")
    assert store.recorded.tolist() == list(range(1500))
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in shards.shard_paths(tmp_path / "s")}.items()


def test_a_store_of_other_weights_or_images_is_refused_and_kept(
    classifier: InterpretableClassifier, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    predict(classifier, creatures(), ActivationWriter(str(folder)))
    files = {path: path.read_bytes() for path in folder.iterdir()}
    other = InterpretableClassifier(num_classes=8, part_layers=2)
    with pytest.raises(StoreError, match="of another model;"):
        predict(other, creatures(), ActivationWriter(str(folder)))
    with pytest.raises(StoreError, match="of another images and data"):
        predict(classifier, creatures(size=22), ActivationWriter(str(folder)))
    with pytest.raises(StoreError, match="of another precision;"):
        predict(classifier, creatures(), ActivationWriter(str(folder)), precision="bf16-mixed")
    with pytest.raises(StoreError, match="of another maps;"):
        predict(classifier, creatures(), ActivationWriter(str(folder), maps=True))
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    ActivationStore.open(folder, model=weights_digest(classifier), data=creatures().test_dataset.fingerprint())
    with pytest.raises(StoreError, match="other weights"):
        ActivationStore.open(folder, model=weights_digest(other))
    with pytest.raises(StoreError, match="other data"):
        ActivationStore.open(folder, data="something else")


def test_the_digest_changes_with_any_weight_and_buffer_and_not_with_a_copy(
    classifier: InterpretableClassifier,
) -> None:
    digest = weights_digest(classifier)
    again = InterpretableClassifier(num_classes=8, part_layers=2)
    again.load_state_dict(classifier.state_dict())
    assert weights_digest(again) == digest
    again.net.trunk.features[1].running_mean[0] += 1e-6
    assert weights_digest(again) != digest


def test_damaged_files_are_told_in_a_sentence(classifier: InterpretableClassifier, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with pytest.raises(StoreError, match="is no activation store"):
        ActivationStore.open(folder)
    predict(classifier, creatures(), ActivationWriter(str(folder)))
    manifest = json.loads((folder / "manifest.json").read_text())
    for wrong in ("{", "[]", "{}", json.dumps({**manifest, "layers": 3}), json.dumps({**manifest, "colour": 1})):
        (folder / "manifest.json").write_text(wrong)
        with pytest.raises(StoreError, match="was expected to describe a store"):
            ActivationStore.open(folder)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        ActivationStore.open(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (shard,) = shards.shard_paths(folder)
    content = shard.read_bytes()
    shard.write_bytes(content[:1000])
    with pytest.raises(StoreError, match="cannot be read"):
        ActivationStore.open(folder)
    shard.unlink()
    with pytest.raises(StoreError, match="holds 0 of 21 images"):
        ActivationStore.open(folder)
    with pytest.raises(StoreError, match="holds no image yet"):
        _ = ActivationStore.open(folder, allow_incomplete=True).logits
    (folder / "manifest.json").unlink()
    shard.write_bytes(content)
    with pytest.raises(StoreError, match="shards without manifest"):
        predict(classifier, creatures(), ActivationWriter(str(folder)))


def test_arrays_are_read_by_number_slice_list_and_mask_in_any_order(
    classifier: InterpretableClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_IMAGES", 4)
    predict(classifier, creatures(), ActivationWriter(str(tmp_path / "s"), maps=True))
    store = ActivationStore.open(tmp_path / "s")
    assert len(shards.shard_paths(tmp_path / "s")) == 6
    maps = store.layer().maps
    whole = maps[:]
    assert maps.shape == tuple(whole.shape) == (21, 96, 8, 8)
    assert maps.dtype == torch.float16
    mask = torch.arange(21) % 3 == 0
    for key in (
        3,
        -1,
        slice(2, 15, 4),
        [20, 0, 0, 7],
        np.array([5, 4]),
        mask,
        slice(0, 0),
        [],
        torch.tensor([[3, 1], [2, 3]]),
        None,
    ):
        torch.testing.assert_close(maps[key], whole[key], rtol=0, atol=0)
    torch.testing.assert_close(torch.cat(list(maps.batches(8))), whole, rtol=0, atol=0)
    assert [store.array("label")[row].item() for row in range(21)] == store.labels.tolist()
    assert [len(part) for part in maps.batches(8)] == [8, 8, 5]
    assert np.array_equal(np.asarray(maps), whole.numpy())
    with pytest.raises(IndexError):
        _ = maps[21]


def test_a_shard_that_replaces_one_as_old_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "shard-000-000000.safetensors"
    for index in (3, 7):
        shards.save_file({"index": torch.tensor([index])}, tmp_path / "new")
        (tmp_path / "new").replace(path)
        os.utime(path, ns=(10**18, 10**18))
        assert shards.recorded_images(tmp_path).tolist() == [index]


class Pictures(Dataset[tuple[Tensor, int]]):
    classes = ("a", "b", "c")

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < 7:
            raise IndexError
        return torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(index)), index % 3

    def fingerprint(self) -> str:
        return "seven pictures"


def test_any_network_and_loader_of_tuples_are_recorded_and_left_as_they_were(tmp_path: Path) -> None:
    net = torchvision.models.resnet18(num_classes=3).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def head(maps: Tensor) -> Tensor:
        return net.fc(net.avgpool(maps).flatten(1))

    loader = DataLoader(Pictures(), batch_size=3)
    store = record_activations(
        net, loader, tmp_path / "s", ["layer3", "layer4"], maps=True, rationales=(2, 0), head=head
    )
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert store.classes == Pictures.classes
    assert store.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert [(layer.info.stride, layer.info.field_size) for layer in store.layers] == [(16, 211), (32, 435)]
    net.eval()
    images = torch.stack([picture for picture, _ in Pictures()])
    torch.testing.assert_close(store.logits[:], net(images).detach(), rtol=1e-4, atol=1e-5)
    # A pooled linear head: the gradient is the weight over the number of cells, and b is the bias.
    expected = net.fc.weight.detach()[[2, 0]] / 4
    torch.testing.assert_close(store.rationales[:], expected.expand(7, -1, -1), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(store.intercepts[:], net.fc.bias.detach()[[2, 0]].expand(7, -1), rtol=1e-4, atol=1e-4)
    again = record_activations(
        net, loader, tmp_path / "s", ["layer3", "layer4"], maps=True, rationales=(2, 0), head=head
    )
    same(store, again)


def test_a_selection_is_stored_in_its_own_order_and_once(classifier: InterpretableClassifier, tmp_path: Path) -> None:
    data = creatures(9).test_dataset
    loader = DataLoader(Subset(data, [7, 5, 7]), batch_size=2)
    for _ in range(2):
        store = record_activations(classifier, loader, tmp_path / "s", fingerprint="three of nine")
        assert store.recorded.tolist() == [0, 1, 2]
        assert store.labels.tolist() == [int(data[index]["label"]) for index in (7, 5, 7)]
        assert len(shards.shard_paths(tmp_path / "s")) == 1
    selection = Subset(data, [7, 5])
    selection.fingerprint = lambda: "two of nine"
    with pytest.raises(ConfigurationError, match="position among the 2 of the data set, got 7"):
        predict(classifier, DataLoader(selection, batch_size=2), ActivationWriter(str(tmp_path / "t")))


def test_each_layer_is_left_in_the_mode_it_was_in(tmp_path: Path) -> None:
    net = torchvision.models.resnet18(num_classes=3).train()
    net.bn1.eval()
    record_activations(net, DataLoader(Pictures(), batch_size=3), tmp_path / "s", ["layer3"])
    assert [name for name, layer in net.named_modules() if not layer.training] == ["bn1"]


def test_a_batch_of_another_size_is_refused(tmp_path: Path) -> None:
    class Growing(Pictures):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(3, 64 + 32 * (index > 4), 64), 0

    net = torchvision.models.resnet18(num_classes=3)
    with pytest.raises(ConfigurationError, match="of one size, 64×64 px as the first of them, got 96×64 px"):
        record_activations(net, DataLoader(Growing(), batch_size=1), tmp_path / "s", ["layer3"])


@pytest.mark.parametrize(("outputs", "wrong"), [(3, -1), (2, 2)], ids=["no label", "beyond the logits"])
def test_rationales_of_labels_without_a_logit_are_refused(tmp_path: Path, outputs: int, wrong: int) -> None:
    class Labelled(Pictures):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return super().__getitem__(index)[0], wrong if index == 4 else 1

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))
    loader = DataLoader(Labelled(), batch_size=3)
    with pytest.raises(ConfigurationError, match=f"labels from 0 to {outputs - 1}, got {wrong};"):
        record_activations(net, loader, tmp_path / "s", ["0"], rationales="label", head=net[1:])


def test_the_one_logit_of_a_binary_task_is_that_of_its_category(tmp_path: Path) -> None:
    class Binary(Pictures):
        classes = ("background", "horse")

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return super().__getitem__(index)[0], index % 2

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    loader = DataLoader(Binary(), batch_size=3)
    for number, chosen in enumerate(((1,), "label")):
        store = record_activations(net, loader, tmp_path / f"{number}", ["0"], rationales=chosen, head=net[1:])
        expected = (net[3].weight.detach() / 62**2).expand(7, 1, 4)
        torch.testing.assert_close(store.rationales[:], expected, rtol=1e-5, atol=1e-9)
    with pytest.raises(ConfigurationError, match=r"classes from 1 to 1, got \[0\]"):
        record_activations(net, loader, tmp_path / "s", ["0"], rationales=(0,), head=net[1:])


def test_rationales_make_the_logits_of_a_masked_network(classifier: InterpretableClassifier, tmp_path: Path) -> None:
    data = creatures()
    names = [data.classes[5], data.classes[1]]
    predict(classifier, data, ActivationWriter(str(tmp_path / "s"), rationales=names))
    store = ActivationStore.open(tmp_path / "s")
    assert store.manifest.rationales == (5, 1)
    assert not torch.is_inference_mode_enabled()
    head: Any = classifier.net.head
    assert any(isinstance(layer, nn.Linear) for layer in head.modules())
    # This head averages each map, so that g·x over cells is the product of the averages' sums.
    linear = (store.rationales[:] * store.masked_sums[:][:, None]).sum(-1) + store.intercepts[:]
    torch.testing.assert_close(linear, store.logits[:][:, [5, 1]], rtol=1e-4, atol=1e-5)
    maps = classifier.net.part_filters[-1].mask(
        classifier.net.forward_features(torch.stack([sample["image"] for sample in data.test_dataset]))[-1]
    )
    torch.testing.assert_close(store.masked_sums[:], maps.sum((-2, -1)).detach(), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_meant_is_refused_in_a_sentence(classifier: InterpretableClassifier, tmp_path: Path) -> None:
    resnet = torchvision.models.resnet18(num_classes=3)
    loader = DataLoader(Pictures(), batch_size=3)
    folder = tmp_path / "s"
    with pytest.raises(ConfigurationError, match="ResNet has no part layers"):
        record_activations(resnet, loader, folder)
    with pytest.raises(ConfigurationError, match="Rationales need the head"):
        record_activations(resnet, loader, folder, ["layer4"], rationales="label")
    with pytest.raises(ConfigurationError, match="draws another one"):
        record_activations(resnet, DataLoader(Pictures(), shuffle=True), folder, ["layer4"])
    with pytest.raises(ConfigurationError, match=r"no fingerprint\(\)"):
        record_activations(resnet, DataLoader(TensorDataset(torch.zeros(2, 3, 64, 64))), folder, ["layer4"])
    batches = BatchSampler(SequentialSampler(Pictures()), 3, drop_last=False)
    with pytest.raises(ConfigurationError, match="without a sampler of images or of batches"):
        record_activations(resnet, DataLoader(Pictures(), batch_sampler=batches), folder, ["layer4"])
    with pytest.raises(ConfigurationError, match="at least one image"):
        record_activations(resnet, DataLoader(Subset(Pictures(), [])), folder, ["layer4"], fingerprint="none")
    with pytest.raises(ModelError, match="must give maps"):
        record_activations(resnet, loader, folder, ["fc"])
    with pytest.raises(ModelError, match="closest are layer4"):
        record_activations(resnet, loader, folder, ["layer5"])
    with pytest.raises(ConfigurationError, match="from 0 to 2, got"):
        record_activations(
            resnet, loader, folder, ["layer4"], rationales=(3,), head=lambda z: resnet.fc(z.mean((2, 3)))
        )
    with pytest.raises(ConfigurationError, match="got 'unicorn'"):
        predict(classifier, creatures(), ActivationWriter(str(tmp_path / "t"), rationales=["unicorn"]))
    predict(classifier, creatures(), ActivationWriter(str(tmp_path / "u")))
    store = ActivationStore.open(tmp_path / "u")
    with pytest.raises(StoreError, match="without maps; write it again with `--maps`"):
        _ = store.layer().maps
    with pytest.raises(StoreError, match="without rationales"):
        _ = store.rationales
    with pytest.raises(StoreError, match=r"has the layers net.part_filters.0, net.part_filters.1, not top"):
        store.layer("top")


def test_values_beyond_half_precision_are_clamped_in_maps_and_kept_in_peaks(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        net[0].weight.fill_(1e6)
    store = record_activations(net, DataLoader(Pictures(), batch_size=3), tmp_path / "s", ["0"], maps=True)
    assert torch.isfinite(store.layer().maps[:]).all()
    assert store.layer().maps[:].max() == 65504
    assert (store.layer().peaks[:] > 65504).all()


def test_the_default_folder_is_that_of_the_checkpoints_run(tmp_path: Path) -> None:
    words = ["--data.options", "{size: 24}", "--data.image_size", "64", "--data.batch_size", "8"]
    words += [
        "--model.num_classes",
        "8",
        "--model.part_layers",
        "2",
        "--trainer.accelerator",
        "cpu",
        "--trainer.enable_progress_bar",
        "false",
    ]
    main(["fit", *words, "--trainer.max_epochs", "1"])
    main(["predict", *words, "--ckpt_path", "runs/version_0/checkpoints/best.ckpt"])
    store = ActivationStore.open("runs/version_0/activations/test")
    assert len(store) == 24
    assert [layer.info.name for layer in store.layers] == LAYERS
    assert os.listdir("runs/latest/activations") == ["test"]
