"""The objectives whose gradient is not that of their value: the paper's approximation and the authors' code."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.maps import close, double, filters_first, gradient_of, one_hot_maps, random_maps
from oracles import authors_loss as authors_oracle
from oracles import paper_loss as paper_oracle
from torch import Tensor

from interpretable.losses import PartTemplateLoss, authors_loss, mean_peak, mutual_information, paper_information
from interpretable.losses.authors import slope_target
from interpretable.templates import centroid

few = settings(deadline=None, max_examples=20, database=None)


def random_members(images: int, filters: int) -> Tensor:
    """(B, C) bool: a filter with members alone, one without any, and mixed ones."""
    members = torch.rand(images, filters) < 0.5
    members[:, 0], members[:, -1] = True, False
    return members


def as_beta(slope: Tensor, side: int) -> Tensor:
    """The authors' slope on a square map of side cells in units of β."""
    return slope * 2 * side / (side - 1)


# The paper's gradient.


@pytest.mark.parametrize("scale", [0.5, 5.0])
@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (4, 3, 4, 3), (7, 4, 5, 4)])
def test_the_papers_gradient_is_the_formula_of_the_assigned_template(shape: tuple[int, ...], scale: float) -> None:
    x, members = random_maps(*shape), random_members(*shape[:2])
    gradient = gradient_of(lambda x: -paper_information(x, members, scale=scale, beta=3.0).sum(), x)
    for c, maps in enumerate(filters_first(x)):
        expected = paper_oracle.paper_gradient(maps, members[:, c].tolist(), 3.0, scale)
        close(gradient[:, c], double(expected), 1e-12)
    assert shape[0] == 1 or gradient.abs().max() > 1e-3


def test_the_papers_value_is_the_mutual_information_whatever_the_categories() -> None:
    x = random_maps(6, 3, 4, 5)
    for members in (random_members(6, 3), torch.ones(6, 3, dtype=torch.bool)):
        close(paper_information(x, members, scale=2.0), mutual_information(x, scale=2.0), 1e-12)


def test_the_papers_gradient_nears_the_exact_one_with_z_constant_where_each_image_has_one_template() -> None:
    # Loud one-hot maps at every cell: p(x|T) is 1 for the assigned template and vanishes for all others.
    x = one_hot_maps(list(range(9)), 3, 3)
    members = torch.ones(9, 1, dtype=torch.bool)
    approximate = gradient_of(lambda x: paper_information(x, members, scale=40.0).sum(), x)
    own = approximate.flatten(1)[torch.arange(9), torch.arange(9)]
    # p(T̂) t p(x|T̂) {log p(x|T̂) − log p(x)} at the peak, with p(x) = (1 + 1/9)/10: one image per template, a ninth of T⁻
    close(own, torch.full((9,), 40 / 10 * math.log(9), dtype=torch.float64), 1e-3)


# The authors' surrogate.


