import math

import pytest
import torch
from planted_graph import (
    APART,
    LOWER_FILTERS,
    MARGIN,
    MOVING,
    PARTS,
    SIZE,
    UPPER_FILTERS,
    UPPER_STRIDE,
    PlantedGraph,
    PlantedLayer,
    planted_graph,
    recovered,
)
from torch import Tensor


def peaks(layer: PlantedLayer, radius: float) -> Tensor:
    """(part, image, 2) pixels of the strongest unit at most so many pixels from each part's base place."""
    height, width = layer.maps.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([rows, columns], -1).flatten(0, 1).float()
    near = torch.cdist(layer.places.flatten(0, 1), cells) * layer.stride <= radius
    maps = layer.maps.flatten(-2).repeat_interleave(PARTS, 1)  # (image, part, cell)
    found = maps.masked_fill(~near, -math.inf).argmax(-1)
    return (layer.offset + layer.stride * cells[found]).transpose(0, 1)


def truth(graph: PlantedGraph) -> Tensor:
    """(filter, part, parent) for each lower part the upper ones of its group."""
    upper = graph.upper.groups.flatten()
    members = torch.stack([(upper == group).nonzero().flatten() for group in range(2 * MOVING)])
    return members[graph.lower.groups]


def alike(layer: PlantedLayer) -> Tensor:
    """Equal scores of nodes at the parts themselves."""
    return torch.ones(layer.places.shape[:2])


@pytest.mark.parametrize("stride", [8, 16])
def test_parts_of_a_group_move_together_in_both_layers_and_those_of_different_groups_do_not(stride):
    graph = planted_graph(0, lower_stride=stride, movement=0.8, noise=0)
    tracks = torch.cat([peaks(layer, 3 * UPPER_STRIDE) for layer in (graph.upper, graph.lower)])
    groups = torch.cat([layer.groups.flatten() for layer in (graph.upper, graph.lower)])
    moving = groups < MOVING
    centred = (tracks - tracks.mean(1, keepdim=True))[moving].flatten(1)
    correlation = torch.corrcoef(centred)
    same = groups[moving][:, None] == groups[moving]
    assert float(correlation[same].min()) > 0.7
    assert float(correlation[same].mean()) > 0.85  # a peak is known to a cell
    assert float(correlation[~same].abs().max()) < 0.4
    # As far as the group itself, to what a cell leaves open.
    expected = graph.moves[:, groups[moving]].transpose(0, 1)
    off = (tracks[moving] - tracks[moving].mean(1, keepdim=True) - expected + expected.mean(1, keepdim=True)).abs()
    assert float(off.median()) < UPPER_STRIDE / 3


def test_still_parts_fire_in_one_cell():
    graph = planted_graph(1, movement=0.5, noise=0)
    tracks = peaks(graph.upper, UPPER_STRIDE)[graph.upper.groups.flatten() >= MOVING]
    assert len(tracks) == UPPER_FILTERS * PARTS / 2
    assert torch.equal(tracks, tracks[:, :1].expand_as(tracks))


def test_groups_are_equally_large_and_every_lower_part_moves():
    graph = planted_graph(2)
    assert graph.upper.groups.flatten().bincount().tolist() == [UPPER_FILTERS * PARTS // (2 * MOVING)] * 2 * MOVING
    assert graph.lower.groups.flatten().bincount().tolist() == [LOWER_FILTERS * PARTS // MOVING] * MOVING


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_a_filter_are_apart_and_off_the_edges(seed):
    for layer in planted_graph(seed, lower_stride=8, images=1)[:2]:
        pixels = layer.offset + layer.stride * layer.places
        assert min(float(torch.pdist(parts).min()) for parts in pixels) > APART - 0.01
        assert float(pixels.min()) > MARGIN - 0.01
        assert float(pixels.max()) < SIZE - MARGIN + 0.01


def test_the_nearest_upper_part_is_of_the_same_group_by_chance_alone():
    hits = []
    for seed in range(40):
        graph = planted_graph(seed, images=1)
        nearest = torch.cdist(graph.lower.places.flatten(0, 1), graph.upper.places.flatten(0, 1)).argmin(1)
        hits.append(graph.upper.groups.flatten()[nearest] == graph.lower.groups.flatten())
    assert float(torch.cat(hits).float().mean()) == pytest.approx(1 / (2 * MOVING), abs=0.04)


def test_movement_and_noise_are_as_large_as_told():
    graph, clean = (planted_graph(3, movement=0.7, noise=noise) for noise in (0.1, 0))
    assert float(graph.moves[:, :MOVING].std() / UPPER_STRIDE) == pytest.approx(0.7, rel=0.1)
    assert not graph.moves[:, MOVING:].any()
    for noisy, without in zip(graph[:2], clean[:2], strict=True):
        assert float((noisy.maps - without.maps).std()) == pytest.approx(0.1, rel=0.01)


def test_all_follows_from_the_seed():
    first, again, other = planted_graph(4), planted_graph(4), planted_graph(5)
    assert torch.equal(first.lower.maps, again.lower.maps)
    assert not torch.equal(first.lower.maps, other.lower.maps)
    assert first.lower.maps.dtype == torch.float32


def test_the_truth_is_recovered_in_full():
    graph = planted_graph(6, lower_stride=8, images=2)
    found = recovered(graph, graph.lower.places, alike(graph.lower), truth(graph), graph.upper.places)
    assert found == (1, 1, 1)


def test_random_parents_are_right_by_chance():
    graph = planted_graph(7, images=2)
    parents = torch.randint(UPPER_FILTERS * PARTS, (LOWER_FILTERS, PARTS, 100))
    found = recovered(graph, graph.lower.places, alike(graph.lower), parents, graph.upper.places)
    assert found.parents == pytest.approx(1 / (2 * MOVING), abs=0.03)


def test_a_node_further_than_a_cell_has_found_nothing():
    graph = planted_graph(8, images=2)
    for away, share in ((0.9, 1), (1.1, 0)):
        places = graph.lower.places + torch.tensor([0, away])
        found = recovered(graph, places, alike(graph.lower), truth(graph), graph.upper.places)
        assert (found.parts, found.nodes) == (share, share)
    assert math.isnan(found.parents)


def test_parents_of_no_part_are_wrong():
    graph = planted_graph(9, images=2)
    for away, share in ((1.4, 1), (1.6, 0)):
        upper = graph.upper.places + torch.tensor([away, 0])
        found = recovered(graph, graph.lower.places, alike(graph.lower), truth(graph), upper)
        assert found.parents == share


def test_nodes_of_little_score_do_not_count():
    graph = planted_graph(10, images=2)
    places = torch.cat([graph.lower.places, torch.zeros_like(graph.lower.places)], 1)
    parents = torch.cat([truth(graph), torch.zeros_like(truth(graph))], 1)
    for score, share in ((0.24, 1), (0.26, 0.5)):
        scores = torch.cat([alike(graph.lower), score * alike(graph.lower)], 1)
        found = recovered(graph, places, scores, parents, graph.upper.places)
        assert found == (1, share, 1)
