"""Rivals of a learned embedding: the usual alternatives, read from the same rows and features."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from commlearn.comparison.answers import readers
from commlearn.comparison.answers.readers import Block, Reading
from commlearn.comparison.answers.task import Labelled, Task
from commlearn.errors import ConfigurationError, unknown

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


class Key(NamedTuple):
    """Name of a set of vectors: one modality's features (alone or next to others) or an embedding."""

    sort: str  # alone, beside, learned or untrained
    name: str = ""  # name of the modality or of the run
    without: str = ""  # modality that is left out


@dataclass(frozen=True)
class Material:
    """Vectors of the rows to fit on and of the rows to score, restricted to rows that have a target."""

    blocks: Mapping[Key, Block]

    @classmethod
    def of(cls, vectors: Mapping[Key, Block], task: Task) -> Material:
        """Select the vectors of the task's rows."""
        return cls(
            {
                key: Block(np.asarray(block.train[task.train_rows]), np.asarray(block.test[task.test_rows]))
                for key, block in vectors.items()
            }
        )

    @property
    def modalities(self) -> list[str]:
        return [key.name for key in self.blocks if key.sort == "alone"]

    @property
    def runs(self) -> list[str]:
        """Names of the runs, one for each method and seed."""
        return [key.name for key in self.blocks if key.sort == "learned" and not key.without]

    def beside(self, without: str = "") -> dict[str, Block]:
        """Return the features of all modalities, or of all but one."""
        return {
            name: self.blocks[Key("beside", name, without)] for name in self.modalities if name != without
        }

    def embedding(self, run: str, without: str = "") -> dict[str, Block]:
        """Return a run's embedding together with the features of its modalities."""
        return {"learned": self.blocks[Key("learned", run, without)], **self.beside(without)}


class Unit:
    """All readers of one target on the same labelled rows.

    With `absences`, readers also predict the test rows with each modality missing in turn.
    """

    def __init__(
        self,
        material: Material,
        labelled: Labelled,
        without: str = "",
        absences: bool = False,
        pretrained: Mapping[str, tuple[Any, Any]] | None = None,
    ) -> None:
        self.material, self.labelled, self.without = material, labelled, without
        self.absences = [*material.modalities] if absences and len(material.modalities) > 1 else []
        self.pretrained = dict(pretrained or {})
        self._readings: dict[str, Reading] = {}

    def reading(self, name: str) -> Reading:
        """Return a reader's predictions; those for test rows with a modality missing come at the end."""
        if name not in self._readings:
            self._readings[name] = self._read(name)
        return self._readings[name]

    def segments(self, name: str) -> list[str]:
        """Return the modality missing in each segment of a reader's test predictions; "" if none is."""
        return ["", *self.absences] if name == "features" or name in self.material.runs else [""]

    def _read(self, name: str) -> Reading:
        material, labelled = self.material, self.labelled
        if name.endswith(ALONE):
            block = material.blocks[Key("alone", name.removesuffix(ALONE))]
            return readers.linear({name: block}, labelled)
        if name == "late fusion":
            modalities = [modality for modality in material.modalities if modality != self.without]
            return readers.stacked([self.reading(alone(modality)) for modality in modalities], labelled)
        if name in material.runs:
            blocks = material.embedding(name, self.without)
            absent = [self._left_out(name, modality, blocks) for modality in self.absences]
            return readers.linear(_with_rows(blocks, absent), labelled)
        beside = material.beside(self.without)
        if name == "features":
            absent = [{**beside, modality: _mean(beside[modality])} for modality in self.absences]
            return readers.linear(_with_rows(beside, absent), labelled)
        if name == "pca":
            return readers.linear({"components": readers.components(beside)}, labelled)
        if name == "untrained":
            return readers.linear({"learned": material.blocks[Key("untrained")], **beside}, labelled)
        functions = {"boosting": readers.boosted, "network": readers.network}
        if name in self.pretrained:
            return readers.in_context(*self.pretrained[name])(beside, labelled)
        return functions[name](beside, labelled)

    def _left_out(self, run: str, modality: str, blocks: Mapping[str, Block]) -> dict[str, Block]:
        """Return the run's embedding of records that lack the modality, and the features expected then."""
        learned = self.material.blocks.get(Key("learned", run, modality))
        absent = {
            name: self.material.blocks.get(Key("beside", name, modality)) or _mean(block)
            for name, block in blocks.items()
            if name != "learned"
        }
        same_width = learned is not None and learned.test.shape[1] == blocks["learned"].test.shape[1]
        return {"learned": learned if learned and same_width else _mean(blocks["learned"]), **absent}


def alone(modality: str) -> str:
    """Return the name of the reader of a single modality.

    Example:
        >>> alone("ecg")
        'ecg alone'
    """
    return modality + ALONE


def chosen_rivals(
    names: Sequence[str] | None, modalities: Sequence[str], rows: int
) -> tuple[list[str], dict[str, tuple[Any, Any]], dict[str, str]]:
    """Return the named rivals' readers, those with a pretrained model, and left-out rivals with reasons."""
    requested = list(RIVALS) if names is None or "all" in names else list(dict.fromkeys(names))
    for name in requested:
        if name not in RIVALS:
            raise ConfigurationError(unknown("rival", name, [*RIVALS, "all"]))
    chosen, pretrained, left_out = [], {}, {}
    for name in requested:
        if name == "single":
            chosen += [alone(modality) for modality in modalities]
        elif name in PRETRAINED:
            reason = _unusable(name, rows)
            if reason:
                left_out[name] = reason
            else:
                pretrained[name] = estimators(name)
                chosen.append(name)
        elif name == "late fusion" and len(modalities) < 2:
            left_out[name] = "there is only one modality"
        else:
            chosen.append(name)
    return chosen, pretrained, left_out


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
