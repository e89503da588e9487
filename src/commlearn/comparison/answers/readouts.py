"""Readouts of a comparison: every reader on every draw of labelled rows, computed in several processes.

The comparison writes the vectors and the targets once, and gives each process a share of what is missing.
The process writes one complete file for each readout.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from commlearn.comparison.answers.readers import Block
from commlearn.comparison.answers.rivals import PRETRAINED, REFIT, Key, Unit, alone, estimators, of_task
from commlearn.comparison.answers.task import ALL, DRAWS, Task, budgets_of, labelled_rows
from commlearn.comparison.plan import Job, arrays_of
from commlearn.comparison.workers import forget_peak, peak_memory
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.plain_json import values_of_file

READOUTS = "readouts"
VECTORS = "vectors"  # folder written for the processes, and removed when they are done
INDEX = "index.json"


@dataclass(frozen=True)
class Readout:
    """One draw of labelled rows of a target at a budget, with all modalities or without one."""

    target: str
    budget: str
    draw: int = 0
    without: str = ""

    def path(self, out: Path) -> Path:
        """Return the path of the results file."""
        absent = f"-without-{_short(self.without)}" if self.without else ""
        name = f"{self.budget.replace('%', 'pc')}-{self.draw}{absent}.npz"
        return out / READOUTS / _short(self.target) / name

    def __str__(self) -> str:
        absent = f" without {self.without}" if self.without else ""
        return f"{self.target}, {self.budget} of the labels, draw {self.draw}{absent}"


@dataclass(frozen=True)
class ReadoutJob(Job):
    """A process's share of the readouts."""

    def __str__(self) -> str:
        return f"readouts, part {self.options['part'] + 1} of {self.options['of']}"


def shares_of(missing: Sequence[tuple[Readout, list[str]]], out: Path, parts: int) -> list[ReadoutJob]:
    """Divide readouts, with the names of the readers that each lacks, between several processes."""
    jobs, parts = [], min(parts, len(missing))
    for part in range(parts):
        units = [(asdict(readout), readers) for readout, readers in missing[part::parts]]
        options = {"out": str(out), "part": part, "of": parts, "units": units}
        jobs.append(ReadoutJob(READOUTS, part, "", (), out / READOUTS / f"process{part}", options))
    return jobs


class Result(NamedTuple):
    """The result of one reader."""

    selection: float  # the measure on training rows, predicted by models that had not seen them
    loss: float  # log loss on test rows; squared error for numbers
    seconds: float
    megabytes: float  # peak memory of the whole process
    scores: np.ndarray  # (1 + draws,): on the test rows, and on bootstrap samples of them


def units_of(
    task: Task, budgets: Sequence[str], modalities: Sequence[str], readers: Sequence[str], runs: Sequence[str]
) -> Iterator[tuple[Readout, list[str]]]:
    """Yield every readout of a target with the names of its readers, the costly ones first."""
    removable = list(modalities) if len(modalities) > 1 else []
    yield Readout(task.name, ALL), [*readers, *runs]
    for absent in removable:
        remaining = [modality for modality in modalities if modality != absent]
        names = [alone(modality) for modality in remaining if alone(modality) in readers]
        names += [name for name in REFIT if name in readers and (name != "late fusion" or len(remaining) > 1)]
        yield Readout(task.name, ALL, 0, absent), [*names, *runs]
    for budget in reversed(budgets_of(task, budgets)):
        for draw in range(DRAWS if budget != ALL else 0):
            yield Readout(task.name, budget, draw), [*readers, *runs]


def results_in(path: Path) -> dict[tuple[str, str], Result]:
    """Return the results in a file by reader and segment (modality missing in the test rows, or "").

    The result is empty if the file does not exist yet.
    """
    if not path.exists():
        return {}
    arrays = arrays_of(path)
    keys = zip(arrays["readers"].tolist(), arrays["segments"].tolist(), strict=True)
    return {
        key: Result(*map(float, facts[:4]), scores)  # type: ignore[call-arg, arg-type]
        for key, facts, scores in zip(keys, arrays["facts"], arrays["scores"], strict=True)
    }


def missing_readers(path: Path, readers: Sequence[str]) -> list[str]:
    """Return the readers whose results a file lacks."""
    present = {name for name, _ in results_in(path)}
    return [name for name in readers if name not in present]


