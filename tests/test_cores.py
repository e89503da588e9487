"""The number of threads that torch gets on a machine with other work."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest
import torch

from commlearn import cores
from commlearn.comparison import workers
from commlearn.training.callbacks import Callbacks
from commlearn.training.watch import Watch


class Machine:
    """A machine with four cores, other work on some of them, and a clock that advances only in `turn`."""

    def __init__(self, busy: float, path) -> None:
        self.busy, self.path = busy, path
        self.now = self.own = self.worked = 0.0
        self.turn(0.0)

    def turn(self, seconds: float, own: float = 0.0) -> None:
        """Let time pass, during which this process works for `own` seconds."""
        self.now += seconds
        self.own += own
        self.worked += own + self.busy * seconds
        works = round(self.worked * os.sysconf("SC_CLK_TCK") / 4)
        ours = [f"cpu{n} {works} 0 0 {1000 - works} 0 0 0 0 0 0" for n in range(4)]
        lines = [f"cpu  {works * 9} 0 0 0 0 0 0 0 0 0", *ours, "cpu9 99999 0 0 0 0 0 0 0 0 0", "ctxt 7"]
        self.path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    faked = Machine(0.0, tmp_path / "stat")
    monkeypatch.setattr(cores, "STATISTICS", faked.path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    clock = types.SimpleNamespace(
        monotonic=lambda: faked.now, process_time=lambda: faked.own, sleep=lambda seconds: faked.turn(seconds)
    )
    monkeypatch.setattr(cores, "time", clock)
    monkeypatch.setattr(cores, "_chosen", set())
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that its original state is restored, even if not set
        monkeypatch.delenv(name)
    threads = torch.get_num_threads()
    yield faked
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("busy", "free"), [(0, 4), (0.3, 4), (1, 3), (2.6, 1), (4, 1)])
def test_cores_that_other_processes_keep_busy_are_not_free(busy, free, machine):
    machine.busy = busy
    assert cores.free_cores() == free


def test_what_this_process_does_itself_is_no_other_work(machine):
    machine.busy, other = 1.0, cores.OtherWork()
    machine.turn(1.0, own=3.0)
    assert other.free() == 3


def test_a_moment_too_short_to_see_anything_finds_all_cores_free(machine):
    machine.busy, other = 4.0, cores.OtherWork()
    machine.turn(0.05)
    assert other.free() == 4


def test_all_cores_are_free_where_no_file_says_what_they_do(machine, tmp_path, monkeypatch):
    machine.busy = 4.0
    monkeypatch.setattr(cores, "STATISTICS", tmp_path / "none")
    assert cores.free_cores() == 4
    (tmp_path / "none").write_text("cpu0 of another system\n")
    assert cores.free_cores() == 4


def test_threads_are_as_many_as_cores_are_free(machine, monkeypatch):
    machine.busy = 2.0
    torch.set_num_threads(4)
    assert "2 of 4 cores free, so torch uses 2 threads." in cores.use_free_cores()
    assert torch.get_num_threads() == 2
    machine.busy = 3.0
    assert "1 of 4 cores free, so torch uses 1 thread." in cores.use_free_cores()
    assert torch.get_num_threads() == 1
    machine.busy = 0.0
    assert cores.use_free_cores() == ""
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("policy", [None, "ACTIVE"])
def test_before_torch_is_imported_threads_are_made_to_sleep_while_they_wait(machine, policy, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    assert cores.use_free_cores() == ""  # nothing changes on an idle machine
    assert "OMP_NUM_THREADS" not in os.environ
    machine.busy = 2.0
    assert cores.use_free_cores()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert os.environ["OMP_WAIT_POLICY"] == (policy or "PASSIVE")
    assert cores.stated_threads() == 0  # set by commlearn, not by the user


def test_stated_threads_stay(machine, monkeypatch):
    machine.busy = 4.0
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    torch.set_num_threads(3)
    assert cores.use_free_cores() == ""
    assert torch.get_num_threads() == cores.stated_threads() == 3


@pytest.mark.parametrize(
    ("busy", "stated", "processes", "threads"),
    [
        (0, None, 1, 4),
        (0, None, 2, 2),
        (2, None, 1, 2),
        (3, None, 2, 1),
        (3, "2", 1, 2),
        (0, "8", 2, 2),
        (4, "3", 4, 1),
    ],
)
def test_processes_of_a_comparison_share_the_free_cores(
    busy, stated, processes, threads, machine, monkeypatch
):
    machine.busy = busy
    if stated:
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert workers._threads_for(processes) == threads


@pytest.mark.parametrize(("busy", "threads", "warns"), [(3.0, 2, True), (3.0, 1, False), (0.0, 4, False)])
def test_a_training_with_more_threads_than_free_cores_warns_once(busy, threads, warns, machine, recwarn):
    machine.busy = busy
    torch.set_num_threads(threads)
    logged = []
    folder = types.SimpleNamespace(log=logged.append, append=lambda *entry: None)
    training = types.SimpleNamespace(log_every=1, batch_size=8)
    watch = Watch(folder, training, Callbacks(()), False, None, cores.OtherWork())
    watch.writes = True
    for step in (1, 2):
        machine.turn(1.0, own=0.5)
        watch.step(step, 0.5, 0.1)
    assert len(recwarn) == len(logged) == warns
    if warns:
        assert (
            "leaves 1 of 4 cores free, and torch's 2 threads" in logged[0] == f"warning: {recwarn[0].message}"
        )


COMMAND = """
import os, sys
from commlearn import cores
cores.free_cores = lambda: 1
cores.cores = lambda: 4
import commlearn.cli.commands.embed as embed, commlearn.cli.commands.info as info
embed.run = info.run = lambda options: print(os.environ.get("OMP_NUM_THREADS"), "torch" in sys.modules)
from commlearn.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "stated", "threads"),
    [("embed a b -o c", None, "1"), ("embed a b -o c", "3", "3"), ("info", None, "None")],
)
def test_commands_that_need_torch_choose_their_threads_before_it_is_imported(arguments, stated, threads):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    environment |= {"OMP_NUM_THREADS": stated} if stated else {}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments.split()], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [threads, "False"], done.stderr
    assert ("1 of 4 cores free" in done.stderr) == (threads == "1")
