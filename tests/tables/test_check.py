"""The report of `check`: it names every planted fault, and none in a clean table."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PIL

from commlearn.cli.data import check as command
from commlearn.kinds.base import Cells
from commlearn.kinds.image import Image
from commlearn.kinds.series import Series
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.text import Text
from commlearn.kinds.vector import Vector
from commlearn.tables import leaks
from commlearn.tables.check import check
from commlearn.tables.schema import Schema
from commlearn.tables.signal import features, shares_signal, survey
from commlearn.tables.table import Table

N = 200
WORDS = np.array([f"word{number}" for number in range(40)])


def frame(rows=N, seed=0):
    """Return a table whose modalities share a factor, with valid targets, groups and splits."""
    rng = np.random.default_rng(seed)
    factor = rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "emb": list((factor[:, None] * 2 + rng.normal(size=(rows, 6))).astype(np.float32)),
            "note": pd.Series(
                [" ".join(rng.choice(WORDS[20 * bit : 20 * bit + 20], 6)) for bit in factor], dtype=object
            ),
            "hb": factor + rng.normal(size=rows),
            "ecg": [(bit * 3 + rng.normal(size=rng.integers(3, 9))).tolist() for bit in factor],
            "case": [f"c{row}" for row in range(rows)],
            "patient": [f"p{row // 2}" for row in range(rows)],
            "part": np.where(np.arange(rows) < rows * 0.7, "train", "test"),
            "ill": np.where(rng.random(rows) < 0.5, "yes", "no"),
            "age": rng.normal(50, 9, rows),
        }
    )


def schema(**changes):
    modalities = {"emb": Vector("emb"), "note": Text("note"), "labs": Tabular(["hb"]), "ecg": Series("ecg")}
    stated = {"targets": {"ill": "class", "age": "number"}, "id": "case", "group": "patient", "split": "part"}
    return Schema(**{"modalities": modalities, **stated, **changes})


def report(table, **changes):
    return check(Table(table) if isinstance(table, pd.DataFrame) else table, schema(**changes))


def in_lines(checked):
    return "\n".join(f"{problem.level}: {problem}" for problem in checked.problems)


def test_a_clean_table_has_no_problems_and_many_facts():
    checked = report(frame())
    assert in_lines(checked) == ""
    facts = json.loads(json.dumps(checked.to_json()))
    assert facts["rows"] == N
    assert facts["errors"] == facts["warnings"] == 0
    assert facts["splits"] == {"train": 140, "test": 60}
    assert facts["groups"] == 100
    assert facts["modalities"]["ecg"]["lengths"]["max"] == 8
    assert facts["modalities"]["note"]["present"] == N
    assert facts["modalities"]["labs"]["kind"] == "tabular"
    assert sum(facts["targets"]["ill"]["classes"].values()) == N
    assert 40 < facts["targets"]["age"]["mean"] < 60
    assert facts["expected"]["records_megabytes"] > 0
    assert "50 GFLOP/s" in facts["expected"]["assumes"]


def test_faults_of_every_sort_are_told_in_one_report():
    table = frame()
    table.at[3, "note"] = b"\xff"
    table.at[5, "hb"] = np.inf
    table.at[7, "ecg"] = []
    table.at[9, "case"] = "c8"
    table.at[11, "age"] = np.inf
    table.at[199, "patient"] = "p0"
    table = table.drop(columns=["emb"]).rename(columns={"ill": "il"})
    checked = report(table)
    text = in_lines(checked)
    for part in (
        "error: note row 3 (id c3): ",
        "error: hb row 5 (id c5): ",
        "error: case row 9: the id 'c8' is also that of row 8",
        "error: age row 11 (id c11): ",
        "error: patient row 199 (id c199): group 'p0' is in train and test",
        "error: emb: There is no column 'emb'",
        "error: ill: There is no column 'ill', which the schema reads. Did you mean 'il'?",
    ):
        assert part in text
    assert len(checked.errors) >= 7


def test_positions_count_from_the_first_row_of_the_table():
    table = frame()
    table.at[3, "note"] = b"\xff"
    checked = check(Table(table, first_row=1000), schema())
    assert "note row 1003" in in_lines(checked)


def test_a_record_with_no_modality_is_an_error():
    table = frame()
    table["emb"] = [None if row == 4 else vector for row, vector in enumerate(table["emb"])]
    table.loc[4, ["note", "hb"]] = [None, np.nan]
    table.at[4, "ecg"] = None
    checked = report(table)
    assert [problem.row for problem in checked.errors] == [4]
    assert "none of emb, note, labs, ecg" in checked.errors[0].message


@pytest.mark.parametrize(("rows", "level"), [(6, "error"), (40, "warning")])
def test_few_rows_are_told(rows, level):
    checked = report(frame(rows), split=None, group=None)
    assert [problem.level for problem in checked.problems if "training rows" in problem.message] == [level]


def test_unknown_splits_and_no_training_rows_are_errors():
    assert "row 3 (id c3): the split is 'x'" in in_lines(
        report(frame().assign(part=["train"] * 3 + ["x"] * (N - 3)))
    )
    assert "there are 0 training rows" in in_lines(report(frame().assign(part="test")))


def test_copies_across_splits_are_told_with_both_rows():
    table = frame()
    reads = ["emb", "note", "hb", "ecg"]
    for column in reads:
        table.at[150, column] = table.at[20, column]
        table.at[151, column] = table.at[30, column]
    table.at[151, "note"] = table.at[151, "note"].upper() + " "
    table.at[151, "hb"] = table.at[151, "hb"] + 1e-4
    checked = report(table)
    assert checked.errors == ()
    assert [(problem.row, problem.message.split(" row ")[0]) for problem in checked.warnings] == [
        (150, "this record of test equals"),
        (151, "this record of test looks like"),
    ]
    assert "row 20 of train" in checked.warnings[0].message
    assert checked.facts["modalities"]["ecg"]["test_cells_seen_in_training"] == round(2 / 60, 4)


def test_many_copies_across_splits_are_counted_and_ten_of_them_compared(monkeypatch):
    compared = []
    monkeypatch.setattr(leaks, "_equal", lambda *rows: compared.append(rows) or True)
    table = frame().assign(emb=[np.ones(4)] * N, note="one", hb=1.0, ecg=[[1.0, 2.0]] * N)
    warnings = [
        problem.message for problem in report(table).warnings if "of train in every" in problem.message
    ]
    assert len(warnings) == len(compared) == 10
    tests = int((table["part"] == "test").sum())
    assert f"and {tests - 10} more rows like these" in in_lines(report(table))


def test_copies_inside_a_split_are_counted():
    table = frame()
    for column in ("emb", "note", "hb", "ecg"):
        table.at[8, column] = table.at[2, column]
    assert "1 records look like an earlier one in every modality (rows 8)" in in_lines(report(table))
    unsplit = in_lines(report(table, split=None, group=None))
    assert "a random split would put copies on both sides" in unsplit


def test_groups_that_are_missing_are_told():
    table = frame()
    table.loc[[4, 6], "patient"] = None
    assert "warning: patient: 2 rows have no group" in in_lines(report(table))


def test_groups_are_compared_as_a_split_compares_them():
    table = frame()
    table["patient"] = [f"p{row}" for row in range(len(table))]
    last = len(table) - 1
    table.loc[[0, last], "patient"] = ["p0", "p0 "]
    assert f"row {last} (id c{last}): group 'p0' is in train and test" in in_lines(report(table))
    table.loc[[0, last], "patient"] = " "  # blank: each counts as a group of its own
    lines = in_lines(report(table))
    assert "warning: patient: 2 rows have no group" in lines
    assert "is in train and test" not in lines


def test_modalities_shuffled_against_each_other_are_asked_about():
    table = frame()
    table["note"] = table["note"].to_numpy()[np.random.default_rng(5).permutation(N)]
    checked = report(table)
    assert {problem.level for problem in checked.problems} == {"warning"}
    assert {problem.message.split(" was found")[0] for problem in checked.problems} == {
        "no signal shared by emb and note",
        "no signal shared by note and labs",
        "no signal shared by note and ecg",
    }


def test_of_a_handful_of_rows_no_signal_is_asked_for():
    table = frame(55)
    table["note"] = table["note"].to_numpy()[::-1]
    assert "no signal" not in in_lines(report(table, split=None, group=None))


@pytest.mark.parametrize(
    ("changes", "columns", "message"),
    [
        ({}, {"ill": "yes"}, "ill: has one class"),
        ({}, {"ill": None}, "ill: has no label"),
        ({}, {"age": 3.0}, "age: has fewer than two distinct numbers"),
        ({}, {"ill": ["rare"] + ["yes", "no"] * 99 + ["no"]}, "classes with a single row.*: rare"),
        ({"targets": {"age": "class"}}, {}, "has 200 classes in 200 rows; declare it as a number"),
        ({"targets": {"hb": "number"}}, {}, "is also read by modality labs"),
    ],
)
def test_targets_that_cannot_be_probed_are_told(changes, columns, message):
    checked = report(frame().assign(**columns), **changes)
    assert checked.errors == ()
    assert pd.Series([in_lines(checked)]).str.contains(message).item()


def test_many_labels_are_counted():
    tags = pd.Series([["a", "b"], ["a"]] * (N // 2))
    checked = report(frame().assign(tags=tags), targets={"tags": "multilabel"})
    assert checked.facts["targets"]["tags"]["classes"] == {"a": N, "b": N // 2}
    assert checked.facts["targets"]["tags"]["missing"] == 0


def test_images_are_opened_compared_and_linked(tmp_path):
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 2, 80)
    for row, bit in enumerate(bright):
        pixels = rng.integers(100 * bit, 100 * bit + 100, (40, 40), dtype=np.uint8)
        PIL.fromarray(pixels).save(tmp_path / f"{row}.png")
    PIL.open(tmp_path / "5.png").save(tmp_path / "6.png", compress_level=0)
    content = (tmp_path / "7.png").read_bytes()
    table = pd.DataFrame(
        {"path": [f"{row}.png" for row in range(80)], "hb": bright + rng.normal(size=80) / 4}
    )
    table["hb"] = table["hb"].where(table.index != 6, table["hb"][5])
    stated = Schema({"photo": Image("path"), "labs": Tabular(["hb"])})
    checked = check(Table(table, tmp_path), stated)
    assert [problem.message[:9] for problem in checked.problems] == ["1 records"]
    assert checked.facts["expected"]["records_megabytes"] < 1
    (tmp_path / "7.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "8.png").unlink()
    assert [problem.row for problem in check(Table(table, tmp_path), stated).errors] == [7, 8]


def test_signal_is_found_in_linear_relations_and_not_in_shuffled_rows():
    rng = np.random.default_rng(0)
    missed = wrong = 0
    for _ in range(30):
        factor = rng.normal(size=(300, 2))
        first = factor @ rng.normal(size=(2, 20)) + 2 * rng.normal(size=(300, 20))
        second = factor @ rng.normal(size=(2, 10)) + 2 * rng.normal(size=(300, 10))
        missed += not shares_signal(first, second)
        wrong += shares_signal(first, second[rng.permutation(300)])
    assert missed == 0
    assert wrong <= 3  # expected rate: 2 in 100
    assert shares_signal(np.ones((80, 3)), second[:80])  # constant features: no warning


@given(st.integers(1, 12), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_looks_do_not_depend_on_the_batch(size, rows):
    table = frame(rows, seed=size)
    kind = Series("ecg")
    column = kind.read(Cells(table), kind.learn(Cells(table)))
    whole = survey(column)
    order = np.random.default_rng(size).permutation(rows)
    turned = kind.read(Cells(table).take(order), kind.learn(Cells(table)))
    np.testing.assert_array_equal(survey(turned).prints, whole.prints[order])
    np.testing.assert_allclose(
        features(column, order), features(column, np.arange(rows))[order], rtol=1e-4, atol=1e-5
    )


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_the_command_prints_one_report_and_its_exit_code_says_if_any_is_fatal(tmp_path, capsys):
    table, path = tmp_path / "t.parquet", tmp_path / "s.yaml"
    frame().to_parquet(table)
    path.write_text(schema().to_yaml())
    assert run(table, "--schema", path) == 0
    out = capsys.readouterr().out
    assert "200 rows (140 train, 60 test)" in out
    assert "note: text, in 200 rows, 6 to 6 steps long" in out
    assert "target ill: 2 classes (" in out
    assert "0 errors, 0 warnings" in out
    path.with_name("undivided.yaml").write_text(schema(split=None).to_yaml())
    assert run(table, "--schema", path.with_name("undivided.yaml")) == 0
    assert "200 rows\n" in capsys.readouterr().out  # not "(200 train)": a training holds some out
    frame().assign(hb=np.inf, ill="yes").to_parquet(table)
    assert run(table, "--schema", path) == 2
    out = capsys.readouterr().out
    assert "error    hb row 0 (id c0): " in out
    assert "and 190 more" in out
    assert "warning  ill: has one class" in out
    assert run(table, "--schema", path, "--json") == 2
    facts = json.loads(capsys.readouterr().out)
    assert facts["errors"] == 11
    assert facts["problems"][0] == {
        "message": facts["problems"][0]["message"],
        "column": "hb",
        "row": 0,
        "level": "error",
        "id": "c0",
    }
