import numpy as np
import pytest
from oracles import decision_mode_tree as oracle
from surrogates.drawn_rationales import random_images

from interpretable.errors import SurrogateError
from interpretable.surrogates import DecisionModeTree
from interpretable.surrogates.class_scores import ClassScores
from interpretable.surrogates.level_measures import (
    LEVELS,
    balanced_accuracy,
    contribution_fitness,
    level_measures,
    part_contribution_errors,
    prediction_error,
)

PARTS = {"beak": [0, 3], "leg": [1], "tail": [2, 4]}


def drawn_scores(images: int = 20, seed: int = 0, share: float = 0.5) -> ClassScores:
    """Images of the class and others, whose scores stand partly on the wrong side of the threshold."""
    random = np.random.default_rng(seed)
    sums, gradients, scores = random_images(images, 5, seed)
    of_class = random.random(images) < share
    scores = np.where(of_class, scores, scores - 6)
    return ClassScores(
        features=sums,
        scores=scores,
        gradients=gradients,
        intercepts=scores - (sums * gradients).sum(1),
        thresholds=random.normal(2, 2, images),
        of_class=of_class,
        rivals=np.full(images, -1),
    )


def tree_of(scores: ClassScores) -> DecisionModeTree:
    own = scores.of_class
    return DecisionModeTree().fit(scores.features[own], scores.scores[own], scores.gradients[own])


def removals_of(scores: ClassScores, seed: int = 0) -> np.ndarray:
    removals = np.random.default_rng(seed).normal(size=(len(scores.scores), len(PARTS)))
    removals[~scores.of_class] = np.nan
    return removals


@pytest.mark.parametrize("seed", range(3))
def test_measures_of_arrays_are_those_of_the_formulas(seed: int) -> None:
    random = np.random.default_rng(seed)
    predicted, scores = random.normal(size=9), random.uniform(1, 4, 9)
    assert prediction_error(predicted, scores) == pytest.approx(oracle.prediction_error(predicted, scores), rel=1e-12)
    rho, own = random.normal(size=(9, 6)), random.normal(size=(9, 6))
    own[:, 2], own[4] = 0, 0
    rho[4] = 0
    assert contribution_fitness(rho, own) == pytest.approx(oracle.contribution_fitness(rho, own), rel=1e-12)
    estimated, ablated = random.normal(size=(9, 3)), random.normal(size=(9, 3))
    np.testing.assert_allclose(
        part_contribution_errors(estimated, ablated, scores),
        oracle.part_contribution_error(estimated, ablated, scores),
        rtol=1e-12,
    )


def test_known_measures() -> None:
    assert prediction_error(np.array([1.0, 2, 3]), np.array([1.0, 4, 2])) == pytest.approx((0 + 2 + 1) / 3 / 3)
    # filters: half of the share, the wrong sign, more than the share
    assert contribution_fitness(np.array([[1.0, -1, 4]]), np.array([[2.0, 1, 2]])) == pytest.approx(3 / 7)
    errors = part_contribution_errors(np.array([[1.0], [3.0]]), np.array([[2.0], [1.0]]), np.array([2.0, 4.0]))
    assert errors.tolist() == [0.5]


def test_equal_contributions_fit_wholly_and_opposite_ones_not_at_all() -> None:
    own = np.random.default_rng(0).normal(size=(8, 5))
    assert contribution_fitness(own, own) == 1
    assert contribution_fitness(-own, own) == 0
    assert contribution_fitness(0 * own, own) == 0
    assert contribution_fitness(0 * own, 0 * own) == 1
    assert contribution_fitness(2 * own, own) == pytest.approx(0.5)


def test_scores_that_are_all_equal_have_no_error_or_an_infinite_one() -> None:
    assert prediction_error(np.full(3, 2.0), np.full(3, 2.0)) == 0
    assert prediction_error(np.full(3, 1.0), np.full(3, 2.0)) == np.inf


def test_accuracy_weighs_the_class_and_the_others_alike() -> None:
    scores = drawn_scores(6)._replace(
        of_class=np.array([True, True, False, False, False, False]), thresholds=np.array([0.0, 1, 0, 0, 0, 1])
    )
    assert balanced_accuracy(scores, np.array([1.0, 1, -1, -1, 2, 1])) == pytest.approx((1 / 2 + 3 / 4) / 2)
    everyone = scores._replace(of_class=np.ones(6, dtype=bool))
    assert balanced_accuracy(everyone, np.array([1.0, 1, -1, -1, 2, 1])) == pytest.approx(2 / 6)


def literal_measures(tree: DecisionModeTree, scores: ClassScores, removals: np.ndarray, level: int | None) -> tuple:
    """Image by image from the nodes' rationales."""
    children, weights = dict(enumerate(tree.tree_.children)), dict(enumerate(tree.tree_.weights))
    predicted, contributed, own = [], [], []
    for i in range(len(scores.scores)):
        slope, x = scores.gradients[i] * tree.scale_, scores.features[i] / tree.scale_
        path = oracle.parse_path(slope, children, weights)
        node = path[-1] if level is None else path[min(level, len(path)) - 1]
        contributed.append(weights[node] * x * np.linalg.norm(slope))
        predicted.append(contributed[-1].sum() + tree.tree_.intercepts[node] * np.linalg.norm(slope))
        own.append(slope * x)
    mine = np.flatnonzero(scores.of_class)
    right = [(predicted[i] > scores.thresholds[i]) == scores.of_class[i] for i in range(len(predicted))]
    shares = [np.mean([right[i] for i in np.flatnonzero(scores.of_class == side)]) for side in (True, False)]
    parts = [[sum(contributed[i][d] for d in filters) for filters in PARTS.values()] for i in mine]
    return (
        oracle.prediction_error([predicted[i] for i in mine], scores.scores[mine]),
        oracle.contribution_fitness([contributed[i] for i in mine], [own[i] for i in mine]),
        float(np.mean(shares)),
        oracle.part_contribution_error(parts, removals[mine], scores.scores[mine]),
    )


