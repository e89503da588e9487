"""Storage of in-memory schemas and tables in the folder of a comparison, where its processes read them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image as PIL

from commlearn.config.own_data import is_schema
from commlearn.errors import ConfigurationError, DataError, RunError
from commlearn.kinds.image import Image
from commlearn.kinds.pictures import Decoder
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.locks import hold
from commlearn.tables.formats.frames import is_frame
from commlearn.tables.schema import Schema, modules_of_schema
from commlearn.tables.table import read_table

SCHEMA, TABLE = "schema.yaml", "table.parquet"
BEGUN = "compare.json"  # settings and records of the comparison, written before the first training


def stored_schema(recipe: str | Path | Schema | Mapping[str, Any], out: Path) -> str:
    """Return where to read the recipe or schema; a schema in memory is written into the folder.

    Args:
        recipe: the name or path of a recipe or schema, a `Schema` or its plain values.
        out: folder of the comparison.
    """
    if isinstance(recipe, str | Path):
        return str(recipe)
    schema = recipe if isinstance(recipe, Schema) else Schema.from_mapping(recipe)
    if modules := modules_of_schema(schema):
        name = next(iter(modules))
        raise ConfigurationError(
            f"compare trains in separate processes, and the encoder of {', '.join(modules)} is a module of "
            f"this one. Leave out encoder= of {name} to compare the methods with the default encoder, "
            f"or train one after the other: cl.Embedder(schema, method=...).fit(table), then cl.probe."
        )
    return _write(out / SCHEMA, schema.to_yaml().encode())


def stored_table(table: Any, recipe: str, out: Path) -> str | None:
    """Return where to read the table; a table in memory is written into the folder, needed columns only.

    Args:
        table: a path or URL, anything else that `read_table` takes, or None.
        recipe: path of the schema.
        out: folder of the comparison.
    """
    if table is None or isinstance(table, str | Path):
        return None if table is None else str(table)
    if not (isinstance(table, Mapping) or is_frame(table)):
        raise ConfigurationError(
            f"table is a {type(table).__name__}; give a path, a frame, a list of dicts or a dict of arrays."
        )
    if not is_schema(recipe):
        raise ConfigurationError(
            f"{recipe} is a recipe, which names its own data. Pass a Schema with a table."
        )
    schema = Schema.from_yaml(Path(recipe))
    frame = read_table(table, schema.training_columns()).frame
    pictures = {
        column for kind in schema.modalities.values() if isinstance(kind, Image) for column in kind.columns()
    }
    columns = {name: _storable(frame[name], name in pictures) for name in frame}
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return _write(out / TABLE, content.getvalue())


def _storable(values: pd.Series, pictures: bool) -> pa.Array:
    """Convert a column to Arrow: pictures as encoded image files, arrays as lists of lists."""
    if values.dtype == object:
        values = values.map(_picture if pictures else _lists)
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as problem:
        raise DataError(
            f"Column {values.name} cannot be written as Parquet for the training processes ({problem}). "
            "Give cells of one type, or the path of a table."
        ) from problem


def _picture(cell: Any) -> Any:
    if isinstance(cell, torch.Tensor):
        cell = cell.detach().cpu().numpy()
    if isinstance(cell, np.ndarray):
        deep = cell.dtype == np.uint16
        cell = PIL.fromarray(cell.squeeze()) if deep else Decoder(Path()).from_array(cell)
    if not isinstance(cell, PIL.Image):
        return cell
    content = io.BytesIO()
    cell.save(content, "TIFF" if cell.mode in ("F", "CMYK", "YCbCr", "LAB") else "PNG")
    return content.getvalue()


def _lists(cell: Any) -> Any:
    if isinstance(cell, torch.Tensor):
        cell = cell.detach().cpu().numpy()
    if isinstance(cell, set | frozenset):
        return sorted(cell, key=str)
    return [_lists(part) for part in cell] if isinstance(cell, np.ndarray) and cell.ndim > 1 else cell


def _write(path: Path, content: bytes) -> str:
    """Write a file and return its path; raise an error if it belongs to another comparison."""
    path = path.resolve()
    if not path.exists() or path.read_bytes() != content:
        if path.exists() and (path.parent / BEGUN).exists():
            raise RunError(f"{path} is the {path.stem} of another comparison. Give another out.")
        hold(path.parent, "comparing").close()  # makes the folder
        write_atomically(path, content)
    return str(path)
