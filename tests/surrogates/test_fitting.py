import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from interpretable.activations import ActivationStore, record_activations
from interpretable.errors import SurrogateError
from interpretable.evaluation.part_removal import logits_without
from interpretable.models import InterpretableCNN
from interpretable.surrogates import DecisionModeTree, FilterTree, LinearSurrogate
from interpretable.surrogates.class_scores import StoredScores
from interpretable.surrogates.fidelity import fidelity_table
from interpretable.surrogates.fitting import FittedSurrogates, SurrogateFit, network_decisions, peaks_of
from interpretable.surrogates.level_measures import level_measures

PARTS = {"beak": [0, 3], "leg": [5]}


class Images(Dataset[Any]):
    """Images and labels that are given."""

    def __init__(self, images: Tensor, labels: Sequence[int]) -> None:
        self.images, self.given = images, list(labels)
        self.classes = tuple(("ant", "bee", "cat")[: max(2, 1 + max(self.given))])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < len(self):
            raise IndexError
        return self.images[index], self.given[index]

    def fingerprint(self) -> str:
        return f"{len(self)} {self.given}"


def network(outputs: int, images: Tensor) -> nn.Sequential:
    """Maps of six filters below a head whose gradients differ from image to image; decides for each class at times."""
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 16),
        nn.ReLU(),
        nn.Linear(16, outputs),
    )
    for place in (0, 3, 5):
        layer = net[0][0] if place == 0 else net[place]
        nn.init.normal_(layer.weight, std=1.0)
    with torch.no_grad():
        logits, last = net(images), net[5]
        last.weight /= logits.std(0)[:, None]
        last.bias -= logits.mean(0)
        last.bias /= logits.std(0)
    return net.eval()


