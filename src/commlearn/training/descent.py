"""Gradient descent: losses under the engine, the optimizer and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from commlearn.batch import Batch
from commlearn.config.configuration import Training
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method, Step

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Descent(NamedTuple):
    """One loss of a batch, and how its gradients are computed."""

    step: Step
    backward: Callable[[], None]


class Player(nn.Module):
    """Lets the engine wrap modules without a single forward call: all their work runs inside this one."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, work: Callable[[], Any]) -> Any:
        return work()


def losses(
    fabric: Fabric,
    player: nn.Module,
    method: Method,
    batch: Batch,
    draws: AbstractContextManager[Any],
) -> Iterator[Descent]:
    """Yield each of a method's losses for one batch, computed after the step on the one before."""
    steps = method.steps(batch)
    for _ in range(method.steps_per_batch):
        with draws:
            step = Step(**player(lambda: parts(next(steps), fabric, method)))
        yield Descent(step, partial(fabric.backward, step.loss))
    if next(steps, None) is not None:
        raise ConfigurationError(
            f"{type(method).__name__}.steps yields more losses than steps_per_batch "
            f"({method.steps_per_batch}) announces. "
            "Set this attribute of the class to the number of losses per batch."
        )


def parts(step: Step, fabric: Fabric, method: Method) -> dict[str, Any]:
    """Return the fields of a step as plain collections, which the engine can handle."""
    loss = step.loss if fabric.world_size == 1 else touched(step.loss, method)
    return {**vars(step), "loss": loss}


def touched(loss: Tensor, method: nn.Module) -> Tensor:
    """Return the loss with a zero gradient for parameters that it does not depend on.

    DDP waits for a gradient of every parameter, and the other player's parameters would get none.
    """
    return loss + 0.0 * torch.stack([p.sum() for p in method.parameters() if p.requires_grad]).sum()


def adamw(module: nn.Module, parameters: Iterable[Parameter], training: Training) -> torch.optim.AdamW:
    """Return an AdamW that decays matrices and kernels, but not biases, norms and other 1-D parameters."""
    # a ParameterDict has attributes that are named by the data, such as "bias"
    parts = [part for part in module.modules() if not isinstance(part, nn.ParameterDict)]
    bias_ids = {id(bias) for part in parts if (bias := getattr(part, "bias", None)) is not None}
    decayed: list[Parameter] = []
    others: list[Parameter] = []
    for parameter in parameters:
        (others if parameter.ndim <= 1 or id(parameter) in bias_ids else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=training.learning_rate, fused=True
    )


def learning_rate_factor(training: Training, epoch: float) -> float:
    """Return the factor on the peak learning rate, `epoch` passes into training.

    Example:
        >>> learning_rate_factor(Training(epochs=10, schedule="cosine"), 5.0)
        0.5
    """
    if epoch < training.warmup_epochs:
        return epoch / training.warmup_epochs
    if training.schedule == "constant":
        return 1.0
    final = training.final_learning_rate / training.learning_rate
    decay_epochs = max(training.epochs - training.warmup_epochs, 1e-9)
    progress = min((epoch - training.warmup_epochs) / decay_epochs, 1.0)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
