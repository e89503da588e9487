"""The schema: round trips, errors that name what is refused, and reading a table from end to end."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import commlearn as cl
from commlearn.errors import ConfigurationError, DataError, DataWarning
from commlearn.kinds import KINDS
from commlearn.kinds.base import Cells
from commlearn.kinds.image import Image
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.text import Text
from commlearn.records import presence
from commlearn.tables.check import check
from commlearn.tables.dataset import dataset_of
from commlearn.tables.roles import encode_target
from commlearn.tables.schema import Schema
from commlearn.tables.table import Table, read_table

YAML = """
modalities:
  photo: {kind: image, column: path, size: 64}
  notes: {kind: text, column: note}
  labs: {kind: tabular, columns: [hb, crp]}
targets: {ill: class, age: number}
id: case
group: patient
split: part
"""


def table(rows=6, **columns):
    frame = {
        "note": ["one two", "two one", "one", "two", "one two two", "one one"][:rows],
        "hb": [13.0, 9.5, 11.0, 12.0, 10.0, 14.0][:rows],
        "case": [f"c{row}" for row in range(rows)],
        "ill": ["yes", "no", None, "yes", "no", "no"][:rows],
        "age": [30, 40, np.nan, 50, 60, 70][:rows],
    }
    return Table(pd.DataFrame({**frame, **columns}))


def schema(**changes):
    modalities = {"notes": Text("note"), "labs": Tabular(["hb"])}
    return Schema(
        **{"modalities": modalities, "targets": {"ill": "class", "age": "number"}, "id": "case", **changes}
    )


def read(rows, **changes):
    stated = schema(**changes)
    return stated.read(rows, stated.learn(rows), with_targets=True)


def test_yaml_becomes_kinds():
    read_schema = Schema.from_yaml(YAML)
    assert read_schema == Schema(
        {"photo": Image("path", size=64), "notes": Text("note"), "labs": Tabular(["hb", "crp"])},
        {"ill": "class", "age": "number"},
        "case",
        "patient",
        "part",
    )
    assert list(read_schema.modalities) == ["photo", "notes", "labs"]
    assert read_schema.columns() == ("path", "note", "hb", "crp", "case", "patient", "part", "ill", "age")
    assert "ill" not in read_schema.columns(with_targets=False)


def test_a_schema_survives_yaml_and_json(tmp_path):
    stated = Schema.from_yaml(YAML)
    assert Schema.from_yaml(stated.to_yaml()) == stated
    assert Schema.from_mapping(json.loads(json.dumps(stated.to_mapping()))) == stated
    path = tmp_path / "schema.yaml"
    path.write_text(stated.to_yaml(), encoding="utf-8")
    assert Schema.from_yaml(path) == Schema.from_yaml(str(path)) == stated


COLUMN = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,6}_m", fullmatch=True),
        st.one_of(
            COLUMN.map(Text),
            COLUMN.map(Image),
            st.lists(COLUMN, min_size=1, max_size=3, unique=True).map(Tabular),
        ),
        min_size=1,
        max_size=4,
    ),
    st.dictionaries(COLUMN, st.sampled_from(["class", "number", "multilabel"]), max_size=2),
    st.none() | COLUMN,
)
@settings(max_examples=60, deadline=None)
def test_any_schema_survives_yaml(modalities, targets, name):
    stated = Schema(modalities, targets, id=name)
    again = Schema.from_yaml(stated.to_yaml())
    assert again == stated
    assert list(again.modalities) == list(stated.modalities)


def test_every_problem_is_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        Schema.from_yaml(
            """
            modalities:
              a: {kind: imgae, column: path}
              b: {kind: image, column: path, siez: 3}
              c: {kind: text, columns: [x, y]}
              d: {kind: text, column: x, max_length: many}
              e: {kind: text}
              f.g: {kind: text, column: x}
              h: {kind: text, column: x, max_length: 0}
              forward: {kind: text, column: x}
            targets: {y: klass}
            gruop: patient
            """
        )
    message = str(caught.value)
    for part in (
        "'imgae', did you mean 'image'",
        "'siez', did you mean 'size'",
        "text reads one column, got x, y",
        "max_length is 'many'; give a whole number",
        "modalities.e needs either column or columns; got neither",
        "'f.g' cannot be a modality's name",
        "max_length is 0",
        "'forward' cannot be a modality's name, because torch modules already use it",
        "target 'y': Unknown type 'klass', did you mean 'class'",
        "'gruop', did you mean 'group'",
    ):
        assert part in message
    assert "10 problems" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modalities: {a: {kind: text, column: x}}\nversion: 2\nnew: 1\n", "has version 2.*Update commlearn"),
        ("modalities: {a: {kind: text, column: x}}\nversion: two\n", "has version two"),
        ("modalities: {}\n", "modalities is empty"),
        ("modalities: [a]\n", "must be a mapping of names to entries"),
        ("- a\n- b\n", "needs modalities"),
        ("modalities: {a: {kind: tabular, columns: [x], categorical: 5}}\n", "Unknown column '5'"),
        ("modalities: {a: {kind: tabular, columns: [x], categorical: [[x]]}}\n", "Unknown column"),
        ("modalities: {a: {kind: tabular, columns: [x], forms: {x: [date]}}}\n", "Unknown form"),
        ("modalities: {a: {kind: image, column: x, size: '64'}}\n", "size is '64'; give a whole number"),
        ("modalities: {a: text}\n", "modalities.a needs a kind and a column"),
        ("modalities: {a: {kind: text, column: x}\n", "cannot be read as YAML"),
        ("modalities:\n  a: {kind: text, column: x}\n  a: {kind: text, column: y}\n", "'a' is given 2 times"),
        ("nowhere.yaml", "There is no schema nowhere.yaml.*commlearn init"),
    ],
)
def test_yaml_that_is_no_schema_is_refused(text, message):
    with pytest.raises(ConfigurationError, match=message):
        Schema.from_yaml(text)


def test_python_schemas_are_checked_too():
    with pytest.raises(ConfigurationError, match="version 9"):
        schema(version=9)
    with pytest.raises(ConfigurationError, match="give a kind such as"):
        Schema({"a": "path"})
    with pytest.raises(ConfigurationError, match="did you mean 'number'"):
        schema(targets={"age": "numbr"})
    with pytest.raises(ConfigurationError, match=r"targets is \['ill'\]; give a mapping, such as"):
        schema(targets=["ill"])
    with pytest.raises(ConfigurationError, match=r"modalities is \[Text.*give a mapping, such as"):
        Schema([Text("note")])
    with pytest.raises(ConfigurationError, match="version is '1'; give a whole number"):
        schema(version="1")


def test_a_table_becomes_records():
    records = read(table())
    assert list(records.columns) == ["notes", "labs"]
    assert len(records) == 6
    assert records.targets["ill"].tolist() == ["yes", "no", None, "yes", "no", "no"]
    np.testing.assert_array_equal(records.targets["age"], [30, 40, np.nan, 50, 60, 70])
    view = records.view(np.array([0, 3]))
    assert view["notes"].values.shape[0] == 2


def test_statistics_come_from_the_training_rows_alone_and_are_json():
    rows = table(note=["a a", "a a", "b b", "b b", "c c", "c c"])
    state = schema().learn(rows, np.array([0, 1]))
    assert state["notes"] == {"words": ["a"]}
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_a_streamed_chunk_reads_as_the_whole_does():
    stated, rows = schema(), table()
    state = stated.learn(rows)
    whole = stated.read(rows, state).view(slice(3, 6))
    chunk = stated.read(Table(rows.frame[3:].reset_index(drop=True), rows.root, 3), state).view(slice(None))
    for name in stated.modalities:
        np.testing.assert_array_equal(whole[name].values, chunk[name].values)


def test_an_empty_time_is_no_number():
    times = pd.DataFrame({"day": pd.to_datetime(["2024-01-31", None])})
    assert np.isnan(encode_target(Table(times), "day", "number")).tolist() == [False, True]


def test_a_table_to_embed_needs_no_targets():
    stated, rows = schema(), table()
    state = stated.learn(rows)
    unlabelled = Table(rows.frame.drop(columns=["ill", "age"]))
    assert stated.read(unlabelled, state).targets == {}
    with pytest.raises(DataError, match="no column 'ill'"):
        stated.read(unlabelled, state, with_targets=True)


def test_missing_columns_are_named_with_the_nearest():
    rows = table()
    renamed = Table(rows.frame.rename(columns={"note": "notes", "hb": "hbb"}))
    with pytest.raises(DataError) as caught:
        schema().learn(renamed)
    message = str(caught.value)
    assert "no column 'note', which modality 'notes' reads. Did you mean 'notes'?" in message
    assert "Did you mean 'hbb'?" in message


def test_columns_named_by_numbers_are_those_of_the_frame():
    frame = pd.DataFrame({0: [1.5, 2.0], 1: [7, 8], 2: ["a b", "c"], 3: ["3 kg", "4 kg"], 4: ["x", "y"]})
    facts = Tabular([0, np.int64(1), 3], categorical=1, forms={3: "amount"})
    kinds = [Text(2), facts, cl.Vector([0, 1]), cl.Vector(0)]
    parts = {f"part{index}": kind for index, kind in enumerate(kinds)}
    by_number = Schema(parts, targets={4: "class"}, id=4, group=1)
    rows = read_table(frame)
    records = by_number.read(rows, by_number.learn(rows), with_targets=True)
    assert records.targets["4"].tolist() == ["x", "y"]
    by_text = Schema.from_yaml(by_number.to_yaml())
    assert by_text == by_number
    assert all(kind.columns() for kind in (cl.Image(0), cl.Audio(0), cl.Series(0)))
    with pytest.warns(DataWarning, match="2 is a copy of target 4"):
        fitted = cl.Embedder(Schema({"notes": Text(2)}), targets=[4], epochs=1).fit(pd.concat([frame] * 20))
    assert fitted.schema_.targets == {"4": "class"}


def test_two_rows_of_one_id_are_refused_and_so_is_a_row_without():
    with pytest.raises(DataError, match=r"case row 3: the id 'c0' is also that of row 0"):
        read(table(case=["c0", "c1", "c2", "c0", "c4", "c5"]))
    with pytest.raises(DataError, match=r"case row 1: the record has no id"):
        read(table(case=["c0", None, "c2", "c3", "c4", "c5"]))
    ids = schema().ids(table())
    assert ids.tolist() == ["c0", "c1", "c2", "c3", "c4", "c5"]
    assert schema(id=None).ids(table()) is None


def test_a_record_without_any_modality_is_refused_by_name():
    rows = table(note=["one one", None, "", "two", "two", "two"], hb=[1, 2, np.nan, 3, 4, np.nan])
    with pytest.raises(DataError, match=r"row 2: record 'c2' has none of notes, labs"):
        read(rows)
    stated = schema(id=None)
    with pytest.raises(DataError, match=r"row 12: the record has none of"):
        stated.read(Cells(rows.frame, first_row=10), stated.learn(rows))


def test_problems_of_all_modalities_and_targets_are_told_together():
    rows = table(note=["one one", b"\xff", "two", "two", "two", "two"], age=[1, np.inf, "old", 2, None, ""])
    good = schema().learn(table())
    with pytest.raises(DataError) as caught:
        schema().read(rows, good, with_targets=True)
    message = str(caught.value)
    assert "modality 'notes': note row 1" in message
    assert "age row 1: inf is not a finite number" in message
    assert "age row 2: 'old'" in message
    assert "row 4" not in message  # an empty cell is a missing target


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 1, 2, 1, 2], [1, 2, 1, 2, 1, 2]),
        ([True, False, True, False, True, False], [True, False, True, False, True, False]),
        (pd.array([1, None, 2, 1, 2, 1], dtype="Int64"), [1, None, 2, 1, 2, 1]),
        (pd.Categorical(["a", "b", None, "a", "b", "a"]), ["a", "b", None, "a", "b", "a"]),
    ],
)
def test_class_labels_stay_as_they_are(values, expected):
    assert read(table(ill=values)).targets["ill"].tolist() == expected


@pytest.mark.parametrize("form", [list, np.array, lambda names: [*map(np.str_, names)]])
def test_lists_of_labels_are_the_same_in_memory_and_in_a_csv_file_of_pandas(form, tmp_path):
    sets = [["Sci-Fi", "Children's"], ['a "b", c'], ["Sci-Fi"], ["Drama, or not", "\\"]] * 2
    frame = pd.DataFrame({"tags": [form(names) for names in sets], "age": 1.0})
    frame.to_csv(tmp_path / "t.csv", index=False)
    file = read_table(tmp_path / "t.csv")
    assert encode_target(file, "tags", "multilabel").tolist() == [tuple(sorted(names)) for names in sets]


def test_many_labels_a_record():
    values = [["b", None, "a"], "a; b", "a|c,b", None, [], float("nan")]
    labels = read(table(tags=pd.Series(values, dtype=object)), targets={"tags": "multilabel"}).targets["tags"]
    assert labels.tolist() == [("a", "b"), ("a", "b"), ("a", "c", "b"), None, (), None]
    with pytest.raises(DataError, match="row 0: 3 is not a set of labels"):
        read(table(tags=pd.Series([3] * 6, dtype=object)), targets={"tags": "multilabel"})
    with pytest.raises(DataError, match="is not a class"):
        read(table(tags=pd.Series([["a"]] * 6, dtype=object)), targets={"tags": "class"})


def test_splits_are_positions():
    stated = schema(split="part")
    rows = table(part=["train", "Training", "val", "dev", "test", "train "])
    assert {name: positions.tolist() for name, positions in stated.splits(rows).items()} == {
        "train": [0, 1, 5],
        "validation": [2, 3],
        "test": [4],
    }
    assert schema().splits(rows)["train"].tolist() == list(range(6))
    with pytest.raises(DataError, match=r"part row 2: the split is 'holdout'; give train"):
        stated.splits(table(part=["train", "train", "holdout", "dev", "test", "train"]))
    with pytest.raises(DataError, match="part row 1: the split is empty; give train"):
        stated.splits(table(part=["train", None, "train", "dev", "test", "train"]))
    with pytest.raises(DataError, match="no column 'part', which says which split"):
        stated.splits(table())


def test_the_stated_type_says_which_targets_are_classes():
    stated = {"age": "number", "dose": "class", "tags": "multilabel"}
    columns = {"age": [30, 40, 40, 50, 60, 70], "dose": [0.5, 1.5, np.nan, 0.5, 1.5, 0.5]}
    tags = pd.Series([["a"]] * 6, dtype=object)
    records = read(table(**columns, tags=tags), targets=stated).choose(np.arange(5))
    assert {name: codes.tolist() for name, codes in records.classes.items()} == {"dose": [0, 1, -1, 0, 1]}


def test_presence_of_any_column():
    class Plain:
        spec = None

        def __len__(self):
            return 3

        def take(self, rows):
            return schema_view(rows)

    records = read(table(note=["one one", None, "two", "two", "two", "two"]))

    def schema_view(rows):
        return records.columns["notes"].take(rows)

    assert presence(records.columns["notes"]).tolist() == [True, False, True, True, True, True]
    assert presence(Plain()).tolist() == [True, False, True]


def test_every_kind_has_a_name_of_its_own():
    assert all(kind.name == name for name, kind in KINDS.items())


def test_labels_may_be_lists_written_as_text():
    values = ['["b", null, "a"]', "[1, 2]", "[sic]; x", None]
    cells = Cells(pd.DataFrame({"tags": pd.Series(values, dtype=object)}))
    assert encode_target(cells, "tags", "multilabel").tolist() == [
        ("a", "b"),
        ("1", "2"),
        ("[sic]", "x"),
        None,
    ]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.299,00 €", "950 €", None, "1.050 €"], [1299, 950, np.nan, 1050]),
        (["1,299 USD", "999 USD", "n/a"], [1299, 999, np.nan]),  # no price has three decimals
        (["12 kg", "500 g", "3,5 kg"], [12, 0.5, 3.5]),
        (["1.250 kg", "2.5 kg"], [1.25, 2.5]),
        (["1'299", "1'300,50", 7], [1299, 1300.5, 7]),
    ],
)
def test_targets_that_are_numbers_may_be_written_as_amounts(cells, expected):
    rows = Table(pd.DataFrame({"y": pd.Series(cells, dtype=object)}))
    assert np.array_equal(encode_target(rows, "y", "number"), expected, equal_nan=True)
    assert encode_target(rows, "y", "class").tolist() == cells  # as written


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1.250 kg", "2.500 kg"], r"y row 0: '1.250 kg' may mean 1250 or 1.25; write it without"),
        (["12 €", "13 USD", "14 €"], r"y row 1: '13 USD': most cells are in EUR; give all in one unit"),
        (["12 kg", "13", "14 kg"], r"y row 1: '13': most cells are in kg"),
        (["12", "1,5", "3 kg"], r"y row 2: '3 kg': most cells are without unit"),
        (["12 kg", "old"], r"y row 1: 'old' is not a number, with or without a unit"),
    ],
)
def test_amounts_of_a_target_that_may_mean_another_number_are_refused(cells, message):
    with pytest.raises(DataError, match=message):
        encode_target(Table(pd.DataFrame({"y": cells})), "y", "number")


@pytest.mark.parametrize("stated", ["1900-01-01", "1900-01-01 00:00:00"])
def test_days_that_stand_for_an_empty_cell_are_empty_in_every_format(tmp_path, stated):
    schema = Schema({"t": Tabular("day", forms={"day": "date"})}, missing={"day": [stated]})
    days = pd.DataFrame({"day": [datetime.date(1900, 1, 1), datetime.date(2020, 5, 1), None]})
    days.to_parquet(tmp_path / "t.parquet")  # as days, not as times
    for source in (days, tmp_path / "t.parquet", days.astype("datetime64[ns]")):
        empty = read_table(source, reading=schema.reading()).frame["day"].isna()
        assert empty.tolist() == [True, False, True]


def test_labels_in_csv_that_look_like_numbers_are_labels(tmp_path):
    schema = Schema({"note": Text("note")}, targets={"tags": "multilabel"})
    for text, labels in (("note;tags\nx;1,5\ny;2,30\n", ["1", "5"]), ("note,tags\nx,3\ny,\n", ["3"])):
        (tmp_path / "t.csv").write_text(text)
        cells = read_table(tmp_path / "t.csv", reading=schema.reading())
        assert list(encode_target(cells, "tags", "multilabel")[0]) == labels


def test_columns_under_missing_are_those_of_the_table():
    misspelt = schema(missing={"hbb": [-999], "*": ["n/a"], "other": ["-"]})
    rows = table(other=list("abcdef"))
    message = r"no column 'hbb', which the schema's list of missing cells names\. Did you mean 'hb'"
    with pytest.raises(DataError, match=message) as caught:
        dataset_of(rows, misspelt)
    assert "other" not in str(caught.value).partition("The table has")[0]
    assert "hbb" in [problem.column for problem in check(rows, misspelt).errors]
    state = misspelt.learn(rows)  # a table to embed needs only the columns to embed
    assert len(misspelt.only(["notes"]).read(Table(rows.frame[["case", "note"]]), state)) == 6
