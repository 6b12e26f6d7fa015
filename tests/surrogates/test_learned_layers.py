from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_maps import IMAGE_SIZE, planted_layers
from torch import Tensor

from interpretable.surrogates.explanatory_graph import ExplanatoryGraph
from interpretable.surrogates.layer_maps import LayerMaps
from interpretable.surrogates.learned_layers import forget_layers
from interpretable.surrogates.node_layer import NodeLayer

QUICK: dict[str, Any] = {"density": 0.05, "parents": 3, "iterations": 3}
LAYERS = planted_layers(0, images=8)


class Stopped(Exception):  # noqa: N818  no error, but somebody's Ctrl-C
    pass


def stopped(folder: Path, layers: Sequence[LayerMaps] = LAYERS, **options: Any) -> None:
    """A fit that ends while the lower layer is being learned."""

    def until_low(items: Iterable[int], what: str) -> Iterator[int]:
        for item in items:
            if "low" in what and item == 2:
                raise Stopped
            yield item

    with pytest.raises(Stopped):
        ExplanatoryGraph(**QUICK | options).fit(layers, IMAGE_SIZE, folder, until_low)


def fitted(
    folder: Path | None, layers: Sequence[LayerMaps] = LAYERS, image_size: tuple[int, int] = IMAGE_SIZE, **options: Any
) -> tuple[list[str], tuple[NodeLayer, ...]]:
    """What was learned, by name, and the layers."""
    names = []

    def track(items: Iterable[int], what: str) -> Iterable[int]:
        names.append(what.removeprefix("nodes of "))
        return items

    return names, ExplanatoryGraph(**QUICK | options).fit(layers, image_size, folder, track).layers_


def bit_for_bit(found: Sequence[NodeLayer], expected: Sequence[NodeLayer]) -> bool:
    def equal(one: object, other: object) -> bool:
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return one.dtype == other.dtype and torch.equal(one, other)
        return one == other

    pairs = zip(found, expected, strict=True)
    return all(equal(one, other) for a, b in pairs for one, other in zip(a, b, strict=True))


def test_a_stopped_fit_goes_on_where_it_ended_and_ends_where_it_would_have(tmp_path):
    folder = tmp_path / "a" / "b"
    stopped(folder)
    assert [path.name for path in folder.iterdir()] == ["layer-1.safetensors"]
    names, layers = fitted(folder)
    assert names == ["low"]
    assert bit_for_bit(layers, fitted(None)[1])
    assert fitted(folder)[0] == []
    forget_layers(folder)
    assert not folder.exists()


def test_how_images_are_read_is_kept_too(tmp_path):
    turned = (torch.arange(8) % 3 == 0)[:, None, None, None]
    both = []
    for layer in LAYERS:
        maps = torch.where(turned, layer.maps.flip(-1), layer.maps)
        both.append(layer._replace(maps=maps, mirrored=maps.flip(-1)))
    expected = fitted(None, both, mirror=True)[1]
    assert not bit_for_bit(expected, fitted(None, both)[1])
    stopped(tmp_path / "kept", both, mirror=True)
    names, layers = fitted(tmp_path / "kept", both, mirror=True)
    assert names == ["low"]
    assert bit_for_bit(layers, expected)


