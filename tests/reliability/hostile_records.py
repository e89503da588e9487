"""Hostile records: tables of every format, pictures, sound, arrays, pickles and converted folders."""

from __future__ import annotations

import io
import pickle
import random
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import pandas as pd
import torch
from PIL import Image as PIL
from scipy.io import wavfile

from commlearn.datasets.converted import convert, read_converted, write_converted
from commlearn.kinds.audio import Audio
from commlearn.kinds.image import Image
from commlearn.kinds.series import Series
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.text import Text
from commlearn.kinds.vector import Vector
from commlearn.storage.pickles import read_pickle
from commlearn.tables.check import check
from commlearn.tables.dataset import dataset_of
from commlearn.tables.infer import infer
from commlearn.tables.schema import Schema
from commlearn.tables.table import read_table
from commlearn.training.kept_tokens import TokenShard, open_shard, write_shard

PICTURES = [
    "PNG",
    "JPEG",
    "GIF",
    "BMP",
    "TIFF",
    "WEBP",
    "PPM",
    "ICO",
    "TGA",
    "PCX",
    "DDS",
    "EPS",
    "ICNS",
    "SGI",
]
ROWS = 12
TRAIN = {"text": np.eye(2), "id": ["a", "b"], "n": 3}
CONTENT = {"train": TRAIN, "test": {"text": np.ones((1, 2)), "id": ["c"]}}


def kinds() -> dict[str, Any]:
    return {
        "image": Image("a", size=16),
        "text": Text("a"),
        "tabular": Tabular(["a", "b"]),
        "series": Series("a"),
        "vector": Vector("a"),
        "audio": Audio("a", rate=8000),
    }


def use(frame: pd.DataFrame, schema: Schema, root: Path) -> None:
    """Check a table, learn from it and read it; the values that are read must be finite."""
    table = read_table(frame)
    table = type(table)(table.frame, root, 0)
    check(table, schema)
    data = dataset_of(table, schema, test=0.25)
    for part in (data.train, data.test):
        for name, modality in part.view(slice(0, 4)).items():
            values = modality.values
            if name == "tabular":  # its missing numbers are NaN
                values = values.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
            if values.is_floating_point() and not torch.isfinite(values).all():
                raise AssertionError(f"{name} holds values that are not finite")


def good(chance: random.Random, name: str) -> list[Any]:
    made = {
        "image": lambda row: np.full((20, 20, 3), row, np.uint8),
        "text": lambda row: f"word{row} and others",
        "tabular": lambda row: row * 1.5,
        "series": lambda row: [float(row), 1.0, 2.0][: 1 + row % 3],
        "vector": lambda row: [float(row), 1.0, row % 3],
        "audio": lambda row: np.sin(np.arange(900) * (row + 1) / 9),
    }[name]
    return [made(row) for row in range(ROWS)]


def cells(chance: random.Random, folder: Path) -> None:
    """A table in memory with a column in which some or all cells hold anything."""
    name = chance.choice(sorted(kinds()))
    share = chance.choice((0.1, 0.3, 1.0))
    frame = pd.DataFrame({"a": pd.Series(good(chance, name), dtype=object), "b": range(ROWS)})
    column = chance.choice("aab")
    frame[column] = pd.Series(
        [mutations.cell(chance) if chance.random() < share else old for old in frame[column]], dtype=object
    )
    target = {chance.choice("ab"): chance.choice(("class", "number", "multilabel"))}
    part = {key: chance.choice((None, None, None, "b")) for key in ("id", "group", "split")}
    use(frame, Schema({name: kinds()[name]}, targets=target if chance.random() < 0.5 else {}, **part), folder)


