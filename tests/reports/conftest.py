"""A small run on a table whose names and cells try to break out of the page; reports in unusual states."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import commlearn as cl
from commlearn.config.configuration import experiment_from
from commlearn.reports import findings

sys.path.insert(0, str(Path(__file__).parents[1] / "plot"))
import cases

EVIL = "<script>window.harmed = 1</script>"


def nasty_table(folder, rows=120):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, rows)
    (folder / "pictures").mkdir()
    paths = []
    for row in range(rows):
        pixels = draw.integers(0, 60, (24, 24, 3), dtype=np.uint8)
        pixels[..., labels[row]] += 150
        paths.append(f"pictures/{row}.png")
        Image.fromarray(pixels).save(folder / paths[-1])
    paths = [None if row % 10 == 3 else path for row, path in enumerate(paths)]
    breaks_out = "'\"</script><script>window.harmed = 2</script>"
    words = np.array(["calm & <b>quiet</b> sea", breaks_out, "$x_1$ storm"])
    return pd.DataFrame(
        {
            "id": [f"r{row}" for row in range(rows)],
            "picture": paths,
            "note": [f"{words[label]} number {row % 7}" for row, label in enumerate(labels)],
            EVIL: labels + 0.1 * draw.normal(size=rows),
            "_plain": draw.normal(size=rows),
            "label": np.array(["a", "<img src=x onerror='window.harmed = 3'>", "$c$"])[labels],
            "size": labels + draw.normal(size=rows),
        }
    )


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nasty")
    nasty_table(folder).to_csv(folder / "table.csv", index=False)
    schema = cl.Schema(
        {"picture": cl.Image("picture"), "note": cl.Text("note"), "numbers": cl.Tabular([EVIL, "_plain"])},
        targets={"label": "class", "size": "number"},
        id="id",
    )
    mapping = {
        "name": f"<script>{folder.name}</script>",
        "data": {"name": "table", "table": str(folder / "table.csv"), "schema": schema.to_mapping()},
        "training": {"epochs": 6, "batch_size": 16, "log_every": 3, "threads": 1, "learning_rate": 2e-3},
        "model": {"width": 32},
    }
    return cl.train(experiment_from(mapping), folder / "run")


@pytest.fixture(scope="session")
def trained_report(trained_run):
    return cl.report(trained_run)


COLUMNS = {  # column of each of six modalities
    "laboratory_values_of_the_first_twenty-four_hours_after_admission": "labs",
    "discharge-letter": "ملاحظات الطبيب عند الخروج",
    "electrocardiogram_twelve_leads_ten_seconds_in_one_word": "e" * 70,
    "arterial_pressure": "pressure 🫀",
    "codes": "codes of earlier stays in any hospital, at most eight years ago",
    "wave": "wave",
}
LONG = list(COLUMNS)


def crowded_table(rows=200):
    """Return a table of six modalities, one mostly absent, with long or right-to-left names and emoji."""
    draw = np.random.default_rng(0)
    forty = draw.integers(0, 40, rows)
    words = np.array(["ألم في الصدر", "שלום 👩‍⚕️ 🫁", "calm", "fièvre élevée depuis trois jours"])
    cells = {
        "id": [f"سجل {row} 🧪" for row in range(rows)],
        COLUMNS[LONG[1]]: [f"{words[at % 4]} {at}" for at in forty],
    }
    for place in (0, 2, 3, 4, 5):
        vectors = draw.normal(size=(rows, 3)) + (forty % (place + 2))[:, None]
        cells[COLUMNS[LONG[place]]] = list(vectors.astype(np.float32))
    cells["wave"] = [None if row % 10 else cell for row, cell in enumerate(cells["wave"])]
    cells["died within thirty days of leaving the hospital, of any cause"] = np.where(forty % 2, "yes", "no")
    cells["diagnosis"] = [
        f"a diagnosis whose name is as long as those of the classification {c}" for c in forty
    ]
    cells["tags"] = [
        [name for bit, name in enumerate(("أ", "b", "🫁")) if one >> bit & 1] for one in forty % 8
    ]
    cells["stay"] = forty + draw.normal(size=rows)
    return cells


CROWDED = {
    name: cl.Text(column) if name == LONG[1] else cl.Vector(column) for name, column in COLUMNS.items()
}
SORTS = ("class", "class", "multilabel", "number")
TINY = {"epochs": 1, "batch_size": 8, "settings": {"model.width": 16}, "features": "learned"}


def _stored(cells, folder):
    pd.DataFrame(cells).to_parquet(folder / "table.parquet")
    return folder / "table.parquet"


def _crowded(folder):
    """Train a run of a comparison whose interactions must not be trusted."""
    cells = crowded_table()
    died, *others = list(cells)[-4:]
    schema = cl.Schema(CROWDED, targets=dict(zip((died, *others), SORTS, strict=True)), id="id")
    path = _stored(cells, folder)
    mapping = {
        "name": "hospital stays, " + LONG[0],
        "data": {"name": "table", "table": str(path), "schema": schema.to_mapping()},
        "training": {"epochs": 2, "batch_size": 64, "log_every": 1, "threads": 1},
        "model": {"width": 16, "features": "learned"},
    }
    run = cl.train(experiment_from(mapping), folder / "comm" / "run")
    values = cases.interactions_of(LONG, died)
    doubt = f"'{LONG[0]}' and '{LONG[2]}' are copies of each other, so that what is shared cannot be told"
    values |= {"verdict": f"CANNOT BE TRUSTED: {doubt}", "warnings": [doubt], "of": died}
    none = {"problem": "class 'a diagnosis' has 3 records; give at least 10 of each", "of": others[0]}
    (folder / "comm" / "run" / "interactions.json").write_text(json.dumps({died: values, others[0]: none}))
    verdict = {"targets": {died: cases.verdict_of(LONG)["targets"]["mortality"]}, "not_tried": {}}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    (folder / "table.json").write_text(json.dumps({**cases.table_of(LONG), "metric": "balanced accuracy"}))
    return run


def _bare(folder):
    """Fit a model of two modalities without a target."""
    draw = np.random.default_rng(0)
    cells = {name: list(draw.normal(size=(60, 3)).astype(np.float32)) for name in ("left", "right")}
    schema = cl.Schema({name: cl.Vector(name) for name in cells})
    return cl.Embedder(schema, **TINY).fit(_stored(cells, folder))


def _few(folder):
    """Fit a model on too few rows for a probe."""
    draw = np.random.default_rng(0)
    cells = {name: list(draw.normal(size=(14, 3)).astype(np.float32)) for name in ("left", "right")}
    cells["y"] = ["a", "b"] * 7
    schema = cl.Schema({"left": cl.Vector("left"), "right": cl.Vector("right")}, targets={"y": "class"})
    return cl.Embedder(schema, **TINY).fit(_stored(cells, folder))


def _unscored(folder):
    """Fit a model with four unscorable targets: no test label, no training label, one class, no tag."""
    draw = np.random.default_rng(0)
    cells = {name: list(draw.normal(size=(60, 3)).astype(np.float32)) for name in ("left", "right")}
    at_test = np.arange(60) < 20
    cells["split"] = np.where(at_test, "test", "train")
    cells["unseen"] = [None if here else "ab"[row % 2] for row, here in enumerate(at_test)]
    cells["unlearned"] = [row / 7 if here else None for row, here in enumerate(at_test)]
    cells["same"] = ["<b>a</b>"] * 60
    cells["tags"] = [[] for _ in range(60)]
    targets = {"unseen": "class", "unlearned": "number", "same": "class", "tags": "multilabel"}
    schema = cl.Schema({"left": cl.Vector("left"), "right": cl.Vector("right")}, targets, split="split")
    return cl.Embedder(schema, **TINY).fit(_stored(cells, folder))


def _lone(folder):
    """Fit a model with a single test record, which has a class and a number."""
    draw = np.random.default_rng(0)
    cells = {name: list(draw.normal(size=(40, 3)).astype(np.float32)) for name in ("left", "right")}
    cells |= {"y": ["a", "b"] * 20, "size": np.arange(40) / 7, "split": ["test", *["train"] * 39]}
    targets = {"y": "class", "size": "number"}
    schema = cl.Schema({"left": cl.Vector("left"), "right": cl.Vector("right")}, targets, split="split")
    return cl.Embedder(schema, **TINY).fit(_stored(cells, folder))


STATES = {"crowded": _crowded, "bare": _bare, "few": _few, "unscored": _unscored, "lone": _lone}


def state_of(name, folder):
    """Return the report of a state; pairs of modalities are left out, because each adds a probe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "subsets_of", lambda names: [*((name,) for name in names), names])
        return cl.report(STATES[name](folder), out=folder / "report")


@pytest.fixture(scope="session", params=list(STATES))
def state_report(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return state_of(request.param, folder)
