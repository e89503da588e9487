"""Embeddings of rows that lack the requested modalities, and of tables that lack a modality's columns."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import commlearn as cl
from commlearn.errors import DataError, DataWarning
from commlearn.tables.table import Table
from commlearn.trained import stream
from commlearn.trained.shards import write_shards
from commlearn.trained.stream import write_embeddings

ROWS = 40
SCHEMA = cl.Schema({"left": cl.Vector("left"), "right": cl.Vector("right")}, targets={"y": "class"})
ABSENT = [3, 8, 20, 21, 22, 39]


@pytest.fixture(scope="module")
def table():
    values = np.random.default_rng(0).normal(size=(2, ROWS, 3)).round(3)
    frame = pd.DataFrame({"left": values[0].tolist(), "right": values[1].tolist(), "y": np.arange(ROWS) % 2})
    frame["left"] = [None if row in ABSENT else cell for row, cell in enumerate(frame["left"])]
    return frame


@pytest.fixture(scope="module")
def model(table):
    return cl.Embedder(SCHEMA, epochs=1).fit(table)


def test_rows_without_the_named_modalities_have_nan_and_are_counted(model, table):
    whole = np.setdiff1d(np.arange(ROWS), ABSENT)
    expected = model.transform(table.iloc[whole].reset_index(drop=True), modalities=["left"])
    with pytest.warns(DataWarning, match="6 of 40 records have none of left. Their embeddings are NaN"):
        vectors = model.transform(table, modalities=["left"])
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == ABSENT
    assert np.allclose(vectors[whole], expected, atol=1e-5)


@pytest.mark.parametrize("named", [True, False])
def test_files_leave_them_out_and_say_which_rows_are_there(model, table, tmp_path, monkeypatch, named):
    monkeypatch.setattr(stream, "ROWS", (2, 2))  # so that some chunks have no embeddings
    frame = table.assign(name=[f"r{row}" for row in range(ROWS)])
    trained = model
    if named:
        trained = cl.Embedder(cl.Schema(SCHEMA.modalities, id="name"), epochs=1).fit(frame)
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.warns(DataWarning, match="6 of 40 records have none of left"):
        written = write_embeddings(trained.trained, tmp_path / "t.parquet", tmp_path / "z.parquet", ["left"])
    with pytest.warns(DataWarning, match="6 of 40 records have none of left"):
        shards = write_shards(trained.trained, tmp_path / "t.parquet", tmp_path / "z", ["left"])
    assert written.records == shards.records == ROWS - len(ABSENT)
    for path in (tmp_path / "z.parquet", tmp_path / "z" / "part-00000.parquet"):
        names = pq.read_table(path).column("name" if named else "row").to_pylist()
        assert names == [f"r{row}" if named else row for row in range(ROWS) if row not in ABSENT]


def test_a_table_none_of_whose_rows_has_them_is_refused(model, table, tmp_path):
    empty = table[table["left"].isna()].reset_index(drop=True)
    with pytest.raises(DataError, match="have none of left"):
        model.transform(empty, modalities=["left"])
    empty.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    with pytest.raises(DataError, match="No row of the table has any of left"):
        write_embeddings(model.trained, tmp_path / "t.jsonl", tmp_path / "z.parquet", ["left"])
    assert not (tmp_path / "z.parquet").exists()
    empty.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="No row of the table has any of left"):
        write_shards(model.trained, tmp_path / "t.parquet", tmp_path / "z", ["left"])


@pytest.mark.parametrize("blocks", ["all", "learned", "features"])
def test_a_file_of_a_folder_may_hold_none_of_its_rows(model, table, tmp_path, monkeypatch, blocks):
    monkeypatch.setattr("commlearn.trained.shards.ROWS", 4)
    frame = pd.concat([table[table["left"].isna()], table[table["left"].notna()]])
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=4)
    for _ in range(2):  # the second call finds every file
        with pytest.warns(DataWarning, match="6 of 40 records have none of left"):
            out = write_shards(model.trained, tmp_path / "t.parquet", tmp_path / "z", ["left"], blocks=blocks)
    parts = [pq.read_table(path) for path in sorted((tmp_path / "z").glob("*.parquet"))]
    assert [len(part) for part in parts[:3]] == [0, 2, 4]
    assert out.records == ROWS - len(ABSENT)
    assert len({part.schema.field("embedding").type for part in parts}) == 1


def test_probes_leave_them_out_and_count_them(model, table):
    with pytest.warns(DataWarning, match="records have none of left and are left out"):
        result = cl.probe(model, table, modalities=["left"])["y"]
    assert result.train_records + result.test_records == ROWS - len(ABSENT)


def test_a_table_without_the_columns_of_a_modality_is_embedded_by_the_others_and_says_so_once(
    model, table, tmp_path, monkeypatch
):
    with pytest.warns(
        DataWarning, match="no columns for left; its records are embedded from the other"
    ) as warned:
        vectors = model.transform(table[["right"]])
    assert len(warned) == 1
    assert np.allclose(vectors, model.transform(table.assign(left=None)), atol=1e-5)
    monkeypatch.setattr(stream, "ROWS", (4, 4))
    table[["right"]].to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    with pytest.warns(DataWarning, match="no columns for left") as warned:
        streamed = model.transform(tmp_path / "t.jsonl")
    assert len(warned) == 1
    assert np.allclose(streamed, vectors, atol=1e-5)


def test_a_column_that_may_be_misspelt_and_a_table_without_any_are_refused(model, table):
    with pytest.raises(DataError, match="no column 'left'.* Did you mean 'lefft'"):
        model.transform(table.rename(columns={"left": "lefft"}))
    with pytest.raises(DataError, match="no column 'left'"):
        model.transform(table[["y"]])
    with pytest.raises(DataError, match="no column 'left'"):
        model.transform(table[["right"]], modalities=["left"])


def test_a_column_that_may_be_misspelt_is_refused_in_files_and_by_functions_too(model, table, tmp_path):
    misspelt, refused = table.rename(columns={"left": "lefft"}), "no column 'left'.* Did you mean 'lefft'"
    misspelt.to_parquet(tmp_path / "t.parquet")
    misspelt.map(str).to_csv(tmp_path / "t.csv", index=False)
    misspelt.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    for source in (misspelt, *map(str, sorted(tmp_path.glob("t.*")))):
        for read in (cl.embed, cl.probe, lambda model, rows: model.transform(rows)):
            with pytest.raises(DataError, match=refused):
                read(model, source)
    with pytest.raises(DataError, match=refused):
        write_shards(model.trained, tmp_path / "t.parquet", tmp_path / "z")


def test_a_column_with_a_somewhat_similar_name_is_no_misspelt_one(table, tmp_path):
    named = table.dropna().rename(columns={"left": "image", "right": "text"})
    stated = cl.Schema({"image": cl.Vector("image"), "text": cl.Vector("text")}, {"y": "class"})
    model = cl.Embedder(stated, epochs=1).fit(named)
    for lacking, other in (("image", "age"), ("text", "date")):
        rest = named.drop(columns=lacking).assign(**{other: 1})
        rest.to_parquet(tmp_path / "t.parquet")
        for source in (rest, str(tmp_path / "t.parquet")):
            with pytest.warns(DataWarning, match=f"no columns for {lacking}"):
                assert len(cl.embed(model, source)) == len(rest)


def test_thousands_of_absent_columns_are_no_matter_of_hours(monkeypatch):
    asked, genes = [], [f"gene{number}" for number in range(3000)]
    stated = cl.Schema({"genes": cl.Tabular(genes), "scan": cl.Vector("scan")})
    frame = pd.DataFrame(np.zeros((2, 3000)), columns=[f"Probe_{name}_x" for name in genes])
    frame = frame.assign(scan=[[0.0], [1.0]])
    monkeypatch.setattr("difflib.get_close_matches", lambda name, names, **options: asked.append(name) or [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pandas warns of frames that grow column by column
        filled, absent = stated.with_absent(Table(frame))
    assert absent == ["genes"]
    assert list(filled.frame) == [*frame, *genes]
    assert filled.frame[genes].isna().all(axis=None)
    assert len(stated.missing_columns(frame)) == 3000
    assert len(asked) == 40


def test_a_probe_names_what_identifies_records_and_is_lacking(model, table):
    lacking = pytest.raises(DataError, match="The table lacks 'left': without its cells")
    with pytest.warns(DataWarning, match="no columns for left"), lacking:
        cl.probe(model, table[["right", "y"]])
