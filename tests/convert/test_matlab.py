import sys

import numpy as np
import pytest
from drawn_layouts import EMPTY, save_matlab
from scipy.io import savemat

from interpretable.convert.matlab import load_matlab, numbers, structs
from interpretable.errors import DataError

ROWS = [
    {"name": "head", "box": {"xmin": 3.0, "side": "left"}, "mask": np.arange(6.0).reshape(2, 3), "center": EMPTY},
    {"name": "b", "box": {"xmin": 4.0, "side": "right"}, "mask": np.ones((2, 2)), "center": np.array([[1.0], [2.0]])},
]


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_structs_read_the_same_from_both_kinds_of_file(tmp_path, version):
    save_matlab(tmp_path / "a.mat", "samples", ROWS, version)
    first, second = structs(load_matlab(tmp_path / "a.mat", "samples"), tmp_path, ("name", "box", "mask", "center"))
    assert (first["name"], second["name"]) == ("head", "b")
    assert (float(first["box"]["xmin"]), first["box"]["side"], second["box"]["side"]) == (3, "left", "right")
    np.testing.assert_array_equal(first["mask"], ROWS[0]["mask"])
    assert first["center"].size == 0
    np.testing.assert_array_equal(second["center"], [1, 2])


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_one_struct_is_a_list_of_one(tmp_path, version):
    save_matlab(tmp_path / "a.mat", "samples", ROWS[:1], version)
    (only,) = structs(load_matlab(tmp_path / "a.mat", "samples"), tmp_path, ("name",))
    assert only["name"] == "head"


def test_an_empty_array_is_no_structs_and_other_values_are_refused(tmp_path):
    savemat(tmp_path / "a.mat", {"none": EMPTY, "text": "abc", "number": 3.0, "mixed": {"a": 1.0}})
    path = tmp_path / "a.mat"
    assert structs(load_matlab(path, "none"), path, ("obj",)) == []
    for name in ("text", "number", "mixed"):
        with pytest.raises(
            DataError, match=r"a.mat: structs with the fields obj were expected, but element 1 has no obj"
        ):
            structs(load_matlab(path, name), path, ("obj",))


def test_numbers_are_so_many_and_finite(tmp_path):
    assert numbers(np.array([[1], [2]], dtype=np.uint8), tmp_path, "x", 2) == (1.0, 2.0)
    assert numbers(3, tmp_path, "x", 1) == (3.0,)
    for wrong in (np.array([1.0]), np.array([1.0, np.nan]), "text", {"a": 1}, [np.ones(2), np.ones(3)], EMPTY):
        with pytest.raises(DataError, match=r"x was expected to be 2 finite number\(s\), found"):
            numbers(wrong, tmp_path, "x", 2)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_missing_file_variable_and_a_damaged_file_are_named(tmp_path, version):
    path = tmp_path / "a.mat"
    with pytest.raises(DataError, match=r"a.mat was expected to be a MATLAB file, but is not there"):
        load_matlab(path, "samples")
    save_matlab(path, "samples", ROWS, version)
    with pytest.raises(DataError, match=r"a.mat was expected to hold the variable truth, but does not"):
        load_matlab(path, "truth")
    content = path.read_bytes()
    for damaged in (content[: len(content) // 3], content[:100], b"", b"no MATLAB file at all" * 20):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a.mat was expected to be a MATLAB file, but cannot be read"):
            load_matlab(path, "samples")


def test_without_h5py_a_file_of_version_7_3_is_refused_with_what_to_do(tmp_path, monkeypatch):
    save_matlab(tmp_path / "a.mat", "samples", ROWS, "7.3")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        DataError, match=r"version 7.3, .* `pip install h5py`, or load the file in MATLAB and save it with"
    ):
        load_matlab(tmp_path / "a.mat", "samples")
