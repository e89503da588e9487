"""Full, read-only and faulty disks: files are either complete or absent, and damage is detected."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from commlearn.datasets.converted import read_converted, write_converted
from commlearn.errors import CheckpointError, CommlearnError, DataError, RunError
from commlearn.storage.checkpoint import (
    MAGIC,
    last_checkpoint,
    read_checkpoint,
    write_atomically,
    write_checkpoint,
)
from commlearn.storage.locks import atomic_file
from commlearn.trained.run import open_folder
from commlearn.trained.run_folder import RunFolder
from commlearn.trained.stream import write

STATE = {"step": 2, "method": {"w": torch.arange(6000.0)}, "optimizers": {}}


@contextmanager
def disk_of(size: int):
    """Limit the size of this process's files to `size` bytes; longer writes fail, as on a full disk."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def checkpoints(tmp_path) -> Path:
    write_checkpoint(tmp_path, {**STATE, "step": 1})
    write_checkpoint(tmp_path, STATE)
    return tmp_path


def assert_previous_is_used(folder: Path) -> None:
    state, warnings = last_checkpoint(folder)
    assert state["step"] == 1
    assert "last.ckpt" in warnings[0]
    assert "was skipped" in warnings[0]


def test_a_checkpoint_cut_at_every_4_kib_is_seen(checkpoints):
    write_checkpoint(checkpoints, {**STATE, "step": 1})
    write_checkpoint(checkpoints, {**STATE, "method": {"w": torch.arange(300_000.0)}})
    whole = (checkpoints / "last.ckpt").read_bytes()
    ends = [*range(0, len(whole), 4096), len(whole) - 1]
    for end in ends:
        (checkpoints / "last.ckpt").write_bytes(whole[:end])
        assert_previous_is_used(checkpoints)
    print(f"{len(ends)} of {len(ends)} cuts detected, in a checkpoint of {len(whole)} bytes")


def test_one_flipped_bit_anywhere_in_a_checkpoint_is_seen(checkpoints):
    whole = (checkpoints / "last.ckpt").read_bytes()
    places = [*range(120), *range(120, len(whole), 13), len(whole) - 1]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        (checkpoints / "last.ckpt").write_bytes(flipped)
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(checkpoints / "last.ckpt")
    assert_previous_is_used(checkpoints)
    print(f"{len(places)} of {len(places)} flipped bits detected, in a checkpoint of {len(whole)} bytes")


def test_a_checkpoint_of_a_newer_format_is_refused_by_name_and_not_passed_over(checkpoints):
    last = checkpoints / "last.ckpt"
    last.write_bytes(last.read_bytes().replace(MAGIC, b"commlearn checkpoint 7\n", 1))
    with pytest.raises(
        RunError, match="has format 7, but this commlearn reads formats up to 1. Update commlearn"
    ):
        last_checkpoint(checkpoints)


def test_a_damaged_last_checkpoint_never_pushes_out_the_whole_one_before(tmp_path):
    """Otherwise a kill between the two renames of the next write would leave only the damaged one."""
    sys.path.insert(0, str(Path(__file__).parent))
    from hostile_models import folders

    run = RunFolder(folders()[0])
    experiment = run.experiment()
    write_checkpoint(run.checkpoints, run.state()[0])
    last = run.checkpoints / "last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[:-1])
    _, warnings = open_folder(run, experiment, resume=True, overwrite=False)
    run.unlock()
    assert warnings
    assert not last.exists()
    assert (run.checkpoints / "damaged.ckpt").read_bytes() == whole[:-1]
    last.write_bytes(whole)
    (run.checkpoints / "damaged.ckpt").unlink()


def test_a_full_disk_keeps_the_checkpoints_there_were(checkpoints):
    before = {path.name: path.read_bytes() for path in checkpoints.iterdir()}
    for size in (0, 10, 4096, 20_000):
        with (
            disk_of(size),
            pytest.raises(RunError, match=r"Cannot write .*last.ckpt: File too large. Free some"),
        ):
            write_checkpoint(checkpoints, {**STATE, "step": 3})
        assert {path.name: path.read_bytes() for path in checkpoints.iterdir()} == before


