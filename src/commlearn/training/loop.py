"""Training: one loop to read at one sitting, on Lightning Fabric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from commlearn.data.records import Dataset
from commlearn.errors import CommlearnError, ConfigurationError, RunError, TrainingError
from commlearn.kinds.schema import Schema
from commlearn.methods.base import Method
from commlearn.training.batches import descents, draw_batch
from commlearn.training.build import build_method, read_data
from commlearn.training.checkpoint import write_checkpoint
from commlearn.training.configuration import Experiment, Training, read_experiment
from commlearn.training.descent import Player
from commlearn.training.diagnostics import Diagnostics
from commlearn.training.gradient_cache import check_cacheable
from commlearn.training.interrupt import Interrupt
from commlearn.training.kept_tokens import with_kept_tokens
from commlearn.training.optimization import adamw, learning_rate_factor
from commlearn.training.progress import Progress, Silent
from commlearn.training.resolve import resolved
from commlearn.training.resume import open_folder, restore, restore_optimizers
from commlearn.training.run_folder import RunFolder
from commlearn.training.sharding import gathered, stay_whole, strategy_of, whole
from commlearn.training.trained import Trained
from commlearn.training.watch import Watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # takes a second to import, and is needed to train alone

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
    state, warnings = _opened(fabric, folder, experiment, resume, overwrite)
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


def _opened(
    fabric: Fabric, folder: RunFolder, experiment: Experiment, resume: bool, overwrite: bool
) -> tuple[dict[str, Any] | None, list[str]]:
    """What the first rank found in the folder; what it cannot open, no rank waits for."""
    found: tuple[dict[str, Any] | None, list[str]] | CommlearnError = (None, [])
    if fabric.is_global_zero:
        try:
            found = open_folder(folder, experiment, resume, overwrite)
        except CommlearnError as problem:
            found = problem
    if fabric.world_size > 1:
        found = fabric.broadcast(found)
    if isinstance(found, CommlearnError):
        raise found
    return found


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
    experiment = resolved(experiment, records.specs, data.state)
    steps_per_epoch = _steps_per_epoch(training, len(records), fabric.world_size)
    method = build_method(experiment, records.specs, data.state)
    method.check_records(records)
    if training.micro_batch:
        check_cacheable(method, experiment.method["name"], training.precision)
    step = restore(state, method, {}, experiment) if state else 0
    if fabric.is_global_zero:
        folder.truncate_metrics(step) if state else folder.create(experiment, data)
        folder.log(
            f"{'resumed' if state else 'started'} at step {step} of {training.epochs * steps_per_epoch}"
        )
    fabric.barrier()
    player = fabric.setup(Player(method))
    made = {group: adamw(params, training) for group, params in method.parameter_groups().items()}
    if state:
        restore_optimizers(state, made, experiment)
    optimizers: dict[str, Any] = {
        group: fabric.setup_optimizers(optimizer) for group, optimizer in made.items()
    }
    method.train()

    tell = _teller(folder, progress, fabric.is_global_zero)
    with whole(player):
        kept, augmentations = with_kept_tokens(data, method, experiment, data.state, fabric, tell)
    records = kept.train
    diagnostics = None
    if training.diagnose:
        diagnostics = Diagnostics(experiment, kept, method, augmentations, partial(whole, player))
    watch = Watch(folder, training, progress, fabric.is_global_zero, diagnostics)
    total = training.epochs * steps_per_epoch
    stop, stopped = Interrupt(), False
    progress.start(experiment, step, total, steps_per_epoch)
    with stop:
        while step < total and not stopped:
            factor = learning_rate_factor(training, (step + 1) / steps_per_epoch)
            batch = draw_batch(records, experiment, augmentations, method, step, steps_per_epoch, fabric)
            for descent in descents(fabric, player, method, experiment, batch, step):
                optimizer = optimizers[descent.group]
                _set_rate(optimizer, training.learning_rate * factor)
                optimizer.zero_grad()
                descent.backward()
                norm = _clip(fabric, player, optimizer, training.clip_norm)
                optimizer.step()
                watch.see(step + 1, descent.terms, descent.accuracy, descent.group, norm)
            step += 1
            stopped = stop.agreed(fabric, due=step % training.log_every == 0)
            watch.step(step, step / steps_per_epoch, training.learning_rate * factor)
            if step % training.checkpoint_every == 0 or step == total or stopped:
                watch.check()
                _save(fabric, folder, method, optimizers, step, total)
                fabric.barrier()
    progress.stop()
    if stop.asked and fabric.is_global_zero:
        folder.log(f"interrupted after step {step}; a checkpoint was written")
    if stop.asked:
        raise stop.error()
    if fabric.is_global_zero:
        folder.write_metrics_table()
        folder.log(f"finished after step {step}")
    stay_whole(player)
    method.eval()
    return Run(
        experiment=experiment,
        method=method,
        specs=data.train.specs,
        schema=None if data.schema is None else Schema.from_mapping(data.schema),
        state=None if data.state is None else dict(data.state),
        warnings=(*warnings, *watch.warnings),
        folder=folder,
        step=step,
        rank=fabric.global_rank,
    )


def _steps_per_epoch(training: Training, records: int, devices: int) -> int:
    if training.batch_size > records:
        raise TrainingError(
            f"training.batch_size is {training.batch_size}, but there are only {records} training "
            f"records. Give a batch of at most {records}."
        )
    if training.batch_size < devices:
        raise TrainingError(
            f"training.batch_size is {training.batch_size}, but there are {devices} devices that "
            "share it. Give a larger batch, or fewer devices."
        )
    return records // training.batch_size


def load_run(path: str | Path) -> Run:
    """A run from its folder, with the weights of its newest whole checkpoint."""
    folder = RunFolder(path)
    experiment = folder.experiment()
    state, warnings = folder.state()
    specs = folder.specs()
    schema, learned = folder.reader()
    try:
        method = build_method(experiment, specs, learned, fresh=False)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as problem:
        raise RunError(f"{path} is damaged: its files describe no model ({problem!r}).") from problem
    restore(state, method, {}, experiment)
    method.to("cuda" if torch.cuda.is_available() else "cpu")
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
    fabric: Fabric,
    folder: RunFolder,
    method: Method,
    optimizers: Mapping[str, Any],
    step: int,
    total: int,
) -> None:
    parted = {
        "method": method.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
    }
    state = {"step": step, "total": total, **gathered(parted)}
    if fabric.is_global_zero:
        write_checkpoint(folder.checkpoints, state)


def _teller(folder: RunFolder, progress: Progress, writes: bool) -> Callable[[str], None]:
    """Tells a line to the log and to whoever watches."""

    def tell(line: str) -> None:
        if writes:
            folder.log(line)
            progress.note(line)

    return tell


def _fabric(training: Training) -> Fabric:
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    if training.threads:
        torch.set_num_threads(training.threads)
    try:
        fabric = Fabric(
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.nodes,
            strategy=strategy_of(training),
            precision=training.precision,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as problem:
        raise ConfigurationError(
            f"training.accelerator '{training.accelerator}', devices {training.devices}, strategy "
            f"'{training.strategy}' and precision '{training.precision}' do not fit this machine: {problem}"
        ) from problem
    fabric.launch()
    return fabric


def _set_rate(optimizer: Any, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _clip(fabric: Fabric, player: Any, optimizer: Any, largest: float) -> Any:
    """The norm of the gradient, clipped if asked."""
    if largest > 0:
        return gathered(fabric.clip_gradients(player, optimizer, max_norm=largest))
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return gathered(torch.nn.utils.get_total_norm(gradients))
