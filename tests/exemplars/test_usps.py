"""1-nearest-neighbour error of USPS digits with prototypes alone, against an independent implementation's figures."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from interpretable.exemplars.mmd_critic import MMDCritic
from interpretable.exemplars.nearest_prototype import nearest_prototype_errors

pytestmark = pytest.mark.slow
MOST = 1145


class Digits(NamedTuple):
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


@pytest.fixture(scope="module")
def digits() -> Digits:
    folder = os.environ.get("INTERPRETABLE_DATA")
    if not folder:
        pytest.skip("INTERPRETABLE_DATA is unset: this test needs the USPS digits, usps.npz, in the folder it names")
    path = Path(folder) / "usps.npz"
    if not path.is_file():
        pytest.skip(f"{path} is missing: this test needs the USPS digits")
    with np.load(path, allow_pickle=False) as file:
        pixels = [(file[name].reshape(-1, 256) / 127.5 - 1).astype(np.float32) for name in ("x_train", "x_test")]
        return Digits(pixels[0], file["y_train"], pixels[1], file["y_test"])


@pytest.fixture(scope="module", params=[False, True], ids=["global", "local"])
def critic(request: pytest.FixtureRequest, digits: Digits) -> MMDCritic:
    return MMDCritic(MOST, 10, gamma=0.026, local=request.param).fit(digits.train, digits.train_labels)


def errors(digits: Digits, references: np.ndarray) -> np.ndarray:
    """Test error in percent with the first 1..m references."""
    rows, labels = digits.train[references], digits.train_labels[references]
    return 100 * nearest_prototype_errors(rows, labels, digits.test, digits.test_labels)


def test_all_rows_give_the_known_error(digits: Digits) -> None:
    assert errors(digits, np.arange(len(digits.train)))[-1] == pytest.approx(4.98, abs=0.05)


def test_the_first_prototypes_give_the_known_errors(digits: Digits, critic: MMDCritic) -> None:
    known = {110: 12.01, 410: 8.87, 1145: 6.78} if critic.local else {110: 15.74, 410: 9.97, 1145: 7.47}
    found = errors(digits, critic.prototype_indices_)
    assert {m: found[m - 1] for m in known} == pytest.approx(known, abs=0.3)


def test_prototypes_are_nearer_to_the_digits_than_random_ones(digits: Digits, critic: MMDCritic) -> None:
    others = np.random.default_rng(0).choice(len(digits.train), MOST, replace=False)
    assert (critic.mmd2_[:-1] > critic.mmd2_[1:]).mean() > 0.9
    assert (critic.mmd2_ < critic.mmd2_of(others)).all()
    assert critic.mmd2_[-1] > 0
