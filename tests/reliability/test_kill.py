"""A run that is killed at any moment and resumed ends exactly as one that was never killed.

Real processes are killed. The short form runs with the other tests; the long form sets COMMLEARN_KILLS=50,
as `make chaos` does. Processes that are killed repeatedly are forked from one that has imported the library
and done nothing else: each then takes a second instead of the many seconds that imports take.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from commlearn.cli import main
from commlearn.datasets.converted import read_converted
from commlearn.datasets.synthetic_tables import SyntheticTable
from commlearn.storage.locks import hold
from commlearn.tables.table import read_table
from commlearn.trained.artifact import load
from commlearn.trained.run_folder import RunFolder
from commlearn.training.kept_tokens import TokenShard, open_shard, write_shard

KILLS = int(os.environ.get("COMMLEARN_KILLS", "2"))
LIVES = multiprocessing.get_context("forkserver")
LIVES.set_forkserver_preload([__name__, "commlearn.trained.stream", "commlearn.tables.dataset"])
LONGEST = 600  # seconds that one process may take before the test gives up
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
TWO = """\
table: table.csv
modalities: {a: {kind: tabular, columns: [a0, a1]}, b: {kind: tabular, columns: [b0, b1]}}
targets: {y: class}
split: split
"""
SERIES, VECTOR = "series: {kind: series, column: series}", "vector: {kind: vector, column: vector}"
SMALL = ["--training.batch_size", "16", "--training.epochs", "4", "--model.width", "16", "--quiet"]
OFTEN = ["--training.checkpoint_every", "1", "--training.log_every", "1", "--training.threads", "1"]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "commlearn", *map(str, words)]


def born(work: Callable[..., None], *values: object) -> BaseProcess:
    """Start a process that does this work and can be killed."""
    life = LIVES.Process(target=work, args=values)
    life.start()
    return life


def live(words: list[str]) -> None:
    """Do what `python -m commlearn` does with these words, without output."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.exit(main(words))


def killed(life: BaseProcess) -> bool:
    """Kill a process; return False if it had already ended."""
    ended = not life.is_alive()
    life.kill()
    life.join(LONGEST)
    return not ended


def finish(*words: object) -> None:
    """Run a command undisturbed to its end."""
    life = born(live, [str(word) for word in words])
    life.join(LONGEST)
    assert life.exitcode == 0, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    SyntheticTable(rows=120, size=16).write(folder)
    (folder / "three.yaml").write_text(SCHEMA.format(THREE + VECTOR))
    (folder / "two.yaml").write_text(SCHEMA.format(f"{SERIES}\n  {VECTOR}"))
    return folder


def train(folder: Path, schema: str, method: str, out: Path) -> list[str]:
    return command("train", folder / schema, "--method", method, "--out", out, "--resume", *SMALL, *OFTEN)


def kill_once(words: list[str], chance: random.Random, run: Path) -> tuple[bool, bool]:
    """Start a command, and kill it at a random moment after its first step.

    About half of the time, this is a moment in which a checkpoint is being written.

    Returns:
        Whether it was still alive when it was killed, and whether it left a partial checkpoint.
    """
    before = steps(run)
    life = born(live, words)
    wait_for(lambda: steps(run) > before or not life.is_alive())
    if chance.random() < 0.5:
        wait_for(lambda: parts_of_checkpoints(run) or not life.is_alive(), pause=0.0)
    else:
        time.sleep(chance.random() * 0.3)
    return killed(life), bool(parts_of_checkpoints(run))


def parts_of_checkpoints(run: Path) -> list[Path]:
    return list((run / "checkpoints").glob(".*.part"))


def steps(run: Path) -> int:
    try:
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def whole(folder) -> Callable[[str, str], Path]:
    """Return a function that gives the folder of an undisturbed run; each is trained once."""

    @cache
    def trained(schema: str, method: str) -> Path:
        out = folder / f"whole-{schema}-{method}"
        finish(*train(folder, schema, method, out)[3:])
        return out

    return trained


@pytest.mark.parametrize(
    ("schema", "method"),
    [("three.yaml", "comm"), pytest.param("two.yaml", "factorcl", marks=pytest.mark.slow)],
)
def test_a_killed_training_ends_as_one_that_was_never_killed(folder, whole, tmp_path, schema, method):
    chance, kills, writing, runs = random.Random(0), 0, 0, 0
    while kills < KILLS:
        run, alive = tmp_path / f"run{runs}", True
        words = train(folder, schema, method, run)[3:]
        while alive and kills < KILLS:
            alive, wrote = kill_once(words, chance, run)
            kills, writing = kills + alive, writing + wrote
        finish(*words)
        assert_same(run, whole(schema, method), folder / "table.csv")
        assert not list(run.rglob("*.part"))
        shutil.rmtree(run)
        runs += 1
    print(f"{method}: {kills} kills, {writing} while a checkpoint was written, {runs} runs, all equal")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_between_two_players_leaves_a_checkpoint(folder, whole, tmp_path, number, code):
    """FactorCL takes steps with two optimizers in turn; the checkpoint holds both steps or neither."""
    run = tmp_path / "run"
    process = subprocess.Popen(train(folder, "two.yaml", "factorcl", run), stderr=subprocess.DEVNULL)
    wait_for(lambda: steps(run) or process.poll() is not None)
    process.send_signal(number)
    assert process.wait(LONGEST) == code
    state = RunFolder(run).state()[0]
    assert state["step"] == RunFolder(run).metrics()[-1]["step"] < state["total"]
    finish(*train(folder, "two.yaml", "factorcl", run)[3:])
    assert_same(run, whole("two.yaml", "factorcl"), folder / "table.csv")


