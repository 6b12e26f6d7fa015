import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edited_documents import Change, at, edit
from surrogates.drawn_rationales import fitted, groups, planted_images, random_images

from interpretable.documents import digest_of, read_document, write_document
from interpretable.errors import SurrogateError
from interpretable.surrogates import DecisionModeTree
from interpretable.surrogates.records import About, DocumentRecord

TREES = {"ant": 0, "bée 🐝": 1}


@pytest.fixture(scope="module")
def trees() -> dict[str, DecisionModeTree]:
    return {name: fitted(random_images(8, 4, seed), target=name, cells=49) for name, seed in TREES.items()}


@pytest.fixture
def path(trees: dict[str, DecisionModeTree], tmp_path: Path) -> Path:
    about = About(checkpoint="12ab", layer="part", classes=tuple(trees), score="margin")
    records = tuple(tree.to_record() for tree in trees.values())
    write_document(tmp_path / "tree.json", DocumentRecord(about=about, decision_modes=records))
    return tmp_path / "tree.json"


@pytest.mark.parametrize("target", TREES)
def test_what_is_read_predicts_parses_and_contributes_bit_for_bit_as_what_was_saved(
    trees: dict[str, DecisionModeTree], path: Path, target: str
) -> None:
    saved, found = trees[target], DecisionModeTree.load(path, target)
    images = random_images(15, 4, 9)
    assert found.get_params() == saved.get_params()
    assert found.fitted_paths().tolist() == saved.fitted_paths().tolist()
    assert found.paths(images.gradients).tolist() == saved.paths(images.gradients).tolist()
    for level in (1, 2, 3, None):
        for of in ("predict", "contributions"):
            expected = getattr(saved, of)(images.sums, images.gradients, level)
            assert getattr(found, of)(images.sums, images.gradients, level).tobytes() == expected.tobytes()
    assert found.temperature_ == saved.temperature_
    for value, expected in zip(found.tree_, saved.tree_, strict=True):
        np.testing.assert_equal(value, expected)


