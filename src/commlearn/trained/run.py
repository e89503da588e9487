"""A training, in memory or loaded from its folder; and whether one starts afresh or resumes there.

Nothing here needs the training engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from commlearn.config.build import read_data, resolved
from commlearn.config.configuration import Experiment, to_mapping
from commlearn.cores import cores, stated_threads
from commlearn.errors import DAMAGED, CheckpointError, RunError
from commlearn.methods.base import Method
from commlearn.models.encoders.own import refuse_unfit
from commlearn.records import Dataset
from commlearn.storage.fingerprint import fingerprint
from commlearn.trained.model import Trained, adopt_frozen, stored_method
from commlearn.trained.run_folder import FROZEN_WEIGHTS, RunFolder, by_dotted_key


@dataclass(frozen=True, kw_only=True)
class Run(Trained):
    """A trained model together with the run folder that its training wrote."""

    folder: RunFolder
    step: int
    rank: int = 0  # rank of this process; only rank 0 reports results

    def _summary(self) -> list[tuple[str, str]]:
        return [*super()._summary(), ("steps", f"{self.step:,}"), ("folder", str(self.folder.path))]


def load_run(path: str | Path, modules: Mapping[str, nn.Module] | None = None) -> Run:
    """Load a run from its folder, with the weights of its newest intact checkpoint."""
    folder = RunFolder(path)
    where = str(folder.path)
    with folder.reading():
        experiment = folder.experiment()
        state, warnings = folder.state()
        specs = folder.specs()
        schema, learned = folder.reader()
        try:
            method, features = stored_method(
                experiment, specs, learned, state["method"].values(), where, folder.features, modules
            )
            refuse_unfit(method.encoders, state["method"], where)
        except (*DAMAGED, RuntimeError, MemoryError) as problem:
            raise RunError(
                f"{folder.path} is damaged: its files do not describe a model ({problem!r})."
            ) from problem
        restore(state, method, experiment)
        if (tensors := folder.frozen()) is not None:
            try:
                adopt_frozen(method, tensors, where)
            except RuntimeError as problem:
                reason = str(problem).splitlines()[-1].strip()
                file = folder.path / FROZEN_WEIGHTS
                raise RunError(f"{file} is damaged: it does not fit any encoder: {reason}") from problem
        method.to("cuda" if torch.cuda.is_available() else "cpu")
        return Run(
            experiment=experiment,
            method=method.eval(),
            specs=specs,
            schema=schema,
            state=learned,
            warnings=tuple(warnings),
            fine_tuned=folder.fine_tuned,
            rows=folder.rows(),
            features=features,
            unused=folder.unused(),
            folder=folder,
            step=state["step"],
        )


def read_own_data(trained: Trained) -> Dataset:
    """Read the data of a training again; refuse a table that has changed in the meantime."""
    data = read_data(trained.experiment)
    if isinstance(trained, Run):
        trained.folder.check_table(data.files)
    return data


def open_folder(
    folder: RunFolder, experiment: Experiment, resume: bool, overwrite: bool
) -> tuple[dict[str, Any] | None, list[str]]:
    """Lock the folder; return the state to resume from (None if the run starts afresh) and warnings.

    A run to be replaced stays until `RunFolder.create`, so that a training that is refused costs nothing.
    """
    if not folder.exists:
        folder.claim()
        return None, []
    if not (resume or overwrite):
        raise RunError(
            f"{folder.path} already holds a run. Continue it with resume=True, replace it with "
            "overwrite=True, or give another out=."
        )
    if overwrite and not resume:
        folder.files.check_removable()  # before locking creates a file
        folder.lock()
        return None, []
    folder.lock()
    _check_settings(folder, experiment)
    try:
        state = folder.state()
        if state[1]:
            folder.set_aside()
        return state
    except CheckpointError:
        if list(folder.checkpoints.glob("*.ckpt")):
            raise
        folder.files.check_removable()  # stopped before its first checkpoint: nothing to resume from
        return None, []


def _check_settings(folder: RunFolder, requested: Experiment) -> None:
    """Refuse settings that differ from the run's; both are resolved first, as older folders state fewer.

    A table at another path is the same if its files are those of the training.
    """
    with folder.reading():
        stored, specs, (_, learned) = folder.experiment(), folder.specs(), folder.reader()
    try:
        previous, current = (
            to_mapping(resolved(experiment, specs, learned)) for experiment in (stored, requested)
        )
    except DAMAGED as problem:
        raise RunError(
            f"{folder.path} is damaged: its files do not describe a model ({problem!r})."
        ) from problem
    ignored = ["about", "published", "scores", "variants", "training.threads"]
    old, new = stored.data.get("table"), requested.data.get("table")
    if old and new and old != new and folder.has_files(fingerprint(new)):
        ignored.append("data.table")
    if differences := [line for line in changes(previous, current) if not line.startswith(tuple(ignored))]:
        raise RunError(
            f"{folder.path} was trained with other settings: {'; '.join(differences)}. Resume with the same "
            "settings, or give another out=."
        )


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences between nested settings, one line each.

    Example:
        >>> changes({"seed": 1, "training": {"epochs": 2}}, {"seed": 1, "training": {"epochs": 3}})
        ['training.epochs was 2, now 3']
    """
    old, new = by_dotted_key(before), by_dotted_key(now)
    return [
        f"{key} was {old.get(key)!r}, now {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def restore(state: dict[str, Any], method: Method, experiment: Experiment) -> int:
    """Load the checkpoint's weights into a method; return the checkpoint's step."""
    with fitting(experiment):
        method.load_state_dict(state["method"])
    return int(state["step"])


def threads_as_before(state: Mapping[str, Any], stated: int, device: torch.device) -> list[str]:
    """Use as many threads as the run had, unless others are stated; warn if they differ on the CPU."""
    old = state.get("threads", torch.get_num_threads())
    if old <= cores() and not (stated or stated_threads()):
        torch.set_num_threads(old)
    new = torch.get_num_threads()
    if old == new or device.type != "cpu" or state["step"] >= state["total"]:
        return []
    return [
        f"Up to step {state['step']} the run had {old} CPU threads, now it has {new}. Sums are computed "
        "in another order, so the weights will not be identical to those of an uninterrupted run. To make "
        f"them identical, resume with OMP_NUM_THREADS={old}, or with training.threads set to {old} if "
        "it can be set."
    ]


def restore_optimizers(
    state: dict[str, Any],
    optimizers: Mapping[str, Any],
    experiment: Experiment,
    placed: Callable[[dict[str, Any], Any], dict[str, Any]] = lambda state, optimizer: state,
) -> None:
    """Load the checkpoint's moments into optimizers, after the engine has placed the weights.

    `placed` selects the part of an optimizer's whole state that this process keeps.
    """
    with fitting(experiment):
        for name, optimizer in optimizers.items():
            options = [{**group} for group in optimizer.param_groups]
            optimizer.load_state_dict(placed(state["optimizers"][name], optimizer))
            # keep the experiment's options, whatever the checkpoint states
            for group, original in zip(optimizer.param_groups, options, strict=True):
                group.update({key: value for key, value in original.items() if key != "params"})
            _check_moments(optimizer)


def _check_moments(optimizer: Any) -> None:
    """Refuse moments that are not AdamW's, which would fail at the first step."""
    for parameter, moments in optimizer.state.items():
        shapes = {
            name: tuple(moment.shape) if isinstance(moment, torch.Tensor) else type(moment).__name__
            for name, moment in moments.items()
        }
        if shapes != {"step": (), "exp_avg": tuple(parameter.shape), "exp_avg_sq": tuple(parameter.shape)}:
            stored = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"the optimizer's moments of a parameter {tuple(parameter.shape)} are {stored}")


@contextmanager
def fitting(experiment: Experiment) -> Iterator[None]:
    try:
        yield
    except (*DAMAGED, RuntimeError) as problem:
        raise CheckpointError(
            "The checkpoint does not fit the model that the configuration describes "
            f"({experiment.method['name']}, width {experiment.model.width}): "
            f"{(str(problem).splitlines() or [type(problem).__name__])[-1].strip()}"
        ) from problem
