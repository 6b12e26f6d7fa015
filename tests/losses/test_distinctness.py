"""The overlap of an image's strongest filters, by the formula and by what it must not depend on."""

import pytest
import torch
from losses.maps import random_maps
from oracles.filter_overlap import filter_overlap as oracle
from torch import Tensor

from interpretable.errors import ConfigurationError
from interpretable.losses import PartTemplateLoss, filter_overlap


def one_cell(*places: tuple[int, int], height: float = 1e3) -> Tensor:
    """One image with a filter per place, so loud there that its softmax is all in that cell."""
    x = torch.zeros(1, len(places), 4, 5, dtype=torch.float64)
    for number, (row, column) in enumerate(places):
        x[0, number, row, column] = height
    return x


@pytest.mark.parametrize("strongest", [2, 3, 6, 40])
def test_the_overlap_is_that_of_the_pairs_one_by_one(strongest: int) -> None:
    x = random_maps(5, 6, 3, 4)
    x[1, 2:] = 0.0
    x[2, 1:] = 0.0
    x[3] = 0.0
    scale = torch.tensor([0.5, 1.0, 2.0, 4.0, 0.0, 3.0], dtype=torch.float64)
    expected = oracle(x, scale.tolist(), strongest)
    assert 0 < expected < 1
    assert filter_overlap(x, scale=scale, strongest=strongest).item() == pytest.approx(expected, abs=1e-12)


def test_filters_in_one_cell_overlap_wholly_and_filters_apart_not_at_all() -> None:
    assert filter_overlap(one_cell((1, 1), (1, 1), (1, 1)), scale=1.0).item() == pytest.approx(1)
    assert filter_overlap(one_cell((1, 1), (0, 1), (3, 4)), scale=1.0).item() == pytest.approx(0)
    assert filter_overlap(one_cell((1, 1), (1, 1), (3, 4)), scale=1.0).item() == pytest.approx(1 / 3)


def test_two_flat_maps_meet_by_chance_alone() -> None:
    assert filter_overlap(torch.ones(2, 3, 4, 5), scale=1.0).item() == pytest.approx(1 / 20)


def test_an_image_with_fewer_than_two_firing_filters_has_no_overlap() -> None:
    assert filter_overlap(torch.zeros(2, 3, 4, 5), scale=1.0).item() == 0
    assert filter_overlap(one_cell((1, 1), height=2.0), scale=1.0).item() == 0


def test_the_order_of_images_filters_and_cells_does_not_matter() -> None:
    x, scale = random_maps(4, 5, 3, 4), torch.rand(5, dtype=torch.float64)
    value = filter_overlap(x, scale=scale, strongest=3)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(filter_overlap(x.flip(0), scale=scale, strongest=3), value)
    torch.testing.assert_close(filter_overlap(x[:, order], scale=scale[order], strongest=3), value)
    torch.testing.assert_close(filter_overlap(x.transpose(2, 3), scale=scale, strongest=3), value)


def test_only_the_strongest_filters_are_pushed_apart() -> None:
    x = random_maps(3, 5, 3, 4)
    x[:, :2] += 10
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(filter_overlap(x, scale=1.0, strongest=2), x)
    assert gradient[:, :2].abs().sum() > 0
    assert not gradient[:, 2:].any()


def test_the_gradient_is_that_of_finite_differences() -> None:
    x, scale = random_maps(2, 4, 3, 3).requires_grad_(), torch.tensor([1.0, 2.0, 0.5, 3.0]).double()
    assert torch.autograd.gradcheck(lambda maps: filter_overlap(maps, scale=scale, strongest=3), (x,))


def test_descending_it_moves_two_filters_off_one_cell() -> None:
    x = one_cell((1, 1), (1, 1), height=3.0) + torch.rand(1, 2, 4, 5, generator=torch.manual_seed(0)).double()
    x.requires_grad_()
    for _ in range(200):
        (gradient,) = torch.autograd.grad(filter_overlap(x, scale=1.0), x)
        x = (x - gradient).relu().detach().requires_grad_()
    first, second = x[0].flatten(1).argmax(-1)
    assert first != second


def test_half_precision_is_computed_in_float32() -> None:
    x = random_maps(3, 4, 3, 4).bfloat16()
    found = filter_overlap(x, scale=1.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, filter_overlap(x.float(), scale=1.0))


def test_the_loss_adds_its_share_to_any_objective() -> None:
    x, labels = random_maps(6, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    for objective in ("mutual_information", "class_aware", "paper", "authors"):
        without, with_it = (
            PartTemplateLoss(3, objective, num_classes=3, distinctness=weight).double().terms(x, labels)
            for weight in (0.0, 2.5)
        )
        assert 0 < without.overlap < 1
        torch.testing.assert_close(with_it.loss, without.loss + 2.5 * without.overlap)


def test_a_negative_distinctness_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="distinctness of filters must be 0 or more, got -1"):
        PartTemplateLoss(3, distinctness=-1.0)
