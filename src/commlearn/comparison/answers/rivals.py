"""Rivals of a learned embedding: the usual alternatives, read from the same rows and features.

First the vectors that all readers are compared on: each modality's fixed features and each run's embeddings.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from commlearn.comparison.answers import readers
from commlearn.comparison.answers.readers import Block, Reading
from commlearn.comparison.answers.task import Labelled, Task
from commlearn.comparison.baselines import raw_parts
from commlearn.config.build import build_method, pretrained_of
from commlearn.config.configuration import Experiment
from commlearn.errors import ConfigurationError, unknown
from commlearn.models.features import FeatureBlocks, feature_column
from commlearn.records import Dataset, Records
from commlearn.tables.streamed import StreamedRecords
from commlearn.trained.artifact import load
from commlearn.trained.embed import embed, embed_with_gaps, rows_with_any

AT_A_TIME = 4096  # records whose features are computed at once
EMBEDDING = ""  # the block of an embedding among those of modalities, whose names are not empty


class Key(NamedTuple):
    """Name of a set of vectors: one modality's features (alone or next to others) or an embedding."""

    sort: str  # alone, beside, learned or untrained
    name: str = ""  # name of the modality or of the run
    without: str = ""  # modality that is left out


def vectors_of(
    experiment: Experiment, data: Dataset, runs: Mapping[str, Path], untrained: bool = True
) -> dict[Key, Block]:
    """Return the vectors of the rows to fit on and to score, with all modalities and without each one.

    Fixed features learn from training rows, without labels. A modality that was read for a pretrained
    encoder has raw features instead.
    """
    parts, modalities = (data.fit, data.test), list(data.train.specs)
    subsets = {"": modalities}
    if len(modalities) > 1:
        subsets |= {absent: [name for name in modalities if name != absent] for absent in modalities}
    train = data.fit if isinstance(data.train, StreamedRecords) else data.train
    pretrained = pretrained_of(data.state)
    plain = {name: spec for name, spec in data.train.specs.items() if name not in pretrained}
    fixed = FeatureBlocks(plain, experiment.model.networks).learn(train, experiment.seed) if plain else None
    featured = [_with_features(fixed, records) for records in parts]
    features = raw_parts(featured, modalities)  # zeros if absent, with a flag if any record lacks it
    vectors = {Key("alone", name): Block(*sides) for name, sides in features.items()}
    for absent, names in subsets.items():
        expected = [_beside(fixed, records, names) for records in featured] if fixed else []
        for name in modalities:  # for an absent one: what the others predict, or zeros
            if name in plain:
                sides = [side[name] for side in expected]
            else:
                sides = features[name] if name in names else [np.zeros_like(side) for side in features[name]]
            vectors[Key("beside", name, absent)] = Block(*sides)
    for run, folder in runs.items():
        model = load(folder)
        for absent, names in subsets.items():
            vectors[Key("learned", run, absent)] = Block(*(_embedded(model, part, names) for part in parts))
    if untrained:
        blocks = fixed if experiment.model.features == "fixed" else None
        initial = build_method(experiment, data.train.specs, data.state, features=blocks).eval()
        vectors[Key("untrained")] = Block(*(embed(initial, part, blocks="learned") for part in parts))
    return vectors


def _with_features(fixed: FeatureBlocks | None, records: Records) -> Records:
    """Return the records with the fixed features of a modality, if it has any, in place of its values."""
    blocks = fixed.each if fixed else {}
    columns = {name: feature_column(block, records.columns[name]) for name, block in blocks.items()}
    return Records({**records.columns, **columns})


