"""The answers of a comparison: readouts of the trained methods next to their rivals, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commlearn.comparison.answers.readouts import (
    READOUTS,
    ReadoutJob,
    clear_material,
    missing_readers,
    units_of,
    write_material,
)
from commlearn.comparison.answers.rivals import chosen_rivals
from commlearn.comparison.answers.task import Task, checked_budgets, task_of
from commlearn.comparison.answers.vectors import vectors_of
from commlearn.comparison.answers.verdict import run_name, verdict_of
from commlearn.comparison.plan import Job, Member
from commlearn.comparison.source import ComparisonSource, with_method
from commlearn.comparison.workers import work_on
from commlearn.config.configuration import Experiment
from commlearn.errors import ConfigurationError, RunError
from commlearn.records import Dataset
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.plain_json import json_text

VERDICT = "verdict.json"


@dataclass(frozen=True)
class Questions:
    """Targets, budgets and rivals that a comparison's verdict covers."""

    tasks: tuple[Task, ...]  # one for each target
    budgets: tuple[str, ...]  # budgets of labels
    readers: tuple[str, ...]  # names of the rivals' readers
    pretrained: tuple[str, ...]  # those of them that were trained on other tables
    not_tried: dict[str, str]  # members that are left out, with the reason for each

    @classmethod
    def of(
        cls,
        data: Dataset,
        sorts: Mapping[str, str],
        rivals: Sequence[str] | None,
        budgets: Sequence[str | int] | None,
    ) -> Questions:
        """Build the questions and check them before anything is trained."""
        readers, pretrained, left_out = chosen_rivals(rivals, list(data.train.specs), len(data.fit))
        if not readers:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            raise ConfigurationError(f"None of the rivals can be used ({reasons}). Name others.")
        tasks = tuple(task_of(data, name, sort) for name, sort in sorts.items())
        return cls(tasks, checked_budgets(budgets), tuple(readers), tuple(pretrained), left_out)

    def answer(
        self,
        source: ComparisonSource,
        experiment: Experiment,
        data: Dataset,
        members: Sequence[Member],
        jobs: Sequence[Job],
        out: Path,
        at_a_time: int,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Compute the missing readouts, and write and return the verdict."""
        not_tried = dict(self.not_tried)
        runs: dict[str, Path] = {}
        for job in jobs:
            member = next(candidate for candidate in members if candidate.name == job.method)
            if member.baseline is None and member.labels:
                not_tried[member.name] = "it learns from the labels of all training rows"
            elif member.baseline is None and job.probes() is not None:
                runs[run_name(job.method, job.seed)] = job.folder
        modalities = list(data.train.specs)
        missing = [
            task
            for task in self.tasks
            if any(
                missing_readers(readout.path(out), readers)
                for readout, readers in units_of(task, self.budgets, modalities, self.readers, list(runs))
            )
        ]
        if missing:
            tell(
                f"predicting {', '.join(task.name for task in missing)} from {len(runs)} trainings and rivals"
            )
            network = with_method(experiment, source.method_options("comm", experiment))
            write_material(out, vectors_of(network, data, runs, "untrained" in self.readers), missing)
            shares = [self._share(out, part, at_a_time) for part in range(at_a_time)]
            errors = work_on(source, shares, at_a_time, tell, data.files)
            for share, reason in errors.items():
                raise RunError(f"{share} failed: {reason}. Its output is in {share.folder / 'output.txt'}.")
            clear_material(out)
        verdict = verdict_of(out, self.tasks, self.budgets, modalities, self.readers, list(runs), not_tried)
        write_atomically(out / VERDICT, json_text(verdict).encode())
        return verdict

    def _share(self, out: Path, part: int, parts: int) -> ReadoutJob:
        options = {
            "out": str(out),
            "part": part,
            "of": parts,
            "readers": self.readers,
            "budgets": self.budgets,
            "pretrained": self.pretrained,
        }
        names = tuple(task.name for task in self.tasks)
        return ReadoutJob(READOUTS, part, "", names, out / READOUTS / f"process{part}", options)