@pytest.mark.parametrize("options", [{}, {"selection": "sparse", "temperature": 2.0}, {"gain": "per_image"}])
def test_a_tree_saved_by_itself_is_read_without_its_name_and_saved_again_as_the_same_bytes(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    tree = fitted(random_images(9, 12, 2), target="cat", **options)
    tree.save(tmp_path / "a.json")
    found = DecisionModeTree.load(str(tmp_path / "a.json"))
    assert found.target == "cat"
    found.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert digest_of(tmp_path / "a.json") == hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_the_same_images_make_the_same_bytes_and_other_ones_do_not(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fitted(random_images(8, 4, seed)).save(tmp_path / name)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b") != digest_of(tmp_path / "c")


@pytest.mark.parametrize("images", [1, 2])
def test_the_smallest_trees_are_read_as_they_were_saved(tmp_path: Path, images: int) -> None:
    tree = fitted(drawn := random_images(images, 3))
    tree.save(tmp_path / "t.json")
    found = DecisionModeTree.load(tmp_path / "t.json")
    assert found.tree_.children == tree.tree_.children
    expected = tree.predict(drawn.sums, drawn.gradients)
    assert found.predict(drawn.sums, drawn.gradients).tolist() == expected.tolist()


def test_a_file_holds_the_ten_strongest_filters_of_each_node_strongest_first(tmp_path: Path) -> None:
    tree = fitted(random_images(9, 14, 2))
    record = tree.to_record()
    for node, kept in enumerate(record.nodes):
        values = [contribution.value for contribution in kept.contributions]
        assert len(values) == 10
        assert np.abs(values).tolist() == sorted(np.abs(tree.tree_.means[node]).tolist(), reverse=True)[:10]
        assert [tree.tree_.means[node, contribution.filter] for contribution in kept.contributions] == values


def test_every_node_of_a_file_says_its_images_its_gain_and_its_children(tmp_path: Path) -> None:
    images, _ = planted_images(4)
    (tree := fitted(images, target="cat")).save(tmp_path / "t.json")
    (record,) = json.loads((tmp_path / "t.json").read_text())["decision_modes"]
    assert [tuple(node["children"]) for node in record["nodes"]] == list(tree.tree_.children)
    assert [node["images"] for node in record["nodes"]] == tree.tree_.sizes.tolist()
    leaves = [node["image"] for node in record["nodes"] if node["image"] is not None]
    assert sorted(leaves) == list(range(12))
    for group, node in groups(tree).items():
        assert record["nodes"][node]["gain"] == tree.tree_.gains[node]
        assert record["nodes"][node]["images"] == len(group)
    assert record["nodes"][0]["gain"] is None
    assert record["parameters"]["penalty"] == 1.0
    lines = (tmp_path / "t.json").read_text().splitlines()
    assert sum('"rationale"' in line for line in lines) == len(record["nodes"])  # a line each, for comparing in git


def test_of_several_trees_one_has_to_be_named(path: Path) -> None:
    for target in (None, "cat", ""):
        with pytest.raises(SurrogateError, match=f"holds decision-mode trees of ant, bée 🐝, asked for {target};"):
            DecisionModeTree.load(path, target)


def test_a_file_without_decision_modes_or_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SurrogateError, match="is missing; write it with"):
        DecisionModeTree.load(tmp_path / "tree.json")
    write_document(tmp_path / "tree.json", DocumentRecord())
    with pytest.raises(SurrogateError, match="holds decision-mode trees of none"):
        DecisionModeTree.load(tmp_path / "tree.json")


def test_a_file_that_breaks_off_anywhere_is_refused_with_the_field_it_breaks_off_in(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    names = set(re.findall(r'"(\w+)":', content))
    for end in {*range(0, len(content) - 2, 37), *range(len(content) - 40, len(content) - 1)}:
        path.write_text(content[:end], encoding="utf-8")
        with pytest.raises(SurrogateError) as caught:
            read_document(path, DocumentRecord)
        found = re.search(r"in the field (\w+) ", str(caught.value))
        assert found is not None, f"cut after {end} letters: {caught.value}"
        assert found[1] in names
    path.write_text(content[: content.index('"intercept": ') + len('"intercept": ')], encoding="utf-8")
    with pytest.raises(SurrogateError, match="breaks off or is damaged in the field intercept "):
        read_document(path, DocumentRecord)


def test_a_file_that_breaks_off_inside_a_letter_is_refused_with_its_field(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: content.index("bée".encode()) + 2])
    with pytest.raises(SurrogateError, match="classes"):
        read_document(path, DocumentRecord)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "null", '"tree"', "[" * 100_000],
    ids=["nothing", "a list", "a number", "null", "a text", "too deep"],
)
def test_what_is_no_document_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(SurrogateError, match=r"tree\.json"):
        read_document(path, DocumentRecord)


NODES = ("decision_modes", 0, "nodes")

