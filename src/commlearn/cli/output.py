"""How results are printed: tables for people, JSON for scripts."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commlearn.escapes import one_line, printable, terminal_stream
from commlearn.storage.plain_json import json_text


def print_json(value: Any) -> None:
    print(json_text(value), end="")


def print_probes(results: dict[str, Any]) -> None:
    """Print one line per target."""
    table = Table(box=None, pad_edge=False)
    table.add_column("target")
    classes = {name: result for name, result in results.items() if result.measure == "balanced_accuracy"}
    others = {name: result for name, result in results.items() if name not in classes}
    columns = ("balanced accuracy", "95 % interval", "accuracy", "AUROC", "AUPRC", "chance")
    for column in columns if classes else ():
        table.add_column(column, justify="right")
    for name, result in classes.items():
        low, high = result.interval
        table.add_row(
            escape(one_line(name)),
            f"{100 * result.balanced_accuracy:.1f} %",
            f"{100 * low:.1f} - {100 * high:.1f}",
            f"{100 * result.accuracy:.1f} %",
            f"{result.auroc:.3f}",
            f"{result.auprc:.3f}",
            f"{100 * result.chance:.0f} %",
        )
    console = Console(file=terminal_stream(sys.stdout), highlight=False, width=80)
    if classes:
        console.print(table)
    for name, result in others.items():
        console.print(f"{one_line(name)}: {printable(result)}", markup=False)
        for index, output in enumerate(getattr(result, "outputs", ())):
            console.print(f"  output {index}: R2 {output['r2']:.3f}, MSE {output['mse']:.4g}", markup=False)
    for name, result in results.items():
        if result.dropped:
            console.print(
                f"{one_line(name)}: {result.dropped} records without it were left out", markup=False
            )


def print_next(options: argparse.Namespace, *commands: Sequence[object]) -> None:
    """Print commands to run next, unless the output is for scripts.

    Args:
        options: options of the command, which may include JSON or quiet.
        commands: words of each command, without `commlearn`.
    """
    if not (options.json or getattr(options, "quiet", False)):
        lines = ["commlearn " + " ".join(shlex.quote(str(word)) for word in words) for words in commands]
        print(f"Next: {'; '.join(lines)}")


@contextmanager
def progress_printer(options: argparse.Namespace) -> Iterator[Callable[[str], None]]:
    """Show the progress of long work: a changing line on a terminal, plain lines elsewhere or if verbose."""
    terminal, verbose = sys.stderr.isatty(), getattr(options, "verbose", False)
    if getattr(options, "quiet", False):
        yield lambda line: None
    elif verbose or not (terminal or getattr(options, "json", False)):
        yield lambda line: print(line, file=sys.stderr, flush=True)
    elif terminal:
        with Console(file=terminal_stream(sys.stderr)).status("") as status:
            yield lambda line: status.update(escape(one_line(line)))
    else:
        yield lambda line: None
