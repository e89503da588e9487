"""A table as a data set: splitting rows, learning from training rows, reporting all faults at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.batch import Spec
from commlearn.datasets import READERS
from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds import Tabular, Text, Vector
from commlearn.models.encoders import ENCODERS, default_encoder
from commlearn.tables.dataset import TableData, dataset_of, split_rows
from commlearn.tables.schema import Schema
from commlearn.tables.table import Table


def frame(rows=40):
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "case": [f"c{row}" for row in range(rows)],
            "who": [f"p{row // 4}" for row in range(rows)],
            "part": ["train"] * (rows - 8) + ["val"] * 3 + ["test"] * 5,
            "age": draw.normal(50, 10, rows),
            "note": [f"word{row % 5} and more" for row in range(rows)],
            "ill": [row % 2 for row in range(rows)],
        }
    )


def schema(**columns):
    return Schema({"labs": Tabular(["age"]), "note": Text("note")}, {"ill": "class"}, **columns)


def test_large_images_get_a_larger_encoder_and_unknown_kinds_none():
    assert default_encoder(Spec("image", (3, 64, 64))) in ENCODERS
    with pytest.raises(ConfigurationError, match="odour"):
        default_encoder(Spec("odour", (4,)))
    assert default_encoder(Spec("image", (3, 224, 224))) == "resnet18"
    assert READERS["table"] is TableData


def test_a_file_is_read_split_by_its_column_and_learned_on_train_alone(tmp_path):
    rows = frame()
    rows.loc[35:, "age"] = 1e6  # test rows, from which nothing may be learned
    rows.to_csv(tmp_path / "t.csv", index=False)
    plain = schema(id="case", split="part").to_mapping()
    data = TableData(str(tmp_path / "t.csv"), plain).read()
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 3, 5)
    assert data.schema == plain
    assert max(data.state["labs"]["numbers"][0]["knots"]) < 1e3
    assert data.test.targets["ill"].tolist() == rows["ill"][35:].tolist()
    assert data.test.view(np.arange(5))["note"].values.shape[0] == 5


def test_a_declared_split_that_divides_groups_or_copies_is_noted(tmp_path):
    rows = frame()  # four rows each: the last validation row and the first three test rows are of one person
    rows.to_parquet(tmp_path / "t.parquet", row_group_size=10)
    for stream in (0, 16):
        notes = {}
        for group in ("who", "case"):
            described = schema(id="case", group=group, split="part").to_mapping()
            notes[group] = TableData(str(tmp_path / "t.parquet"), described, stream=stream).read().notes
        message = "puts 1 of 10 groups of column 'who' in more than one part"
        assert any(message in note for note in notes["who"])
        assert not any("more than one part" in note for note in notes["case"])
    rows.loc[39, ["age", "note"]] = rows.loc[0, ["age", "note"]]  # a copy of a training row, without ids
    notes = dataset_of(Table(rows), schema(split="part")).notes
    assert any("puts 1 of 39 distinct rows in more than one part" in note for note in notes)


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=2, max_size=60),
    test=st.floats(0, 0.5),
    validation=st.floats(0, 0.4),
    seed=st.integers(0, 3),
    grouped=st.booleans(),
)
def test_a_split_is_whole_disjoint_seeded_and_keeps_groups_together(groups, test, validation, seed, grouped):
    table = Table(pd.DataFrame({"who": groups, "note": [f"note {row}" for row in range(len(groups))]}))
    stated = Schema({"n": Text("note")}, group="who" if grouped else None)
    rows = split_rows(table, stated, validation, test, seed)
    joined = np.sort(np.concatenate(list(rows.values())))
    assert joined.tolist() == list(range(len(groups)))
    assert len(rows["train"])
    again = split_rows(table, stated, validation, test, seed)
    assert all(np.array_equal(rows[name], again[name]) for name in rows)
    if grouped:
        members = [{groups[row] for row in chosen} for chosen in rows.values()]
        assert sum(map(len, members)) == len(set(groups))


def test_rows_of_no_group_are_groups_of_their_own():
    table = Table(pd.DataFrame({"who": [None] * 400, "note": [f"note {row}" for row in range(400)]}))
    rows = split_rows(table, Schema({"n": Text("note")}, group="who"), test=0.25)
    assert 80 <= len(rows["test"]) <= 120


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.2), (0, 1)])
def test_shares_that_do_not_fit_are_refused(validation, test):
    with pytest.raises(ConfigurationError, match=f"validation is {validation} and test is {test}"):
        split_rows(Table(frame()), schema(), validation, test)


def test_a_split_column_without_training_rows_is_named():
    rows = frame().assign(part="test")
    with pytest.raises(DataError, match="column 'part' leaves no rows to train on"):
        dataset_of(Table(rows), schema(split="part"))


def test_everything_wrong_is_told_at_once_with_rows_of_the_whole_table():
    rows = frame()
    rows.loc[30, "age"] = float("inf")
    rows["note"] = rows["note"].astype(object)
    rows.loc[33, "note"] = 7
    rows.loc[5, "case"] = "c4"
    with pytest.raises(DataError) as caught:
        dataset_of(Table(rows), schema(id="case"))
    for sentence in ("row 30", "inf is infinite", "row 33", "'c4' is also that of row 4"):
        assert sentence in str(caught.value)


def test_missing_columns_are_told_with_the_nearest_name():
    with pytest.raises(DataError, match=r"no column 'age'.*Did you mean 'aged'"):
        dataset_of(Table(frame().rename(columns={"age": "aged"})), schema())


def test_a_table_in_memory_cannot_be_read_again():
    with pytest.raises(DataError, match="was in memory"):
        TableData("", schema().to_mapping()).read()


def test_records_that_lack_modalities_are_marked_and_one_with_none_is_refused():
    rows = frame()
    rows["emb"] = [None if row % 3 == 0 else [1.0 * row, 2.0] for row in range(len(rows))]
    stated = Schema({"labs": Tabular(["age"]), "emb": Vector("emb")}, id="case")
    data = dataset_of(Table(rows), stated)
    present = data.train.view(np.arange(len(data.train)))["emb"].present
    assert 0 < int(present.sum()) < len(data.train)
    rows.loc[3, "age"] = None
    with pytest.raises(DataError, match="row 3: record 'c3' has none of labs, emb"):
        dataset_of(Table(rows), stated)


def test_rows_of_a_problem_stand_below_it():
    table = Table(pd.DataFrame({"v": [*"abcdefghij"], "age": ["old", "new", *range(8)], "hb": [1, *"x" * 9]}))
    with pytest.raises(DataError) as caught:
        dataset_of(table, Schema({"v": Text("v")}, targets={"age": "number", "hb": "number"}))
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("2 problems")
    assert sum(line.startswith("  - ") for line in lines) == 2
    assert "    - age row 1: 'new' is not a number" in str(caught.value)
