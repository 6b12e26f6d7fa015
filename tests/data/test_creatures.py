import hashlib
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Image, KeyPoints, Mask

from interpretable.data import creatures, drawing, textures
from interpretable.data.anatomy import PARTS, SPECIES
from interpretable.data.creatures import VISIBLE_SHARE, Creatures, annotate
from interpretable.data.drawing import Drawing
from interpretable.data.outlines import TEMPLATE_INDEX, outlines
from interpretable.data.samples import Sample
from interpretable.data.scene import SURFACES
from interpretable.errors import DataError

CHANCE = 1 / 8


class Drawn(NamedTuple):
    """A split in memory."""

    images: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray


def _drawn(split: str, size: int) -> Drawn:
    samples = list(Creatures(split, size))
    return Drawn(
        *(np.stack([np.asarray(s[key]) for s in samples]) for key in ("image", "label", "landmarks", "boxes", "masks"))
    )


@pytest.fixture(scope="module")
def train() -> Drawn:
    return _drawn("train", 2400)


@pytest.fixture(scope="module")
def held_out() -> Drawn:
    return _drawn("test", 1200)


def _digest(sample: Sample) -> str:
    digest = hashlib.sha256()
    for key in ("image", "label", "landmarks", "boxes", "masks"):
        digest.update(sample[key].numpy().tobytes())
    return digest.hexdigest()


def _accuracy(features: tuple[np.ndarray, np.ndarray], train: Drawn, held_out: Drawn) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, tol=1e-3))
    return float(classifier.fit(features[0], train.labels).score(features[1], held_out.labels))


def _joint_histogram(drawn: Drawn) -> np.ndarray:
    levels = (drawn.images >> 5).astype(np.int64).reshape(len(drawn.images), 3, -1)
    bins = levels[:, 0] * 64 + levels[:, 1] * 8 + levels[:, 2] + 512 * np.arange(len(levels))[:, None]
    return np.bincount(bins.ravel(), minlength=512 * len(levels)).reshape(-1, 512) / levels.shape[2]


def _channel_histograms(drawn: Drawn) -> np.ndarray:
    levels = (drawn.images >> 4).astype(np.int64).reshape(len(drawn.images) * 3, -1)
    bins = levels + 16 * np.arange(len(levels))[:, None]
    return np.bincount(bins.ravel(), minlength=16 * len(levels)).reshape(-1, 48) / levels.shape[1]


def _place_and_size(drawn: Drawn) -> np.ndarray:
    """Box around the whole animal as cx, cy, w, h, and the share of the image that it covers."""
    animal = drawn.masks.any(1)
    columns, rows = animal.any(1), animal.any(2)
    left, top = columns.argmax(1), rows.argmax(1)
    right, bottom = 64 - columns[:, ::-1].argmax(1), 64 - rows[:, ::-1].argmax(1)
    return np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, animal.mean((1, 2))], axis=1)


@pytest.mark.parametrize("histogram", [_joint_histogram, _channel_histograms])
def test_colours_do_not_tell_the_species(histogram, train: Drawn, held_out: Drawn) -> None:
    accuracy = _accuracy((histogram(train), histogram(held_out)), train, held_out)
    print(f"logistic regression on {histogram.__name__.strip('_')}: {accuracy:.1%} (chance {CHANCE:.1%})")
    assert accuracy <= CHANCE + 0.1


def test_place_and_size_do_not_tell_the_species(train: Drawn, held_out: Drawn) -> None:
    features = _place_and_size(train), _place_and_size(held_out)
    plain = _accuracy(features, train, held_out)
    squared = _accuracy(
        (np.hstack([features[0], features[0] ** 2]), np.hstack([features[1], features[1] ** 2])), train, held_out
    )
    print(f"logistic regression on place and size: {plain:.1%}, with squares {squared:.1%} (chance {CHANCE:.1%})")
    assert max(plain, squared) <= CHANCE + 0.1


def test_the_arrangement_of_the_parts_does_tell_the_species(train: Drawn, held_out: Drawn) -> None:
    # The control of the tests above: the same classifier on as few images, shown which parts there are and how large.
    def parts(drawn: Drawn) -> np.ndarray:
        return np.nan_to_num(drawn.boxes[:, :, 2:]).reshape(-1, 2 * len(PARTS))

    accuracy = _accuracy((parts(train), parts(held_out)), train, held_out)
    print(f"logistic regression on the sizes of the parts: {accuracy:.1%} (chance {CHANCE:.1%})")
    assert accuracy >= 0.6


