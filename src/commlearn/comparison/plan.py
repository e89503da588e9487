"""Plan of a comparison's trainings; methods that cannot take the data are refused before the first one."""

from __future__ import annotations

import inspect
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.comparison.baselines import BASELINES, Baseline, find_baseline, single_names
from commlearn.comparison.source import ComparisonSource, with_method
from commlearn.config.build import build_method, learned_features
from commlearn.config.configuration import Experiment, Score
from commlearn.errors import CommlearnError, ConfigurationError, Problems, RunError, unknown
from commlearn.methods import METHODS, Method
from commlearn.probes import check_targets, chosen_targets
from commlearn.records import Dataset
from commlearn.storage.plain_files import check_unpacked, plain_file
from commlearn.storage.plain_json import values_of_file

SPEC, PROBES, PREDICTIONS, COST = "job.json", "probes.json", "predictions.npz", "cost.json"
FAILED, DIVERGED = 2, 3  # exit codes of a job that failed


@dataclass(frozen=True)
class Job:
    """One training of the comparison."""

    method: str
    seed: int
    variant: str
    targets: tuple[str, ...]  # targets to probe
    folder: Path
    options: dict[str, Any] = field(default_factory=dict, compare=False)  # method options for this target
    cost: int = 0  # relative cost; the costliest jobs start first

    def __str__(self) -> str:
        return " ".join(part for part in (self.method, f"seed {self.seed}", self.variant) if part)

    def probes(self) -> dict[str, Any] | None:
        """Return the probe results; None unless all targets have been probed."""
        path = self.folder / PROBES
        if not path.exists() or not (self.folder / PREDICTIONS).exists():
            return None
        values = values_of_file(path)
        return values if set(self.targets) <= set(values) else None


@dataclass(frozen=True)
class Member:
    """A method or a baseline that takes part."""

    name: str
    baseline: Baseline | None = None

    @property
    def labels(self) -> bool:
        """Whether it learns from labels; if so, it is trained separately for each target."""
        return self.baseline.labels if self.baseline else METHODS[self.name].views.targets

    @property
    def role(self) -> str:
        if self.baseline is None:
            return "method with labels" if self.labels else "method"
        return {"random": "floor", "supervised": "ceiling"}.get(self.name, "baseline")


def scores_of(experiment: Experiment, data: Dataset, targets: Sequence[str] | None) -> dict[str, Score]:
    """Return the scores in the table's columns: the named targets, the recipe's scores, or all targets."""
    named = experiment.scores if targets is None else {}
    requested = [target for score in named.values() for target in score.targets] or targets
    chosen = chosen_targets(data, requested, "linear")
    check_targets(data, chosen)
    return dict(named) or {name: Score([name], experiment.variant) for name in chosen}


def members_of(
    names: Sequence[str],
    source: ComparisonSource,
    experiment: Experiment,
    data: Dataset,
    scores: Mapping[str, Score],
) -> tuple[list[Member], dict[str, str]]:
    """Return the members, and those that cannot take part with reasons, which only `all` may include."""
    modalities = list(data.train.specs)
    requested, optional = _expand(names, modalities)
    problems, refused, members = Problems("compare"), {}, []
    targets = list(dict.fromkeys(target for score in scores.values() for target in score.targets))
    arms: list[Experiment] = []  # one for each distinct set of method, model and training settings
    for variant in dict.fromkeys(score.variant for score in scores.values()):
        arm = source.arm(experiment, variant)
        if (arm.method, arm.model, arm.training) not in [
            (other.method, other.model, other.training) for other in arms
        ]:
            arms.append(arm)
    for name in requested:
        try:
            members.append(_member(name, source, arms, data, targets))
        except CommlearnError as problem:
            refused[name] = str(problem)
            if name not in optional:
                problems.add(f"{name}: {problem}")
    problems.raise_if_any(ConfigurationError)
    return members, refused


