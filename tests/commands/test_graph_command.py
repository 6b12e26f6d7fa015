"""`interpretable graph` on a tiny run: what it writes, what it keeps, and what it refuses."""

import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import networkx
import numpy as np
import pytest
import torch
from changed_runs import configure, logged_by_wandb, on_other_data, with_wandb
from drawn_fruit import CLASSES, IMAGES, PARTS, SIDE, draw_fruit, draw_fruit_without_parts
from oracles import location_instability, part_purity
from rich.cells import cell_len
from test_commands import command, fails, files, fit
from test_tree_command import LEARNING, rows_of

from interpretable import load_run
from interpretable.activations import ActivationStore, recording, tap, weights_digest
from interpretable.commands import graph, graph_export
from interpretable.commands.app import main
from interpretable.commands.graph_export import GraphExport
from interpretable.commands.stores import predict_split
from interpretable.documents import digest_of, read_document
from interpretable.evaluation.node_measures import TOP_IMAGES, NodePlaces, evaluate_places
from interpretable.metrics import PeakTable
from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates import explanatory_graph
from interpretable.surrogates.explanatory_graph import ExplanatoryGraph, FoundNodes
from interpretable.surrogates.export.graph_page import write_graph_page
from interpretable.surrogates.export.graph_picture import draw_graph
from interpretable.surrogates.graph_records import GraphRecord
from interpretable.surrogates.layer_learning import learn_layer
from interpretable.surrogates.layer_maps import stored_maps

APPLE, BUD, PLUM = CLASSES
FOLDERS = {APPLE: "0_apple", BUD: "1_bud_i_leaf", PLUM: "2_plum"}
TRUNK, TOP = LAYERS = ("net.trunk", "net.part_filters.0")
CHANNELS, FILTERS = 96, 24
"""Of the trunk and of the part layer."""
PER_FILTER = 4
"""Nodes: 0.05 of 64 cells, rounded up."""
SMALL = ("--density", "0.05", "--iterations", "2", "--parents", "3", "--no-mirror")
WRITTEN = {"graph.json", "graph.graphml", "nodes.csv", "graph.png", "graph.svg", "graph.html"}


_FIELDS: dict[str, ReceptiveField | None] = {}
_measured = recording._receptive_field


def once_measured(model: Any, layer: str, in_channels: int) -> ReceptiveField | None:
    """All networks here are of one architecture."""
    if layer not in _FIELDS:
        _FIELDS[layer] = _measured(model, layer, in_channels)
    return _FIELDS[layer]


