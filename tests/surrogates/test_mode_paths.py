import numpy as np
import pytest
from oracles.decision_mode_tree import parse_path

from interpretable.surrogates.mode_paths import ABSENT, ancestors, node_at, parse_paths


def random_tree(nodes: int, random: np.random.Generator) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Children and parents; a node stands before those below it."""
    parents = np.array([-1, *(int(random.integers(max(0, k - 6), k)) for k in range(1, nodes))])
    return [tuple(np.flatnonzero(parents == node).tolist()) for node in range(nodes)], parents


def unpadded(row: np.ndarray) -> list[int]:
    row = row.tolist()
    end = row.index(ABSENT) if ABSENT in row else len(row)
    assert set(row[end:]) <= {ABSENT}
    return row[:end]


@pytest.mark.parametrize(("nodes", "seed"), [(1, 0), (2, 1), (9, 2), (40, 3), (40, 4)])
def test_an_image_goes_to_the_most_similar_child_at_every_node(nodes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    children, _ = random_tree(nodes, random)
    weights = random.normal(size=(nodes, 4)) * 10.0 ** random.uniform(-4, 4, (nodes, 1))
    gradients = random.normal(size=(60, 4)) * 10.0 ** random.uniform(-4, 4, (60, 1))
    below = dict(enumerate(children))
    for row, gradient in zip(parse_paths(gradients, weights, children), gradients, strict=True):
        assert unpadded(row) == parse_path(gradient, below, dict(enumerate(weights)))


def test_of_equal_cosines_the_first_child_is_taken_and_a_zero_rationale_is_better_than_an_opposite_one() -> None:
    weights = np.array([[1.0, 0], [0, 1], [0, 5], [0, 0], [0, -1]])
    children = [(1, 2, 3, 4), (), (), (), ()]
    paths = parse_paths(np.array([[0.0, 2], [1, -1], [1, 0]]), weights, children)
    assert paths.tolist() == [[0, 1], [0, 4], [0, 1]]
    assert parse_paths(np.array([[0.0, -1]]), weights, [(1, 3), (), (), (), ()]).tolist() == [[0, 3]]


def test_paths_of_no_image_and_of_a_root_alone_are_empty_and_the_root() -> None:
    assert parse_paths(np.zeros((0, 2)), np.ones((1, 2)), [()]).shape == (0, 1)
    assert parse_paths(np.ones((3, 2)), np.ones((1, 2)), [()]).tolist() == [[0]] * 3


@pytest.mark.parametrize("seed", range(4))
def test_ancestors_are_found_one_parent_after_another(seed: int) -> None:
    random = np.random.default_rng(seed)
    children, parents = random_tree(30, random)
    leaves = random.permutation([node for node, below in enumerate(children) if not below])
    for row, leaf in zip(ancestors(leaves, parents), leaves, strict=True):
        path = [int(leaf)]
        while path[0]:
            path.insert(0, int(parents[path[0]]))
        assert unpadded(row) == path


def test_the_root_is_its_own_way() -> None:
    assert ancestors(np.array([0]), np.array([-1])).tolist() == [[0]]
    assert ancestors(np.array([0, 2]), np.array([-1, 0, 1])).tolist() == [[0, ABSENT, ABSENT], [0, 1, 2]]


def test_levels_are_counted_from_the_root_and_end_at_the_leaf() -> None:
    paths = np.array([[0, 1, 4, 7], [0, 2, ABSENT, ABSENT], [0, 3, 5, ABSENT]])
    expected = {1: [0, 0, 0], 2: [1, 2, 3], 3: [4, 2, 5], 4: [7, 2, 5], 9: [7, 2, 5], None: [7, 2, 5]}
    for level, nodes in expected.items():
        assert node_at(paths, level).tolist() == nodes
