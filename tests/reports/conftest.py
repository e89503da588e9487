"""One small training on a table whose names and cells try to break out of the page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import commlearn as cl

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
    from commlearn.config.configuration import experiment_from

    return cl.train(experiment_from(mapping), folder / "run")


@pytest.fixture(scope="session")
def trained_report(trained_run):
    return cl.report(trained_run)