@contextmanager
def quick(drawn: str = "nothing") -> Iterator[None]:
    """Without what takes the time of the command: receptive fields, and pictures of graphs other than the one named."""

    def picture(view: Any, path: Path) -> None:
        draw_graph(view, path) if view.title.endswith(f": {drawn}") else path.write_bytes(b"drawn")

    def page(path: Path, view: Any) -> None:
        write_graph_page(path, view) if view.title.endswith(f": {drawn}") else path.write_bytes(b"drawn")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        patch.setattr(recording, "_receptive_field", once_measured)
        patch.setattr(graph_export, "draw_graph", picture)
        patch.setattr(graph_export, "write_graph_page", page)
        yield


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned little: what it writes is looked at, not how good it is."""
    root = tmp_path_factory.mktemp("fruit")
    data = draw_fruit(root / "data")
    return fit(root, *LEARNING, "--trainer.max_epochs=1", "--model.num_classes=3", f"--data.root={data}")


class Built(NamedTuple):
    run: Path
    printed: str
    exports: dict[str, GraphExport]
    """What was handed to the files of each graph, by its name."""


@pytest.fixture(scope="module")
def built(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The run with a graph of each class, of which that of BUD is drawn."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("built") / "run"))
    exports: dict[str, GraphExport] = {}
    write = GraphExport.write

    def seen(export: GraphExport) -> list[Path]:
        exports[export.name] = export
        return write(export)

    with quick(drawn=BUD), pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(GraphExport, "write", seen)
        patch.setenv("COLUMNS", "80")
        assert command("graph", run, *SMALL) == 0
    return Built(run, printed.getvalue(), exports)


@pytest.fixture
def run(built: Built, tmp_path: Path) -> Path:
    """A copy of the run with its graphs."""
    return Path(shutil.copytree(built.run, tmp_path / "run"))


@pytest.fixture
def fresh(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run as training left it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def store_of(run: Path, split: str) -> ActivationStore:
    return ActivationStore.open(run / "graph" / "activations" / split)


def of_class(store: ActivationStore, name: str) -> torch.Tensor:
    return (store.labels == CLASSES.index(name)).nonzero().squeeze(1)


def found_in(run: Path, split: str, name: str) -> FoundNodes:
    """The nodes of the graph that is in the file, in the stored maps."""
    store = store_of(run, split)
    return ExplanatoryGraph.load(run / "graph" / FOLDERS[name] / "graph.json").infer(
        stored_maps(store, None, of_class(store, name))
    )


def nodes_in_json(run: Path, name: str) -> list[dict[str, Any]]:
    """Every node of the file as a plain dictionary, bottom to top."""
    content = json.loads((run / "graph" / FOLDERS[name] / "graph.json").read_text())
    nodes = []
    for place, layer in enumerate(content["layers"]):
        stride, offset = layer["field"]["stride"], layer["field"]["offset"]
        for number, record in enumerate(layer["filters"]):
            for node, (row, column) in enumerate(record["mean_places"]):
                nodes.append(
                    {
                        "called": f"{place}:{number}.{node}",
                        "layer": layer["name"],
                        "filter": number,
                        "number": node,
                        "x": offset + stride * column,
                        "y": offset + stride * row,
                        "spread": stride * record["spreads"][node],
                        "score": record["scores"][node],
                        "parents": [f"{place + 1}:{p // PER_FILTER}.{p % PER_FILTER}" for p in record["parents"][node]],
                        "strengths": record["strengths"][node],
                    }
                )
    return nodes


def test_every_form_of_each_graph_is_there_and_is_named_on_the_terminal(built):
    folder = built.run / "graph"
    assert {path.name for path in folder.iterdir()} == {"activations", "measures.csv", *FOLDERS.values()}
    for name in FOLDERS.values():
        assert {path.name for path in (folder / name).iterdir()} == WRITTEN
    lines = built.printed.splitlines()
    assert lines[-3:] == [str(folder / name / "graph.html") for name in FOLDERS.values()]
    assert str(folder / "measures.csv").removesuffix("/measures.csv") in lines[-4]
    assert "left out" not in built.printed


def test_the_picture_and_the_page_show_the_file_and_names_are_escaped_in_them(built):
    folder = built.run / "graph" / FOLDERS[BUD]
    assert matplotlib.image.imread(folder / "graph.png")[..., :3].std() > 0.02
    assert (folder / "graph.svg").read_text().rstrip().endswith("</svg>")
    page = (folder / "graph.html").read_text()
    assert digest_of(folder / "graph.json") in page
    assert "<i>leaf" not in page
    assert "bud \\u0026 \\u003ci\\u003eleaf" in page


@pytest.mark.parametrize("name", CLASSES)
def test_the_graph_that_is_read_back_finds_what_the_command_found(name, built):
    export = built.exports[name]
    found = found_in(built.run, "test", name)
    for mine, theirs in zip(found.layers, export.found.layers, strict=True):
        assert torch.equal(mine.cells, theirs.cells)
        assert torch.equal(mine.scores, theirs.scores)
    for mine, theirs in zip(found.positions, export.found.positions, strict=True):
        assert mine.shape[0] == IMAGES["test"]
        assert torch.equal(mine, theirs)
    trained = found_in(built.run, "train", name)
    for nodes, inferred in zip(export.graph.layers_, trained.layers, strict=True):
        torch.testing.assert_close(inferred.scores.double().mean(0).float(), nodes.scores)


def test_the_file_says_of_which_network_images_and_settings_the_graph_is(built):
    opened = load_run(built.run)
    for name in CLASSES:
        record = read_document(built.run / "graph" / FOLDERS[name] / "graph.json", GraphRecord)
        assert record.about.checkpoint == weights_digest(opened.model)
        assert record.about.train_data == opened.datamodule.train_dataset.fingerprint()
        assert (record.about.images, record.about.image_size) == (IMAGES["train"], (SIDE, SIDE))
        assert record.about.categories == (name,)
        assert record.parameters.model_dump() == {
            "density": 0.05, "parents": 3, "iterations": 2, "mirror": False, "seed": 0,
        }  # fmt: skip
        assert [(layer.name, len(layer.filters), layer.num_nodes) for layer in record.layers] == [
            (TRUNK, CHANNELS, CHANNELS * PER_FILTER),
            (TOP, FILTERS, FILTERS * PER_FILTER),
        ]


def test_the_network_that_other_programs_read_has_the_nodes_and_edges_of_the_file(built):
    read = networkx.read_graphml(built.run / "graph" / FOLDERS[APPLE] / "graph.graphml")
    parts = [row["part"] for row in rows_of(built.run / "graph" / FOLDERS[APPLE] / "nodes.csv")]
    nodes = nodes_in_json(built.run, APPLE)
    assert list(read.nodes) == [node["called"] for node in nodes]
    assert [read.nodes[name].get("part", "") for name in read] == parts
    assert {PARTS[0], ""} <= set(parts)
    for node in nodes:
        attributes = read.nodes[node["called"]]
        assert [attributes[name] for name in ("layer", "filter", "number")] == [
            node[name] for name in ("layer", "filter", "number")
        ]
        for name in ("x", "y", "spread", "score"):
            assert attributes[name] == pytest.approx(node[name], rel=1e-6)
    edges = {
        (parent, node["called"]): strength
        for node in nodes
        for parent, strength in zip(node["parents"], node["strengths"], strict=True)
    }
    assert len(edges) == 3 * CHANNELS * PER_FILTER
    assert {(parent, child): strength for parent, child, strength in read.edges.data("strength")} == edges


def test_the_table_of_nodes_says_where_each_is_and_which_part_it_is_on(built):
    found, store = found_in(built.run, "test", PLUM), store_of(built.run, "test")
    rows = of_class(store, PLUM)
    table = rows_of(built.run / "graph" / FOLDERS[PLUM] / "nodes.csv")
    nodes = nodes_in_json(built.run, PLUM)
    assert len(table) == len(nodes) == PER_FILTER * (CHANNELS + FILTERS)
    for row, node in zip(table, nodes, strict=True):
        assert (row["layer"], row["filter"], row["node"]) == (node["layer"], str(node["filter"]), str(node["number"]))
        for name in ("x", "y", "spread", "score"):
            assert float(row[name]) == pytest.approx(node[name], rel=1e-5)

    centres = torch.arange(SIDE) + 0.5
    boxes = store.boxes[rows]
    across, down = (((centres - boxes[..., axis, None]).abs() <= boxes[..., 2 + axis, None] / 2) for axis in (0, 1))
    masks = (down[..., :, None] & across[..., None, :]).tolist()
    landmarks = store.landmarks[rows].tolist()
    purities, parts, instabilities = [], [], []
    for inferred, positions in zip(found.layers, found.positions, strict=True):
        scores, places = inferred.scores.flatten(1).tolist(), positions.flatten(1, 2).tolist()
        shares, numbers, _ = part_purity.purity(places, scores, masks, (SIDE, SIDE), TOP_IMAGES)
        purities += shares
        parts += ["" if number < 0 else PARTS[number] for number in numbers]
        diagonals = [math.hypot(SIDE, SIDE)] * len(rows)
        deviations = location_instability.deviations(
            scores, places, landmarks, [0] * len(rows), diagonals, 1, TOP_IMAGES
        )
        instabilities += [np.nanmean(of_node[0]) if np.isfinite(of_node[0]).any() else np.nan for of_node in deviations]
    assert [row["part"] for row in table] == parts
    for name, expected in (("part_purity", purities), ("location_instability", instabilities)):
        np.testing.assert_allclose([float(row[name]) for row in table], expected, rtol=1e-3, atol=1e-6)
    assert len(set(parts)) == 3
    assert 0 < np.nanmax(purities) <= 1


def hand_made(run: Path, name: str, of: Callable[[str], tuple[torch.Tensor, torch.Tensor]]) -> NodePlaces:
    """Tables of what a layer's filters or nodes give in the images of a class, written out."""
    tables = []
    for split in ("train", "test"):
        store = store_of(run, split)
        rows = of_class(store, name)
        values, positions = of(split)
        tables.append(
            PeakTable(
                values,
                positions,
                torch.stack([store.landmarks[int(row)] for row in rows]),
                torch.stack([store.boxes[int(row)] for row in rows]),
                torch.full((len(rows),), CLASSES.index(name)),
                torch.full((len(rows), 2), SIDE),
            )
        )
    return NodePlaces(*tables)


