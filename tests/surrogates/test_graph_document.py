import json
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edited_documents import Change, at, edit, pop, put
from hypothesis import given, settings
from hypothesis import strategies as st

from interpretable.documents import digest_of, read_document, write_document
from interpretable.errors import SurrogateError
from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates.graph_records import (
    GraphAbout,
    GraphParameters,
    GraphRecord,
    NodeLayerRecord,
    shortest,
)
from interpretable.surrogates.node_layer import NodeLayer
from interpretable.surrogates.records import DocumentRecord


def drawn_layer(name: str, filters: int, nodes: int, above: int = 0, parents: int = 0, seed: int = 0) -> NodeLayer:
    """Numbers of many magnitudes, in a layer whose nodes hang on some of those above."""
    draw = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return 10 ** (8 * torch.rand(*shape, generator=draw) - 4)

    edges, strengths = torch.empty(filters, nodes, 0, dtype=torch.int64), torch.empty(filters, nodes, 0)
    if parents:
        edges = torch.rand(filters, nodes, above, generator=draw).topk(parents).indices
        strengths = torch.rand(filters, nodes, parents, generator=draw)
    return NodeLayer(
        name=name,
        height=7,
        width=9,
        field=ReceptiveField(40, 8, -3.5),
        deviations=numbers(filters),
        places=numbers(filters, nodes, 2) - 2,
        spreads=numbers(filters, nodes),
        mean_places=numbers(filters, nodes, 2),
        scores=numbers(filters, nodes),
        parents=edges,
        strengths=strengths,
        objective=-numbers(5),
    )


LAYERS = (
    drawn_layer("conv1", 3, 4, 10, 3, 1),
    drawn_layer("conv2", 5, 2, 4, 2, 2),
    drawn_layer("bée 🐝", 2, 2, seed=3),
)


