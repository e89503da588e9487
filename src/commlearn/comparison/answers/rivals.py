"""What one would do otherwise: the rivals of a learned embedding, on the same rows and features."""

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
    "late fusion": "linear readers of each modality alone, stacked on their predictions out of fold",
    "boosting": "gradient boosting on the features side by side",
    "network": "a network of one hidden layer on the features side by side, trained on the labels",
    "pca": "principal components of the features side by side, by a linear reader",
    "untrained": "the features and the same network's embedding before training, by a linear reader",
    "tabicl": "TabICL on the features side by side",
}
PRETRAINED = {"tabicl": ("TabICLClassifier", "TabICLRegressor")}
ROWS_IN_CONTEXT = 10_000  # that a pretrained reader takes, at most
REFIT = ("features", "late fusion", "boosting", "network")  # rivals that are asked what an absence costs


class Key(NamedTuple):
    """Which vectors: of one modality alone, beside the others, or of a run; of records without a modality."""

    sort: str  # alone, beside, learned or untrained
    name: str = ""  # of the modality or of the run
    without: str = ""


@dataclass(frozen=True)
class Material:
    """Vectors of the rows to fit on and of the rows to score, cut to those that have a target."""

    blocks: Mapping[Key, Block]

    @classmethod
    def of(cls, vectors: Mapping[Key, Block], task: Task) -> Material:
        """Those of the task's rows."""
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
        """The trained methods, one for each seed."""
        return [key.name for key in self.blocks if key.sort == "learned" and not key.without]

    def beside(self, without: str = "") -> dict[str, Block]:
        """The features of all modalities but one."""
        return {
            name: self.blocks[Key("beside", name, without)] for name in self.modalities if name != without
        }

    def embedding(self, run: str, without: str = "") -> dict[str, Block]:
        """What a run learned, with the features beside it."""
        return {"learned": self.blocks[Key("learned", run, without)], **self.beside(without)}


class Unit:
    """All readers of one target on the same labelled rows.

    `absences` says whether the readers are also tried on test rows that lack a modality.
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
        """Predictions by one reader; those on test rows that lack a modality follow the others."""
        if name not in self._readings:
            self._readings[name] = self._read(name)
        return self._readings[name]

    def segments(self, name: str) -> list[str]:
        """What the test predictions of a reader are of: all modalities, then without one of them."""
        return ["", *self.absences] if name == "features" or name in self.material.runs else [""]

    def _read(self, name: str) -> Reading:
        material, labelled = self.material, self.labelled
        if name.endswith(ALONE):
            block = material.blocks[Key("alone", name.removesuffix(ALONE))]
            return readers.linear({name: block}, labelled)
        if name == "late fusion":
            each = [modality for modality in material.modalities if modality != self.without]
            return readers.stacked([self.reading(alone(modality)) for modality in each], labelled)
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
        read = {"boosting": readers.boosted, "network": readers.network}
        if name in self.pretrained:
            return readers.in_context(*self.pretrained[name])(beside, labelled)
        return read[name](beside, labelled)

    def _left_out(self, run: str, modality: str, blocks: Mapping[str, Block]) -> dict[str, Block]:
        """What the run embeds of records that lack the modality, and the features that are expected of it."""
        learned = self.material.blocks.get(Key("learned", run, modality))
        absent = {
            name: self.material.blocks.get(Key("beside", name, modality)) or _mean(block)
            for name, block in blocks.items()
            if name != "learned"
        }
        whole = learned is not None and learned.test.shape[1] == blocks["learned"].test.shape[1]
        return {"learned": learned if learned and whole else _mean(blocks["learned"]), **absent}


def alone(modality: str) -> str:
    """What the reader of one modality is called.

    Example:
        >>> alone("ecg")
        'ecg alone'
    """
    return modality + ALONE


def chosen_rivals(
    names: Sequence[str] | None, modalities: Sequence[str], rows: int
) -> tuple[list[str], dict[str, tuple[Any, Any]], dict[str, str]]:
    """The readers of the named rivals, those that need a pretrained model, and who was left out and why."""
    asked = list(RIVALS) if names is None or "all" in names else list(dict.fromkeys(names))
    for name in asked:
        if name not in RIVALS:
            raise ConfigurationError(unknown("rival", name, [*RIVALS, "all"]))
    chosen, pretrained, left_out = [], {}, {}
    for name in asked:
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
            left_out[name] = "there is one modality alone"
        else:
            chosen.append(name)
    return chosen, pretrained, left_out


def estimators(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Classifier and regressor of a pretrained reader, with weights that are on this machine already."""
    module = importlib.import_module(name)
    classifier, regressor = (getattr(module, part) for part in PRETRAINED[name])
    local = {"allow_auto_download": False}
    return partial(classifier, **local), partial(regressor, **local)


def _unusable(name: str, rows: int) -> str:
    """Why a pretrained reader cannot be used here; empty if it can: it is tried on a few rows."""
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed: pip install 'commlearn[tabular]'"
    if rows > ROWS_IN_CONTEXT:
        return f"it reads {ROWS_IN_CONTEXT} labelled rows at most, and there are {rows}"
    few = np.random.default_rng(0).normal(size=(20, 2))
    try:
        classifier, _ = estimators(name)
        classifier().fit(few, few[:, 0] > 0).predict_proba(few)
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError, TypeError) as problem:
        return f"{name} cannot be used: {' '.join(str(problem).split())[:200]}"
    return ""


def _mean(block: Block) -> Block:
    """What is filled in where a modality is absent: the mean of the training rows."""
    return Block(block.train, np.repeat(block.train.mean(axis=0, keepdims=True), len(block.test), axis=0))


def _with_rows(blocks: Mapping[str, Block], more: Sequence[Mapping[str, Block]]) -> dict[str, Block]:
    """The blocks with further rows to predict below their own."""
    return {
        name: Block(block.train, np.concatenate([block.test, *(each[name].test for each in more)]))
        for name, block in blocks.items()
    }
