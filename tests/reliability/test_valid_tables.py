"""Every valid table can be embedded, however unusual, and gives the same result from every format."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commlearn import Embedder
from commlearn.errors import ConfigurationError, DataWarning
from commlearn.kinds.base import Cells
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.vector import Vector
from commlearn.tables.check import check
from commlearn.tables.schema import Schema
from commlearn.tables.table import iterate_table, read_table
from commlearn.trained.stream import write_embeddings

ROWS = 40


def test_whole_numbers_beyond_2_to_the_53_with_gaps_embed(tmp_path):
    noise = np.random.default_rng(0)
    large = [None if row % 7 == 0 else 2**60 + row // 3 for row in range(ROWS)]
    columns = {"who": large, "large": large, "small": noise.random(ROWS), "v": list(noise.random((ROWS, 3)))}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=16)
    kinds = {"table": Tabular(["large", "small"]), "vector": Vector("v")}
    model = Embedder(Schema(kinds, group="who"), epochs=1, batch_size=16)
    assert np.isfinite(model.fit(tmp_path / "t.parquet").transform(tmp_path / "t.parquet")).all()


def test_lists_are_no_ids(tmp_path):
    pq.write_table(pa.table({"id": [["a"], ["b"]] * 8, "n": range(16)}), tmp_path / "t.parquet")
    checked = check(read_table(tmp_path / "t.parquet"), Schema({"n": Tabular("n")}, id="id"))
    assert any("id row 0: holds a" in str(problem) for problem in checked.errors)


def strange_names():
    """Return a table of codes, words and numbers that are easily mistaken for something else."""
    noise = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "id": [f"{row:03}" if row % 2 else f"{row}e5" for row in range(ROWS)],
            "site": pd.Series(["007", "7", "1e5", "100000"] * (ROWS // 4)),
            "code": pd.Series(["07", "7", "070", None] * (ROWS // 4)),
            "region": pd.Series(["NA", "None", "null", "nan", "EU", None, "n/a", "NULL"] * (ROWS // 8)),
            "size": [None if row % 5 == 0 else value for row, value in enumerate(noise.random(ROWS))],
            "v": list(noise.random((ROWS, 3)).round(3)),
        }
    )


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".jsonl"])
def test_one_table_embeds_equally_from_every_format(tmp_path, ending):
    frame = strange_names()
    frame.to_parquet(tmp_path / "t.parquet")
    other = tmp_path / f"t{ending}"
    if ending == ".jsonl":
        rows = [
            row | {"v": row["v"].tolist(), "size": None if row["size"] != row["size"] else row["size"]}
            for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
        ]
        other.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        text = frame.assign(v=frame["v"].map(lambda vector: json.dumps(vector.tolist())))
        text.to_csv(other, index=False, sep="\t" if "tsv" in ending else ",")
    columns = ["code", "region", "size", "site"]
    kinds = {"table": Tabular(columns, categorical=["site"]), "vector": Vector("v")}
    schema = Schema(kinds, id="id", group="site")
    one, two = (
        Embedder(schema, epochs=1, batch_size=16, random_state=0).fit(path)
        for path in (tmp_path / "t.parquet", other)
    )
    expected = one.transform(tmp_path / "t.parquet")
    np.testing.assert_array_equal(one.transform(other), expected)
    np.testing.assert_array_equal(two.transform(other), expected)
    assert one.trained.state == two.trained.state
    regions = one.trained.state["table"]["categories"][1]["names"]
    assert regions == ["EU", "NA", "NULL", "None", "n/a", "nan", "null"]
    write_embeddings(two.trained, other, tmp_path / "out.parquet")
    assert pd.read_parquet(tmp_path / "out.parquet")["id"].tolist() == frame["id"].tolist()


def test_a_category_of_numbers_and_words_is_read_as_the_training_had_it(tmp_path):
    frame = strange_names().assign(region=["1", "2", "NA", "3"] * (ROWS // 4))
    schema = Schema({"table": Tabular(["region", "size"]), "vector": Vector("v")})
    model = Embedder(schema, epochs=1, batch_size=16).fit(frame)
    text = frame.assign(v=frame["v"].map(lambda vector: json.dumps(vector.tolist())))
    text.to_csv(tmp_path / "t.csv", index=False)
    np.testing.assert_array_equal(model.transform(tmp_path / "t.csv"), model.transform(frame))


def test_words_for_nothing_that_training_did_not_name_are_missing():
    kind = Tabular("a")
    state = kind.learn(Cells(pd.DataFrame({"a": ["x", "y", None] * 3})))
    codes = kind.read(Cells(pd.DataFrame({"a": ["NA", None, "z", "x"]})), state).take(np.arange(4)).values
    assert codes[:, 0].tolist() == [0, 0, 1, 2]


def test_stated_words_are_empty_cells_in_every_format(tmp_path):
    frame = pd.DataFrame({"a": ["NA", "x", "-", " - ", "y"] * 8, "b": ["1", "-", "2.5", "3", "4"] * 8})
    schema = Schema({"one": Tabular("a"), "two": Tabular("b")}, missing=["NA", "-"])
    assert Schema.from_mapping(schema.to_mapping()) == schema
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for source in (frame, tmp_path / "t.csv", tmp_path / "t.parquet"):
        rows = read_table(source, reading=schema.reading()).frame
        assert rows["a"].isna().sum() == 24
        assert rows["b"].isna().sum() == 8
    assert read_table(tmp_path / "t.csv", reading=schema.reading()).frame["b"].dtype == np.float64


@pytest.mark.parametrize("words", [[-999], ["-999"], ["1e5"], {"a": [True]}, [None]])
def test_numbers_are_no_words_for_empty_cells(words):
    with pytest.raises(ConfigurationError, match="missing"):
        Schema.from_mapping({"modalities": {"a": {"kind": "text", "column": "a"}}, "missing": words})


def test_words_among_numbers_are_emptied_and_said_once(tmp_path):
    (tmp_path / "t.csv").write_text("hb,crp,who\n" + "1.5,NA,NA\nNA,2,b\nnull,3,c\n" * 10)
    expected = r"column hb, 20 cells \(NA, null\); column crp, 10 cells \(NA\)"
    with pytest.warns(DataWarning, match=expected) as caught:
        frame = read_table(tmp_path / "t.csv").frame
    assert len(caught) == 1
    assert frame["hb"].isna().sum() == 20
    assert frame["who"].tolist()[:2] == ["NA", "b"]
    chunks = pd.concat([part.frame for part in iterate_table(tmp_path / "t.csv", 7)], ignore_index=True)
    pd.testing.assert_frame_equal(chunks, frame)
    checked = check(read_table(tmp_path / "t.csv"), Schema({"t": Tabular(["hb", "crp", "who"])}))
    assert [str(problem) for problem in checked.warnings if "NA" in problem.message] == [
        "who: 10 cells are NA, which are read as ordinary words. If they mean empty cells, add to the "
        "schema: missing: [NA]"
    ]
