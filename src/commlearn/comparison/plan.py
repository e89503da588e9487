"""Plan of a comparison: the source of its experiment and records, who takes part, and every training.

Methods that cannot take the data are refused before the first training.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.comparison.baselines import BASELINES, Baseline, find_baseline, single_names
from commlearn.config.build import build_method, learned_features, read_data
from commlearn.config.configuration import Experiment, Score, experiment_from, read_experiment, to_mapping
from commlearn.config.own_data import ON_FEATURES, embeds_tokens, is_schema, read_own
from commlearn.errors import CommlearnError, ConfigurationError, Problems, RunError, unknown
from commlearn.methods import METHODS, Method
from commlearn.probes.probe import check_targets, chosen_targets
from commlearn.probes.readout_rows import without_overlap
from commlearn.records import Dataset, Records
from commlearn.storage.plain_files import check_unpacked, plain_file
from commlearn.storage.plain_json import values_of_file
from commlearn.tables import schema_yaml
from commlearn.tables.splits import PARTS, parts_of_names
from commlearn.tables.streamed import StreamedRecords
from commlearn.trained.training_rows import data_identity

HELD_OUT = 0.25  # share of the non-test records to choose settings on, if there are no validation records
HELD_OUT_SEED = 271_828  # must differ from the seed of the test split, which uses the same hash of keys
SHOWN_ONLY = ("about", "published", "scores")  # parts of an experiment that do not affect training


@dataclass(frozen=True)
class ComparisonSource:
    """The source of experiment and records, which all trainings of a comparison share."""

    recipe: str  # name of a recipe, or path of a YAML file: a recipe or a schema
    table: str | None = None  # replaces the schema's table
    overrides: dict[str, Any] = field(default_factory=dict)  # dotted key to value
    before_test: bool = False  # whether held-out records take the place of the test records

    def read(self, variant: str = "", more: Mapping[str, Any] | None = None) -> tuple[Experiment, Dataset]:
        """Read the experiment of a recipe's variant or a schema, and its records, no record in two parts."""
        overrides = self.without_method_options({**self.overrides, **(more or {})})
        if is_schema(self.recipe):  # open settings are chosen once for all methods, as CoMM needs them
            experiment, data, _ = read_own(self.recipe, self.table, overrides, "comm")
        elif self.table:
            raise ConfigurationError(
                f"table: {self.recipe} is a recipe, not a schema; it names its own data."
            )
        else:
            experiment = read_experiment(self.recipe, overrides, variant or None)
            data = read_data(experiment)
        return experiment, without_overlap(without_test(data) if self.before_test else data)

    def arm(self, experiment: Experiment, variant: str) -> Experiment:
        """Return the experiment of a variant of the recipe, without reading the records."""
        if not variant or variant == experiment.variant:
            return experiment
        return read_experiment(self.recipe, self.without_method_options(self.overrides), variant)

    def without_method_options(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the overrides that apply to all methods, leaving out the options of one method."""
        return {key: value for key, value in overrides.items() if not key.startswith("method.")}

    def method_options(self, method: str, experiment: Experiment) -> dict[str, Any]:
        """Return a method's options: those that the recipe or schema states for it, and the overrides.

        On a table, they include the options chosen for CoMM if the method can embed tokens as CoMM does.
        """
        options = experiment.method if experiment.method["name"] == method else {}
        if is_schema(self.recipe):
            if embeds_tokens(method):
                keys = [key for key in ("embedding", *ON_FEATURES) if key in experiment.method]
                options = {**{key: experiment.method[key] for key in keys}, **options}
            if self.stated_method().get("name") == method:
                options = {**options, **self.stated_method()}
        overrides = {
            key.removeprefix("method."): value
            for key, value in self.overrides.items()
            if key.startswith("method.")
        }
        return {**options, **overrides, "name": method}

    def stated_method(self) -> dict[str, Any]:
        """Return the method that a schema's file names, with its options."""
        part = schema_yaml.load(Path(self.recipe))[0].get("method") or {}
        return {"name": part} if isinstance(part, str) else dict(part)


def without_test(data: Dataset) -> Dataset:
    """Return the data set with its test records replaced by the validation records or held-out ones.

    Without validation records, a quarter of the other records is held out; groups stay whole.
    """
    if isinstance(data.train, StreamedRecords):
        raise ConfigurationError(
            "A streamed table cannot be split again, so no rows are left to choose settings "
            "on. Tune on a sample of its rows."
        )
    if data.validation is not None and len(data.validation):
        return replace(data, test=data.validation, validation=None)
    held = _held_out(data.fit)
    train = data.train.choose(np.flatnonzero(~_held_out(data.train)))
    probe = None if data.probe is None else data.fit.choose(np.flatnonzero(~held))
    return replace(data, train=train, probe=probe, test=data.fit.choose(np.flatnonzero(held)))


def _held_out(records: Records) -> np.ndarray:
    """Return which records are held out to be scored, (records,) bool, decided by key or group."""
    units = records.keys if records.groups is None else records.groups
    return parts_of_names(np.asarray(units), 0.0, HELD_OUT, HELD_OUT_SEED) == PARTS.index("test")


def identity(experiment: Experiment, data: Dataset) -> dict[str, Any]:
    """Return what all trainings share: settings, data, and a digest of splits, targets and preprocessing."""
    digest = hashlib.sha256(json.dumps(data.state, sort_keys=True, default=str).encode())
    for part, records in data.parts.items():
        digest.update(f"{part} {len(records)}".encode())
        for name, values in records.targets.items():
            digest.update(f"{name} {values.tolist()}".encode())
    settings = {key: value for key, value in to_mapping(experiment).items() if key not in SHOWN_ONLY}
    return {"experiment": settings, "records": digest.hexdigest()[:16], "data": data_identity(data)}


def with_method(experiment: Experiment, options: Mapping[str, Any]) -> Experiment:
    """Return the experiment with another method, checked."""
    return experiment_from({**to_mapping(experiment), "method": dict(options)})


PROBES, PREDICTIONS = "probes.json", "predictions.npz"
LONGEST = 200  # bytes of a target's name in the name of a folder


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
        of = "" if self.folder.name == (self.variant or "run") else f"for {self.targets[0]}"
        return " ".join(part for part in (self.method, f"seed {self.seed}", self.variant, of) if part)

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


def targets_of(scores: Mapping[str, Score]) -> list[str]:
    """Return the targets of all scores, in their order."""
    return list(dict.fromkeys(target for score in scores.values() for target in score.targets))


def scores_of(experiment: Experiment, data: Dataset, targets: Sequence[str] | None) -> dict[str, Score]:
    """Return the scores in the table's columns: the named targets, the recipe's scores, or all targets."""
    named = experiment.scores if targets is None else {}
    chosen = chosen_targets(data, targets_of(named) or targets, "linear")
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
    arms: list[Experiment] = []  # one for each distinct set of method, model and training settings
    for variant in dict.fromkeys(score.variant for score in scores.values()):
        arm = source.arm(experiment, variant)
        settings = (arm.method, arm.model, arm.training)
        if settings not in [(other.method, other.model, other.training) for other in arms]:
            arms.append(arm)
    for name in requested:
        try:
            members.append(_member(name, source, arms, data, targets_of(scores)))
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
    variants: dict[str, dict[str, Score]] = {}
    for name, score in scores.items():
        variants.setdefault(score.variant, {})[name] = score
    jobs = []
    for member in members:
        drawn = member.baseline is None or member.baseline.drawn
        for seed in seeds if drawn else seeds[:1]:
            for variant, own_scores in variants.items():
                targets = targets_of(own_scores)
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
            requested |= dict.fromkeys(single_names(modalities) if name == "single" else [name], False)
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
            "methods=, or compare other targets with targets=."
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
        part = f"{part}-{_in_path(targets[0])}"
        if member.baseline is None and _asks_for_target(member.name):
            options["target"] = targets[0]
    folder = out / member.name.replace(":", "-") / f"seed{seed}" / part
    cost = int(member.labels) if member.baseline else 1 + METHODS[member.name].views.augmented
    return Job(member.name, seed, variant, tuple(targets), folder, options, cost)


def _in_path(target: str) -> str:
    """Return a target's name as part of a folder's; a digest if no folder can have that name."""
    fits = "/" not in target and len(target.encode()) <= LONGEST
    return target if fits else hashlib.sha256(target.encode()).hexdigest()[:12]


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
