"""The optimizer and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import Parameter

from commlearn.config.configuration import Training

__all__ = ["adamw", "learning_rate_factor"]


def adamw(module: nn.Module, parameters: Iterable[Parameter], training: Training) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, not biases, norms and other 1-D parameters.

    Args:
        module: whose parameters they are; a bias of it may have any shape.
        parameters: those that are trained.
        training: rate and decay.
    """
    parts = [part for part in module.modules() if not isinstance(part, nn.ParameterDict)]  # has names of data
    free = {id(bias) for part in parts if (bias := getattr(part, "bias", None)) is not None}
    decayed: list[Parameter] = []
    others: list[Parameter] = []
    for parameter in parameters:
        (others if parameter.ndim <= 1 or id(parameter) in free else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
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
