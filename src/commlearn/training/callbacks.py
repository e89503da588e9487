"""Callbacks of a training: one small protocol for progress, experiment trackers and early stopping.

Each tracker's package is imported only in its own class. A tracker's own settings decide where it stores its
runs: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME, WANDB_MODE and WANDB_PROJECT, TRACKIO_DIR.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from commlearn.config.configuration import Experiment, to_mapping
from commlearn.config.places import settings_without_places
from commlearn.errors import ConfigurationError, unknown
from commlearn.escapes import one_line, terminal_stream
from commlearn.storage.file_list import EVENTS
from commlearn.trained.run_folder import RunFolder, by_dotted_key

Metrics: TypeAlias = dict[str, Any]
"""An entry of `metrics.jsonl` (step, epoch, learning_rate, terms, accuracy, ...), and samples_per_second."""


@dataclass(frozen=True)
class Start:
    """A training that is about to take its next step."""

    experiment: Experiment
    folder: Path  # run folder
    step: int  # completed steps: 0, or those of the checkpoint that it resumes from
    total: int  # steps at the end of the training
    steps_per_epoch: int


class Callback:
    """Follows a training. Override the methods that you need; the others do nothing.

    If `step` or `epoch` returns True, the training stops: it writes a checkpoint and ends as a complete run,
    which `resume` continues. An exception ends it like any error. With several processes, only
    the first one calls callbacks.

    Example:
        >>> class LowEnough(Callback):
        ...     def epoch(self, epoch, metrics):
        ...         return metrics["terms"]["left+right"] < 0.5
    """

    def start(self, start: Start) -> None:
        """Called before the first step, also before the first after a resume."""

    def step(self, step: int, metrics: Metrics) -> bool | None:
        """Called with new metrics, every `training.log_every` steps and at the end of an epoch."""

    def epoch(self, epoch: int, metrics: Metrics) -> bool | None:
        """Called after an epoch; `metrics` are those of its last step, diagnostics included."""

    def end(self, error: BaseException | None) -> None:
        """Called after the last step; `error` is what ended the training early, such as KeyboardInterrupt."""

    def note(self, line: str) -> None:
        """Called with log lines that are worth showing while the training runs."""


class Callbacks:
    """Several callbacks, called in order.

    Args:
        given: the user's callbacks; a single one need not be in a list.
        more: callbacks to call after them.
    """

    def __init__(self, given: Sequence[Callback | str] | Callback | str | None, *more: Callback) -> None:
        callbacks = [given] if isinstance(given, str | Callback) else given or ()
        self.each = [_callback(part) for part in (*callbacks, *more)]

    @contextmanager
    def following(self, start: Start) -> Iterator[None]:
        """Start every callback, and end those that were started whatever happens in between."""
        with ExitStack() as stack:
            for callback in self.each:
                callback.start(start)
                stack.push(lambda kind, error, trace, end=callback.end: bool(end(error)) and False)
            yield

    def step(self, step: int, metrics: Metrics) -> bool:
        """Call every callback; return whether any of them asks to stop."""
        return any([callback.step(step, metrics) for callback in self.each])

    def epoch(self, epoch: int, metrics: Metrics) -> bool:
        return any([callback.epoch(epoch, metrics) for callback in self.each])

    def note(self, line: str) -> None:
        for callback in self.each:
            callback.note(line)


def _callback(part: Callback | str) -> Callback:
    if isinstance(part, str):
        if part not in TRACKERS:
            raise ConfigurationError(unknown("tracker", part, TRACKERS))
        return TRACKERS[part]()
    if not isinstance(part, Callback):
        kind = part.__name__ + ", which is a class" if isinstance(part, type) else type(part).__name__
        raise ConfigurationError(
            f"callbacks contains a {kind}. Give instances of subclasses of commlearn.Callback, or names of "
            "trackers."
        )
    return part


SECONDS_BETWEEN = 10.0  # between two plain lines of progress


class Lines(Callback):
    """Prints a plain line now and then, for logs; on standard error, like all progress."""

    shown_at = 0.0

    def start(self, start: Start) -> None:
        self.total = start.total
        steps = f"{start.steps_per_epoch} step{'s' if start.steps_per_epoch != 1 else ''}"
        position = f"step {start.step} of {start.total}, {steps} per epoch"
        self.note(f"{title(start.experiment)}: {position}")

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def step(self, step: int, metrics: Metrics) -> None:
        if time.monotonic() - self.shown_at < SECONDS_BETWEEN and step < self.total:
            return
        self.shown_at = time.monotonic()
        self.note(f"  step {step}/{self.total}  {figures(metrics)}")


class TwoLines(Bar):
    """A line of bar, step, time left and title, and a line of figures; each is cut if it does not fit."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["figures"], no_wrap=True, overflow="ellipsis")


