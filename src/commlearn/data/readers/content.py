"""What a published file holds, by key; everything that does not fit is collected and told at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.data.converted import is_converted, read_converted
from commlearn.data.pickles import read_pickle
from commlearn.errors import DataError, Problems, nearest, unknown

__all__ = ["Content", "existing", "open_content"]


class Content:
    """Nested named arrays of one file.

    Args:
        tree: what the file holds.
        where: the file, for messages.
    """

    def __init__(self, tree: Any, where: str) -> None:
        if not isinstance(tree, Mapping):
            raise DataError(f"{where} holds a {type(tree).__name__}; a dict of arrays was expected.")
        self.leaves = dict(_leaves(tree))
        self.where = where
        self.problems = Problems(where)

    def numbers(self, key: str, axes: str) -> np.ndarray:
        """The array at a key such as `train/text`, in float32 or as it is stored.

        Args:
            key: names joined by slashes.
            axes: their names, such as "samples, steps, features".
        """
        count = len(axes.split(","))
        nothing = np.zeros((0,) * count, dtype=np.float32)
        if key not in self.leaves:
            self.problems.add(f"{unknown('key', key, self.leaves)} ({axes}) was expected.")
            return nothing
        try:
            array = np.asarray(self.leaves[key])
            if array.dtype.kind == "O":
                array = array.astype(np.float32)
        except (ValueError, TypeError):
            self.problems.add(f"{key} holds something else than numbers; ({axes}) of numbers was expected.")
            return nothing
        if array.dtype.kind not in "biuf":
            self.problems.add(f"{key} is of type {array.dtype}; ({axes}) of numbers was expected.")
            return nothing
        if array.ndim != count:
            self.problems.add(f"{key} has shape {array.shape}; ({axes}) was expected.")
            return nothing
        return array

    def same(self, sizes: Mapping[str, int], what: str) -> None:
        """Arrays that describe the same things have one length."""
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{key} {size}" for key, size in sizes.items())
            self.problems.add(f"{told}: the number of {what} has to be the same.")

    def raise_if_any(self) -> None:
        self.problems.raise_if_any(DataError)


def open_content(path: str | Path, name: str, file: str) -> Content:
    """The content of a published pickle, or of the folder that `commlearn convert` made of it.

    Args:
        path: of either.
        name: of the data set, for messages.
        file: how the published file is called.
    """
    found = existing(path, name, file)
    if found.is_dir() and not is_converted(found):
        files = ", ".join(sorted(entry.name for entry in found.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{found} is a folder with {files}; {name} needs the file {file}, or what `commlearn convert` "
            "made of it."
        )
    return Content(read_converted(found) if found.is_dir() else read_pickle(found), str(found))


def existing(path: str | Path, name: str, file: str) -> Path:
    """The path, if something is there."""
    if not str(path):
        raise DataError(
            f"{name} needs its data: give --data PATH of {file}, or make a stand-in of the same format with "
            f"`commlearn synth {name} --out PATH`."
        )
    found = Path(path)
    if not found.exists():
        siblings = [entry.name for entry in found.parent.iterdir()] if found.parent.is_dir() else []
        guess = nearest(found.name, siblings)
        hint = f"Did you mean {found.with_name(guess)}?" if guess else "Check the path."
        raise DataError(f"There is no {found} ({name} is published as {file}). {hint}")
    return found


def _leaves(tree: Mapping[Any, Any], above: str = "", deep: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        if isinstance(value, Mapping) and deep < 4:
            yield from _leaves(value, f"{above}{name}/", deep + 1)
        else:
            yield f"{above}{name}", value
