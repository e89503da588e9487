"""Training: one loop to read at one sitting, on Lightning Fabric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from commlearn.augmentations import Augmentation, make_batch
from commlearn.data.batch import Batch, to_device
from commlearn.data.records import Dataset, Records
from commlearn.errors import TrainingError
from commlearn.kinds.schema import Schema
from commlearn.methods.base import Method, Step
from commlearn.seeds import numpy_generator, torch_generator, torch_seed
from commlearn.training.build import build_augmentations, build_method, read_data
from commlearn.training.checkpoint import write_checkpoint
from commlearn.training.configuration import Experiment, Training, read_experiment
from commlearn.training.diagnostics import Diagnostics
from commlearn.training.interrupt import Interrupt
from commlearn.training.optimization import adamw, learning_rate_factor
from commlearn.training.progress import Progress, Silent
from commlearn.training.resume import open_folder, restore
from commlearn.training.run_folder import RunFolder
from commlearn.training.trained import Trained
from commlearn.training.watch import Watch

__all__ = ["Run", "load_run", "train"]


@dataclass(frozen=True, kw_only=True)
class Run(Trained):
    """A training that ended, or was loaded from its folder."""

    folder: RunFolder
    step: int
    rank: int = 0  # of this process; others than 0 have nothing to tell


def train(
    experiment: Experiment | str | Path,
    out: str | Path,
    data: Dataset | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    note: str = "",
) -> Run:
    """Train what the experiment says and keep all of it in the folder `out`.

    Args:
        experiment: what to train, or the name or path of a recipe.
        out: the run folder; one that holds a run is refused unless `resume` or `overwrite`.
        data: records, if they are not to be read as the experiment says.
        resume: go on from the folder's last checkpoint, to the same weights as never interrupted.
        overwrite: throw away the run that the folder holds.
        progress: shows how far training is; silent if not given.
        note: a line for the run's log, such as what was chosen and why.

    Example:
        >>> import tempfile
        >>> experiment = read_experiment(
        ...     "trifeature-quick", {"training.epochs": 1, "data.size": 32, "data.train_pairs": 64}
        ... )
        >>> run = train(experiment, tempfile.mkdtemp())
        >>> run.step
        1
    """
    if not isinstance(experiment, Experiment):
        experiment = read_experiment(experiment)
    folder, fabric = RunFolder(out), _fabric(experiment.training)
    writes = fabric.is_global_zero
    opened = open_folder(folder, experiment, resume, overwrite) if writes else (None, [])
    state, warnings = fabric.broadcast(opened) if fabric.world_size > 1 else opened
    try:
        if data is None:
            data = read_data(experiment)
        for line in (note, *data.notes):
            if line and writes:
                folder.log(line)
        shown = progress if progress is not None and writes else Silent()
        return _train(fabric, folder, experiment, data, state, warnings, shown)
    finally:
        folder.unlock()


def _train(
    fabric: Fabric,
    folder: RunFolder,
    experiment: Experiment,
    data: Dataset,
    state: dict[str, Any] | None,
    warnings: list[str],
    progress: Progress,
) -> Run:
    training, records = experiment.training, data.train
    steps_per_epoch = len(records) // training.batch_size
    if steps_per_epoch == 0:
        raise TrainingError(
            f"training.batch_size is {training.batch_size}, but there are only {len(records)} training "
            f"records. Give a batch of at most {len(records)}."
        )
    method = build_method(experiment, records.specs)
    method.check_records(records)
    optimizers = {group: adamw(params, training) for group, params in method.parameter_groups().items()}
    step = restore(state, method, optimizers, experiment) if state else 0
    if fabric.is_global_zero:
        folder.truncate_metrics(step) if state else folder.create(experiment, data)
        folder.log(
            f"{'resumed' if state else 'started'} at step {step} of {training.epochs * steps_per_epoch}"
        )
    fabric.barrier()
    player, *prepared = fabric.setup(Player(method), *optimizers.values())
    optimizers = dict(zip(optimizers, prepared, strict=True))
    method.train()

    augmentations = build_augmentations(experiment, records.specs)
    diagnostics = Diagnostics(experiment, data, method, augmentations) if training.diagnose else None
    watch = Watch(folder, training, progress, fabric.is_global_zero, diagnostics)
    total = training.epochs * steps_per_epoch
    stop = Interrupt()
    progress.start(experiment, step, total, steps_per_epoch)
    with stop:
        while step < total and not stop.asked:
            factor = learning_rate_factor(training, (step + 1) / steps_per_epoch)
            batch = draw_batch(records, experiment, augmentations, method, step, steps_per_epoch, fabric)
            torch.manual_seed(torch_seed(experiment.seed, "dropout", step, fabric.global_rank))
            for loss, terms, accuracy, group in take_steps(player, method, batch):
                optimizer = optimizers[group]
                _set_rate(optimizer, training.learning_rate * factor)
                optimizer.zero_grad()
                fabric.backward(loss)
                norm = _clip(fabric, player, optimizer, training.clip_norm)
                optimizer.step()
                watch.see(step + 1, terms, accuracy, group, norm)
            step += 1
            watch.step(step, step / steps_per_epoch, training.learning_rate * factor)
            if step % training.checkpoint_every == 0 or step == total or stop.asked:
                watch.check()
                if fabric.is_global_zero:
                    _save(folder, experiment, method, optimizers, step, total)
                fabric.barrier()
    progress.stop()
    if stop.asked and fabric.is_global_zero:
        folder.log(f"interrupted after step {step}; a checkpoint was written")
    if stop.asked:
        raise stop.error()
    if fabric.is_global_zero:
        folder.write_metrics_table()
        folder.log(f"finished after step {step}")
    method.eval()
    return Run(
        experiment=experiment,
        method=method,
        specs=records.specs,
        schema=None if data.schema is None else Schema.from_mapping(data.schema),
        state=None if data.state is None else dict(data.state),
        warnings=(*warnings, *watch.warnings),
        folder=folder,
        step=step,
        rank=fabric.global_rank,
    )


class Player(nn.Module):
    """Lets the engine wrap a method whose step is a generator: each call computes the next loss."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, steps: Iterator[Step]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], str]:
        step = next(steps)
        return step.loss, step.terms, step.accuracy, step.group