def test_a_full_disk_leaves_no_part_of_embeddings_or_converted_data(tmp_path):
    parts = [({"id": np.arange(2000)}, np.random.default_rng(0).random((2000, 8), dtype=np.float32))] * 3
    for name in ("z.parquet", "z.csv", "z.npz"):
        with disk_of(8192), pytest.raises(DataError, match=r"Cannot write .*z\.(parquet|csv|npz).*Free some"):
            write(tmp_path / name, iter(parts), lambda dim: [f"comm{place}" for place in range(dim)])
        assert list(tmp_path.iterdir()) == []
    with disk_of(4096), pytest.raises(DataError, match=r"Cannot write .*out.*Free some"):
        write_converted({"train": {"x": np.ones((900, 9)), "id": ["a"]}}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_log_and_metrics_of_a_run_on_a_full_disk_are_a_sentence(tmp_path):
    folder = RunFolder(tmp_path)
    folder.writes("metrics.jsonl", "log.txt")
    with (
        disk_of(0),
        pytest.raises(RunError, match=r"Cannot write to .*metrics.jsonl: File too large.*resume=True"),
    ):
        folder.append("metrics.jsonl", {"step": 1})
    with disk_of(0), pytest.raises(RunError, match=r"Cannot write to .*log.txt"):
        folder.log("started")


def test_dev_full_is_a_full_disk(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left on device"):
        RunFolder(tmp_path).append("metrics.jsonl", {"step": 1})


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write anywhere, whatever a folder's mode: run as another to test it")
    for work in (lambda: RunFolder(locked / "run").lock(), lambda: write_atomically(locked / "x", b"x")):
        with pytest.raises(RunError, match="locked.*Permission denied"):
            work()


def test_what_a_killed_process_left_of_a_file_goes_when_the_file_is_written_again(tmp_path):
    """In any folder: no run clears up after an artifact, a report or a file of embeddings."""
    abandoned = tmp_path / ".x.json.1.part"
    foreign = [tmp_path / name for name in (".x.json.part", ".film.x.json.1.part", ".x.json.1.part.mkv")]
    with atomic_file(tmp_path / "x.json") as alive:
        for path in (abandoned, *foreign):
            path.write_text("half")
        write_atomically(tmp_path / "x.json", b"whole")
        assert sorted(tmp_path.iterdir()) == sorted([Path(alive.name), tmp_path / "x.json", *foreign])


OUT_OF_MEMORY = """\
import resource, sys, torch
from pathlib import Path
from commlearn.errors import RunError
from commlearn.storage.checkpoint import last_checkpoint, write_checkpoint

folder, state = Path(sys.argv[1]), {"step": 2, "method": {"w": torch.zeros(20_000_000)}}
write_checkpoint(folder, {"step": 1})
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (40 << 20), -1))
try:
    write_checkpoint(folder, state)
except RunError as problem:
    print(problem)
print(last_checkpoint(folder)[0]["step"], sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="how much is held is read from /proc")
def test_memory_that_ends_in_a_checkpoint_is_a_sentence(tmp_path):
    words = [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)
    sentence, rest = ended.stdout.splitlines()
    assert sentence.startswith(f"Cannot write {tmp_path / 'last.ckpt'}: there is not enough memory.")
    assert rest == "1 ['last.ckpt']"


def test_a_small_disk_that_fills_up(tmp_path):
    """A real disk of 64 KiB, if mounting is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(options, capture_output=True, timeout=20).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no file system may be mounted here")
    try:
        write_checkpoint(disk, {"step": 1})
        with pytest.raises(RunError, match="No space left on device"):
            write_checkpoint(disk, {**STATE, "more": torch.zeros(30_000)})
        assert [path.name for path in disk.iterdir()] == ["last.ckpt"]
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=20)
        with pytest.raises(RunError, match="Read-only file system"):
            write_checkpoint(disk, {"step": 2})
        assert last_checkpoint(disk)[0]["step"] == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=20)


def test_converted_data_appear_whole(tmp_path, monkeypatch):
    """If stopped after its first file, `convert` leaves no folder that looks complete."""
    import pandas as pd

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", stopped)
    content = {"train": {"x": np.ones(3), "id": ["a"]}}
    with pytest.raises(KeyboardInterrupt):
        write_converted(content, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    (tmp_path / ".out.part").mkdir()  # as a kill would leave it
    (tmp_path / ".out.part" / "old.parquet").write_bytes(b"")
    write_converted(content, tmp_path / "out")
    assert read_converted(tmp_path / "out")["train"]["id"].tolist() == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(CommlearnError):
        read_converted(tmp_path / "nothing")


@pytest.mark.parametrize("others", [[], ["notes.txt"]])
def test_data_are_converted_into_the_folder_that_one_is_in(tmp_path, monkeypatch, others):
    for name in others:
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    written = write_converted({"train": {"x": np.ones(3), "id": ["a"]}}, ".")
    assert all(path.is_file() for path in written)
    assert read_converted(".")["train"]["id"].tolist() == ["a"]
