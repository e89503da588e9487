"""Records with labels for fine-tuning: train, and a validation part that is never test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from commlearn.data.fingerprint import fingerprint
from commlearn.data.records import Dataset, Records
from commlearn.data.tables import Source
from commlearn.errors import DataError
from commlearn.evaluation.probes import chosen_targets, known_labels
from commlearn.evaluation.readout_rows import held_out, readout_rows
from commlearn.seeds import numpy_generator
from commlearn.training.trained import Trained

__all__ = ["Labelled", "labelled_records"]


class Labelled(NamedTuple):
    """Records that have the target."""

    data: Dataset  # as it was read
    sort: str  # of the target: class, number or multilabel
    train: Records
    validation: Records


def labelled_records(
    trained: Trained, target: str, share: float, seed: int, data: Dataset | Source | None = None
) -> Labelled:
    """The records on which probes are fitted, without those that have no label.

    Args:
        trained: what was trained.
        target: whose labels are learned.
        share: of the training records that are held out, where the data have no validation part.
        seed: of the records held out.
        data: its parts, or a table; the training's own data, in the parts that it had them in, if not given.
    """
    data = data if isinstance(data, Dataset) else _read(trained, data)
    sort = chosen_targets(data, target, "linear")[target]
    train, validation = data.fit, data.validation
    if validation is None or not len(validation):
        generator = numpy_generator(seed, "fine-tuning validation")
        held = held_out(len(train), train.groups, share, generator)
        train, validation = train.choose(np.flatnonzero(~held)), train.choose(np.flatnonzero(held))
    return Labelled(data, sort, *(_known(part, target) for part in (train, validation)))


def _read(trained: Trained, source: Source | None) -> Dataset:
    """The table, or the data of the training, in the parts that it had them in."""
    data = readout_rows(trained, source)
    table = trained.experiment.data.get("table") if source is None else source
    if data.files is not None or not isinstance(table, str | Path) or not table:
        return data
    return replace(data, files=fingerprint(str(table)))


def _known(records: Records, target: str) -> Records:
    rows = np.flatnonzero(known_labels(records.targets[target]))
    if not len(rows):
        raise DataError(f"target '{target}': no record of a part has it; fill it, or split otherwise.")
    return records.choose(rows)
