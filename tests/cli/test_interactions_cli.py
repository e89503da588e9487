"""`commlearn interactions` and `commlearn calibrate`, as users run them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from commlearn.cli import main

SCHEMA = """\
modalities:
  left: {kind: tabular, columns: [a]}
  right: {kind: tabular, columns: [b]}
targets: {y: class}
"""


@pytest.fixture
def files(tmp_path):
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, size=(2, 120))
    noisy = bits + 0.1 * draw.normal(size=bits.shape)
    pd.DataFrame({"a": noisy[0], "b": noisy[1], "y": bits[0] ^ bits[1]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    (tmp_path / "s.yaml").write_text(SCHEMA)
    return tmp_path


def test_raw_columns_from_a_schema(files, capsys):
    arguments = ["interactions", str(files / "s.yaml"), str(files / "t.csv"), "--quick", "--json"]
    assert main([*arguments, "--plot", str(files / "out.png")]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["views"]["data"]["pairs"][0]["synergistic"]["bits"] > 0.7
    assert (files / "out.png").exists()


def test_calibration_prints_the_error_to_expect(files, capsys):
    arguments = ["calibrate", "--like", str(files / "t.csv"), "--target", "y"]
    assert main([*arguments, "--schema", str(files / "s.yaml"), "--repeats", "1"]) == 0
    told = capsys.readouterr().out
    assert "synergy S is known to ±" in told
    assert "120 records, 2 classes" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["s.yaml"], "needs a table"),
        (["s.yaml", "t.csv", "--target", "z"], "Unknown target 'z'"),
        (["s.yaml", "t.csv", "--plot", "out.doc"], "ends in .png"),
        (["s.yaml", "t.csv", "--modalities", "left,rihgt"], "did you mean 'right'"),
        (["nowhere", "t.csv"], "nowhere"),
    ],
)
def test_what_the_user_can_mend_ends_with_code_2(files, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(files)
    assert main(["interactions", *arguments]) == 2
    assert told in capsys.readouterr().err