def test_what_is_in_the_folder_beside_learned_layers_stays(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    stopped(folder)
    fitted(folder)
    forget_layers(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert (folder / "notes.txt").read_text() == "mine"


def test_without_a_folder_nothing_is_written(tmp_path):
    assert fitted(None)[0] == ["high", "low"]
    assert not list(tmp_path.iterdir())


def changed(**fields: Any) -> Callable[[LayerMaps], LayerMaps]:
    return lambda layer: layer._replace(**fields)


@pytest.mark.parametrize(
    "options",
    [
        {"density": 0.06},
        {"density": (0.05, 0.06)},
        {"parents": 2},
        {"iterations": 2},
        {"seed": 1},
        {"image_size": (230, 224)},
    ],
    ids=str,
)
def test_other_settings_are_learned_anew(options, tmp_path):
    stopped(tmp_path / "kept")
    names, layers = fitted(tmp_path / "kept", **options)
    assert names == ["high", "low"]
    assert bit_for_bit(layers, fitted(None, **options)[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer._replace(maps=layer.maps + 0.01 * torch.rand(8, 3, 14, 14)),
        lambda layer: layer._replace(maps=layer.maps[:6]),
        lambda layer: layer._replace(rows=torch.tensor([0, 1, 2, 3, 5, 7])),
        lambda layer: layer._replace(filters=2),
        lambda layer: layer._replace(name=f"other.{layer.name}"),
        lambda layer: layer._replace(field=layer.field._replace(offset=3.0)),
    ],
    ids=["maps", "images", "rows", "filters", "name", "field"],
)
def test_other_maps_are_learned_anew(change, tmp_path):
    layers = [change(layer) for layer in LAYERS]
    stopped(tmp_path / "kept")
    names, found = fitted(tmp_path / "kept", layers)
    assert names == [layer.name for layer in reversed(layers)]
    assert bit_for_bit(found, fitted(None, layers)[1])


@pytest.mark.parametrize(
    "other", [LAYERS[1].maps.flip(0), LAYERS[1].maps.flip(-1), -LAYERS[1].maps], ids=["order", "flipped", "negated"]
)
def test_other_maps_of_the_same_deviations_are_learned_anew(other, tmp_path):
    layers = [LAYERS[0], LAYERS[1]._replace(maps=other)]
    stopped(tmp_path / "kept")
    names, found = fitted(tmp_path / "kept", layers)
    assert names == ["high", "low"]
    assert bit_for_bit(found, fitted(None, layers)[1])


def test_other_images_that_scale_the_filters_are_learned_from_anew(tmp_path):
    chosen = [layer._replace(rows=torch.arange(4)) for layer in LAYERS]
    stopped(tmp_path / "kept", chosen)
    others = [layer._replace(maps=torch.cat([layer.maps[:4], 9 * layer.maps[4:]])) for layer in chosen]
    names, layers = fitted(tmp_path / "kept", others)
    assert names == ["high", "low"]
    assert bit_for_bit(layers, fitted(None, others)[1])


def test_other_mirrored_maps_are_learned_anew(tmp_path):
    both = [layer._replace(mirrored=layer.maps.flip(-1)) for layer in LAYERS]
    stopped(tmp_path / "kept", both, mirror=True)
    others = [layer._replace(mirrored=layer.maps) for layer in LAYERS]
    names, found = fitted(tmp_path / "kept", others, mirror=True)
    assert names == ["high", "low"]
    assert bit_for_bit(found, fitted(None, others, mirror=True)[1])


def test_the_top_layer_stays_where_only_the_maps_below_are_others(tmp_path):
    stopped(tmp_path / "kept")
    layers = [LAYERS[0]._replace(maps=LAYERS[0].maps + torch.rand(8, 3, 14, 14)), LAYERS[1]]
    names, found = fitted(tmp_path / "kept", layers)
    assert names == ["low"]
    assert bit_for_bit(found, fitted(None, layers)[1])


def cut(data: bytes) -> bytes:
    return data[:-100]


@pytest.mark.parametrize(
    "damage",
    [cut, lambda data: b"", lambda data: data[:5], lambda data: b"\xff" * len(data), lambda data: data[8:]],
    ids=["cut", "empty", "five bytes", "nonsense", "headless"],
)
def test_a_damaged_layer_is_learned_anew(damage, tmp_path):
    folder = tmp_path / "kept"
    stopped(folder)
    path = folder / "layer-1.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    names, layers = fitted(folder)
    assert names == ["high", "low"]
    assert bit_for_bit(layers, fitted(None)[1])
    assert fitted(folder)[0] == []
    forget_layers(folder)
    assert not folder.exists()


def test_a_layer_of_which_a_byte_has_changed_is_learned_anew(tmp_path):
    folder = tmp_path / "kept"
    stopped(folder)
    path = folder / "layer-1.safetensors"
    data = bytearray(path.read_bytes())
    data[-50] ^= 0x41
    path.write_bytes(bytes(data))
    assert fitted(folder)[0] == ["high", "low"]


def test_a_layer_that_was_stopped_while_it_was_written_is_not_there(tmp_path, monkeypatch):
    def half(arrays: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    folder = tmp_path / "kept"
    with monkeypatch.context() as patch:
        patch.setattr("interpretable.surrogates.learned_layers.save_file", half)
        with pytest.raises(OSError, match="no space left"):
            fitted(folder)
    assert not list(folder.iterdir())
    assert fitted(folder)[0] == ["high", "low"]
