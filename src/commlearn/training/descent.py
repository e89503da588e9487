"""A method's losses under the engine: computed inside its wrapper, ready to be descended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from commlearn.batch import Batch
from commlearn.methods.base import Method, Step
from commlearn.own_draws import OwnDraws

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Descent", "Player", "losses", "touched"]


@dataclass(frozen=True)
class Descent:
    """One loss of a batch, and how its gradients are computed."""

    terms: dict[str, Tensor]
    accuracy: dict[str, Tensor]
    group: str  # of parameters
    backward: Callable[[], None]


class Player(nn.Module):
    """Lets the engine wrap a method that is not one forward call: all it computes, it computes in here."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, work: Callable[[], Any]) -> Any:
        return work()


def losses(
    fabric: Fabric, player: nn.Module, method: Method, batch: Batch, draws: OwnDraws
) -> Iterator[Descent]:
    """Each of a method's losses for one batch; the next is computed after the last was descended."""
    steps = method.steps(batch)
    for _ in range(method.steps_per_batch):
        with draws:
            loss, terms, accuracy, group = player(lambda: parts(next(steps), fabric, method))
        yield Descent(terms, accuracy, group, lambda loss=loss: fabric.backward(loss))  # type: ignore[misc]


def parts(
    step: Step, fabric: Fabric, method: Method
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], str]:
    """A step as the plain collections that the engine can handle."""
    loss = step.loss if fabric.world_size == 1 else touched(step.loss, method)
    return loss, step.terms, step.accuracy, step.group


def touched(loss: Tensor, method: nn.Module) -> Tensor:
    """The loss, with a gradient of zero for parameters that it does not depend on.

    Ranks wait for the gradient of every parameter, and another player's have none.
    """
    return loss + 0.0 * torch.stack([p.sum() for p in method.parameters() if p.requires_grad]).sum()
