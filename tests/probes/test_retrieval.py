"""Retrieval across modalities by a model that was trained on a table as settings are chosen from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import commlearn as cl
from commlearn.config.own_data import experiment_for
from commlearn.probes.retrieval import comparable, retrieval
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.training.loop import train


def data(rows: int = 40) -> Dataset:
    """Two modalities that say the same."""
    values = np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)
    records = Records({"left": VectorColumn(values), "right": VectorColumn(values)})
    return Dataset(records, records)


@pytest.mark.parametrize("method", ["comm", "infmasking"])
def test_a_run_on_a_table_retrieves_by_what_its_head_was_trained_on(method, tmp_path):
    schema = cl.Schema({name: cl.Vector(name) for name in ("left", "right")}).to_mapping()
    settings = {"name": "own", "data": {"name": "table", "table": "", "schema": schema}, "method": method}
    experiment, _ = experiment_for({**settings, "training": {"epochs": 2, "batch_size": 20}}, data())
    assert experiment.method["embedding"] == "fused+tokens"
    run = train(experiment, tmp_path / "run", data())
    result = retrieval(run, data().test, ["left"], ["right"])
    assert result.records == 40
    assert 0 < result.recall[10] <= 1
    view = data().test.view(slice(None))
    fused = run.method.embed(view, ["left"])[:, : experiment.model.width]
    with torch.no_grad():
        torch.testing.assert_close(comparable(run.method, view, ("left",)), run.method.head(fused))
