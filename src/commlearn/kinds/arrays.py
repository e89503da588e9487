"""Cells that hold arrays: numbers in lists, arrays or files, and columns of them in memory."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from commlearn.batch import Modality, Spec
from commlearn.errors import DAMAGED, DataError
from commlearn.kinds.rows import brief, is_empty
from commlearn.kinds.steps import steps_of
from commlearn.records import presence as presence
from commlearn.storage.plain_files import read_npy
from commlearn.storage.plain_json import parse_json


@dataclass(frozen=True)
class ArrayColumn:
    """Rows of one length in memory, some of them absent."""

    values: np.ndarray  # (records, cells) float32
    spec: Spec
    present: np.ndarray | None = None  # (records,): False if a record lacks the modality

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Modality:
        present = None if self.present is None else torch.from_numpy(self.present[rows])
        return Modality(torch.from_numpy(self.values[rows]), present=present)


def present_or_none(present: np.ndarray) -> np.ndarray | None:
    """Return which records are present, or None if all are."""
    return None if present.all() else present


def is_blank(cell: Any) -> bool:
    """Return whether a cell is empty, or a list or an array without numbers: the record has nothing here.

    Example:
        >>> is_blank([]), is_blank("[]"), is_blank(np.zeros((0, 3))), is_blank([0.0])
        (True, True, True, False)
    """
    if isinstance(cell, list | tuple):
        return not cell
    if isinstance(cell, np.ndarray | torch.Tensor):
        return 0 in cell.shape
    return is_empty(cell) or (isinstance(cell, str) and cell.strip() == "[]")


def array_of(cell: Any, root: Path, outside: bool = False) -> np.ndarray:
    """Return a list, an array or a file as an array of floats of at least 32 bits; None becomes NaN."""
    array = numbers_in(cell, root, outside)
    narrow = array.dtype.itemsize < 4 or array.dtype == np.float32
    return array.astype(np.float32 if narrow else np.float64, copy=False)


def numbers_in(cell: Any, root: Path, outside: bool = False) -> np.ndarray:
    """Return a list, an array or a file as an array that keeps the numbers' type; None makes them floats.

    Args:
        cell: numbers, nested as deep as the array has axes; objects such as {"t": 0, "v": 1.5}, one for each
            step; or the path of a .npy or .csv file.
        root: the folder to which a path is relative.
        outside: whether the path may leave that folder.
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):  # tables of text store lists this way
        try:
            cell = parse_json(cell)
        except ValueError as problem:
            raise DataError(f"{shown(cell)} is not a JSON list of numbers ({problem})") from problem
    if isinstance(cell, str | Path):
        cell = _load(file_of(cell, root, outside), shown(cell))
    if isinstance(cell, torch.Tensor):
        cell = cell.detach().cpu().numpy()
    if (steps := steps_of(cell)) is not None:
        cell = steps.values
    try:
        array = np.asarray(cell)
        if array.dtype == object:  # None among numbers, or arrays inside arrays
            rows = [np.asarray(row, dtype=np.float64) for row in array]
            array = np.stack(rows) if rows else np.empty(0)
    except (TypeError, ValueError, OverflowError) as problem:  # whole numbers may be too large
        if lengths := _lengths(cell):
            raise DataError(
                f"{shown(cell)} has rows of {lengths} numbers; give rows of equal length"
            ) from problem
        raise DataError(
            f"{shown(cell)} is not an array of numbers ({problem}); give only numbers"
        ) from problem
    if array.dtype.kind not in "biuf":
        raise DataError(f"{shown(cell)} is not an array of numbers; give a list, an array or a file path")
    if array.ndim == 0:
        raise DataError(f"{shown(cell)} is a single number; give a list or an array")
    return array


def _lengths(cell: Any) -> str:
    """Return the different lengths of a list's rows, as text; "" if these are not the problem."""
    is_list = isinstance(cell, list | tuple) or (isinstance(cell, np.ndarray) and cell.ndim > 0)
    rows = list(cell) if is_list else []
    sizes = {len(row) for row in rows if isinstance(row, list | tuple)}
    return " and ".join(map(str, sorted(sizes))) if len(sizes) > 1 else ""


def file_of(cell: str | Path, root: Path, outside: bool = False) -> Path:
    """Return the path of a file; one outside the table's folder is refused unless `outside` allows it."""
    if "://" in str(cell):
        raise DataError(f"{shown(cell)} is a URL, which is not downloaded. Download it and give its path")
    folder = os.path.abspath(root)
    path = os.path.normpath(os.path.join(folder, str(cell)))
    inside = path.startswith(os.path.join(folder, "")) and "\0" not in path
    if inside and not outside:  # a link inside the folder may lead out of it
        inside = os.path.realpath(path).startswith(os.path.join(_real_path(folder), ""))
    if not outside and not inside:
        message = f"{shown(cell)} is outside the table's folder. Move the file into it, or set outside: true"
        raise DataError(
            f"{message} for this modality (for a loaded export: commlearn.load(folder, outside=True))"
        )
    if "\0" in path or not os.path.isfile(path):
        slashes = " (with / in place of \\)" if "\\" in str(cell) else ""
        raise DataError(
            f"{shown(cell)}: there is no such file. Correct the path{slashes}, or leave the cell empty"
        )
    return Path(path)


@lru_cache(maxsize=64)
def _real_path(folder: str) -> str:
    return os.path.realpath(folder)


def flat_lists(column: pd.Series) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the numbers of a column of Arrow lists end to end (read-only), and each length (-1: none).

    Returns None for other columns.
    """
    if not isinstance(column.dtype, pd.ArrowDtype):
        return None
    dtype = column.dtype.pyarrow_dtype
    if not (pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)):
        return None
    if not (pa.types.is_integer(dtype.value_type) or pa.types.is_floating(dtype.value_type)):
        return None
    lists = column.array.__arrow_array__()
    chunks = lists.chunks if isinstance(lists, pa.ChunkedArray) else [lists]
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, np.float32)])
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    return flat, lengths.astype(np.int64)


def shown(cell: Any) -> str:
    """Return a cell as a message shows it: shortened, or the shape of an array."""
    if isinstance(cell, np.ndarray):
        return " x ".join(map(str, cell.shape)) or "one number"
    text = brief(cell, str, most=None)
    return repr(text if len(text) <= 80 else f"{text[:38]}...{text[-39:]}")


def _load(path: Path, name: str) -> np.ndarray:
    """Return the array in a .npy file, or the columns of a .csv file with or without a line of names."""
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".csv"):
        raise DataError(f"{name} is not an array; give numbers, or the path of a .npy or .csv file")
    try:
        if suffix == ".npy":
            return read_npy(path)
        frame = pd.read_csv(path, header=None, skipinitialspace=True, low_memory=False)
        if frame.iloc[0].map(_is_name).any():
            frame = frame.iloc[1:]  # names of columns
        return frame.apply(pd.to_numeric).to_numpy(dtype=np.float64)
    except (*DAMAGED, OSError, MemoryError) as problem:
        raise DataError(
            f"{name} cannot be read ({problem}). Is it cut off? Replace it, or empty the cell"
        ) from problem


def _is_name(cell: Any) -> bool:
    return isinstance(cell, str) and math.isnan(pd.to_numeric(cell, errors="coerce"))
