"""Killed at any moment, a run goes on to the very same end: real processes, killed for real.

The short form runs with the other tests. The long form: COMMLEARN_KILLS=50 (what `make chaos` sets).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from commlearn.data.synthetic_tables import SyntheticTable
from commlearn.training.artifact import load
from commlearn.training.run_folder import RunFolder

KILLS = int(os.environ.get("COMMLEARN_KILLS", "3"))
LONGEST = 600  # seconds that one life may take before the test gives up
SCHEMA = """\
version: 1
table: table.csv
modalities:
  {}
targets: {{shared: class}}
id: id
split: split
"""
THREE = "text: {kind: text, column: text}\n  table: {kind: tabular, columns: [height, rate, site]}\n  "
SERIES, VECTOR = "series: {kind: series, column: series}", "vector: {kind: vector, column: vector}"
SMALL = ["--training.batch_size", "16", "--training.epochs", "4", "--model.width", "16", "--quiet"]
OFTEN = ["--training.checkpoint_every", "1", "--training.log_every", "1", "--training.threads", "1"]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "commlearn", *map(str, words)]


def finish(*words: object) -> None:
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    SyntheticTable(rows=120, size=16).write(folder)
    (folder / "three.yaml").write_text(SCHEMA.format(THREE + VECTOR))
    (folder / "two.yaml").write_text(SCHEMA.format(f"{SERIES}\n  {VECTOR}"))
    return folder


def train(folder: Path, schema: str, method: str, out: Path) -> list[str]:
    return command("train", folder / schema, "--method", method, "--out", out, "--resume", *SMALL, *OFTEN)


def kill_once(words: list[str], chance: random.Random, run: Path) -> bool:
    """Start, kill at a random moment after the first step; False if it ended before it could be killed.

    Every other time the moment is one in which a checkpoint is being written.
    """
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before = steps(run)
    deadline = time.monotonic() + LONGEST
    while process.poll() is None and steps(run) <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    if chance.random() < 0.5:
        while process.poll() is None and not list((run / "checkpoints").glob(".*.part")):
            pass
    else:
        time.sleep(chance.random() * 0.3)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait(LONGEST)
    return not ended


def steps(run: Path) -> int:
    try:
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize(("schema", "method"), [("three.yaml", "comm"), ("two.yaml", "factorcl")])
def test_a_killed_training_ends_as_one_that_was_never_killed(folder, tmp_path, schema, method):
    finish(*train(folder, schema, method, tmp_path / "whole")[3:])
    chance, killed, lives = random.Random(0), 0, 0
    while killed < KILLS:
        run, alive = tmp_path / f"life{lives}", True
        while alive and killed < KILLS:
            alive = kill_once(train(folder, schema, method, run), chance, run)
            killed += alive
        finish(*train(folder, schema, method, run)[3:])
        assert_same(run, tmp_path / "whole", folder / "table.csv")
        assert not list(run.rglob("*.part"))
        lives += 1


def assert_same(one: Path, other: Path, table: Path) -> None:
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    first, second = (RunFolder(run).state()[0]["method"] for run in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    embeddings = [load(run) for run in (one, other)]
    rows = [model.method.embed(model.records(table).view(slice(0, 40))) for model in embeddings]
    assert torch.equal(*rows)


@pytest.fixture(scope="module")
def run(folder) -> Path:
    finish(*train(folder, "two.yaml", "comm", folder / "run")[3:])
    return folder / "run"


def test_killed_embeddings_are_whole_or_absent(folder, run, tmp_path):
    table = pd.concat([pd.read_csv(folder / "table.csv")] * 100, ignore_index=True)
    table["id"] = np.arange(len(table))
    table["series"] = [str(folder / path) if str(path).endswith(".npy") else path for path in table["series"]]
    table.to_parquet(folder / "many.parquet")
    out = tmp_path / "z.parquet"
    words = command("embed", run, folder / "many.parquet", "-o", out)
    chance = random.Random(1)
    for _ in range(KILLS):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + LONGEST
        while process.poll() is None and not list(tmp_path.glob(".*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        process.wait(LONGEST)
        if out.exists():
            assert_whole(out, len(table))
            out.unlink()
    finish(*words[3:])
    assert_whole(out, len(table))


def assert_whole(out: Path, rows: int) -> None:
    ids = pd.read_parquet(out)["id"]
    assert len(ids) == rows
    assert ids.is_unique


def test_a_killed_comparison_is_finished_by_the_same_command(tmp_path):
    words = command("compare", "trifeature-quick", "--methods", "clip,comm", "--seeds", "1")
    words += ["--out", str(tmp_path / "out"), "--data.size", "32", "--data.train_pairs", "160"]
    words += ["--training.epochs", "1", "--model.width", "16", "--jobs", "1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + LONGEST
    while not list((tmp_path / "out").rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(LONGEST)
    done = list((tmp_path / "out").rglob("probes.json"))
    moments = {path: path.stat().st_mtime_ns for path in done}
    time.sleep(1)  # a training whose parent was killed ends by itself or holds its lock
    finish(*words[3:])
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert set(table["methods"]) == {"clip", "comm"}
    assert all(path.stat().st_mtime_ns == moment for path, moment in moments.items())  # not done again
