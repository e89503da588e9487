"""Guesses of how columns are written: clear cases get a form, all other columns stay as they are."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from commlearn.kinds.tabular import Tabular
from commlearn.tables.guessed_forms import guessed_form, guessed_missing
from commlearn.tables.infer import infer
from commlearn.tables.schema import Schema
from commlearn.tables.splits import row_names
from commlearn.tables.table import read_table

N = 60
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("cells", "form", "reason"),
    [
        ([f"2024-02-{1 + row % 28:02d}" for row in range(N)], "date", "age, year"),
        ([f"{1 + row % 28}.3.2024 12:30" for row in range(N)], "date", "day first"),
        ([f"3/{1 + row % 28}/2024" for row in range(N)], "date", "month first"),
        (pd.date_range("2020", periods=N), "date", "dates"),
        ([datetime.date(2024, 1, 1 + row % 28) for row in range(N)], "date", "dates"),
        ([f"{row}.50 EUR" if row % 3 else f"${row}.00" for row in range(N)], "amount", "(20): kept apart"),
        ([f"{row} kg" if row % 3 else f"{row} g" for row in range(N)], "amount", "converted to kg"),
        ([f"{row} rooms" for row in range(N)], "amount", "rooms"),
        ([f"{value:.2f}" for value in RNG.normal(size=N)], "amount", "numbers written as text"),
        (["Yes", "no", "YES", None] * 15, "yes-no", "yes and no"),
        (["ja", "nein"] * 30, "yes-no", "ja, nein"),
        (["4/5", "5/5", None] * 20, "rating", "ratings out of 5"),
        ([f"{120 + row % 30}/{70 + row % 20}" for row in range(N)] * 2, "numbers", "such as 120/70"),
        ([f"4{row % 9}.{row}, 11.575" for row in range(N)], "numbers", "2 numbers"),
        (["red;blue", "red", "green"] * 20, "labels", "separated by ;"),
        (["oak, pine", "oak", "elm, oak"] * 20, "labels", "separated by ,"),
        ([["a", "b"], ["b"], ["c"]] * 20, "labels", "in lists"),
        (['["a", "b"]', '["b"]'] * 30, "labels", "in lists"),
        ([f'{{"w": {row}, "cuts": [1]}}' for row in range(N)], "json", "not read: cuts"),
        ([{"w": row, "oak": True} for row in range(N)], "json", "oak, w"),
    ],
)  # fmt: skip
def test_forms_that_are_sure(cells, form, reason):
    writing = guessed_form(pd.Series(cells))
    assert writing.form == form
    assert reason in writing.reason


@pytest.mark.parametrize(
    "cells",
    [
        ["red", "blue", "green"] * 20,
        [f"A{row}" for row in range(N)],
        [f"{row:03d}" for row in range(N)],  # codes
        [f"{row + 100}" for row in range(N)],  # all different: names of something
        ["12a", "12b", "7c", "9d"] * 15,  # house numbers
        ["1st", "2nd", "3rd"] * 20,
        ["120/80", "135/90", "110/70"] * 20,  # few distinct values: categories
        [f"{row}/2023" for row in range(N)],  # numbers the records of a year
        ["1/2/2024", "3/4/2024", "5/6/2024"] * 20,  # days or months
        [f"{1 + row % 12}/{1 + row % 11}/{2000 + row % 20}" for row in range(N)] * 2,  # as above, but many
        ["3 kg", "4 boxes", "5 kg"] * 20,
        ["well, it is, as far as I see, a chair", f"a table, {'big' * 9}"] * 30,
        ["true", "false"] * 30,
        ["yes", "yes", "maybe"] * 20,
        ["y", "y"] * 30,
        ["10.0.0.1", "10.0.0.2"] * 30,
        [["a", "b"]] * N,
        ["2024-01-01"] * N,
        [1.0, 2.0] * 30,
        [{"bytes": b"x", "path": None}] * N,
        ["Smith, John", "Doe, Jane", "Roe, Max"] * 2 + [f"Name{row}, First" for row in range(N)],
    ],
)
def test_what_could_be_something_else_has_no_form(cells):
    assert guessed_form(pd.Series(cells)) is None


def test_a_few_cells_that_do_not_fit_are_counted_in_the_reason():
    cells = [f"2024-02-{1 + row % 28:02d}" for row in range(N - 2)] + ["soon", "later"]
    assert "2 cells are not, such as 'soon'" in guessed_form(pd.Series(cells)).reason


def test_of_a_long_column_a_part_is_looked_at():
    cells = [f"{row % 997} kg" for row in range(3 * 20_000)]
    cells[1::3] = ["heavy"] * 20_000  # only rows outside the sample
    cells[0] = "light"
    assert f"1 of {20_000} cells are not, such as 'light'" in guessed_form(pd.Series(cells)).reason


@pytest.mark.parametrize(
    ("cells", "missing"),
    [
        ([*range(20, 70), -999, -999], [-999]),
        ([*np.linspace(0, 5, 50), 99, 99], [99]),
        ([*range(3)] * 20 + [-9, -9, 99, 99], [-9, 99]),
        ([*range(50), -999], []),  # occurs only once
        ([*range(-50, 50), -99, -99], []),  # other values are negative, too
        ([*range(90), 99, 99, 99], []),  # may be an ordinary value
        ([*(f"{value:.1f}" for value in RNG.normal(size=N)), "unknown", "-"], ["-", "unknown"]),
        ([*(f"2024-02-{1 + row % 28:02d}" for row in range(N)), "tbd"], ["tbd"]),
        (["red", "n/a", "-", "blue", "NA"] * 9, ["-", "n/a"]),  # NA may be Namibia
        (["red", "unknown"] * 9, []),
        ([True, False] * 9, []),
        (["-"] * 9, []),
    ],
)
def test_cells_that_stand_for_an_empty_one(cells, missing):
    values, reason = guessed_missing(pd.Series(cells))
    assert values == missing
    assert bool(reason) == bool(missing)


def messy(rows=N):
    return pd.DataFrame(
        {
            "photo": [f"{row}.png" for row in range(rows)],
            "bought": [f"{1 + row % 28:02d}.0{1 + row % 7}.2023" for row in range(rows)],
            "price": [f"{row},50 €" if row % 2 else f"${row}.25" for row in range(rows)],
            "tags": ["old; red", "new", "red"] * (rows // 3),
            "age": [-999, *range(1, rows - 1), -999],
            "colour": ["n/a", "red", "blue"] * (rows // 3),
            "used": ["Ja", "nein", "JA"] * (rows // 3),
        }
    )


def test_a_schema_is_guessed_of_it_with_a_reason_for_each_and_reads_back(tmp_path):
    inferred = infer(read_table(messy()))
    forms = {"bought": "date", "price": "amount", "tags": "labels", "used": "yes-no"}
    table = Tabular(["bought", "price", "tags", "age", "colour", "used"], forms=forms)
    assert inferred.schema.modalities["table"] == table
    assert inferred.schema.missing == {"age": (-999,), "colour": ("n/a",)}
    text = inferred.to_yaml()
    assert Schema.from_yaml(text) == inferred.schema
    assert "2 cells are -999, the others 1 to 58" in text
    assert "price: amounts in USD (30), EUR (30): kept apart" in text


def test_the_same_rows_are_read_alike_in_memory_and_in_every_file(tmp_path):
    frame = messy()
    schema = infer(read_table(frame.drop(columns="photo"))).schema
    frame["bought"] = pd.to_datetime(frame["bought"], format="%d.%m.%Y")  # as CSV and Parquet may store them
    for name, write in {"t.csv": "to_csv", "t.jsonl": "to_json", "t.parquet": "to_parquet"}.items():
        options = {"t.csv": {"index": False}, "t.parquet": {}}.get(
            name, {"orient": "records", "lines": True, "date_format": "iso"}
        )
        getattr(frame, write)(tmp_path / name, **options)
    tables = [read_table(frame, reading=schema.reading())]
    tables += [
        read_table(tmp_path / f"t.{end}", reading=schema.reading()) for end in ("csv", "jsonl", "parquet")
    ]
    state = schema.learn(tables[0])
    first, *others = [schema.read(table, state).columns["table"].values for table in tables]
    assert np.isnan(first).any()
    for other in others:
        assert np.array_equal(first, other, equal_nan=True)
    keys = [row_names(tables[place], schema).keys for place in (0, 1, 3)]
    assert (keys[0] == keys[1]).all()
    assert (keys[0] == keys[2]).all()


def test_what_stands_for_an_empty_cell_of_one_column_stays_in_others(tmp_path):
    frame = pd.DataFrame(
        {"a": [1, -9, 3, 4], "b": [-9, 1, 2, 3], "c": ["?", "x", "y", "?"], "d": ["?", "5", "6", "7"]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    stated = {"kind": "tabular", "columns": ["a", "b", "c", "d"]}
    schema = Schema.from_mapping(
        {"modalities": {"t": stated}, "missing": {"a": [-9], "d": ["?"], "*": ["x"]}}
    )
    assert Schema.from_yaml(schema.to_yaml()) == schema
    for source in (frame, tmp_path / "t.csv"):
        read = read_table(source, reading=schema.reading()).frame
        assert read["a"].isna().tolist() == [False, True, False, False]
        assert read["b"].tolist() == [-9, 1, 2, 3]
        assert read["c"].isna().tolist() == [False, True, False, False]
        assert read["d"].isna().tolist() == [True, False, False, False]
    assert read["d"].dtype == float  # all other cells in the text file are numbers
