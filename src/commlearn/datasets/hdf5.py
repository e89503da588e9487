"""Read and write HDF5 files; the only place that imports h5py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.errors import DAMAGED, ConfigurationError, DataError
from commlearn.storage.plain_files import check_unpacked, plain_file

MISSING = "HDF5 files need h5py. Install it with: pip install 'commlearn[h5]'"


def read_hdf5(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of numbers at the top level of an HDF5 file; soft and external links are skipped."""
    try:
        import h5py
    except ImportError as problem:
        raise ConfigurationError(f"{path}: {MISSING}") from problem
    arrays = {}
    try:
        with h5py.File(plain_file(path), "r") as file:
            for name in file:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    continue
                entry = file[name]
                if isinstance(entry, h5py.Dataset) and entry.dtype.kind in "biuf":
                    _check(f"{path}, {name}", entry)
                    arrays[name] = entry[()]
    except (*DAMAGED, OSError, RuntimeError, MemoryError) as problem:
        raise DataError(f"{path} cannot be read as HDF5: {problem}. Is it cut off?") from problem
    return arrays


def _check(location: str, entry: Any) -> None:
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
    try:
        import h5py
    except ImportError as problem:
        raise ConfigurationError(f"{path}: {MISSING}") from problem
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip", compression_opts=1)
