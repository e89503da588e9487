"""Cells and names written by others appear as plain text in terminals, spreadsheets and Markdown."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import time
from argparse import Namespace

import numpy as np
import pandas as pd
import pytest

import commlearn as cl
from commlearn.cli import main
from commlearn.cli.output import progress_printer
from commlearn.config.configuration import experiment_from
from commlearn.escapes import code_span, escaped_output, markdown, one_line, printable, spreadsheet_text
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table
from commlearn.trained.artifact import export
from commlearn.training.train import train

HARM = "\x1b]0;title\x07\x1b[2J\x9b31m\r\u202egnp"
COLUMN = f"<img src=x>{HARM}`|\n# a"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.mark.parametrize(
    "code", [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x202E, 0x2028, 0x2066, 0xD800]
)
def test_control_characters_are_shown_and_not_obeyed(code):
    shown = printable(f"a{chr(code)}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")


def test_what_people_write_stays():
    for text in ("a\tb\nc", "čšž 猫 🐈 é", "C:\\new", "50 %"):
        assert printable(text) == text
    assert one_line("a\nb") == "a\\nb"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_quoted(text):
    assert spreadsheet_text(text) == f"'{text}"


@pytest.mark.parametrize("value", [-5, -0.5, "-5", "+3.2", "-1e-5", "a=b", "", None, np.float32(-1)])
def test_numbers_and_other_text_stay(value):
    assert spreadsheet_text(value) is value


@pytest.mark.parametrize("text", [COLUMN, "a``b", "`", "[x](http://y)", "__init__", "a\\|b"])
def test_markdown_holds_no_mark_of_the_text(text):
    for line in (markdown(text), code_span(text)):
        assert "\n" not in line
        assert not CONTROLS.search(line)
    plain = markdown(text)
    assert not re.search(r"(?<!\\)(\\\\)*(?<!\\)[`|\[\]*]", plain)
    assert "<" not in plain
    fence = re.match("`+", code_span(text))[0]
    assert code_span(text).count(fence) == 2 if len(fence) > 1 else True


def test_plain_names_look_as_they_do():
    assert markdown("unique_image") == "unique_image"
    assert code_span("hb") == "`hb`"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose name, column, target, classes and ids contain harmful text."""
    folder = tmp_path_factory.mktemp("escapes")
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": [f"={row}+1{HARM}" if row % 2 else f"-{row}" for row in range(60)],
            COLUMN: draw.normal(size=60),
            "v": list(draw.normal(size=(60, 3)).astype("float32")),
            "=t`|": np.array([HARM, "b\nerror  none"], dtype=object)[draw.integers(2, size=60)],
        }
    )
    frame.to_parquet(folder / "t.parquet")
    schema = cl.Schema({"x": cl.Tabular([COLUMN]), "v": cl.Vector("v")}, {"=t`|": "class"}, id="id")
    (folder / "s.yaml").write_text(schema.to_yaml())
    experiment = experiment_from(
        {
            "name": f"n`|<b>{HARM}\n```\n# no",
            "data": {"name": "table", "table": str(folder / "t.parquet"), "schema": schema.to_mapping()},
            "method": "comm",
            "model": {"width": 8, "fusion": {"name": "attention", "heads": 2}},
            "training": {"epochs": 1, "batch_size": 16, "diagnose": 0},
        }
    )
    train(experiment, folder / "run", dataset_of(read_table(folder / "t.parquet"), schema))
    return folder


def printed(capfd, *words: object) -> list[str]:
    main([str(word) for word in words])
    out, errors = capfd.readouterr()
    for stream in (out, errors):
        assert not CONTROLS.search(stream), words
    return (out + errors).splitlines()