@pytest.mark.parametrize("part", range(len(PARTS)), ids=PARTS)
def test_a_fixed_position_predicts_a_landmark_badly(part: int, held_out: Drawn) -> None:
    shown = ~np.isnan(held_out.landmarks[:, part, 0])
    landmarks, boxes = held_out.landmarks[shown, part], held_out.boxes[shown, part]
    diagonal = 64 * 2**0.5
    spread = float((np.linalg.norm(landmarks - 32, axis=1) / diagonal).std(ddof=1))
    grid = np.stack(np.meshgrid(np.arange(1, 64, 2), np.arange(1, 64, 2)), axis=-1).reshape(-1, 1, 2)
    nearest = float(np.linalg.norm(landmarks - grid, axis=2).mean(1).min() / diagonal)
    inside = (np.abs(grid - boxes[:, :2]) <= boxes[:, 2:] / 2).all(2).mean(1).max()
    print(
        f"{PARTS[part]}: shown in {shown.mean():.0%}; best fixed position is {nearest:.1%} of the diagonal away and in "
        f"the part's box {inside:.0%} of the time; location instability of the centre {spread:.3f}"
    )
    assert spread >= 0.045
    assert nearest >= 0.1
    # Boxes of torso and legs are a third of the image wide: a fixed place is often inside yet far from the landmark.
    assert inside <= (0.6 if PARTS[part] in ("torso", "legs") else 0.25)


def test_an_image_does_not_depend_on_what_was_drawn_before_nor_on_the_process() -> None:
    order = [5, 0, 11, 5]
    first = [_digest(Creatures("validation", 12, 64, 3)[index]) for index in order]
    data = Creatures("validation", 40, 64, 3)
    assert [_digest(data[index]) for index in reversed(order)] == first[::-1]
    code = (
        "import hashlib; from interpretable.data.creatures import Creatures\n"
        "s = Creatures('validation', 12, 64, 3)[5]; h = hashlib.sha256()\n"
        "[h.update(s[k].numpy().tobytes()) for k in ('image', 'label', 'landmarks', 'boxes', 'masks')]\n"
        "print(h.hexdigest())"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == first[0]


def test_splits_and_seeds_draw_different_images() -> None:
    digests = {
        _digest(Creatures(split, 8, 32, seed)[index])
        for split in creatures.SPLITS
        for seed in (0, 1)
        for index in range(4)
    }
    assert len(digests) == 3 * 2 * 4


def test_a_larger_set_begins_with_the_smaller_one() -> None:
    small, large = Creatures(size=11), Creatures(size=64)
    assert torch.equal(small.labels, large.labels[:11])
    assert _digest(small[10]) == _digest(large[10])


def test_labels_are_balanced_shuffled_and_known_without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creatures, "paint", None)
    labels = Creatures(size=8 * 50).labels
    assert labels.dtype == torch.int64
    assert torch.bincount(labels).tolist() == [50] * 8
    assert [torch.equal(chunk.sort().values, torch.arange(8)) for chunk in labels.split(8)] == [True] * 50
    # At any place in the eight, each species is expected 50 / 8 times; a fixed order would have one of them 50 times.
    assert max(torch.bincount(labels[place::8]).max() for place in range(8)) < 20
    assert not torch.equal(labels, Creatures(size=8 * 50, seed=1).labels)


def test_a_sample_carries_the_types_that_transforms_move_together() -> None:
    data = Creatures("test", 9, 48)
    sample = data[7]
    assert [type(sample[key]) for key in ("image", "landmarks", "boxes", "masks")] == [
        Image,
        KeyPoints,
        BoundingBoxes,
        Mask,
    ]
    assert sample["image"].shape == (3, 48, 48)
    assert sample["image"].dtype == torch.uint8
    assert sample["landmarks"].canvas_size == sample["boxes"].canvas_size == (48, 48)
    assert sample["boxes"].format is BoundingBoxFormat.CXCYWH
    assert sample["label"] == data.labels[7]
    assert sample["index"] == 7
    assert torch.equal(data.groups, torch.arange(9))