def test_the_table_of_measures_has_what_tables_made_by_hand_give(built):
    opened = load_run(built.run)
    dataset = predict_split(opened, "test").predict_dataset
    rows = {(row["graph"], row["of"]): row for row in rows_of(built.run / "graph" / "measures.csv")}
    own = [index for index in range(len(dataset)) if dataset.data.labels[index] == CLASSES.index(BUD)]
    annotated = [{"boxes": dataset[index]["boxes"].as_subclass(torch.Tensor)[None]} for index in own]
    found = {split: found_in(built.run, split, BUD) for split in ("train", "test")}
    for place, (layer, filters) in enumerate(zip(LAYERS, (CHANNELS, FILTERS), strict=True)):

        def raw(split: str, layer: str = layer, filters: int = filters) -> tuple[torch.Tensor, torch.Tensor]:
            stored = store_of(built.run, split)
            maps = stored.layer(layer).maps[:][of_class(stored, BUD)][:, :filters].float()
            values, cells = maps.flatten(2).max(2)
            field = stored.layer(layer).info.receptive_field
            return values, torch.stack([cells % 8, cells // 8], -1) * float(field.stride) + field.offset

        def nodes(split: str, place: int = place) -> tuple[torch.Tensor, torch.Tensor]:
            there = found[split]
            return there.layers[place].scores.flatten(1), there.positions[place].flatten(1, 2)

        for what, of, tolerance in ((f"{layer}, filters", raw, 2e-3), (f"{layer}, nodes", nodes, 1e-9)):
            expected = evaluate_places({"": hand_made(built.run, BUD, of)}, annotated, len(CLASSES))[""].numbers
            row = rows[BUD, what]
            assert list(row)[2:] == list(expected)
            for name, value in expected.items():
                # The maps are kept in half precision, the peaks of the filters are not.
                assert float(row[name]) == pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True), (what, name)


def test_the_last_rows_of_the_measures_are_the_means_of_the_graphs(built):
    rows = rows_of(built.run / "graph" / "measures.csv")
    kinds = [f"{layer}, {what}" for layer in LAYERS for what in ("filters", "nodes")]
    assert [(row["graph"], row["of"]) for row in rows] == [
        (name, kind) for name in (*CLASSES, "mean of graphs") for kind in kinds
    ]
    for place, mean in enumerate(rows[12:]):
        of_classes = rows[place:12:4]
        for name in list(mean)[2:]:
            values = [float(row[name]) for row in of_classes]
            if name in ("tracking_low", "tracking_high"):  # of no graph, so of no mean either
                assert mean[name] == "nan"
                assert all(map(math.isfinite, values))
            else:
                assert float(mean[name]) == pytest.approx(np.mean(values)), name


def test_only_the_graphs_asked_for_are_learned_and_measured(run, built):
    before = {name: (run / "graph" / folder / "graph.json").stat().st_mtime_ns for name, folder in FOLDERS.items()}
    digest = digest_of(run / "graph" / FOLDERS[APPLE] / "graph.json")
    assert command("graph", run, *SMALL, "--class", PLUM, "--class", APPLE) == 0
    after = {name: (run / "graph" / folder / "graph.json").stat().st_mtime_ns for name, folder in FOLDERS.items()}
    assert [name for name in CLASSES if after[name] != before[name]] == [APPLE, PLUM]
    assert digest_of(run / "graph" / FOLDERS[APPLE] / "graph.json") == digest
    graphs = [row["graph"] for row in rows_of(run / "graph" / "measures.csv")]
    assert list(dict.fromkeys(graphs)) == [APPLE, PLUM, "mean of graphs"]


@pytest.mark.parametrize(
    ("words", "folder", "categories"),
    [([], "all_classes", ()), (["--class", PLUM, "--class", APPLE], "together_0_2", (APPLE, PLUM))],
)
def test_one_graph_of_several_classes_is_of_the_images_of_all_of_them(words, folder, categories, run):
    assert command("graph", run, *SMALL, "--together", *words) == 0
    path = run / "graph" / folder / "graph.json"
    about = read_document(path, GraphRecord).about
    assert about.categories == categories
    assert about.images == IMAGES["train"] * (len(categories) or 3)
    store = store_of(run, "train")
    rows = torch.cat([of_class(store, name) for name in categories or CLASSES]).sort().values
    read = ExplanatoryGraph.load(path)
    found = read.infer(stored_maps(store, None, rows))
    torch.testing.assert_close(found.layers[0].scores.double().mean(0).float(), read.layers_[0].scores)


def test_fewer_images_are_spread_over_those_of_the_class(run):
    assert command("graph", run, *SMALL, "--class", APPLE, "--images", "4") == 0
    read = ExplanatoryGraph.load(run / "graph" / FOLDERS[APPLE] / "graph.json")
    assert read.images_ == 4
    store = store_of(run, "train")
    found = read.infer(stored_maps(store, None, of_class(store, APPLE)[[0, 3, 7, 11]]))
    for nodes, inferred in zip(read.layers_, found.layers, strict=True):
        torch.testing.assert_close(inferred.scores.double().mean(0).float(), nodes.scores)


CLOSEST = "the closest are net.part_filters.0, net.part_filters, net.part_filters.0.norm"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--class", "pear"], f"The run has the classes {', '.join(CLASSES)}, not pear; choose among them"),
        (["--layers", "net.part_filter.0"], f"got 'net.part_filter.0'; {CLOSEST}"),
        (["--layers", "net.head"], "must give maps (N, C, h, w), got shape (1, 3) from net.head"),
        (["--density", "0"], "A density must be nodes per cell in (0, 1], got 0.0"),
        (["--density", "0.5", "--density", "1.5"], "A density must be nodes per cell in (0, 1], got 1.5"),
        (["--density", "nan"], "A density must be nodes per cell in (0, 1], got nan"),
        (["--density", "0.1"] * 3, "There must be one density for each of the 2 layers, got 3"),
        pytest.param(["--device", "cdua"], "cdua"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_told_in_one_line_and_leaves_nothing(words, sentence, fresh, capsys):
    assert sentence in fails(capsys, "graph", fresh, *words)
    assert not [path for path in (fresh / "graph").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "words",
    [["--parents", "0"], ["--iterations", "0"], ["--images", "1"], ["--seed", str(2**70)]],
    ids=lambda words: words[0],
)
def test_a_number_out_of_its_range_is_refused_before_any_work(words, fresh, capsys):
    assert command("graph", fresh, *words) == 2
    assert words[0] in capsys.readouterr().err
    assert not (fresh / "graph").exists()


def test_settings_are_checked_before_the_run_is_even_read(tmp_path, capsys):
    assert "A density must be" in fails(capsys, "graph", tmp_path / "nowhere", "--density", "2")
    assert "is not the folder of a finished run" in fails(capsys, "graph", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_wrong_layer_costs_none_of_what_is_there(run, capsys):
    before = {path: path.read_bytes() for path in (run / "graph").rglob("*") if path.is_file()}
    assert CLOSEST in fails(capsys, "graph", run, *SMALL, "--layers", "net.part_filter.0")
    assert {path: path.read_bytes() for path in (run / "graph").rglob("*") if path.is_file()} == before


def test_a_run_of_several_labels_is_told_in_one_line(fresh, monkeypatch, capsys):
    opened = load_run(fresh)
    opened.model.hparams["task"] = "multilabel"
    monkeypatch.setattr(graph, "load_run", lambda _: opened)
    assert "Graphs are of one category each, but the run's images have several labels" in fails(capsys, "graph", fresh)
    assert not (fresh / "graph").exists()


def test_a_graph_that_knows_the_mirror_reads_maps_of_flipped_images(run, monkeypatch):
    fitted: list[Any] = []
    fit_graph = ExplanatoryGraph.fit
    monkeypatch.setattr(
        ExplanatoryGraph, "fit", lambda self, layers, *others: fitted.extend(layers) or fit_graph(self, layers, *others)
    )
    assert command("graph", run, *SMALL, "--class", PLUM, "--mirror") == 0
    assert {path.name for path in (run / "graph" / "activations").iterdir()} == {
        "train", "test", "train-mirrored", "test-mirrored",
    }  # fmt: skip
    opened = load_run(run)
    for split in ("train", "test"):
        dataset = predict_split(opened, split).predict_dataset
        images = torch.stack([dataset[index]["image"].as_subclass(torch.Tensor) for index in range(0, len(dataset), 5)])
        for name, shown in ((split, images), (f"{split}-mirrored", images.flip(-1))):
            store = store_of(run, name)
            assert len(store) == len(dataset)
            with torch.inference_mode(), tap(opened.model, LAYERS) as read:
                maps = read(shown)
            for layer in LAYERS:
                stored = store.layer(layer).maps[:][::5].float()
                torch.testing.assert_close(stored, maps[layer], rtol=2e-3, atol=2e-3)
    assert [layer.name for layer in fitted] == list(LAYERS)
    for layer in fitted:
        assert torch.equal(layer.maps[:], store_of(run, "train").layer(layer.name).maps[:])
        assert torch.equal(layer.mirrored[:], store_of(run, "train-mirrored").layer(layer.name).maps[:])
        assert layer.rows.tolist() == of_class(store_of(run, "train"), PLUM).tolist()
    assert read_document(run / "graph" / FOLDERS[PLUM] / "graph.json", GraphRecord).parameters.mirror


def test_a_second_time_every_file_is_the_same_and_nothing_is_recorded(run):
    stores = files(run / "graph")
    names = ["measures.csv", *(f"{FOLDERS[PLUM]}/{name}" for name in ("graph.json", "graph.graphml", "nodes.csv"))]
    assert command("graph", run, *SMALL, "--class", PLUM) == 0
    first = {name: (run / "graph" / name).read_bytes() for name in names}
    assert command("graph", run, *SMALL, "--class", PLUM) == 0
    assert {name: (run / "graph" / name).read_bytes() for name in names} == first
    assert files(run / "graph") == stores


def test_other_layers_are_recorded_anew_and_without_a_layer_above_no_node_has_a_parent(run):
    stores = files(run / "graph")
    assert command("graph", run, *SMALL, "--class", PLUM, "--layers", TRUNK) == 0
    assert not set(files(run / "graph").items()) & set(stores.items())
    assert [layer.info.name for layer in store_of(run, "test").layers] == [TRUNK]
    read = networkx.read_graphml(run / "graph" / FOLDERS[PLUM] / "graph.graphml")
    assert (len(read), read.number_of_edges()) == (CHANNELS * PER_FILTER, 0)


def test_activations_of_other_weights_are_recorded_anew(run):
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["net.part_filters.0.conv.weight"] *= 0.5
    torch.save(checkpoint, path)
    stores = files(run / "graph")
    assert command("graph", run, *SMALL, "--class", PLUM) == 0
    assert not set(files(run / "graph").items()) & set(stores.items())
    assert store_of(run, "train").manifest.model == weights_digest(load_run(run).model)
    about = read_document((run / "graph" / "2_plum" / "graph.json"), GraphRecord).about
    assert about.checkpoint == weights_digest(load_run(run).model)


class StoppedError(Exception):
    """Stands for a computer that is switched off."""


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers that are learned, in turn."""
    names: list[str] = []

    def counted(images: Any, *others: Any) -> Any:
        names.append(images.maps.name)
        return learn_layer(images, *others)

    monkeypatch.setattr(explanatory_graph, "learn_layer", counted)
    return names


def stop_at(number: int, run: Path, *words: str) -> None:
    """Runs the command until that many layers were learned, and stops it in the next."""
    calls = []

    def stopping(images: Any, *others: Any) -> Any:
        calls.append(images.maps.name)
        if len(calls) > number:
            raise StoppedError
        return learn_layer(images, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explanatory_graph, "learn_layer", stopping)
        with pytest.raises(StoppedError):
            main(["graph", str(run), *SMALL, *words])


def test_a_stopped_run_goes_on_with_the_next_layer_and_ends_with_the_same_graph(run, built, learned):
    folder = run / "graph" / FOLDERS[APPLE]
    shutil.rmtree(folder)
    stop_at(1, run, "--class", APPLE)
    assert [path.name for path in folder.iterdir()] == ["layers"]
    assert command("graph", run, *SMALL, "--class", APPLE) == 0
    assert learned == [TRUNK]
    assert {path.name for path in folder.iterdir()} == WRITTEN
    assert digest_of(folder / "graph.json") == digest_of(built.run / "graph" / FOLDERS[APPLE] / "graph.json")


def test_what_was_kept_of_other_settings_is_learned_again(run, learned):
    stop_at(1, run, "--class", APPLE)
    assert command("graph", run, *SMALL, "--class", APPLE, "--seed", "1") == 0
    assert learned == [TOP, TRUNK]
    assert not (run / "graph" / FOLDERS[APPLE] / "layers").exists()


def test_a_run_that_was_stopped_in_a_later_graph_does_not_learn_the_first_again(run, learned):
    stop_at(3, run, "--class", APPLE, "--class", PLUM)
    assert command("graph", run, *SMALL, "--class", APPLE, "--class", PLUM) == 0
    assert learned == [TRUNK]


def test_recording_that_was_stopped_goes_on(run):
    shard = sorted((run / "graph" / "activations" / "test").glob("shard-*"))[-1]
    whole = store_of(run, "test").layer(TOP).maps[:]
    train = {name: when for name, when in files(run / "graph").items() if "/train/" in name}
    shard.unlink()
    assert command("graph", run, *SMALL, "--class", PLUM) == 0
    assert torch.equal(store_of(run, "test").layer(TOP).maps[:], whole)
    assert {name: when for name, when in files(run / "graph").items() if "/train/" in name} == train


def test_a_class_without_test_images_is_left_out_with_a_line(fresh, tmp_path, capsys):
    on_other_data(fresh, tmp_path / "data", at_most={(APPLE, "test"): 0})
    assert command("graph", fresh, *SMALL, "--class", APPLE, "--class", PLUM) == 0
    printed = capsys.readouterr().out
    assert "apple is left out: it has no test image" in printed.splitlines()
    assert not (fresh / "graph" / FOLDERS[APPLE]).exists()
    assert {row["graph"] for row in rows_of(fresh / "graph" / "measures.csv")} == {PLUM, "mean of graphs"}


def test_where_no_class_has_images_one_line_says_so_and_the_measures_stay(run, tmp_path, capsys):
    on_other_data(run, tmp_path / "data", at_most={(APPLE, "test"): 0})
    before = (run / "graph" / "measures.csv").read_bytes()
    assert "image" in fails(capsys, "graph", run, *SMALL, "--class", APPLE)
    assert (run / "graph" / "measures.csv").read_bytes() == before


def test_a_class_with_a_single_image_of_either_split_has_a_graph(fresh, tmp_path):
    on_other_data(fresh, tmp_path / "data", at_most={(APPLE, "train"): 1, (APPLE, "test"): 1})
    assert command("graph", fresh, *SMALL, "--class", APPLE) == 0
    assert read_document(fresh / "graph" / FOLDERS[APPLE] / "graph.json", GraphRecord).about.images == 1
    for row in rows_of(fresh / "graph" / "measures.csv"):
        assert math.isfinite(float(row["few_shot_1/mean"]))
        assert row["few_shot_3/nodes"] == row["location_instability"] == "nan"


def test_images_without_parts_have_graphs_without_measures(fresh, tmp_path, capsys):
    configure(fresh, "data", root=str(draw_fruit_without_parts(tmp_path / "plain")), dataset="ImageFolder")
    with quick(drawn=PLUM):
        assert command("graph", fresh, *SMALL, "--class", PLUM) == 0
    printed = capsys.readouterr().out
    assert "Error of a part" not in printed
    assert "raw filters" not in printed
    folder = fresh / "graph" / FOLDERS[PLUM]
    assert {path.name for path in folder.iterdir()} == WRITTEN
    rows = rows_of(folder / "nodes.csv")
    assert len(rows) == PER_FILTER * (CHANNELS + FILTERS)
    assert {(row["part"], row["part_purity"], row["location_instability"]) for row in rows} == {("", "nan", "nan")}
    assert list(rows_of(fresh / "graph" / "measures.csv")[0]) == ["graph", "of"]
    read = networkx.read_graphml(folder / "graph.graphml")
    assert not [name for name in read if "part" in read.nodes[name]]


@pytest.mark.parametrize(
    ("rename", "folders"),
    [
        pytest.param({APPLE: "a b", PLUM: "a_b"}, None),
        pytest.param({APPLE: "苹果", PLUM: "李子"}, None),
        pytest.param({APPLE: "activations"}, None),
        pytest.param({APPLE: "a [/b]"}, None),
        ({APPLE: "-.1", PLUM: "=SUM(A1)"}, {"0_1", "1_SUM_A1"}),
    ],
    ids=["alike", "chinese", "activations", "markup", "formula"],
)
def test_every_class_has_its_own_folder_whatever_its_name(rename, folders, fresh, tmp_path):
    on_other_data(fresh, tmp_path / "data", rename=rename)
    words = [word for name in rename.values() for word in ("--class", name)]
    assert command("graph", fresh, *SMALL, *words) == 0
    written = {path.parent for path in (fresh / "graph").glob("*/graph.json")}
    assert len(written) == len(rename)
    assert folders is None or {path.name for path in written} == folders
    assert not (fresh / "graph" / "activations" / "graph.json").exists()
    found = {json.loads((path / "graph.json").read_text())["about"]["categories"][0] for path in written}
    assert found == set(rename.values())


def test_a_persons_files_are_left_alone(run, capsys):
    notes = [run / "graph" / "notes.txt", run / "graph" / FOLDERS[PLUM] / "notes.txt", run / "graph" / "mine" / "a.csv"]
    for path in notes:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    stop_at(1, run, "--class", PLUM)
    kept = run / "graph" / FOLDERS[PLUM] / "layers" / "notes.txt"
    kept.write_text("mine")
    assert command("graph", run, *SMALL, "--class", PLUM) == 0
    assert [path.read_text() for path in (*notes, kept)] == ["mine"] * 4

    store = run / "graph" / "activations" / "test"
    (store / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in store.iterdir()}
    assert "notes.txt, which is not of a store" in fails(capsys, "graph", run, *SMALL, "--layers", TRUNK)
    assert {path: path.read_bytes() for path in store.iterdir()} == before


def logged(run: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Files that are handed over to W&B, by their paths in the folder of graphs."""
    handed: list[Path] = []
    monkeypatch.setattr(graph, "log_artifact", lambda *words: bool(handed.extend(words[3])))
    assert command("graph", run, *SMALL, "--class", PLUM) == 0
    return {path.relative_to((run / "graph").resolve()).as_posix() for path in handed}


OF_PLUM = {"measures.csv", *(f"{FOLDERS[PLUM]}/{name}" for name in WRITTEN)}


def test_only_what_was_written_now_is_logged(run, monkeypatch):
    (run / "graph" / FOLDERS[PLUM] / "notes.txt").write_text("mine")
    assert logged(run, monkeypatch) == OF_PLUM


def test_graphs_of_a_run_below_a_folder_called_activations_are_logged_too(run, tmp_path, monkeypatch):
    shutil.rmtree(run / "graph" / FOLDERS[APPLE])
    shutil.rmtree(run / "graph" / FOLDERS[BUD])
    assert logged(Path(shutil.copytree(run, tmp_path / "activations" / "run")), monkeypatch) == OF_PLUM


@pytest.mark.usefixtures("everything_of_wandb_here")
def test_the_graphs_are_an_artifact_of_the_run_where_wandb_is_its_logger(built, tmp_path, capsys):
    run = with_wandb(built.run, tmp_path)
    assert command("graph", run, *SMALL, "--class", PLUM) == 0
    assert "W&B: logged as an artifact of the run" in capsys.readouterr().out
    found, artifacts = logged_by_wandb(tmp_path)
    assert artifacts["graph"].name == "graph-abc123"
    staged = {entry.path: Path(entry.local_path) for entry in artifacts["graph"].manifest.contents}
    assert {f"graph/{name}" for name in OF_PLUM} <= staged.keys()
    assert not [name for name in staged if "activations" in name]
    assert staged["graph/2_plum/graph.json"].read_bytes() == (run / "graph" / "2_plum" / "graph.json").read_bytes()
    assert "graph/measures" in {item.key for record in found for item in record.summary.update}


def test_on_a_terminal_of_80_columns_titles_and_tables_do_not_break(built):
    folder = str(built.run)
    lines = [line for line in built.printed.splitlines() if folder not in line]
    assert max(map(cell_len, lines)) <= 80
    titles = [line.strip() for line in lines if line and line[0].isalpha()]
    assert [title.split(",")[0] for title in titles] == [
        "The strongest nodes and raw filters on test images",
        "Error of a part pointed out in few images",
    ]
    tops = [line for line in lines if line.startswith("┏")]
    assert len(tops) == 2


def test_on_a_terminal_of_80_columns_every_layer_and_measure_is_named_in_full(built):
    assert "…" not in built.printed


def test_the_help_names_every_option(capsys):
    assert command("graph", "--help") == 0
    shown = capsys.readouterr().out
    for name in (
        "RUN", "--layers", "--class", "--together", "--images", "--density", "--parents", "--iterations", "--mirror",
        "--no-mirror", "--seed", "--device",
    ):  # fmt: skip
        assert name in shown