EDITS: dict[str, tuple[Change, str]] = {
    "a weight": (lambda c: at(c, *NODES, 1, "rationale").__setitem__(0, 0.5), r"decision_modes\[0\]"),
    "an intercept": (lambda c: at(c, *NODES, 2).update(intercept=1.25), r"decision_modes\[0\]"),
    "a scale": (lambda c: at(c, "decision_modes", 1, "scale").__setitem__(0, 9.0), r"decision_modes\[1\]"),
    "a gain": (lambda c: at(c, *NODES, 1).update(gain=3.0), r"decision_modes\[0\]"),
    "a contribution": (
        lambda c: at(c, *NODES, 1, "contributions", 0).update(value=77.0),
        r"decision_modes\[0\]",
    ),
    "the last digit of a temperature": (
        lambda c: at(c, "decision_modes", 1).update(temperature=at(c, "decision_modes", 1, "temperature") * (1 + 1e-7)),
        r"decision_modes\[1\]",
    ),
    "a parameter": (lambda c: at(c, "decision_modes", 0, "parameters").update(penalty=2.0), r"decision_modes\[0\]"),
    "the checkpoint": (lambda c: at(c, "about").update(checkpoint="34cd"), "about"),
    "the order of trees": (lambda c: c["decision_modes"].reverse(), r"decision_modes\[0\]"),
    "a name": (lambda c: at(c, "decision_modes", 0).update(target="wasp"), r"decision_modes\[0\]"),
    "a digest": (lambda c: at(c, "digests").update(about="0" * 64), "about"),
    "a missing digest": (lambda c: at(c, "digests").pop("linear"), "linear"),
    "no digests": (lambda c: c.pop("digests"), "schema_version"),
    "a tree more": (lambda c: c["decision_modes"].append(c["decision_modes"][0]), r"decision_modes\[2\]"),
    "a tree less": (lambda c: c["decision_modes"].pop(), r"decision_modes\[1\]"),
    "no tree": (lambda c: c.update(decision_modes=[]), r"decision_modes\[0\]"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_by_hand_is_refused_with_the_name_of_its_field(path: Path, name: str) -> None:
    change, field = EDITS[name]
    edit(path, change)
    with pytest.raises(SurrogateError, match=f"the field {field} "):
        read_document(path, DocumentRecord)


def cycle(content: dict[str, Any]) -> None:
    inner = next(number for number, node in enumerate(at(content, *NODES)) if number and node["children"])
    at(content, *NODES, inner).update(children=[inner, *at(content, *NODES, inner, "children")[1:]])


def loop_upwards(content: dict[str, Any]) -> None:
    nodes = at(content, *NODES)
    inner = next(number for number, node in enumerate(nodes) if number > 1 and node["children"])
    nodes[inner]["children"][0] = 1


def drop_child(content: dict[str, Any]) -> None:
    at(content, *NODES, 0, "children").pop()


def inner_node(content: dict[str, Any]) -> dict[str, Any]:
    return next(node for node in at(content, *NODES)[1:] if node["children"])


def leaf_node(content: dict[str, Any], number: int = 0) -> dict[str, Any]:
    return [node for node in at(content, *NODES) if not node["children"]][number]


BREAKS: dict[str, tuple[Change, str]] = {
    "no rationale": (lambda c: at(c, *NODES, 1).pop("rationale"), r"decision_modes\[0\]\.nodes\[1\]\.rationale"),
    "no intercept": (lambda c: at(c, *NODES, 0).pop("intercept"), r"decision_modes\[0\]\.nodes\[0\]\.intercept"),
    "no children": (lambda c: at(c, *NODES, 3).pop("children"), r"nodes\[3\]\.children"),
    "no scale": (lambda c: at(c, "decision_modes", 1).pop("scale"), r"decision_modes\[1\]\.scale"),
    "no temperature": (lambda c: at(c, "decision_modes", 1).pop("temperature"), r"decision_modes\[1\]\.temperature"),
    "no target": (lambda c: at(c, "decision_modes", 0).pop("target"), r"decision_modes\[0\]\.target"),
    "no nodes": (lambda c: at(c, "decision_modes", 0).update(nodes=[]), r"decision_modes\[0\]\.nodes"),
    "no version": (lambda c: c.pop("schema_version"), "schema_version"),
    "another version": (lambda c: c.update(schema_version=2), "schema_version"),
    "a field too many": (lambda c: at(c, *NODES, 1).update(colour="red"), r"nodes\[1\]\.colour"),
    "a part too many": (lambda c: c.update(forest=[]), "forest"),
    "a number as text": (lambda c: at(c, *NODES, 1).update(intercept="1.5"), r"nodes\[1\]\.intercept"),
    "a count with a fraction": (lambda c: at(c, *NODES, 1).update(images=1.5), r"nodes\[1\]\.images"),
    "a truth as a number": (lambda c: at(c, *NODES, 1).update(images=True), r"nodes\[1\]\.images"),
    "a node of no image": (lambda c: at(c, *NODES, 1).update(images=0), r"nodes\[1\]\.images"),
    "text for a list": (lambda c: at(c, *NODES, 1).update(children="12"), r"nodes\[1\]\.children"),
    "nothing for a weight": (
        lambda c: at(c, *NODES, 1, "rationale").__setitem__(2, None),
        r"nodes\[1\]\.rationale\[2\]",
    ),
    "NaN": (lambda c: at(c, *NODES, 1).update(intercept=float("nan")), r"nodes\[1\]\.intercept"),
    "infinity": (lambda c: at(c, "decision_modes", 0).update(temperature=float("inf")), "temperature"),
    "a weight too few": (lambda c: at(c, *NODES, 2, "rationale").pop(), r"nodes\[2\]\.rationale"),
    "a filter too many": (
        lambda c: at(c, *NODES, 1, "contributions", 0).update(filter=99),
        r"nodes\[1\]\.contributions",
    ),
    "a node below itself": (cycle, r"nodes\[\d+\]\.children"),
    "a node below one below it": (loop_upwards, r"nodes\[\d+\]\.children"),
    "a node beyond the last": (lambda c: inner_node(c)["children"].append(999), r"nodes\[\d+\]\.children"),
    "a node below two": (
        lambda c: inner_node(c)["children"].append(len(at(c, *NODES)) - 1),
        r"nodes\[\d+\]\.children",
    ),
    "a node below none": (drop_child, "nodes"),
    "the root below a node": (lambda c: inner_node(c)["children"].append(0), r"nodes\[\d+\]\.children"),
    "a leaf without its image": (lambda c: leaf_node(c).update(image=None), r"nodes\[\d+\]\.image"),
    "two leaves of one image": (
        lambda c: leaf_node(c).update(image=leaf_node(c, 1)["image"]),
        r"nodes\[\d+\]\.image",
    ),
    "an image of an inner node": (lambda c: inner_node(c).update(image=0), r"nodes\[\d+\]\.image"),
    "an image beyond the last": (lambda c: leaf_node(c).update(image=99), r"nodes\[\d+\]\.image"),
    "more images than are below": (lambda c: inner_node(c).update(images=50), r"nodes\[\d+\]\.images"),
    "two trees of one class": (lambda c: at(c, "decision_modes", 1).update(target="ant"), "decision_modes"),
    "a parameter that is none": (
        lambda c: at(c, "decision_modes", 0, "parameters").update(colour=1),
        r"decision_modes\[0\]\.parameters",
    ),
    "a parameter of another type": (
        lambda c: at(c, "decision_modes", 0, "parameters").update(penalty="high"),
        "penalty",
    ),
    "an unknown choice": (lambda c: at(c, "decision_modes", 0, "parameters").update(gain="most"), "gain"),
    "a parameter out of range": (lambda c: at(c, "decision_modes", 0, "parameters").update(penalty=-1.0), "penalty"),
}


@pytest.mark.parametrize("again", [False, True], ids=["old digests", "new digests"])
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_form_is_refused_with_the_name_of_the_field_whatever_the_digests(
    path: Path, name: str, again: bool
) -> None:
    change, field = BREAKS[name]
    edit(path, change, again)
    with pytest.raises(SurrogateError, match=field if again else "the field"):
        DecisionModeTree.load(path, "ant")


def test_an_edit_with_new_digests_is_another_file(path: Path) -> None:
    before = digest_of(path)
    edit(path, EDITS["a weight"][0], again=True)
    DecisionModeTree.load(path, "ant")
    assert digest_of(path) != before


def test_reading_unpickles_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(f"pickle.{name}", refuse)
    DecisionModeTree.load(path, "ant")
    path.write_bytes(b"\x80\x04N.")
    with pytest.raises(SurrogateError, match=r"tree\.json"):
        DecisionModeTree.load(path)


def test_writing_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fail(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        fitted(random_images(4, 3)).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cells", [np.int64(49), np.float64(49.0)])
def test_numbers_of_numpy_are_taken_as_parameters(tmp_path: Path, cells: Any) -> None:
    fitted(random_images(4, 3), cells=cells, penalty=np.float32(0.5)).save(tmp_path / "t.json")
    assert DecisionModeTree.load(tmp_path / "t.json").get_params()["cells"] == 49