def test_iteration_ends_after_the_last_image() -> None:
    assert [sample["index"] for sample in Creatures(size=3, image_size=16)] == [0, 1, 2]
    with pytest.raises(IndexError, match="0 to 2, not -1"):
        Creatures(size=3)[-1]


def _oracle(mask: Tensor) -> tuple[list[float], list[float]]:
    """Centroid and tight box (cxcywh) of a mask, pixel by pixel."""
    pixels = [(x, y) for y, row in enumerate(mask.tolist()) for x, on in enumerate(row) if on]
    xs, ys = zip(*pixels, strict=True)
    box = [(min(xs) + max(xs) + 1) / 2, (min(ys) + max(ys) + 1) / 2, max(xs) + 1 - min(xs), max(ys) + 1 - min(ys)]
    return [sum(xs) / len(xs) + 0.5, sum(ys) / len(ys) + 0.5], box


def test_landmarks_and_boxes_are_the_centroids_and_bounds_of_the_masks() -> None:
    compared = 0
    for sample in Creatures("test", 32):
        for landmark, box, mask in zip(sample["landmarks"], sample["boxes"], sample["masks"], strict=True):
            if not mask.any():
                assert landmark.isnan().all()
                assert box.isnan().all()
                continue
            centroid, bounds = _oracle(mask)
            assert box.tolist() == bounds
            if not landmark.isnan().any():
                assert landmark.tolist() == pytest.approx(centroid, abs=1e-4)
                compared += 1
    assert compared > 32 * 4


def test_masks_are_disjoint_and_landmarks_lie_in_their_boxes(held_out: Drawn) -> None:
    assert held_out.masks.sum(1).max() == 1
    shown = ~np.isnan(held_out.landmarks[..., 0])
    landmarks, boxes = held_out.landmarks[shown], held_out.boxes[shown]
    assert (np.abs(landmarks - boxes[:, :2]) <= boxes[:, 2:] / 2).all()


def test_a_part_hidden_for_the_most_part_keeps_its_box_but_loses_its_landmark() -> None:
    whole = np.zeros((16, 16), np.uint8)
    whole[2:4, 3:8] = 1  # head, 10 pixels
    whole[8, 0:10] = 4  # torso, 10 pixels
    visible = whole.copy()
    visible[:, 7:] = 0  # leaves 8 of the head and 7 of the torso
    visible[8, 3:7] = 0  # leaves 3 of the torso
    assert 0.3 < VISIBLE_SHARE <= 0.8
    nothing = np.zeros((3, 16, 16), np.uint8), np.zeros((16, 16), np.uint8), np.zeros((SURFACES, 2, 3))
    landmarks, boxes, masks = annotate(Drawing(nothing[0], visible, whole, *nothing[1:], (0, 0)))
    assert landmarks[0].tolist() == [5, 3]
    assert boxes[0].tolist() == [5, 3, 4, 2]
    assert np.isnan(landmarks[3]).all()
    assert boxes[3].tolist() == [1.5, 8.5, 3, 1]
    assert masks.sum((1, 2)).tolist() == [8, 0, 0, 3, 0, 0]
    assert np.isnan(landmarks[[1, 2, 4, 5]]).all()
    assert np.isnan(boxes[[1, 2, 4, 5]]).all()


def test_a_species_without_a_part_never_shows_it(held_out: Drawn) -> None:
    for label, species in enumerate(SPECIES.values()):
        images = held_out.labels == label
        for part, kind in (("ear", species.ear), ("horn", species.horn)):
            shown = held_out.masks[images, PARTS.index(part)].any((1, 2)).mean()
            assert (shown > 0.9) if kind else (shown == 0)


def test_half_of_the_animals_face_each_way(held_out: Drawn) -> None:
    head, torso = held_out.landmarks[:, PARTS.index("head"), 0], held_out.landmarks[:, PARTS.index("torso"), 0]
    share = float((head > torso).mean())
    print(f"facing right: {share:.1%}")
    assert share == pytest.approx(0.5, abs=4 * (0.25 / len(head)) ** 0.5)


def test_clutter_in_front_hides_parts_and_adds_none() -> None:
    data = Creatures("test", 200)
    before, after = (
        np.stack(parts)
        for parts in zip(*((d.part_unoccluded, d.part) for d in map(data.draw, range(200))), strict=True)
    )
    changed = before != after
    # A pixel at the rim of a part may go to its neighbour when clutter covers a corner of it.
    assert (after[changed] != 0).mean() < 0.03
    hidden = (changed & (before > 0)).sum((1, 2)) / (before > 0).sum((1, 2))
    print(f"clutter hides something in {(hidden > 0).mean():.0%} of the images, up to {hidden.max():.0%} of the animal")
    assert 0.2 < (hidden > 0).mean() < 0.9
    assert 0.1 < hidden.max() < 0.9


