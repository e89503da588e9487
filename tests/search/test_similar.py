"""Search in a table by row, text or picture and across modalities; explanations; the stored index."""

from __future__ import annotations

import json
import os
import sys
import types

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

import commlearn as cl
from commlearn.cli import main
from commlearn.datasets.synthetic_tables import SyntheticTable
from commlearn.errors import ConfigurationError, DataError, DataWarning
from commlearn.probes.nearest import unit
from commlearn.search import Searcher
from commlearn.search.index import ALIKE, build
from commlearn.search.similar import Lists

SMALL = ["--training.epochs", "1", "--model.width", "16", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    SyntheticTable(rows=80, size=16, missing=0.2).write(folder)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    assert main(["train", str(folder / "schema.yaml"), "--out", str(folder / "run"), *SMALL]) == 0
    return folder / "run"


def halves(rows):
    images = load_digits().images[rows].astype("float32") / 16
    return {"left": images[:, :, :4].reshape(-1, 32), "right": images[:, :, 4:].reshape(-1, 32)}


@pytest.fixture(scope="module")
def model():
    schema = cl.Schema({name: cl.Vector(name) for name in ("left", "right")})
    return cl.Embedder(schema, epochs=2).fit(halves(slice(500)))


def command(capsys, *words, code=0):
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_hits_are_those_of_the_slow_way_and_not_the_row_itself(model):
    table = halves(slice(-90, None))
    hits = cl.similar(model, table, 7, k=89)
    vectors = cl.embed(model, table)
    spread = vectors.std(axis=0)
    scaled = unit((vectors - vectors.mean(axis=0)) / np.where(spread < 1e-6, 1, spread))
    cosines = scaled @ scaled[7]
    order = [row for row in np.argsort(-cosines) if row != 7]
    assert hits["rank"].tolist() == list(range(1, 90))
    assert sorted(hits["row"]) == sorted(order)
    assert hits["row"].tolist()[:5] == order[:5]
    np.testing.assert_allclose(hits["score"], cosines[hits["row"]], atol=1e-4)
    assert len(cl.similar(model, table, 7, k=500)) == 89


def test_a_record_like_a_row_finds_that_row_first(model):
    table = halves(slice(-90, None))
    query = {"left": table["left"][11], "right": table["right"][11]}
    hits = cl.similar(model, table, query, k=3)
    assert hits["row"][0] == 11
    assert hits["copy"].tolist() == [True, False, False]
    assert hits["why"][0] == "a copy: the model sees no difference"
    both = cl.similar(model, table, {"left": table["left"][11]}, k=2)
    assert both["row"][0] == 11
    assert "score_left" not in both


def test_copies_are_named_and_other_rows_are_not(model):
    table = halves(slice(-90, None))
    table = {name: np.concatenate([rows, rows[5:6]]) for name, rows in table.items()}
    hits = cl.similar(model, table, 5, k=90)
    assert hits.loc[hits["copy"], "row"].tolist() == [90]
    assert hits["row"][0] == 90
    table["right"][90] = table["right"][6]
    hits = cl.similar(model, table, 5, k=90)
    assert not hits["copy"].any()
    assert hits.set_index("row").loc[90, "score_left"] == pytest.approx(1, abs=1e-5)
    assert cl.similar(model, table, 5, k=1, modalities="left")["copy"].tolist() == [True]


def test_one_half_finds_the_other_half_of_its_digit(model):
    table = halves(slice(-300, None))
    searcher = Searcher(model, table, by="left", modalities="right")
    ranks = [
        searcher.similar({"left": table["left"][row]}, 300)["row"].tolist().index(row) for row in range(60)
    ]
    assert np.mean(np.array(ranks) < 10) > 0.15  # chance is 0.033
    row = searcher.similar(4, 10)
    assert 4 not in row["row"].tolist()
    assert not row["copy"].any()


def test_words_are_calibrated_on_random_pairs(model):
    table = halves(slice(-400, None))
    searcher = Searcher(model, table)
    draw = np.random.default_rng(1)
    for row in draw.integers(0, 400, 20):
        hits = searcher.similar(int(row), 399)
        assert hits["above_left"].between(0, 1).all()
    hits = pd.concat([searcher.similar(int(row), 399) for row in draw.integers(0, 400, 20)])
    for name in ("above", "above_left", "above_right"):
        assert (hits[name] >= ALIKE).mean() == pytest.approx(1 - ALIKE, abs=0.03)
        assert hits[name].mean() == pytest.approx(0.5, abs=0.08)
    alike = hits[hits["above_left"] >= ALIKE]
    assert alike["why"].str.contains("alike in .*left|a copy").all()
    unlike = hits[(hits["above_left"] < 0.5) & ~hits["copy"]]
    assert unlike["why"].str.contains("unlike in .*left").all()


def test_rows_without_the_modalities_are_not_hits_and_cannot_ask(run, folder):
    rows = pd.read_csv(folder / "table.csv")
    without, having = rows["text"].isna(), rows["text"].notna()
    loaded = cl.load(run)
    hits = cl.similar(
        loaded, folder / "table.csv", int(np.flatnonzero(having)[0]), k=100, modalities=["text"]
    )
    assert sorted(hits["row"]) == np.flatnonzero(having)[1:].tolist()
    absent = int(np.flatnonzero(without)[0])
    with pytest.raises(DataError, match=f"Row {absent} has none of text. Choose modalities"):
        cl.similar(loaded, folder / "table.csv", absent, modalities=["text"])
    hits = cl.similar(loaded, folder / "table.csv", absent, k=100)
    assert hits["score_text"].isna().all()
    assert not hits["why"].str.contains("text").any()
    assert hits["id"].tolist() == rows["id"][hits["row"]].tolist()


def test_a_text_and_a_picture_search_by_the_names_of_their_kinds(run, folder, monkeypatch, tmp_path):
    rows = pd.read_csv(folder / "table.csv")
    row = int(np.flatnonzero(rows["text"].notna() & rows["image"].notna())[3])
    loaded, table = cl.load(run), folder / "table.csv"
    hits = cl.similar(loaded, table, {"text": rows["text"][row]}, k=2)
    assert hits["row"][0] == row
    monkeypatch.chdir(tmp_path)  # the query's picture may be stored anywhere
    picture = folder / rows["image"][row]
    hits = cl.similar(loaded, table, {"image": picture, "text": rows["text"][row]}, k=1)
    assert hits["row"][0] == row
    assert hits["copy"][0]
    assert len(cl.similar(loaded, table, {"image": str(picture)}, k=4, modalities=["text"])) == 4


def test_cells_of_every_kind_make_a_query(run, folder):
    rows = pd.read_csv(folder / "table.csv")
    row = int(np.flatnonzero(rows[["height", "site", "series", "vector"]].notna().all(axis=1))[2])
    for column in ("height", "weight", "rate"):
        rows[column] = rows[column].astype(float)
    cells = rows.loc[row, ["height", "weight", "rate", "site", "series"]].to_dict()
    cells["series"] = str(folder / cells["series"])  # a query's paths are not relative to the table
    cells["vector"] = json.loads(rows.loc[row, "vector"])
    hits = cl.similar(cl.load(run), folder / "table.csv", cells, k=2)
    assert hits["row"][0] == row
    assert [name for name in hits if name.startswith("above_")] == [
        "above_table",
        "above_series",
        "above_vector",
    ]
    hits = cl.similar(cl.load(run), folder / "table.csv", {"height": cells["height"]}, k=2)
    assert len(hits) == 2


def test_a_value_that_means_an_empty_cell_means_one_in_a_query_too():
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"age": draw.normal(50, 9, 40), "size": draw.normal(size=40)})
    modalities = {"age": cl.Tabular(["age"]), "size": cl.Tabular(["size"])}
    model = cl.Embedder(cl.Schema(modalities, missing={"age": [-999]}), epochs=1).fit(table)
    hits = [cl.similar(model, table, query, k=3) for query in ({"age": -999, "size": 0.5}, {"size": 0.5})]
    pd.testing.assert_frame_equal(*hits)
    with pytest.raises(DataError, match="All cells of the query are empty"):
        cl.similar(model, table, {"age": "-999"})


