"""Published data in open formats: numbers as safetensors, texts as Parquet, one folder for each file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from commlearn.datasets.hdf5 import read_hdf5
from commlearn.errors import DataError
from commlearn.storage.pickles import read_pickle
from commlearn.storage.plain_files import plain_file

ARRAYS = "arrays.safetensors"
TOP = "top"  # name of the Parquet file of texts that belong to no part
HDF5 = (".h5", ".hdf5")


def convert(path: str | Path, out: str | Path) -> list[Path]:
    """Write a published file, or a folder of HDF5 files, in open formats.

    Args:
        path: path of a pickle, an HDF5 file or a folder of HDF5 files.
        out: folder to write to, which is created.

    Returns:
        The files that were written.
    """
    path, out = Path(path), Path(out)
    if path.suffix in HDF5 or path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in HDF5) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no HDF5 file; folders in other formats need no conversion.")
        with _complete_folder(out) as temporary:
            for file in files:
                write_arrays(temporary / f"{file.stem}.safetensors", read_hdf5(file))
        return [out / f"{file.stem}.safetensors" for file in files]
    content = read_pickle(path)
    if not isinstance(content, Mapping):
        raise DataError(f"{path} holds a {type(content).__name__}; expected a dict of arrays.")
    return write_converted(content, out)


def is_converted(path: Path) -> bool:
    return (path / ARRAYS).is_file()


def write_converted(tree: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Write nested named values: arrays of numbers by key, texts as one table for each part.

    Args:
        tree: values such as {"train": {"text": array, "id": [...]}}.
        folder: folder to write to, which is created.

    Returns:
        The files that were written.
    """
    folder = Path(folder)
    numbers: dict[str, np.ndarray] = {}
    texts: dict[str, dict[str, list[Any]]] = {}
    _sort_out(tree, "", numbers, texts)
    for part, columns in texts.items():
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(
                f"{part}: all texts of a part need the same number of entries to form a table; got {counts}."
            )
    with _complete_folder(folder) as temporary:
        write_arrays(temporary / ARRAYS, numbers)
        for part, columns in texts.items():
            pd.DataFrame(columns).to_parquet(temporary / f"{part}.parquet", index=False)
    return [folder / ARRAYS, *(folder / f"{part}.parquet" for part in texts)]


@contextmanager
def _complete_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed when complete, because partial data would look complete."""
    folder = folder.resolve()  # because "." has no name
    temporary = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed while writing
        temporary.mkdir(parents=True)
        yield temporary
        for path in temporary.iterdir():
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        if folder.is_dir() and (any(folder.iterdir()) or folder == Path.cwd()):  # keep the folder itself
            for path in temporary.iterdir():
                os.replace(path, folder / path.name)
        else:
            os.replace(temporary, folder)
    except (OSError, ValueError, SafetensorError, pa.ArrowException) as problem:
        raise DataError(
            f"Cannot write {folder}: {problem}. Free some space or choose another folder."
        ) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_converted(folder: str | Path) -> dict[str, Any]:
    """Return what `write_converted` wrote, as nested named values.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = write_converted({"train": {"text": np.eye(2), "id": ["a", "b"]}}, folder)
        >>> read_converted(folder)["train"]["id"].tolist()
        ['a', 'b']
    """
    folder = Path(folder)
    tree: dict[str, Any] = {}
    for key, array in read_arrays(folder / ARRAYS).items():
        _put(tree, key.split("/"), array)
    for path in sorted(folder.glob("*.parquet")):
        try:
            table = pq.read_table(plain_file(path))
            table.validate(full=True)  # otherwise text that is not UTF-8 would fail when it is used
            frame = table.to_pandas()
        except (OSError, ValueError, OverflowError, NotImplementedError, pa.ArrowException) as problem:
            raise DataError(f"{path} cannot be read as Parquet: {problem}. Is it cut off?") from problem
        for name in frame.columns:
            values = frame[name].to_numpy(dtype=object)
            _put(tree, [str(name)] if path.stem == TOP else [*path.stem.split("."), str(name)], values)
    return tree


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays of numbers to a safetensors file."""
    plain = {
        name: np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
        for name, array in arrays.items()
    }
    save_file(plain, path)
    return path


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file."""
    try:
        return load_file(plain_file(path))
    except (OSError, SafetensorError, KeyError) as problem:
        raise DataError(f"{path} cannot be read as safetensors: {problem}. Is it cut off?") from problem


def _sort_out(
    tree: Mapping[str, Any],
    prefix: str,
    numbers: dict[str, np.ndarray],
    texts: dict[str, dict[str, list[Any]]],
) -> None:
    for key, value in tree.items():
        name = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            if name.count("/") > 8:
                raise DataError(f"{name} is nested too deeply; expected parts and their arrays.")
            _sort_out(value, name, numbers, texts)
            continue
        array = _as_array(value)
        if array.dtype.kind in "biuf":
            numbers[name] = array
        else:
            part = prefix.replace("/", ".") or TOP
            texts.setdefault(part, {})[str(key)] = [_text(entry) for entry in array]


def _as_array(value: Any) -> np.ndarray:
    """Return an array of numbers if the values are numbers; otherwise an array with at least one axis."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.array([None, *value], dtype=object)[1:]
    if array.dtype.kind == "O":
        try:
            return array.astype(np.float64)
        except (ValueError, TypeError, OverflowError):
            pass
    return array if array.ndim or array.dtype.kind in "biuf" else array[None]


def _text(entry: Any) -> Any:
    if isinstance(entry, np.ndarray | list | tuple):
        return [str(_text(part)) for part in entry]
    if isinstance(entry, bytes):
        return entry.decode("latin-1")
    return None if entry is None else str(entry)


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            break
    if not isinstance(tree, dict) or path[-1] in tree:
        raise DataError(f"{'/'.join(path)} clashes with another array. Rename one of the two.")
    tree[path[-1]] = value
