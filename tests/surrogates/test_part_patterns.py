import math

import numpy as np
import pytest
import torch
from oracles import explanatory_graph as oracle
from torch import Tensor

from interpretable.surrogates.part_patterns import BLUR, WINDOW, Guidance, Inferred, Moments, Patterns, blur, moved
from interpretable.surrogates.pattern_parents import candidate_parents, choose_parents, guidance, without_parents
from interpretable.surrogates.pattern_windows import infer, log_likelihood, moments, windows

IMAGES, CHANNELS, NODES, HEIGHT, WIDTH = 4, 3, 5, 7, 9


def drawn(seed: int) -> tuple[Tensor, Patterns, Guidance]:
    """Random maps, nodes and guidance, in float64."""
    random = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    maps = uniform(IMAGES, CHANNELS, HEIGHT, WIDTH) - 0.4
    places = uniform(CHANNELS, NODES, 2) * torch.tensor([HEIGHT - 1.0, WIDTH - 1.0])
    patterns = Patterns(places, 0.2 + 0.6 * uniform(CHANNELS, NODES))
    shifts = 2 * uniform(IMAGES, CHANNELS, NODES, 2) - 1
    agreement = 0.1 + 0.9 * uniform(IMAGES, CHANNELS, NODES)
    return maps, patterns, Guidance(shifts, agreement, 0.4 + uniform(CHANNELS, NODES))


def learned(blurred: Tensor, patterns: Patterns, guided: Guidance) -> Moments:
    return moments(blurred, windows(blurred, patterns, guided))


def found_in(blurred: Tensor, patterns: Patterns, guided: Guidance) -> Inferred:
    return infer(windows(blurred, patterns, guided), patterns, guided, *blurred.shape[-2:])


def literal_terms(patterns: Patterns, guided: Guidance) -> np.ndarray:
    return oracle.spatial_term(
        patterns.places.numpy(), patterns.spreads.numpy(), guided.shifts.numpy(), guided.agreement.numpy(),
        guided.tolerance.numpy(), (HEIGHT, WIDTH), WINDOW * max(HEIGHT, WIDTH),
    )  # fmt: skip


