"""Batches that do not fit: the gradient of the whole batch from parts, one in memory at a time.

A contrast needs the vectors of all records at once, but not what lies behind them. So (Gao et al.,
2021, "Scaling deep contrastive learning batch size under memory limited setup"):

1. every part's vectors are computed, and nothing else of it is kept;
2. the loss is computed from all vectors, and its gradient at each of them;
3. every part is computed once more, and descends the gradients at its own vectors.

The second look costs one more forward pass. What is random is drawn before (augmentation) or from
the part's own seed (dropout), so that both looks see the same. What an encoder learns from the
statistics of its batch (batch norm) it learns from its part; the head's are those of the whole batch.
Running moments take note of the second look alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from commlearn.batch import Batch, Subset
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method
from commlearn.methods.rows import Rows, joined
from commlearn.models.present import moments_at_rest
from commlearn.own_draws import OwnDraws
from commlearn.training.descent import Descent, parts, touched
from commlearn.training.sharding import no_exchange

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Part = Callable[[], Batch]
Vectors = dict[Subset, Tensor]


def split(plan: Callable[[slice], Batch], records: int, size: int) -> list[Part]:
    """Parts of at most `size` records; a last one of a single record joins the one before."""
    starts = list(range(0, records, size))
    if len(starts) > 1 and records - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], records]
    return [lambda rows=slice(a, b): plan(rows) for a, b in zip(starts, ends, strict=True)]  # type: ignore[misc]


def cached_loss(
    fabric: Fabric,
    player: nn.Module,
    method: Method,
    batches: Sequence[Part],
    seeds: Callable[[int], int],
) -> Descent:
    """The loss of a batch that is given in parts.

    Args:
        fabric: the engine.
        player: the method inside the engine's wrapper.
        method: the method itself.
        batches: each makes one part of the batch, the same whenever it is called.
        seeds: the seed of each part's dropout, by its number.
    """

    def represent(number: int) -> Rows:
        with OwnDraws(seeds(number)):
            return method.represent(batches[number]())

    with torch.no_grad(), moments_at_rest(method):
        seen = [Rows(*player(lambda n=n: _plain(represent(n)))) for n in range(len(batches))]
    rows = joined(seen)
    leaves = {subset: vectors.requires_grad_() for subset, vectors in rows.vectors.items()}
    with no_exchange(fabric, player), OwnDraws(seeds(len(batches))):
        loss, terms, accuracy, group = player(lambda: parts(method.compare(rows.gathered()), fabric, method))

    def backward() -> None:
        with no_exchange(fabric, player):
            fabric.backward(loss)
        start = 0
        for number, part in enumerate(seen):
            size = len(next(iter(part.vectors.values())))
            mine = {key: _gradient(leaf)[start : start + size] for key, leaf in leaves.items()}
            last = number == len(seen) - 1

            def surrogate(number: int = number, mine: Vectors = mine, last: bool = last) -> Tensor:
                vectors = represent(number).vectors
                total = torch.stack([(vectors[key] * mine[key]).sum() for key in vectors]).sum()
                return touched(total, method) if last else total

            with no_exchange(fabric, player, enabled=not last):
                fabric.backward(player(surrogate))
            start += size

    return Descent(terms, accuracy, group, backward)


def check_cacheable(method: Method, name: str, precision: str) -> None:
    """Refuse what cannot be computed in parts."""
    if type(method).steps is not Method.steps:
        raise ConfigurationError(
            f"training.micro_batch: method {name} takes several steps with one batch, each from fresh "
            "vectors, so its batches cannot be computed in parts. Set it to 0, or choose another method."
        )
    if precision == "16-mixed":
        raise ConfigurationError(
            "training.micro_batch: precision 16-mixed scales every loss, and gradients of parts would be "
            "scaled twice. Use bf16-mixed or 32-true."
        )


def _plain(rows: Rows) -> tuple[Vectors, dict[str, Tensor], dict[str, Tensor], float, Tensor | None]:
    return rows.vectors, rows.present, rows.targets, rows.progress, rows.groups


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
