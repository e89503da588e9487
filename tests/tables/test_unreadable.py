"""Unreadable cells count as missing if the schema allows it; they are listed, and their share is limited."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PIL

import commlearn as cl
from commlearn.cli import main
from commlearn.errors import ConfigurationError, DataError, DataWarning
from commlearn.kinds import image
from commlearn.tables.check import check
from commlearn.tables.dataset import TableData, dataset_of
from commlearn.tables.schema import Schema
from commlearn.tables.table import read_table

ROWS = 60
DEAD = {4: "cut off", 17: "gone", 30: "no image"}
SMALL = {"epochs": 1, "features": "learned"}


def stated(unreadable="missing", **others):
    modalities = {
        "photo": {"kind": "image", "column": "photo", "size": 16},
        "facts": {"kind": "tabular", "columns": ["a", "b"]},
    }
    return {"modalities": modalities, "id": "name", "unreadable": unreadable, **others}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a table of pictures, three of which cannot be read, as CSV and Parquet."""
    folder = tmp_path_factory.mktemp("dead")
    generator = np.random.default_rng(0)
    for row in range(ROWS):
        PIL.fromarray(generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{row}.png")
    whole = (folder / "4.png").read_bytes()
    (folder / "4.png").write_bytes(whole[: len(whole) // 2])
    (folder / "17.png").unlink()
    (folder / "30.png").write_text("no image")
    frame = pd.DataFrame(
        {
            "name": [f"r{row}" for row in range(ROWS)],
            "photo": [f"{row}.png" for row in range(ROWS)],
            "a": generator.normal(size=ROWS),
            "b": generator.normal(size=ROWS),
        }
    )
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet", row_group_size=10)
    return folder


def test_dead_files_are_refused_with_the_way_out_unless_the_schema_says_missing(folder):
    with pytest.raises(DataError, match=r"(?s)row 4.*row 17.*row 30.*unreadable: missing"):
        dataset_of(read_table(folder / "t.csv"), Schema.from_mapping(stated("error")))
    report = check(read_table(folder / "t.csv"), Schema.from_mapping(stated("error")))
    assert len(report.errors) == 3
    assert any("unreadable: missing" in problem.message for problem in report.warnings)


def test_dead_files_count_as_missing_and_are_listed(folder, monkeypatch):
    schema = Schema.from_mapping(stated())
    assert Schema.from_yaml(schema.to_yaml()) == schema
    data = dataset_of(read_table(folder / "t.csv"), schema, test=0.0)
    present = data.train.columns["photo"].take(np.arange(ROWS)).present.numpy()
    assert np.flatnonzero(~present).tolist() == [*DEAD]
    assert [entry["row"] for entry in data.unreadable] == [*DEAD]
    assert any("3 of 60 cells cannot be read" in note and "(rows 4, 17, 30)" in note for note in data.notes)
    monkeypatch.setattr(image, "IMAGES_IN_MEMORY", 0)  # pictures are decoded whenever they are taken
    late = dataset_of(read_table(folder / "t.csv"), schema, test=0.0)
    assert [entry["row"] for entry in late.unreadable] == [17, 30, 4]  # row 4 fails only when decoded
    assert (late.train.columns["photo"].take(np.arange(ROWS)).present.numpy() == present).all()


@pytest.mark.parametrize(("limit", "fits"), [(4.9, False), (5, True)])
def test_more_than_the_limit_is_refused(folder, limit, fits):
    schema = Schema.from_mapping(stated(unreadable_limit=limit))
    table = read_table(folder / "t.csv")
    report = check(table, schema)
    if fits:
        assert len(dataset_of(table, schema).unreadable) == 3
        assert not report.errors
        assert [problem.row for problem in report.warnings if problem.column == "photo"] == [*DEAD]
        assert [entry["row"] for entry in report.facts["unreadable"]] == [*DEAD]
    else:
        with pytest.raises(DataError, match=r"3 of 60 cells cannot be read \(5.0 %\), more than the 4.9 %"):
            dataset_of(table, schema)
        assert "unreadable_limit" in report.errors[0].message


def test_what_else_cannot_be_read_is_missing_too_and_one_cell_always_may_be():
    frame = pd.DataFrame({"a": [1.0, 2.0, "x", 4.0], "v": [[1, 2], [3, 4], [5], [6, 7]], "b": [1.0, 2, 3, 4]})
    kinds = {"t": cl.Tabular(["a", "b"]), "v": cl.Vector("v")}
    schema = Schema(kinds, unreadable="missing")
    state = schema.learn(read_table(frame.drop(index=2)))
    with pytest.warns(DataWarning, match=r"t: 1 of 4 cells .* v: 1 of 4 cells"):
        records = schema.read(read_table(frame), state)
    values = records.columns["t"].take(np.arange(4)).values.numpy()
    assert np.isnan(values).sum() == 1  # column b of that row stays
    assert records.columns["v"].take(np.arange(4)).present.tolist() == [True, True, False, True]
    with pytest.raises(DataError, match="2 of 4 cells"):
        schema.read(read_table(frame.assign(a=["x", "y", 1.0, 2.0])), state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"unreadable": "skip"}, "error, missing"), ({"unreadable_limit": 120}, "0 to 100")],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Schema.from_mapping({**stated(), **settings})


def test_a_streamed_table_lists_them_as_it_meets_them(folder):
    data = TableData(str(folder / "t.parquet"), stated(), test=0.0, stream=20).read()
    view = data.train.view(np.arange(ROWS))
    assert np.flatnonzero(~view["photo"].present.numpy()).tolist() == [*DEAD]
    assert {entry["row"] for entry in data.unreadable} >= {*DEAD}


def test_a_run_keeps_the_list_and_embeds_such_tables(folder, tmp_path, capsys):
    (folder / "s.yaml").write_text(Schema.from_mapping(stated()).to_yaml() + "table: t.csv\n")
    small = ["--training.epochs", "1", "--model.width", "16", "--model.features", "learned", "--quiet"]
    assert main(["train", str(folder / "s.yaml"), "--out", str(tmp_path / "run"), *small]) == 0
    listed = json.loads((tmp_path / "run" / "unreadable.json").read_text())
    assert [(entry["modality"], entry["row"]) for entry in listed] == [("photo", row) for row in DEAD]
    assert "3 of 60 cells cannot be read" in (tmp_path / "run" / "log.txt").read_text()
    words = ["embed", str(tmp_path / "run"), str(folder / "t.csv"), "-o", str(tmp_path / "z.csv")]
    capsys.readouterr()
    assert main(words) == 0
    assert "3 of 60 cells cannot be read" in capsys.readouterr().err
    whole = pd.read_csv(tmp_path / "z.csv")
    assert len(whole) == ROWS
    some = [*words[:-1], str(tmp_path / "some.csv"), "--modalities", "photo"]
    assert main(some) == 0
    assert "3 of 60 records have none of photo" in capsys.readouterr().err
    names = pd.read_csv(tmp_path / "some.csv")["name"].tolist()
    assert names == [f"r{row}" for row in range(ROWS) if row not in DEAD]
