"""What follows a training: one small protocol for progress, trackers, and whatever stops it early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from commlearn.config.configuration import Experiment
from commlearn.errors import ConfigurationError

Metrics: TypeAlias = dict[str, Any]
"""An entry of `metrics.jsonl` (step, epoch, learning_rate, terms, accuracy, ...), and samples_per_second."""


@dataclass(frozen=True)
class Start:
    """A training that is about to take its next step."""

    experiment: Experiment
    folder: Path  # of the run
    step: int  # steps that are done: 0, or those of the checkpoint from which it goes on
    total: int  # steps at its end
    steps_per_epoch: int


class Callback:
    """Follows a training: write the methods that you need, the others do nothing.

    `step` or `epoch` that returns True stops the training: it writes a checkpoint and ends as a whole run,
    which `resume` continues. An exception ends it as any error. Of several processes only the first calls.

    Example:
        >>> class LowEnough(Callback):
        ...     def epoch(self, epoch, metrics):
        ...         return metrics["terms"]["left+right"] < 0.5
    """

    def start(self, start: Start) -> None:
        """Before the first step, also the first after a resume."""

    def step(self, step: int, metrics: Metrics) -> bool | None:
        """Metrics were taken: every `training.log_every` steps and at the end of an epoch."""

    def epoch(self, epoch: int, metrics: Metrics) -> bool | None:
        """An epoch ended; `metrics` are those of its last step, diagnostics included."""

    def end(self, error: BaseException | None) -> None:
        """After the last step; `error` is what ended the training early, KeyboardInterrupt included."""

    def note(self, line: str) -> None:
        """A line of the log that is of interest while one waits."""


class Callbacks:
    """Several callbacks, called in their order.

    Args:
        given: by the user; a single one need not be in a list.
        more: that come after them.
    """

    def __init__(self, given: Sequence[Callback | str] | Callback | str, *more: Callback) -> None:
        listed = [given] if isinstance(given, str | Callback) else given
        self.each = [_callback(part) for part in (*listed, *more)]

    @contextmanager
    def following(self, start: Start) -> Iterator[None]:
        """What was started is ended, whatever happens."""
        with ExitStack() as stack:
            for callback in self.each:
                callback.start(start)
                stack.push(lambda kind, error, trace, end=callback.end: bool(end(error)) and False)
            yield

    def step(self, step: int, metrics: Metrics) -> bool:
        """Whether any asks to stop; all are called."""
        return any([callback.step(step, metrics) for callback in self.each])

    def epoch(self, epoch: int, metrics: Metrics) -> bool:
        return any([callback.epoch(epoch, metrics) for callback in self.each])

    def note(self, line: str) -> None:
        for callback in self.each:
            callback.note(line)


def _callback(part: Callback | str) -> Callback:
    if isinstance(part, str):
        from commlearn.training.trackers import tracker

        return tracker(part)
    if not isinstance(part, Callback):
        shown = part.__name__ + ", which is a class" if isinstance(part, type) else type(part).__name__
        raise ConfigurationError(
            f"callbacks hold a {shown}. Give instances of subclasses of commlearn.Callback, or names of "
            "trackers."
        )
    return part
