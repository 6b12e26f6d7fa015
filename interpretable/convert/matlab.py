"""Variables of MATLAB files as dictionaries, lists, strings and arrays; nothing in them is executed."""

import importlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from interpretable.errors import DataError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_DAMAGED = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, MatReadError, zlib.error)


def load_matlab(path: Path, variable: str) -> Any:
    """One variable of a .mat file: struct as dict, array of structs and cell array as list, text as str.

    Numbers are arrays without the axes of length 1 (scalars: zero-dimensional or plain numbers). Files of version 7 and
    below are read with SciPy; those of version 7.3, which are HDF5, with h5py where it is installed.

    Raises:
        DataError: if the file is missing, damaged, of another kind, or lacks the variable.
    """
    if not path.is_file():
        raise DataError(f"{path} was expected to be a MATLAB file, but is not there; unpack the distribution again")
    with path.open("rb") as file:
        h5py = _import_h5py(path) if _HDF5 in file.read(1024) else None
    try:
        found = (
            loadmat(path, variable_names=[variable], simplify_cells=True)
            if h5py is None
            else _load_hdf5(h5py, path, variable)
        )
    except _DAMAGED as error:
        raise DataError(
            f"{path} was expected to be a MATLAB file, but cannot be read ({error}); get it again"
        ) from error
    if variable not in found:
        raise DataError(f"{path} was expected to hold the variable {variable}, but does not; it is of another data set")
    return found[variable]


def structs(value: Any, path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """The elements of an array of structs, which MATLAB makes one struct for one element and an empty array for none.

    Raises:
        DataError: if it is anything else, or an element lacks one of the fields.
    """
    elements = [value] if isinstance(value, dict) else value if isinstance(value, list) else list(np.ravel(value))
    for number, element in enumerate(elements, 1):
        missing = [name for name in fields if name not in element] if isinstance(element, dict) else list(fields)
        if missing:
            raise DataError(
                f"{path}: structs with the fields {', '.join(fields)} were expected, but element {number} has no "
                f"{missing[0]}; the file is of another data set or version"
            )
    return elements


def numbers(value: Any, path: Path, what: str, count: int) -> tuple[float, ...]:
    """So many finite numbers.

    Raises:
        DataError: if there are more or fewer, or other than finite numbers.
    """
    try:
        array = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        array = np.array([np.nan])
    if len(array) != count or not np.isfinite(array).all():
        raise DataError(f"{path}: {what} was expected to be {count} finite number(s), found {value!r:.80}; correct it")
    return tuple(float(number) for number in array)


def _import_h5py(path: Path) -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(
            f"{path} is a MATLAB file of version 7.3, which h5py reads, but h5py is not installed; run `pip install "
            "h5py`, or load the file in MATLAB and save it with '-v7'"
        ) from error


def _load_hdf5(h5py: Any, path: Path, variable: str) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        return {variable: _hdf5_value(file[variable], file)} if variable in file else {}


def _hdf5_value(node: Any, file: Any) -> Any:
    """A group is a struct, or an array of structs if its fields are lists of references that are not cell arrays."""
    if not hasattr(node, "dtype"):
        fields = dict(node.items())
        if fields and all(_is_references(child) and not _is_cell_array(child) for child in fields.values()):
            columns = {
                name: [_hdf5_value(file[ref], file) for ref in np.ravel(child)] for name, child in fields.items()
            }
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return {name: _hdf5_value(child, file) for name, child in fields.items()}
    is_text = node.attrs.get("MATLAB_class") == b"char"
    if node.attrs.get("MATLAB_empty", 0):
        return "" if is_text else np.empty(0)
    if _is_references(node):
        return [_hdf5_value(file[reference], file) for reference in np.ravel(node)]
    values = np.transpose(node)  # HDF5 keeps MATLAB's columns as rows
    return "".join(map(chr, values.ravel().tolist())) if is_text else np.squeeze(values)


def _is_cell_array(node: Any) -> bool:
    return bool(node.attrs.get("MATLAB_class") == b"cell")


def _is_references(node: Any) -> bool:
    return hasattr(node, "dtype") and node.dtype.kind == "O"
