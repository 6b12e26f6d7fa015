from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from interpretable.documents import read_document
from interpretable.errors import SurrogateError
from interpretable.surrogates import sparse_logistic as solver
from interpretable.surrogates.filter_tree import FilterTree
from interpretable.surrogates.imitation import held_out
from interpretable.surrogates.linear_surrogate import STRENGTHS, LinearSurrogate
from interpretable.surrogates.records import DocumentRecord
from interpretable.surrogates.sparse_logistic import sparse_logistic


@parametrize_with_checks([LinearSurrogate(), LinearSurrogate(strength=1.0)])
def test_it_is_a_scikit_learn_classifier(estimator, check) -> None:
    check(estimator)


def drawn(decisions: int = 3, rows: int = 300, features: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Decisions drawn from log-odds of two features each, at very different scales."""
    generator = np.random.default_rng(seed)
    scale = 10.0 ** np.arange(-4, 4)[:features]
    values = generator.normal(size=(rows, features)) + 1
    odds = 2 * values[:, :decisions] - 2 * values[:, 1 : decisions + 1]
    return values * scale, (odds + generator.gumbel(size=odds.shape)).argmax(1)


@pytest.mark.parametrize("decisions", [2, 3, 4])
@pytest.mark.parametrize("strength", [0.03, 0.3, 3.0])
def test_the_solution_is_scikit_learns(decisions: int, strength: float) -> None:
    values, codes = drawn(decisions)
    values = (values - values.mean(0)) / values.std(0)
    weights, intercepts = sparse_logistic(values, codes, decisions, strength)
    peer = LogisticRegression(l1_ratio=1, solver="saga", C=strength, tol=1e-9, max_iter=20000, random_state=0)
    peer.fit(values, codes)
    assert weights.shape == peer.coef_.shape
    found, expected = (
        np.concatenate([w, b[:, None]], 1) for w, b in ((weights, intercepts), (peer.coef_, peer.intercept_))
    )
    assert abs(weights).sum() == pytest.approx(abs(peer.coef_).sum(), abs=2e-2)
    assert np.count_nonzero(weights) <= (abs(peer.coef_) > 1e-9).sum()
    if decisions == 3:  # an even number of decisions leaves a constant free, within bounds, in each feature's weights
        np.testing.assert_array_equal(weights != 0, abs(peer.coef_) > 1e-9)
    if decisions > 2:  # softmax is the same with a constant added to all odds
        found, expected = found - found.mean(0), expected - expected.mean(0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-3)


def test_of_equally_good_weights_the_sparsest_are_given() -> None:
    values, codes = drawn(4)
    values = (values - values.mean(0)) / values.std(0)
    weights, _ = sparse_logistic(values, codes, 4, 3.0)
    assert (weights == 0).any(0).all()
    for shift in (-1e-3, 1e-3):
        assert (abs(weights + shift).sum(0) >= abs(weights).sum(0) - 1e-12).all()


@pytest.mark.parametrize("decisions", [2, 3])
def test_the_solution_fulfils_the_conditions_of_an_optimum(decisions: int) -> None:
    values, codes = drawn(decisions)
    values = (values - values.mean(0)) / values.std(0)
    weights, intercepts = sparse_logistic(
        values,
        codes,
        decisions,
        0.1,
        (np.ones((decisions if decisions > 2 else 1, 8)), np.zeros(decisions if decisions > 2 else 1)),
    )
    odds = values @ weights.T + intercepts
    odds = np.concatenate([0 * odds, odds], 1) if decisions == 2 else odds
    slope = 0.1 * (softmax(odds, 1) - np.eye(decisions)[codes]).T @ values
    slope = slope[1:] if decisions == 2 else slope
    chosen = weights != 0
    assert 0 < chosen.sum() < chosen.size
    np.testing.assert_allclose(slope[chosen], -np.sign(weights[chosen]), atol=1e-2)
    assert abs(slope[~chosen]).max() <= 1 + 1e-2


def test_a_solution_that_was_not_reached_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "_ITERATIONS", 2)
    with pytest.warns(ConvergenceWarning, match=r"C = 10\.0 did not converge in \d iterations"):
        sparse_logistic(*drawn(), 3, 10.0)


def test_the_strength_is_that_of_most_agreement_held_out_and_of_equals_the_sparsest() -> None:
    values, decisions = drawn()
    fitted, judged = held_out(decisions, 0.2, 0)
    scores = []
    for strength in STRENGTHS:
        one = LinearSurrogate(strength=strength).fit(values[fitted], decisions[fitted])
        scores.append((one.score(values[judged], decisions[judged]), -np.count_nonzero(one.coef_), -strength))
    found = LinearSurrogate().fit(values, decisions)
    assert found.strength_ == -max(scores)[2]
    alone = LinearSurrogate(strength=found.strength_).fit(values, decisions)
    np.testing.assert_array_equal(alone.coef_, found.coef_)


def test_of_equally_faithful_strengths_the_sparsest_is_taken() -> None:
    generator = np.random.default_rng(0)
    side = np.where(np.arange(200) % 2 == 0, 5.0, -5.0)
    values = np.stack([side, side + generator.normal(size=200), generator.normal(size=200)], 1)
    found = LinearSurrogate().fit(values, side > 0)  # every C names all rows rightly once it has a weight
    assert found.strength_ < STRENGTHS[-1]
    assert np.flatnonzero(found.coef_[0]).tolist() == [0]


def test_weights_are_in_units_of_the_raw_features() -> None:
    values, decisions = drawn()
    shifted = values * 1000 + 7
    first, second = (LinearSurrogate(strength=0.3).fit(x, decisions) for x in (values, shifted))
    np.testing.assert_allclose(second.coef_ * 1000, first.coef_, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(second.predict_proba(shifted), first.predict_proba(values), atol=1e-9)
    odds = values @ first.coef_.T + first.intercept_
    np.testing.assert_allclose(first.predict_proba(values), softmax(odds, 1), atol=1e-12)


def test_permuted_features_permute_the_weights() -> None:
    values, decisions = drawn()
    order = np.random.default_rng(1).permutation(8)
    first, second = LinearSurrogate().fit(values, decisions), LinearSurrogate().fit(values[:, order], decisions)
    assert first.strength_ == second.strength_
    spread = values.std(0)
    np.testing.assert_allclose(second.coef_ * spread[order], (first.coef_ * spread)[:, order], atol=2e-3)


def test_features_that_decide_are_found_among_many_that_do_not() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(500, 40))
    found = LinearSurrogate(strength=0.1).fit(values, values[:, 7] - values[:, 21] > 0.2)
    assert np.flatnonzero(found.coef_[0]).tolist() == [7, 21]
    assert found.coef_[0, 7] > 0 > found.coef_[0, 21]


def test_a_constant_feature_has_no_weight_and_one_decision_is_a_constant() -> None:
    values, decisions = drawn()
    values[:, 2] = 3.5
    assert not LinearSurrogate(strength=10.0).fit(values, decisions).coef_[:, 2].any()
    constant = LinearSurrogate().fit(values, ["owl"] * len(values))
    assert constant.predict(values[:2]).tolist() == ["owl", "owl"]
    assert constant.predict_proba(values[:2]).tolist() == [[1.0], [1.0]]
    assert constant.coef_.tolist() == [[0.0] * 8]


def test_few_rows_and_rare_decisions_are_fitted() -> None:
    assert LinearSurrogate(strength=10.0).fit([[0.0], [1.0]], [4, 9]).predict([[0.0], [1.0]]).tolist() == [4, 9]
    values, decisions = drawn()
    decisions[0] = 17
    assert 17 in LinearSurrogate().fit(values, decisions).classes_
    many = LinearSurrogate().fit(values[:10], np.arange(10))  # those held out are unknown to those fitted
    assert many.coef_.shape == (10, 8)


def test_a_black_box_is_imitated_by_its_own_decisions() -> None:
    values, decisions = drawn()
    tree = FilterTree().fit(values, decisions)
    np.testing.assert_array_equal(
        LinearSurrogate().fit(values, tree.predict_proba).coef_,
        LinearSurrogate().fit(values, tree.predict(values)).coef_,
    )


@pytest.mark.parametrize("decisions", [1, 2, 4])
@pytest.mark.parametrize("names", [None, np.array(["a", "é", "zebra", "</b>"])])
def test_a_loaded_surrogate_is_the_saved_one_bit_for_bit(tmp_path: Path, decisions: int, names) -> None:
    values, chosen = drawn(max(decisions, 2))
    chosen = chosen * 0 + 5 if decisions == 1 else chosen
    chosen = chosen if names is None else names[chosen % 4]
    fitted = LinearSurrogate(strength=0.3).fit(values, chosen)
    fitted.save(tmp_path / "tree.json")
    loaded = LinearSurrogate.load(tmp_path / "tree.json")
    assert loaded.get_params() == fitted.get_params()
    assert (loaded.strength_, loaded.n_features_in_) == (0.3, 8)
    np.testing.assert_array_equal(loaded.predict(values), fitted.predict(values))
    np.testing.assert_array_equal(loaded.predict_proba(values), fitted.predict_proba(values))
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tree.json").read_bytes()


def test_a_file_of_another_surrogate_or_of_another_form_is_refused(tmp_path: Path) -> None:
    values, decisions = drawn()
    path = tmp_path / "tree.json"
    FilterTree().fit(values, decisions).save(path)
    with pytest.raises(SurrogateError, match="holds no linear surrogate"):
        LinearSurrogate.load(path)
    LinearSurrogate(strength=0.3).fit(values, decisions).save(path)
    record = read_document(path, DocumentRecord).linear
    assert record is not None
    for change in ({"weights": record.weights[:2]}, {"intercepts": ()}, {"weights": ((1.0,), (1.0,), (1.0, 2.0))}):
        with pytest.raises(SurrogateError, match="must have 3 rows for 3 decisions"):
            LinearSurrogate.from_record(record.model_copy(update=change))
    text = path.read_text()
    path.write_text(text.replace('"strength": 0.3', '"strength": 0.4'))
    with pytest.raises(SurrogateError, match="the field linear was changed"):
        LinearSurrogate.load(path)


@pytest.mark.parametrize("arguments", [{"strength": 0.0}, {"strength": "some"}, {"validation_fraction": 0.0}])
def test_arguments_out_of_range_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match=f"The '{next(iter(arguments))}' parameter"):
        LinearSurrogate(**arguments).fit(*drawn())
