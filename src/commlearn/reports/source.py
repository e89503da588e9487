"""What a report is about: a trained model, its records, and the table's own cells where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import commlearn
from commlearn.probes import chosen_targets, sort_of
from commlearn.probes.readout_rows import own_table, readout_rows
from commlearn.records import Dataset, Records
from commlearn.storage.hub import on_hub
from commlearn.storage.plain_json import values_of_file
from commlearn.tables.schema import Schema
from commlearn.tables.splits import row_names
from commlearn.tables.table import Table, read_table
from commlearn.trained.artifact import load
from commlearn.trained.embed import carrier
from commlearn.trained.model import Trained
from commlearn.trained.run import Run


@dataclass(frozen=True)
class Source:
    """A trained model and the records that it is looked at with."""

    trained: Trained
    data: Dataset
    targets: tuple[str, ...]  # that probes can read
    table: Table | None  # that the records come from, if they come from one
    cells: pd.DataFrame | None  # its test rows
    root: Path | None  # folder of the run or of the artifact

    @property
    def run(self) -> Run | None:
        return self.trained if isinstance(self.trained, Run) else None

    @property
    def sorts(self) -> dict[str, str]:
        """Target to class, number or multilabel."""
        stated = dict((self.data.schema or {}).get("targets") or {})
        return {name: stated.get(name) or sort_of(values) for name, values in self.data.test.targets.items()}

    def versions(self) -> dict[str, str]:
        """What the run was made with."""
        path = None if self.run is None else self.run.folder.path / "environment.json"
        if path is None or not path.exists():
            return {"commlearn": commlearn.__version__, "seed": str(self.trained.experiment.seed)}
        return {key: str(value) for key, value in values_of_file(path).items()}

    def columns(self, modality: str) -> Sequence[str]:
        """The table's columns that a modality reads."""
        return () if self.trained.schema is None else self.trained.schema.modalities[modality].columns()


def source(model: Any, table: str | Path | None = None, targets: Sequence[str] | None = None) -> Source:
    """Read what a report needs.

    Args:
        model: a run, an artifact or an Embedder, or a folder of one.
        table: rows to look at; those of the training if not given.
        targets: which to show; all if not given.
    """
    root = Path(model) if isinstance(model, str | Path) and not on_hub(model) else None
    trained: Trained = load(model) if isinstance(model, str | Path) else carrier(model)
    if root is None and isinstance(trained, Run):
        root = trained.folder.path
    table = table if table is not None else own_table(trained)
    data, rows, cells = readout_rows(trained, table), None, None
    if table is not None:
        schema, state = trained.reader()
        rows = read_table(table, schema.columns(), schema.reading(state))
        cells = _cells_of(rows, schema, data.test)
    readable = chosen_targets(data, targets) if data.test.targets or targets else []
    return Source(trained, data, tuple(readable), rows, cells, root)


def _cells_of(table: Table, schema: Schema, records: Records) -> pd.DataFrame | None:
    """The table's cells of these records, in their order; of copies of a row those of the first."""
    names = row_names(table, schema)
    if names is None or records.keys is None:
        return None
    order = np.argsort(names.keys, kind="stable")
    place = order[np.searchsorted(names.keys[order], records.keys)]
    return table.frame.iloc[place].reset_index(drop=True)