class Terminal(Callback):
    """A bar with the step, the time left and, below, speed, loss terms and retrieval accuracy."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def start(self, start: Start) -> None:
        console = Console(file=terminal_stream(sys.stderr))
        title_column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = (
            BarColumn(bar_width=min(20, console.width // 4)),
            TextColumn("{task.completed}/{task.total}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", markup=False, table_column=title_column),
        )
        self.bar = TwoLines(*columns, console=console, expand=True)
        self.task = self.bar.add_task(
            title(start.experiment), total=start.total, completed=start.step, figures=""
        )
        self.bar.start()

    def step(self, step: int, metrics: Metrics) -> None:
        self.bar.update(self.task, completed=step, figures=figures(metrics))

    def end(self, error: BaseException | None) -> None:
        self.bar.stop()


def progress_for(quiet: bool = False, lines: bool = False) -> Callback:
    """Return the kind of progress display that fits where the output goes."""
    if quiet:
        return Callback()
    return Lines() if lines or not sys.stderr.isatty() else Terminal()


def title(experiment: Experiment) -> str:
    parts = [experiment.name, experiment.method["name"], experiment.variant, f"seed {experiment.seed}"]
    return one_line(" ".join(part for part in parts if part))


def figures(metrics: Metrics) -> str:
    """Format the speed and every loss term, with its in-batch retrieval accuracy in percent."""
    parts, accuracy = [f"{metrics['samples_per_second']:.0f} samples/s"], metrics["accuracy"]
    for name, term in metrics["terms"].items():
        suffix = f" ({100 * accuracy[name]:.0f}%)" if name in accuracy else ""
        parts.append(f"{name} {term:.3f}{suffix}")
    return "  ".join(parts)


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

    @property
    def module(self) -> Any:
        return importlib.import_module(self.package)

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
        run = self.module.start_run(run_id=before, run_name=name, nested=True)
        pairs = list(settings.items()) if before is None else []
        for first in range(0, len(pairs), MOST_PARAMETERS):
            self.module.log_params({_plain(key): v for key, v in pairs[first : first + MOST_PARAMETERS]})
        return str(run.info.run_id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.module.log_metrics({_plain(key): value for key, value in values.items()}, step=step)

    def close(self, failed: bool) -> None:
        self.module.end_run("FAILED" if failed else "FINISHED")

    def failures(self) -> tuple[type[Exception], ...]:
        from mlflow.exceptions import MlflowException

        return (*super().failures(), MlflowException)


class WandB(Tracker):
    """A run of Weights & Biases, separate from any that is active."""

    package = "wandb"

    def open(self, name: str, settings: Mapping[str, Any], before: str | None) -> str:
        self.run: Any = self.module.init(
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
        return (*super().failures(), self.module.Error)


class Trackio(WandB):
    """A run of trackio, which chooses the run's name."""

    package = "trackio"

    def open(self, name: str, settings: Mapping[str, Any], before: str | None) -> str:
        resume = "must" if before else "never"
        self.run = self.module.init(PROJECT, before, config=dict(settings), resume=resume, embed=False)
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
