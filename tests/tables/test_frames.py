"""The same rows in frames of several libraries give the same records and embeddings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import dataset, parquet

import commlearn as cl
from commlearn.errors import DataError, DataWarning
from commlearn.tables.infer import infer
from commlearn.tables.table import read_table

SCHEMA = {
    "modalities": {
        "text": {"kind": "text", "column": "note"},
        "facts": {"kind": "tabular", "columns": ["height", "site"]},
        "code": {"kind": "vector", "column": "code"},
    }
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "note": [" ".join(draw.choice(["red", "old", "oak", "chair", "lamp"], 4)) for _ in range(60)],
            "height": draw.normal(size=60),
            "site": draw.choice(["a", "b"], 60),
            "code": list(draw.normal(size=(60, 3)).astype("float32")),
            "label": draw.integers(0, 2, 60),
        }
    )


def polars(frame: pd.DataFrame):
    frames = pytest.importorskip("polars", reason="polars is not installed: its frames are not tried")
    return frames.DataFrame(
        {name: np.stack(frame[name]) if name == "code" else frame[name].tolist() for name in frame}
    )


def duckdb(frame: pd.DataFrame):
    database = pytest.importorskip("duckdb", reason="duckdb is not installed: its relations are not tried")
    return database.connect().from_arrow(arrow(frame))


def arrow(frame: pd.DataFrame) -> pa.Table:
    return pa.table({name: frame[name].tolist() for name in frame})


def on_disk(frame: pd.DataFrame, folder) -> dataset.Dataset:
    parquet.write_table(arrow(frame), folder / "part.parquet")
    return dataset.dataset(folder)


FRAMES = {
    "pyarrow table": lambda frame, folder: arrow(frame),
    "pyarrow batch": lambda frame, folder: arrow(frame).combine_chunks().to_batches()[0],
    "pyarrow dataset": on_disk,
    "list of dicts": lambda frame, folder: frame.to_dict("records"),
    "dict of arrays": lambda frame, folder: {name: frame[name].tolist() for name in frame},
    "polars": lambda frame, folder: polars(frame),
    "polars, lazy": lambda frame, folder: polars(frame).lazy(),
    "duckdb": lambda frame, folder: duckdb(frame),
}


@pytest.fixture(scope="module")
def fitted(frame) -> cl.Embedder:
    return cl.Embedder(SCHEMA, epochs=1).fit(frame)


@pytest.mark.parametrize("kind", FRAMES)
def test_every_frame_gives_the_same_embedding(kind, frame, fitted, tmp_path):
    other = FRAMES[kind](frame, tmp_path)
    np.testing.assert_allclose(fitted.transform(other), fitted.transform(frame), atol=1e-5)
    np.testing.assert_allclose(cl.embed(fitted, other), cl.embed(fitted, frame), atol=1e-5)


@pytest.mark.parametrize("kind", ["pyarrow table", "list of dicts", "polars"])
def test_a_frame_of_numbers_is_no_vector_that_holds_its_label(kind, frame, tmp_path):
    numbers = FRAMES[kind](frame[["height", "label"]].assign(width=1.0 + frame["height"]), tmp_path)
    schema = {"modalities": {name: {"kind": "tabular", "columns": [name]} for name in ("height", "width")}}
    embedder = cl.Embedder(schema, epochs=1).fit(numbers)
    assert list(embedder.feature_names_in_) == ["height", "label", "width"]
    assert embedder.trained.schema.modalities.keys() == {"height", "width"}


def test_what_is_no_table_is_refused_with_the_way_out(frame):
    with pytest.raises(DataError, match=r"ChunkedArray cannot be read as a table.*Give a DataFrame"):
        read_table(arrow(frame)["height"])

    class Other:
        columns = ("a", "b")

    with pytest.raises(DataError, match=r"A Other cannot be read as a table.*a list of dicts"):
        cl.Embedder(SCHEMA).fit(Other())


@pytest.mark.parametrize("form", ["channels last", "channels first", "torch"])
def test_pictures_of_a_dict_are_read_however_they_lie(form):
    pictures = np.random.default_rng(0).integers(0, 255, (12, 16, 20, 3)).astype("uint8")
    forms = {
        "channels last": pictures,
        "channels first": pictures.transpose(0, 3, 1, 2),
        "torch": torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255,
    }
    table = read_table({"photo": forms[form], "width": np.arange(12.0)})
    assert isinstance(infer(table).schema.modalities["photo"], cl.Image)
    cells = np.stack(list(table.frame["photo"]))
    assert (np.round(cells * (255 if form == "torch" else 1)) == pictures).all()
    embedder = cl.Embedder(epochs=1).fit({"photo": forms[form], "width": np.arange(12.0)})
    other = {"photo": pictures, "width": np.arange(12.0)}
    np.testing.assert_allclose(embedder.transform(other), embedder.transform(table.frame), atol=1e-5)


def test_columns_that_are_not_used_are_told_with_the_reason():
    draw = np.random.default_rng(0)
    table = {"width": draw.normal(size=40), "high": draw.normal(size=40)}
    table |= {"empty": [None] * 40, "boxes": [{"x": 1}] * 40}
    with pytest.warns(DataWarning, match="these columns are not used: .*empty: ") as told:
        cl.Embedder(epochs=1).fit(table)
    message = next(str(one.message) for one in told if "not used" in str(one.message))
    assert "boxes: " in message
