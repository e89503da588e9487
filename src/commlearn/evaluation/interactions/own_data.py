"""Records of a run's own data set that can be judged fold by fold: nothing is shown in two blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from commlearn.data import READERS
from commlearn.data.records import Records
from commlearn.data.trifeature import Objects, Trifeature, draw_pairs, pair_records
from commlearn.errors import DataError
from commlearn.evaluation.readout_rows import CrossFitRows, rows_to_cross_fit
from commlearn.seeds import numpy_generator

__all__ = ["own_records", "trifeature_blocks", "trifeature_of"]

_PAIRS = 6000
_BLOCKS = 5


def trifeature_of(model: Any) -> Trifeature | None:
    """The controlled experiment that a model was trained on; None if it was trained on something else."""
    options = dict(model.experiment.data) if hasattr(model, "experiment") else {}
    reader = READERS[options.pop("name")](**options) if options.get("name") in READERS else None
    return reader if isinstance(reader, Trifeature) else None


def own_records(model: Any) -> CrossFitRows:
    """Records of a run's own data set that can be judged fold by fold.

    Of a method that saw no labels those of its training, of others those that it was not trained on. They are
    the rows that a table of them would give.
    """
    reader = trifeature_of(model)
    if reader is None:
        rows = rows_to_cross_fit(model, with_targets=True)
        if not rows.records.targets:
            raise DataError(
                f"The data set '{model.experiment.data['name']}' has no targets. Give a table that has."
            )
        return rows
    train, test = reader.objects()
    objects, whose = (test, "test") if model.saw_labels else (train, "own")
    records, blocks = trifeature_blocks(reader, objects, _PAIRS)
    source = f"{len(records)} pairs of the run's {whose} images, no image in two folds"
    return CrossFitRows(replace(records, groups=blocks.astype(np.uint64)), None, source)


def trifeature_blocks(reader: Trifeature, objects: Objects, pairs: int) -> tuple[Records, np.ndarray]:
    """Unbiased pairs of images, and the block of each: images of one combination share a block.

    Pairs drawn from all images would show each image in several folds, and experts would recognise it.
    """
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
