from pathlib import Path

import numpy as np
import pytest
from fitted_attributes import FITTED
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.exemplars.mmd_critic import MMDCritic

# rows, type and parameters; an odd number of rows leaves the ranks uneven shares
CASES = {
    "float64": (1301, np.float64, {}),
    "float32": (2503, np.float32, {"regularizer_weight": "auto"}),
    "local": (1301, np.float32, {"local": True, "weights": "nnls"}),
    "sampled": (1301, np.float64, {"colmean_samples": 333}),
    "cross-validated": (101, np.float64, {"gamma": "cv-1nn"}),
    "one row": (1, np.float64, {"n_prototypes": 1, "n_criticisms": 0, "gamma": 1.0}),
    "three equal rows": (3, np.float32, {"n_prototypes": 2, "n_criticisms": 1, "gamma": 1.0}),
}


def fitted(case: str) -> dict[str, np.ndarray]:
    """What one process, or each of several, fits to the same rows."""
    count, dtype, parameters = CASES[case]
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(7, 6))[generator.integers(0, 7, count)] + 0.2 * generator.normal(size=(count, 6))
    if case == "three equal rows":
        rows[:] = rows[0]
    labels = generator.choice(4, count, p=[0.7, 0.2, 0.09, 0.01])
    critic = MMDCritic(**{"n_prototypes": 25, "n_criticisms": 15} | parameters)
    critic.fit(rows.astype(dtype), labels, sample_weight=generator.random(count))
    found = {name: np.asarray(getattr(critic, name)) for name in FITTED}
    return found | {"witness of new rows": critic.witness(rows[:5].astype(dtype) + 1, labels[:5])}


def one_rank(rank: int, folder: str, ranks: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks)
    for number, case in enumerate(CASES):
        np.savez(f"{folder}/{number}-{rank}.npz", **fitted(case))
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    mp.start_processes(one_rank, args=(str(tmp_path), 2), nprocs=2, start_method="fork")
    for number, case in enumerate(CASES):
        alone = fitted(case)
        ranks = [np.load(tmp_path / f"{number}-{rank}.npz") for rank in range(2)]
        for name, expected in alone.items():
            np.testing.assert_array_equal(ranks[0][name], ranks[1][name], err_msg=f"{name} of {case}")
            np.testing.assert_allclose(ranks[0][name], expected, rtol=1e-10, atol=1e-10, err_msg=f"{name} of {case}")
            if name.endswith("indices_"):
                np.testing.assert_array_equal(ranks[0][name], expected, err_msg=f"{name} of {case}")
