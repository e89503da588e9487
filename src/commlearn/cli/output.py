"""How results are printed: tables for people, JSON for scripts."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from commlearn.escapes import one_line, printable, terminal_stream
from commlearn.storage.plain_json import json_text

WHOLE: Final = "fold"  # how a name wider than its column is shown: names that only begin alike stay distinct
MOST_COLUMNS = 4  # most score columns with which the published scores still fit into 80 characters


def print_json(value: Any) -> None:
    print(json_text(value), end="")


def print_probes(results: dict[str, Any]) -> None:
    """Print one line per target."""
    classes = {name: result for name, result in results.items() if result.measure == "balanced_accuracy"}
    table = Table(Column("target", overflow=WHOLE), box=None, pad_edge=False)
    for column in ("balanced accuracy", "95 % interval", "accuracy", "AUROC", "AUPRC", "chance"):
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
    lines = []
    for name, result in results.items():
        if name not in classes:
            lines.append(f"{one_line(name)}: {printable(result)}")
            for index, output in enumerate(getattr(result, "outputs", ())):
                lines.append(f"  output {index}: R2 {output['r2']:.3f}, MSE {output['mse']:.4g}")
    dropped = ((name, result.dropped) for name, result in results.items() if result.dropped)
    lines += [f"{one_line(name)}: {count} records without it were left out" for name, count in dropped]
    _print_lines(console, lines)


def _print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, markup=False)


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
    silent = not verbose and not terminal and getattr(options, "json", False)
    if getattr(options, "quiet", False) or silent:
        yield lambda line: None
    elif verbose or not terminal:
        yield lambda line: print(line, file=sys.stderr, flush=True)
    else:
        with Console(file=terminal_stream(sys.stderr)).status("") as status:
            yield lambda line: status.update(escape(one_line(line)))


def print_comparison(comparison: dict[str, Any]) -> None:
    """Print methods by scores: mean and deviation over seeds, the published figure, time and memory."""
    console = Console(file=terminal_stream(sys.stdout), highlight=False, width=80)
    console.print(f"[bold]{escape(one_line(comparison['recipe']))}[/bold]: {comparison['metric']}")
    for score, targets in comparison["scores"].items():
        chance = comparison["chance"][score]
        guess = "" if chance is None else f", chance {chance:.0f}"
        equal = "" if [score] == targets else f" = {', '.join(targets)}"
        if equal or guess:
            console.print(one_line(f"  {score}{equal}{guess}"), markup=False)
    console.print(_long(comparison) if len(comparison["scores"]) > MOST_COLUMNS else _scores(comparison))
    _print_lines(console, _differences(comparison))
    for method, row in comparison["methods"].items():
        _print_lines(console, _failures(method, row))
    refused = comparison.get("refused", {}).items()
    _print_lines(console, (printable(f"{method} was left out: {reason}") for method, reason in refused))


def _failures(method: str, row: dict[str, Any]) -> list[str]:
    return [printable(f"{method} failed ({job}): {error}") for job, error in row["errors"].items()]


def print_verdict(comparison: object) -> None:
    """Print what the readouts say, target by target."""
    print("\nVerdict (95 % intervals, joint per question; points are percentage points):")
    width = min(get_terminal_size((100, 24)).columns, 100)
    for line in str(comparison).split("\n"):
        for part in wrap(printable(line), width, initial_indent="  ", subsequent_indent="      "):
            print(part)


def print_tuning(tuning: dict[str, Any]) -> None:
    """Print each method's budget, the chosen settings, and scores before and after, one line per score."""
    console = Console(file=terminal_stream(sys.stdout), highlight=False, width=80)
    console.print(f"[bold]{escape(one_line(tuning['recipe']))}[/bold]: {tuning['metric']}")
    console.print(f"  up to {tuning['budget']} settings for each method", markup=False)
    console.print(f"  chosen on {tuning['chosen_on']}", markup=False)
    console.print(f"  scored on {tuning['scored_on']}", markup=False)
    table = Table(Column("method", overflow=WHOLE), box=None, pad_edge=False)
    table.add_column("tried", justify="right")
    table.add_column("min", justify="right", style="dim")
    table.add_column("chosen", overflow=WHOLE)
    table.add_column("score", overflow=WHOLE)
    for name in ("chance", "recipe's", "chosen's"):
        table.add_column(name, justify="right", style="dim" if name == "chance" else None)
    for method, row in tuning["methods"].items():
        failed = sum(bool(trial["errors"]) for trial in row["tried"])
        tried = f"{len(row['tried'])}" + f" ({failed} failed)" * bool(failed)
        chosen = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in row["chosen"].items())
        first = (method, tried, f"{row['seconds'] / 60:.1f}", escape(one_line(chosen)) or "the recipe's")
        for score in tuning["scores"]:
            figures = (_figure(row[part]["scores"][score]) for part in ("default", "best"))
            chance = tuning["chance"][score]
            guess = "" if chance is None else f"{chance:.0f}"
            table.add_row(*first, escape(one_line(score)), guess, *figures)
            first = ("", "", "", "")
    console.print(table)
    for method, row in tuning["methods"].items():
        for trial in (*row["tried"], row["default"], row["best"]):
            _print_lines(console, _failures(method, trial))