def test_a_second_run_in_one_folder_is_refused_until_the_first_is_dead(folder, tmp_path):
    run = tmp_path / "run"
    words = train(folder, "two.yaml", "comm", run)
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: steps(run) or first.poll() is not None)
        first.send_signal(signal.SIGSTOP)  # it stays alive and cannot end in the meantime
        second = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST)
        assert second.returncode == 2
        assert "Another process is training in" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        first.kill()
        first.wait(LONGEST)
    finish(*words[3:])


def wait_for(happened: Callable[[], object], pause: float = 0.01) -> None:
    deadline = time.monotonic() + LONGEST
    while not happened() and time.monotonic() < deadline:
        time.sleep(pause)


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
def run(whole) -> Path:
    return whole("two.yaml", "comm")


def test_killed_embeddings_are_whole_or_absent(folder, run, tmp_path):
    table = pd.concat([pd.read_csv(folder / "table.csv")] * 100, ignore_index=True)
    table["id"] = np.arange(len(table))
    table["series"] = [str(folder / path) if str(path).endswith(".npy") else path for path in table["series"]]
    table.to_parquet(folder / "many.parquet")
    out = tmp_path / "z.parquet"
    words = ["embed", str(run), str(folder / "many.parquet"), "-o", str(out)]
    chance = random.Random(1)
    for _ in range(KILLS):
        life = born(live, words)
        wait_for(lambda one=life: list(tmp_path.glob(".*")) or not one.is_alive())
        time.sleep(chance.random() * 0.5)
        killed(life)
        if out.exists():
            assert_whole(out, len(table))
            out.unlink()
        for part in tmp_path.glob(".*"):
            part.unlink()
    finish(*words)
    assert_whole(out, len(table))


@pytest.mark.slow
def test_a_killed_folder_of_embeddings_goes_on_and_leaves_no_part(folder, run, tmp_path):
    table = pd.read_csv(folder / "table.csv")[["vector"]]
    table = pd.concat([table[table["vector"].notna()]] * 1600, ignore_index=True)
    table["id"] = np.arange(len(table))
    table.to_parquet(folder / "long.parquet", row_group_size=10_000)
    out = tmp_path / "z"
    words = ["embed", str(run), str(folder / "long.parquet"), "--modalities", "vector", "-o", str(out)]
    finish(*words)
    expected = embeddings_of(out)
    chance = random.Random(1)
    for _ in range(KILLS):
        life = born(live, words)
        wait_for(lambda one=life: list(out.glob(".*")) or not one.is_alive())
        time.sleep(chance.random() * 2)
        killed(life)
        if chance.random() < 0.5:  # start over; otherwise the folder is continued
            shutil.rmtree(out, ignore_errors=True)
    finish(*words)
    assert np.array_equal(embeddings_of(out), expected)
    assert not list(out.glob(".*"))
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".parquet") == sorted(
        json.loads((out / "files.json").read_text())["sha256"]
    )


def embeddings_of(out: Path) -> np.ndarray:
    """Read embeddings with the library, which verifies checksums."""
    frame = read_table(out).frame
    assert frame["id"].tolist() == list(range(len(frame)))
    return np.stack(frame["embedding"].tolist())


def assert_whole(out: Path, rows: int) -> None:
    ids = pd.read_parquet(out)["id"]
    assert len(ids) == rows
    assert ids.is_unique


def test_killed_conversions_are_whole_or_absent(tmp_path):
    numbers = np.random.default_rng(0).random((300_000, 20))
    content = {
        part: {"x": numbers, "id": [f"r{row}" for row in range(200_000)]} for part in ("train", "test")
    }
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(content))
    out, chance = tmp_path / "out", random.Random(2)
    words = ["convert", str(tmp_path / "data.pkl"), "--out", str(out)]
    for _ in range(KILLS):
        life = born(live, words)
        wait_for(lambda one=life: (tmp_path / ".out.part").exists() or not one.is_alive())
        time.sleep(chance.random() * 0.5)
        killed(life)
        if out.exists():
            assert sorted(path.name for path in out.iterdir()) == [
                "arrays.safetensors",
                "test.parquet",
                "train.parquet",
            ]
            shutil.rmtree(out)
    finish(*words)
    read = read_converted(out)
    assert np.array_equal(read["test"]["x"], numbers)
    assert len(read["train"]["id"]) == 200_000


def write_shards(folder: str) -> None:
    shard = TokenShard(np.ones((64, 1, 32, 256), np.float32), None, np.ones(64, bool))
    for number in range(10_000):
        write_shard(Path(folder) / f"{number % 7}.tokens", shard)


