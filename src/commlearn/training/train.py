"""Training an experiment: its data, method and engine are set up, and the run is stored in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from commlearn.config.build import (
    build_features,
    build_method,
    learned_features,
    read_data,
    resolved,
    with_modules,
)
from commlearn.config.configuration import Experiment, Training, read_experiment
from commlearn.cores import OtherWork
from commlearn.errors import CommlearnError, ConfigurationError, RunError
from commlearn.methods.base import Method
from commlearn.models.encoders.own import OWN
from commlearn.models.features import FeatureBlocks, FeatureColumn, StandIns, stand_ins
from commlearn.records import Dataset, Records
from commlearn.seeds import SeededDraws, may_draw, torch_seed
from commlearn.tables.schema import Schema
from commlearn.trained.embed import with_features
from commlearn.trained.run import Run, open_folder, restore, restore_optimizers, threads_as_before
from commlearn.trained.run_folder import RunFolder
from commlearn.trained.training_rows import rows_of_dataset
from commlearn.training.batches import cached_loss, check_cacheable, draw_batch, split
from commlearn.training.callbacks import Callback, Callbacks, Start, usual
from commlearn.training.descent import Descent, Player, adamw, losses
from commlearn.training.kept_tokens import with_kept_tokens
from commlearn.training.loop import descend
from commlearn.training.sharding import gather_parameters, shard_optimizer_state, strategy_of, unsharded
from commlearn.training.watch import Diagnostics, Watch


def train(
    experiment: Experiment | str | Path,
    out: str | Path,
    data: Dataset | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callback | None = None,
    note: str = "",
    encoders: Mapping[str, nn.Module] | None = None,
    callbacks: Sequence[Callback | str] = (),
) -> Run:
    """Train an experiment and store everything about it in the folder `out`.

    Args:
        experiment: what to train, or the name or path of a recipe.
        out: the run folder; one that holds a run is refused unless `resume` or `overwrite` is set.
        data: records to train on; if not given, they are read as the experiment says.
        resume: continue from the folder's last checkpoint, to the same weights as without interruption.
        overwrite: throw away the run that the folder holds; refused if it also holds other files.
        progress: shows the progress of the training; silent if not given.
        note: a line for the run's log, such as what was chosen and why.
        encoders: your own modules, by modality, in place of the experiment's encoders: copies of them are
            trained, except parameters with `requires_grad=False`. To load the run, pass them again.
        callbacks: instances of `Callback`, or names of trackers (`mlflow`, `trackio`, `wandb`), which
            follow the training and may stop it.

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
    modules: dict[str, nn.Module] = {}
    if encoders or any(part["name"] == OWN for part in experiment.model.encoders.values()):
        data = read_data(experiment) if data is None else data
        experiment, modules = with_modules(experiment, data, encoders or {})
    folder, fabric = RunFolder(out), fabric_of(experiment.training)
    all_callbacks = Callbacks(callbacks, *usual(progress)) if fabric.is_global_zero else Callbacks(())
    try:
        state, warnings = _open(fabric, folder, experiment, resume, overwrite)
        data = read_data(experiment) if data is None else data
        lines = [line for line in (note, *data.notes) if line]
        return _train(
            fabric, folder, experiment, data, state, warnings, all_callbacks, modules, lines, resume
        )
    finally:
        folder.unlock()


def _open(
    fabric: Fabric, folder: RunFolder, experiment: Experiment, resume: bool, overwrite: bool
) -> tuple[dict[str, Any] | None, list[str]]:
    """Open the folder on the first rank, and return its state and warnings or raise its error on all."""
    result: tuple[dict[str, Any] | None, list[str]] | CommlearnError = (None, [])
    if fabric.is_global_zero:
        try:
            result = open_folder(folder, experiment, resume, overwrite)
        except CommlearnError as problem:
            result = problem
    if fabric.world_size > 1:
        result = fabric.broadcast(result)
    if isinstance(result, CommlearnError):
        raise result
    return result


