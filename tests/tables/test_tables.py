"""Tables: every source gives the same rows, whole or in chunks; errors name what cannot be read."""

from __future__ import annotations

import datetime
import gzip
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather

from commlearn.errors import DataError, DataWarning
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.text import Text
from commlearn.kinds.vector import Vector
from commlearn.tables.formats.reading import Reading
from commlearn.tables.formats.table_files import open_groups
from commlearn.tables.schema import Schema
from commlearn.tables.table import iterate_table, read_table

FRAME = pd.DataFrame(
    {
        "name": ["a", "grün, so", None, "d\ne", "f"],
        "count": [1, 2, 3, 4, 5],
        "size": [0.5, np.nan, 2.0, 3.5, -1.0],
        "code": ["01", "2", "x", "04", "5"],
    }
)


def write(frame, path):
    if path.name.endswith(".parquet"):
        frame.to_parquet(path)
    elif ".csv" in path.name:
        frame.to_csv(path, index=False)
    elif ".tsv" in path.name:
        frame.to_csv(path, index=False, sep="\t")
    else:
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    return path


def whole(source, **options):
    return read_table(source, **options).frame


@pytest.mark.parametrize(
    "name", ["t.parquet", "t.csv", "t.tsv", "t.csv.gz", "t.tsv.gz", "t.jsonl", "t.ndjson", "t.jsonl.gz"]
)
def test_every_format_gives_the_same_rows(tmp_path, name):
    path = write(FRAME, tmp_path / name)
    table = read_table(str(path))
    assert table.root == tmp_path
    assert table.first_row == 0
    pd.testing.assert_frame_equal(table.frame, FRAME, check_dtype=True)
    chunks = list(iterate_table(path, rows=2))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert [chunk.first_row for chunk in chunks] == [0, 2, 4]
    assert all(chunk.frame.index[0] == 0 for chunk in chunks)
    together = pd.concat([chunk.frame for chunk in chunks], ignore_index=True)
    pd.testing.assert_frame_equal(together, table.frame)
    for chunk in chunks:
        assert chunk.frame.dtypes.equals(table.frame.dtypes)  # "01" is not read as 1 in any chunk


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
def test_chosen_columns_alone_are_read(tmp_path, name):
    path = write(FRAME, tmp_path / name)
    assert list(whole(path, columns=["size", "absent", "name"])) == ["name", "size"]
    assert [list(part.frame) for part in iterate_table(path, 3, ["code"])] == [["code"]] * 2
    with pytest.raises(DataError, match="'coed', did you mean 'code'"):
        read_table(path, columns=["coed"])


CELLS = st.one_of(
    st.lists(st.integers(-(2**53), 2**53) | st.none(), min_size=1, max_size=12),
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.none(), min_size=1, max_size=12),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=5), min_size=1, max_size=12
    ),
    st.lists(st.sampled_from(["1", "01", "1.5", "x", "", "True"]), min_size=1, max_size=12),
    st.lists(st.booleans() | st.none(), min_size=1, max_size=12),
)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
@given(values=CELLS, rows=st.integers(1, 5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chunks_are_the_whole(tmp_path, name, values, rows):
    frame = pd.DataFrame({"row": range(len(values)), "value": pd.Series(values, dtype=object)})
    if name != "t.jsonl":
        frame["value"] = pd.Series(values)
    path = write(frame, tmp_path / name)
    table = whole(path)
    chunks = [chunk.frame for chunk in iterate_table(path, rows)]
    assert [len(chunk) for chunk in chunks[:-1]] == [rows] * (len(chunks) - 1)
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), table)


