"""Several ranks compute what a single one does: loss and gradients of the whole batch, for every method."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from rank_program import CHOICES, build, cases, gradients

PROGRAM = Path(__file__).with_name("rank_program.py")


@pytest.fixture(
    scope="module",
    params=[(2, "ddp"), *(pytest.param(one, marks=pytest.mark.slow) for one in ((3, "ddp"), (2, "fsdp")))],
    ids=str,
)
def ranks(request, tmp_path_factory) -> list[dict]:
    """Return what every rank computed, in processes that communicate through gloo."""
    out, (count, strategy) = tmp_path_factory.mktemp("ranks"), request.param
    methods = [name for name in CHOICES if strategy == "ddp" or can_be_parted(name)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error::FutureWarning", str(PROGRAM), str(out), strategy, *methods],
            env={**os.environ, **address, "LOCAL_WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), errors
    assert set(methods) >= {"comm", "cmc", "factorcl", "supcon"}
    return [torch.load(out / f"{count}-{rank}.pt", weights_only=True) for rank in range(count)]


def can_be_parted(name: str) -> bool:
    """Whether fsdp can shard a method; it refuses parameters that are a single number."""
    return all(parameter.ndim for parameter in build(name).parameters())


@pytest.mark.parametrize("case", cases(CHOICES), ids=str)
def test_ranks_find_loss_and_gradients_of_one(case, ranks):
    name, gaps, _ = case
    if str(case) not in ranks[0] and not can_be_parted(name):
        pytest.skip(f"{name} learns a single number, which fsdp refuses")
    alone = gradients(Fabric(accelerator="cpu", devices=1), name, gaps, parts=0)
    assert alone
    assert name != "comm" or "head.1.running_var" in alone
    for of_rank in ranks:
        assert set(of_rank[str(case)]) == set(alone)
        for key, expected in alone.items():
            torch.testing.assert_close(of_rank[str(case)][key], expected, atol=1e-9, rtol=1e-7, msg=f"{key}")