@pytest.mark.parametrize("image_size", [32, 128])
def test_another_image_size_draws_the_same_scene_larger_or_smaller(image_size: int) -> None:
    scale = image_size / 64
    for index in range(16):
        here, there = Creatures("train", 16, 64)[index], Creatures("train", 16, image_size)[index]
        shown = ~(here["landmarks"] + there["landmarks"]).isnan().any(1)
        assert shown.sum() >= 3
        # A pixel at the rim may fall either way, which moves a centroid by a fraction of a pixel.
        assert (here["landmarks"][shown] - there["landmarks"][shown] / scale).abs().max() < 1.5
        small, large = sorted((here, there), key=lambda sample: len(sample["masks"][0]))
        pooled = torch.nn.functional.avg_pool2d(large["masks"].any(0).float()[None], 2)[0] >= 0.5
        animal = small["masks"].any(0)
        assert (pooled & animal).sum() / (pooled | animal).sum() > 0.8
        pixels = torch.nn.functional.avg_pool2d(large["image"].float(), 2)
        assert (pixels - small["image"].float()).abs().median() < 12  # camera noise is drawn pixel by pixel


def test_the_fingerprint_changes_with_every_argument_and_with_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Creatures().fingerprint()
    assert Creatures().fingerprint() == base
    others = [Creatures("test"), Creatures(size=1999), Creatures(image_size=32), Creatures(seed=1)]
    digests = [data.fingerprint() for data in others]
    monkeypatch.setattr(drawing, "EDGE_BRIGHTNESS", 0.9)
    assert len({base, *digests, Creatures().fingerprint()}) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "splits train, validation, test, not 'val'"),
        ({"size": 0}, "at least 1 image, found 0"),
        ({"image_size": 15}, "at least 16 pixels a side, found image_size 15"),
        ({"seed": -1}, "seed of 0 or more, found -1"),
    ],
)
def test_an_impossible_argument_is_refused_in_one_sentence(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Creatures(**arguments)
    assert str(caught.value).count(".") == 1
    assert str(caught.value).endswith(".")


def test_a_stroke_bends_along_a_circular_arc() -> None:
    # An ellipse 2 long and 1 wide: straight, and turned through a quarter circle from heading right to heading down.
    ellipse = TEMPLATE_INDEX["ellipse"]
    straight, bent = outlines(np.array([[ellipse, 0, 1, 3, 0, 0, 2, 1], [ellipse, 0, 1, 3, 0, np.pi / 2, 2, 1]], float))
    assert straight.min(0) == pytest.approx([1, 2.5], abs=0.02)
    assert straight.max(0) == pytest.approx([3, 3.5], abs=0.02)
    assert bent[0] == pytest.approx([1, 3])
    radius = 2 / (np.pi / 2)
    assert bent[len(bent) // 2] == pytest.approx([1 + radius, 3 + radius])
    middle = (bent[6] + bent[-7]) / 2  # a pair of opposite vertices: their midpoint is on the arc
    assert np.linalg.norm(middle - [1, 3 + radius]) == pytest.approx(radius)
    assert np.linalg.norm(bent[6] - bent[-7]) == pytest.approx(np.linalg.norm(straight[6] - straight[-7]))


def test_a_pixel_belongs_to_the_surface_that_covers_most_of_it() -> None:
    fine = np.random.default_rng(0).integers(4, size=(40, 40)).astype(np.uint8)
    coarse = drawing._majority(fine)
    for (row, column), value in np.ndenumerate(coarse):
        votes = Counter(fine[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel().tolist())
        assert votes[int(value)] == max(votes.values())


def test_patterns_cover_half_as_stripes_and_less_as_spots() -> None:
    patterns = textures.textures(64).patterns
    plain, stripes, spots = patterns.reshape(3, -1, *patterns.shape[1:]).mean((1, 2, 3))
    assert plain == 0
    assert stripes == pytest.approx(0.5, abs=0.05)
    assert 0.1 < spots < 0.4
