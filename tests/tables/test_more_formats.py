"""Feather, .xlsx and .zip files give the same rows as CSV, and text files are read in their own encoding."""

from __future__ import annotations

import io
import stat
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PIL

from commlearn.cli import main
from commlearn.errors import ConfigurationError, DataError, DataWarning
from commlearn.tables.dataset import TableData
from commlearn.tables.formats.reading import Reading
from commlearn.tables.formats.table_files import table_in_zip
from commlearn.tables.schema import Schema
from commlearn.tables.table import iterate_table, read_table

FRAME = pd.DataFrame(
    {
        "code": ["007", "12", "x"],
        "age": [31.0, np.nan, 44.0],
        "word": ["grün", None, "NA"],
        "day": [pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-01 10:00"), pd.NaT],
    }
)
NAMES = Reading(frozenset({"code", "word"}))


def cells(frame):
    return frame.astype(object).where(frame.notna(), None).values.tolist()


def test_feather_holds_the_frame_and_lists_of_numbers(tmp_path):
    frame = FRAME.assign(v=[[1.0, 2.0], None, [3.0, 4.0]])
    frame.to_feather(tmp_path / "t.feather")
    read = read_table(tmp_path / "t.feather", ["v", "age", "code"])
    assert read.frame["v"].tolist() == [[1.0, 2.0], None, [3.0, 4.0]] or read.frame["v"].isna().tolist()[1]
    assert cells(read.frame[["code", "age"]]) == cells(FRAME[["code", "age"]])
    parts = list(iterate_table(tmp_path / "t.feather", 2))
    assert [(len(part), part.first_row) for part in parts] == [(2, 0), (1, 2)]
    (tmp_path / "t.feather").write_bytes((tmp_path / "t.feather").read_bytes()[:200])
    with pytest.raises(DataError, match=r"t.feather cannot be read.*cut off"):
        read_table(tmp_path / "t.feather")


def test_excel_is_read_like_other_tables_and_says_which_sheet(tmp_path):
    pytest.importorskip("openpyxl")
    path = tmp_path / "t.xlsx"
    with pd.ExcelWriter(path) as book:
        pd.DataFrame().to_excel(book, sheet_name="empty", index=False)
        FRAME.to_excel(book, sheet_name="rows", index=False)
        FRAME.to_excel(book, sheet_name="old", index=False)
    with pytest.warns(DataWarning, match="only sheet 'rows' is read, not 'old'"):
        read = read_table(path, reading=NAMES).frame
    assert cells(read) == cells(FRAME)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"cannot be read as .xlsx.*Save it again"):
        read_table(path)


def test_excel_keeps_codes_and_reads_numbers_that_are_written_as_text(tmp_path):
    pytest.importorskip("openpyxl")
    columns = {"code": ["01000", "2000"], "count": ["5", 6], "gap": [1, None], "word": ["", "a"]}
    pd.DataFrame(columns).to_excel(tmp_path / "t.xlsx", index=False)
    read = read_table(tmp_path / "t.xlsx").frame
    assert read["code"].tolist() == ["01000", "2000"]
    assert read["count"].tolist() == [5, 6]
    assert cells(read[["gap", "word"]]) == [[1.0, None], [None, "a"]]


def test_merged_cells_in_excel_are_named(tmp_path, recwarn):
    book = pytest.importorskip("openpyxl").Workbook()
    for row in (["patient", "age"], ["p0", 1], [None, 2], ["p1", 3]):
        book.active.append(row)
    book.active.merge_cells("A1:B1")
    book.save(tmp_path / "t.xlsx")
    read_table(tmp_path / "t.xlsx")
    assert not recwarn.list
    book.active.merge_cells("A2:A3")
    book.save(tmp_path / "t.xlsx")
    with pytest.warns(
        DataWarning, match="of sheet 'Sheet', such as A2:A3, are empty in all rows but their first"
    ):
        read_table(tmp_path / "t.xlsx")
    book.active.unmerge_cells("A2:A3")
    notes = book.create_sheet("Notes")  # empty, and not read
    notes.merge_cells("A1:A4")
    book.save(tmp_path / "t.xlsx")
    recwarn.clear()
    read_table(tmp_path / "t.xlsx")
    assert not recwarn.list


def test_two_columns_of_one_name_in_excel_are_refused(tmp_path):
    pytest.importorskip("openpyxl")
    path = tmp_path / "t.xlsx"
    with pd.ExcelWriter(path) as book:
        pd.DataFrame().to_excel(book, sheet_name="empty", index=False)
        pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]).to_excel(book, sheet_name="rows", index=False)
    with pytest.raises(DataError, match="two columns with the same name: a"):
        read_table(path)
    pd.DataFrame([[1, 2, 3, 4]], columns=["a", "a.1", None, None]).to_excel(path, index=False)
    assert list(read_table(path).frame) == ["a", "a.1", "Unnamed: 2", "Unnamed: 3"]


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.setattr("commlearn.tables.formats.table_files.find_spec", lambda name: None)
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(ConfigurationError, match=r"pip install 'commlearn\[excel\]'"):
        read_table(tmp_path / "t.xlsx")


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("DOT", "."), content)
    return path