@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (4, 3, 4, 4), (7, 4, 5, 5)])
@pytest.mark.parametrize("strength", [1.0, 30.0])
def test_the_authors_value_and_gradient_are_those_of_their_code(
    shape: tuple[int, ...], density: float | None, strength: float
) -> None:
    x, members = strength * random_maps(*shape), random_members(*shape[:2])
    slope = 1.5 + 1.5 * torch.rand(shape[1], dtype=torch.float64)
    share = None if density is None else torch.full((shape[1],), density, dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        return authors_loss(x, members, beta=as_beta(slope, shape[2]), share=share)

    arguments = (filters_first(x), members.T.tolist(), slope.tolist(), [density] * shape[1])
    close(loss(x), double(authors_oracle.authors_value(*arguments)), 1e-9 * strength)
    gradient = gradient_of(lambda x: loss(x).sum(), x)
    close(gradient.transpose(0, 1), double(authors_oracle.authors_gradient(*arguments)), 1e-9)
    assert gradient.abs().max() > 1e-2


@few
@given(st.integers(2, 8), st.floats(0.1, 900), st.integers(0, 99))
def test_the_authors_weights_average_to_one_and_never_overflow(images: int, strength: float, seed: int) -> None:
    torch.manual_seed(seed)
    x, members = (strength * random_maps(images, 2, 4, 4)).float(), torch.ones(images, 2, dtype=torch.bool)
    gradient = gradient_of(lambda x: authors_loss(x, members, beta=torch.full((2,), 4.0)).sum(), x)
    assert gradient.isfinite().all()
    # At the peak of its template, which is 1 there, an image's gradient is minus its weight by the number of images.
    weights = -images * gradient.flatten(2).gather(2, centroid(x)[..., None])[..., 0]
    close(weights.mean(0), torch.ones(2), 1e-3 * weights.abs().max().item())


def test_the_slope_is_drawn_to_three_by_the_spread_within_the_authors_limits() -> None:
    x = torch.cat([random_maps(6, 3, 6, 6), one_hot_maps([3, 9, 20, 35, 0, 1], 6, 6)], 1)
    x[:, 1] = (x[:, 1] - 2).clamp(min=0)
    members = random_members(6, 4)
    members[:, 3] = True  # one-hot maps have no spread: the steepest slope
    beta = torch.tensor([4.0, 5.0, 3.5, 4.5], dtype=torch.float64)
    found = slope_target(x, members, beta) * 5 / 12
    for c, maps in enumerate(filters_first(x)):
        expected = authors_oracle.slope_target(maps, members[:, c].tolist(), beta[c].item() * 5 / 12)
        assert expected is not None
        assert found[c].item() == pytest.approx(expected, abs=1e-9)
    assert found[3].item() == pytest.approx(3.0)
    assert slope_target(x, torch.zeros_like(members), beta).isnan().all()


def test_slopes_move_towards_their_target_in_training_alone() -> None:
    x = one_hot_maps([3, 9, 20, 35], 6, 6).float()
    loss = PartTemplateLoss(1, objective="authors", num_classes=2)
    labels = torch.tensor([0, 1, 0, 1])
    for _ in range(2):
        loss(x, labels)
    steepest = 3.0 * 2 * 6 / 5
    assert loss.slope.item() == pytest.approx(steepest + (4 - steepest) * (1 - 0.016) ** 2, rel=1e-6)
    kept = loss.slope.clone()
    loss.eval()(x, labels)
    assert torch.equal(loss.slope, kept)


def test_the_authors_table_of_categories_is_a_moving_average_of_peaks() -> None:
    loss = PartTemplateLoss(3, objective="authors", num_classes=4).double()
    table: list[list[float | None]] = [[None] * 4 for _ in range(3)]
    for labels in ([0, 1, 1, 0, 2], [2, 2, 1, 0, 0], [1, 1, 1, 1, 0]):
        x = random_maps(5, 3, 4, 4) * 0.05 ** torch.rand(5, 3, 1, 1, dtype=torch.float64)
        table = authors_oracle.category_response(table, filters_first(x), [{label} for label in labels])
        loss(x, torch.tensor(labels))
        expected = double([[math.nan if entry is None else entry for entry in row] for row in table])
        torch.testing.assert_close(loss.class_response, expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(("classes", "density"), [(1, None), (3, 0.4), (11, 1 / 11)])
def test_the_authors_weigh_categories_by_their_share_of_the_images(classes: int, density: float | None) -> None:
    x = random_maps(5, 1, 4, 4)
    x[0] *= 9.0  # the filter's category is 0
    labels = torch.zeros(5, classes)
    labels[[0, 2], 0] = 1
    loss = PartTemplateLoss(1, objective="authors", num_classes=classes, beta=5.0).double()
    members = labels[:, :1] > 0
    share = None if density is None else torch.tensor([density], dtype=torch.float64)
    value = loss(x, labels)  # the statistics, slopes among them, take in the batch first
    close(value, authors_loss(x, members, beta=loss.slope, share=share)[0], 1e-12)


# The module.


def test_the_paper_objective_is_minus_the_papers_information_of_its_category() -> None:
    x, labels = random_maps(6, 2, 4, 4), torch.tensor([0, 1, 0, 1, 1, 0])
    x[1, 0], x[0, 1] = 5 * x[1, 0], 5 * x[0, 1]
    loss = PartTemplateLoss(2, objective="paper", num_classes=2, temperature=0.3).double()
    members = labels[:, None] == torch.tensor([1, 0])
    scale = 1 / (0.3 * mean_peak(x))
    close(loss(x, labels), -paper_information(x, members, scale=scale).mean(), 1e-12)
    assert loss.category.tolist() == [1, 0]
    close(
        gradient_of(lambda x: loss.eval()(x, labels), x),
        gradient_of(lambda x: -paper_information(x, members, scale=scale).mean(), x),
        1e-12,
    )


@pytest.mark.parametrize("objective", ["paper", "authors"])
def test_the_mutual_information_beside_a_surrogate_is_the_label_free_one(objective: str) -> None:
    x, labels = random_maps(6, 3, 4, 4), torch.tensor([0, 1, 0, 1, 1, 0])
    terms = PartTemplateLoss(3, objective=objective, num_classes=2).double().terms(x, labels)
    close(terms.mutual_information, mutual_information(x, scale=5 / mean_peak(x)), 1e-12)
    assert not terms.mutual_information.requires_grad
