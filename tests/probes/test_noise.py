"""Readouts on pure noise: every door of the benchmark, once in each situation."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "noise.py"
spec = importlib.util.spec_from_file_location("noise_benchmark", PATH)
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_door_finds_anything_in_noise(tmp_path):
    """Of some 80 intervals and 24 reports, a handful may be off by chance."""
    rows = []
    for number, situation in enumerate(
        itertools.product(benchmark.GROUPS, benchmark.SPLITS, ("comm", "supcon"))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows += benchmark.doors(benchmark.noise(1, situation[0]), *situation, 1, folder)
    covers = [row["covers"] for row in rows if "covers" in row]
    bits = np.array([row["bits"] for row in rows if "bits" in row])
    assert len(covers) > 70
    assert len(bits) > 20
    assert np.mean(covers) > 0.85
    assert np.mean(bits <= 0.03) > 0.85
    assert bits.max() < 0.15  # rows seen with labels gave 1.00
    assert sum(row["present"] for row in rows if "present" in row) <= 4
    assert all("trained on with labels" in row["refused"] for row in rows if "refused" in row)
