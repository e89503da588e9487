"""A realistic, messy table becomes embeddings with one decision, and no column is dropped silently."""

from __future__ import annotations

import json
import shutil

import pandas as pd
from messy_table import COPIES, DEAD, ROWS, messy_frame

from commlearn.cli import main
from commlearn.tables.schema import Schema

SMALL = ["--training.epochs", "1", "--model.width", "16", "--quiet"]


def test_one_decision_leads_from_a_messy_table_to_embeddings(messy_table, tmp_path, capsys):
    folder = shutil.copytree(messy_table.parent, tmp_path / "own")
    table, stated = str(folder / "furniture.csv"), folder / "s.yaml"
    assert main(["init", table, "-o", str(stated)]) == 0
    written = stated.read_text(encoding="utf-8")
    columns = [*messy_frame(20)]
    assert len(columns) == 24
    assert all(column in written for column in columns)  # unused columns too, each with the reason
    schema = Schema.from_yaml(stated)
    left = set(columns) - {*schema.columns()}
    assert left == {"link", "country", "remark 📝"}
    assert schema.missing == {"material": ("-", "n/a"), "stock": (-999,), "clicks": ("unknown",)}
    assert main(["check", table, "--schema", str(stated)]) == 2
    assert "unreadable: missing" in capsys.readouterr().out
    stated.write_text(written + "unreadable: missing\n", encoding="utf-8")  # the one decision
    assert main(["check", table, "--schema", str(stated), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    dead = [*DEAD, ROWS - COPIES + DEAD[0]]  # a copied row names the same picture
    assert [entry["row"] for entry in report["unreadable"]] == dead
    assert main(["train", str(stated), "--out", str(folder / "run"), *SMALL]) == 0
    assert len(json.loads((folder / "run" / "unreadable.json").read_text(encoding="utf-8"))) == len(dead)
    assert main(["embed", str(folder / "run"), table, "-o", str(folder / "z.csv")]) == 0
    assert len(pd.read_csv(folder / "z.csv")) == ROWS