def _beside(fixed: FeatureBlocks, records: Records, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return every modality's fixed features, as an embedding of only the named modalities holds them."""
    used = [name for name in names if name in fixed.dims] or list(fixed.dims)[:1]
    batches = []
    for start in range(0, len(records), AT_A_TIME):
        view = records.view(slice(start, start + AT_A_TIME), used)
        batches.append(fixed(view, [name for name in used if name in names]))
    values, ends = torch.cat(batches).numpy(), np.cumsum(list(fixed.dims.values()))[:-1]
    return dict(zip(fixed.dims, np.split(values, ends, axis=1), strict=True))


def _embedded(model: Any, records: Records, names: Sequence[str]) -> np.ndarray:
    """Return learned embeddings from these modalities; zeros for records that have none of them."""
    rows = rows_with_any(records, names)
    return np.nan_to_num(embed_with_gaps(model, records, rows, names, blocks="learned"), copy=False)


def of_task(vectors: Mapping[Key, Block], task: Task) -> dict[Key, Block]:
    """Return the vectors of the rows that have the task's target."""
    return {
        key: Block(np.asarray(block.train[task.train_rows]), np.asarray(block.test[task.test_rows]))
        for key, block in vectors.items()
    }


ALONE = " alone"

RIVALS = {
    "single": "each modality's features alone, by a linear reader",
    "features": "the features of all modalities side by side, by a linear reader that scales each block",
    "late fusion": "linear readers of each modality alone, stacked on their out-of-fold predictions",
    "boosting": "gradient boosting on the features side by side",
    "network": "a network of one hidden layer on the features side by side, trained on the labels",
    "pca": "principal components of the features side by side, by a linear reader",
    "untrained": "the features and the same network's embedding before training, by a linear reader",
    "tabicl": "TabICL on the features side by side",
}
PRETRAINED = {"tabicl": ("TabICLClassifier", "TabICLRegressor")}
ROWS_IN_CONTEXT = 10_000  # labelled rows that a pretrained reader takes, at most
REFIT = ("features", "late fusion", "boosting", "network")  # rivals refitted without each modality


class Unit:
    """All readers of one target on the same labelled rows, from vectors of the rows that have the target.

    With `absences`, readers also predict the test rows with each modality missing in turn.
    """

    def __init__(
        self, vectors: Mapping[Key, Block], labelled: Labelled, without: str = "", absences: bool = False
    ) -> None:
        self.vectors, self.labelled, self.without = vectors, labelled, without
        self.modalities = [key.name for key in vectors if key.sort == "alone"]
        self.runs = {key.name for key in vectors if key.sort == "learned"}
        self.absences = self.modalities if absences and len(self.modalities) > 1 else []
        self._readings: dict[str, Reading] = {}

    def reading(self, name: str) -> Reading:
        """Return a reader's predictions; those for test rows with a modality missing come at the end."""
        if name not in self._readings:
            self._readings[name] = self._read(name)
        return self._readings[name]

    def segments(self, name: str) -> list[str]:
        """Return the modality missing in each segment of a reader's test predictions; "" if none is."""
        return ["", *self.absences] if name == "features" or name in self.runs else [""]

    def _read(self, name: str) -> Reading:
        labelled = self.labelled
        if name.endswith(ALONE):
            block = self.vectors[Key("alone", name.removesuffix(ALONE))]
            return readers.linear({name: block}, labelled)
        modalities = [modality for modality in self.modalities if modality != self.without]
        if name == "late fusion":
            return readers.stacked([self.reading(alone(modality)) for modality in modalities], labelled)
        beside = {modality: self.vectors[Key("beside", modality, self.without)] for modality in modalities}
        if name in self.runs:
            blocks = {EMBEDDING: self.vectors[Key("learned", name, self.without)], **beside}
            absent = [self._left_out(name, modality, blocks) for modality in self.absences]
            return readers.linear(_with_rows(blocks, absent), labelled)
        if name == "features":
            absent = [{**beside, modality: _mean(beside[modality])} for modality in self.absences]
            return readers.linear(_with_rows(beside, absent), labelled)
        if name == "pca":
            return readers.linear({"components": readers.components(beside)}, labelled)
        if name == "untrained":
            return readers.linear({EMBEDDING: self.vectors[Key("untrained")], **beside}, labelled)
        if name in PRETRAINED:
            return readers.in_context(beside, labelled, *estimators(name))
        return {"boosting": readers.boosted, "network": readers.network}[name](beside, labelled)

    def _left_out(self, run: str, modality: str, blocks: Mapping[str, Block]) -> dict[str, Block]:
        """Return the run's embedding of records that lack the modality, and the features expected then."""
        learned = self.vectors[Key("learned", run, modality)]
        if learned.test.shape[1] != blocks[EMBEDDING].test.shape[1]:
            learned = _mean(blocks[EMBEDDING])
        absent = {name: self.vectors[Key("beside", name, modality)] for name in blocks if name != EMBEDDING}
        return {EMBEDDING: learned, **absent}


def alone(modality: str) -> str:
    """Return the name of the reader of a single modality.

    Example:
        >>> alone("ecg")
        'ecg alone'
    """
    return modality + ALONE


def chosen_rivals(
    names: Sequence[str] | None, modalities: Sequence[str], rows: int
) -> tuple[list[str], dict[str, str]]:
    """Return the named rivals' readers, and the rivals that are left out with reasons."""
    requested = list(RIVALS) if names is None or "all" in names else list(dict.fromkeys(names))
    for name in requested:
        if name not in RIVALS:
            raise ConfigurationError(unknown("rival", name, [*RIVALS, "all"]))
    chosen, left_out = [], {}
    for name in requested:
        if name == "single":
            chosen += [alone(modality) for modality in modalities]
        elif name in PRETRAINED and (reason := _unusable(name, rows)):
            left_out[name] = reason
        elif name == "late fusion" and len(modalities) < 2:
            left_out[name] = "there is only one modality"
        else:
            chosen.append(name)
    return chosen, left_out


def estimators(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the classifier and regressor of a pretrained reader, without downloading weights."""
    module = importlib.import_module(name)
    classifier, regressor = (getattr(module, part) for part in PRETRAINED[name])
    options = {"allow_auto_download": False}
    return partial(classifier, **options), partial(regressor, **options)


def _unusable(name: str, rows: int) -> str:
    """Return why a pretrained reader cannot be used here, empty if it can; tries it on a few rows."""
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed: pip install 'commlearn[tabular]'"
    if rows > ROWS_IN_CONTEXT:
        return f"it takes at most {ROWS_IN_CONTEXT} labelled rows, and there are {rows}"
    sample = np.random.default_rng(0).normal(size=(20, 2))
    try:
        classifier, _ = estimators(name)
        classifier().fit(sample, sample[:, 0] > 0).predict_proba(sample)
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError, TypeError) as problem:
        return f"{name} cannot be used: {' '.join(str(problem).split())[:200]}"
    return ""


def _mean(block: Block) -> Block:
    """Replace the test rows by the training mean, as a stand-in for an absent modality."""
    return Block(block.train, np.repeat(block.train.mean(axis=0, keepdims=True), len(block.test), axis=0))


def _with_rows(blocks: Mapping[str, Block], extra: Sequence[Mapping[str, Block]]) -> dict[str, Block]:
    """Append further rows to predict to each block."""
    return {
        name: Block(block.train, np.concatenate([block.test, *(part[name].test for part in extra)]))
        for name, block in blocks.items()
    }
