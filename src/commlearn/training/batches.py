"""The batch of each step, and what is to be descended for it: the seed and the step decide them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from commlearn.augmentations import Augmentation, plan_batch
from commlearn.batch import Batch, View, to_device
from commlearn.config.configuration import Experiment
from commlearn.methods.base import Method
from commlearn.models.features import StandIns
from commlearn.own_draws import OwnDraws
from commlearn.records import Records
from commlearn.seeds import numpy_generator, torch_generator, torch_seed
from commlearn.training.descent import Descent, losses
from commlearn.training.gradient_cache import cached_loss, split

if TYPE_CHECKING:
    from lightning_fabric import Fabric


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
    """The batch of one step: this rank's share of the records, moved, to be augmented on the device.

    Args:
        records: to draw from.
        experiment: says how large a batch is, and the seed of all that is drawn.
        augmentations: by modality.
        method: declares the views that it needs.
        step: of the training.
        steps_per_epoch: of them make an epoch.
        fabric: knows this rank and its device.
        alike: records that augmented versions of others may be made from.

    Returns:
        What makes any part of the batch, and the number of its records.
    """
    epoch, place = divmod(step, steps_per_epoch)
    size = experiment.training.batch_size
    share = slice(place * size + fabric.global_rank, (place + 1) * size, fabric.world_size)
    rows = records.visit(experiment.seed, epoch, share)
    labels = records.labels(rows) if method.views.targets else {}
    targets = {name: values.to(fabric.device) for name, values in labels.items()}
    generator = torch_generator(experiment.seed, "augment", step, fabric.global_rank)
    needed = method.views
    sources: list[View] = []
    if alike is not None:
        drawn = numpy_generator(experiment.seed, "stand-ins", step, fabric.global_rank)
        sources = [to_device(alike.view(rows, drawn), fabric.device) for _ in range(needed.augmented)]
    if sources and not needed.plain:
        view = sources[0]
    else:
        drawn = numpy_generator(experiment.seed, "versions", step, fabric.global_rank)
        view = to_device(records.view(rows, generator=drawn), fabric.device)
    plan = plan_batch(
        view, targets, augmentations, generator, needed.plain, needed.augmented, records.specs, sources
    )
    progress = step / (experiment.training.epochs * steps_per_epoch)
    groups = records.group_numbers(rows)
    groups = None if groups is None else groups.to(fabric.device)

    def make(part: slice) -> Batch:
        return replace(plan(part), progress=progress, groups=None if groups is None else groups[part])

    return make, len(rows)


def descents(
    fabric: Fabric,
    player: nn.Module,
    method: Method,
    experiment: Experiment,
    batch: tuple[Callable[[slice], Batch], int],
    step: int,
) -> Iterator[Descent]:
    """What is to be descended for one batch: the losses of the whole, or one that is computed in parts."""
    (plan, size), part = batch, experiment.training.micro_batch
    seed = partial(torch_seed, experiment.seed, "dropout", step, fabric.global_rank)
    if part:
        return iter([cached_loss(fabric, player, method, split(plan, size, part), seed)])
    return losses(fabric, player, method, plan(slice(None)), OwnDraws(seed()))