def test_a_folder_is_one_table(tmp_path):
    write(FRAME[:2], tmp_path / "part-0.parquet")
    write(FRAME[2:], tmp_path / "part-1.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    pd.testing.assert_frame_equal(whole(tmp_path), FRAME)
    assert read_table(tmp_path).root == tmp_path
    assert sum(len(chunk) for chunk in iterate_table(tmp_path, rows=1)) == 5
    (tmp_path / "unpacked.zip").mkdir()
    write(FRAME, tmp_path / "unpacked.zip" / "t.parquet")
    pd.testing.assert_frame_equal(whole(tmp_path / "unpacked.zip"), FRAME)


def test_files_of_one_folder_may_differ_in_missing_numbers_only(tmp_path):
    pd.DataFrame({"n": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"n": [1.5, None]}).to_parquet(tmp_path / "b.parquet")
    assert whole(tmp_path)["n"].tolist()[:3] == [1.0, 2.0, 1.5]
    pd.DataFrame({"m": [1]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c.parquet has different columns from a.parquet: m, n"):
        read_table(tmp_path)
    (tmp_path / "c.parquet").unlink()
    pd.DataFrame({"n": ["x"]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataError, match="differ in a column's type"):
        read_table(tmp_path)


def test_whole_numbers_with_holes_have_one_type_in_every_chunk(tmp_path):
    table = pa.table({"n": pa.array([1, 2, None, 4]), "full": pa.array([1, 2, 3, 4])})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    types = [chunk.frame.dtypes.astype(str).tolist() for chunk in iterate_table(tmp_path / "t.parquet", 2)]
    assert types == [["float64", "int64"]] * 2


@pytest.mark.parametrize("statistics", [True, False])
def test_whole_numbers_that_no_float_holds_are_read_exactly_in_spite_of_gaps(tmp_path, statistics):
    path, numbers = tmp_path / "t.parquet", [2**53, 2**53 + 1, None, 2**63 - 1]
    columns = {"id": pa.array(numbers), "unsigned": pa.array([1, 2**64 - 1, None, 3], pa.uint64())}
    pq.write_table(pa.table(columns), path, row_group_size=2, write_statistics=statistics)
    feather.write_feather(pa.table(columns), tmp_path / "t.feather")
    sources = (path, tmp_path / "t.feather", pa.table(columns))
    for frame in (*map(whole, sources), pd.concat([part.frame for part in iterate_table(path, 2)])):
        assert frame["id"].astype(object).tolist()[:2] == numbers[:2]
        assert frame["id"].isna().tolist() == [False, False, True, False]
        assert int(frame["unsigned"].iloc[1]) == 2**64 - 1


def test_files_of_whole_numbers_and_of_fractions_are_one_column(tmp_path):
    pq.write_table(pa.table({"n": pa.array([2**60 + 1, 2])}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": pa.array([0.5])}), tmp_path / "b.parquet")
    assert whole(tmp_path)["n"].tolist() == [2.0**60, 2.0, 0.5]


def test_times_to_the_nanosecond_are_read(tmp_path):
    pq.write_table(pa.table({"at": pa.array([1_001, None], pa.time64("ns"))}), tmp_path / "t.parquet")
    assert whole(tmp_path / "t.parquet")["at"].tolist() == [datetime.time(microsecond=1), None]


@pytest.mark.parametrize(
    "strange",
    [
        pa.array([1, 10**9], pa.int32()).cast(pa.date32()),
        pa.array([86_400_000 * 10**9], pa.int64()).cast(pa.date64(), safe=False),
        pa.array([2**62], pa.timestamp("us", tz="Europe/Berlin")),
        pa.array([1], pa.timestamp("us", tz="Nowhere/At_All")),
        pa.array([{"at": 1}], pa.struct([("at", pa.time64("ns"))])),
        pa.array([[10**9]], pa.list_(pa.int32())).cast(pa.list_(pa.date32())),
    ],
    ids=lambda column: str(column.type),
)
def test_cells_that_python_has_no_value_for_are_named_with_their_column(tmp_path, strange):
    rows = len(strange)
    table = pa.table({"n": pa.array(range(rows)), "at": strange})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t.parquet, column at: its cells of type .* cannot be read"):
        whole(tmp_path / "t.parquet")
    assert whole(tmp_path / "t.parquet", columns=["n"])["n"].tolist() == list(range(rows))


def test_vectors_of_parquet_stay_arrows(tmp_path):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12.0)), 3)
    lists = pa.array([[1.0], [1.0, 2.0], None, []])
    pq.write_table(pa.table({"v": vectors, "s": lists}), tmp_path / "t.parquet")
    frame = whole(tmp_path / "t.parquet")
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)
    assert list(frame["v"].iloc[1]) == [3, 4, 5]
    assert frame["s"].isna().tolist() == [False, False, True, False]


def test_an_unnamed_index_is_no_column(tmp_path):
    FRAME.iloc[[3, 1]].to_parquet(tmp_path / "t.parquet")
    frame = whole(tmp_path / "t.parquet")
    assert list(frame) == list(FRAME)
    assert frame["count"].tolist() == [4, 2]


def test_a_frame_keeps_its_cells_and_loses_its_index():
    frame = whole(FRAME.iloc[[4, 0]])
    assert frame.index.tolist() == [0, 1]
    assert frame["name"].tolist() == ["f", "a"]
    assert [len(chunk) for chunk in iterate_table(FRAME, 3)] == [3, 2]
    assert list(whole(pd.DataFrame({0: [1], 1: [2]}))) == ["0", "1"]


def test_arrays_of_any_rank_are_columns():
    vectors = np.arange(12.0).reshape(4, 3)
    images = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    frame = whole({"v": vectors, "i": images, "n": [1, 2, 3, 4], "s": [[1], [1, 2], [], None]})
    assert isinstance(frame["v"].dtype, pd.ArrowDtype)
    np.testing.assert_array_equal(np.stack(frame["v"].tolist()), vectors)
    assert frame["i"].iloc[2].shape == (8, 8, 3)
    assert frame["s"].iloc[1] == [1, 2]
    with pytest.raises(DataError, match="must have the same length; got a 2, b 3"):
        read_table({"a": [1, 2], "b": np.zeros(3)})


def test_what_an_array_masks_is_empty():
    vectors = np.ma.array(np.arange(6.0).reshape(3, 2), mask=[[0, 0], [1, 1], [0, 1]])
    images = np.ma.array(np.full((3, 3, 5, 5), 7, dtype=np.uint8), mask=False)
    images[1] = np.ma.masked
    columns = {
        "count": np.ma.array([2**60 + 1, 9, 2**60 + 2], mask=[0, 1, 0]),
        "price": np.ma.array([0.5, 9e9, 2.5], mask=[0, 1, 0], dtype=">f8"),
        "name": np.ma.array(["a", "fill", "c"], mask=[0, 1, 0]),
        "vector": vectors,
        "photo": images,
        "steps": [vectors[0], vectors[1], vectors[2]],
        "words": [np.ma.array(["a", "b"], mask=[0, 1]), None, ["c"]],
        "whole": np.ma.array([1, 2, 3]),
    }
    frame = whole(columns)
    for name in columns.keys() - {"whole"}:
        assert frame[name].isna().tolist() == [False, True, False], name
    assert frame["count"].tolist()[::2] == [2**60 + 1, 2**60 + 2]
    assert frame["price"].dtype == np.float64
    assert frame["photo"][0].shape == (5, 5, 3)
    assert frame["photo"][0].dtype == np.uint8
    for name in ("vector", "steps"):
        np.testing.assert_array_equal(frame[name][2], [4, np.nan])
    assert frame["words"][0].tolist() == ["a", None]
    assert frame["whole"].dtype == np.int64
    kind = Vector("vector")
    with pytest.raises(DataError, match="row 2: feature 1 is nan"):
        kind.learn(read_table(columns))
    vectors[2] = np.ma.masked
    column = kind.read(read_table({"vector": vectors}), {"features": 2})
    assert column.present.tolist() == [True, False, False]


def test_masked_cells_of_a_frame_are_empty_where_they_are_masked():
    arrays = [np.ma.array([1.0, 9e36, 3.0], mask=mask) for mask in ([0, 1, 0], [1, 1, 1], [0, 0, 0])]
    for source in (pd.DataFrame({"s": pd.Series(arrays)}), [{"s": array} for array in arrays]):
        first, second, third = whole(source)["s"]
        np.testing.assert_array_equal(first, [1, np.nan, 3])
        assert second is None
        np.testing.assert_array_equal(third, [1, 9e36, 3])
    assert np.ma.is_masked(arrays[0])


def test_arrays_of_pandas_are_the_same_in_a_dict_as_in_a_frame():
    columns = {"n": pd.array([2**60 + 1, None], dtype="Int64"), "c": pd.Categorical([3, 1])}
    pd.testing.assert_frame_equal(whole(columns), pd.DataFrame(columns))


def test_json_lines_may_leave_keys_out(tmp_path):
    path = tmp_path / "t.jsonl"
    lines = [{"a": 1}, {"b": [1, 2], "c": 2**80}, {"a": 2, "b": None, "c": 1}]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    frame = whole(path)
    assert frame["a"].tolist()[::2] == [1.0, 2.0]
    assert np.isnan(frame["a"][1])
    assert frame["b"].tolist() == [None, [1, 2], None]
    assert frame["c"].dtype == np.float64
    assert [list(chunk.frame) for chunk in iterate_table(path, 1)] == [["a", "b", "c"]] * 3


def test_semicolons_and_byte_order_marks_are_understood(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffa;b\n1;2,5\n".encode())
    assert list(whole(path)) == ["a", "b"]
    path.write_text('"a;b"\n1\n')
    assert len(whole(path)) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "has no rows"),
        ("t.csv", b"a,b\n", "has no rows"),
        ("t.jsonl", b"\n", "has no rows"),
        ("t.csv", b"a,b\n1,2\nx,gr\x81n\n", r"line 3, byte 5 \(0x81\) is not UTF-8. Save the file as UTF-8"),
        ("t.jsonl", b'{"a": 1}\n{"a": "\x81"}\n', r"line 2, byte 8 \(0x81\) is not UTF-8"),
        ("t.csv", b"a,b\n1,2\n3,4,5\n", "cannot be read as a table"),
        ("t.csv", b"a,b\n1,2,9\n3,4\n", "cannot be read as a table"),
        ("t.csv", b'a,b\n1,"2\n', "cannot be read as a table"),
        ("t.csv", b"a,b,a\n1,2,3\n", "two columns with the same name: a"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("t.jsonl", b"[1]\n", "line 1: .* is not an object"),
        ("t.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("t.csv.gz", gzip.compress(b"a\n1\n" * 999, mtime=0)[:30], "cut off"),
        ("t.csv.gz", b"a\n1\n", "cut off"),
        ("t.xls", b"", r"files ending in '.xls' are not supported. Give a file that ends in .parquet"),
        ("t.parquet.gz", b"", r"files ending in '.parquet.gz' are not supported"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_table, lambda source: list(iterate_table(source, 1))):
        with pytest.raises(DataError, match=message):
            read(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("columns", [None, ["a"], ["b", "a"], ["a", "b", "c"]])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_a_cell_beyond_the_header_is_never_dropped(tmp_path, separator, columns, place, rows):
    lines = ["a,b,c", *["1,some text,3"] * 4]
    path = tmp_path / "t.csv"
    for line in ("1,some, text,3", "1,some text,3,NA", "1,some text,3,,4"):
        lines[1 + place] = line
        path.write_text("\n".join(lines).replace(",", separator))
        with pytest.raises(DataError, match="cannot be read as a table"):
            list(iterate_table(path, rows, columns))


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("columns", [None, ["a"]])
def test_rows_with_fewer_cells_than_the_header_are_named(tmp_path, columns, rows):
    path = tmp_path / "t.csv"
    path.write_text('sep=;\n"a";b;"c\nd"\n1;2;\n\n"x;\ny";;5\n  \n1;"2\n"\n;;\n7\n')
    with pytest.warns(DataWarning, match=r"t.csv: rows 2, 4 have fewer cells.*cut off") as warned:
        frame = pd.concat([table.frame for table in iterate_table(path, rows, columns)])
    assert len(warned) == 1
    assert frame["a"].tolist()[:3] == ["1", "x;\ny", "1"]
    path.write_text("a,b,c\n" + "1,2,3\n" * 12 + "4,5")
    with pytest.warns(DataWarning, match="row 12 has fewer cells than the header"):
        list(iterate_table(path, rows, columns))


@pytest.mark.parametrize(
    "text", ["a,b\n1,\n,\n\n3,4\n", "a,b,,\n1,2\n3,\n", 'a\n1\n""\n2\n', "a\tb\n\t\n1\t\n"]
)
def test_empty_cells_are_no_missing_ones(tmp_path, text, recwarn):
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert read_table(path).frame.isna().any(axis=None)
    assert not recwarn.list


def test_separators_at_the_end_of_lines_are_no_cells(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2,\n3,4,\n")
    for columns in (None, ["b", "a"]):
        assert read_table(path, columns).frame[["a", "b"]].values.tolist() == [[1, 2], [3, 4]]


def test_a_file_cut_off_in_the_middle_is_named(tmp_path):
    path = write(FRAME, tmp_path / "t.parquet")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="Is it cut off"):
        read_table(path)


def test_missing_and_empty_sources_say_what_to_do(tmp_path):
    write(FRAME, tmp_path / "films.csv")
    with pytest.raises(DataError, match=r"no table .*film.csv. Did you mean .*films.csv\?"):
        read_table(tmp_path / "film.csv")
    with pytest.raises(DataError, match="Check the path"):
        read_table("nowhere/film.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no .parquet file"):
        read_table(tmp_path / "empty")
    with pytest.raises(DataError, match="The table has no rows"):
        read_table(FRAME[:0])
    with pytest.raises(DataError, match="The table has no rows"):
        read_table({})
    with pytest.raises(DataError, match="two columns with the same name: a"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(DataError, match="two columns with the same name: 1"):
        read_table({1: [1, 2], "1": [3, 4]})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "An empty list cannot be read as a table. Give a pandas or Polars DataFrame"),
        (None, "A NoneType cannot be read as a table"),
        (5, "A int cannot be read as a table"),
        ([[1, 2]], "A list cannot be read as a table"),
        (np.zeros((3, 2)), "A ndarray cannot be read as a table"),
        ([{"a": 1}, 5], "Row 1 of the list is 5; give a dict for each row"),
        ({"v": torch.zeros(3, 2, requires_grad=True)}, r"'v' is a Tensor that cannot be read.*detach\(\)"),
        ({"v": torch.zeros(3, 2, dtype=torch.bfloat16)}, r"'v' is a Tensor that cannot be read.*float\(\)"),
        ({"v": np.zeros((3, 0))}, r"Column 'v' has the shape \(3, 0\): its rows are empty"),
    ],
    ids=str,
)
def test_what_is_no_table_says_what_would_be(source, message):
    with pytest.raises(DataError, match=message):
        read_table(source)


def test_arrays_of_another_machine_are_read():
    vectors = read_table({"v": np.arange(6, dtype=">f4").reshape(3, 2), "a": np.arange(3, dtype=">i8")})
    assert vectors.frame["v"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert vectors.frame["a"].to_numpy().dtype.isnative


@pytest.mark.parametrize("name", ["T.TSV", "t.tsv.GZ", "A.PARQUET"])
def test_endings_are_read_in_capitals_too(tmp_path, name):
    frame = pd.DataFrame({"a": ["x, y", "z"], "b": [1, 2]})
    if name == "A.PARQUET":
        frame.to_parquet(tmp_path / name)
        assert len(open_groups(str(tmp_path / name)).sizes) == 1
        pd.testing.assert_frame_equal(whole(tmp_path), frame)
    else:
        text = frame[["a", "b"]].to_csv(index=False, sep="\t").replace("a\tb", "a, c, d\tb").encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("GZ") else text)
        assert list(whole(tmp_path / name)) == ["a, c, d", "b"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2, 3, 2**63 + 5], "uint64"),
        ([2**63 + 5, 2**63 + 7, 1, 2], "uint64"),
        ([-1, 2, 2**63 + 5, 3], "float64"),
        ([2**63 + 5, 2**63 + 5, "", 3], "float64"),
    ],
)
def test_counts_beyond_64_bits_have_one_type_in_every_chunk(tmp_path, cells, kind):
    path = tmp_path / "t.csv"
    path.write_text("row,a\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells)))
    frames = [whole(path), *(part.frame for part in iterate_table(path, 2))]
    assert [frame["a"].dtype.name for frame in frames] == [kind] * 3
    assert [cell for frame in frames[1:] for cell in frame["a"].dropna()] == frames[0]["a"].dropna().tolist()


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("stated", ["-999", -999])
def test_a_number_that_stands_for_an_empty_cell_may_be_written_as_text(tmp_path, ending, stated):
    path = write(pd.DataFrame({"age": [31, -999, 44], "b": [-999, 1, 2]}), tmp_path / f"t{ending}")
    read = whole(path, reading=Reading(missing_in={"age": [stated]}))
    assert read["age"].isna().tolist() == [False, True, False]
    assert read["b"].tolist() == [-999, 1, 2]


def test_cells_of_every_type_are_emptied():
    decimals = pd.DataFrame({"age": [Decimal(31), Decimal(-999)]})
    assert whole(decimals, reading=Reading(missing_in={"age": [-999]}))["age"].isna().tolist() == [
        False,
        True,
    ]
    texts = pd.DataFrame({"word": ["NA", "x"]}).astype(pd.ArrowDtype(pa.string()))
    assert whole(texts, reading=Reading(missing=("NA",)))["word"].isna().tolist() == [True, False]
    times = pd.DataFrame({"day": pd.to_datetime(["1900-01-01", "2024-01-31", None])})
    stated = Reading(missing_in={"day": ["1900-01-01"]})
    assert whole(times, reading=stated)["day"].isna().tolist() == [True, False, True]


def csv_of(tmp_path, text, name="t.csv", **encoding):
    path = tmp_path / name
    path.write_bytes(text.encode(**encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a;b\n1;x\n2;y\n",
        "a\tb\r\n1\tx\r\n2\ty\r\n",
        "a|b\n1|x\n2|y\n",
        "sep=;\r\na;b\r\n1;x\r\n2;y\r\n",
        "\n  \na,b\n1,x\n2,y\n",
        "\ufeffa,b\r1,x\r2,y\r",
    ],
)
def test_the_header_tells_the_separator(tmp_path, text):
    pd.testing.assert_frame_equal(
        whole(csv_of(tmp_path, text)), pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), check_dtype=False
    )


