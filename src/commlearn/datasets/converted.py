"""Published files: their contents by key, and the open formats that `commlearn convert` writes.

A converted file is a folder: numbers as safetensors, texts as Parquet. All problems with a content are
reported at once. This is the only place that imports h5py.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from commlearn.errors import DAMAGED, ConfigurationError, DataError, Problems, nearest, unknown
from commlearn.storage.pickles import read_pickle
from commlearn.storage.plain_files import check_unpacked, plain_file

NUMBER = re.compile(
    r"\s*[-+]?(?:0|[1-9]\d*)?(?:\.\d*)?(?:[eE][-+]?\d+)?\s*|\s*[-+]?(?:nan|inf)\s*", re.IGNORECASE
)
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
        for file, following in pairwise(sorted(files, key=lambda file: file.stem)):
            if file.stem == following.stem:
                names = f"{file.name} and {following.name}"
                raise DataError(f"{path}: {names} would both become {file.stem}.safetensors. Rename one.")
        with _complete_folder(out) as temporary:
            for file in files:
                write_arrays(temporary / f"{file.stem}.safetensors", read_hdf5(file))
        return [out / f"{file.stem}.safetensors" for file in files]
    content = read_pickle(path)
    if not isinstance(content, Mapping):
        raise DataError(f"{path} holds a {type(content).__name__}; expected a dict of arrays.")
    return write_converted(content, out)


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


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of numbers to a safetensors file."""
    plain = {
        name: np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
        for name, array in arrays.items()
    }
    save_file(plain, path)


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


def _is_number(text: str | bytes) -> bool:
    """Whether a text is a plain number; ids such as 1_60 and 007, which Python reads as numbers, are not."""
    return NUMBER.fullmatch(text if isinstance(text, str) else text.decode(errors="replace")) is not None


def _as_array(value: Any) -> np.ndarray:
    """Return an array of numbers if the values are numbers; otherwise an array with at least one axis."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.array([None, *value], dtype=object)[1:]
    texts = (
        [entry for entry in array.flat if isinstance(entry, str | bytes)] if array.dtype.kind == "O" else []
    )
    if array.dtype.kind == "O" and all(map(_is_number, texts)):
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


def read_hdf5(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of numbers at the top level of an HDF5 file; soft and external links are skipped."""
    h5py = _h5py(path)
    arrays = {}
    try:
        with h5py.File(plain_file(path), "r") as file:
            for name in file:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    continue
                entry = file[name]
                if isinstance(entry, h5py.Dataset) and entry.dtype.kind in "biuf":
                    _check_entry(f"{path}, {name}", entry)
                    arrays[name] = entry[()]
    except (*DAMAGED, OSError, RuntimeError, MemoryError) as problem:
        raise DataError(f"{path} cannot be read as HDF5: {problem}. Is it cut off?") from problem
    return arrays


def _check_entry(location: str, entry: Any) -> None:
    """Reject an array that is stored in other files, is empty, or claims far more than the file holds."""
    if entry.is_virtual or entry.external:
        raise DataError(
            f"{location} refers to other files, which are not read. Copy its numbers into this file."
        )
    if entry.shape is None:
        raise DataError(f"{location} is empty (a null dataspace). Store an array, or leave it out.")
    check_unpacked(location, int(entry.nbytes), int(entry.id.get_storage_size()))


