"""Callbacks of a training: one small protocol for progress, trackers, and early stopping."""

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

    def __init__(self, given: Sequence[Callback | str] | Callback | str, *more: Callback) -> None:
        callbacks = [given] if isinstance(given, str | Callback) else given
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
        from commlearn.training.trackers import tracker

        return tracker(part)
    if not isinstance(part, Callback):
        kind = part.__name__ + ", which is a class" if isinstance(part, type) else type(part).__name__
        raise ConfigurationError(
            f"callbacks contains a {kind}. Give instances of subclasses of commlearn.Callback, or names of "
            "trackers."
        )
    return part