def test_token_states_are_whole_under_their_name_whenever_their_writer_dies(tmp_path):
    chance, seen = random.Random(3), 0
    for _ in range(KILLS):
        life = born(write_shards, str(tmp_path))
        wait_for(lambda one=life: list(tmp_path.glob("*.tokens")) or not one.is_alive())
        time.sleep(chance.random() * 0.2)
        killed(life)
        for path in tmp_path.glob("*.tokens"):
            assert len(open_shard(path)) == 64
            seen += 1
            path.unlink()
    assert seen


def comparing(out: Path, *more: str) -> tuple[list[str], subprocess.Popen[bytes]]:
    """Return the command and the process of a small comparison that has written a checkpoint."""
    words = command("compare", "trifeature-quick", "--methods", "clip,comm", "--seeds", "1")
    words += ["--out", str(out), "--data.size", "32", "--data.train_pairs", "160"]
    words += ["--training.epochs", "1", "--model.width", "16", "--jobs", "1", *more]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + LONGEST
    while not list(out.rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    return words, process


def test_sigterm_ends_the_trainings_of_a_comparison_too(tmp_path):
    _, process = comparing(tmp_path / "out", "--training.epochs", "1000", "--training.checkpoint_every", "1")
    process.terminate()
    assert process.wait(LONGEST) == 143
    (trained,) = (tmp_path / "out").rglob("last.ckpt")
    hold(trained.parents[1], "training").close()  # fails if a process still trains there


def workers_of(out: Path) -> list[int]:
    """Return the ids of a comparison's workers: processes whose command line names its folder."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:  # the process has ended
            continue
        if str(out).encode() in words and b"comparison.job" in words:
            processes.append(int(process.name))
    return processes


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc")
def test_a_comparison_that_is_killed_leaves_no_process_behind(tmp_path):
    _, process = comparing(tmp_path / "out", "--training.epochs", "1000", "--training.checkpoint_every", "1")
    assert workers_of(tmp_path / "out")
    process.kill()
    process.wait(LONGEST)
    deadline = time.monotonic() + 60
    while workers_of(tmp_path / "out") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not workers_of(tmp_path / "out")


@pytest.mark.slow
def test_a_killed_comparison_is_finished_by_the_same_command(tmp_path):
    words, process = comparing(tmp_path / "out")
    process.kill()
    process.wait(LONGEST)
    done = list((tmp_path / "out").rglob("probes.json"))
    moments = {path: path.stat().st_mtime_ns for path in done}
    finish(*words[3:])
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert set(table["methods"]) == {"clip", "comm"}
    assert all(path.stat().st_mtime_ns == moment for path, moment in moments.items())  # not repeated


@pytest.mark.slow
def test_a_comparison_killed_while_it_reads_gives_the_same_verdict(tmp_path):
    rows = np.random.default_rng(0).normal(size=(400, 4)).round(3)
    table = pd.DataFrame(rows, columns=["a0", "a1", "b0", "b1"])
    table["y"] = np.where(rows[:, 0] > 0, "yes", "no")
    table["split"] = np.where(np.arange(400) < 240, "train", "test")
    table.to_csv(tmp_path / "table.csv", index=False)
    schema = tmp_path / "schema.yaml"
    schema.write_text(TWO)

    def words(out: str) -> list[str]:
        chosen = ["--methods", "comm", "--seeds", "1", "--rivals", "single,features", "--labels", "20,all"]
        settings = ["--training.epochs", "1", "--model.width", "16", "--jobs", "1"]
        return command("compare", schema, *chosen, *settings, "--out", tmp_path / out)

    subprocess.run(words("whole"), check=True, capture_output=True, timeout=LONGEST)
    process = subprocess.Popen(words("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: results_of(tmp_path / "killed") or process.poll() is not None)
    process.kill()
    process.wait(LONGEST)
    before = {path: path.stat().st_mtime_ns for path in results_of(tmp_path / "killed")}
    assert 0 < len(before) < len(results_of(tmp_path / "whole"))
    subprocess.run(words("killed"), check=True, capture_output=True, timeout=LONGEST)
    assert all(path.stat().st_mtime_ns == moment for path, moment in before.items())  # not repeated
    one, other = (scores_of(tmp_path / name / "verdict.json") for name in ("whole", "killed"))
    assert one == other


def results_of(out: Path) -> list[Path]:
    """Return the result files of readouts, without the vectors that they read."""
    return [path for path in out.glob("readouts/*/*.npz") if path.parent.name != "vectors"]


def scores_of(path: Path) -> dict[str, object]:
    """Return the content of a verdict, without the time and memory that it took."""
    target = json.loads(path.read_text())["targets"]["y"]
    taken = ("seconds", "megabytes")
    budgets = {
        budget: {
            name: {key: value for key, value in reader.items() if key not in taken}
            for name, reader in values["readers"].items()
        }
        for budget, values in target["budgets"].items()
    }
    return {"words": target["words"], "budgets": budgets, "modalities": target["modalities"]}