@pytest.mark.parametrize("width", [0.2, 1.1])
def test_the_blur_is_the_literal_one_of_what_is_above_zero(width):
    maps, _, _ = drawn(0)
    literal = oracle.blurred(np.maximum(maps.numpy(), 0), width)
    np.testing.assert_allclose(blur(maps, width).numpy(), literal, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("iteration", [1, 7])
def test_an_iteration_moves_places_and_spreads_as_sums_over_all_cells_do(seed, iteration):
    maps, patterns, guided = drawn(seed)
    blurred = blur(maps, BLUR * HEIGHT * 10)
    after = moved(patterns, learned(blurred, patterns, guided), iteration, HEIGHT * WIDTH)
    places, spreads = oracle.update(
        blurred.numpy(), literal_terms(patterns, guided), patterns.places.numpy(), patterns.spreads.numpy(),
        guided.shifts.numpy(), iteration,
    )  # fmt: skip
    np.testing.assert_allclose(after.places.numpy(), places, rtol=1e-10)
    np.testing.assert_allclose(after.spreads.numpy(), spreads, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_objective_is_the_literal_one(seed):
    maps, patterns, guided = drawn(seed)
    # Cells that no window reaches have the background alone.
    blurred, terms = blur(maps, 0.5), literal_terms(patterns, guided)
    literal = oracle.log_objective(blurred.numpy(), terms, oracle.background(terms))
    assert float(learned(blurred, patterns, guided).objective) == pytest.approx(literal, rel=1e-11)
    of_images = log_likelihood(blurred, windows(blurred, patterns, guided))
    assert float(of_images.sum()) == pytest.approx(literal, rel=1e-11)
    first = Guidance(guided.shifts[:1], guided.agreement[:1], guided.tolerance)
    alone = log_likelihood(blurred[:1], windows(blurred[:1], patterns, first))
    assert float(of_images[0]) == pytest.approx(float(alone), rel=1e-12)


def test_sums_of_batches_are_those_of_all_images():
    maps, patterns, guided = drawn(1)
    whole = learned(maps.clamp(min=0), patterns, guided)
    parts = [
        learned(
            maps[rows].clamp(min=0), patterns, Guidance(guided.shifts[rows], guided.agreement[rows], guided.tolerance)
        )
        for rows in (slice(0, 1), slice(1, IMAGES))
    ]
    for total, first, second in zip(whole, *parts, strict=True):
        torch.testing.assert_close(first + second, total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_nodes_are_where_the_literal_product_is_largest(seed):
    maps, patterns, guided = drawn(seed)
    maps[0, 1] = -1  # a silent map
    blurred = blur(maps, 0.5)
    found = found_in(blurred, patterns, guided)
    positions, _, scores = oracle.infer(
        blurred.numpy(), literal_terms(patterns, guided), patterns.places.numpy(), guided.shifts.numpy()
    )
    assert torch.stack([found.cells // WIDTH, found.cells % WIDTH], -1).tolist() == positions.tolist()
    np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    ("shape", "centre"),
    [
        ((2, 20), (0.2, 2.0)),
        ((3, 24), (0.0, 3.0)),
        ((7, 28), (-2.9, 1.3)),
        ((2, 2), (-0.9, 0.4)),
        ((20, 2), (19.0, 1.2)),
    ],
)
def test_windows_beyond_the_edges_of_long_and_tiny_maps_see_the_cells_that_the_literal_ones_do(shape, centre):
    random = torch.Generator().manual_seed(0)
    blurred = torch.rand(1, 1, *shape, generator=random, dtype=torch.float64)
    patterns = Patterns(torch.tensor([[centre]], dtype=torch.float64), torch.full((1, 1), 9.0, dtype=torch.float64))
    guided = without_parents(1, patterns.spreads, shape)
    terms = oracle.spatial_term(
        patterns.places.numpy(), patterns.spreads.numpy(), guided.shifts.numpy(), guided.agreement.numpy(),
        guided.tolerance.numpy(), shape, WINDOW * max(shape),
    )  # fmt: skip
    positions, _, scores = oracle.infer(blurred.numpy(), terms, patterns.places.numpy(), guided.shifts.numpy())
    found = found_in(blurred, patterns, guided)
    assert [found.cells.item() // shape[1], found.cells.item() % shape[1]] == positions[0, 0, 0].tolist()
    np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-12)


@pytest.mark.parametrize("side", [4, 5, 7])
def test_a_filter_that_fires_in_one_fixed_cell_alone_is_learned(side):
    for trial in range(12):
        maps = torch.zeros(6, 1, side, side)
        cell = trial % side
        maps[:, 0, cell, (3 * trial) % side] = 1 + torch.rand(6, generator=torch.Generator().manual_seed(trial))
        places = torch.tensor([[[float(cell), float((3 * trial) % side)], [0.0, 0.0]]])
        patterns = Patterns(places, torch.full((1, 2), WINDOW * side))
        for iteration in range(1, 21):
            guided = without_parents(6, patterns.spreads, (side, side))
            patterns = moved(patterns, learned(blur(maps, BLUR * side), patterns, guided), iteration, side**2)
        assert patterns.spreads.isfinite().all()
        assert patterns.places.isfinite().all()


def test_silent_maps_move_nothing():
    _, patterns, guided = drawn(0)
    found = learned(torch.zeros(IMAGES, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64), patterns, guided)
    after = moved(patterns, found, 1, HEIGHT * WIDTH)
    assert torch.equal(after.places, patterns.places)
    assert torch.equal(after.spreads, patterns.spreads)
    assert float(found.objective) == 0


def test_a_node_alone_on_a_peak_goes_there_and_shrinks():
    maps = torch.zeros(6, 1, 14, 14, dtype=torch.float64)
    maps[:, 0, 8, 5] = 1
    patterns = Patterns(torch.tensor([[[7.0, 6.0]]], dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64))
    guided = Guidance(
        torch.zeros(6, 1, 1, 2, dtype=torch.float64), torch.ones(6, 1, 1, dtype=torch.float64), torch.tensor([[2.1]])
    )
    for iteration in range(1, 21):
        found: Moments = learned(blur(maps, BLUR * 14), patterns, guided)
        patterns = moved(patterns, found, iteration, 14 * 14)
    np.testing.assert_allclose(patterns.places.flatten(), [8, 5], atol=0.05)
    assert float(patterns.spreads) < 2


def test_parents_say_what_the_literal_product_of_their_gaussians_says():
    random = torch.Generator().manual_seed(0)
    upper, parents, ratio = 12, 3, 2.0
    places = torch.rand(IMAGES, upper, 2, generator=random, dtype=torch.float64) * 6
    spreads = 0.3 + torch.rand(upper, generator=random, dtype=torch.float64)
    chosen = torch.stack([torch.randperm(upper, generator=random)[:parents] for _ in range(CHANNELS * NODES)])
    chosen = chosen.view(CHANNELS, NODES, parents)
    found = guidance(ratio * (places - places.mean(0)), ratio * spreads, chosen)
    for channel in range(CHANNELS):
        for node in range(NODES):
            own = chosen[channel, node].numpy()
            shift, tolerance, agreement = oracle.parent_terms(
                places[:, own].numpy(), places.mean(0)[own].numpy(), spreads[own].numpy(), ratio
            )
            np.testing.assert_allclose(found.shifts[:, channel, node].numpy(), shift, rtol=1e-10, atol=1e-13)
            np.testing.assert_allclose(found.agreement[:, channel, node].numpy(), agreement, rtol=1e-10)
            assert float(found.tolerance[channel, node]) == pytest.approx(tolerance, rel=1e-12)


def test_parents_that_move_alike_agree_fully_and_move_the_node_with_them():
    moves = torch.randn(5, 1, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = guidance(moves.expand(5, 4, 2), torch.full((4,), 0.5, dtype=torch.float64), torch.tensor([[[0, 2, 3]]]))
    torch.testing.assert_close(found.shifts[:, 0, 0], moves[:, 0])
    torch.testing.assert_close(found.agreement, torch.ones_like(found.agreement))
    assert float(found.tolerance) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(3))
def test_parents_are_those_that_the_literal_choice_takes(seed):
    random = np.random.default_rng(seed)
    images, upper, size = 8, 40, (64.0, 96.0)
    mean = random.uniform(0, 1, (upper, 2)) * size
    places = mean + random.normal(0, 1, (images, upper, 2)) * random.uniform(0, 12, (upper, 1))
    scores, own_scores = random.random((images, upper)), random.random((images, 2))
    own = places[:, [3, 7]] + random.normal(0, 2, (images, 2, 2))
    candidates = candidate_parents(torch.from_numpy(scores), torch.from_numpy(places), size)
    assert candidates.tolist() == list(oracle.parent_candidates(scores, places, size))
    chosen, strengths = choose_parents(
        torch.from_numpy(own_scores), torch.from_numpy(own), torch.from_numpy(places)[:, candidates], 5
    )
    for node in range(2):
        literal = oracle.choose_parents(own_scores[:, node], own[:, node], scores, places, size, parents=5)
        assert candidates[chosen[node]].tolist() == list(literal)
    every, all_strengths = choose_parents(
        torch.from_numpy(own_scores), torch.from_numpy(own), torch.from_numpy(places)[:, candidates], len(candidates)
    )
    h, others = own - own.mean(0), places[:, candidates] - places[:, candidates].mean(0)
    distance = ((h[:, :, None] - others[:, None]) ** 2).sum(-1)
    value = (own_scores[..., None] * np.exp(-distance / (2 * distance.mean((0, 2), keepdims=True)))).sum(0)
    literal_strengths = np.take_along_axis(value, every.numpy(), 1) / own_scores.sum(0)[:, None]
    np.testing.assert_allclose(all_strengths, literal_strengths, rtol=1e-10)
    torch.testing.assert_close(all_strengths[:, :5], strengths)


def test_a_node_that_nothing_activates_has_edges_without_strength_and_one_that_moves_as_its_parent_has_full_ones():
    random = torch.Generator().manual_seed(0)
    moves = 9 * torch.randn(6, 1, 2, generator=random, dtype=torch.float64)
    scores = torch.cat([torch.zeros(6, 1, dtype=torch.float64), torch.rand(6, 1, generator=random).double()], 1)
    candidates = torch.cat([moves + 30, -moves], 1)
    chosen, strengths = choose_parents(scores, (moves + 50).expand(6, 2, 2), candidates, 2)
    assert strengths[0].tolist() == [0, 0]
    assert chosen[1].tolist() == [0, 1]
    assert float(strengths[1, 0]) == pytest.approx(1, abs=1e-12)
    assert float(strengths[1, 1]) < 0.9


def test_the_spatial_term_has_a_share_of_each_axis_and_the_largest_spread_is_the_spacing_of_nodes():
    _, patterns, guided = drawn(2)
    found = learned(torch.ones(IMAGES, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64), patterns, guided)
    after = moved(patterns, found, 1, HEIGHT * WIDTH)
    largest = math.sqrt(HEIGHT * WIDTH / NODES)
    assert ((after.spreads >= largest / 10) & (after.spreads <= largest)).all()