def _scores(comparison: dict[str, Any]) -> Table:
    published = any(row["published"] for row in comparison["methods"].values())
    table = Table(Column("method", overflow=WHOLE), box=None, pad_edge=False)
    for score in comparison["scores"]:
        table.add_column(escape(one_line(score)), justify="right", overflow=WHOLE)
        if published:
            table.add_column("paper", justify="right", style="dim")
    for name in ("width", "min", "MB"):
        table.add_column(name, justify="right", style="dim")
    for method, row in comparison["methods"].items():
        cells = []
        for score, cell in row["scores"].items():
            cells.append(_figure(cell, bool(row["errors"])))
            if published:
                cells.append(str(row["published"].get(score, "")))
        table.add_row(method, *cells, *_cost(row))
    return table


def _long(comparison: dict[str, Any]) -> Table:
    """Return a table with a line for each score of each method, for ablations, which have many scores."""
    names = (Column(name, overflow=WHOLE) for name in ("method", "score"))
    table = Table(*names, box=None, pad_edge=False)
    for name in ("reached", "paper", "width", "min", "MB"):
        table.add_column(name, justify="right", style=None if name == "reached" else "dim")
    for method, row in comparison["methods"].items():
        first, cost = method, _cost(row)
        for score, cell in row["scores"].items():
            paper, reached = str(row["published"].get(score, "")), _figure(cell, bool(row["errors"]))
            table.add_row(first, escape(one_line(score)), reached, paper, *cost)
            first, cost = "", ("", "", "")
    return table


def _cost(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return the width of the embedding, minutes and megabytes."""
    seconds, memory, width = row["cost"]["seconds"], row["cost"]["peak_memory_mb"], row.get("width")
    minutes = "" if seconds is None else f"{seconds / 60:.1f}"
    return "" if width is None else str(width), minutes, "" if memory is None else str(memory)


def _figure(cell: dict[str, Any], failed: bool = False) -> str:
    if cell["mean"] is None:
        return "failed"
    spread = "" if cell["std"] is None else f" ± {cell['std']:.1f}"
    count = len(cell["values"])
    suffix = f" ({count} seed{'s' if count > 1 else ''})" if failed else ""
    return f"{cell['mean']:.1f}{spread}{suffix}"


def _differences(comparison: dict[str, Any]) -> list[str]:
    """Return each method's difference to the best baseline, or to the best other method if there is none."""
    lines, other = [], ""
    for method, row in comparison["methods"].items():
        if row["role"] not in ("method", "method with labels"):
            continue
        for score, cell in row["scores"].items():
            if gap := cell.get("difference"):
                low, high = gap["interval"]
                role = comparison["methods"][gap["to"]]["role"]
                other = "baseline" if role in ("baseline", "floor") else "other"
                limits = f"[{low:+.1f}, {high:+.1f}]"
                lines.append(one_line(f"  {method} {score}: {gap['mean']:+.1f} {limits} to {gap['to']}"))
    head = f"difference to the best {other}, 95 % intervals over test records and seeds:"
    return [head, *lines] if lines else []
