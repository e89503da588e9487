"""Training in several processes from the command line: which rank draws what, and that none waits forever."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from small_runs import data, experiment

import commlearn as cl
from commlearn.methods.comm import CoMM
from commlearn.models.build import build_encoders
from commlearn.trained.run_folder import RunFolder
from commlearn.training.batches import draw_batch
from commlearn.training.watch import Interrupt

TRAIN = ["-m", "commlearn", "train", "trifeature-quick", "--data.size", "24", "--data.train_pairs", "320"]
TRAIN += ["--augmentations.image.size", "24", "--training.batch_size", "15", "--training.threads", "1"]
TRAIN += [
    "--training.accelerator",
    "cpu",
    "--training.strategy",
    "ddp",
    "--training.log_every",
    "2",
    "--quiet",
]


def draws(rank: int, ranks: int, step: int) -> np.ndarray:
    """Return the records that a rank draws in a step, as their values."""
    records = data().train
    fabric = SimpleNamespace(global_rank=rank, world_size=ranks, device=torch.device("cpu"))
    method = CoMM.build(build_encoders(records.specs, 8, {}), 8)
    plan, size = draw_batch(records, experiment(), {}, method, step, 4, fabric)
    values = plan(slice(None)).augmented[0]["left"].values
    assert len(values) == size
    return values.numpy()


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("step", [0, 5])
def test_ranks_share_the_batch_and_no_record_is_drawn_twice(ranks, step):
    whole = draws(0, 1, step)
    shares = [draws(rank, ranks, step) for rank in range(ranks)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    together = np.concatenate(shares)
    assert len(np.unique(together, axis=0)) == len(whole)
    assert {tuple(row) for row in together} == {tuple(row) for row in whole}


def launch(tmp_path, *more: str) -> list[subprocess.Popen]:
    """Start two launchers of one process each, as on two nodes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    torchrun += ["--master-addr", "127.0.0.1", "--master-port", port]
    command = [*TRAIN, "--out", str(tmp_path / "run"), "--training.nodes", "2", *more]
    return [
        subprocess.Popen(
            [*torchrun, "--node-rank", rank, *command], env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        for rank in ("0", "1")
    ]


@pytest.mark.slow
def test_two_launchers_train_one_run_with_unequal_shares(tmp_path):
    launchers = launch(tmp_path, "--training.epochs", "1")
    assert [launcher.wait(600) for launcher in launchers] == [0, 0]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 320 // 15
    again = launch(tmp_path, "--training.epochs", "1")  # the folder holds a run, an error on both
    assert all(launcher.wait(600) != 0 for launcher in again)


@pytest.mark.slow
def test_two_processes_train_a_streamed_table_and_go_on_whole_or_parted(tmp_path):
    random = np.random.default_rng(0)
    table = pd.DataFrame({"v": list(random.normal(size=(400, 4)).astype("float32")), "n": np.arange(400.0)})
    table.to_parquet(tmp_path / "table.parquet", row_group_size=25, index=False)
    kinds = {"v": {"kind": "vector", "column": "v"}, "n": {"kind": "tabular", "columns": ["n"]}}
    data = {"name": "table", "table": str(tmp_path / "table.parquet"), "stream": 200}
    data["schema"] = {"modalities": kinds}
    training = {
        "epochs": 2,
        "batch_size": 32,
        "log_every": 5,
        "threads": 1,
        "accelerator": "cpu",
        "devices": 2,
    }
    training |= {"checkpoint_every": 13, "clip_norm": 1.0, "learning_rate": 1e-4}
    recipe = {"name": "streamed", "data": data, "model": {"width": 16}, "training": training}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    weights_by_strategy = {}
    for strategy in ("ddp", "fsdp"):
        command = torchrun(tmp_path, strategy)
        subprocess.run(command, check=True, timeout=600)
        folder = RunFolder(tmp_path / strategy)
        whole = weights_by_strategy[strategy] = folder.state()[0]
        os.replace(folder.checkpoints / "previous.ckpt", folder.checkpoints / "last.ckpt")
        assert folder.state()[0]["step"] == 13 < whole["step"]
        subprocess.run([*command, "--resume"], check=True, timeout=600)
        again = folder.state()[0]
        assert again["step"] == whole["step"]
        assert all(torch.equal(again["method"][key], whole["method"][key]) for key in whole["method"])
        assert cl.embed(cl.load(folder.path), table).shape[0] == 400
    for key, values in weights_by_strategy["ddp"]["method"].items():
        # Batch norm cancels the bias before it, whose gradient is only rounding, which AdamW turns into steps
        # as large as the learning rate. Other values follow, moments of single features most: by 3e-4 here.
        # If ranks did not share their moments, these would differ by a tenth.
        others = weights_by_strategy["fsdp"]["method"][key]
        if key.endswith(("running_mean", "running_var")):
            assert (others - values).abs().mean() < 0.01 * values.abs().mean()
        elif key != "fusion.norm.bias":
            torch.testing.assert_close(others, values, rtol=1e-2, atol=1e-3)


def torchrun(folder, strategy: str) -> list[str]:
    """Return the command that trains the folder's recipe in two processes."""
    started = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "commlearn", "train"]
    options = ["--out", str(folder / strategy), "--training.strategy", strategy, "--quiet"]
    return [sys.executable, "-m", *started, str(folder / "recipe.yaml"), *options]


def test_a_signal_that_arrives_while_ranks_talk_is_not_forgotten():
    def talk(asked, reduce_op):
        os.kill(os.getpid(), signal.SIGTERM)
        return asked  # no rank had been asked when the exchange began

    with Interrupt() as stop:
        assert not stop.should_stop(SimpleNamespace(world_size=2, all_reduce=talk), due=True)
        assert stop.should_stop(SimpleNamespace(world_size=2, all_reduce=lambda asked, **_: asked), due=True)
    assert stop.signalled
    assert stop.error().code == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_signal_to_one_launcher_ends_both_with_a_checkpoint(tmp_path):
    launchers = launch(tmp_path, "--training.epochs", "200")
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    launchers[1].send_signal(signal.SIGTERM)
    for launcher in launchers:
        launcher.wait(300)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert "interrupted after step" in (tmp_path / "run" / "log.txt").read_text()
