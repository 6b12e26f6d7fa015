"""The benchmark of tree growth compares trees that are the same, and says so only where they are."""

import importlib.util
import sys

import numpy as np
import pytest


@pytest.fixture
def benchmark(repository):
    spec = importlib.util.spec_from_file_location("tree_benchmark", repository / "benchmarks" / "tree.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_grows_the_same_trees_in_every_way_and_prints_both_tables(benchmark, monkeypatch, capsys):
    sizes = ["--images=8", "--filters=6", "--looped=8", "--at-once=30", "--growth", "10", "20", "--turns=1"]
    monkeypatch.setattr(sys, "argv", ["tree.py", *sizes])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "The merges are the same" in printed
    assert all(name in printed for name in benchmark.WAYS)


def test_a_tree_of_another_order_or_of_other_gains_is_not_the_same(benchmark):
    merges = benchmark.incrementally(benchmark.drawn(12, 32))
    for other in ([*merges[1:], merges[0]], merges[:-1], [*merges[:-1], merges[-1]._replace(gain=1 + merges[-1].gain)]):
        with pytest.raises(AssertionError):
            benchmark.assert_same(merges, other, "other")


def test_slsqp_finds_the_direction_of_the_closed_form(benchmark):
    gradients = benchmark.drawn(5, 32).gradients
    assert np.allclose(benchmark.by_slsqp(gradients), benchmark.in_closed_form(gradients), atol=1e-6)


def test_the_floor_counts_each_image_once_for_each_node_that_it_is_scored_with(benchmark):
    merges = [benchmark.Merge(0, 1, 1.0), benchmark.Merge(4, 2, 1.0)]
    # Six pairs of leaves; (0 1) with 2 and with 3; (0 1 2) with 3.
    assert benchmark.exponentials(4, merges) == 6 * 2 + (3 + 3) + 4
