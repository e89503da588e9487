"""MIMIC-III as prepared for MultiBench: 24 hours of 12 measurements, and five facts about the stay.

Published as one pickle (`im.pk`, which requires credentials): ep_tdata (n, 24, 12),
adm_features_all (n, 5), y_icd9 (n, 20) binary labels, adm_labels_all (n, 6).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from commlearn.datasets.converted import Standard, finite, open_content
from commlearn.errors import DataError
from commlearn.records import Dataset, Records, Sequences, VectorColumn

AXES = {
    "ep_tdata": "stays, hours, measurements",
    "adm_features_all": "stays, facts",
    "y_icd9": "stays, labels",
    "adm_labels_all": "stays, classes",
}
SEED = 10  # seed of the published split
FEWEST = 10  # fewest records with which each part of the split gets one


@dataclass(frozen=True)
class Mimic:
    """Stays in intensive care: facts as a table, measurements as a series.

    Targets: `icd9`, whether a diagnosis of one group was made, and `mortality`, six classes of when a
    patient died, 0 = did not die.
    """

    path: str = ""  # path of im.pk, or of the folder that `commlearn convert` made from it
    task: int = 7  # column of y_icd9

    def read(self) -> Dataset:
        """Read the file, split it as published and standardise by the training part only."""
        content = open_content(self.path, "mimic", "im.pk")
        arrays = {key: content.numbers(key, axes) for key, axes in AXES.items()}
        series, facts, diagnoses, deaths = arrays.values()
        content.raise_if_any()
        content.same({key: len(array) for key, array in arrays.items()}, "stays")
        for key, array in arrays.items():
            if 0 in array.shape[1:]:
                content.problems.add(f"{key} has shape {array.shape}, which holds no numbers.")
        if deaths.shape[1] == 1:
            content.problems.add("adm_labels_all has 1 class; expected at least 2.")
        if not 0 <= self.task < diagnoses.shape[1]:
            content.problems.add(f"y_icd9 has {diagnoses.shape[1]} labels, but data.task is {self.task}.")
        content.raise_if_any()
        if len(series) < FEWEST:
            raise DataError(f"{content.location}: {len(series)} stays are too few for the published split.")
        (series, gaps), (facts, holes) = finite(series), finite(facts)
        diagnoses, undecided = finite(diagnoses[:, self.task])
        deaths, unknown_deaths = finite(deaths)
        targets = {"icd9": (diagnoses > 0).astype(np.int64), "mortality": mortality(deaths)}
        parts = published_split(len(series))
        steps = Standard.of(series[parts["train"]].reshape(-1, series.shape[2]))
        columns = Standard.of(facts[parts["train"]])
        stays = Records(
            {
                "tabular": VectorColumn(columns(facts)),
                "series": Sequences.cut("series", steps(series), np.ones(series.shape[:2], dtype=bool)),
            },
            targets,
        )
        records = {part: stays.choose(rows) for part, rows in parts.items()}
        counts = zip(arrays, (gaps, holes, undecided, unknown_deaths), strict=True)
        notes = [f"{count} values of {key} are not finite and count as 0" for key, count in counts if count]
        return Dataset(records["train"], records["test"], records["validation"], notes=tuple(notes))


def published_split(count: int) -> dict[str, np.ndarray]:
    """Shuffle with Python's own generator: the first tenth validates, the next tests, the rest trains."""
    order = list(range(count))
    random.Random(SEED).shuffle(order)
    tenth = count // 10
    return {
        "validation": np.array(order[:tenth]),
        "test": np.array(order[tenth : 2 * tenth]),
        "train": np.array(order[2 * tenth :]),
    }


def mortality(labels: np.ndarray) -> np.ndarray:
    """Return the first column from 1 on that is set, 0 if none is.

    Example:
        >>> mortality(np.array([[1, 0, 1, 1], [1, 0, 0, 0]])).tolist()
        [2, 0]
    """
    is_set = labels[:, 1:] > 0
    return np.where(is_set.any(axis=1), is_set.argmax(axis=1) + 1, 0).astype(np.int64)
