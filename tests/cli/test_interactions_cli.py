"""`commlearn interactions` and `commlearn calibrate`, as users run them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import commlearn
from commlearn.cli import main
from commlearn.information import Settings, calibrate

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


def test_one_target_that_cannot_be_asked_about_does_not_cost_the_others(files, capsys):
    table = pd.read_csv(files / "t.csv")
    table.rename(columns={"y": "y/n"}).assign(one=1).to_csv(files / "t.csv", index=False)
    (files / "s.yaml").write_text(SCHEMA.replace("y: class", "y/n: class, one: class"))
    arguments = ["interactions", str(files / "s.yaml"), str(files / "t.csv"), "--quick", "--json"]
    assert main([*arguments, "--plot", str(files / "out.png")]) == 0
    out, err = capsys.readouterr()
    assert list(json.loads(out)) == ["y/n"]
    assert "no report on 'one': target 'one' has one class" in err
    assert (files / "out-y%2Fn.png").exists()
    assert main([*arguments, "--target", "one,two"]) == 2
    err = capsys.readouterr().err
    assert "Unknown target 'two'" in err
    assert "No report could be made on any of one, two" in err


def test_calibration_prints_the_error_to_expect(files, capsys):
    arguments = ["calibrate", "--like", str(files / "t.csv"), "--target", "y"]
    assert main([*arguments, "--schema", str(files / "s.yaml"), "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert "synergy S ±" in printed
    assert "120 records, 2 classes" in printed


def test_the_python_that_is_shown_asks_the_same(files, monkeypatch, capsys):
    asked = {}

    class Report:
        def plot(self, path):
            asked["plot"] = path

    def fake(source, data=None, **options):
        asked.update(options, modalities=list(source.modalities), data=data)
        return Report()

    words = [str(files / "s.yaml"), "t.csv", "--target", "y", "--quick", "--bins", "4", "--plot", "u.png"]
    assert main(["interactions", *words, "--show-python"]) == 0
    monkeypatch.setattr(commlearn, "interactions", fake, raising=False)
    exec(compile(capsys.readouterr().out, "shown", "exec"), {})
    assert (asked["data"], asked["target"], asked["plot"]) == ("t.csv", "y", "u.png")
    assert asked["modalities"] == ["left", "right"]
    assert asked["settings"] == Settings(bins=4, curve=False, bootstrap=5, permutations=39)


def test_the_python_that_is_shown_asks_about_every_target_if_none_is_named(files, monkeypatch, capsys):
    (files / "s.yaml").write_text(SCHEMA.replace("y: class", "y: class, a: number"))
    asked = []

    def fake(sources, target, settings):
        asked.append((target, settings))
        return SimpleNamespace(plot=asked.append)

    monkeypatch.setattr("commlearn.information.ask.ask", fake)
    words = [str(files / "s.yaml"), str(files / "t.csv"), "--quick", "--plot", "plots/u.png", "--show-python"]
    assert main(["interactions", *words]) == 0
    exec(compile(capsys.readouterr().out, "shown", "exec"), {})
    quick = Settings(curve=False, bootstrap=5, permutations=39)
    assert asked == [("y", quick), "plots/u-y.png", ("a", quick), "plots/u-a.png"]


def test_the_python_of_a_calibration_is_shown(files, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(calibrate, "calibrate_like", lambda *values, **named: asked.append((values, named)))
    words = ["--like", "t.csv", "--target", "y", "--schema", str(files / "s.yaml"), "--repeats", "2"]
    assert main(["calibrate", *words, "--show-python"]) == 0
    exec(compile(capsys.readouterr().out, "shown", "exec"), {})
    (values, named), *_ = asked
    assert values[:2] == ("t.csv", "y")
    assert named == {"repeats": 2}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["s.yaml"], "needs a table"),
        (["s.yaml", "t.csv", "--target", "z"], "Unknown target 'z'"),
        (["s.yaml", "t.csv", "--plot", "out.doc"], "ends in .png"),
        (["s.yaml", "t.csv", "--modalities", "left,rihgt"], "did you mean 'right'"),
        (["nowhere", "t.csv"], "nowhere"),
    ],
)
def test_what_the_user_can_mend_ends_with_code_2(files, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(files)
    assert main(["interactions", *arguments]) == 2
    assert sentence in capsys.readouterr().err
