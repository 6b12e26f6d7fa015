from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from interpretable.errors import ExemplarError
from interpretable.exemplars import nearest
from interpretable.exemplars.mmd_critic import MMDCritic
from interpretable.exemplars.nearest_prototype import NearestPrototypeClassifier, nearest_prototype_errors


@parametrize_with_checks([NearestPrototypeClassifier(), NearestPrototypeClassifier(30, gamma="1/d", local=False)])
def test_it_is_a_scikit_learn_classifier(estimator, check) -> None:
    check(estimator)


def literal_errors(prototypes, prototype_labels, rows, labels) -> list[float]:
    """Row by row and prototype by prototype, distances as exact fractions."""
    wrong = [0] * len(prototypes)
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        best = None
        for m, prototype in enumerate(prototypes.tolist()):
            square = sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(row, prototype, strict=True))
            if best is None or square < best[0]:
                best = (square, prototype_labels[m])
            wrong[m] += bool(best[1] != label)
    return [count / len(rows) for count in wrong]


def drawn(seed: int = 0, m: int = 30, k: int = 40, d: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Prototypes, their labels, rows and their labels."""
    random = np.random.default_rng(seed)
    return random.normal(size=(m, d)), random.integers(0, 3, m), random.normal(size=(k, d)), random.integers(0, 3, k)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("d", [1, 3, 20])
def test_errors_are_those_of_the_literal_search(d: int, dtype: type) -> None:
    prototypes, own, rows, labels = drawn(d=d)
    prototypes, rows = prototypes.astype(dtype), rows.astype(dtype)
    found = nearest_prototype_errors(prototypes, own, rows, labels)
    assert (found.shape, found.dtype) == ((30,), np.float64)
    assert len(set(found)) > 3
    assert found == pytest.approx(literal_errors(prototypes, own, rows, labels), abs=1e-15)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, bool])
def test_the_first_of_equally_near_prototypes_counts(seed: int, kind: type) -> None:
    random = np.random.default_rng(seed)
    prototypes, rows = random.integers(0, 2 if kind is bool else 3, (2, 60, 3)).astype(kind)
    own, labels = random.integers(0, 3, (2, 60))
    found = nearest_prototype_errors(prototypes, own, rows, labels)
    assert found == pytest.approx(literal_errors(prototypes.astype(int), own, rows.astype(int), labels), abs=1e-15)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("d", [2, 7, 64, 257])
def test_no_prototype_wins_against_its_equal_by_rounding(d: int, offset: float) -> None:
    random = np.random.default_rng(d)
    distinct = random.normal(size=(40, d)) + offset
    near = np.nextafter(distinct, np.inf)  # one rounding away in every column, with a label that is wrong
    copies = distinct[random.permutation(40)]
    prototypes = np.concatenate([distinct, near, copies])
    own = np.concatenate([np.zeros(40), np.ones(80)])
    for shown in (distinct, distinct[:1], distinct[::-1]):
        errors = nearest_prototype_errors(prototypes, own, shown, np.zeros(len(shown)))
        assert not errors.any()
    # equals that come last are still nearer than what is one rounding away
    errors = nearest_prototype_errors(np.concatenate([near, copies]), np.arange(80) // 40, distinct, np.ones(40))
    assert (errors[39], errors[-1]) == (1, 0)


@pytest.mark.parametrize("d", [1, 5, 256])
def test_mirrored_prototypes_are_equally_near(d: int) -> None:
    random = np.random.default_rng(d)
    one, far = random.normal(size=d), 50 + random.normal(size=(9, d))
    for first, second in ((one, -one), (-one, one)):
        prototypes = np.concatenate([far, [first, second]])
        errors = nearest_prototype_errors(prototypes, [*[0] * 9, 1, 2], np.zeros((5, d)), np.ones(5))
        assert errors.tolist() == [1.0] * 9 + [0.0, 0.0]


def test_prototypes_that_are_all_equal_count_as_the_first() -> None:
    errors = nearest_prototype_errors(np.full((300, 4), 0.1), np.arange(300), drawn(d=4)[2], np.zeros(40))
    assert not errors.any()


def test_an_offset_that_float32_can_hold_changes_nothing() -> None:
    random = np.random.default_rng(0)
    prototypes, rows = (random.integers(-64, 64, (2, 80, 5)) / 64).astype(np.float32)  # 1000 more is still exact
    own, labels = random.integers(0, 3, (2, 80))
    plain = nearest_prototype_errors(prototypes, own, rows, labels)
    assert np.array_equal(plain, nearest_prototype_errors(prototypes + 1000, own, rows + 1000, labels))
    assert plain == pytest.approx(literal_errors(prototypes, own, rows, labels), abs=1e-15)


def test_the_errors_of_fewer_prototypes_are_the_first_errors() -> None:
    prototypes, own, rows, labels = drawn(1)
    errors = nearest_prototype_errors(prototypes, own, rows, labels)
    for m in (1, 2, 7, 29):
        assert np.array_equal(nearest_prototype_errors(prototypes[:m], own[:m], rows, labels), errors[:m])


def test_the_order_of_rows_does_not_matter_and_their_errors_add_up() -> None:
    prototypes, own, rows, labels = drawn(2)
    errors = nearest_prototype_errors(prototypes, own, rows, labels)
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(nearest_prototype_errors(prototypes, own, rows[order], labels[order]), errors)
    single = [nearest_prototype_errors(prototypes, own, rows[[i]], labels[[i]]) for i in range(40)]
    assert errors == pytest.approx(np.mean(single, axis=0), abs=1e-15)


def test_the_order_of_prototypes_does_not_matter_to_all_of_them() -> None:
    prototypes, own, rows, labels = drawn(3)
    errors = nearest_prototype_errors(prototypes, own, rows, labels)
    assert nearest_prototype_errors(prototypes[::-1], own[::-1], rows, labels)[-1] == errors[-1]


@pytest.mark.parametrize("numbers", [1, 7, 100, 1000])
def test_how_much_is_computed_at_once_changes_nothing(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [drawn(4), tuple(np.round(part).astype(int) for part in drawn(4, d=2))]
    expected = [nearest_prototype_errors(*case) for case in cases]
    monkeypatch.setattr(nearest, "NUMBERS_AT_ONCE", numbers)
    for case, errors in zip(cases, expected, strict=True):
        assert np.array_equal(nearest_prototype_errors(*case), errors)


def test_what_is_in_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0

    def watched(prototypes: torch.Tensor, x: torch.Tensor, entering: torch.Tensor) -> object:
        nonlocal largest
        largest = max(largest, entering.numel())
        return plain(prototypes, x, entering)

    plain = nearest._winners
    monkeypatch.setattr(nearest, "_winners", watched)
    monkeypatch.setattr(nearest, "NUMBERS_AT_ONCE", 500)
    nearest_prototype_errors(*drawn(k=400))
    assert 250 < largest <= 500


def test_arrays_lists_and_tensors_are_alike() -> None:
    case = drawn(5)
    errors = nearest_prototype_errors(*case)
    assert np.array_equal(nearest_prototype_errors(*(part.tolist() for part in case)), errors)
    assert np.array_equal(nearest_prototype_errors(*(torch.from_numpy(part) for part in case)), errors)
    for part in case:
        part.flags.writeable = False
    assert np.array_equal(nearest_prototype_errors(*case), errors)


def test_labels_that_no_prototype_has_are_always_wrong() -> None:
    prototypes, own, rows, _ = drawn(6)
    names = np.array(["ant", "bee", "cat"])[own]
    assert (nearest_prototype_errors(prototypes, names, rows, np.full(40, "dog")) == 1).all()
    assert (nearest_prototype_errors(prototypes, np.full(30, "cat"), rows, np.full(40, "cat")) == 0).all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({0: np.zeros((0, 3)), 1: []}, r"needs one prototype or more.*got \(0, 3\)"),
        ({2: np.zeros((0, 3)), 3: []}, "0 of 0 rows"),
        ({1: [0, 1]}, "got 2 labels of 30 prototypes"),
        ({3: [0]}, "1 of 40 rows"),
        ({2: np.zeros((40, 4))}, r"as many columns as the rows, got \(30, 3\) for rows \(40, 4\)"),
        ({0: np.zeros(30)}, r"got \(30,\) for rows"),
        ({0: np.zeros((30, 0)), 2: np.zeros((40, 0))}, r"got \(30, 0\)"),
        ({0: np.full((30, 3), np.nan)}, "finite numbers"),
        ({2: np.full((40, 3), np.inf)}, "finite numbers"),
        ({2: np.full((40, 3), 1e200)}, "whose squares float64 can hold"),
        ({0: np.diag(np.full(3, 1e200)).repeat(10, 0)}, "whose squares float64 can hold"),
    ],
)
def test_what_has_no_nearest_prototype_is_refused_in_a_sentence(changed: dict, said: str) -> None:
    case = [changed.get(place, part) for place, part in enumerate(drawn())]
    with pytest.raises(ExemplarError, match=said) as error:
        nearest_prototype_errors(*case)
    assert str(error.value).count(". ") == 0


def test_prototypes_that_are_not_finite_are_refused_even_where_no_row_is_given() -> None:
    with pytest.raises(ExemplarError, match="finite numbers"):
        nearest.nearest_prototypes(torch.full((2, 3), torch.nan), torch.zeros(0, 3))
    assert nearest.nearest_prototypes(torch.zeros(2, 3), torch.zeros(0, 3)).shape == (0,)


# The classifier


def clusters(rows: int = 150, seed: int = 0, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Three labels in six overlapping clusters of different sizes."""
    centres = 2 * np.random.default_rng(0).normal(size=(6, d))
    random = np.random.default_rng(seed)
    kind = random.choice(6, rows, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    return centres[kind] + random.normal(size=(rows, d)), np.array(["owl", "ant", "bee"])[kind % 3]


@pytest.mark.parametrize("local", [True, False])
def test_its_prototypes_are_those_of_the_critic(local: bool) -> None:
    rows, labels = clusters()
    fitted = NearestPrototypeClassifier(12, gamma=0.2, local=local).fit(rows, labels)
    critic = MMDCritic(12, 0, gamma=0.2, local=local).fit(rows, labels)
    assert np.array_equal(fitted.prototype_indices_, critic.prototype_indices_)
    assert np.array_equal(fitted.prototypes_, rows[critic.prototype_indices_])
    assert np.array_equal(fitted.prototype_labels_, labels[critic.prototype_indices_])
    assert fitted.classes_.tolist() == ["ant", "bee", "owl"]
    assert fitted.critic_.mmd2_ == pytest.approx(critic.mmd2_, rel=1e-12)
    assert len(fitted.critic_.criticism_indices_) == 0


def test_every_argument_reaches_the_critic() -> None:
    rows, labels = clusters()
    asked = {"gamma": "1/d", "local": False, "colmean_samples": 40, "random_state": 3, "device": "cpu"}
    critic = NearestPrototypeClassifier(7, **asked).fit(rows, labels).critic_
    assert {name: critic.get_params()[name] for name in asked} == asked
    assert (critic.n_prototypes, critic.n_criticisms) == (7, 0)


def test_gamma_can_be_cross_validated_with_names_and_groups() -> None:
    rows, labels = clusters()
    groups = np.arange(150) // 2
    fitted = NearestPrototypeClassifier(12, gamma="cv-1nn").fit(rows, labels, groups)
    assert fitted.critic_.gamma_ == MMDCritic(12, 0, gamma="cv-1nn", local=True).fit(rows, labels, groups=groups).gamma_
    assert fitted.score(rows, labels) > 0.6


def test_a_row_is_named_after_its_nearest_prototype() -> None:
    rows, labels = clusters()
    others, _ = clusters(300, seed=1)
    fitted = NearestPrototypeClassifier(20).fit(rows, labels)
    peer = KNeighborsClassifier(1).fit(fitted.prototypes_, fitted.prototype_labels_)
    assert np.array_equal(fitted.predict(others), peer.predict(others))
    assert np.array_equal(fitted.predict(fitted.prototypes_), fitted.prototype_labels_)


@pytest.mark.parametrize("k", [1, 3, 7, 49, 100, 149])
def test_the_last_error_is_one_minus_the_score(k: int) -> None:
    rows, labels = clusters()
    others, theirs = clusters(k, seed=2)
    fitted = NearestPrototypeClassifier(20).fit(rows, labels)
    curve = fitted.error_curve(others, theirs)
    assert curve.shape == (20,)
    assert curve[-1] == 1 - fitted.score(others, theirs)


def test_the_curve_holds_the_errors_of_classifiers_with_fewer_prototypes() -> None:
    rows, labels = clusters()
    others, theirs = clusters(90, seed=3)
    curve = NearestPrototypeClassifier(20, gamma=0.3).fit(rows, labels).error_curve(others, theirs)
    scores = [NearestPrototypeClassifier(m, gamma=0.3).fit(rows, labels).score(others, theirs) for m in (1, 2, 5, 13)]
    assert [1 - score for score in scores] == curve[[0, 1, 4, 12]].tolist()
    assert curve[0] > curve[-1]


def test_more_prototypes_than_rows_are_all_rows() -> None:
    rows, labels = clusters(60)
    others, _ = clusters(90, seed=1)
    fitted = NearestPrototypeClassifier(1000).fit(rows, labels)
    assert sorted(fitted.prototype_indices_) == list(range(60))
    assert np.array_equal(fitted.predict(others), KNeighborsClassifier(1).fit(rows, labels).predict(others))


def test_of_a_group_one_row_at_the_most_is_a_prototype() -> None:
    rows, labels = clusters(90)
    groups = np.arange(90) % 17
    fitted = NearestPrototypeClassifier(40).fit(rows, labels, groups)
    assert sorted(groups[fitted.prototype_indices_]) == list(range(17))


def test_one_row_is_named_where_gamma_is_a_number() -> None:
    fitted = NearestPrototypeClassifier(gamma=1.0).fit([[1.0, 2.0]], ["owl"])
    assert fitted.predict([[5.0, 5.0], [0.0, 0.0]]).tolist() == ["owl", "owl"]
    with pytest.raises(ExemplarError, match="needs two rows or more, got 1 sample"):
        NearestPrototypeClassifier().fit([[1.0, 2.0]], ["owl"])


def test_nothing_is_named_before_it_is_fitted() -> None:
    with pytest.raises(NotFittedError):
        NearestPrototypeClassifier().error_curve(*clusters(3))


@pytest.mark.parametrize("local", [True, False])
def test_one_label_is_always_right(local: bool) -> None:
    rows, _ = clusters(30)
    assert NearestPrototypeClassifier(4, local=local).fit(rows, np.full(30, "owl")).score(rows, np.full(30, "owl")) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"n_prototypes": 0}, "n_prototypes"), ({"gamma": "mean"}, "gamma"), ({"colmean_samples": 0}, "colmean_samples")],
)
def test_wrong_arguments_are_named(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError, match=f"The '{said}' parameter"):
        NearestPrototypeClassifier(**arguments).fit(*clusters(30))


def test_groups_and_labels_are_as_many_as_rows() -> None:
    rows, labels = clusters(30)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        NearestPrototypeClassifier(3).fit(rows, labels, np.arange(29))
    with pytest.raises(ExemplarError, match="29 of 30 rows"):
        NearestPrototypeClassifier(3).fit(rows, labels).error_curve(rows, labels[:29])
