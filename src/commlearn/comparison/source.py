"""The source of a comparison's experiment and records: a recipe, or a table that a schema describes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.config.build import read_data
from commlearn.config.configuration import Experiment, experiment_from, read_experiment, to_mapping
from commlearn.config.own_data import ON_FEATURES, embeds_tokens, is_schema, read_own
from commlearn.errors import ConfigurationError
from commlearn.probes.readout_rows import without_overlap
from commlearn.records import Dataset, Records
from commlearn.tables import schema_yaml
from commlearn.tables.splits import PARTS, parts_of_names
from commlearn.tables.streamed import StreamedRecords
from commlearn.trained.data_identity import data_identity

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
            method = None if self.stated_method().get("name") == "comm" else "comm"
            experiment, data, _ = read_own(self.recipe, self.table, overrides, method)
        elif self.table:
            raise ConfigurationError(
                f"--table: {self.recipe} is a recipe, not a schema; it names its own data."
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
                chosen = ("embedding", *ON_FEATURES)
                options = {
                    key: experiment.method[key] for key in chosen if key in experiment.method
                } | options
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
        part = self._file_content().get("method") or {}
        return {"name": part} if isinstance(part, str) else dict(part)

    def _file_content(self) -> Mapping[str, Any]:
        """Return the content of the schema's file."""
        return schema_yaml.load(Path(self.recipe))[0]


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
    masks = {name: _held_out(records) for name, records in (("train", data.train), ("probe", data.fit))}
    train, probe = data.train.choose(np.flatnonzero(~masks["train"])), None
    if data.probe is not None:
        probe = data.fit.choose(np.flatnonzero(~masks["probe"]))
    return replace(data, train=train, probe=probe, test=data.fit.choose(np.flatnonzero(masks["probe"])))


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
