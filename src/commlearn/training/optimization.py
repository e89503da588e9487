"""The optimizer and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter

from commlearn.training.configuration import Training

__all__ = ["adamw", "learning_rate_factor"]


def adamw(parameters: Iterable[Parameter], training: Training) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, not biases, norms and other 1-D parameters."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=training.learning_rate, fused=True
    )


def learning_rate_factor(training: Training, epoch: float) -> float:
    """What the peak learning rate is multiplied by, `epoch` passes into training.

    Example:
        >>> learning_rate_factor(Training(epochs=10, schedule="cosine"), 5.0)
        0.5
    """
    if epoch < training.warmup_epochs:
        return epoch / training.warmup_epochs
    if training.schedule == "constant":
        return 1.0
    final = training.final_learning_rate / training.learning_rate
    rest = max(training.epochs - training.warmup_epochs, 1e-9)
    progress = min((epoch - training.warmup_epochs) / rest, 1.0)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