def write_hdf5(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a compressed HDF5 file."""
    with _h5py(path).File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip", compression_opts=1)


def _h5py(path: str | Path) -> Any:
    try:
        import h5py
    except ImportError as problem:
        raise ConfigurationError(
            f"{path}: HDF5 files need h5py. Install it with: pip install 'commlearn[h5]'"
        ) from problem
    return h5py


class Content:
    """Nested named arrays of one file."""

    def __init__(self, tree: Any, where: str) -> None:
        if not isinstance(tree, Mapping):
            raise DataError(f"{where} holds a {type(tree).__name__}; expected a dict of arrays.")
        self.leaves = dict(_leaves(tree))
        self.location = where
        self.problems = Problems(where)

    def numbers(self, key: str, axes: str) -> np.ndarray:
        """Return the array at a key such as `train/text`, in float32 or as stored; empty if it is invalid."""
        count = len(axes.split(","))
        try:
            array = np.asarray(self.leaves[key])
            if array.dtype.kind == "O":
                array = array.astype(np.float32)
            if array.dtype.kind not in "biuf":
                problem = f"{key} is of type {array.dtype}; expected numbers of shape ({axes})."
            elif array.ndim != count:
                problem = f"{key} has shape {array.shape}; expected ({axes})."
            else:
                return array
        except KeyError:
            problem = f"{unknown('key', key, self.leaves)} Expected an array of shape ({axes})."
        except (ValueError, TypeError):
            problem = f"{key} holds something other than numbers; expected numbers of shape ({axes})."
        self.problems.add(problem)
        return np.zeros((0,) * count, dtype=np.float32)

    def same(self, sizes: Mapping[str, int], what: str) -> None:
        """Add a problem if arrays that describe the same things differ in length."""
        if len(set(sizes.values())) > 1:
            counts = ", ".join(f"{key} {size}" for key, size in sizes.items())
            self.problems.add(f"{counts}: the number of {what} must be the same.")

    def raise_if_any(self) -> None:
        self.problems.raise_if_any(DataError)


def open_content(path: str | Path, name: str, file: str) -> Content:
    """Return the content of a published pickle, or of the folder that `commlearn convert` made from it."""
    source = existing_path(path, name, file)
    if source.is_dir() and not (source / ARRAYS).is_file():
        files = ", ".join(sorted(entry.name for entry in source.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{source} is a folder with {files}; {name} needs the file {file}, or what `commlearn convert` "
            "made from it."
        )
    return Content(read_converted(source) if source.is_dir() else read_pickle(source), str(source))


def existing_path(path: str | Path, name: str, file: str) -> Path:
    """Return the path if it exists; otherwise raise an error that says what is needed."""
    if not str(path):
        raise DataError(
            f"{name} needs its data: set data.path (on the command line: --data) to the path of {file}, or "
            f"make a stand-in in the same format with `commlearn synth {name} --out PATH`."
        )
    location = Path(path)
    if not location.exists():
        siblings = [entry.name for entry in location.parent.iterdir()] if location.parent.is_dir() else []
        guess = nearest(location.name, siblings)
        hint = f"Did you mean {location.with_name(guess)}?" if guess else "Check the path."
        raise DataError(f"{location} does not exist ({name} is published as {file}). {hint}")
    return location


def _leaves(tree: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        if isinstance(value, Mapping) and depth < 4:
            yield from _leaves(value, f"{prefix}{name}/", depth + 1)
        else:
            yield f"{prefix}{name}", value


class Standard(NamedTuple):
    """Mean and scale of each feature."""

    mean: np.ndarray  # (features,)
    scale: np.ndarray  # (features,); 1 where a feature never changes

    @classmethod
    def of(cls, rows: np.ndarray) -> Standard:
        """Compute mean and scale from the rows of training records, (rows, features).

        Example:
            >>> Standard.of(np.array([[0.0, 5.0], [2.0, 5.0]]))(np.array([[2.0, 5.0]])).tolist()
            [[1.0, 0.0]]
        """
        mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
        return cls(
            mean.astype(np.float32), np.where(scale > 1e-6 * np.abs(mean), scale, 1.0).astype(np.float32)
        )

    def __call__(self, values: np.ndarray) -> np.ndarray:  # (..., features)
        return ((values - self.mean) / self.scale).astype(np.float32)


def finite(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the values in float32 with 0 in place of infinity and NaN, and how many these were.

    Example:
        >>> finite(np.array([1.0, -np.inf]))
        (array([1., 0.], dtype=float32), 1)
    """
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    wrong = ~np.isfinite(values)
    count = int(wrong.sum())
    if count:
        values[wrong] = 0
    return values, count
