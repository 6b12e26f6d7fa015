import numpy as np
import pytest
import torch
from drawn import blob
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from interpretable.data.images import make_sample
from interpretable.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    RandomMirror,
    TrainingTransform,
    augment,
    drop_points_outside,
    mirror,
    mirror_pairs,
    standardise,
)
from interpretable.errors import ConfigurationError

NAN = float("nan")
HEIGHT, WIDTH = 60, 80


def sample_of(points, boxes=None, image=None, masks=None):
    points = np.array(points, dtype=np.float32).reshape(-1, 2)
    boxes = np.full((len(points), 4), np.nan) if boxes is None else np.array(boxes)
    image = blob(HEIGHT, WIDTH, *points[0]) if image is None else image
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    return make_sample(pixels, torch.tensor(1), 7, points, boxes.astype(np.float32), masks)


def spot(image):
    """Centre of mass (x, y) of an image, pixel i covering [i, i + 1)."""
    weight = image.double().mean(dim=0)
    rows, columns = (torch.arange(side) + 0.5 for side in weight.shape)
    return torch.stack([(weight.sum(0) * columns).sum(), (weight.sum(1) * rows).sum()]) / weight.sum()


MOVES = {
    "Resize": v2.Resize((45, 100), antialias=True),
    "RandomResizedCrop": v2.RandomResizedCrop(64, scale=(0.5, 1), antialias=True),
    "RandomAffine": v2.RandomAffine(25, (0.1, 0.1), (0.8, 1.2), 8, interpolation=v2.InterpolationMode.BILINEAR),
    "RandomRotation": v2.RandomRotation(40, interpolation=v2.InterpolationMode.BILINEAR),
    "RandomRotation expand": v2.RandomRotation(40, expand=True, interpolation=v2.InterpolationMode.BILINEAR),
    "RandomCrop": v2.RandomCrop((50, 60), padding=4),
    "CenterCrop": v2.CenterCrop(44),
    "Pad": v2.Pad(5),
    "RandomZoomOut": v2.RandomZoomOut(p=1),
    "RandomPerspective": v2.RandomPerspective(0.3, p=1),
    "ScaleJitter": v2.ScaleJitter((60, 80), antialias=True),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_landmark_and_its_box_stay_on_the_spot_they_mark_and_nan_stays_nan(name):
    # The canvas that an expanding rotation makes is rounded to whole pixels.
    tolerance = 1.2 if "expand" in name else 0.7
    checked = 0
    for seed in range(12):
        torch.manual_seed(seed)
        x, y = (torch.rand(2) * torch.tensor([40.0, 30]) + torch.tensor([20.0, 15])).tolist()
        moved = augment(sample_of([(x, y), (NAN, NAN)], [(x, y, 8, 8), (NAN,) * 4]), [MOVES[name]])
        size = torch.tensor(moved["image"].shape[:0:-1])
        points, boxes = torch.Tensor(moved["landmarks"]), torch.Tensor(moved["boxes"])
        assert points[1].isnan().all()
        assert boxes[1].isnan().all()
        if ((points[0] > 10) & (points[0] < size - 10)).all():
            checked += 1
            torch.testing.assert_close(points[0].double(), spot(moved["image"]), atol=tolerance, rtol=0)
            torch.testing.assert_close(boxes[0, :2].double(), spot(moved["image"]), atol=tolerance, rtol=0)
    assert checked >= 4


@pytest.mark.parametrize("transform", [v2.ElasticTransform(), v2.RandomIoUCrop()])
def test_transforms_that_do_not_know_nan_leave_what_is_not_annotated_alone(transform):
    masks = np.zeros((2, HEIGHT, WIDTH), dtype=bool)
    moved = augment(sample_of([(40, 30), (NAN, NAN)], [(40, 30, 8, 8), (NAN,) * 4], masks=masks), [transform])
    assert moved["landmarks"].isnan().tolist() == [[False, False], [True, True]]
    assert moved["boxes"][1].isnan().all()
    assert moved["masks"].dtype == torch.bool


def test_the_mirror_moves_image_points_boxes_and_masks_alike():
    masks = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    masks[0, 20:24, 10:15] = True
    sample = sample_of([(12.5, 22)], [(12.5, 22, 5, 4)], masks=masks)
    moved = mirror(sample, [0])
    assert moved["landmarks"].tolist() == [[WIDTH - 12.5, 22]]
    assert moved["boxes"].tolist() == [[WIDTH - 12.5, 22, 5, 4]]
    torch.testing.assert_close(spot(moved["image"]), torch.tensor([WIDTH - 12.5, 22.0]).double(), atol=0.02, rtol=0)
    columns = moved["masks"][0].any(dim=0).nonzero().flatten()
    assert columns.tolist() == list(range(WIDTH - 15, WIDTH - 10))


def test_mirroring_twice_is_the_identity():
    boxes = [(12.5, 22, 5, 4), (NAN,) * 4, (70, 50, 3, 3)]
    sample = sample_of([(12.5, 22), (NAN, NAN), (70, 50)], boxes)
    twice = mirror(mirror(sample, [2, 1, 0]), [2, 1, 0])
    for name in ("image", "landmarks", "boxes"):
        torch.testing.assert_close(torch.Tensor(twice[name]), torch.Tensor(sample[name]), equal_nan=True)


def test_a_point_on_the_left_border_stays_in_the_mirrored_image():
    moved = standardise(mirror(sample_of([(0, 5)]), [0]), (48, 48))
    assert moved["landmarks"][0, 0] == pytest.approx(48, abs=1e-3)
    assert moved["landmarks"][0, 0] < 48
    outside = mirror(sample_of([(-3, 5)], image=blob(HEIGHT, WIDTH, 5, 5)), [0])
    assert outside["landmarks"][0, 0] == WIDTH + 3


def test_the_mirror_swaps_parts_named_left_and_right():
    parts = ("left eye", "beak", "right eye", "leg_left")
    assert mirror_pairs(parts) == [2, 1, 0, 3]
    masks = np.zeros((4, HEIGHT, WIDTH), dtype=bool)
    masks[0, 0, 0] = True
    points = [(10, 5), (20, 6), (NAN, NAN), (30, 7)]
    moved = mirror(sample_of(points, [(*point, 2, 2) for point in points], masks=masks), mirror_pairs(parts))
    expected = torch.tensor([[NAN, NAN], [60, 6], [70, 5], [50, 7]])
    torch.testing.assert_close(torch.Tensor(moved["landmarks"]), expected, equal_nan=True)
    torch.testing.assert_close(torch.Tensor(moved["boxes"])[:, :2], expected, equal_nan=True)
    assert moved["masks"].nonzero().tolist() == [[2, 0, WIDTH - 1]]


@pytest.mark.parametrize(
    ("parts", "swap"),
    [
        (("left_eye", "right_eye"), [1, 0]),
        (("eye_left", "eye_right"), [1, 0]),
        (("leftEye", "rightEye"), [1, 0]),
        (("eyeLeft", "eyeRight", "Left"), [1, 0, 2]),
        (("LEFT-EYE", "RIGHT-EYE"), [1, 0]),
        (("left", "right"), [1, 0]),
        (("upright", "upleft"), [0, 1]),
        (("cleft", "cright", "leftover", "rightover"), [0, 1, 2, 3]),
        ((), []),
    ],
)
def test_left_and_right_are_words_of_a_part_name(parts, swap):
    assert mirror_pairs(parts) == swap


def test_the_mirror_is_drawn_with_its_probability():
    sample = sample_of([(20, 30)])
    flips = [RandomMirror(0.3, [0])(sample) is not sample for _ in range(600)]
    assert 0.22 < sum(flips) / 600 < 0.38
    assert not any(RandomMirror(0, [0])(sample) is not sample for _ in range(20))
    assert all(RandomMirror(1, [0])(sample) is not sample for _ in range(20))


def test_points_outside_are_dropped_with_their_boxes_and_other_boxes_are_clamped():
    points = [(0, 0), (79.9, 59.9), (80, 30), (40, 60), (-0.1, 5), (5, 5), (NAN, NAN)]
    boxes = [(0, 0, 8, 8), (70, 50, 30, 30), (79, 30, 8, 8), (40, 59, 8, 8), (1, 5, 8, 8), (90, 5, 4, 4), (NAN,) * 4]
    kept = drop_points_outside(sample_of(points, boxes, image=blob(HEIGHT, WIDTH, 40, 30)))
    assert kept["landmarks"].isnan().all(dim=1).tolist() == [False, False, True, True, True, False, True]
    expected = torch.full((7, 4), NAN)
    expected[0] = torch.tensor([2.0, 2, 4, 4])
    expected[1] = torch.tensor([67.5, 47.5, 25, 25])
    torch.testing.assert_close(torch.Tensor(kept["boxes"]), expected, equal_nan=True)


def test_standardise_scales_points_boxes_and_masks_and_normalises_by_imagenet():
    masks = np.ones((1, HEIGHT, WIDTH), dtype=bool)
    image = np.full((HEIGHT, WIDTH, 3), 51, dtype=np.uint8)
    ready = standardise(sample_of([(20, 30)], [(20, 30, 8, 6)], image=image, masks=masks), (30, 20))
    assert ready["image"].shape == (3, 30, 20)
    expected = (0.2 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(torch.Tensor(ready["image"]).mean(dim=(1, 2)), expected)
    assert ready["landmarks"].tolist() == [[5, 15]]
    assert ready["boxes"].tolist() == [[5, 15, 2, 3]]
    assert ready["masks"].shape == (1, 30, 20)
    assert (ready["label"].item(), ready["index"]) == (1, 7)


def test_a_box_cut_by_one_transform_comes_back_whole_with_the_next():
    crop = v2.Lambda(lambda x: F.crop(x, 0, 10, HEIGHT, WIDTH - 10))
    moved = augment(sample_of([(12, 30)], [(12, 30, 10, 10)]), [crop, v2.Pad([10, 0, 0, 0])])
    assert moved["boxes"].tolist() == [[12, 30, 10, 10]]


def test_without_parts_any_image_transform_works():
    sample = make_sample(torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8), torch.tensor(0), 0)
    ready = TrainingTransform([v2.RandAugment(), v2.CenterCrop(16)], 0.5, (), (8, 12))(sample)
    assert ready["image"].shape == (3, 8, 12)
    assert ready["landmarks"].shape == (0, 2)
    assert ready["boxes"].shape == (0, 4)
    assert ready["landmarks"].canvas_size == ready["boxes"].canvas_size == (8, 12)


def test_transforms_that_cannot_move_parts_or_drop_some_are_refused():
    with pytest.raises(ConfigurationError, match="augmentation has RandAugment, which does not work"):
        augment(sample_of([(20, 30)]), [v2.RandAugment()])
    sanitise = v2.SanitizeBoundingBoxes(labels_getter=None)
    boxes = [(20, 30, 4, 4), (40, 30, 0.2, 0.2)]
    with pytest.raises(ConfigurationError, match="augmentation was expected to keep 2 boxes, but leaves 1"):
        augment(sample_of([(20, 30), (40, 30)], boxes), [sanitise])


def test_the_order_is_augmentation_mirror_resize():
    sample = sample_of([(30, 20)])
    ready = TrainingTransform([v2.Pad([20, 0, 0, 0])], 1.0, ("head",), (60, 50))(sample)
    assert ready["landmarks"].tolist() == [[(100 - 50) / 2, 20]]
