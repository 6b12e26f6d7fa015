"""Ranks with unequal shares of the images have the value, gradient and state of one process with all of them."""

from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import get_args

import pytest
import torch
from losses.maps import close, random_maps
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.filter_weight import FilterWeight
from interpretable.losses import (
    Objective,
    PartTemplateLoss,
    authors_loss,
    decompose,
    effective_images,
    filter_overlap,
    mutual_information,
    paper_information,
)

SIZES = {2: [8, 3], 4: [5, 3, 1, 2]}
OBJECTIVES = list(get_args(Objective))
FUNCTIONS = ["mutual_information", "decompose", "effective_images"]
BUFFERS = ["running_peak", "class_response", "class_share", "slope", "category"]


def module(objective: str) -> PartTemplateLoss:
    return PartTemplateLoss(3, objective=objective, num_classes=3).double()


def losses_of(x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What is compared: a scalar each, weighted so that filters do not cancel."""
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    terms = decompose(x, scale=1.5)
    return {
        "mutual_information": (weights * mutual_information(x, scale=1.5)).sum(),
        "decompose": (weights * (terms.inter_category + 2 * terms.spatial)).sum(),
        "effective_images": (weights * effective_images(x, scale=1.5)).sum(),
        "overlap": filter_overlap(x, scale=1.5),
        **{f"loss {objective}": module(objective)(x, labels) for objective in OBJECTIVES},
    }


def case() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    x = random_maps(11, 3, 3, 4)
    x[5:8, 1] = 0.0  # a filter that is silent on the second of four ranks
    return x, torch.tensor([0, 0, 1, 2, 0, 1, 0, 1, 2, 2, 0]), 1 + torch.rand(3, 3, 4, dtype=torch.float64)


def measured(part: slice) -> dict[str, Tensor]:
    """Values and gradients by a shared parameter θ for a rank's images x · θ, and what modules keep after two steps."""
    x, labels, theta = case()
    theta.requires_grad_()
    results = {}
    for name, value in losses_of(x[part] * theta, labels[part]).items():
        results[f"{name} value"] = value.detach()
        (results[f"{name} gradient"],) = torch.autograd.grad(value, theta, retain_graph=True)
    for objective in OBJECTIVES:
        loss = module(objective)
        for scale in (1.0, 2.0):
            terms = loss.terms(scale * x[part], labels[part])
        results |= {f"{objective} {name}": getattr(loss, name) for name in BUFFERS}
        results |= {f"{objective} {name}": value.detach() for name, value in terms._asdict().items()}
    weight = FilterWeight(0.5, "gradient_ratio", 0.0, layers=1)
    maps = (x[part] * theta).double()
    # Each rank's task loss is the mean over its own images, weighted by its share as a loss summed over ranks is.
    task = (maps.flatten(1) ** 2).sum() / len(x) * (dist.get_world_size() if dist.is_initialized() else 1)
    weight.observe(0, task, [-mutual_information(maps, scale=1.5).mean()], [maps], 3)
    results["gradient_ratio"] = weight.gradient_ratio
    return results | {f"local {name}": value.detach() for name, value in local(x[part] * theta, labels[part]).items()}


def local(x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Each function with the statistics of this rank alone, and a gradient, which no other rank's images enter."""
    members, beta = labels[:, None] == torch.arange(3), torch.full((3,), 4.0)
    terms = decompose(x, scale=1.5, statistics="local")
    results = {
        "mutual_information": mutual_information(x, scale=1.5, statistics="local"),
        "effective_images": effective_images(x, scale=1.5, statistics="local"),
        "decompose": terms.inter_category + 2 * terms.spatial,
        "paper_information": paper_information(x, members, scale=1.5, statistics="local"),
        "authors_loss": authors_loss(x, members, beta=beta, statistics="local"),
    }
    gradients = {
        f"{name} gradient": torch.autograd.grad(value.sum(), x, retain_graph=True)[0] for name, value in results.items()
    }
    return results | gradients


alone = cache(lambda: measured(slice(None)))


def parts(world_size: int) -> list[slice]:
    ends = list(accumulate(SIZES[world_size]))
    return [slice(end - size, end) for end, size in zip(ends, SIZES[world_size], strict=True)]


def one_rank(rank: int, world_size: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)
    torch.save(measured(parts(world_size)[rank]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.start_processes(one_rank, args=(request.param, str(folder)), nprocs=request.param, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(request.param)]


@pytest.mark.ddp
@pytest.mark.parametrize("name", [*FUNCTIONS, *(f"loss {objective}" for objective in OBJECTIVES)])
def test_ranks_equal_one_process(ranks: list[dict[str, Tensor]], name: str) -> None:
    value, gradient = alone()[f"{name} value"], alone()[f"{name} gradient"]
    assert gradient.abs().max() > 1e-3
    average = torch.stack([ranked[f"{name} gradient"] for ranked in ranks]).mean(0)  # as DDP does
    close(average, gradient, 1e-10 * gradient.abs().max().item())
    for ranked in ranks:
        close(ranked[f"{name} value"], value, 1e-10 * abs(value.item()))


@pytest.mark.ddp
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ranks_keep_the_state_of_one_process(ranks: list[dict[str, Tensor]], objective: str) -> None:
    for name in (*BUFFERS, "loss", "mutual_information", "effective_images", "dead"):
        expected = alone()[f"{objective} {name}"]
        for ranked in ranks:
            found = ranked[f"{objective} {name}"]
            assert torch.equal(found.nan_to_num(), ranks[0][f"{objective} {name}"].nan_to_num())
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12, equal_nan=True)


@pytest.mark.ddp
def test_the_ratio_of_gradients_is_that_of_one_process(ranks: list[dict[str, Tensor]]) -> None:
    for ranked in ranks:
        torch.testing.assert_close(ranked["gradient_ratio"], alone()["gradient_ratio"], rtol=1e-6, atol=0)


@pytest.mark.ddp
def test_local_statistics_are_those_of_the_ranks_own_images(ranks: list[dict[str, Tensor]]) -> None:
    x, labels, theta = case()
    for ranked, part in zip(ranks, parts(len(ranks)), strict=True):
        for name, expected in local((x[part] * theta).requires_grad_(), labels[part]).items():
            close(ranked[f"local {name}"], expected.detach(), 1e-12)
