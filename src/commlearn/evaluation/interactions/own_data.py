"""Records of a run's own data set that can be judged fold by fold: nothing is shown in two blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from commlearn.data import READERS
from commlearn.data.records import Records
from commlearn.data.trifeature import Objects, Trifeature, draw_pairs, pair_records
from commlearn.errors import DataError
from commlearn.seeds import numpy_generator
from commlearn.training.build import read_data

__all__ = ["own_records", "trifeature_blocks"]

_PAIRS = 6000
_BLOCKS = 5


def own_records(experiment: Any) -> tuple[Records, np.ndarray | None, str]:
    """Records on which a run's probes are fitted, their groups, and what they are in words."""
    options = dict(experiment.data)
    reader = READERS[options.pop("name")](**options)
    if isinstance(reader, Trifeature):
        records, blocks = trifeature_blocks(reader, _PAIRS)
        return records, blocks, f"{len(records)} pairs of the run's own images, no image in two folds"
    data = read_data(experiment)
    if not data.fit.targets:
        raise DataError(f"The data set '{experiment.data['name']}' has no targets. Give a table that has.")
    return data.fit, None, f"{len(data.fit)} records of the run's own data set"


def trifeature_blocks(reader: Trifeature, pairs: int) -> tuple[Records, np.ndarray]:
    """Unbiased pairs of training images, and the block of each: images of one combination share a block.

    Pairs drawn from all images would show each image in several folds, and experts would recognise it.
    """
    objects, _ = reader.objects()
    looks = np.stack([objects.shape, objects.texture, objects.colour], axis=1)
    combination = np.unique(looks, axis=0, return_inverse=True)[1].reshape(-1)
    order = numpy_generator(reader.seed, "interaction blocks").permutation(combination.max() + 1)
    block = (order % _BLOCKS)[combination]
    drawn, blocks = [], []
    for number in range(_BLOCKS):
        members = np.flatnonzero(block == number)
        inside = Objects(*(part[members] for part in (objects.images, *_labels(objects))))
        generator = numpy_generator(reader.seed, "interaction pairs", number)
        drawn.append(members[draw_pairs(inside, pairs // _BLOCKS, generator)])
        blocks.append(np.full(pairs // _BLOCKS, number))
    return pair_records(objects, np.concatenate(drawn), reader.mapping()), np.concatenate(blocks)


def _labels(objects: Objects) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return objects.shape, objects.texture, objects.colour
