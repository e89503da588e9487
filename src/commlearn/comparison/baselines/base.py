"""The contract of a baseline: vectors of records, from what may be learned on the first part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commlearn.config.configuration import Experiment
from commlearn.records import Dataset, Records
from commlearn.training.callbacks import Callback


@dataclass(frozen=True)
class Given:
    """What a baseline may look at."""

    experiment: Experiment  # CoMM, with the sizes, encoders, budget and seed of what it is compared with
    data: Dataset
    targets: Sequence[str]  # only a baseline that learns from labels looks at them
    folder: Path  # of its own, for what it keeps
    progress: Callback


@dataclass(frozen=True)
class Baseline:
    """A member of a comparison that is no method."""

    about: str
    make: Callable[[Given, Sequence[Records]], list[np.ndarray]]
    """Vectors of each part, (records, dim); what is learned, is learned from the first part alone."""
    drawn: bool = False  # whether the seed matters
    labels: bool = False  # whether it learns from labels: then it is trained for one target
