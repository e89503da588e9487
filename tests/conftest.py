"""Fixtures for all tests."""

from __future__ import annotations

import pytest
import sklearn.linear_model  # noqa: F401  (loads the libraries whose threads are limited below)
import torch
from threadpoolctl import threadpool_limits

torch.set_num_threads(1)  # small tensors: threads only wait for each other
THREADS = threadpool_limits(limits=1)  # so do those of matrix libraries, in probes above all


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
