import math
from typing import Any

import pytest
import torch
from oracles import few_shot_localisation as literal
from sklearn.linear_model import Ridge
from torch import Tensor

from interpretable.errors import MetricError
from interpretable.metrics import few_shot_predictions
from interpretable.metrics.few_shot_localisation import FewShotResult, few_shot_localisation
from interpretable.metrics.peak_table import PeakTable

NAN = math.nan
CLASSES = 4
SHOTS = (1, 2, 5)
SIZES = torch.tensor([[24, 16], [15, 20]])


def random_table(labels: Tensor, nodes: int, parts: int = 3) -> PeakTable:
    """Images of two sizes; nodes follow a part the less the higher their number, the last is always silent."""
    images = len(labels)
    sizes = SIZES[torch.randint(0, 2, (images,))]
    places = torch.rand(images, parts, 2, dtype=torch.float64)
    noise = torch.rand(images, nodes, 2, dtype=torch.float64)
    share = torch.linspace(0, 1, nodes, dtype=torch.float64)[:, None]
    positions = sizes[:, None] * ((1 - share) * places[:, torch.arange(nodes) % parts] + share * noise)
    values = torch.rand(images, nodes, dtype=torch.float64) - 0.3
    values[:, -1] = -1
    positions[values <= 0] = NAN  # where a silent node is must never be read
    landmarks = sizes[:, None] * places
    landmarks[torch.rand(images, parts) < 0.3] = NAN
    return PeakTable(values, positions, landmarks, torch.full((images, parts, 4), NAN), labels, sizes)


def random_case(nodes: int = 30) -> tuple[PeakTable, PeakTable]:
    """Class 2 has three training images, class 3 test images alone; label 7 is no class."""
    train = torch.tensor([0] * 14 + [1] * 12 + [2] * 3 + [7] * 3)
    test = torch.tensor([0] * 5 + [1] * 6 + [2] * 3 + [3] * 2 + [7] * 2)
    return tuple(random_table(labels[torch.randperm(len(labels))], nodes) for labels in (train, test))


def measured(train: PeakTable, test: PeakTable, **options: Any) -> FewShotResult:
    return few_shot_localisation(train, test, CLASSES, **{"shots": SHOTS, "draws": 4} | options)