def test_names_may_hold_separators_quotes_and_lines(tmp_path):
    assert list(whole(csv_of(tmp_path, 'size;5" pipe\n1;2\n3;4\n'))) == ["size", '5" pipe']
    assert list(whole(csv_of(tmp_path, '"size, cm";"kept\n""in"""\n1;2\n'))) == ["size, cm", 'kept\n"in"']


def test_columns_without_a_name_can_be_asked_for(tmp_path):
    path = csv_of(tmp_path, ",a,,\n7,1,,\n8,2,,\n")  # a pandas index, and empty spreadsheet columns
    assert whole(path, columns=["Unnamed: 0", "a"]).to_dict("list") == {"Unnamed: 0": [7, 8], "a": [1, 2]}
    assert list(whole(path)) == ["Unnamed: 0", "a", "Unnamed: 2", "Unnamed: 3"]


WRITTEN = {
    "small": ("1,5", "2", None, "-2,5e-1"),
    "large": ("1.234,5", "950", "12.000", "1.000.000,00"),
    "whole": ("1.250", "950", "12.000", "1"),
    "point": ("0.5", "1.25", "3", "4"),
    "code": ("A1", "1,5", "2", "3"),
}
NUMBERS = {
    "small": [1.5, 2, np.nan, -0.25],
    "large": [1234.5, 950, 12000, 1e6],
    "whole": [1250, 950, 12000, 1],
}