def noise(images: int, seed: int) -> Tensor:
    """Images of different brightness in each channel, so that decisions differ."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(images, 3, 8, 8, generator=random) + 2 * torch.randn(images, 3, 1, 1, generator=random)


def decided_by(net: nn.Module, images: Tensor) -> list[int]:
    with torch.inference_mode():
        logits = net(images)
    return (logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()).tolist()


def recorded(
    net: nn.Sequential, images: Tensor, labels: Sequence[int], folder: Path, rationales: Any
) -> ActivationStore:
    loader = DataLoader(Images(images, labels), batch_size=16)
    return record_activations(net, loader, folder, ["0"], maps=True, rationales=rationales, head=net[1:])


class Planted:
    """A network that is right on all of its images, but for classes whose labels are exchanged."""

    def __init__(self, folder: Path, exchanged: tuple[int, int] | None = None, outputs: int = 3) -> None:
        torch.manual_seed(5)
        self.images = {"train": noise(60, 1), "test": noise(40, 2)}
        self.net = network(outputs, self.images["train"])
        self.labels, self.stores = {}, {}
        for split, images in self.images.items():
            labels = decided_by(self.net, images)
            if exchanged:
                labels = [{exchanged[0]: exchanged[1], exchanged[1]: exchanged[0]}.get(k, k) for k in labels]
            rationales = (1,) if outputs == 1 else tuple(range(outputs))
            self.labels[split] = np.array(labels)
            self.stores[split] = recorded(self.net, images, labels, folder / split, rationales)
        self.without = logits_without(
            self.net[1:], self.stores["test"].layer().maps, list(PARTS.values()), iter
        ).numpy()

    def fit(self, targets: Sequence[int], **options: Any) -> FittedSurrogates:
        fit = SurrogateFit(self.stores["train"], self.stores["test"], **options)
        return fit.run(targets, PARTS, self.without.astype(np.float64), lambda items, what: items)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def fitted(planted: Planted) -> FittedSurrogates:
    return planted.fit([2, 0, 1])


def margin(logits: np.ndarray, target: int) -> np.ndarray:
    return logits[..., target] - np.delete(logits, target, -1).max(-1)


def test_every_class_has_a_tree_of_its_own_images_in_the_order_asked_for(planted, fitted):
    assert list(fitted.classes) == ["cat", "ant", "bee"]
    assert fitted.skipped == {}
    assert min(np.bincount(planted.labels["train"])) > 5
    for name, explained in fitted.classes.items():
        target = ("ant", "bee", "cat").index(name)
        assert (explained.target, explained.tree.target) == (target, name)
        own = np.flatnonzero(planted.labels["train"] == target)
        assert explained.fitted_images.tolist() == own.tolist()
        assert (explained.tree.cells, explained.tree.tree_.sizes[0]) == (64, len(own))


def test_the_leaves_predict_the_networks_margins_and_the_mean_margin_is_the_temperature(planted, fitted):
    with torch.inference_mode():
        logits = planted.net(planted.images["train"]).double().numpy()
    for explained in fitted.classes.values():
        scores = margin(logits, explained.target)[explained.fitted_images]
        assert (scores > 0).all()
        own = explained.fitted
        predicted = explained.tree.predict(own.features, own.gradients, None, explained.tree.fitted_paths())
        np.testing.assert_allclose(predicted, scores, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(own.scores, scores, rtol=1e-4, atol=1e-4)


def test_a_class_is_tested_on_all_test_images_and_measured_against_removing_parts(planted, fitted):
    for explained in fitted.classes.values():
        assert len(explained.tested.scores) == 40
        expected = StoredScores(planted.stores["test"]).of(explained.target)
        for found, literal in zip(explained.tested, expected, strict=True):
            np.testing.assert_array_equal(found, literal)
        whole = margin(planted.without[:, 0], explained.target)
        removals = np.stack([whole - margin(planted.without[:, 1 + part], explained.target) for part in range(2)], 1)
        levels = level_measures(explained.tree, expected, PARTS, removals)
        assert [one.level for one in explained.levels] == [one.level for one in levels]
        for one, other in zip(explained.levels, levels, strict=True):
            assert one.part_errors == pytest.approx(other.part_errors, rel=1e-4)
            assert one.part_errors.keys() == PARTS.keys()
            assert one[1:6] == pytest.approx(other[1:6])


@pytest.mark.parametrize("images", [1, 2, 5])
def test_so_many_images_of_a_class_are_spread_evenly_over_them(planted, images):
    fit = planted.fit([0], images=images)
    own = np.flatnonzero(planted.labels["train"] == 0)
    chosen = fit.classes["ant"].fitted_images
    assert len(chosen) == images
    assert set(chosen) <= set(own)
    places = np.searchsorted(own, chosen)
    assert places.tolist() == [k * (len(own) - 1) // max(images - 1, 1) for k in range(images)]
    np.testing.assert_array_equal(
        fit.classes["ant"].fitted.features, planted.stores["train"].masked_sums[:].double().numpy()[chosen]
    )


def test_arguments_reach_the_trees(planted):
    tree = planted.fit([1], parameters={"gain": "per_image", "penalty": 3.0}).classes["bee"].tree
    assert (tree.gain, tree.penalty) == ("per_image", 3.0)


def test_the_logit_is_explained_where_it_is_asked_for(planted):
    kind = planted.fit([1], kind="logit", parameters={"temperature": 1.0}).classes["bee"]
    with torch.inference_mode():
        logits = planted.net(planted.images["train"]).double().numpy()
    np.testing.assert_allclose(kind.fitted.scores, logits[kind.fitted_images, 1], rtol=1e-4, atol=1e-4)


def test_the_surrogates_of_all_decisions_are_fitted_to_the_networks_decisions_on_peaks(planted, fitted):
    with torch.inference_mode():
        maps = planted.net[0](planted.images["train"])
    peaks = peaks_of(planted.stores["train"])
    np.testing.assert_allclose(peaks, maps.amax((2, 3)).numpy(), rtol=1e-5, atol=1e-6)
    decided = network_decisions(planted.stores["train"])
    assert decided.tolist() == decided_by(planted.net, planted.images["train"])
    for found, expected in (
        (fitted.filter_tree, FilterTree().fit(peaks, decided)),
        (fitted.linear, LinearSurrogate().fit(peaks, decided)),
    ):
        np.testing.assert_array_equal(found.predict(peaks), expected.predict(peaks))
    test = peaks_of(planted.stores["test"]), network_decisions(planted.stores["test"])
    assert fitted.fidelity == fidelity_table(peaks, decided, *test, planted.labels["test"])


def test_a_class_that_the_network_is_wrong_on_is_skipped_with_the_reason(tmp_path):
    planted = Planted(tmp_path, exchanged=(0, 1))
    found = planted.fit([0, 1, 2])
    assert list(found.classes) == ["cat"]
    assert list(found.skipped) == ["ant", "bee"]
    for name, reason in found.skipped.items():
        assert re.match(rf"The scores of {name}\b.* must be above 0 on average", reason)
    accuracy = float((network_decisions(planted.stores["test"]) == planted.labels["test"]).mean())
    assert accuracy < 0.9
    assert found.fidelity[0][:4] == ("network", None, None, 1.0)
    assert found.fidelity[0].accuracy == pytest.approx(accuracy)
    with pytest.raises(SurrogateError, match=r"The scores of ant\b.* must be above 0 on average"):
        planted.fit([0, 1])


def test_a_class_without_training_images_is_skipped(tmp_path):
    planted = Planted(tmp_path)
    store = planted.stores["train"]
    store.labels = torch.where(store.labels == 2, 1, store.labels)
    found = planted.fit([0, 2])
    assert list(found.classes) == ["ant"]
    assert list(found.skipped) == ["cat"]


def test_a_class_without_test_images_is_skipped(tmp_path):
    planted = Planted(tmp_path)
    store = planted.stores["test"]
    store.labels = torch.where(store.labels == 2, 1, store.labels)
    found = planted.fit([0, 2])
    assert list(found.classes) == ["ant"]
    assert list(found.skipped) == ["cat"]


def test_images_on_which_no_filter_has_a_say_are_left_out(tmp_path):
    planted = Planted(tmp_path)
    own = np.flatnonzero(planted.labels["train"] == 0)
    store = planted.stores["train"]

    class Silenced(ActivationStore):
        @property
        def rationales(self) -> Any:
            found = super().rationales[:]
            found[own[1]] = 0
            return found

    planted.stores["train"] = Silenced.open(store.folder)
    assert planted.fit([0]).classes["ant"].fitted_images.tolist() == [own[0], *own[2:]]


def test_a_single_output_decides_by_its_sign(tmp_path):
    planted = Planted(tmp_path, outputs=1)
    store = planted.stores["train"]
    assert network_decisions(store).tolist() == decided_by(planted.net, planted.images["train"])
    assert 0 < network_decisions(store).mean() < 1
    found = planted.fit([1])
    explained = found.classes["bee"]
    with torch.inference_mode():
        logits = planted.net(planted.images["train"])[:, 0].double().numpy()
    np.testing.assert_allclose(explained.fitted.scores, logits[explained.fitted_images], rtol=1e-4, atol=1e-4)
    removed = planted.without[:, 0, 0] - planted.without[:, 1, 0]
    own = planted.labels["test"] == 1
    contributed = explained.tree.contributions(explained.tested.features, explained.tested.gradients)[own]
    error = np.abs(contributed[:, PARTS["beak"]].sum(1) - removed[own]).mean() / explained.tested.scores[own].mean()
    assert explained.levels[-1].part_errors["beak"] == pytest.approx(error, rel=1e-4)


def test_channels_beyond_the_part_filters_have_no_peak_among_the_features(tmp_path):
    net = InterpretableCNN("small", 3, part_layers=1, part_share=0.25).eval()
    images = torch.randn(3, 3, 64, 64)
    loader = DataLoader(Images(images, [0, 1, 2]), batch_size=2)
    store = record_activations(net, loader, tmp_path / "s")
    with torch.inference_mode():
        maps = net.forward_features(images)[-1]
    assert maps.shape[1] == 96
    np.testing.assert_allclose(peaks_of(store), maps.amax((2, 3))[:, :24].numpy(), rtol=1e-4, atol=1e-5)


def test_classes_are_named_by_the_trees_and_read_back(planted, fitted, tmp_path):
    tree = fitted.classes["bee"].tree
    tree.save(tmp_path / "tree.json")
    own = fitted.classes["bee"].tested
    again = DecisionModeTree.load(tmp_path / "tree.json", "bee")
    np.testing.assert_array_equal(again.predict(own.features, own.gradients), tree.predict(own.features, own.gradients))
