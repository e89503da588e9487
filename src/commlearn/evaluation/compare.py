"""Comparison: the same data, encoders and budget for several methods and seeds, in one table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.errors import ConfigurationError, RunError, unknown
from commlearn.methods import METHODS
from commlearn.training.checkpoint import write_atomically
from commlearn.training.configuration import Experiment, read_experiment

__all__ = ["Job", "compare", "plan", "table_from"]

SECONDS_BETWEEN = 30.0  # two lines about a training that runs


@dataclass(frozen=True)
class Job:
    """One training of the comparison."""

    method: str
    seed: int
    variant: str
    targets: tuple[str, ...]  # what is probed on it
    folder: Path

    def __str__(self) -> str:
        return " ".join(part for part in (self.method, f"seed {self.seed}", self.variant) if part)

    def probes(self) -> dict[str, Any] | None:
        """What was measured, if all of it was."""
        path = self.folder / "probes.json"
        if not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if set(self.targets) <= set(found) else None


def compare(
    recipe: str | Path,
    methods: Sequence[str],
    seeds: int | Sequence[int],
    out: str | Path,
    overrides: Mapping[str, Any] | None = None,
    jobs: int = 0,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train what is missing, skip what is done, and write one table and one chart.

    Args:
        recipe: name of a recipe, or path of a YAML file.
        methods: names of methods.
        seeds: how many (0, 1, ...), or which.
        out: folder of the comparison; running again in it goes on where it stopped.
        overrides: dotted key to value, for every method.
        jobs: trainings at a time; 0 = one for each CPU core, or one if there is a GPU.
        tell: receives a line for each training that starts and ends.

    Returns:
        The table, as it is written to `table.json`.
    """
    experiment = read_experiment(recipe, overrides)
    planned = plan(experiment, methods, seeds, Path(out))
    _remember(Path(out), recipe, overrides or {})
    missing = [job for job in planned if job.probes() is None]
    for job in planned:
        if job not in missing:
            tell(f"done before: {job}")
    errors = _work(recipe, missing, overrides or {}, jobs or _default_jobs(), tell)
    as_asked = sorted(planned, key=lambda job: list(methods).index(job.method))
    table = table_from(experiment, as_asked, errors)
    write_atomically(Path(out) / "table.json", (json.dumps(table, indent=2) + "\n").encode())
    return table


def plan(experiment: Experiment, methods: Sequence[str], seeds: int | Sequence[int], out: Path) -> list[Job]:
    """Every training that the recipe's scores need, the costly methods first."""
    for method in methods:
        if method not in METHODS:
            raise ConfigurationError(unknown("method", method, METHODS))
    if not experiment.scores:
        raise ConfigurationError(f"Recipe {experiment.name} names no scores, so there is nothing to compare.")
    numbers = range(seeds) if isinstance(seeds, int) else seeds
    variants: dict[str, list[str]] = {}
    for score in experiment.scores.values():
        variants.setdefault(score.variant, []).extend(score.targets)
    jobs = [
        Job(method, seed, variant, tuple(targets), out / method / f"seed{seed}" / (variant or "run"))
        for seed in numbers
        for method in dict.fromkeys(methods)
        for variant, targets in variants.items()
    ]
    return sorted(jobs, key=lambda job: (job.seed, -METHODS[job.method].views.augmented))


def table_from(experiment: Experiment, jobs: Sequence[Job], errors: Mapping[Job, str]) -> dict[str, Any]:
    """Scores in percent, by method: mean and standard deviation over seeds."""
    rows: dict[str, Any] = {}
    for method in dict.fromkeys(job.method for job in jobs):
        own = [job for job in jobs if job.method == method]
        scores = {}
        for name, score in experiment.scores.items():
            values = {
                job.seed: 100
                * float(np.mean([found[target]["balanced_accuracy"] for target in score.targets]))
                for job in own
                if job.variant == score.variant and (found := job.probes()) is not None
            }
            scores[name] = {
                "mean": float(np.mean(list(values.values()))) if values else None,
                "std": float(np.std(list(values.values()), ddof=1)) if len(values) > 1 else None,
                "values": {str(seed): value for seed, value in values.items()},
            }
        rows[method] = {
            "scores": scores,
            "published": dict(experiment.published.get(method, {})),
            "probes": {f"seed{job.seed}/{job.variant}": job.probes() for job in own},
            "errors": {str(job): errors[job] for job in own if job in errors},
        }
    return {
        "recipe": experiment.name,
        "metric": "balanced accuracy of a linear probe, percent",
        "scores": {name: list(score.targets) for name, score in experiment.scores.items()},
        "methods": rows,
    }


def _work(
    recipe: str | Path,
    jobs: Sequence[Job],
    overrides: Mapping[str, Any],
    at_a_time: int,
    tell: Callable[[str], None],
) -> dict[Job, str]:
    """Run each job in a process of its own; one that fails does not take the others down."""
    threads = max(1, (os.cpu_count() or 1) // min(at_a_time, max(len(jobs), 1)))
    waiting, errors = list(jobs), {}
    running: dict[Job, subprocess.Popen[bytes]] = {}
    started: dict[Job, float] = {}
    told = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                job = waiting.pop(0)
                running[job] = _start(recipe, job, overrides, threads)
                started[job] = time.monotonic()
                tell(f"started: {job}")
            time.sleep(0.2)
            if time.monotonic() - told > SECONDS_BETWEEN:
                told = time.monotonic()
                for job in running:
                    tell(f"  {job}: {_last_words(job) or 'starting'}")
            for job in [job for job, process in running.items() if process.poll() is not None]:
                process = running.pop(job)
                minutes = (time.monotonic() - started[job]) / 60
                if process.returncode == 0:
                    tell(f"done: {job}, {minutes:.1f} min")
                else:
                    errors[job] = _last_words(job) or "it ended without a word"
                    tell(f"failed: {job}: {errors[job]}")
    finally:  # nothing runs any more unless we were stopped: then each writes a checkpoint and ends
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return errors


def _start(
    recipe: str | Path, job: Job, overrides: Mapping[str, Any], threads: int
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "commlearn", "train", str(recipe), "--out", str(job.folder), "--resume"]
    command += ["--method", job.method, "--seed", str(job.seed), "--probe", ",".join(job.targets)]
    command += ["--variant", job.variant] if job.variant else []
    settings = {"training.threads": threads, **overrides}
    for key, value in settings.items():
        command += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / "output.txt").open("wb") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )


def _last_words(job: Job) -> str:
    lines = (job.folder / "output.txt").read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else ""


def _default_jobs() -> int:
    import torch

    return 1 if torch.cuda.is_available() else (os.cpu_count() or 1)


def _remember(out: Path, recipe: str | Path, overrides: Mapping[str, Any]) -> None:
    """A comparison goes on only with the settings that it began with."""
    settings = {"recipe": str(recipe), "overrides": {key: overrides[key] for key in sorted(overrides)}}
    path = out / "compare.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"Cannot make the folder {out}: {problem.strerror}.") from problem
    if path.exists() and (before := json.loads(path.read_text(encoding="utf-8"))) != settings:
        raise RunError(
            f"{out} holds a comparison with other settings ({before}); these are {settings}. "
            "Give another --out."
        )
    write_atomically(path, (json.dumps(settings, indent=2) + "\n").encode())
