import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import nn

from interpretable.errors import SurrogateError
from interpretable.surrogates.black_box import decisions_of, linearise


def rows(number: int = 50, features: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, features))


def network(classes: int, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, classes))


def test_integers_and_strings_are_decisions_as_they_are() -> None:
    features = rows()
    expected = np.arange(50) % 3
    names = np.array(["cat", "dog", "crocodile"])
    for box, decided in (
        (lambda x: (x[:, 0] > 0) + 7, (features[:, 0] > 0) + 7),
        (lambda x: x[:, 0] > 0, features[:, 0] > 0),
        (lambda x: torch.from_numpy(x[:, 0] > 0).int(), features[:, 0] > 0),
        (lambda x: ["b" if row[0] > 0 else "a" for row in x], np.where(features[:, 0] > 0, "b", "a")),
    ):
        np.testing.assert_array_equal(decisions_of(box, features), decided)
    labelled = np.concatenate([expected[:, None].astype(float), features], 1)
    found = decisions_of(lambda x: names.astype(object)[x[:, 0].astype(int)], labelled, batch_size=7)
    np.testing.assert_array_equal(found, names[expected])
    assert found.dtype.kind == "U"  # not cut to the longest name of the first batch


def test_the_highest_score_decides_and_the_first_of_equals() -> None:
    scores = np.array([[0.0, 2.0, 1.0], [3.0, 3.0, -9.0], [-1.0, -2.0, 0.0]])
    np.testing.assert_array_equal(decisions_of(lambda x: scores, np.zeros((3, 1))), [1, 0, 2])
    np.testing.assert_array_equal(decisions_of(lambda x: scores.astype(int).tolist(), np.zeros((3, 1))), [1, 0, 2])


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_a_single_logit_decides_by_its_sign(shape: tuple[int, ...]) -> None:
    logits = np.array([-1.0, 0.0, 1e-30, 5.0])
    np.testing.assert_array_equal(decisions_of(lambda x: logits.reshape(shape), np.zeros((4, 1))), [0, 0, 1, 1])


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_torch_module_is_asked_in_evaluation_mode_and_left_as_it_was(classes: int, dtype: torch.dtype) -> None:
    module = network(classes, dropout=0.9).to(dtype).train()
    features = rows()
    found = decisions_of(module, features, batch_size=50)
    assert all(layer.training for layer in module.modules())
    with torch.no_grad():
        logits = module.eval()(torch.from_numpy(features).to(dtype))
    expected = (logits[:, 0] > 0).long() if classes == 1 else logits.argmax(1)
    np.testing.assert_array_equal(found, expected.numpy())
    assert len(set(found)) > 1


def test_a_forest_decides_as_it_predicts_whether_asked_for_classes_or_probabilities() -> None:
    features = rows(200)
    forest = RandomForestClassifier(5, random_state=0).fit(features, (features[:, 0] > 0) + (features[:, 1] > 0))
    expected = forest.predict(features)
    np.testing.assert_array_equal(decisions_of(forest.predict, features), expected)
    np.testing.assert_array_equal(decisions_of(forest.predict_proba, features), expected)


def test_batches_are_no_larger_than_asked_and_change_nothing() -> None:
    sizes = []

    def box(x: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return x @ np.eye(4)

    features = rows(10)
    np.testing.assert_array_equal(decisions_of(box, features, batch_size=4), features.argmax(1))
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (lambda x: np.full(len(x), np.nan), "returned NaN for row 0 of 50"),
        (lambda x: np.where(x > x.max() - 1e-9, np.nan, x), "returned NaN for row"),
        (lambda x: x[:-1], r"for 50 rows it returned shape \(49, 4\)"),
        (lambda x: 1.0, r"for 50 rows it returned shape \(\)"),
        (lambda x: x[:, :1].astype(int), r"it returned int64 of shape \(50, 1\)"),
        (lambda x: x[:, :0], r"it returned float64 of shape \(50, 0\)"),
        (lambda x: x[:, None], r"it returned float64 of shape \(50, 1, 4\)"),
        (lambda x: x * 1j, "it returned complex128 of shape"),
        (lambda x: None, "it returned object of shape"),
        (lambda x: [[1.0, 2.0], [1.0]], "it returned list"),
        (lambda x: x.nonsense, r"on \(50, 4\) it failed with AttributeError: .*nonsense"),
        (nn.Linear(3, 2), r"on \(50, 4\) it failed with RuntimeError: .*mat1 and mat2"),
    ],
    ids=[str(number) for number in range(12)],
)
def test_any_other_output_is_refused_in_a_sentence(box, words: str) -> None:
    with pytest.raises(SurrogateError, match=words) as error:
        decisions_of(box, rows())
    assert "\n" not in str(error.value)


def test_outputs_that_change_their_kind_are_refused() -> None:
    def box(x: np.ndarray) -> np.ndarray:
        return x if len(x) == 32 else x[:, 0]

    with pytest.raises(SurrogateError, match="from row 32 on, float64 of shape"):
        decisions_of(box, rows(), batch_size=32)


def test_no_row_is_refused() -> None:
    with pytest.raises(SurrogateError, match="no row of features"):
        decisions_of(lambda x: x, np.zeros((0, 4)))


def smooth(x):
    """Σ_d sin(x_d) · x_0², of arrays and tensors alike."""
    sine = torch.sin(x) if isinstance(x, torch.Tensor) else np.sin(x)
    return sine.sum(1) * x[:, 0] ** 2