def write_material(out: Path, vectors: Mapping[Key, Block], tasks: Sequence[Task]) -> None:
    """Write vectors and targets as plain arrays; processes map the vectors and so share their memory."""
    folder = out / READOUTS / VECTORS
    folder.mkdir(parents=True, exist_ok=True)
    for number, block in enumerate(vectors.values()):
        for side, values in zip(("train", "test"), block, strict=True):
            np.save(folder / f"{number}-{side}.npy", np.ascontiguousarray(values, dtype=np.float32))
    for number, task in enumerate(tasks):
        attributes = {part.name: getattr(task, part.name) for part in fields(Task)}  # asdict copies arrays
        arrays = {name: value for name, value in attributes.items() if isinstance(value, np.ndarray)}
        np.savez(folder / f"task{number}.npz", **arrays)  # type: ignore[arg-type]
    descriptions = [{"name": task.name, "sort": task.sort, "measure": task.measure} for task in tasks]
    index = {"vectors": [list(key) for key in vectors], "tasks": descriptions}
    write_atomically(folder / INDEX, json.dumps(index).encode())


def clear_material(out: Path) -> None:
    """Remove the files that were written for the processes, and nothing else."""
    folder = out / READOUTS / VECTORS
    for pattern in (INDEX, "*-train.npy", "*-test.npy", "task*.npz"):
        for path in folder.glob(pattern):
            path.unlink()
    with suppress(OSError):  # the folder holds other files
        folder.rmdir()


def read_share(out: Path, options: Mapping[str, Any]) -> None:
    """Compute the readouts of a process's share."""
    vectors, tasks = _read_material(out / READOUTS / VECTORS)
    units = [(Readout(**readout), readers) for readout, readers in options["units"]]
    for name in PRETRAINED.keys() & {reader for _, readers in units for reader in readers}:
        estimators(name)  # imports its module before its reader is timed
    with threadpool_limits(limits=1):  # small products: threads only wait for each other
        for target, own_units in groupby(units, lambda unit: unit[0].target):
            task = tasks[target]
            own_vectors = of_task(vectors, task)
            for readout, readers in own_units:
                print(f"reading {readout}", flush=True)
                absences = readout.budget == ALL and not readout.without
                labelled = labelled_rows(task, readout.budget, readout.draw)
                unit = Unit(own_vectors, labelled, readout.without, absences)
                _keep(readout.path(out), {**results_in(readout.path(out)), **results_of_unit(unit, readers)})


def results_of_unit(unit: Unit, readers: Sequence[str]) -> dict[tuple[str, str], Result]:
    """Return the results of each reader, by reader and segment."""
    results, task = {}, unit.labelled.task
    for name in readers:
        began = time.process_time()
        forget_peak()
        reading = unit.reading(name)
        seconds, megabytes = time.process_time() - began, float(peak_memory() or 0)
        scored = ~np.isnan(reading.train).any(axis=1)
        prior = unit.labelled.prior
        selection = float(task.scores(task.train[scored], reading.train[scored], prior)[0])
        segments = unit.segments(name)
        for segment, predicted in zip(segments, np.split(reading.test, len(segments)), strict=True):
            loss = float(task.losses(task.test, predicted).mean())
            scores = task.scores(task.test, predicted, prior, task.weights)
            results[name, segment] = Result(selection, loss, seconds, megabytes, scores)
    return results


def _keep(path: Path, results: Mapping[tuple[str, str], Result]) -> None:
    content = io.BytesIO()
    np.savez(
        content,
        readers=np.array([name for name, _ in results]),
        segments=np.array([segment for _, segment in results]),
        facts=np.array([result[:4] for result in results.values()], dtype=np.float64),
        scores=np.stack([result.scores for result in results.values()]).astype(np.float32),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def _read_material(folder: Path) -> tuple[dict[Key, Block], dict[str, Task]]:
    """Return the vectors, and the tasks by the names of their targets."""
    index = values_of_file(folder / INDEX)
    vectors = {
        Key(*key): Block(
            *(np.load(folder / f"{number}-{side}.npy", mmap_mode="r") for side in ("train", "test"))
        )
        for number, key in enumerate(index["vectors"])
    }
    tasks = {}
    for number, description in enumerate(index["tasks"]):
        arrays: dict[str, Any] = arrays_of(folder / f"task{number}.npz")
        tasks[description["name"]] = Task(**description, **arrays)
    return vectors, tasks


def _short(name: str) -> str:
    """Hash a name to a fixed-length name that is safe in paths."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]
