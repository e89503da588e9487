"""Arrays that the library wrote, read without running anything."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from commlearn.errors import RunError
from commlearn.storage.plain_files import check_unpacked, plain_file


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The named arrays of a file, or an error that names it and the way out."""
    try:
        with zipfile.ZipFile(plain_file(path)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            check_unpacked(str(path), size, path.stat().st_size)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        way_out = "Delete the job's folder, and compare again to train it anew."
        raise RunError(f"{path} is damaged: {problem}. {way_out}") from problem