def plan(
    members: Sequence[Member], scores: Mapping[str, Score], seeds: Sequence[int], out: Path
) -> list[Job]:
    """Return every training that the scores need, seed by seed, with the costly ones first."""
    variants: dict[str, list[str]] = {}
    for score in scores.values():
        targets = variants.setdefault(score.variant, [])
        targets.extend(target for target in score.targets if target not in targets)
    jobs = []
    for member in members:
        drawn = member.baseline is None or member.baseline.drawn
        for seed in seeds if drawn else seeds[:1]:
            for variant, targets in variants.items():
                for group in [[target] for target in targets] if member.labels else [targets]:
                    jobs.append(_job(member, seed, variant, group, out))
    return sorted(jobs, key=lambda job: (job.seed, -job.cost))


def _expand(names: Sequence[str], modalities: Sequence[str]) -> tuple[list[str], set[str]]:
    """Expand `single` and `all`; return all names, and those that may be refused as only `all` named them."""
    requested: dict[str, bool] = {}
    for name in names:
        if name == "all":
            everything = [*METHODS, *BASELINES, *(single_names(modalities) if len(modalities) > 1 else [])]
            requested |= {member: requested.get(member, True) for member in everything}
        else:
            requested |= {
                member: False for member in (single_names(modalities) if name == "single" else [name])
            }
    return list(requested), {name for name, optional in requested.items() if optional}


def _member(
    name: str, source: ComparisonSource, arms: Sequence[Experiment], data: Dataset, targets: Sequence[str]
) -> Member:
    """Return a method or baseline that can take these data, or raise an error with the reason."""
    modalities = list(data.train.specs)
    baseline = find_baseline(name, modalities)
    if baseline is not None:
        if name == "cca" and len(modalities) < 2:
            raise ConfigurationError(f"needs at least 2 modalities; the data have {', '.join(modalities)}.")
        for arm in arms if baseline.drawn else ():
            _built(arm, source.method_options("comm", arm), data)
        return Member(name, baseline)
    if name not in METHODS:
        valid = [*METHODS, *BASELINES, *single_names(modalities), "single", "all"]
        raise ConfigurationError(unknown("method", name, valid))
    for arm in arms:
        arm.training.batches_in_epoch(len(data.train))
        options = source.method_options(name, arm)
        learned = _learned_targets(name, options, data, targets)
        for target_options in [{"target": target} for target in learned] or [{}]:
            method = _built(arm, {**target_options, **options}, data)
            method.check_records(data.fit if METHODS[name].views.targets else data.train)
    return Member(name)


def _learned_targets(
    name: str, options: Mapping[str, Any], data: Dataset, targets: Sequence[str]
) -> list[str]:
    """Return the targets that a method learns from, one in each training; empty for most methods."""
    if not METHODS[name].views.targets:
        return []
    configured = options.get("target")
    sorts = chosen_targets(data, [configured] if configured else targets)
    if unsuitable := [f"'{target}' is {sort}" for target, sort in sorts.items() if sort != "class"]:
        raise ConfigurationError(
            f"learns from classes, one per record; target {', '.join(unsuitable)}. Leave it out of "
            "--methods, or compare other targets with --targets."
        )
    return list(sorts) if _asks_for_target(name) else []


def _asks_for_target(method: str) -> bool:
    return "target" in inspect.signature(METHODS[method].build).parameters


def _built(experiment: Experiment, options: Mapping[str, Any], data: Dataset) -> Method:
    try:
        features = learned_features(experiment, data, rows=64)  # enough to know that it can be built
        return build_method(with_method(experiment, options), data.train.specs, features=features)
    except (ValueError, TypeError) as problem:
        raise ConfigurationError(f"cannot be built: {problem}") from problem


def _job(member: Member, seed: int, variant: str, targets: Sequence[str], out: Path) -> Job:
    options = {}
    part = variant or "run"
    if member.labels:
        part = f"{part}-{targets[0]}"
        if member.baseline is None and _asks_for_target(member.name):
            options["target"] = targets[0]
    folder = out / member.name.replace(":", "-") / f"seed{seed}" / part
    cost = 0 if member.baseline else 1 + METHODS[member.name].views.augmented
    if member.labels and member.baseline:
        cost = 1
    return Job(member.name, seed, variant, tuple(targets), folder, options, cost)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of a file; raise an error with a remedy if the file is damaged."""
    try:
        with zipfile.ZipFile(plain_file(path)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            check_unpacked(str(path), size, path.stat().st_size)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        remedy = "Delete the job's folder, and run the comparison again."
        raise RunError(f"{path} is damaged: {problem}. {remedy}") from problem