def test_a_comma_may_begin_a_fraction_where_semicolons_separate(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame(WRITTEN).to_csv(path, sep=";", index=False)
    frame = whole(path)
    for name, numbers in NUMBERS.items():
        assert frame[name].dtype == np.float64
        np.testing.assert_array_equal(frame[name], numbers)
    assert frame["point"].tolist() == [0.5, 1.25, 3, 4]
    assert frame["code"].tolist() == list(WRITTEN["code"])
    chunks = pd.concat([part.frame for part in iterate_table(path, 1)], ignore_index=True)
    pd.testing.assert_frame_equal(chunks, frame)
    pd.testing.assert_frame_equal(whole(path, columns=["whole"]), frame[["whole"]])  # decided by the others


@pytest.mark.parametrize(
    ("separator", "cells", "numbers"),
    [
        (",", ["1,234", "950", "-1,234,567.5"], [1234, 950, -1234567.5]),
        (",", ["1,3", "2", "1,2"], None),  # may be lists
        (",", ["0,123", "1,234", "2"], None),
        (";", ["1,234.50", "1,000", "2"], [1234.5, 1000, 2]),
        (";", ["1.234", "2.5", "3"], [1.234, 2.5, 3]),
        ("\t", ["1,234", "2,500", "3"], None),  # may be thousands or fractions
        ("\t", ["1,5", "2", "3"], [1.5, 2, 3]),
        ("\t", ["1,234.5", "2", "3"], [1234.5, 2, 3]),
    ],
)
def test_numbers_are_read_as_written_where_that_is_sure(tmp_path, separator, cells, numbers):
    path = tmp_path / "t.csv"
    pd.DataFrame({"n": cells, "x": "y"}).to_csv(path, sep=separator, index=False)
    assert whole(path)["n"].tolist() == (cells if numbers is None else numbers)


def test_columns_of_several_levels_are_refused_with_the_way_out():
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([["a"], ["x", "y"]]))
    with pytest.raises(DataError, match=r"2 levels, such as \('a', 'x'\)"):
        read_table(frame)