def smooth_gradient(x: np.ndarray) -> np.ndarray:
    gradient = np.cos(x) * x[:, :1] ** 2
    gradient[:, 0] += 2 * x[:, 0] * np.sin(x).sum(1)
    return gradient


def test_autograd_and_differences_give_the_gradient_of_a_smooth_score() -> None:
    features = rows()
    exact = linearise(smooth, features)
    np.testing.assert_allclose(exact.gradients, smooth_gradient(features), rtol=0, atol=1e-12)
    by_steps = linearise(smooth, features, step=1e-3)
    np.testing.assert_allclose(by_steps.gradients, exact.gradients, rtol=0, atol=1e-4)
    arrays_only = linearise(lambda x: np.asarray([smooth(np.array([row]))[0] for row in x.tolist()]), features)
    np.testing.assert_allclose(arrays_only.gradients, exact.gradients, rtol=0, atol=1e-4)
    for found in (exact, by_steps, arrays_only):
        np.testing.assert_allclose(found.scores, smooth(features), rtol=0, atol=1e-12)


def test_smaller_steps_come_closer_by_their_square() -> None:
    features = rows()
    errors = [
        abs(linearise(smooth, features, step).gradients - smooth_gradient(features)).max() for step in (0.1, 0.01)
    ]
    assert 80 < errors[0] / errors[1] < 120


def test_differences_are_exact_for_a_linear_score_whatever_the_scales() -> None:
    features = rows() * [1e-4, 1.0, 1e4, 0.0] + [0.0, 0.0, 0.0, 3.0]  # the last is constant
    weights = np.array([2e4, -1.0, 3e-4, 0.5])
    found = linearise(lambda x: np.asarray(x) @ weights + 1, features, step=1e-2)
    np.testing.assert_allclose(found.gradients, np.broadcast_to(weights, (50, 4)), rtol=1e-8)


def test_every_feature_is_stepped_by_its_share_of_the_spread_and_a_constant_one_by_the_step() -> None:
    asked = []

    def score(x: np.ndarray) -> np.ndarray:
        asked.append(np.array(x))
        return np.array(x).sum(1)

    features = rows() * [1.0, 10.0, 0.0, 0.1]
    linearise(score, features, step=0.5)
    moved = [abs(x - features).max(0) for x in asked]
    widths = 0.5 * np.where([True, True, False, True], features.std(0), 1)
    assert len(asked) == 2 * 4 + 1
    np.testing.assert_allclose(np.max(moved, 0), widths, rtol=1e-9)
    assert all((m > 0).sum() <= 1 for m in moved)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_is_linearised_exactly_in_evaluation_mode(dtype: torch.dtype) -> None:
    module = network(1, dropout=0.9).to(dtype).train()
    features = rows()
    found = linearise(module, features)
    assert all(layer.training for layer in module.modules())
    assert all(weight.grad is None for weight in module.parameters())
    first, last = module[0], module[3]
    hidden = features @ first.weight.detach().double().numpy().T + first.bias.detach().double().numpy()
    expected = (hidden > 0) * last.weight.detach().double().numpy() @ first.weight.detach().double().numpy()
    np.testing.assert_allclose(found.gradients, expected, rtol=0, atol=1e-6)
    by_steps = linearise(module.double(), features, step=1e-6)
    np.testing.assert_allclose(by_steps.gradients, expected, rtol=0, atol=1e-6)


def test_a_forest_needs_a_step_as_wide_as_its_pieces() -> None:
    features = rows(300)
    forest = RandomForestClassifier(20, max_depth=4, random_state=0).fit(features, features[:, 1] > 0)

    def score(x: np.ndarray) -> np.ndarray:
        return forest.predict_proba(x)[:, 1]

    with pytest.raises(SurrogateError, match=r"must depend on its features, .* pass a wider step"):
        linearise(score, features, step=1e-12)
    wide = linearise(score, features, step=0.5).gradients
    assert abs(wide).mean(0).argmax() == 1
    assert (wide[:, 1] > -1e-12).mean() > 0.9


@pytest.mark.parametrize(
    "score",
    [lambda x: x[:, 0] * 0, lambda x: np.ones(len(x)), lambda x: torch.round(torch.as_tensor(x)[:, 0])],
    ids=["times zero", "constant", "rounded"],
)
def test_a_score_that_depends_on_nothing_is_refused(score) -> None:
    with pytest.raises(SurrogateError, match="none of them changes it"):
        linearise(score, rows())


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (lambda x: x, r"one number for each of the 50 rows; it is float64 of shape \(50, 4\)"),
        (lambda x: x[:3, 0], r"it is float64 of shape \(3,\)"),
        (lambda x: np.array(["a"] * len(x)), "it is <U1 of shape"),
        (lambda x: np.sqrt(np.where(np.asarray(x)[:, 0] > 0, np.nan, 1.0)), "must be finite; that of row"),
        (
            lambda x: torch.sqrt(torch.as_tensor(x)[:, 0].abs() * 0),
            "must have a finite gradient; that of row 0 by feature 0",
        ),
        (lambda x: 1 / 0, "failed with ZeroDivisionError: division by zero"),
    ],
    ids=[str(number) for number in range(6)],
)
def test_any_other_score_is_refused_in_a_sentence(score, words: str) -> None:
    with pytest.raises(SurrogateError, match=words) as error:
        linearise(score, rows())
    assert "\n" not in str(error.value)
