"""Experiment trackers as callbacks. Each package is imported only in its own class.

A tracker's own settings decide where it stores its runs: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME,
WANDB_MODE and WANDB_PROJECT, TRACKIO_DIR.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, ClassVar

from commlearn.config.configuration import to_mapping
from commlearn.config.places import settings_without_places
from commlearn.errors import ConfigurationError, unknown
from commlearn.storage.file_list import EVENTS
from commlearn.trained.run_folder import RunFolder, by_dotted_key
from commlearn.training.callbacks import Callback, Metrics, Start
from commlearn.training.progress import title

PROJECT = "commlearn"  # project name if the tracker's own settings name none
MOST_PARAMETERS = 100  # most parameters that MLflow takes at once


class Tracker(Callback):
    """Sends settings and metrics to a tracker; a resumed training continues the tracker's earlier run.

    The run's folder stores which one that is. A tracker that fails at the start raises an error; one that
    fails later is dropped with a warning, and the training continues.
    """

    package: ClassVar[str]

    def __init__(self) -> None:
        if importlib.util.find_spec(self.package) is None:
            raise ConfigurationError(
                f"The tracker '{self.package}' is not installed. Install all trackers (pip install "
                f"'commlearn[trackers]'), or only this one (pip install {self.package})."
            )

    def open(self, name: str, settings: Mapping[str, Any], before: str | None) -> str:
        """Begin a run, or continue the one called `before`; return the tracker's name for it."""
        raise NotImplementedError

    def log(self, values: Mapping[str, float], step: int) -> None:
        raise NotImplementedError

    def close(self, failed: bool) -> None:
        raise NotImplementedError

    def failures(self) -> tuple[type[Exception], ...]:
        """Return the types of errors that are the tracker's, not this library's."""
        return (OSError, ValueError, RuntimeError)

    def start(self, start: Start) -> None:
        folder, file_name = RunFolder(start.folder), f"{self.package}.txt"
        path = start.folder / file_name
        previous_id = path.read_text(encoding="utf-8").strip() if start.step and path.exists() else None
        settings = by_dotted_key(settings_without_places(to_mapping(start.experiment)))
        self.followed = True
        with redirect_stdout(sys.stderr):  # standard output is for results
            try:
                run_id = self.open(title(start.experiment), settings, previous_id)
            except self.failures() as problem:
                raise ConfigurationError(
                    f"The tracker '{self.package}' cannot start: {problem}. Train without it, or fix its "
                    "settings."
                ) from problem
        folder.write(file_name, run_id + "\n")

    def step(self, step: int, metrics: Metrics) -> None:
        self._try(lambda: self.log(scalars(metrics), step))

    def end(self, error: BaseException | None) -> None:
        self._try(lambda: self.close(error is not None))

    def _try(self, send: Any) -> None:
        if not self.followed:
            return
        try:
            with redirect_stdout(sys.stderr):
                send()
        except self.failures() as problem:
            self.followed = False
            line = f"The tracker '{self.package}' failed and is no longer used in this training: {problem}"
            warnings.warn(RuntimeWarning(line), stacklevel=2)


class MLflow(Tracker):
    """A run of MLflow, inside the active one if there is one."""

    package = "mlflow"

    def open(self, name: str, settings: Mapping[str, Any], before: str | None) -> str:
        import mlflow

        run = mlflow.start_run(run_id=before, run_name=name, nested=True)
        pairs = list(settings.items()) if before is None else []
        for first in range(0, len(pairs), MOST_PARAMETERS):
            mlflow.log_params({_plain(key): v for key, v in pairs[first : first + MOST_PARAMETERS]})
        return str(run.info.run_id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        import mlflow

        mlflow.log_metrics({_plain(key): value for key, value in values.items()}, step=step)

    def close(self, failed: bool) -> None:
        import mlflow

        mlflow.end_run("FAILED" if failed else "FINISHED")

    def failures(self) -> tuple[type[Exception], ...]:
        from mlflow.exceptions import MlflowException

        return (*super().failures(), MlflowException)


class WandB(Tracker):
    """A run of Weights & Biases, separate from any that is active."""

    package = "wandb"

    def open(self, name: str, settings: Mapping[str, Any], before: str | None) -> str:
        import wandb

        self.run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            id=before,
            resume="allow" if before else None,
            config=dict(settings),
            reinit="create_new",
        )
        return str(self.run.id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def close(self, failed: bool) -> None:
        run, self.run = self.run, None
        run.finish(exit_code=int(failed))

    def failures(self) -> tuple[type[Exception], ...]:
        import wandb

        return (*super().failures(), wandb.Error)


class Trackio(WandB):
    """A run of trackio, which chooses the run's name."""

    package = "trackio"

    def open(self, name: str, settings: Mapping[str, Any], before: str | None) -> str:
        import trackio

        resume = "must" if before else "never"
        self.run = trackio.init(PROJECT, before, config=dict(settings), resume=resume, embed=False)
        return str(self.run.name)

    def close(self, failed: bool) -> None:
        run, self.run = self.run, None
        run.finish()

    def failures(self) -> tuple[type[Exception], ...]:
        return Tracker.failures(self)


class TensorBoard(Callback):
    """Writes TensorBoard's event files in the run's folder."""

    def __init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter

    def start(self, start: Start) -> None:
        RunFolder(start.folder).writes(EVENTS)
        path = start.folder / EVENTS
        self.board: Any = self.writer(str(path.parent), filename_suffix=path.suffix)

    def step(self, step: int, metrics: Metrics) -> None:
        for name, value in scalars(metrics).items():
            self.board.add_scalar(name, value, step)

    def end(self, error: BaseException | None) -> None:
        self.board.close()


TRACKERS: dict[str, type[Callback]] = {kind.package: kind for kind in (MLflow, Trackio, WandB)}


def tracker(name: str) -> Callback:
    """Return the tracker with this name."""
    if name not in TRACKERS:
        raise ConfigurationError(unknown("tracker", name, TRACKERS))
    return TRACKERS[name]()


def usual(progress: Callback | None) -> list[Callback]:
    """Return the callbacks of every training: TensorBoard if it works, and the progress display if any."""
    board: list[Callback] = []
    if importlib.util.find_spec("tensorboard"):
        try:
            board = [TensorBoard()]
        except (ImportError, AttributeError, TypeError) as problem:  # incompatible packages
            line = f"TensorBoard cannot be imported, so this training writes no events for it: {problem}"
            warnings.warn(RuntimeWarning(line), stacklevel=3)
    return board if progress is None else [*board, progress]


def scalars(metrics: Metrics) -> dict[str, float]:
    """Flatten metrics to numbers with names that trackers group: terms/left, accuracy/left.

    Example:
        >>> scalars({"step": 4, "epoch": 0.5, "terms": {"left": 1.5}})
        {'epoch': 0.5, 'terms/left': 1.5}
    """
    parts = {key: part for key, part in metrics.items() if isinstance(part, dict)}
    plain = {key: value for key, value in metrics.items() if key not in parts and key != "step"}
    return plain | {f"{key}/{name}": value for key, part in parts.items() for name, value in part.items()}


def _plain(name: str) -> str:
    """Turn a name into one that MLflow allows, with only letters, digits, spaces and _-./ in it."""
    return re.sub(r"[^\w\-./ ]", "_", name)
