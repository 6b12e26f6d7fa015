import pytest
import torch
from explained_nets import CLASSES, chain, drawn_images
from oracles import rise as literal
from torch import Tensor, nn

from interpretable.attribution.rise import RISE, RandomMasks
from interpretable.errors import AttributionError


def literal_masks(options: RISE, images: Tensor) -> list[Tensor]:
    masks = RandomMasks(options, images)
    places = [(int(row), int(column)) for row, column in masks.places]
    size = (images.shape[-2], images.shape[-1])
    return [literal.mask(grid, place, size) for grid, place in zip(masks.grids, places, strict=True)]


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("cells", [1, 3, 7, 16])
def test_masks_are_interpolated_grids_cut_at_their_place(cells: int) -> None:
    options, images = RISE(masks=40, cells=cells), drawn_images(1)
    masks = RandomMasks(options, images)
    same(masks(slice(5, 40)), torch.stack(literal_masks(options, images)[5:]))
    height, width = (-(-length // cells) for length in (16, 20))
    assert set(masks.grids.unique().tolist()) == {0, 1}
    assert masks.places[:, 0].unique().tolist() == list(range(height + 1)) or cells == 1
    assert masks.places.amin() >= 0
    assert (masks.places.amax(0) <= torch.tensor([height, width])).all()


def test_as_many_pixels_are_seen_as_the_probability_says() -> None:
    # 2000 masks of 49 cells: a standard error of 0.0015, somewhat more where the image does not show all cells alike.
    seen = RandomMasks(RISE(masks=2000, probability=0.3), drawn_images(1))(slice(0, 2000))
    assert seen.mean().item() == pytest.approx(0.3, abs=0.006)
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_a_map_is_the_weighted_mean_of_masks() -> None:
    model, images, labels = chain(), drawn_images(2), torch.tensor([[4, 0], [1, 2]])
    options = RISE(masks=30, cells=3, probability=0.4, seed=3, batch_size=7)
    found = options(model, images, labels)
    masks = literal_masks(options, images)
    for image in range(2):
        with torch.no_grad():
            logits = torch.cat([model(images[image : image + 1] * seen) for seen in masks])
        for column in range(2):
            scores = logits[:, labels[image, column]].tolist()
            expected = literal.attribution(scores, masks, 0.4)
            for channel in range(3):
                same(found[image, column, channel], expected)


def test_pixels_that_count_have_the_largest_numbers_and_those_against_a_class_the_lowest() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16 * 20, 2)).double()
    with torch.no_grad():
        weight = torch.zeros(2, 16, 20)
        weight[0, 3:7, 12:17] = 1
        linear[1].weight.copy_(torch.stack([weight[0], -weight[0]]).flatten(1))
    found = RISE(masks=400)(linear, torch.ones(1, 1, 16, 20).double(), [[0, 1]])[0, :, 0]
    row, column = divmod(int(found[0].argmax()), 20)
    assert 3 <= row < 7
    assert 12 <= column < 17
    same(found[1], -found[0])


def test_a_constant_added_to_the_logit_changes_nothing_and_a_constant_network_gets_zeros() -> None:
    model, images = chain(), drawn_images(2)
    before = RISE(masks=20)(model, images, 1)
    assert before.abs().max() > 1e-3
    with torch.no_grad():
        model.fc.bias += 100
    same(RISE(masks=20)(model, images, 1), before)
    with torch.no_grad():
        model.fc.weight.zero_()
    same(RISE(masks=20)(model, images, 1), torch.zeros_like(images))


def test_the_seed_alone_makes_the_masks() -> None:
    model, images = chain(), drawn_images(2)
    state = torch.get_rng_state()
    one = RISE(masks=20)(model, images, 1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    assert torch.equal(RISE(masks=20)(model, images, 1), one)
    assert not torch.allclose(RISE(masks=20, seed=1)(model, images, 1), one)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 16 * 20, CLASSES)
        self.passes: list[int] = []
        self.graphs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        self.graphs += torch.is_grad_enabled()
        return self.fc(x.flatten(1))


def test_all_classes_come_from_one_pass_of_each_image_and_mask_without_a_graph() -> None:
    model = Counting().double()
    RISE(masks=10, batch_size=8)(model, drawn_images(3), [[0, 1, 2, 3, 4]] * 3)
    assert model.passes == [8, 8, 8, 6]
    assert model.graphs == 0


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"masks": 1}, "2 masks or more"),
        ({"cells": 0}, "1 cell or more"),
        ({"probability": 0.0}, "above 0"),
        ({"probability": 1.0}, "below 1"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, object], found: str) -> None:
    with pytest.raises(AttributionError, match=found):
        RISE(**options)
