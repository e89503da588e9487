"""Progress of a training: a bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from commlearn.config.configuration import Experiment
from commlearn.escapes import one_line, terminal_stream
from commlearn.training.callbacks import Callback, Metrics, Start


class Lines(Callback):
    """Prints a plain line now and then, for logs; on standard error, like all progress."""

    def __init__(self, seconds_between: float = 10.0) -> None:
        self.seconds_between = seconds_between
        self.shown_at = 0.0

    def start(self, start: Start) -> None:
        self.total = start.total
        position = f"step {start.step} of {start.total}, {start.steps_per_epoch} steps per epoch"
        self.note(f"{title(start.experiment)}: {position}")

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def step(self, step: int, metrics: Metrics) -> None:
        if time.monotonic() - self.shown_at < self.seconds_between and step < self.total:
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
