"""The forecast before training: advice that fits what the modalities say, and its face in `check`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from commlearn.cli import main
from commlearn.comparison.answers.forecast import ADVICE, forecast


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """`same` shows in both modalities, `one` in the first, `parity` in neither alone, `noise` in nothing."""
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
    assert any("no modality says alone" in sentence for sentence in forecasts["parity"]["words"])


def test_check_shows_the_forecast_of_named_targets(schema, capsys):
    words = ["check", str(schema.parent / "table.csv"), "--schema", str(schema)]
    assert main([*words, "--quiet"]) == 0
    assert "forecast of" not in capsys.readouterr().out
    assert main([*words, "--target", "one", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["forecast"]["one"]["advice"] == "one"
