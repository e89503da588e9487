"""The forecast before training: advice that fits the modalities, and its output in `check`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from commlearn.cli import main
from commlearn.comparison.answers import forecast as forecasts_of
from commlearn.comparison.answers.forecast import ADVICE, forecast
from commlearn.comparison.plan import ComparisonSource
from commlearn.errors import DataWarning


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """Target `same` is in both modalities, `one` in the first, `parity` in neither alone, `noise` in none."""
    folder = tmp_path_factory.mktemp("forecast")
    draw = np.random.default_rng(0)
    same, one, bit, other, noise = draw.integers(2, size=(5, 400))
    shown = [2 * bits - 1 + draw.normal(0, 0.25, 400) for bits in (same, one, bit, same, other)]
    targets = {"same": same, "one": one, "parity": bit ^ other, "noise": noise}
    lines = [",".join(["a0", "a1", "a2", "b0", "b1", *targets, "split"])]
    for row in range(400):
        cells = [
            *(f"{values[row]:.3f}" for values in shown),
            *(f"c{labels[row]}" for labels in targets.values()),
        ]
        lines.append(",".join([*cells, "test" if row % 3 == 2 else "train"]))
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    stated = {
        "table": "table.csv",
        "modalities": {
            "a": {"kind": "tabular", "columns": ["a0", "a1", "a2"]},
            "b": {"kind": "tabular", "columns": ["b0", "b1"]},
        },
        "targets": dict.fromkeys(targets, "class"),
        "split": "split",
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(stated))
    return folder / "schema.yaml"


def test_the_advice_fits_what_the_modalities_say(schema):
    forecasts = forecast(schema)
    advice = {name: values["advice"] for name, values in forecasts.items()}
    assert advice == {"same": "align", "one": "one", "parity": "combine", "noise": "nothing"}
    assert forecasts["one"]["words"][-1] == f"Advice: {ADVICE['one'].format(best='a')}"
    assert any(sentence.startswith("Keep a") for sentence in forecasts["one"]["words"])
    assert any("best reader of separate modalities" in sentence for sentence in forecasts["parity"]["words"])


def test_check_shows_the_forecast_of_named_targets(schema, capsys):
    words = ["check", str(schema.parent / "table.csv"), "--schema", str(schema)]
    assert main([*words, "--quiet"]) == 0
    assert "forecast of" not in capsys.readouterr().out
    assert main([*words, "--target", "one", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["forecast"]["one"]["advice"] == "one"


@pytest.fixture
def copied(tmp_path):
    """Labels are noise; 150 rows to score are copies of rows to fit on, and 20 of rows to validate on."""
    draw = np.random.default_rng(1)
    train = pd.DataFrame(draw.normal(size=(300, 4)).round(3), columns=["a0", "a1", "b0", "b1"])
    train = train.assign(y=np.where(draw.random(300) < 0.5, "yes", "no"), who=np.arange(300), split="train")
    fresh = train.assign(a0=draw.normal(size=300).round(3), y=draw.permutation(train["y"]))
    parts = [
        train,
        train[:150].assign(split="test"),
        fresh[:100].assign(split="test", who=lambda rows: rows["who"] + 280),
        fresh[80:100].assign(split="validation", who=lambda rows: rows["who"] + 280),
    ]
    pd.concat(parts).to_csv(tmp_path / "table.csv", index=False)
    stated = {
        "table": "table.csv",
        "modalities": {name: {"kind": "tabular", "columns": [f"{name}0", f"{name}1"]} for name in ("a", "b")},
        "targets": {"y": "class"},
        "split": "split",
        "group": "who",
    }
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(stated))
    table = {"name": "table", "table": str(tmp_path / "table.csv"), "schema": stated}
    recipe = {"name": "r", "method": "comm", "data": table}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


@pytest.mark.filterwarnings("ignore::commlearn.errors.DataWarning")
def test_a_forecast_scores_no_row_that_it_was_fitted_on(copied):
    values = forecast(copied / "schema.yaml")["y"]
    assert (values["advice"], values["rows"]["test"]) == ("nothing", 80)


@pytest.mark.parametrize("file", ["schema.yaml", "recipe.yaml"])
def test_a_comparison_scores_no_row_that_it_fits_or_validates_on_and_names_divided_groups(copied, file):
    source = ComparisonSource(str(copied / file))
    with pytest.warns(DataWarning) as warned:
        _, data = source.read()
    words = " ".join(str(one.message) for one in warned)
    assert "170 of 250 test rows are also among the rows to fit or to validate on" in words
    assert "20 groups have rows both to fit on and to score" in words
    assert len(data.test) == 80
    before_test = replace(source, before_test=True).read()[1]
    assert len(before_test.test) == 20
    assert not np.isin(before_test.test.keys, before_test.fit.keys).any()


def test_a_sample_is_of_rows_that_have_labels(schema, tmp_path, monkeypatch):
    """Of 400 rows, 60 have a label; a sample of 40 of all rows would contain only about 6 of them."""
    monkeypatch.setattr(forecasts_of, "ROWS", 40)
    table = pd.read_csv(schema.parent / "table.csv")
    table["same"] = table["same"].where(np.arange(400) < 60)
    table.to_csv(tmp_path / "table.csv", index=False)
    rows = forecast(schema, tmp_path / "table.csv", ["same"])["same"]["rows"]
    assert rows == {"train": 40, "test": 20}


def test_test_rows_of_a_single_group_decide_nothing(schema, tmp_path):
    """All test rows are from one site, so that no interval exists, although the target is predicted well."""
    table = pd.read_csv(schema.parent / "table.csv")
    table["site"] = np.where(table["split"] == "test", 0, 1 + np.arange(400) % 5)
    table.to_csv(tmp_path / "table.csv", index=False)
    stated = {**yaml.safe_load(schema.read_text()), "group": "site"}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(stated))
    values = forecast(tmp_path / "schema.yaml", targets=["one"])["one"]
    assert values["best"]["score"] > 95
    assert values["best"]["interval"] == [None, None]
    assert values["advice"] == "undecided"


def values_with(features=95.0, alone=(60.0, 60.0), lowest=(-1.0, -1.0), combination="none"):
    """Return a verdict on two modalities: scores, lower limits of leaving one out, claim on combining."""
    readers = {"features": features, "a alone": alone[0], "b alone": alone[1]}
    return {
        "best": {"claim": "more", "score": 96.0, "reader": "boosting"},
        "budgets": {"all": {"readers": {name: {"score": score} for name, score in readers.items()}}},
        "combination": {"claim": combination},
        "modalities": {
            name: {"refit": {"interval": [low, 5.0], "claim": "none"}}
            for name, low in zip("ab", lowest, strict=True)
        },
    }


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"features": 60.0, "combination": "more"}, "combine"),
        ({"combination": "more"}, "features"),  # additive: a linear reader of both suffices
        ({"alone": (95.0, 95.0)}, "align"),
        ({"alone": (95.0, 95.0), "lowest": (-15.0, -10.0)}, "features"),  # too few rows to say
        ({"alone": (95.0, 60.0), "lowest": (-40.0, -2.0)}, "one"),
        ({"alone": (95.0, 60.0), "lowest": (-40.0, -9.0)}, "features"),
        ({"alone": (95.0, 60.0), "lowest": (-40.0, None)}, "features"),
        ({"alone": (95.0, 60.0), "lowest": (-40.0, 0.0)}, "one"),
    ],
)
def test_advice_spares_a_modality_only_where_the_interval_does(given, advice):
    assert forecasts_of._advice(values_with(**given), ["a", "b"]) == advice