def test_every_command_prints_what_others_wrote_as_text(trained, capfd, tmp_path):
    run, table = trained / "run", trained / "t.parquet"
    lines = printed(capfd, "check", table, "--schema", trained / "s.yaml")
    assert any("\\x1b]0;title" in line for line in lines)
    assert not any(line.startswith("error  none") for line in lines)
    printed(capfd, "probe", run)
    printed(capfd, "probe", run, "--target", HARM)
    printed(capfd, "probe", run, "--retrieve", "x:v")
    printed(capfd, "info", run)
    printed(capfd, "init", table, "-o", tmp_path / "i.yaml")
    printed(capfd, "embed", run, tmp_path / f"none{HARM}.csv", "-o", tmp_path / "n.csv")
    printed(capfd, "interactions", run, table, "--quick")
    printed(capfd, HARM)
    printed(capfd, "train", trained / "s.yaml", "--table", table, f"--{HARM}", "1")
    broken = pd.read_parquet(table)
    broken[COLUMN] = broken[COLUMN].astype(object)
    broken.loc[3, COLUMN] = HARM
    broken.loc[4, "id"] = broken.loc[5, "id"]
    broken.astype({COLUMN: str}).to_parquet(tmp_path / "broken.parquet")
    lines = printed(capfd, "check", tmp_path / "broken.parquet", "--schema", trained / "s.yaml")
    assert any(line.startswith("error") for line in lines)
    printed(capfd, "embed", run, tmp_path / "broken.parquet", "-o", tmp_path / "b.csv")


def test_written_csv_holds_no_formula(trained, tmp_path):
    assert (
        main(["embed", str(trained / "run"), str(trained / "t.parquet"), "-o", str(tmp_path / "z.csv")]) == 0
    )
    assert main(["embed", str(trained / "run"), "--split", "test", "-o", str(tmp_path / "s.csv")]) == 0
    cl.report(trained / "run", out=tmp_path / "report")
    written = [*tmp_path.rglob("*.csv"), trained / "run" / "metrics.csv"]
    assert {path.name for path in written} >= {"z.csv", "s.csv", "probes.csv", "map.csv", "metrics.csv"}
    quoted = 0
    for path in written:
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        quoted += sum(cell.startswith("'=") for cell in cells)
        assert not [cell for cell in cells if cell and spreadsheet_text(cell) != cell], path
    assert quoted > 30
    ids = pd.read_csv(tmp_path / "z.csv", dtype={"id": str})["id"]
    assert ids[2] == "-2"  # a number as text is not a formula


def test_the_model_card_holds_no_html_and_no_mark_of_others(trained, tmp_path):
    (trained / "run" / "probes.json").write_text(
        json.dumps(
            {"=t`|\n<b>": {"balanced_accuracy": 0.5, "interval": [0, 1], "chance": 0.5, "test_records": 9}}
        )
    )
    card = (export(trained / "run", tmp_path / "a") / "README.md").read_text()
    (trained / "run" / "probes.json").unlink()
    assert not CONTROLS.search(card)
    text = re.sub(r"(`+)yaml\n.*?\n\1|(`+) ?[^\n]*? ?\2(?!`)", "", card, flags=re.DOTALL)
    assert "<" not in text
    assert [line for line in card.splitlines() if line.startswith("#")] == [
        next(line for line in card.splitlines() if line.startswith("# ")),
        *(f"## {title}" for title in ("Use", "Data", "Linear probe results")),
        *(f"## {title}" for title in ("Settings", "Versions", "Limits", "Rights")),
    ]
    row = next(line for line in card.splitlines() if line.startswith("| =t"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 7


def test_what_draws_on_a_terminal_may_and_what_it_draws_is_escaped(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with escaped_output(), progress_printer(Namespace(quiet=False, verbose=False, json=False)) as tell:
        tell(f"reading {HARM}")
        time.sleep(0.3)  # the line is redrawn at intervals
    assert "\x1b[" in screen.getvalue()
    assert "\\x1b]0;title" in screen.getvalue()
    assert "\x1b]0" not in screen.getvalue()
