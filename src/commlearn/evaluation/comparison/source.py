"""What a comparison is made on: a recipe, or a table that a schema describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commlearn.data.records import Dataset
from commlearn.errors import ConfigurationError
from commlearn.kinds import schema_yaml
from commlearn.training.build import read_data
from commlearn.training.configuration import Experiment, experiment_from, read_experiment, to_mapping
from commlearn.training.own_data import is_schema, read_own

__all__ = ["ComparisonSource", "with_method"]


@dataclass(frozen=True)
class ComparisonSource:
    """Where experiment and records come from, for every training of the comparison alike."""

    recipe: str  # its name, or the path of a YAML file: a recipe or a schema
    table: str | None = None  # takes the place of a schema's
    overrides: dict[str, Any] = field(default_factory=dict)  # dotted key to value

    def read(self, variant: str = "", more: Mapping[str, Any] | None = None) -> tuple[Experiment, Dataset]:
        """The recipe's variant, or the schema, with further overrides, and its records."""
        overrides = {
            key: value
            for key, value in {**self.overrides, **(more or {})}.items()
            if not key.startswith("method.")
        }
        if is_schema(self.recipe):  # what it leaves open is chosen once, for all methods, as CoMM needs it
            method = None if self.stated_method().get("name") == "comm" else "comm"
            experiment, data, _ = read_own(self.recipe, self.table, overrides, method)
            return experiment, data
        if self.table:
            raise ConfigurationError(
                f"--table: {self.recipe} is a recipe, not a schema; it names its own data."
            )
        experiment = read_experiment(self.recipe, overrides, variant or None)
        return experiment, read_data(experiment)

    def method_options(self, method: str, experiment: Experiment) -> dict[str, Any]:
        """The recipe's options if the method is its own, and the overrides."""
        own = experiment.method if experiment.method["name"] == method else {}
        if is_schema(self.recipe) and self.stated_method().get("name") == method:
            own = {**own, **self.stated_method()}
        given = {
            key.removeprefix("method."): value
            for key, value in self.overrides.items()
            if key.startswith("method.")
        }
        return {**own, **given, "name": method}

    def stated_method(self) -> dict[str, Any]:
        """The method that a schema's file names, and its options."""
        values, _ = schema_yaml.load(Path(self.recipe))
        part = values.get("method") or {}
        return {"name": part} if isinstance(part, str) else dict(part)


def with_method(experiment: Experiment, options: Mapping[str, Any]) -> Experiment:
    """The experiment with another method, checked."""
    return experiment_from({**to_mapping(experiment), "method": dict(options)})
