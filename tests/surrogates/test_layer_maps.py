from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from drawn_maps import layer_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from interpretable.activations import ActivationStore, record_activations
from interpretable.errors import StoreError, SurrogateError
from interpretable.surrogates import explanatory_graph
from interpretable.surrogates.explanatory_graph import ExplanatoryGraph
from interpretable.surrogates.layer_maps import BATCH, LayerMaps, deviations, stored_maps

SIZE = (48, 48)
QUICK: dict[str, Any] = {"density": 0.1, "parents": 2, "iterations": 3}


def pictures(images: int = 20) -> Tensor:
    """A bright disc somewhere on noise."""
    random = torch.Generator().manual_seed(0)
    centres = 16 + 16 * torch.rand(images, 1, 1, 2, generator=random)
    grid = torch.stack(torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij"), -1)
    disc = ((grid - centres).norm(dim=-1) < 6).float()
    return (0.1 * torch.rand(images, 3, 48, 48, generator=random) + disc[:, None]).clamp(max=1)


def store_of(images: Tensor, folder: Path, maps: bool = True) -> ActivationStore:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(3, 3, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    loader: DataLoader[Any] = DataLoader(TensorDataset(images, torch.zeros(len(images), dtype=torch.long)), 8)
    return record_activations(network, loader, folder, ["0", "2"], maps=maps, fingerprint="drawn")


def in_memory(store: ActivationStore, **options: Any) -> list[LayerMaps]:
    return [
        LayerMaps(layer.info.name, layer.maps[:].float(), layer.info.receptive_field, layer.info.filters, **options)
        for layer in store.layers
    ]


def same(found: ExplanatoryGraph, expected: ExplanatoryGraph) -> None:
    for one, other in zip(found.layers_, expected.layers_, strict=True):
        for name, value in other._asdict().items():
            assert torch.equal(getattr(one, name), value) if isinstance(value, Tensor) else getattr(one, name) == value


def test_a_graph_of_a_store_is_that_of_its_maps_in_memory(tmp_path):
    store = store_of(pictures(), tmp_path / "store")
    layers = stored_maps(store)
    assert [layer.name for layer in layers] == ["0", "2"]
    assert [(layer.field.stride, layer.field.offset) for layer in layers] == [(4, 0.5), (8, 0.5)]
    graph = ExplanatoryGraph(**QUICK).fit(layers, SIZE)
    same(graph, ExplanatoryGraph(**QUICK).fit(in_memory(store), SIZE))
    assert graph.layers_[0].parents.shape[-1] > 0
    for one, other in zip(graph.infer(layers).layers, graph.infer(in_memory(store)).layers, strict=True):
        assert torch.equal(one.cells, other.cells)


def test_a_graph_is_of_the_rows_chosen_on_the_scale_of_all_images(tmp_path, monkeypatch):
    store = store_of(pictures(), tmp_path / "store")
    rows = torch.tensor([17, 2, 3, 11, 8, 5])
    layers = stored_maps(store, rows=rows)
    assert [layer.images for layer in layers] == [6, 6]
    graph = ExplanatoryGraph(**QUICK).fit(layers, SIZE)
    scales = {layer.name: deviations(layer) for layer in in_memory(store)}
    for layer, found in zip(store.layers, graph.layers_, strict=True):
        assert found.scores.isfinite().all()
        np.testing.assert_allclose(found.deviations, layer.maps[:].double().numpy().std((0, 2, 3)), rtol=1e-6)
    picked = [layer._replace(maps=layer.maps[rows]) for layer in in_memory(store)]
    assert not torch.allclose(deviations(picked[0]), scales["0"], rtol=1e-3)
    monkeypatch.setattr(explanatory_graph, "deviations", lambda layer: scales[layer.name])
    same(graph, ExplanatoryGraph(**QUICK).fit(picked, SIZE))


def test_a_mirror_aware_graph_of_stores_is_that_of_their_maps_in_memory(tmp_path):
    images = pictures()
    images[..., :10, :5] = 1  # not symmetric
    images[::3] = images[::3].flip(-1)
    store, mirrored = store_of(images, tmp_path / "a"), store_of(images.flip(-1), tmp_path / "b")
    graph = ExplanatoryGraph(**QUICK, mirror=True).fit(stored_maps(store, mirrored), SIZE)
    layers = [
        layer._replace(mirrored=other.maps) for layer, other in zip(in_memory(store), in_memory(mirrored), strict=True)
    ]
    same(graph, ExplanatoryGraph(**QUICK, mirror=True).fit(layers, SIZE))


def test_only_the_filters_that_count_are_read():
    maps = torch.randn(5, 4, 6, 6)
    maps[:, 2:] = torch.nan
    layer = layer_of("top", maps, 8)._replace(filters=2)
    torch.testing.assert_close(deviations(layer), maps[:, :2].double().std((0, 2, 3), correction=0))
    ((rows, found),) = layer.batches(torch.zeros(5, dtype=torch.bool))
    assert rows == slice(0, 5)
    assert torch.equal(found, maps[:, :2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_images_are_read_in_turn_each_in_its_orientation(dtype):
    images = 2 * BATCH + 7
    maps, mirrored = torch.randn(2, images + 3, 2, 3, 4).to(dtype)
    flipped = torch.rand(images) < 0.3
    flipped[BATCH : 2 * BATCH] = False  # a batch of which no image is mirrored
    rows = torch.randperm(images + 3)[:images]
    layer = layer_of("top", maps, 8, mirrored=mirrored, rows=rows)
    parts = list(layer.batches(flipped))
    assert [part for part, _ in parts] == [slice(0, 64), slice(64, 128), slice(128, 135)]
    expected = torch.stack([(mirrored if flipped[i] else maps)[row] for i, row in enumerate(rows)]).float()
    assert torch.equal(torch.cat([found for _, found in parts]), expected)
    assert all(found.dtype == torch.float32 for _, found in parts)


def test_deviations_are_over_cells_and_images_of_all_batches_and_one_for_a_constant():
    maps = torch.randn(BATCH + 9, 4, 5, 3) * torch.tensor([1e-3, 1, 50, 1])[:, None, None] + 4
    maps[:, 3] = 0.1
    layer = layer_of("top", maps, 8, rows=torch.tensor([1]))
    expected = maps.double().std((0, 2, 3), correction=0)
    expected[3] = 1
    torch.testing.assert_close(deviations(layer), expected, rtol=1e-6, atol=0)
    silent = layer_of("top", torch.zeros(2, 1, 3, 3), 8)
    assert deviations(silent).tolist() == [1]


def test_a_layer_of_unknown_places_is_refused_in_a_sentence():
    info = SimpleNamespace(name="gate", filters=2, receptive_field=None)
    store: Any = SimpleNamespace(layers=[SimpleNamespace(info=info, maps=None)])
    with pytest.raises(SurrogateError, match=r"^The places of gate's units in the image are not known.*choose a layer"):
        stored_maps(store)


def test_a_store_without_maps_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(StoreError, match="was written without maps; write it again with `--maps`"):
        stored_maps(store_of(pictures(4), tmp_path / "store", maps=False))


def test_a_mirrored_store_without_a_layer_is_refused_in_a_sentence(tmp_path):
    images = pictures(4)
    store = store_of(images, tmp_path / "a")
    network = nn.Sequential(nn.Conv2d(3, 3, 5, stride=4, padding=2), nn.Flatten(), nn.Linear(432, 2))
    loader: DataLoader[Any] = DataLoader(TensorDataset(images, torch.zeros(4, dtype=torch.long)), 4)
    other = record_activations(network, loader, tmp_path / "b", ["0"], maps=True, fingerprint="drawn")
    with pytest.raises(StoreError, match="has the layers 0, not 2; choose one of them"):
        stored_maps(store, other)


def test_mirrored_maps_that_are_no_finite_numbers_are_refused():
    maps = torch.rand(4, 1, 6, 6)
    layer = layer_of("top", maps, 8, mirrored=torch.full_like(maps, torch.nan))
    with pytest.raises(SurrogateError, match="finite"):
        ExplanatoryGraph(**QUICK, mirror=True).fit([layer], SIZE)


def test_mirrored_maps_of_other_images_are_refused():
    maps = torch.rand(4, 1, 6, 6)
    layer = layer_of("top", maps, 8, mirrored=torch.rand(9, 1, 6, 6))
    with pytest.raises(SurrogateError, match="mirrored"):
        ExplanatoryGraph(**QUICK, mirror=True).fit([layer], SIZE)