def take_steps(
    player: nn.Module, method: Method, batch: Batch
) -> Iterator[tuple[Tensor, dict[str, Tensor], dict[str, Tensor], str]]:
    """Each of a method's losses for one batch; the next is computed after the last was descended."""
    steps = method.steps(batch)
    for _ in range(method.steps_per_batch):
        yield player(steps)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, records: int) -> np.ndarray:
    """The order in which one epoch visits the records."""
    return numpy_generator(seed, "order", epoch).permutation(records)


def draw_batch(
    records: Records,
    experiment: Experiment,
    augmentations: Mapping[str, Augmentation],
    method: Method,
    step: int,
    steps_per_epoch: int,
    fabric: Fabric,
) -> Batch:
    """The batch of one step: this rank's share of the records, moved, then augmented on the device."""
    epoch, place = divmod(step, steps_per_epoch)
    order = epoch_order(experiment.seed, epoch, len(records))
    size = experiment.training.batch_size
    rows = order[place * size : (place + 1) * size][fabric.global_rank :: fabric.world_size]
    drawn = numpy_generator(experiment.seed, "versions", step, fabric.global_rank)
    view = to_device(records.view(rows, generator=drawn), fabric.device)
    labels = records.labels(rows) if method.views.targets else {}
    targets = {name: values.to(fabric.device) for name, values in labels.items()}
    generator = torch_generator(experiment.seed, "augment", step, fabric.global_rank)
    needed = method.views
    batch = make_batch(view, targets, augmentations, generator, needed.plain, needed.augmented, records.specs)
    return replace(batch, progress=step / (experiment.training.epochs * steps_per_epoch))


def load_run(path: str | Path) -> Run:
    """A run from its folder, with the weights of its newest whole checkpoint."""
    folder = RunFolder(path)
    experiment = folder.experiment()
    state, warnings = folder.state()
    specs = folder.specs()
    method = build_method(experiment, specs)
    restore(state, method, {}, experiment)
    method.to("cuda" if torch.cuda.is_available() else "cpu")
    schema, learned = folder.reader()
    return Run(
        experiment=experiment,
        method=method.eval(),
        specs=specs,
        schema=schema,
        state=learned,
        warnings=tuple(warnings),
        folder=folder,
        step=state["step"],
    )


def _save(
    folder: RunFolder,
    experiment: Experiment,
    method: Method,
    optimizers: Mapping[str, Any],
    step: int,
    total: int,
) -> None:
    state = {
        "step": step,
        "total": total,
        "method": method.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
    }
    write_checkpoint(folder.checkpoints, state)


def _fabric(training: Training) -> Fabric:
    if training.threads:
        torch.set_num_threads(training.threads)
    fabric = Fabric(
        accelerator=training.accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        strategy=training.strategy,
        precision=training.precision,
    )
    fabric.launch()
    return fabric


def _set_rate(optimizer: Any, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _clip(fabric: Fabric, player: Any, optimizer: Any, largest: float) -> Any:
    """The norm of the gradient, clipped if asked."""
    if largest > 0:
        return fabric.clip_gradients(player, optimizer, max_norm=largest)
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
