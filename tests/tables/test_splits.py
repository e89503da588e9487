"""Splits depend only on keys and groups: changes to other rows never move a row to another part."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from commlearn.errors import DataError
from commlearn.kinds import Tabular, Text, Vector
from commlearn.tables.dataset import TableData, dataset_of, split_rows
from commlearn.tables.formats.reading import Reading
from commlearn.tables.schema import Schema
from commlearn.tables.splits import cell_keys, name_keys, parts_of_names
from commlearn.tables.table import Table, read_table


def frame(rows=600, seed=0):
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "case": [f"case {seed}-{row}" for row in range(rows)],
            "patient": [f"p{seed}-{row // 12}" for row in range(rows)],
            "age": draw.normal(50, 10, rows).round(3),
            "note": [f"word {word}" for word in draw.integers(0, 99, rows)],
        }
    )


def schema(**columns):
    return Schema({"labs": Tabular(["age"]), "note": Text("note")}, **columns)


def parts(table, stated, shares=(0.1, 0.2)):
    """Return the part of each row, keyed by its case."""
    rows = split_rows(Table(table.reset_index(drop=True)), stated, *shares)
    cases = table["case"].to_numpy()
    return {case: part for part, chosen in rows.items() for case in cases[chosen]}


@pytest.mark.parametrize(
    "named", [{}, {"id": "case"}, {"group": "patient"}, {"id": "case", "group": "patient"}]
)
@pytest.mark.parametrize("count", [1, 10, 100])
def test_no_row_moves_when_others_are_appended_dropped_or_shuffled(named, count):
    table, stated = frame(), schema(**named)
    before = parts(table, stated)
    assert set(before.values()) == {"train", "validation", "test"}
    changed = {
        "appended": pd.concat([table, frame(count, seed=1)]),
        "put first": pd.concat([frame(count, seed=1), table]),
        "dropped": table.drop(index=np.random.default_rng(0).choice(len(table), count, replace=False)),
        "shuffled": table.sample(frac=1.0, random_state=count),
    }
    for what, other in changed.items():
        after = parts(other, stated)
        moved = [case for case in before.keys() & after.keys() if before[case] != after[case]]
        assert not moved, f"{what}: {len(moved)} rows moved"


def test_the_same_table_has_the_same_keys_in_every_format(tmp_path):
    table = frame(200).assign(
        whole=np.arange(200) % 7,
        price=[Decimal(row) / 4 for row in range(200)],
        alive=[None if row % 5 == 0 else row % 2 == 0 for row in range(200)],
        ward=[np.nan if row % 7 == 0 else float(row % 9) for row in range(200)],
        seen=pd.to_datetime("2024-05-01") + pd.to_timedelta(6 * np.arange(200), unit="h"),  # some at midnight
        wait=pd.to_timedelta(np.arange(200), unit="h"),
        vector=list(np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)),
    )
    table.loc[3, "age"], table.loc[4, "note"] = np.nan, None
    table.to_parquet(tmp_path / "t.parquet")
    texts = table.assign(vector=[str(row.tolist()) for row in table["vector"]])
    texts.to_csv(tmp_path / "t.csv", index=False)
    columns = ["age", "note", "whole", "vector", "price", "alive", "ward", "seen", "wait"]
    expected = cell_keys(table, columns)
    assert len(set(expected.tolist())) == 200
    text = Reading(frozenset({"ward", "case"}))  # a schema reads names in text files as text
    for name, reading in (("t.parquet", Reading()), ("t.csv", Reading()), ("t.csv", text)):
        again = read_table(tmp_path / name, reading=reading).frame
        for column in columns:
            assert np.array_equal(cell_keys(again, [column]), cell_keys(table, [column])), (name, column)
        assert np.array_equal(cell_keys(again, columns), expected), name
        for column in ("case", "price", "alive", "ward", "seen", "wait"):
            names, _ = name_keys(table[column])
            assert np.array_equal(name_keys(again[column])[0], names), (name, column)


def test_times_with_fractions_and_booleans_in_capitals_have_the_same_keys(tmp_path):
    seconds = pd.to_timedelta(np.arange(8) * 250, unit="ms")  # CSV writes fractions in every row, or in none
    table = pd.DataFrame(
        {
            "wait": seconds,
            "seen": pd.Timestamp("2024-05-01") + seconds,
            "sent": pd.Timestamp("2024-05-01", tz="Europe/Berlin") + seconds,
            "hour": [(pd.Timestamp("2024-05-01") + second).time() for second in seconds],
            "alive": [True, None, False, True, None, True, False, False],
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    table.assign(alive=table["alive"].map({True: "TRUE", False: "FALSE"})).to_csv(
        tmp_path / "t.csv", index=False
    )
    for column in table:
        keys = [cell_keys(read_table(tmp_path / name).frame, [column]) for name in ("t.csv", "t.parquet")]
        assert np.array_equal(*keys), column
        assert np.array_equal(keys[0], cell_keys(table, [column])), column


def test_lists_of_steps_and_of_labels_have_the_same_keys_in_every_format(tmp_path):
    long = [{"t": step, "v": 0.5} for step in range(2_000)]
    steps = [long, [{**step, "v": 0.7} if step["t"] == 1_000 else step for step in long]]
    table = pd.DataFrame(
        {
            "steps": steps,
            "tags": [["red", "blue"], ["7"]],
            "channels": [[[0.5, 1.0], [2.0, 3.0]], [[4.0, 0.1]]],
            "ragged": [[[1], [2, 3]], [[4]]],
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    table.map(json.dumps).to_csv(tmp_path / "t.csv", index=False)
    for column in table:
        expected = cell_keys(table, [column])
        assert len(set(expected.tolist())) == 2, column
        for name in ("t.csv", "t.parquet"):
            again = read_table(tmp_path / name).frame
            assert np.array_equal(cell_keys(again, [column]), expected), (name, column)


def test_lists_of_words_have_the_same_keys_as_pandas_writes_them_to_csv(tmp_path):
    words = [["red", "sea blue"], ["it's"], ["7"]]
    table = pd.DataFrame({"lists": words, "arrays": [np.array(each, dtype=object) for each in words]})
    table.to_csv(tmp_path / "t.csv", index=False)
    again = read_table(tmp_path / "t.csv").frame
    assert again["lists"][0] == "['red', 'sea blue']"
    for column in table:
        assert np.array_equal(cell_keys(again, [column]), cell_keys(table, [column])), column
    texts = pd.DataFrame({"note": ["[red] a", "['red' or", "['\\x']", "[red]"]})  # no lists
    assert np.array_equal(cell_keys(texts, ["note"]), cell_keys(" " + texts, ["note"]))
    assert len(set(cell_keys(texts, ["note"]).tolist())) == 4
    blanks = pd.DataFrame({"note": ["[]", "[nan]", "[None]", "[nan nan]"]})  # gaps, not a list without any
    assert len(set(cell_keys(blanks, ["note"]).tolist())) == 4


def test_paths_bins_and_bytes_have_the_same_keys_as_in_files(tmp_path):
    table = pd.DataFrame({"photo": [Path("a.png"), Path("b/ü 1.png")], "age": pd.cut([3, 40], [0, 18, 99])})
    table.to_csv(tmp_path / "t.csv", index=False)
    for column in table:
        again = cell_keys(read_table(tmp_path / "t.csv").frame, [column])
        assert np.array_equal(cell_keys(table, [column]), again), column
    sounds = [pd.DataFrame({"sound": [cell]}) for cell in (bytearray(b"RIFF"), b"RIFF")]
    assert np.array_equal(*(cell_keys(frame, ["sound"]) for frame in sounds))


def test_names_that_only_look_like_the_same_number_are_told_apart():
    keys, _ = name_keys(pd.Series(["250.0", "250.00", "007.0", "7", "251", "run:10.1", "run:10.10"]))
    assert len(set(keys.tolist())) == 7
    assert name_keys(pd.Series(["7.0"]))[0][0] == name_keys(pd.Series([7.0]))[0][0]


def test_long_decimal_ids_are_told_apart():
    ids = pd.Series([Decimal("12345678901234567890"), Decimal("12345678901234567891")])
    keys, _ = name_keys(ids)
    assert keys[0] != keys[1]
    assert np.array_equal(name_keys(ids.astype(str))[0], keys)


@pytest.mark.parametrize("hour", [0, 10])
def test_days_name_the_same_record_in_every_format(tmp_path, hour):
    days = pd.DataFrame({"day": pd.to_datetime(["2020-01-01", "2020-01-02"])})
    days.loc[1, "day"] += pd.Timedelta(hours=hour)  # with any hours, CSV also writes out midnight
    days.to_csv(tmp_path / "t.csv", index=False)
    days.to_parquet(tmp_path / "t.parquet")
    keys = [name_keys(read_table(tmp_path / name).frame["day"])[0] for name in ("t.csv", "t.parquet")]
    assert np.array_equal(keys[0], keys[1])
    assert np.array_equal(keys[0], name_keys(days["day"])[0])


def test_any_changed_cell_changes_the_key():
    table = frame(50)
    before = cell_keys(table, ["age", "note"])
    for column, value in (("age", 51.5), ("note", "another"), ("age", np.nan), ("note", None)):
        other = table.copy()
        other.loc[7, column] = value
        after = cell_keys(other, ["age", "note"])
        assert np.flatnonzero(before != after).tolist() == [7]
    swapped = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    assert len(set(cell_keys(swapped, ["a", "b"]).tolist())) == 2


def test_copies_stay_in_one_part_and_are_told():
    table = pd.concat([frame(100), frame(100)])
    data = dataset_of(Table(table.reset_index(drop=True)), schema())
    assert not set(data.train.keys.tolist()) & set(data.test.keys.tolist())
    assert "only 100 of 200 rows are distinct" in data.notes[0]
    assert not dataset_of(Table(frame(100)), schema()).notes


def test_a_streamed_table_is_split_as_in_memory(tmp_path):
    table = frame(500)
    table.to_parquet(tmp_path / "t.parquet", row_group_size=64)
    for named in ({}, {"group": "patient"}, {"id": "case"}):
        stated = schema(**named).to_mapping()
        whole = TableData(str(tmp_path / "t.parquet"), stated, validation=0.1).read()
        streamed = TableData(str(tmp_path / "t.parquet"), stated, validation=0.1, stream=128).read()
        assert set(streamed.train.keys.tolist()) == set(whole.train.keys.tolist())
        assert set(streamed.test.keys.tolist()) <= set(whole.test.keys.tolist())
        if named.get("group"):
            assert np.array_equal(np.unique(streamed.train.groups), np.unique(whole.train.groups))
        place = {key: row for row, key in enumerate(whole.train.keys.tolist())}
        view = streamed.train.view(np.arange(len(streamed.train)))
        same = whole.train.view(np.array([place[key] for key in streamed.train.keys.tolist()]))
        order = [part["labs"].values.argsort(dim=0) for part in (view, same)]
        assert np.array_equal(*order)


def test_an_id_that_two_rows_of_a_streamed_table_have_is_refused_as_in_memory(tmp_path):
    table = frame(500)
    table.loc[400, "case"] = table.loc[3, "case"]
    table.to_parquet(tmp_path / "t.parquet", row_group_size=64)
    for stream in (0, 128):
        data = TableData(str(tmp_path / "t.parquet"), schema(id="case").to_mapping(), stream=stream)
        with pytest.raises(
            DataError, match=r"case row 400: the id .* is also that of row 3; give each record its own"
        ):
            data.read()


def test_few_groups_leave_no_part_empty():
    for seed in range(40):
        units = np.random.default_rng(seed).integers(0, 2**63, size=3).astype(np.uint64).repeat(5)
        part = parts_of_names(units, 0.0, 0.2, seed)
        assert set(part.tolist()) == {0, 2}
    assert parts_of_names(np.zeros(4, dtype=np.uint64), 0.0, 0.2, 0).tolist() == [0] * 4


def test_a_table_without_the_id_that_names_its_rows_is_refused():
    with pytest.raises(DataError, match="lacks the column 'case'"):
        split_rows(Table(frame().drop(columns="case")), schema(id="case"))


def test_vectors_of_arrays_and_lists_have_one_key():
    values = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    stated = Schema({"v": Vector("v")})
    forms = [read_table({"v": values}), read_table({"v": list(values)}), read_table({"v": values.tolist()})]
    rows = [split_rows(table, stated, 0.0, 0.3)["test"].tolist() for table in forms]
    assert rows[0] == rows[1] == rows[2]
