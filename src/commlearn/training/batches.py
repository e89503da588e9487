"""The batch of each step, determined by the seed and the step, and its loss if it is computed in parts.

If a batch does not fit in memory, its gradient is computed from parts, one in memory at a time. A contrast
needs the vectors of all records at once, but not the activations behind them. Therefore (Gao et al., 2021,
"Scaling deep contrastive learning batch size under memory limited setup"):

1. the vectors of every part are computed, and nothing else of it is kept;
2. the loss is computed from all vectors, and its gradient at each of them;
3. every part is computed once more, and the gradients at its vectors are propagated back through it.

The second pass costs one more forward computation. Random numbers are drawn before (augmentation) or from
the part's own seed (dropout), so that both passes see the same. The batch statistics that an encoder uses
(batch norm) are those of its part; the head's are those of the whole batch. Running statistics are updated
in the second pass only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from commlearn.augmentations import Augmentation, plan_batch
from commlearn.batch import Batch, Subset, View, to_device
from commlearn.config.configuration import Experiment
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method, Step
from commlearn.methods.rows import Rows, joined
from commlearn.models.features import StandIns
from commlearn.models.tokens import frozen_moments
from commlearn.records import Records
from commlearn.seeds import SeededDraws, numpy_generator, torch_generator
from commlearn.training.descent import Descent, parts, touched
from commlearn.training.sharding import without_gradient_sync

Part = Callable[[], Batch]


def split(plan: Callable[[slice], Batch], records: int, size: int) -> list[Part]:
    """Divide a batch into parts of at most `size` records; a last part of one record joins the one before."""
    starts = list(range(0, records, size))
    if len(starts) > 1 and records - starts[-1] == 1:
        starts.pop()
    return [partial(plan, slice(start, end)) for start, end in pairwise([*starts, records])]


def cached_loss(
    fabric: Fabric,
    player: nn.Module,
    method: Method,
    batches: Sequence[Part],
    seeds: Callable[[int], int],
) -> Descent:
    """Return the loss of a batch that is given in parts."""

    def represent(number: int) -> Rows:
        with SeededDraws(seeds(number)):
            return method.represent(batches[number]())

    with torch.no_grad(), frozen_moments(method):
        part_rows = [Rows(**player(lambda n=n: vars(represent(n)))) for n in range(len(batches))]
    rows = joined(part_rows)
    leaves = {subset: vectors.requires_grad_() for subset, vectors in rows.vectors.items()}
    with without_gradient_sync(fabric, player), SeededDraws(seeds(len(batches))):
        step = Step(**player(lambda: parts(method.compare(rows.gathered()), fabric, method)))

    def surrogate(number: int, gradients: Mapping[Subset, Tensor], last: bool) -> Tensor:
        vectors = represent(number).vectors
        total = torch.stack([(vectors[key] * gradients[key]).sum() for key in vectors]).sum()
        return touched(total, method) if last else total

    def backward() -> None:
        with without_gradient_sync(fabric, player):
            fabric.backward(step.loss)
        sizes = [len(next(iter(part.vectors.values()))) for part in part_rows]
        pieces = {key: _gradient(leaf).split(sizes) for key, leaf in leaves.items()}
        for number in range(len(sizes)):
            gradients = {key: piece[number] for key, piece in pieces.items()}
            last = number == len(sizes) - 1
            with without_gradient_sync(fabric, player, enabled=not last):
                fabric.backward(player(partial(surrogate, number, gradients, last)))

    return Descent(step, backward)


def check_cacheable(method: Method, name: str, precision: str) -> None:
    """Refuse a method or a precision whose batches cannot be computed in parts."""
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


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def draw_batch(
    records: Records,
    experiment: Experiment,
    augmentations: Mapping[str, Augmentation],
    method: Method,
    step: int,
    steps_per_epoch: int,
    fabric: Fabric,
    alike: StandIns | None = None,
) -> tuple[Callable[[slice], Batch], int]:
    """Draw this rank's share of one step's batch and move it to the device, to be augmented there.

    Augmented versions may be made from records that stand in for others, `alike`.

    Returns:
        A function that makes any part of the batch, and the number of its records.
    """
    epoch, index = divmod(step, steps_per_epoch)
    size = experiment.training.batch_size
    share = slice(index * size + fabric.global_rank, (index + 1) * size, fabric.world_size)
    rows = records.visit(experiment.seed, epoch, share)
    labels = records.labels(rows) if method.views.targets else {}
    targets = {name: values.to(fabric.device) for name, values in labels.items()}
    generator = torch_generator(experiment.seed, "augment", step, fabric.global_rank)
    views = method.views
    sources: list[View] = []
    if alike is not None:
        rng = numpy_generator(experiment.seed, "stand-ins", step, fabric.global_rank)
        sources = [to_device(alike.view(rows, rng), fabric.device) for _ in range(views.augmented)]
    if sources and not views.plain:
        view = sources[0]
    else:
        rng = numpy_generator(experiment.seed, "versions", step, fabric.global_rank)
        view = to_device(records.view(rows, generator=rng), fabric.device)
    plan = plan_batch(
        view, targets, augmentations, generator, views.plain, views.augmented, records.specs, sources
    )
    progress = step / (experiment.training.epochs * steps_per_epoch)
    groups = records.group_numbers(rows)

    def make(part: slice) -> Batch:
        numbers = None if groups is None else groups[part].to(fabric.device)
        return replace(plan(part), progress=progress, groups=numbers)

    return make, len(rows)
