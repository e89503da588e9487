"""Records with labels for fine-tuning: train, and a validation part that is never test."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from commlearn.data.records import Dataset, Records
from commlearn.errors import DataError
from commlearn.evaluation.probes import chosen_targets, known_labels
from commlearn.seeds import numpy_generator
from commlearn.training.build import read_data
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
    data = _read(trained, share) if data is None else data
    sort = chosen_targets(data, target, "linear")[target]
    train, validation = data.fit, data.validation
    if validation is None or not len(validation):
        order = numpy_generator(seed, "fine-tuning validation").permutation(len(train))
        held, kept = np.split(order, [max(1, round(share * len(train)))])
        train, validation = train.choose(np.sort(kept)), train.choose(np.sort(held))
    return Labelled(data, sort, *(_known(part, target) for part in (train, validation)))


def _read(trained: Trained, share: float) -> Dataset:
    """As the training read it; where its split is drawn, a validation part is drawn beside it."""
    if trained.schema is None:
        return read_data(trained.experiment)
    options = dict(trained.experiment.data)
    if not options.get("table"):
        raise DataError("The training's table was in memory, not in a file. Give the records as `data`.")
    if trained.schema.split is None and not options.get("validation"):
        options["validation"] = share
    return replace(trained, experiment=replace(trained.experiment, data=options)).dataset(options["table"])


def _known(records: Records, target: str) -> Records:
    rows = np.flatnonzero(known_labels(records.targets[target]))
    if not len(rows):
        raise DataError(f"target '{target}': no record of a part has it; fill it, or split otherwise.")
    return records.choose(rows)
