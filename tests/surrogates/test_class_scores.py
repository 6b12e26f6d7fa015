from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from interpretable.activations import ActivationStore, record_activations
from interpretable.errors import SurrogateError
from interpretable.surrogates.class_scores import StoredScores, class_score


class Pictures(Dataset[tuple[Tensor, Any]]):
    """Random images with a label each, or with several."""

    def __init__(
        self, classes: tuple[str, ...] = ("ant", "bee", "cat"), images: int = 12, several: bool = False
    ) -> None:
        self.classes, self.several, self.images = classes, several, images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        if not 0 <= index < self.images:
            raise IndexError
        random = torch.Generator().manual_seed(index)
        colour = 2 * torch.randn(3, 1, 1, generator=random)
        image = colour + 0.3 * torch.randn(3, 8, 8, generator=random)
        label = index % len(self.classes)
        return image, torch.eye(len(self.classes))[label] if self.several else label

    def fingerprint(self) -> str:
        return "drawn"


def network(outputs: int) -> nn.Sequential:
    """Maps of six filters below a head whose gradient differs from image to image and is the same at all cells."""
    torch.manual_seed(1)  # of three outputs each is the largest, and the second largest, on some of the pictures
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 16),
        nn.ReLU(),
        nn.Linear(16, outputs),
    )
    nn.init.normal_(net[3].weight)
    nn.init.normal_(net[5].weight)
    return net.eval()


def store_of(folder: Path, net: nn.Sequential, data: Pictures, rationales: Any) -> ActivationStore:
    loader = DataLoader(data, batch_size=5)
    return record_activations(net, loader, folder, ["0"], maps=True, rationales=rationales, head=net[1:])


def literal(net: nn.Sequential, image: Tensor, score: Any) -> tuple[np.ndarray, float, np.ndarray]:
    """Sums of the maps, the score and its mean gradient, in float64 and for one image."""
    double = nn.Sequential(*net).double()
    maps = double[0](image[None].double()).detach().requires_grad_()
    y = score(double[1:](maps)[0])
    (gradient,) = torch.autograd.grad(y, maps)
    return maps.detach().sum((2, 3))[0].numpy(), float(y.detach()), gradient.mean((2, 3))[0].numpy()


def margin(target: int) -> Any:
    return lambda logits: logits[target] - torch.cat([logits[:target], logits[target + 1 :]]).max()


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_margin_is_the_difference_of_logits_and_so_are_its_gradients(
    tmp_path: Path, target: int, order: tuple[int, ...]
) -> None:
    net, data = network(3), Pictures()
    store = store_of(tmp_path / "s", net, data, order)
    found = StoredScores(store).of(target)
    rivals: set[int] = set()
    for row in range(12):
        sums, score, gradient = literal(net, data[row][0], margin(target))
        np.testing.assert_allclose(found.features[row], sums, rtol=1e-5)
        assert found.scores[row] == pytest.approx(score, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(found.gradients[row], gradient, rtol=1e-4, atol=1e-6)
        assert found.intercepts[row] == pytest.approx(score - gradient @ sums, rel=1e-4, abs=1e-5)
        logits = store.logits[:][row].tolist()
        rivals.add(max((k for k in range(3) if k != target), key=lambda k: logits[k]))
        assert found.rivals[row] in rivals
    assert len(rivals) == 2  # both are the strongest rival somewhere
    assert found.of_class.tolist() == [row % 3 == target for row in range(12)]
    decided = store.logits[:].argmax(1).numpy() == target
    assert ((found.scores > found.thresholds) == decided).all()


def test_the_logit_has_its_own_gradient_and_decides_above_the_largest_other_one(tmp_path: Path) -> None:
    net, data = network(3), Pictures()
    store = store_of(tmp_path / "s", net, data, (1,))
    found = StoredScores(store, "logit").of(1)
    for row in range(12):
        sums, score, gradient = literal(net, data[row][0], lambda logits: logits[1])
        assert found.scores[row] == pytest.approx(score, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(found.gradients[row], gradient, rtol=1e-4, atol=1e-6)
        assert found.intercepts[row] == pytest.approx(score - gradient @ sums, rel=1e-4, abs=1e-5)
    decided = store.logits[:].argmax(1).numpy() == 1
    assert ((found.scores > found.thresholds) == decided).all()


@pytest.mark.parametrize("kind", ["margin", "logit"])
@pytest.mark.parametrize("target", [0, 1])
def test_the_classes_of_a_single_output_have_its_logit_and_its_negative(tmp_path: Path, kind: Any, target: int) -> None:
    net, data = network(1), Pictures(("other", "cat"))
    store = store_of(tmp_path / "s", net, data, (1,))
    found, sign = StoredScores(store, kind).of(target), 1 if target else -1
    for row in range(12):
        sums, score, gradient = literal(net, data[row][0], lambda logits: sign * logits[0])
        assert found.scores[row] == pytest.approx(score, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(found.gradients[row], gradient, rtol=1e-4, atol=1e-6)
        assert found.intercepts[row] == pytest.approx(score - gradient @ sums, rel=1e-4, abs=1e-5)
    assert not found.thresholds.any()
    assert found.of_class.tolist() == [row % 2 == target for row in range(12)]


def test_a_class_score_of_any_shape_is_that_of_each_row() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 5, 3))
    for target in range(3):
        rivals = np.delete(logits, target, -1).max(-1)
        np.testing.assert_array_equal(class_score(logits, target, "logit"), logits[..., target])
        np.testing.assert_array_equal(class_score(logits, target, "margin"), logits[..., target] - rivals)
        np.testing.assert_array_equal(class_score(logits[0], target, "margin"), (logits[..., target] - rivals)[0])
    one = logits[..., :1]
    np.testing.assert_array_equal(class_score(one, 1, "margin"), logits[..., 0])
    np.testing.assert_array_equal(class_score(one, 0, "logit"), -logits[..., 0])


def test_margins_above_a_linear_head_differ_in_their_rationale_by_the_rival_alone(tmp_path: Path) -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), *head).eval()
    nn.init.normal_(net[3].weight)
    store = store_of(tmp_path / "s", net, Pictures(images=40), (0, 1, 2))
    found = StoredScores(store).of(0)
    assert len(np.unique(found.gradients.round(6), axis=0)) == 2
    linear = (found.gradients * found.features).sum(1) + found.intercepts
    np.testing.assert_allclose(linear, found.scores, atol=1e-5)


@pytest.mark.parametrize("rationales", [None, "label"])
def test_stores_without_rationales_of_all_classes_are_refused(tmp_path: Path, rationales: Any) -> None:
    store = store_of(tmp_path / "s", network(3), Pictures(), rationales)
    for kind in ("margin", "logit"):
        with pytest.raises(SurrogateError, match="has no rationales of bee; write it again with `--rationales`"):
            StoredScores(store, kind).of(1)


def test_a_margin_needs_the_rationales_of_its_rivals(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", network(3), Pictures(), (0, 1))
    StoredScores(store, "logit").of(1)
    with pytest.raises(SurrogateError, match="has no rationales of cat;"):
        StoredScores(store).of(1)


def test_images_of_several_labels_are_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", network(3), Pictures(several=True), (0, 1, 2))
    with pytest.raises(SurrogateError, match="need one label per image, got 3"):
        StoredScores(store).of(0)


@pytest.mark.parametrize("target", [3, -1])
def test_a_class_that_the_network_does_not_have_is_refused(tmp_path: Path, target: int) -> None:
    store = store_of(tmp_path / "s", network(3), Pictures(), (0, 1, 2))
    with pytest.raises(SurrogateError):
        StoredScores(store).of(target)
