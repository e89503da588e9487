"""The vectors that readers are compared on: each modality's fixed features and each run's embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commlearn.comparison.answers.readers import Block
from commlearn.comparison.answers.rivals import Key
from commlearn.comparison.baselines import raw_parts
from commlearn.config.build import build_features, build_method, pretrained_of
from commlearn.config.configuration import Experiment
from commlearn.kinds.arrays import presence
from commlearn.models.features import FeatureBlocks, feature_column
from commlearn.records import Column, Dataset, Records
from commlearn.tables.streamed import StreamedRecords
from commlearn.trained.artifact import load
from commlearn.trained.embed import embed, embed_with_gaps, rows_with_any

AT_A_TIME = 4096  # records processed at once


def vectors_of(
    experiment: Experiment,
    data: Dataset,
    runs: Mapping[str, Path],
    untrained: bool = True,
) -> dict[Key, Block]:
    """Return the vectors of the rows to fit on and to score, with all modalities and without each one.

    Fixed features learn from training rows, without labels. A modality that was read for a pretrained
    encoder has raw features instead.
    """
    parts = (data.fit, data.test)
    modalities = list(data.train.specs)
    subsets = {"": modalities}
    if len(modalities) > 1:
        subsets |= {absent: [name for name in modalities if name != absent] for absent in modalities}
    features = _Features(experiment, data, parts)
    vectors = {
        Key("alone", name): Block(*(features.alone(name, side) for side in range(2))) for name in modalities
    }
    for absent, names in subsets.items():
        sides = [features.beside(names, side) for side in range(2)]
        for name in modalities:  # for an absent one: what the others predict
            vectors[Key("beside", name, absent)] = Block(sides[0][name], sides[1][name])
    for run, folder in runs.items():
        model = load(folder)
        for absent, names in subsets.items():
            vectors[Key("learned", run, absent)] = Block(*(_embedded(model, part, names) for part in parts))
    if untrained:
        uses_features = build_features(experiment, data.train.specs, data.state) is not None
        blocks = features.blocks if uses_features else None
        initial = build_method(experiment, data.train.specs, data.state, features=blocks).eval()
        vectors[Key("untrained")] = Block(*(embed(initial, part, blocks="learned") for part in parts))
    return vectors


class _Features:
    """Fixed features of each part, computed once for each modality."""

    def __init__(self, experiment: Experiment, data: Dataset, parts: Sequence[Records]) -> None:
        train = data.fit if isinstance(data.train, StreamedRecords) else data.train
        pretrained = pretrained_of(data.state)
        plain = {name: spec for name, spec in data.train.specs.items() if name not in pretrained}
        self.parts = parts
        networks = experiment.model.networks
        self.blocks = FeatureBlocks(plain, networks).learn(train, experiment.seed) if plain else None
        self.columns: dict[str, list[Column]] = {
            name: [feature_column(block, records.columns[name]) for records in parts]
            for name, block in (self.blocks.each if self.blocks else {}).items()
        }
        self.raw = raw_parts(parts, [name for name in data.train.specs if name not in plain])

    def alone(self, name: str, side: int) -> np.ndarray:
        """Return one modality's features, zeros if absent, plus a flag column if any record lacks it."""
        if name in self.raw:
            return self.raw[name][side]
        present = [presence(records.columns[name]) for records in self.parts]
        values = self.columns[name][side].take(np.arange(len(self.parts[side]))).values.numpy()
        if all(mask.all() for mask in present):
            return values
        return np.concatenate([values * present[side][:, None], ~present[side][:, None]], axis=1).astype(
            np.float32
        )

    def beside(self, names: Sequence[str], side: int) -> dict[str, np.ndarray]:
        """Return every modality's features, as an embedding of only the named modalities holds them."""
        features = {
            name: values[side] if name in names else np.zeros_like(values[side])
            for name, values in self.raw.items()
        }
        if self.blocks is None:
            return features
        used = [name for name in names if name in self.columns] or list(self.columns)[:1]
        rows = [
            np.arange(start, min(start + AT_A_TIME, len(self.parts[side])))
            for start in range(0, len(self.parts[side]), AT_A_TIME)
        ]
        batches = [
            self.blocks(
                {name: self.columns[name][side].take(part) for name in used},
                [name for name in used if name in names],
            )
            for part in rows
        ]
        values, ends = torch.cat(batches).numpy(), np.cumsum(list(self.blocks.dims.values()))[:-1]
        return features | dict(zip(self.blocks.dims, np.split(values, ends, axis=1), strict=True))


def _embedded(model: Any, records: Records, names: Sequence[str]) -> np.ndarray:
    """Return learned embeddings from these modalities; zeros for records that have none of them."""
    rows = rows_with_any(records, names)
    return np.nan_to_num(embed_with_gaps(model, records, rows, names, blocks="learned"), copy=False)
