"""A trained method and all that is needed to read a table as it did in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from commlearn.data.records import Dataset, Records, Spec
from commlearn.data.tables import Source, Table, read_table
from commlearn.errors import DataError
from commlearn.kinds.dataset import split_rows
from commlearn.kinds.schema import Schema
from commlearn.kinds.streamed_table import split_by_hash
from commlearn.methods.base import Method
from commlearn.training.configuration import Experiment

__all__ = ["Trained"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A method with its weights; if it was trained on a table, what reads another like it."""

    experiment: Experiment
    method: Method
    specs: dict[str, Spec]
    schema: Schema | None = None
    state: dict[str, Any] | None = None  # what each modality learned from the training rows
    warnings: tuple[str, ...] = field(default=())
    fine_tuned: bool = False  # whatever the method, its weights have then seen labels

    @property
    def saw_labels(self) -> bool:
        """Whether labels took part in the training."""
        return self.method.views.targets or self.fine_tuned

    def records(
        self,
        table: Source | Table,
        with_targets: bool = False,
        modalities: Sequence[str] | None = None,
        empty: bool = False,
    ) -> Records:
        """The table as the method's records.

        Args:
            table: rows with the columns of the modalities; no others are needed.
            with_targets: read the schema's targets too.
            modalities: read these only.
            empty: let records pass that have none of them, in place of refusing the table.
        """
        schema, state = self.reader()
        schema = schema.only(modalities)
        columns = [*schema.columns(with_targets), *([schema.id] if schema.id else [])]
        rows = table if isinstance(table, Table) else read_table(table, columns)
        try:
            records = schema.read(rows, state, with_targets, empty)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as problem:
            raise _not_whole(repr(problem)) from problem
        for name, spec in records.specs.items():
            trained = self.specs.get(name, spec)
            if trained.kind == spec.kind and trained.shape != spec.shape:
                raise _not_whole(f"{name} is read as {spec.shape} and was trained as {trained.shape}")
        return records

    def dataset(self, table: Source) -> Dataset:
        """The table's records with targets, split as the training's were: by column, by group or by seed."""
        schema, _ = self.reader()
        rows = read_table(table, schema.columns())
        records = self.records(rows, with_targets=True)
        parts = {name: records.choose(chosen) for name, chosen in self.split(rows).items()}
        if "test" not in parts:
            raise DataError(
                "No row of the table is for testing. Mark some as test in the schema's split column, or "
                "train with a share of test above 0."
            )
        return Dataset(
            parts["train"],
            parts["test"],
            parts.get("validation"),
            schema=schema.to_mapping(),
            state=self.state,
        )

    def split(self, rows: Table) -> dict[str, np.ndarray]:
        """Positions of the rows of train, validation and test, as the training's were found."""
        schema, _ = self.reader()
        stated = self.experiment.data
        options = {key: stated[key] for key in ("validation", "test", "seed") if key in stated}
        return (split_by_hash if stated.get("stream") else split_rows)(rows, schema, **options)

    def reader(self) -> tuple[Schema, dict[str, Any]]:
        """The schema, and what was learned; a training that read no table has neither."""
        if self.schema is None or self.state is None:
            raise DataError(
                f"'{self.experiment.name}' was trained on the data set '{self.experiment.data['name']}', "
                "so it cannot read a table. Train from a schema: commlearn train schema.yaml"
            )
        return self.schema, self.state


def _not_whole(problem: str) -> DataError:
    return DataError(
        f"The table cannot be read with what the model learned of its own ({problem}). Is the model's "
        "preprocessing.json whole?"
    )
