"""What a comparison is made on: a recipe, or a table that a schema describes."""

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

HELD_OUT = 0.25  # of the records that are not for testing, where settings are chosen on them
HELD_OUT_SEED = 271_828  # a split by the same hash, whose test records these are not, has another one
SHOWN_ONLY = ("about", "published", "scores")  # what of an experiment changes no training


@dataclass(frozen=True)
class ComparisonSource:
    """Where experiment and records come from, for every training of the comparison alike."""

    recipe: str  # its name, or the path of a YAML file: a recipe or a schema
    table: str | None = None  # takes the place of a schema's
    overrides: dict[str, Any] = field(default_factory=dict)  # dotted key to value
    before_test: bool = False  # what is scored in place of the test records was held out from the others

    def read(self, variant: str = "", more: Mapping[str, Any] | None = None) -> tuple[Experiment, Dataset]:
        """The recipe's variant, or the schema, with further overrides, and its records, none in two parts."""
        overrides = self.of_all({**self.overrides, **(more or {})})
        if is_schema(self.recipe):  # what it leaves open is chosen once, for all methods, as CoMM needs it
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
        """The experiment as a variant of its recipe has it, without a look at the records."""
        if not variant or variant == experiment.variant:
            return experiment
        return read_experiment(self.recipe, self.of_all(self.overrides), variant)

    def of_all(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Without those of a method, which are given to it alone."""
        return {key: value for key, value in overrides.items() if not key.startswith("method.")}

    def method_options(self, method: str, experiment: Experiment) -> dict[str, Any]:
        """The recipe's options if the method is its own, and the overrides; on a table what CoMM gets."""
        own = experiment.method if experiment.method["name"] == method else {}
        if is_schema(self.recipe):
            if embeds_tokens(method):
                chosen = ("embedding", *ON_FEATURES)
                own = {key: experiment.method[key] for key in chosen if key in experiment.method} | own
            if self.stated_method().get("name") == method:
                own = {**own, **self.stated_method()}
        given = {
            key.removeprefix("method."): value
            for key, value in self.overrides.items()
            if key.startswith("method.")
        }
        return {**own, **given, "name": method}

    def stated_method(self) -> dict[str, Any]:
        """The method that a schema's file names, and its options."""
        part = self._stated().get("method") or {}
        return {"name": part} if isinstance(part, str) else dict(part)

    def _stated(self) -> Mapping[str, Any]:
        """What a schema's file says."""
        return schema_yaml.load(Path(self.recipe))[0]


def without_test(data: Dataset) -> Dataset:
    """The data set with the validation records in place of the test records, or a quarter of the others.

    Records of a group stay together.
    """
    if isinstance(data.train, StreamedRecords):
        raise ConfigurationError(
            "A table that is streamed cannot be parted again, so that no rows are left to choose settings "
            "on. Tune on a sample of its rows."
        )
    if data.validation is not None and len(data.validation):
        return replace(data, test=data.validation, validation=None)
    places = {name: _held_out(records) for name, records in (("train", data.train), ("probe", data.fit))}
    train, probe = data.train.choose(np.flatnonzero(~places["train"])), None
    if data.probe is not None:
        probe = data.fit.choose(np.flatnonzero(~places["probe"]))
    return replace(data, train=train, probe=probe, test=data.fit.choose(np.flatnonzero(places["probe"])))


def _held_out(records: Records) -> np.ndarray:
    """(records,): whether a record is scored; its key or its group decides."""
    units = records.keys if records.groups is None else records.groups
    return parts_of_names(np.asarray(units), 0.0, HELD_OUT, HELD_OUT_SEED) == PARTS.index("test")


def identity(experiment: Experiment, data: Dataset) -> dict[str, Any]:
    """What all trainings share: the settings, the data, and a digest of splits, targets and preprocessing."""
    digest = hashlib.sha256(json.dumps(data.state, sort_keys=True, default=str).encode())
    for part, records in data.parts.items():
        digest.update(f"{part} {len(records)}".encode())
        for name, values in records.targets.items():
            digest.update(f"{name} {values.tolist()}".encode())
    settings = {key: value for key, value in to_mapping(experiment).items() if key not in SHOWN_ONLY}
    return {"experiment": settings, "records": digest.hexdigest()[:16], "data": data_identity(data)}


def with_method(experiment: Experiment, options: Mapping[str, Any]) -> Experiment:
    """The experiment with another method, checked."""
    return experiment_from({**to_mapping(experiment), "method": dict(options)})