STRANGE = ['x"a\r\nb"c,d\n1,2\n', 'sep="\na,b\n1,2\n', '"a,b\n1,2\n', 'a,"b" c\n1,2\n']


@pytest.mark.parametrize("text", STRANGE)
def test_a_strange_header_is_read_or_refused(tmp_path, text):
    path = csv_of(tmp_path, text)
    try:
        names = list(whole(path))
    except DataError as problem:
        assert "cannot be read as a table" in str(problem) or "no rows" in str(problem)  # noqa: PT017
        return
    assert list(whole(path, columns=names)) == names


def test_texts_of_whole_numbers_alone_stay_texts(tmp_path):
    training = {"note": ["five 5 apples", "5 pears"], "tags": ["1;2", "2;1"], "id": [1, 2]}
    kinds = {"note": Text("note"), "tags": Tabular(["tags"], forms={"tags": "labels"})}
    schema = Schema(kinds, id="id")
    state = schema.learn(read_table(training))
    pd.DataFrame({"note": ["5", "12"], "tags": ["1", "2"], "id": ["3", "4"]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    table = read_table(tmp_path / "t.csv", reading=schema.reading(state))
    assert table.frame["note"].tolist() == ["5", "12"]
    assert table.frame["id"].tolist() == [3, 4]
    schema.read(table, state)