def same(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    found, expected = (torch.as_tensor(each, dtype=torch.float64) for each in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, equal_nan=True)


def agree(one: FewShotResult, two: FewShotResult, methods: tuple[str, ...] = FewShotResult._fields) -> None:
    for method in methods:
        for found, expected in zip(getattr(one, method), getattr(two, method), strict=True):
            same(found, expected)


def with_nodes(table: PeakTable, order: Any) -> PeakTable:
    return table._replace(values=table.values[:, order], positions=table.positions[:, order])


@pytest.mark.parametrize("numbers_at_once", [2**20, 50], ids=["at once", "in pieces"])
@pytest.mark.parametrize("nodes", [4, 30])
@pytest.mark.parametrize("seed", range(2))
def test_every_number_equals_the_literal_one(
    monkeypatch: pytest.MonkeyPatch, seed: int, nodes: int, numbers_at_once: int
) -> None:
    monkeypatch.setattr(few_shot_predictions, "_NUMBERS_AT_ONCE", numbers_at_once)
    torch.manual_seed(seed)
    train, test = random_case(nodes)
    expected = literal.tables(train, test, CLASSES, SHOTS, draws=3, seed=seed)
    found = measured(train, test, draws=3, seed=seed)
    assert 0 < found.nodes.table.isnan().double().mean() < 0.8
    for method in FewShotResult._fields:
        for name, number in expected[method].items():
            same(getattr(getattr(found, method), name), number)


def test_the_constants_are_those_of_the_literal_version() -> None:
    for name in ("NODES", "RIGIDITY", "REACH", "RIDGE"):
        assert getattr(few_shot_predictions, name) == getattr(literal, name)


def one_class(positions: Tensor, landmarks: Tensor, values: Tensor | None = None, side: float = 30) -> PeakTable:
    """Images of one class and one size that all show their one part."""
    images, nodes = positions.shape[:2]
    return PeakTable(
        torch.ones(images, nodes) if values is None else values,
        positions.double(),
        landmarks[:, None].double(),
        torch.full((images, 1, 4), NAN),
        torch.zeros(images, dtype=torch.int64),
        torch.tensor([[4 * side, 3 * side]]).repeat(images, 1) / 5,  # a diagonal of that length
    )


def test_a_case_by_hand() -> None:
    """One shot, diagonal 10: offsets (1, 0) and (0, 3), so that v is as 1² + 1 to 3² + 1, and weights are as 5 to 1."""
    shot = one_class(torch.tensor([[[3.0, 4.0], [4.0, 1.0]]]), torch.tensor([[4.0, 4.0]]), side=10)
    image = one_class(torch.tensor([[[5.0, 2.0], [2.0, 2.0]]]), torch.tensor([[5.0, 2.5]]), side=10)
    found = few_shot_localisation(shot, image, 1, shots=(1,), draws=1)
    x, y = (5 * 6 + 1 * 2) / 6, (5 * 2 + 1 * 5) / 6
    same(found.nodes.error, [math.hypot(x - 5, y - 2.5) / 10])
    same(found.mean.error, [math.hypot(1, 1.5) / 10])
    same(found.ridge.error, found.mean.error)
    assert found.nodes.standard_error.isnan().all()
    # Of scores three times the mean score in the shots' data, the second node has three times its weight.
    louder = image._replace(values=torch.tensor([[1.0, 3.0]]))
    x, y = (5 * 6 + 3 * 2) / 8, (5 * 2 + 3 * 5) / 8
    same(few_shot_localisation(shot, louder, 1, shots=(1,), draws=1).nodes.error, [math.hypot(x - 5, y - 2.5) / 10])


def test_with_two_shots_the_steadier_of_two_nodes_at_one_distance_weighs_more() -> None:
    """Diagonal 10: both mean offsets are 0; Σ‖o − ō‖² is 0 and 2, so that v is as 0.1 to 200.1 in hundredths."""
    landmarks = torch.tensor([[4.0, 4.0], [5.0, 3.0]])
    positions = torch.stack([landmarks, landmarks + torch.tensor([[1.0, 0.0], [-1.0, 0.0]])], 1)
    image = one_class(torch.tensor([[[3.0, 3.0], [6.0, 3.0]]]), torch.tensor([[3.0, 3.0]]), side=10)
    found = few_shot_localisation(one_class(positions, landmarks, side=10), image, 1, shots=(2,), draws=1)
    steady, other = 1 / 0.001, 1 / (0.02 + 0.001)
    same(found.nodes.error, [0.3 * other / (steady + other)])


def test_the_regression_is_that_of_scikit_learn() -> None:
    """Every training image is a shot, so that the features are standardised over the shots."""
    landmarks, test_landmarks = 30 * torch.rand(6, 2), 30 * torch.rand(4, 2)
    positions, test_positions = 30 * torch.rand(6, 5, 2).double(), 30 * torch.rand(4, 5, 2).double()
    found = few_shot_localisation(
        one_class(positions, landmarks), one_class(test_positions, test_landmarks), 1, shots=(6,), draws=1
    )
    mean, deviation = positions.mean(0), positions.std(0, correction=0)
    inputs, test_inputs = (((each - mean) / deviation).flatten(1).numpy() for each in (positions, test_positions))
    fit = Ridge(alpha=few_shot_predictions.RIDGE * 10).fit(inputs, landmarks.double().numpy())
    distances = torch.as_tensor(fit.predict(test_inputs)) - test_landmarks
    same(found.ridge.error, distances.norm(dim=1).mean()[None] / 30)


def test_the_order_of_the_nodes_does_not_matter() -> None:
    train, test = random_case()
    order = torch.randperm(30)
    agree(measured(with_nodes(train, order), with_nodes(test, order)), measured(train, test))


def test_shifting_everything_changes_nothing() -> None:
    train, test = random_case()
    size = torch.tensor([[24, 16]])
    tables = [table._replace(sizes=size.repeat(len(table.labels), 1)) for table in (train, test)]
    shift = torch.tensor([3.0, -50.0], dtype=torch.float64)
    moved = [table._replace(positions=table.positions + shift, landmarks=table.landmarks + shift) for table in tables]
    agree(measured(*moved), measured(*tables))


def test_scaling_everything_changes_nothing() -> None:
    train, test = random_case()
    larger = (
        table._replace(positions=3 * table.positions, landmarks=3 * table.landmarks, sizes=3 * table.sizes)
        for table in (train, test)
    )
    agree(measured(*larger), measured(train, test))


def test_doubled_scores_change_nothing_and_nor_does_a_scale_of_each_node() -> None:
    train, test = random_case()
    plain = measured(train, test)
    for scale in (2, 0.1 + torch.rand(30).double()):
        agree(measured(train._replace(values=scale * train.values), test._replace(values=scale * test.values)), plain)


@pytest.mark.parametrize("distance", [0.0, 0.3, 20.0])
def test_rigidly_tied_nodes_have_no_error_from_one_shot_on(distance: float) -> None:
    tables = []
    offsets = distance * torch.rand(25, 2, dtype=torch.float64)
    for images in (20, 6):
        landmarks = 30 * torch.rand(images, 2, dtype=torch.float64)
        tables.append(one_class(landmarks[:, None] + offsets, landmarks))
    found = few_shot_localisation(*tables, 1)
    same(found.nodes.error, torch.zeros(4))
    assert found.mean.error.min() > 0.1


def test_a_rigid_node_at_the_part_is_found_among_nodes_that_know_nothing() -> None:
    tables = []
    for images in (40, 20):
        landmarks = 30 * torch.rand(images, 2)
        tables.append(one_class(torch.cat([landmarks[:, None], 30 * torch.rand(images, 59, 2)], 1), landmarks))
    found = few_shot_localisation(*tables, 1)
    assert (found.nodes.error[1:] < 0.25 * found.mean.error[1:]).all()
    assert (found.nodes.error < 0.75 * found.mean.error).all()
    assert (found.nodes.error < found.ridge.error).all()
    assert found.nodes.error.diff().max() < 0


def test_parts_that_move_with_many_nodes_are_told_by_a_regression() -> None:
    """Each node shows a tenth of the part's movement: none is tied to it, together they say where it is."""
    tables = []
    for images in (40, 20):
        landmarks = 30 * torch.rand(images, 2)
        tables.append(one_class(0.1 * landmarks[:, None] + 0.01 * torch.randn(images, 50, 2), landmarks))
    found = few_shot_localisation(*tables, 1, shots=(10,))
    assert found.ridge.error < 0.2 * found.nodes.error
    assert found.nodes.error < found.mean.error


def test_layers_are_measured_with_the_same_shots() -> None:
    train, test = random_case()
    fewer = measured(with_nodes(train, slice(5)), with_nodes(test, slice(5)))
    whole = measured(train, test)
    agree(fewer, whole, ("mean",))
    assert not torch.allclose(fewer.nodes.error, whole.nodes.error)


def test_the_shots_of_a_class_and_part_do_not_depend_on_the_other_images() -> None:
    train, test = random_case()
    alone = train._replace(landmarks=train.landmarks.clone(), labels=train.labels.clone())
    alone.landmarks[:, 1] = NAN
    alone.labels[train.labels == 0] = 7
    found, whole = measured(alone, test), measured(train, test)
    for method in FewShotResult._fields:
        some, all_ = getattr(found, method).table, getattr(whole, method).table
        same(some[:, 1:, [0, 2]], all_[:, 1:, [0, 2]])
        assert some[:, 0].isnan().all()
        assert some[:, :, 1].isnan().all()


def test_a_seed_gives_the_same_numbers_again_and_leaves_the_generators_alone() -> None:
    train, test = random_case()
    state = torch.get_rng_state()
    agree(measured(train, test, seed=3), measured(train, test, seed=3))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(measured(train, test, seed=4).mean.by_draw, measured(train, test, seed=3).mean.by_draw)


def test_the_shots_of_a_smaller_number_are_among_those_of_a_larger() -> None:
    train, test = random_case()
    for number, place in zip(SHOTS, range(3), strict=True):
        alone, together = measured(train, test, shots=(number,)), measured(train, test)
        same(alone.nodes.by_draw[0], together.nodes.by_draw[place])


def test_when_every_image_is_a_shot_the_draws_are_equal() -> None:
    labels = torch.zeros(5, dtype=torch.int64)
    train = random_table(labels, 8)._replace(landmarks=20 * torch.rand(5, 3, 2).double())
    found = measured(train, random_table(labels, 8), shots=(5,))
    for method in found:
        same(method.standard_error, [0.0])
        same(method.by_draw, method.error[:, None].expand(1, 4))


def test_fewer_training_images_than_shots_leave_a_class_and_part_out() -> None:
    train, test = random_case()
    found = measured(train, test, shots=(1, 100))
    shown = torch.stack([(~train.landmarks[train.labels == k].isnan().any(-1)).sum(0) for k in range(CLASSES)])
    seen = torch.stack([(~test.landmarks[test.labels == k].isnan().any(-1)).sum(0) for k in range(CLASSES)])
    for method in found:
        assert torch.equal(method.table[0].isnan(), (shown == 0) | (seen == 0))
        assert method.table[1].isnan().all()
        assert method.error.isnan().tolist() == method.standard_error.isnan().tolist() == [False, True]
        same(method.error[0], method.table[0].nanmean())


@pytest.mark.parametrize("which", [0, 1])
def test_without_a_landmark_there_is_no_error(which: int) -> None:
    tables = list(random_case())
    tables[which] = tables[which]._replace(landmarks=torch.full_like(tables[which].landmarks, NAN))
    for method in measured(*tables):
        for number in method:
            assert number.isnan().all()


def test_a_landmark_with_one_missing_number_is_absent() -> None:
    train, test = random_case()
    whole, broken = train.landmarks.clone(), train.landmarks.clone()
    whole[::3], broken[::3, :, 1] = NAN, NAN
    agree(measured(train._replace(landmarks=broken), test), measured(train._replace(landmarks=whole), test))


def test_one_node_predicts_by_its_offset() -> None:
    train, test = (with_nodes(table, [0]) for table in random_case())
    found = measured(train, test)
    assert found.nodes.table[0].isfinite().any()
    same(found.nodes.error, literal.tables(train, test, CLASSES, SHOTS, 4, 0)["nodes"]["error"])


def test_nodes_that_are_silent_in_every_test_image_leave_the_mean_position() -> None:
    train, test = random_case()
    test.values[:] = 0
    test.positions[:] = NAN
    found = measured(train, test)
    for name in found.mean._fields:
        same(getattr(found.nodes, name), getattr(found.mean, name))


def test_a_silent_layer_and_one_without_nodes_know_the_mean_position() -> None:
    train, test = random_case()
    for table in (train, test):
        table.values[:] = -1
        table.positions[:] = NAN
    for found in (measured(train, test), measured(*(with_nodes(table, slice(0)) for table in (train, test)))):
        for name in found.mean._fields:
            same(getattr(found.nodes, name), getattr(found.mean, name))
            same(getattr(found.ridge, name), getattr(found.mean, name))


def test_nodes_that_no_training_image_excites_are_not_heard() -> None:
    train, test = random_case()
    train.values[:, 10:] = 0
    fewer = measured(*(with_nodes(table, slice(10)) for table in (train, test)))
    agree(measured(train, test), fewer)


@pytest.mark.parametrize("rounding", [0.0, 1e-6])
def test_nodes_that_never_move_but_for_rounding_leave_the_mean_position_to_both(rounding: float) -> None:
    tables = [one_class(11.3 + rounding * torch.randn(n, 6, 2), 30 * torch.rand(n, 2)) for n in (20, 5)]
    found = few_shot_localisation(*tables, 1)
    same(found.nodes.error, found.mean.error, 1e-6)
    same(found.ridge.error, found.mean.error)


def test_nodes_that_stand_still_in_the_shots_alone_leave_the_ridge_at_the_mean() -> None:
    landmarks = 30 * torch.rand(20, 2)
    landmarks[10:] = NAN
    positions = 30 * torch.rand(20, 6, 2)
    positions[:10] = 11.3
    image = one_class(30 * torch.rand(5, 6, 2), 30 * torch.rand(5, 2))
    found = few_shot_localisation(one_class(positions, landmarks), image, 1)
    same(found.ridge.error, found.mean.error)


def test_nan_peaks_are_refused() -> None:
    train, test = random_case()
    test.values[2, 1] = NAN
    with pytest.raises(MetricError, match=r"peak activations of the test images must be numbers, got NaN in row 2"):
        measured(train, test)


def test_tables_of_different_layers_are_refused() -> None:
    train, test = random_case()
    with pytest.raises(MetricError, match="the same filters and parts, got 30 filters and 3 parts against 4 and 3"):
        measured(train, with_nodes(test, slice(4)))


@pytest.mark.parametrize("options", [{"shots": (3, 0)}, {"shots": ()}, {"draws": 0}])
def test_no_shots_or_draws_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MetricError, match=r"needs shots and draws, got \d draws of \(.*\) shots; give positive"):
        measured(*random_case(), **options)
