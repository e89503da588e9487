"""What fine-tuning minimises, by the sort of its target: a head on the embedding and its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.errors import DataError
from commlearn.models.heads import projection_head
from commlearn.objectives import supcon

NONE = -1  # the code of a class that no training record has


@dataclass(frozen=True)
class TargetObjective:
    """One target's encoding, head and loss."""

    name: str  # cross-entropy, binary cross-entropy, squared error or supcon
    views: int  # augmented versions of a record that the loss compares
    outputs: int  # of the head
    encode: Callable[[np.ndarray], Tensor]  # labels to what the loss takes
    loss: Callable[[list[Tensor], Tensor], Tensor]  # the head's outputs for each view, and encoded labels
    about: dict[str, Any]  # plain values that tell what an output means

    def head(self, dim: int) -> nn.Module:
        return projection_head(dim) if self.name == "supcon" else nn.Linear(dim, self.outputs)


def cross_entropy(labels: np.ndarray) -> TargetObjective:
    """A linear head with an output for each class."""
    classes, codes = _classes(labels)

    def loss(outputs: list[Tensor], codes: Tensor) -> Tensor:
        labelled = codes != NONE
        return (
            F.cross_entropy(outputs[0][labelled], codes[labelled])
            if labelled.any()
            else 0.0 * outputs[0].sum()
        )

    return TargetObjective("cross-entropy", 1, len(classes), codes, loss, {"classes": _class_names(classes)})


def supervised_contrast(labels: np.ndarray) -> TargetObjective:
    """Records of one class agree, as SupCon has it; a probe reads the result."""
    classes, codes = _classes(labels)

    def loss(outputs: list[Tensor], codes: Tensor) -> Tensor:
        return supcon(outputs[0], outputs[1], codes)

    return TargetObjective("supcon", 2, 0, codes, loss, {"classes": _class_names(classes)})


def binary_cross_entropy(labels: np.ndarray) -> TargetObjective:
    """A linear head with an output for each label of a set."""
    matrix = labels.ndim == 2
    names = (
        [str(column) for column in range(labels.shape[1])]
        if matrix
        else sorted({str(label) for record in labels for label in record})
    )
    if not names:
        raise DataError("None of the training records has a label; there is nothing to learn.")

    def encode(labels: np.ndarray) -> Tensor:
        rows = labels if matrix else [[name in map(str, record) for name in names] for record in labels]
        return torch.as_tensor(np.asarray(rows, dtype=np.float32))

    def loss(outputs: list[Tensor], truth: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs[0], truth)

    return TargetObjective("binary cross-entropy", 1, len(names), encode, loss, {"labels": names})


def squared_error(values: np.ndarray) -> TargetObjective:
    """A linear head with an output for each number; numbers are standardised by the training records."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-12)

    def encode(values: np.ndarray) -> Tensor:
        return torch.as_tensor((values.reshape(len(values), -1) - mean) / scale, dtype=torch.float32)

    def loss(outputs: list[Tensor], truth: Tensor) -> Tensor:
        return F.mse_loss(outputs[0], truth)

    about = {"mean": mean.tolist(), "scale": scale.tolist()}
    return TargetObjective("squared error", 1, rows.shape[1], encode, loss, about)


OBJECTIVES: dict[str, dict[str, Callable[[np.ndarray], TargetObjective]]] = {
    "head": {"class": cross_entropy, "multilabel": binary_cross_entropy, "number": squared_error},
    "supcon": {"class": supervised_contrast},
}
"""By the name of the objective and the sort of the target."""


def objective_for(name: str, sort: str, labels: np.ndarray) -> TargetObjective:
    """The objective for a target, learned from the labels of training records."""
    if sort not in OBJECTIVES[name]:
        raise DataError(f"The objective '{name}' takes no target of sort {sort}; take 'head'.")
    return OBJECTIVES[name][sort](labels)


def _classes(labels: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], Tensor]]:
    """The classes of training records, and what turns labels into codes."""
    classes = np.unique(_plain(labels))
    if len(classes) < 2:
        raise DataError(
            "Fine-tuning needs at least two classes to tell apart, and the training records show "
            f"{', '.join(map(str, classes))} alone. Take another target, or split otherwise."
        )

    def codes(labels: np.ndarray) -> Tensor:
        labels = _plain(labels)
        place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        return torch.as_tensor(np.where(classes[place] == labels, place, NONE).astype(np.int64))

    return classes, codes


def _plain(labels: np.ndarray) -> np.ndarray:
    """Labels that can be sorted, whatever a column mixes."""
    return labels.astype(str) if labels.dtype == object else labels


def _class_names(classes: np.ndarray) -> list[Any]:
    return [value.item() if hasattr(value, "item") else str(value) for value in classes]