def files_of_tables(chance: random.Random, folder: Path) -> None:
    """The file of a table, damaged, or intact with strange content."""
    ending = chance.choice((".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz"))
    path = folder / f"table{ending}"
    words = [chance.choice((str(mutations.value(chance))[:50], "1", "2.5", "x")) for _ in range(ROWS)]
    frame = pd.DataFrame({"a": words, "b": np.arange(ROWS) / 3, "c": [[1.0, 2.0]] * ROWS})
    if ending == ".parquet":
        frame["a"] = frame["a"].str.encode("utf-8", "replace").str.decode("utf-8")
        frame.to_parquet(path)
    elif ending == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",", errors="replace")
    if chance.random() < 0.8:
        path.write_bytes(mutations.bytes_of(chance, path.read_bytes()))
    table = read_table(path)
    infer(table)
    schema = Schema({"a": Text("a"), "b": Tabular(["b"]), "c": Vector("c")})
    check(table, schema)
    dataset_of(table, schema, test=0.25).train.view(slice(0, 4))


@cache
def picture(sort: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
        PIL.fromarray(noise).save(out, sort)
        return out.getvalue()


def pictures(chance: random.Random, folder: Path) -> None:
    sort = chance.choice(PICTURES)
    content = mutations.bytes_of(chance, picture(sort))
    (folder / "x.bin").write_bytes(content)
    column = [content if chance.random() < 0.5 else "x.bin", *([picture("PNG")] * (ROWS - 1))]
    use(pd.DataFrame({"a": pd.Series(column, dtype=object)}), Schema({"image": Image("a", size=16)}), folder)


@cache
def wave(dtype: str, channels: int) -> bytes:
    out = io.BytesIO()
    samples = (np.sin(np.arange(900 * channels) / 9) * 100 + 100).astype(dtype).reshape(-1, channels)
    wavfile.write(out, 8000, samples)
    return out.getvalue()


def sounds(chance: random.Random, folder: Path) -> None:
    whole = wave(chance.choice(("u1", "i2", "i4", "f4", "f8")), chance.choice((1, 2)))
    column = [mutations.bytes_of(chance, whole), *([wave("i2", 1)] * (ROWS - 1))]
    use(pd.DataFrame({"a": pd.Series(column, dtype=object)}), Schema({"sound": Audio("a")}), folder)


def arrays(chance: random.Random, folder: Path) -> None:
    """Damaged .npy and .csv files that cells refer to."""
    sort = chance.choice(("npy", "npy", "csv"))
    out = io.BytesIO()
    dtype, width = chance.choice(("f4", ">f8", "i2", "?", "c8")), chance.choice((1, 2, 3))
    array = np.arange(12).astype(dtype).reshape(-1, width)
    np.save(out, array) if sort == "npy" else np.savetxt(out, array.real, delimiter=",")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999, 9), }"
    spoiled = mutations.bytes_of(chance, out.getvalue())
    if sort == "npy" and chance.random() < 0.1:
        spoiled = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    (folder / f"x.{sort}").write_bytes(spoiled)
    name = chance.choice(("series", "vector"))
    column = [f"x.{sort}", *good(chance, name)[1:]]
    use(pd.DataFrame({"a": pd.Series(column, dtype=object)}), Schema({name: kinds()[name]}), folder)


def pickles(chance: random.Random, folder: Path) -> None:
    path = folder / "x.pkl"
    whole = pickle.dumps(CONTENT, protocol=chance.randrange(6))
    path.write_bytes(mutations.bytes_of(chance, whole))
    read_pickle(path)
    convert(path, folder / "out")
    read_converted(folder / "out")


def converted(chance: random.Random, folder: Path) -> None:
    content = CONTENT if chance.random() < 0.7 else {"a": mutations.replaced(chance, {"b": {"c": [1, 2]}})}
    files = write_converted(content, folder / "out")
    spoiled = chance.choice(files)
    spoiled.write_bytes(mutations.bytes_of(chance, spoiled.read_bytes()))
    read_converted(folder / "out")


def shards(chance: random.Random, folder: Path) -> None:
    path = folder / "x.tokens"
    write_shard(path, TokenShard(np.ones((3, 1, 2, 4), np.float32), None, np.ones(3, bool)))
    path.write_bytes(mutations.bytes_of(chance, path.read_bytes()))
    shard = open_shard(path)
    float(np.asarray(shard.values, dtype=np.float64).sum())


SORTS = {
    "cells": cells,
    "table files": files_of_tables,
    "pictures": pictures,
    "sounds": sounds,
    "arrays": arrays,
    "pickles": pickles,
    "converted": converted,
    "shards": shards,
}
