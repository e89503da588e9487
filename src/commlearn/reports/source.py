"""What a report is about: a trained model, its records, and the table's own cells if there is a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import commlearn
from commlearn.probes.probe import chosen_targets, has_label, sort_of
from commlearn.probes.readout_rows import own_table, readout_rows
from commlearn.records import Dataset, Records
from commlearn.storage.fingerprint import fingerprint
from commlearn.storage.hub import on_hub
from commlearn.storage.plain_json import values_of_file
from commlearn.tables.schema import Schema
from commlearn.tables.splits import row_names
from commlearn.tables.table import Table
from commlearn.trained.artifact import load
from commlearn.trained.embed import method_owner
from commlearn.trained.model import Trained
from commlearn.trained.run import Run


@dataclass(frozen=True)
class Source:
    """A trained model and the records that it is examined with."""

    trained: Trained
    data: Dataset
    targets: tuple[str, ...]  # targets that probes can read
    table: Table | None  # table that the records come from, if they come from one
    cells: pd.DataFrame | None  # test rows of the table
    root: Path | None  # folder of the run or of the artifact
    own: bool = True  # whether the records are those of the training, not of another table

    @property
    def run(self) -> Run | None:
        return self.trained if isinstance(self.trained, Run) else None

    @property
    def sorts(self) -> dict[str, str]:
        """By target: class, number or multilabel."""
        stated = (self.data.schema or {}).get("targets") or {}
        return {name: stated.get(name) or sort_of(values) for name, values in self.data.test.targets.items()}

    def unscored(self) -> dict[str, tuple[str, str]]:
        """Return why no probe can be scored on a target, and what to do, for each such target."""
        reasons = ((name, _unscored(self.data, name, self.sorts[name])) for name in self.targets)
        return {name: reason for name, reason in reasons if reason is not None}

    def versions(self) -> dict[str, str]:
        """Return the versions and the environment that the run was made with."""
        path = None if self.run is None else self.run.folder.path / "environment.json"
        if path is None or not path.exists():
            return {"commlearn": commlearn.__version__, "seed": str(self.trained.experiment.seed)}
        return {key: str(value) for key, value in values_of_file(path).items()}

    def columns(self, modality: str) -> Sequence[str]:
        """Return the table's columns that a modality reads."""
        return () if self.trained.schema is None else self.trained.schema.modalities[modality].columns()


def source(model: Any, table: str | Path | None, targets: Sequence[str] | None) -> Source:
    """Read what a report needs; the arguments are those of `report`."""
    root = Path(model) if isinstance(model, str | Path) and not on_hub(model) else None
    trained: Trained = load(model) if isinstance(model, str | Path) else method_owner(model)
    if root is None and isinstance(trained, Run):
        root = trained.folder.path
    own = table is None or _is_table_of(trained, table)
    table = table if table is not None else own_table(trained)
    data, table_rows, cells = readout_rows(trained, table), None, None
    if table is not None:
        table_rows = trained.table(table, with_targets=True)
        cells = _cells_of(table_rows, trained.reader()[0], data.test)
    readable = chosen_targets(data, targets) if data.test.targets or targets else []
    return Source(trained, data, tuple(readable), table_rows, cells, root, own)


def _is_table_of(trained: Trained, table: Any) -> bool:
    """Return whether a table is the one that a model was trained on, here or at another place."""
    stored = str(trained.experiment.data.get("table") or "")
    if not isinstance(table, str | Path) or not stored:
        return False
    if Path(table).resolve() == Path(stored).resolve():
        return True
    return isinstance(trained, Run) and trained.folder.has_files(fingerprint(str(table)))


def _unscored(data: Dataset, target: str, sort: str) -> tuple[str, str] | None:
    labels = {}
    for part, records in (("training", data.fit), ("test", data.test)):
        values = records.targets[target]
        labels[part] = values[has_label(values)]
        if not len(labels[part]):
            return (
                f"None of the {len(records):,} {part} records has a value.",
                f"Fill it in some {part} rows, or split the table so that some of them have it.",
            )
    train, test = labels["training"], labels["test"]
    if sort == "class" and len(classes := np.unique(train.astype(str))) == 1:
        return (
            f"Every training record has the value {classes[0]}, so there is nothing to tell apart.",
            "Choose another target, or split the table so that the training rows have at least two classes.",
        )
    if sort == "multilabel" and train.ndim == 1 and not any(map(len, train)):
        return "No training record has any label.", "Choose another target, or add labels to training rows."
    if len(test) == 1:
        return (
            "Only one test record has a value, which is not enough for a score.",
            "Score more rows: commlearn report RUN TABLE, or a larger test part.",
        )
    if sort == "number" and (test == test[:1]).all():
        return (
            "Every test record has the same value, so there is nothing to explain.",
            "Choose another target, or score other rows: commlearn report RUN TABLE.",
        )
    return None


def _cells_of(table: Table, schema: Schema, records: Records) -> pd.DataFrame | None:
    """Return the table's cells of these records, in their order; for copies of a row those of the first."""
    names = row_names(table, schema)
    if names is None or records.keys is None:
        return None
    order = np.argsort(names.keys, kind="stable")
    rows = order[np.searchsorted(names.keys[order], records.keys)]
    return table.frame.iloc[rows].reset_index(drop=True)
