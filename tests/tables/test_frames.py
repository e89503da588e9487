"""The same rows in frames of several libraries give the same records and embeddings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import dataset, parquet
from sklearn.base import clone

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


def hugging_face(frame: pd.DataFrame):
    sets = pytest.importorskip("datasets", reason="datasets is not installed: Hugging Face's are not tried")
    reverse = frame[::-1]
    made = sets.Dataset.from_dict({name: reverse[name].tolist() for name in frame})
    return made.select(range(len(frame) - 1, -1, -1))  # the selected order must be read, not the stored one


FRAMES = {
    "pyarrow table": lambda frame, folder: arrow(frame),
    "pyarrow batch": lambda frame, folder: arrow(frame).combine_chunks().to_batches()[0],
    "pyarrow dataset": on_disk,
    "list of dicts": lambda frame, folder: frame.to_dict("records"),
    "dict of arrays": lambda frame, folder: {name: frame[name].tolist() for name in frame},
    "polars": lambda frame, folder: polars(frame),
    "polars, lazy": lambda frame, folder: polars(frame).lazy(),
    "duckdb": lambda frame, folder: duckdb(frame),
    "hugging face": lambda frame, folder: hugging_face(frame),
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


@pytest.mark.parametrize("kind", FRAMES)
def test_output_comes_in_the_frame_that_was_asked_for_whatever_came_in(kind, frame, fitted, tmp_path):
    """scikit-learn's `set_output` works with every type of input frame."""
    frames = pytest.importorskip("polars", reason="polars is not installed: its frames are not tried")
    model, wanted = clone(fitted).fit(frame), fitted.transform(frame)
    for container, cls in (("pandas", pd.DataFrame), ("polars", frames.DataFrame)):
        made = model.set_output(transform=container).transform(FRAMES[kind](frame, tmp_path))
        assert isinstance(made, cls)
        assert list(made.columns) == list(model.get_feature_names_out())
        np.testing.assert_allclose(made.to_numpy(), wanted, atol=1e-5)
    if kind == "polars":
        code = np.stack(frame["code"])
        assert model.fit_transform(FRAMES[kind](frame, tmp_path)).shape == (len(code), wanted.shape[1])


@pytest.mark.parametrize("stored", ["bytes", "paths"])
def test_pictures_of_hugging_face_are_decoded(stored, tmp_path):
    sets = pytest.importorskip("datasets", reason="datasets is not installed: Hugging Face's are not tried")
    pictures = np.random.default_rng(0).integers(0, 255, (12, 16, 20, 3)).astype("uint8")
    widths = np.random.default_rng(1).normal(size=12)
    names = [str(tmp_path / f"{row}.png") for row in range(12)]
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(name)
    cells = names if stored == "paths" else [Image.fromarray(picture) for picture in pictures]
    made = sets.Dataset.from_dict({"width": widths.tolist(), "photo": [*cells[:11], None]})
    made = made.cast_column("photo", sets.Image())
    other = {"width": widths, "photo": [*pictures[:11], None]}
    embedder = cl.Embedder(epochs=1).fit(made)
    assert isinstance(embedder.schema_.modalities["photo"], cl.Image)
    np.testing.assert_allclose(embedder.transform(made), embedder.transform(other), atol=1e-5)
    with pytest.raises(
        DataError, match=r"a dict of tables \(train\).*Give one of them, such as tables\['train'\]"
    ):
        embedder.transform(sets.DatasetDict(train=made))
    with pytest.raises(DataError, match="IterableDataset cannot be read as a table"):
        embedder.transform(made.to_iterable_dataset())


def test_an_index_of_pandas_is_the_column_that_it_is_in_arrow(tmp_path):
    frame = pd.DataFrame({"case": ["a", "b"], "age": [1, 2]}).set_index("case")
    unnamed = frame.reset_index()[[False, True]]
    for table in map(pa.Table.from_pandas, (frame, unnamed)):
        parquet.write_table(table, tmp_path / "t.parquet")
        read = read_table(table).frame
        assert sorted(read) == ["age", "case"]
        pd.testing.assert_frame_equal(read, read_table(tmp_path / "t.parquet").frame)


def test_a_dict_of_tables_is_no_table(frame):
    with pytest.raises(DataError, match=r"a dict of tables \(train, test\)"):
        read_table({"train": frame, "test": frame})


def test_columns_of_a_dict_with_the_same_rows_in_different_orders_are_refused(frame):
    height, site = frame["height"], frame["site"]
    message = "'height' and 'site' have the same rows in different orders"
    with pytest.raises(DataError, match=message):
        read_table({"label": frame["label"].to_numpy(), "height": height, "site": site[::-1]})
    table = read_table(
        {"height": height[::-1], "site": site[::-1], "label": frame["label"].add_prefix("row ")}
    )
    assert table.frame["height"].tolist() == height.tolist()[::-1]


def test_what_is_no_table_is_refused_with_the_way_out(frame):
    with pytest.raises(
        DataError, match=r"ChunkedArray cannot be read as a table.*Give a pandas or Polars DataFrame"
    ):
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
    with pytest.warns(DataWarning, match="these columns are not used: .*empty: ") as warned:
        cl.Embedder(epochs=1).fit(table)
    message = next(str(one.message) for one in warned if "not used" in str(one.message))
    assert "boxes: " in message
