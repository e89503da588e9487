"""Comparisons of data in memory: a schema object and a frame give the same results as their files."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image as PIL
from torch import nn

import commlearn as cl
from commlearn.comparison.compare import stored_table
from commlearn.errors import ConfigurationError, DataError, RunError
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table

SMALL = {"training.epochs": 1, "training.batch_size": 16, "model.width": 16, "training.threads": 1}
ROWS = 60


def quiet(line):
    pass


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    cells = generator.normal(size=(ROWS, 3)).round(3)
    return pd.DataFrame(
        {
            "id": [f"r{row}" for row in range(ROWS)],
            "age": cells[:, 0],
            "curve": list(generator.normal(size=(ROWS, 12, 2)).astype("float32")),
            "photo": [f"photos/{row % 7}.png" for row in range(ROWS)],
            "ill": np.where(cells[:, 0] > 0, "yes", "no"),
            "odd": [object() for _ in range(ROWS)],  # not in any modality
        }
    )


@pytest.fixture
def schema(frame, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for number in range(7):
        PIL.new("RGB", (16, 16), (30 * number, 0, 200)).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    modalities = {
        "labs": cl.Tabular(["age"]),
        "curve": cl.Series("curve"),
        "photo": cl.Image("photo", size=16),
    }
    return cl.Schema(modalities, targets={"ill": "class"}, id="id")


def test_a_schema_and_a_frame_are_compared_as_their_files_are(schema, frame, tmp_path, jobs_in_this_process):
    words = (["raw", "clip"], 1)
    rest = {"overrides": SMALL, "jobs": 1, "tell": quiet, "rivals": []}
    in_memory = cl.compare(schema, *words, tmp_path / "memory", table=frame, **rest)
    (tmp_path / "schema.yaml").write_text(schema.to_yaml())
    stored = frame.drop(columns="odd")
    stored["curve"] = [cell.tolist() for cell in stored["curve"]]
    stored.to_parquet(tmp_path / "table.parquet")
    of_files = cl.compare(tmp_path / "schema.yaml", *words, tmp_path / "files", table="table.parquet", **rest)
    scores = [
        {name: row["scores"]["ill"]["mean"] for name, row in each["methods"].items()}
        for each in (in_memory, of_files)
    ]
    assert scores[0].keys() == {"raw", "clip"}
    assert scores[0] == scores[1]
    lines = []
    assert cl.compare(schema, *words, "memory", table=frame, **{**rest, "tell": lines.append}) == in_memory
    assert all(line.startswith("done before") for line in lines)
    with pytest.raises(RunError, match=r"table\.parquet is the table of another comparison"):
        cl.compare(schema, *words, tmp_path / "memory", table=frame.assign(age=0.0), **rest)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "records", "arrays", "huggingface"])
def test_every_sort_of_table_is_stored_as_it_is_read(kind, schema, frame, tmp_path):
    frame = frame.drop(columns=["odd", "photo"])
    frame["curve"] = [cell[:, 0] for cell in frame["curve"]]
    schema = schema.only(["labs", "curve"])
    table = {
        "pandas": lambda: frame,
        "polars": lambda: pytest.importorskip("polars").from_pandas(frame),
        "pyarrow": lambda: pa.Table.from_pandas(frame),
        "records": lambda: frame.to_dict("records"),
        "arrays": lambda: {name: np.stack(cells) for name, cells in frame.items()},
        "huggingface": lambda: pytest.importorskip("datasets").Dataset.from_pandas(frame),
    }[kind]()
    (tmp_path / "schema.yaml").write_text(schema.to_yaml())
    path = stored_table(table, str(tmp_path / "schema.yaml"), tmp_path / "out")
    first, second = (dataset_of(read_table(source, schema.columns()), schema) for source in (table, path))
    assert np.array_equal(first.train.keys, second.train.keys)
    assert len(second.test)
    views = [data.train.view(slice(None)) for data in (first, second)]
    for name in ("labs", "curve"):
        assert np.array_equal(*(view[name].values.numpy() for view in views)), name


def test_pictures_of_the_memory_are_stored_as_they_are_read(tmp_path):
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, size=(9, 3, 20, 16)).astype("uint8")  # channels first, as in torch
    deep = generator.integers(0, 4096, size=(20, 16)).astype("uint16")
    schema = cl.Schema({"photo": cl.Image("photo", size=16), "scan": cl.Image("scan", size=16)})
    (tmp_path / "schema.yaml").write_text(schema.to_yaml())
    table = {"photo": colours, "scan": [deep, None, PIL.fromarray(deep[:, ::-1].copy())] * 3}
    path = stored_table(table, str(tmp_path / "schema.yaml"), tmp_path / "out")
    views = [dataset_of(read_table(each), schema, test=0).train.view(slice(None)) for each in (table, path)]
    for name in ("photo", "scan"):
        assert np.array_equal(*(view[name].values.numpy() for view in views)), name
    assert views[1]["scan"].present.sum() == 6


def test_encoders_of_the_caller_are_refused_before_anything_starts(schema, frame, tmp_path):
    kinds = {**schema.modalities, "photo": cl.Image("photo", encoder=nn.Flatten())}
    with pytest.raises(ConfigurationError, match=r"encoder of photo is a module.*cl\.Embedder"):
        cl.compare(cl.Schema(kinds, targets={"ill": "class"}), table=frame, out=tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_bins_and_empty_arrays_of_labels_are_stored_as_they_are_read(tmp_path):
    ages = np.random.default_rng(0).normal(size=40)
    table = {
        "age": ages,
        "size": -ages,
        "bin": pd.cut(np.append(ages[:-1], np.nan), 3),
        "tags": [np.array(["new", "old"]) if age > 0 else np.array([]) for age in ages],
    }
    halves = {name: cl.Tabular([name]) for name in ("age", "size")}
    schema = cl.Schema(halves, targets={"bin": "class", "tags": "multilabel"})
    (tmp_path / "schema.yaml").write_text(schema.to_yaml())
    frame = pd.DataFrame(table)
    path = stored_table(frame, str(tmp_path / "schema.yaml"), tmp_path / "out")
    first, second = (dataset_of(read_table(each), schema, test=0).train.targets for each in (frame, path))
    assert list(map(str, first["bin"])) == list(map(str, second["bin"]))
    assert list(first["tags"]) == list(second["tags"])
    assert first["bin"][-1] is None


def test_what_cannot_be_stored_is_refused_by_name(schema, frame, tmp_path):
    mixed = frame.assign(id=[1, "two", *range(2, ROWS)])
    with pytest.raises(DataError, match=r"Column id cannot be written as Parquet.*cells of one type"):
        cl.compare(schema, table=mixed, out=tmp_path / "a")
    with pytest.raises(ConfigurationError, match="table is a set; give a path"):
        cl.compare(schema, table={1, 2}, out=tmp_path / "a")
    with pytest.raises(ConfigurationError, match="is a recipe, which names its own data"):
        cl.compare("trifeature-quick", table=frame, out=tmp_path / "a")
    with pytest.raises(ConfigurationError, match="names no table. Pass one"):
        cl.compare(schema, out=tmp_path / "a")


@pytest.mark.parametrize("name", ["schema.yaml", "table.parquet"])
def test_files_of_the_user_are_not_replaced(name, schema, frame, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(RunError, match=rf"{re.escape(name)} exists, and a comparison would replace it"):
        cl.compare(schema, ["raw"], 1, tmp_path / "mine", table=frame, rivals=[], tell=quiet)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name]
    assert (tmp_path / "mine" / name).read_text() == "mine"
