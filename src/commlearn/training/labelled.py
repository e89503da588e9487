"""Records with labels for fine-tuning: train, and a validation part that is never test."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from commlearn.data.fingerprint import fingerprint
from commlearn.data.records import Dataset, Records
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
    trained: Trained, target: str, share: float, seed: int, data: Dataset | None = None
) -> Labelled:
    """The records on which probes are fitted, without those that have no label.

    Args:
        trained: what was trained, on data that can be read again.
        target: whose labels are learned.
        share: of the training records that are held out, where the data have no validation part.
        seed: of the records held out.
        data: if it is not to be read again.
    """
    data = _read(trained) if data is None else data
    sort = chosen_targets(data, target, "linear")[target]
    train, validation = data.fit, data.validation
    if validation is None or not len(validation):
        generator = numpy_generator(seed, "fine-tuning validation")
        held = held_out(len(train), train.groups, share, generator)
        train, validation = train.choose(np.flatnonzero(~held)), train.choose(np.flatnonzero(held))
    return Labelled(data, sort, *(_known(part, target) for part in (train, validation)))


def _read(trained: Trained) -> Dataset:
    """The data of the training, in the parts that it had them in."""
    if trained.schema is not None and not trained.experiment.data.get("table"):
        raise DataError("The training's table was in memory, not in a file. Give the records as `data`.")
    data, table = readout_rows(trained), trained.experiment.data.get("table")
    return replace(data, files=fingerprint(str(table))) if table and data.files is None else data


def _known(records: Records, target: str) -> Records:
    rows = np.flatnonzero(known_labels(records.targets[target]))
    if not len(rows):
        raise DataError(f"target '{target}': no record of a part has it; fill it, or split otherwise.")
    return records.choose(rows)