def _train(
    fabric: Fabric,
    folder: RunFolder,
    experiment: Experiment,
    data: Dataset,
    state: dict[str, Any] | None,
    warnings: list[str],
    callbacks: Callbacks,
    modules: Mapping[str, nn.Module],
    lines: list[str],  # of the log; written, like all files of the run, once nothing is refused any more
    resume: bool,
) -> Run:
    if state:
        folder.check_data(data)
    experiment = resolved(experiment, data.train.specs, data.state)
    training = experiment.training
    steps_per_epoch = training.batches_in_epoch(len(data.train), fabric.world_size)
    total = training.epochs * steps_per_epoch

    def tell(line: str) -> None:
        if fabric.is_global_zero:
            lines.append(line)
            callbacks.note(line)

    features = _features(folder, experiment, data, state is not None, tell)
    method = build_method(experiment, data.train.specs, data.state, features=features, modules=modules)
    method.check_records(data.train)
    if training.micro_batch:
        check_cacheable(method, experiment.method["name"], training.precision)
    step = restore(state, method, experiment) if state else 0
    if step > total:
        raise RunError(
            f"{folder.path} is at step {step}, but with these records and settings a training has only "
            f"{total} steps. Resume with the original records, or train again with another out=."
        )
    if state:
        warnings = [*warnings, *threads_as_before(state, training.threads, fabric.device)]
    player, optimizers = _place(fabric, method, experiment, state)

    with unsharded(player):
        feature_data = with_features(data, method, fabric.device, tell)
        token_data, augmentations = with_kept_tokens(feature_data, method, experiment, fabric, tell)
    substitutes = _stand_ins(token_data.train, tell) if training.stand_ins else None
    diagnostics = None
    if training.diagnose:
        diagnostics = Diagnostics(experiment, token_data, method, augmentations, partial(unsharded, player))
    rows = rows_of_dataset(data, _labels_seen(method, data))
    if fabric.is_global_zero:
        folder.truncate_metrics(step) if state else folder.create(experiment, data, resume)
        if step < total:
            folder.remove_readouts()
        folder.write_rows(rows)
        folder.write_features(features)
        warned = [f"warning: {warning}" for warning in warnings]
        folder.follow_table(experiment.data.get("table"))
        for line in (*lines, f"{'resumed' if state else 'started'} at step {step} of {total}", *warned):
            folder.log(line)
    fabric.barrier()
    other_work = OtherWork() if fabric.device.type == "cpu" else None
    watch = Watch(folder, training, callbacks, fabric.is_global_zero, diagnostics, other_work)
    draws = may_draw(method)

    def descents(step: int) -> Iterator[Descent]:
        plan, size = draw_batch(
            token_data.train, experiment, augmentations, method, step, steps_per_epoch, fabric, substitutes
        )
        seed = partial(torch_seed, experiment.seed, "dropout", step, fabric.global_rank)
        if training.micro_batch:
            pieces = split(plan, size, training.micro_batch)
            return iter([cached_loss(fabric, player, method, pieces, seed)])
        random_context = SeededDraws(seed()) if draws else nullcontext()
        return losses(fabric, player, method, plan(slice(None)), random_context)

    step = descend(
        fabric,
        optimizers,
        watch,
        Start(experiment, folder.path, step, total, steps_per_epoch),
        descents,
        training.checkpoint_every,
        lambda: {"method": method.state_dict()},
        lambda _: watch.enough,
    )
    if fabric.is_global_zero:
        folder.write_metrics_table()
        folder.write_unreadable(data)  # a streamed table's are found during training
        folder.log(f"{'finished' if step == total else 'stopped by a callback'} after step {step}")
    gather_parameters(player)
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
        rows=rows,
        features=features,
        unused=data.unused,
    )


def _features(
    folder: RunFolder, experiment: Experiment, data: Dataset, resumed: bool, tell: Callable[[str], None]
) -> FeatureBlocks | None:
    """Return the fixed features: read if the run has learned them before, otherwise learned now.

    They are learned from the training records before the first step, so an interrupted run has them, too.
    """
    if resumed and folder.has_features:
        return folder.features(build_features(experiment, data.train.specs, data.state))
    return learned_features(experiment, data, tell=tell)


def _stand_ins(records: Records, tell: Callable[[str], None]) -> StandIns | None:
    """Find records that may stand in for others; every modality needs fixed features to compare them by."""
    columns = {name: column for name, column in records.columns.items() if isinstance(column, FeatureColumn)}
    unsupported = [name for name in records.columns if name not in columns]
    if unsupported:
        raise ConfigurationError(
            f"training.stand_ins compares the fixed features of every modality in memory, but those of "
            f"{', '.join(unsupported)} are not: its encoder does not read any, or the records are streamed. "
            "Leave out training.stand_ins, or leave out model.encoders, model.features and stream."
        )
    substitutes = stand_ins(columns)
    share = 0.0 if substitutes is None else float((substitutes.count > 0).mean())
    tell(f"{share:.0%} of the training records have stand-ins: neighbours in most modalities")
    return substitutes


def _labels_seen(method: Method, data: Dataset) -> list[str]:
    """Return the targets whose labels the method learns from."""
    if not method.views.targets:
        return []
    target = getattr(method, "target", "")
    return [target] if target else list(data.train.targets)


def _place(
    fabric: Fabric, method: Method, experiment: Experiment, state: dict[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    """Return the method and its optimizers, as the engine placed them, with a checkpoint's moments if any."""
    player = fabric.setup(Player(method))
    optimizers = {
        group: adamw(method, parameters, experiment.training)
        for group, parameters in method.parameter_groups().items()
    }
    if state:
        restore_optimizers(state, optimizers, experiment, shard_optimizer_state)
    wrapped = {group: fabric.setup_optimizers(optimizer) for group, optimizer in optimizers.items()}
    method.train()
    return player, wrapped


def fabric_of(training: Training) -> Fabric:
    """Launch the engine on the devices and in the precision that the settings name."""
    if training.threads:
        torch.set_num_threads(training.threads)
    if training.accelerator == "cpu" or (training.accelerator == "auto" and not torch.cuda.is_available()):
        limit = max(8, os.cpu_count() or 1)  # each process holds a model and its libraries
        if training.devices > limit:
            raise ConfigurationError(
                f"training.devices is {training.devices}, but on a CPU each device is a process. Give at "
                f"most {limit}."
            )
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
