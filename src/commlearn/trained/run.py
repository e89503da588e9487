"""A finished training, in memory or loaded from its folder. Nothing here needs the training engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from commlearn.config.build import build_features, read_data
from commlearn.errors import DAMAGED, RunError
from commlearn.models.encoders.own import refuse_unfit
from commlearn.records import Dataset
from commlearn.trained.model import Trained
from commlearn.trained.model_bounds import adopt_frozen, stored_method
from commlearn.trained.resume import restore
from commlearn.trained.run_folder import FROZEN_WEIGHTS, RunFolder


@dataclass(frozen=True, kw_only=True)
class Run(Trained):
    """A trained model together with the run folder that its training wrote."""

    folder: RunFolder
    step: int
    rank: int = 0  # rank of this process; only rank 0 reports results

    def _summary(self) -> list[tuple[str, str]]:
        """Return what was trained, for how many steps, and its folder."""
        return [*super()._summary(), ("steps", f"{self.step:,}"), ("folder", str(self.folder.path))]


def load_run(path: str | Path, modules: Mapping[str, nn.Module] | None = None) -> Run:
    """Load a run from its folder, with the weights of its newest intact checkpoint."""
    folder = RunFolder(path)
    with folder.reading():
        return _load(folder, modules)


def _load(folder: RunFolder, modules: Mapping[str, nn.Module] | None) -> Run:
    experiment = folder.experiment()
    state, warnings = folder.state()
    specs = folder.specs()
    schema, learned = folder.reader()
    try:
        method, features = stored_method(
            experiment,
            specs,
            learned,
            state["method"].values(),
            str(folder.path),
            lambda: folder.features(build_features(experiment, specs, learned)),
            modules,
        )
        refuse_unfit(method.encoders, state["method"], str(folder.path))
    except (*DAMAGED, RuntimeError, MemoryError) as problem:
        raise RunError(
            f"{folder.path} is damaged: its files do not describe a model ({problem!r})."
        ) from problem
    restore(state, method, experiment)
    if (tensors := folder.frozen()) is not None:
        try:
            adopt_frozen(method, tensors, str(folder.path))
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
