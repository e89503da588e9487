"""Fixtures for all tests."""

from __future__ import annotations

import contextlib
import io
import multiprocessing.util
import os
import tempfile

import pytest
import sklearn.linear_model  # noqa: F401  (loads the libraries whose threads are limited below)
import torch
from threadpoolctl import threadpool_limits

os.environ["COMMLEARN_NETWORKS"] = "0"  # same results whatever is installed; tests of networks set it
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that tests start, whatever else runs
torch.set_num_threads(1)  # with small tensors, threads only wait for each other
THREADS = threadpool_limits(limits=1)  # the same in matrix libraries, above all in probes


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory):
    """Remove what tests, and processes that they start, write outside their own folders."""
    multiprocessing.util.get_temp_dir()  # outside that folder, because it is removed later, at exit
    tmp_path_factory.getbasetemp()  # outside that folder, because pytest keeps the folders of failed tests
    with tempfile.TemporaryDirectory(prefix="commlearn-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def messy_table(tmp_path_factory):
    """Path of a realistic CSV file of 400 furniture listings; copy its folder before changing it."""
    from messy_table import write_messy_table

    return write_messy_table(tmp_path_factory.mktemp("furniture"))


@pytest.fixture
def jobs_in_this_process(monkeypatch):
    """Run the trainings of a comparison here, without the seconds that a new interpreter takes."""
    from commlearn.comparison import job, workers

    class Ended:
        stdin = None

        def __init__(self, command, output, threads):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                self.returncode = job.main(command[-1:])
            output.write(printed.getvalue().encode())

        def poll(self):
            return self.returncode

    monkeypatch.setattr(workers, "start_process", Ended)
