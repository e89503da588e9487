"""What a report is about: a trained model, its records, and the table's own cells where there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import commlearn
from commlearn.data.records import Dataset
from commlearn.data.tables import Table, read_table
from commlearn.errors import ConfigurationError, DataError
from commlearn.evaluation.embed import carrier
from commlearn.evaluation.probes import chosen_targets, sort_of
from commlearn.training.artifact import load
from commlearn.training.build import read_data
from commlearn.training.run import Run
from commlearn.training.trained import Trained

__all__ = ["Source", "source"]


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
        path = None if self.root is None else self.root / "environment.json"
        if path is None or not path.exists():
            return {"commlearn": commlearn.__version__, "seed": str(self.trained.experiment.seed)}
        return {key: str(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}

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
    root = Path(model) if isinstance(model, str | Path) else None
    trained: Trained = load(root) if root is not None else carrier(model)
    if root is None and isinstance(trained, Run):
        root = trained.folder.path
    stated = trained.experiment.data
    if table is None and stated.get("name") == "table":
        table = _table_of(stated, trained)
    if table is None:
        data, rows, cells = read_data(trained.experiment), None, None
    else:
        schema, _ = trained.reader()
        data, rows = trained.dataset(table), read_table(table, schema.columns())
        cells = rows.frame.iloc[np.asarray(trained.split(rows)["test"])].reset_index(drop=True)
    if not len(data.test):
        raise DataError("There are no test records to show; the split has none.")
    known = chosen_targets(data, targets) if data.test.targets or targets else []
    return Source(trained, data, tuple(known), rows, cells, root)


def _table_of(stated: dict[str, Any], trained: Trained) -> str:
    path = str(stated.get("table") or "")
    if not path or not Path(path).exists():
        told = f"is not at '{path}' any more" if path else "was in memory"
        raise ConfigurationError(
            f"The table that '{trained.experiment.name}' was trained on {told}. Name one: "
            "commlearn report RUN TABLE"
        )
    return path