def test_a_zip_holds_a_table_and_the_pictures_that_it_names(tmp_path):
    picture = io.BytesIO()
    PIL.new("RGB", (16, 16), "red").save(picture, "PNG")
    members = {f"set__img__{row}DOTpng": picture.getvalue() for row in range(9)}
    members["set__arrays__aDOTcsv"] = "1\n2\n"
    members["DOTset__tDOTcsv"] = "hidden"
    members["set__tDOTcsv"] = "photo,a\n" + "".join(f"img/{row}.png,{row}\n" for row in range(9))
    path = zipped(tmp_path / "t.zip", **members)
    stated = {"photo": {"kind": "image", "column": "photo"}, "t": {"kind": "tabular", "columns": ["a"]}}
    data = TableData(str(path), {"modalities": stated}, test=0.0).read()
    assert len(data.train) == 9
    assert list(data.files) == ["t.zip"]


def test_what_an_archive_held_stays_until_the_process_ends(tmp_path):
    first, *_ = [table_in_zip(zipped(tmp_path / f"{number}.zip", tDOTcsv="a\n1\n")) for number in range(20)]
    assert first.exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"aDOTcsv": "a\n1\n", "bDOTcsv": "a\n1\n"}, r"2 tables \(a.csv, b.csv\); unpack it"),
        ({"readmeDOTtxt": "x"}, "holds no table"),
        ({"DOTDOT__aDOTcsv": "a\n1\n"}, "points outside the archive"),
        ({"aDOTcsv": "0" * (80 << 20)}, "unpacks to"),
    ],
)
def test_a_zip_that_cannot_be_a_table_is_refused(tmp_path, members, message):
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("DOT", "."), content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.zip")


def test_a_zip_with_a_link_or_cut_off_is_refused(tmp_path):
    link = zipfile.ZipInfo("t.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="points outside"):
        read_table(tmp_path / "t.zip")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_table(tmp_path / "cut.zip")


TEXT = "name,preis\nStühle für Übergrößen,12\nTisch – Eiche,8\n"


@pytest.mark.parametrize(
    ("encoding", "name_of_encoding"),
    [("cp1252", "cp1252"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be")],
)
def test_the_encoding_of_text_is_told_from_its_bytes(tmp_path, encoding, name_of_encoding):
    for name, text in {"t.csv": TEXT, "t.jsonl": '{"name": "Stühle für Übergrößen", "preis": 12}\n'}.items():
        (tmp_path / name).write_bytes(text.encode(encoding))
        with pytest.warns(DataWarning, match=f"{name} is not UTF-8 and is read as {name_of_encoding}"):
            frame = read_table(tmp_path / name).frame
        assert frame["name"][0] == "Stühle für Übergrößen"
        with pytest.warns(DataWarning, match=name_of_encoding):
            parts = list(iterate_table(tmp_path / name, 1))
        assert pd.concat([part.frame for part in parts])["name"].tolist() == frame["name"].tolist()


@pytest.mark.filterwarnings("error")
def test_a_stated_encoding_is_used_without_a_word_and_refused_where_it_does_not_fit(tmp_path):
    (tmp_path / "t.csv").write_bytes(TEXT.encode("cp1252"))
    schema = Schema.from_yaml("modalities:\n  n: {kind: text, column: name}\nencoding: cp1252\n")
    assert Schema.from_yaml(schema.to_yaml()) == schema
    assert read_table(tmp_path / "t.csv", reading=schema.reading()).frame["name"][1] == "Tisch – Eiche"
    with pytest.raises(DataError, match=r"line 2, byte 3 \(0xfc\) is not ascii. Set another encoding"):
        read_table(tmp_path / "t.csv", reading=Reading(encoding="ascii"))
    (tmp_path / "t.csv").write_text(TEXT, encoding="utf-8-sig")
    assert list(read_table(tmp_path / "t.csv").frame) == ["name", "preis"]
    with pytest.raises(ConfigurationError, match="encoding is 'cp125'"):
        Schema.from_yaml("modalities:\n  n: {kind: text, column: name}\nencoding: cp125\n")


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n" + "grüße,schön\n".encode() * 9 + b"gr\xc3,1\n",  # UTF-8 with a damaged byte
        b"a,b\n\x00\x01\xff,2\n",  # not text
        b"a,b\n\x81,2\n",  # a byte that cp1252 does not define
    ],
)
def test_damage_is_not_taken_for_an_encoding(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"is not UTF-8. Save the file as UTF-8"):
        read_table(tmp_path / "t.csv")


def test_init_writes_the_encoding_that_was_stated(tmp_path, capsys):
    rows = "".join(f"Stuhl für {word} {row},{row}\n" for row in range(30) for word in ("große Räume",))
    (tmp_path / "t.csv").write_bytes(("name,preis\n" + rows).encode("cp1252"))
    out = tmp_path / "s.yaml"
    assert main(["init", str(tmp_path / "t.csv"), "-o", str(out), "--encoding", "cp1252"]) == 0
    assert Schema.from_yaml(out).encoding == "cp1252"
    assert "not UTF-8" not in capsys.readouterr().err
