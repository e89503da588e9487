"""Data that carry little or no information: training continues and every number stays finite."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from commlearn.config.configuration import experiment_from
from commlearn.kinds.series import Series
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.text import Text
from commlearn.kinds.vector import Vector
from commlearn.tables.dataset import dataset_of
from commlearn.tables.schema import Schema
from commlearn.tables.table import read_table
from commlearn.trained.embed import embed
from commlearn.training.train import train

ROWS = 16
NOISE = np.random.default_rng(0)
SCHEMA = Schema(
    {"table": Tabular(["a", "b"]), "vector": Vector("v"), "series": Series("s"), "text": Text("t")},
    targets={"y": "class"},
)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "a": NOISE.random(ROWS),
            "b": NOISE.random(ROWS),
            "v": list(NOISE.random((ROWS, 3))),
            "s": [list(NOISE.random(2 + row % 4)) for row in range(ROWS)],
            "t": [f"word{row % 5} and {row % 3}" for row in range(ROWS)],
            "y": [f"c{row % 2}" for row in range(ROWS)],
        }
    )


def with_cells(**columns) -> pd.DataFrame:
    return frame().assign(**columns)


def same(cell) -> list:
    return [cell] * ROWS


CASES = {
    "a constant column": with_cells(a=1.0),
    "a table of constants": with_cells(a=1.0, b=2.0),
    "a modality of zero variance": with_cells(v=same([1.0, 2.0, 3.0])),
    "a vector of zeros": with_cells(v=same([0.0, 0.0, 0.0])),
    "constant series": with_cells(s=same([0.0, 0.0])),
    "one text for all": with_cells(t="the same"),
    "series without an observation": with_cells(
        s=[[np.nan, np.nan] if row % 2 else [1.0] for row in range(ROWS)]
    ),
    "series of one step": with_cells(s=[[float(row)] for row in range(ROWS)]),
    "duplicated rows": pd.concat([frame()[:2]] * (ROWS // 2), ignore_index=True),
    "one class": with_cells(y="only"),
    "columns that are mostly empty": with_cells(a=[1.0] + [np.nan] * (ROWS - 1)),
    "values far apart": with_cells(
        a=[1e-30, 1e30] * (ROWS // 2), v=[[1e-20, 1e20, row] for row in range(ROWS)]
    ),
}


def trained(data, folder, method="comm", **training):
    settings = {"epochs": 1, "batch_size": 8, "log_every": 1, "threads": 1, **training}
    experiment = experiment_from(
        {
            "name": "numbers",
            "data": {"name": "table", "table": "", "schema": SCHEMA.to_mapping()},
            "method": method,
            "model": {"width": 8},
            "training": settings,
        }
    )
    return train(experiment, folder, data)


@pytest.mark.parametrize("case", CASES)
def test_training_and_embeddings_stay_finite(case, tmp_path):
    table = read_table(CASES[case])
    data = dataset_of(table, SCHEMA, test=0.0)
    run = trained(data, tmp_path)
    assert run.step == 2
    assert np.isfinite(embed(run, data.train)).all()
    assert all(
        value.isfinite().all() for value in run.method.state_dict().values() if value.is_floating_point()
    )
    for entry in run.folder.metrics():
        assert all(np.isfinite(value) for _, value in _flat(entry) if isinstance(value, float))


@pytest.mark.parametrize("method", ["comm", "clip", "crossself", "simclr", "infmasking"])
def test_two_records_a_batch_are_enough(method, tmp_path):
    schema = SCHEMA.only(["table", "vector"])
    data = dataset_of(read_table(frame()), schema, test=0.75)
    run = trained(data, tmp_path, method, batch_size=2)
    assert np.isfinite(embed(run, data.test)).all()


def test_the_norm_of_the_gradient_is_logged_and_clipped_if_asked(tmp_path):
    data = dataset_of(read_table(frame()), SCHEMA, test=0.0)
    free = trained(data, tmp_path / "free").folder.metrics()
    clipped = trained(data, tmp_path / "clipped", clip_norm=1e-3)
    norms = [norm_of(entry) for entry in free]
    assert all(np.isfinite(norm) and norm > 1e-3 for norm in norms)
    assert norm_of(clipped.folder.metrics()[0]) == pytest.approx(norms[0], rel=1e-5)  # before it is clipped
    largest = max(float(p.grad.norm()) for p in clipped.method.parameters() if p.grad is not None)
    assert largest <= 1e-3 * (1 + 1e-4)


def norm_of(entry: dict) -> float:
    norms = [value for key, value in _flat(entry) if "norm" in key]
    assert norms, f"no norm among {entry}"
    return float(norms[0])


def _flat(entry: dict, before: str = ""):
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def test_bfloat16_stays_finite_where_float16_would_overflow(tmp_path):
    data = dataset_of(
        read_table(with_cells(v=[[1e5, -1e5, row * 1e4] for row in range(ROWS)])), SCHEMA, test=0.0
    )
    run = trained(data, tmp_path, precision="bf16-mixed")
    assert all(value.isfinite().all() for value in run.method.state_dict().values())
    assert torch.isfinite(torch.from_numpy(embed(run, data.train))).all()
