"""Trainings of a second or less, shared by tests of the training loop and of the files it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from commlearn.config.configuration import experiment_from
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.seeds import numpy_generator
from commlearn.trained.run_folder import RunFolder


def data(rows: int = 32) -> Dataset:
    values = numpy_generator(0, "test").normal(size=(2, rows, 5)).astype("float32")
    columns = {"left": VectorColumn(values[0]), "right": VectorColumn(values[1])}
    records = Records(columns, {"half": np.arange(rows) % 2})
    return Dataset(records, replace(records))  # the same numbers, in a separate object


def experiment(method: str | dict = "comm", **training):
    settings = {"epochs": 3, "batch_size": 8, "log_every": 2, "checkpoint_every": 5, "schedule": "cosine"}
    return experiment_from(
        {
            "name": "small",
            "data": {"name": "trifeature"},
            "method": method,
            "model": {"width": 16},
            "training": {**settings, "warmup_epochs": 0.5, **training},
        }
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return RunFolder(folder).state()[0]["method"]


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