def test_the_limit_of_unreadable_cells_is_that_of_the_table_and_not_of_the_hits(tmp_path):
    draw = np.random.default_rng(0)
    for row in range(3, 24):
        pixels = draw.integers(0, 255, (16, 16, 3)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")
    ages = np.concatenate([np.full(3, 90.0), draw.normal(50, 9, 21)])
    table = pd.DataFrame({"photo": [f"{row}.png" for row in range(24)], "age": ages})
    modalities = {"photo": cl.Image("photo", size=16), "age": cl.Tabular(["age"])}
    schema = cl.Schema(modalities, unreadable="missing", unreadable_limit=20)
    model = cl.Embedder(schema, epochs=1, root=tmp_path, networks=False).fit(table)
    with pytest.warns(DataWarning, match="photo: 3 of 24 cells cannot be read"):
        hits = cl.similar(model, table, 0, k=2)
    assert set(hits["row"]) == {1, 2}
    with pytest.raises(DataError, match="3 of 6 cells cannot be read"):
        cl.similar(model, table.iloc[:6], 0)


@pytest.mark.parametrize(
    ("query", "named", "error"),
    [
        (999, {}, "There is no row 999: the table has 80 rows, from 0 to 79"),
        ("r00000", {}, "No row has the id 'r00000'. Did you mean 'r0000"),
        ({"txt": "a"}, {}, "Unknown column of the query 'txt', did you mean 'text'"),
        ({"text": " "}, {}, "All cells of the query are empty"),
        ({"text": "a"}, {"by": ["image"]}, "by names image, for which the query has no cell; it has text"),
        (0, {"by": ["imag"]}, "Unknown modality 'imag', did you mean 'image'"),
        (0, {"k": 0}, "k is 0"),
    ],
)
def test_what_cannot_be_searched_for_is_named(run, folder, query, named, error):
    with pytest.raises((DataError, ConfigurationError), match=error.replace("(", r"\(")):
        cl.similar(cl.load(run), folder / "table.csv", query, **named)


def test_a_table_without_ids_says_how_else_to_ask(model):
    with pytest.raises(
        DataError, match='names no id column. Give the number of a row, or cells such as {"left"'
    ):
        cl.similar(model, halves(slice(20)), "seven")


def test_ids_are_names_whatever_their_cells(tmp_path):
    """Ids may be read as floats; an empty cell, which an existing index does not notice, is not an id."""
    table = {**halves(slice(20)), "case": [7.0, 8.0, *range(10, 28)]}
    schema = cl.Schema({name: cl.Vector(name) for name in ("left", "right")}, id="case")
    named = cl.Embedder(schema, epochs=1).fit(table)
    assert 0 not in cl.similar(named, table, "7", k=19, index=tmp_path)["row"].tolist()
    table["case"][1] = None
    with pytest.raises(DataError, match="No row has the case 'nan'"):
        cl.similar(named, table, "nan", index=tmp_path)
    with pytest.raises(DataError, match="No row has the case '110'. Did you mean '1"):
        cl.similar(named, table, "110", index=tmp_path)


def test_a_missing_column_is_named(model, tmp_path):
    with pytest.raises(DataError, match="no column 'right'"):
        cl.similar(model, {"left": halves(slice(20))["left"]}, 3, index=tmp_path)


def test_the_frame_is_of_the_callers_kind(model):
    table = halves(slice(-40, None))
    as_arrow = pa.table({name: rows.tolist() for name, rows in table.items()})
    hits = cl.similar(model, as_arrow, 3)
    assert isinstance(hits, pa.Table)
    assert hits["row"].to_pylist() == cl.similar(model, table, 3)["row"].tolist()


def test_polars_give_polars(model):
    polars = pytest.importorskip("polars", reason="SKIPPED LOUDLY: polars is not installed")
    table = {name: rows.tolist() for name, rows in halves(slice(-40, None)).items()}
    assert isinstance(cl.similar(model, polars.DataFrame(table), 3), polars.DataFrame)


def test_groups_are_shown():
    table = {
        **halves(slice(60)),
        "patient": [f"p{row // 3}" for row in range(60)],
        "case": list(range(100, 160)),
    }
    schema = cl.Schema({name: cl.Vector(name) for name in ("left", "right")}, id="case", group="patient")
    hits = cl.similar(cl.Embedder(schema, epochs=1).fit(table), table, "103", k=2)
    assert list(hits)[:4] == ["rank", "row", "id", "group"]
    assert hits["group"].tolist() == [f"p{row // 3}" for row in hits["row"]]
    assert hits["id"].tolist() == [100 + row for row in hits["row"]]


# the index


@pytest.fixture
def lines():
    """Progress messages, which show what is computed."""
    return []


def search(run, table, lines, **named):
    lines.clear()
    return cl.similar(cl.load(run), table, 3, k=5, tell=lines.append, **named)


def test_an_index_serves_again_and_a_changed_table_or_model_makes_it_anew(
    run, folder, lines, tmp_path, capsys
):
    table, rows = folder / "copied.csv", pd.read_csv(folder / "table.csv")
    rows.to_csv(table, index=False)
    first = search(run, table, lines)
    assert "embedded 80 of 80 rows" in lines
    second = search(run, table, lines)
    assert lines == ["reading the table"]
    pd.testing.assert_frame_equal(first, second)
    rows.loc[10, "height"] = 9.0
    rows.to_csv(table, index=False)
    search(run, table, lines)
    assert "the table changed since the index was built; rebuilding it" in lines
    picture = folder / rows["image"].dropna().iloc[0]
    os.utime(picture, ns=(1, 1))  # changes the file that a cell names, not the cell
    search(run, table, lines)
    assert "the table changed since the index was built; rebuilding it" in lines
    command(capsys, "train", folder / "schema.yaml", "--out", tmp_path / "other", *SMALL, "--seed", "1")
    shared = tmp_path / "index"
    search(run, table, lines, index=shared)
    search(tmp_path / "other", table, lines, index=shared)
    assert "the model changed since the index was built; rebuilding it" in lines
    assert len(list(shared.iterdir())) == 1


def test_a_damaged_index_is_made_anew(run, folder, lines, tmp_path):
    named = {"modalities": ["vector"], "index": tmp_path}
    expected = search(run, folder / "table.csv", lines, **named)
    (path,) = tmp_path.iterdir()
    whole, tensors = path.read_bytes(), load_file(path)
    before = {name: part.tolist() for name, part in tensors.items()}
    words = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    path.write_bytes(whole[: len(whole) // 2])
    for change in ({}, {"rows": tensors["rows"] + 10_000}, {"vectors": tensors["vectors"][:, :3].copy()}):
        if change:
            save_file({**tensors, **change}, path, words)
        pd.testing.assert_frame_equal(search(run, folder / "table.csv", lines, **named), expected)
        assert any("the index is damaged" in line for line in lines)
        assert {name: part.tolist() for name, part in load_file(path).items()} == before


def test_the_files_of_an_index_are_known_to_be_the_runs(run, folder, lines):
    search(run, folder / "table.csv", lines)
    listed = json.loads((run / "files.json").read_text())["files"]
    assert {f"search/{path.name}" for path in (run / "search").iterdir()} <= set(listed)


def test_an_index_that_cannot_be_written_is_no_reason_to_fail(run, folder, lines, tmp_path):
    (tmp_path / "file").write_text("")
    assert len(search(run, folder / "table.csv", lines, index=tmp_path / "file")) == 5
    assert any("Cannot write the index" in line for line in lines)


def test_chunks_give_what_the_whole_table_gives(run, folder, monkeypatch):
    from commlearn.search.similar import read_table
    from commlearn.trained import stream

    loaded = cl.load(run)
    table, names = read_table(folder / "table.csv"), tuple(loaded.specs)
    whole = build(loaded, table, names, names, lambda line: None)
    monkeypatch.setattr(stream, "ROWS", (7, 7))
    parts = build(loaded, table, names, names, lambda line: None)
    np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-4)
    assert parts.rows.tolist() == whole.rows.tolist() == list(range(80))


# approximate search


def test_without_faiss_the_extra_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'commlearn\[search\]'"):
        cl.similar(model, halves(slice(20)), 3, approximate=True)


def test_lists_that_hold_too_few_give_fewer(model, monkeypatch):
    """A stand-in for faiss that finds the row itself, one other, and nothing more."""

    class Index:
        def train(self, vectors): ...

        def add(self, vectors):
            self.vectors = vectors

        def search(self, rows, count):
            return np.array([[1.0, 0.5] + [-np.inf] * (count - 2)]), np.array([[3, 8] + [-1] * (count - 2)])

    stand_in = types.SimpleNamespace(METRIC_INNER_PRODUCT=0, index_factory=lambda dim, words, metric: Index())
    monkeypatch.setitem(sys.modules, "faiss", stand_in)
    hits = cl.similar(model, halves(slice(20)), 3, k=5, approximate=True)
    assert hits["row"].tolist() == [8]


def test_faiss_finds_nearly_what_exact_search_finds(model):
    pytest.importorskip("faiss", reason="SKIPPED LOUDLY: faiss is not installed: pip install faiss-cpu")
    draw = np.random.default_rng(0)
    middles = draw.normal(size=(50, 16))
    vectors = unit(middles[draw.integers(0, 50, 5000)] + draw.normal(size=(5000, 16))).astype(np.float32)
    from commlearn.probes.nearest import nearest

    exact, _ = nearest(vectors[:100], vectors, 10)
    close, cosines = Lists(vectors).nearest(vectors[:100], 10)
    assert np.mean([len(set(a) & set(b)) for a, b in zip(exact, close, strict=True)]) > 8
    np.testing.assert_allclose(cosines[:, 0], 1, atol=1e-5)
    table = halves(slice(0, 1000))
    exact, close = (cl.similar(model, table, 3, approximate=how)["row"].tolist() for how in (False, True))
    assert len(set(exact) & set(close)) >= 8


# the command


def test_the_command_shows_a_table_writes_files_and_says_what_is_next(run, folder, tmp_path, capsys):
    words = ["search", run, folder / "table.csv", "--row", 3, "-k", 4]
    shown = command(capsys, *words)
    assert max(map(len, shown.splitlines())) <= 80 or "Next:" in max(shown.splitlines(), key=len)
    assert "above" in shown
    assert "alike in" in shown
    hits = json.loads(command(capsys, *words, "--json"))
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert f"Next: commlearn search {run} {folder / 'table.csv'} --row {hits[0]['row']}" in shown
    command(capsys, *words, "--out", tmp_path / "hits.csv")
    command(capsys, *words, "--out", tmp_path / "hits.parquet")
    assert pd.read_csv(tmp_path / "hits.csv")["row"].tolist() == [hit["row"] for hit in hits]
    assert pd.read_parquet(tmp_path / "hits.parquet")["row"].tolist() == [hit["row"] for hit in hits]
    code = command(capsys, *words, "--show-python")
    names = {}
    exec(compile(code, "shown", "exec"), names)
    assert names["hits"]["row"].tolist() == [hit["row"] for hit in hits]


def test_long_ids_and_groups_leave_figures_and_words_whole(monkeypatch, capsys):
    from commlearn.cli.commands import search

    hit = {"rank": 1, "row": 100, "id": 9007199254740993, "group": "patient 100", "score": 0.5, "above": 1.0}
    hit |= {"record": "several words about a record " * 3, "why": "alike in picture, words"}
    monkeypatch.setenv("COLUMNS", "80")
    options = types.SimpleNamespace(out=None, run_folder="run", table=None, json=False)
    search._print(pd.DataFrame([hit]), options)
    shown = capsys.readouterr().out
    assert "100.0 %" in shown
    assert {"several", "words", "about", "alike", "picture,"} <= set(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


def test_the_excerpt_of_a_record_without_text_shows_all_other_cells(run, folder):
    frame = pd.read_csv(folder / "table.csv")
    row = int(np.flatnonzero(frame["height"].notna())[0])
    with pytest.raises(ConfigurationError, match=r"A PosixPath cannot read a table.*cl.load"):
        cl.similar(run, folder / "table.csv", row)
    hits = cl.similar(cl.load(run), folder / "table.csv", row, modalities=["table"], by=["table"], k=80)
    for row, record in zip(hits["row"], hits["record"], strict=True):
        text = frame["text"].iloc[row]
        assert record.split() == text.split() if isinstance(text, str) else "; " in record
    assert frame["text"].iloc[hits["row"]].isna().any()


def test_hits_are_not_written_over_a_table_or_to_a_folder_that_does_not_exist(folder, run, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_bytes((folder / "table.csv").read_bytes())
    words = ["search", run, folder / "table.csv", "--row", 3, "--out"]
    assert "does not hold records that a search found" in command(capsys, *words, table, code=2)
    assert table.read_bytes() == (folder / "table.csv").read_bytes()
    pd.read_csv(table).to_parquet(tmp_path / "table.parquet")
    assert "Give another --out" in command(capsys, *words, tmp_path / "table.parquet", code=2)
    assert "Make it first" in command(capsys, *words, tmp_path / "none" / "hits.csv", code=2)
    for name in ("hits.csv", "hits.parquet"):
        command(capsys, *words, tmp_path / name)
        command(capsys, *words, tmp_path / name)  # those of an earlier search are replaced


def test_the_command_takes_a_text_for_pictures_and_refuses_what_is_unclear(run, folder, tmp_path, capsys):
    words = ["search", run, folder / "table.csv"]
    hits = json.loads(command(capsys, *words, "--text", "boat", "--modalities", "image", "--json"))
    assert len(hits) == 10
    assert "copy" in hits[0]
    assert "--row or --id" in command(capsys, *words, code=2)
    assert "--row or --id" in command(capsys, *words, "--row", 1, "--text", "a", code=2)
    assert "ends in .csv or .parquet" in command(capsys, *words, "--row", 1, "--out", "a.txt", code=2)
    refused = command(capsys, *words, "--image", tmp_path / "none.png", code=2)
    assert "The query cannot be read: " in refused
    assert "there is no such file" in refused
    assert "row 0" not in refused  # the query is no row of the table, and the schema is not to blame
    assert "unreadable" not in refused
    assert "Traceback" not in command(capsys, *words, "--row", -1, code=2)


def test_a_run_searches_the_table_of_its_training_and_an_export_one_that_is_given(
    run, folder, tmp_path, capsys
):
    own = json.loads(command(capsys, "search", run, "--row", 3, "--json"))
    command(capsys, "export", run, tmp_path / "model")
    assert "Pass a table" in command(capsys, "search", tmp_path / "model", "--row", 3, code=2)
    given = json.loads(
        command(capsys, "search", tmp_path / "model", folder / "table.csv", "--row", 3, "--json")
    )
    assert [hit["row"] for hit in given] == [hit["row"] for hit in own]
    assert not (tmp_path / "model" / "search").exists()


@pytest.mark.parametrize("query", [3.7, float("nan"), None, True, [3], pd.Series({"left": 1.0})])
def test_a_query_of_another_type_is_named(model, query):
    table = halves(slice(500))
    with pytest.raises(DataError, match=f"The query is a {type(query).__name__} .*dict of cells"):
        cl.similar(model, table, query)


@pytest.mark.parametrize("k", [2.5, "3", None])
def test_a_number_of_hits_that_is_not_whole_is_refused(model, k):
    table = halves(slice(500))
    with pytest.raises(ConfigurationError, match="give the number of records"):
        cl.similar(model, table, 0, k=k)


def test_a_modality_that_is_the_same_in_all_rows_tells_nothing_apart():
    draw = np.random.default_rng(0)
    rows = pd.DataFrame({"a": draw.normal(size=40), "b": draw.normal(size=40), "c": list("xyzx") * 10})
    schema = cl.Schema({"m": cl.Tabular(["a", "b"]), "k": cl.Tabular(["c"])})
    model = cl.Embedder(schema, epochs=1, batch_size=16).fit(rows)
    hits = cl.similar(model, rows.assign(a=0.5, b=1.5), 0, k=9)
    assert hits["above_m"].isna().all()
    assert (hits["score_m"] == 0).all()
    assert not hits["why"].str.contains("in m").any()
    same = cl.similar(model, rows.assign(a=0.5, b=1.5, c="x"), 0, k=9)
    assert same["copy"].all()
    other = cl.similar(model, rows.assign(a=0.5, b=1.5, c="x"), {"a": 2.5, "b": -1.5, "c": "x"}, k=9)
    assert not other["copy"].any()
