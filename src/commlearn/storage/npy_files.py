"""Arrays in .npy files: what a file says of itself is not believed, and nothing is unpickled."""

from __future__ import annotations

import tokenize
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

__all__ = ["read_npy"]

# what numpy raises on files that are no arrays: the header is parsed as Python
UNREADABLE = (
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    OverflowError,
    MemoryError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
)


def read_npy(source: Path | BinaryIO) -> np.ndarray:
    """The array in a file.

    Raises:
        ValueError: it holds something else, or less than it says.
        OSError: it cannot be read.
    """
    try:
        array = np.load(source, allow_pickle=False)
    except UNREADABLE as problem:
        raise ValueError(str(problem) or type(problem).__name__) from problem
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive of several arrays")
    return array