@pytest.mark.parametrize("seed", range(3))
def test_levels_are_measured_as_image_by_image(seed: int) -> None:
    tree, scores = tree_of(drawn_scores(seed=seed)), drawn_scores(seed=seed + 50)
    removals = removals_of(scores)
    for found in level_measures(tree, scores, PARTS, removals):
        error, fitness, accuracy, parts = literal_measures(tree, scores, removals, found.level)
        assert found.prediction_error == pytest.approx(error, rel=1e-10)
        assert found.fitness == pytest.approx(fitness, rel=1e-10)
        assert found.accuracy == pytest.approx(accuracy, rel=1e-12)
        assert found.network_accuracy == balanced_accuracy(scores, scores.scores)
        assert list(found.part_errors) == list(PARTS)
        assert list(found.part_errors.values()) == pytest.approx(parts.tolist(), rel=1e-10)


def test_levels_are_those_published_and_count_leaves_that_end_above() -> None:
    tree = tree_of(scores := drawn_scores())
    found = level_measures(tree, scores, PARTS, removals_of(scores))
    assert tuple(measures.level for measures in found) == LEVELS == (1, 2, 3, 4, 5, 6, 7, None)
    depth = {0: 1}
    for node, below in enumerate(tree.tree_.children):
        depth |= dict.fromkeys(below, depth[node] + 1)
    leaves = [node for node, below in enumerate(tree.tree_.children) if not below]
    for measures in found:
        at = [
            node
            for node in depth
            if depth[node] == measures.level or (node in leaves and depth[node] < (measures.level or np.inf))
        ]
        assert measures.nodes == len(at)
    assert found[0].nodes == 1
    assert found[-1].nodes == scores.of_class.sum()


def test_a_perfect_tree_has_fitness_one_and_no_error_at_every_level() -> None:
    random = np.random.default_rng(0)
    slope = np.array([1.0, -0.5, 2.0, 0.3, 0.8])
    sums, of_class = random.uniform(1, 2, (16, 5)), np.arange(16) % 4 > 0
    scores = sums @ slope + 1.0
    slopes, thresholds = np.tile(slope, (16, 1)), np.where(of_class, 0.0, 50.0)
    drawn = ClassScores(sums, scores, slopes, np.ones(16), thresholds, of_class, np.full(16, -1))
    removals = np.stack([(sums * slope)[:, filters].sum(1) for filters in PARTS.values()], 1)
    for measures in level_measures(tree_of(drawn), drawn, PARTS, removals):
        assert measures.fitness == pytest.approx(1, abs=1e-5)
        assert measures.prediction_error == pytest.approx(0, abs=1e-5)
        assert list(measures.part_errors.values()) == pytest.approx([0, 0, 0], abs=1e-5)
        assert measures.accuracy == measures.network_accuracy == 1


def test_the_leaves_of_the_fitted_images_say_what_the_network_says() -> None:
    scores = drawn_scores(share=1.0)
    tree = tree_of(scores)
    (leaves,) = level_measures(tree, scores, PARTS, removals_of(scores), [None], tree.fitted_paths())
    assert leaves.fitness == pytest.approx(1, abs=1e-5)
    assert leaves.prediction_error == pytest.approx(0, abs=1e-5)
    assert leaves.accuracy == leaves.network_accuracy


def test_no_part_makes_no_part_errors() -> None:
    tree = tree_of(scores := drawn_scores())
    for measures in level_measures(tree, scores, {}, np.empty((20, 0)), [1, None]):
        assert measures.part_errors == {}


def test_filters_of_no_part_count_in_none() -> None:
    tree = tree_of(scores := drawn_scores())
    (whole,) = level_measures(tree, scores, PARTS, removals_of(scores), [2])
    (some,) = level_measures(tree, scores, {"leg": [1]}, removals_of(scores)[:, 1:2], [2])
    assert some.part_errors == {"leg": whole.part_errors["leg"]}


def test_a_part_without_filters_contributes_nothing() -> None:
    tree = tree_of(scores := drawn_scores())
    removals = removals_of(scores)[:, :1]
    (found,) = level_measures(tree, scores, {"ear": []}, removals, [2])
    own = scores.of_class
    assert found.part_errors["ear"] == pytest.approx(np.abs(removals[own]).mean() / scores.scores[own].mean())


def test_images_of_other_classes_alone_cannot_be_measured() -> None:
    tree, scores = tree_of(drawn_scores()), drawn_scores(seed=1)
    nobody = scores._replace(of_class=np.zeros(20, dtype=bool))
    with pytest.raises(SurrogateError):
        level_measures(tree, nobody, PARTS, removals_of(nobody))


def test_a_tree_of_units_of_its_own_measures_the_same() -> None:
    scores = drawn_scores()
    scaled = scores._replace(features=scores.features * 30, gradients=scores.gradients / 30)
    own = scores.of_class
    other = DecisionModeTree(cells=9).fit(scaled.features[own], scaled.scores[own], scaled.gradients[own])
    expected = level_measures(tree_of(scores), scores, PARTS, removals_of(scores))
    for found, known in zip(level_measures(other, scaled, PARTS, removals_of(scores)), expected, strict=True):
        assert found.prediction_error == pytest.approx(known.prediction_error, rel=1e-4)
        assert found.fitness == pytest.approx(known.fitness, rel=1e-4)
