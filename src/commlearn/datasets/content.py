"""The contents of a published file by key, and their standardisation; all problems are reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from commlearn.datasets.converted import is_converted, read_converted
from commlearn.errors import DataError, Problems, nearest, unknown
from commlearn.storage.pickles import read_pickle


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
        empty = np.zeros((0,) * count, dtype=np.float32)
        if key not in self.leaves:
            self.problems.add(f"{unknown('key', key, self.leaves)} Expected an array of shape ({axes}).")
            return empty
        try:
            array = np.asarray(self.leaves[key])
            if array.dtype.kind == "O":
                array = array.astype(np.float32)
        except (ValueError, TypeError):
            self.problems.add(
                f"{key} holds something other than numbers; expected numbers of shape ({axes})."
            )
            return empty
        if array.dtype.kind not in "biuf":
            self.problems.add(f"{key} is of type {array.dtype}; expected numbers of shape ({axes}).")
            return empty
        if array.ndim != count:
            self.problems.add(f"{key} has shape {array.shape}; expected ({axes}).")
            return empty
        return array

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
    if source.is_dir() and not is_converted(source):
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
            f"{name} needs its data: give --data PATH of {file}, or make a stand-in in the same format with "
            f"`commlearn synth {name} --out PATH`."
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