def document(layers: tuple[NodeLayer, ...] = LAYERS, **changes: Any) -> GraphRecord:
    fields: dict[str, Any] = {
        "about": GraphAbout(
            checkpoint="12ab", images=7, image_size=(60, 80), categories=("bée 🐝",), versions={"torch": "2.10"}
        ),
        "parameters": GraphParameters(density=(0.1, 0.2, 0.3), parents=3, iterations=20, mirror=False, seed=0),
        "layers": tuple(map(NodeLayerRecord.of, layers)),
    }
    return GraphRecord(**{**fields, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_document(tmp_path / "graph.json", document())
    return tmp_path / "graph.json"


def assert_same(found: NodeLayer, expected: NodeLayer) -> None:
    for name, value, wanted in zip(NodeLayer._fields, found, expected, strict=True):
        if isinstance(wanted, torch.Tensor):
            assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape), name
            assert value.numpy().tobytes() == wanted.contiguous().numpy().tobytes(), name
        else:
            assert value == wanted, name
            assert type(value) is type(wanted), name


def test_layers_are_read_with_the_bits_that_they_were_written_with(path: Path) -> None:
    record = read_document(path, GraphRecord)
    assert record == document().model_copy(update={"digests": record.digests})
    for found, expected in zip(record.layers, LAYERS, strict=True):
        assert_same(found.to_layer(), expected)


@pytest.mark.parametrize(
    "layer",
    [drawn_layer("a", 1, 1), drawn_layer("a", 2, 1)._replace(objective=torch.empty(0))],
    ids=["one", "no steps"],
)
def test_the_smallest_graph_is_read_as_it_was_written(tmp_path: Path, layer: NodeLayer) -> None:
    one = GraphParameters(density=None, parents=0, iterations=0, mirror=True, seed=-1)
    write_document(tmp_path / "g", document((layer,), parameters=one))
    record = read_document(tmp_path / "g", GraphRecord)
    assert record.parameters == one
    assert_same(record.layers[0].to_layer(), layer)


def test_a_layer_is_written_the_same_from_any_layout_of_its_tensors(path: Path, tmp_path: Path) -> None:
    turned = LAYERS[0]._replace(places=LAYERS[0].places.permute(2, 1, 0).contiguous().permute(2, 1, 0))
    assert not turned.places.is_contiguous()
    write_document(tmp_path / "b.json", document((turned, *LAYERS[1:])))
    assert (tmp_path / "b.json").read_bytes() == path.read_bytes()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
@settings(deadline=None)
def test_decimals_of_nine_digits_at_most_give_back_every_float32(values: list[float]) -> None:
    written = json.loads(json.dumps(shortest(torch.tensor(values))))
    assert np.array(written, dtype=np.float64).astype(np.float32).tobytes() == np.array(values, np.float32).tobytes()
    assert all(len(Decimal(repr(value)).normalize().as_tuple().digits) <= 9 for value in written)


def test_a_decimal_that_would_be_rounded_twice_is_written_in_full() -> None:
    # The shortest decimal of this float32, as float64, is the middle between it and the next.
    value = torch.tensor([0x15AE43FD], dtype=torch.int32).view(torch.float32)
    assert np.float32(float(str(value.numpy()[0]))) != value.item()
    assert shortest(value) == [value.item()]


def test_numbers_are_short(path: Path) -> None:
    numbers = re.findall(r"-?\d+\.\d+(?:e-?\d+)?", path.read_text().split('"layers"')[1].split('"digests"')[0])
    assert len(numbers) > 150
    assert max(map(len, numbers)) <= 14
    assert json.dumps(shortest(torch.tensor([0.1, 1 / 3, 2.0]))) == "[0.1, 0.33333334, 2.0]"


def test_a_filter_stands_on_a_line_by_itself(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert sum('"spreads"' in line for line in lines) == 3 + 5 + 2
    assert sum('"name"' in line for line in lines) == 3


def test_the_same_graph_makes_the_same_bytes_and_another_one_does_not(path: Path, tmp_path: Path) -> None:
    write_document(tmp_path / "b.json", document())
    other = LAYERS[0]._replace(scores=LAYERS[0].scores.nextafter(torch.tensor(0.0)))
    write_document(tmp_path / "c.json", document((other, *LAYERS[1:])))
    assert digest_of(path) == digest_of(tmp_path / "b.json") != digest_of(tmp_path / "c.json")
    write_document(tmp_path / "d.json", read_document(path, GraphRecord))
    assert digest_of(tmp_path / "d.json") == digest_of(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.json", "c.json", "d.json", "graph.json"]


def test_a_layer_of_512_filters_with_20_nodes_is_written_and_read_in_seconds(tmp_path: Path) -> None:
    lower, upper = drawn_layer("a", 512, 20, 600, 15), drawn_layer("b", 30, 20)
    start = time.perf_counter()
    write_document(tmp_path / "g", document((lower, upper), parameters=drawn_parameters()))
    found = read_document(tmp_path / "g", GraphRecord).layers[0].to_layer()
    assert time.perf_counter() - start < 20
    assert_same(found, lower)
    assert (tmp_path / "g").stat().st_size < 6e6


def drawn_parameters() -> GraphParameters:
    return GraphParameters(density=0.1, parents=15, iterations=20, mirror=False, seed=0)


def test_a_missing_file_is_told_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(SurrogateError, match=r"graph\.json is missing; write it with `interpretable graph RUN`\.$"):
        read_document(tmp_path / "graph.json", GraphRecord)


def test_a_file_that_breaks_off_is_refused_with_the_field_it_breaks_off_in(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    names = set(re.findall(r'"(\w+)":', content))
    for end in range(0, len(content) - 2, 97):
        path.write_text(content[:end], encoding="utf-8")
        with pytest.raises(SurrogateError, match=r"build the graph again with `interpretable graph RUN`\.$") as caught:
            read_document(path, GraphRecord)
        found = re.search(r"in the field (\w+) ", str(caught.value))
        assert found is not None, f"cut after {end} letters: {caught.value}"
        assert found[1] in names
    path.write_text(content[: content.index('"strengths": ') + 30], encoding="utf-8")
    with pytest.raises(SurrogateError, match="breaks off or is damaged in the field strengths "):
        read_document(path, GraphRecord)


def test_a_tree_is_no_graph_and_a_graph_no_tree(path: Path, tmp_path: Path) -> None:
    with pytest.raises(SurrogateError, match=r"the field .* build the tree again with `interpretable tree RUN`\.$"):
        read_document(path, DocumentRecord)
    write_document(tmp_path / "tree.json", DocumentRecord())
    with pytest.raises(SurrogateError, match=r"the field about\.images .* build the graph again with"):
        read_document(tmp_path / "tree.json", GraphRecord)


FILTER = ("layers", 0, "filters", 1)
EDITS: dict[str, tuple[Change, str]] = {
    "a place": (lambda c: at(c, *FILTER, "places", 2).__setitem__(0, 1.5), r"layers\[0\]"),
    "the last digit of a score": (
        lambda c: at(c, "layers", 1, "filters", 0, "scores").__setitem__(
            0, at(c, "layers", 1, "filters", 0, "scores", 0) * (1 + 1e-7)
        ),
        r"layers\[1\]",
    ),
    "the order of parents": (lambda c: at(c, *FILTER, "parents", 0).reverse(), r"layers\[0\]"),
    "the order of filters": (lambda c: at(c, "layers", 2, "filters").reverse(), r"layers\[2\]"),
    "a name": (lambda c: at(c, "layers", 2).update(name="conv9"), r"layers\[2\]"),
    "a density": (lambda c: at(c, "parameters", "density").__setitem__(0, 0.5), "parameters"),
    "the checkpoint": (lambda c: at(c, "about").update(checkpoint="34cd"), "about"),
    "a digest": (lambda c: at(c, "digests").update(about="0" * 64), "about"),
    "no digests": (lambda c: c.pop("digests"), "schema_version"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_by_hand_is_refused_with_the_name_of_its_field(path: Path, name: str) -> None:
    change, field = EDITS[name]
    edit(path, change)
    with pytest.raises(SurrogateError, match=f"the field {field} was changed since it was written; build the graph"):
        read_document(path, GraphRecord)


ROW = r"layers\[0\]\.filters\[1\]\."
TOP = ("layers", 2, "filters", 0)

BREAKS: dict[str, tuple[Change, str]] = {
    "no version": (pop("schema_version"), "schema_version"),
    "another version": (put("schema_version", 2), "schema_version"),
    "a field too many": (put(*FILTER, "colour", 1), ROW + "colour"),
    "no spreads": (pop(*FILTER, "spreads"), ROW + "spreads"),
    "no layers": (put("layers", []), "layers"),
    "no filters": (put("layers", 2, "filters", []), r"layers\[2\]\.filters"),
    "no nodes": (put(*FILTER, "places", []), ROW + "places"),
    "a number as text": (put(*FILTER, "scores", 0, "1.5"), ROW + r"scores\[0\]"),
    "a parent with a fraction": (put(*FILTER, "parents", 0, 0, 1.5), ROW + r"parents\[0\]\[0\]"),
    "NaN": (put(*FILTER, "mean_places", 3, 1, float("nan")), ROW + r"mean_places\[3\]\[1\]"),
    "infinity": (put(*FILTER, "scores", 2, float("inf")), ROW + r"scores\[2\]"),
    "more than a float32": (put(*FILTER, "scores", 2, -1e39), ROW + r"scores\[2\]"),
    "an infinite objective": (put("layers", 1, "objective", 0, float("-inf")), r"layers\[1\]\.objective\[0\]"),
    "an infinite offset": (put("layers", 1, "field", "offset", float("inf")), r"layers\[1\]\.field\.offset"),
    "a stride of none": (put("layers", 1, "field", "stride", 0), r"layers\[1\]\.field\.stride"),
    "a spread of none": (put(*FILTER, "spreads", 1, 0.0), ROW + r"spreads\[1\]"),
    "a spread below float32": (put(*FILTER, "spreads", 1, 1e-50), ROW + r"spreads\[1\]"),
    "a deviation below 0": (put(*FILTER, "deviation", -1.0), ROW + "deviation"),
    "a strength above 1": (put(*FILTER, "strengths", 3, 0, 1.01), ROW + r"strengths\[3\]\[0\]"),
    "a strength below 0": (put(*FILTER, "strengths", 3, 0, -0.01), ROW + r"strengths\[3\]\[0\]"),
    "a place of three": (put(*FILTER, "places", 1, [1.0, 2.0, 3.0]), ROW + r"places\[1\]"),
    **{
        f"{name} too few": (pop(*FILTER, name, 0), f"{ROW}{name} has 3 entries, places 4;")
        for name in ("spreads", "mean_places", "scores", "parents", "strengths")
    },
    "a node less": (
        lambda c: [rows.pop() for rows in at(c, *FILTER).values() if isinstance(rows, list)],
        r"layers\[0\]\.filters\[1\]\.places has 3 entries, filters\[0\]\.places 4;",
    ),
    "a parent less": (pop(*FILTER, "parents", 2, 0), ROW + r"parents\[2\] has 2 numbers, parents\[0\] 3;"),
    "a strength less": (pop(*FILTER, "strengths", 2, 0), ROW + r"strengths\[2\] has 2 numbers, parents\[0\] 3;"),
    "a parent less in a filter": (
        lambda c: [row.pop() for name in ("parents", "strengths") for row in at(c, *FILTER, name)],
        ROW + r"parents\[0\] has 2 numbers, filters\[0\]\.parents\[0\] 3;",
    ),
    "a parent twice": (
        lambda c: at(c, *FILTER, "parents", 2).__setitem__(0, at(c, *FILTER, "parents", 2, 1)),
        ROW + r"parents\[2\] names a node twice;",
    ),
    "a parent below 0": (put(*FILTER, "parents", 2, 0, -1), ROW + r"parents\[2\]\[0\]"),
    "a parent that is none": (
        put(*FILTER, "parents", 2, 0, 10),
        ROW + r"parents\[2\] names node 10, but the layer above has 10 nodes;",
    ),
    "a parent beyond any number": (put(*FILTER, "parents", 2, 0, 10**30), ROW + r"parents\[2\]\[0\]"),
    "parents in the top layer": (
        lambda c: [record.update(parents=[[0], [1]], strengths=[[1.0], [1.0]]) for record in c["layers"][2]["filters"]],
        r"layers\[2\]\.filters\[0\]\.parents\[0\] names node 0, but the layer above has 0 nodes;",
    ),
    "two layers of one name": (put("layers", 2, "name", "conv1"), r"layers\[2\]\.name is conv1 once more;"),
    "a layer less": (pop("layers", 0), r"parameters\.density has 3 numbers, layers 2 entries;"),
    "no images": (put("about", "images", 0), r"about\.images"),
    "a density of none": (put("parameters", "density", 1, 0.0), r"parameters\.density"),
    "a truth as a number": (put("parameters", "mirror", 1), r"parameters\.mirror"),
}


@pytest.mark.parametrize("again", [False, True], ids=["old digests", "new digests"])
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_form_is_refused_in_one_sentence_with_its_field_whatever_the_digests(
    path: Path, name: str, again: bool
) -> None:
    change, field = BREAKS[name]
    edit(path, change, again)
    with pytest.raises(SurrogateError, match=f"the field {field}") as caught:
        read_document(path, GraphRecord)
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).endswith("; build the graph again with `interpretable graph RUN`.")


def test_an_edit_with_new_digests_is_another_file(path: Path) -> None:
    before = digest_of(path)
    edit(path, EDITS["a place"][0], again=True)
    assert read_document(path, GraphRecord).layers[0].to_layer().places[1, 2, 0] == 1.5
    assert digest_of(path) != before


def test_writing_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fail(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_document(path, document(LAYERS[2:], parameters=drawn_parameters()))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["graph.json"]
