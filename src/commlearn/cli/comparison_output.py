"""How a comparison is printed."""

from __future__ import annotations

import sys
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commlearn.comparison.result import Comparison
from commlearn.escapes import one_line, printable, terminal_stream

MOST_COLUMNS = 4  # most score columns with which the published scores still fit into 80 characters


def print_comparison(comparison: dict[str, Any]) -> None:
    """Print methods by scores: mean and deviation over seeds, the published figure, time and memory."""
    console = Console(file=terminal_stream(sys.stdout), highlight=False, width=80)
    console.print(f"[bold]{escape(one_line(comparison['recipe']))}[/bold]: {comparison['metric']}")
    for score, targets in comparison["scores"].items():
        chance = comparison["chance"][score]
        guess = "" if chance is None else f", chance {chance:.0f}"
        if [score] != targets or guess:
            console.print(one_line(f"  {score} = {', '.join(targets)}{guess}"), markup=False)
    console.print(_long(comparison) if len(comparison["scores"]) > MOST_COLUMNS else _scores(comparison))
    _differences(comparison, console)
    for method, row in comparison["methods"].items():
        for job, error in row["errors"].items():
            console.print(printable(f"{method} failed ({job}): {error}"), markup=False)
    for method, reason in comparison.get("refused", {}).items():
        console.print(printable(f"{method} was left out: {reason}"), markup=False)


def print_verdict(comparison: Comparison) -> None:
    """Print what the readouts say, target by target."""
    print("\nVerdict (95 % intervals, joint per question; points are percentage points):")
    for line in str(comparison).split("\n"):
        for part in wrap(printable(line), 100, initial_indent="  ", subsequent_indent="      "):
            print(part)


def print_tuning(tuning: dict[str, Any]) -> None:
    """Print each method's budget, the chosen settings, and scores before and after, one line per score."""
    console = Console(file=terminal_stream(sys.stdout), highlight=False, width=80)
    console.print(f"[bold]{escape(one_line(tuning['recipe']))}[/bold]: {tuning['metric']}")
    for line in (
        f"up to {tuning['budget']} settings for each method",
        f"chosen on {tuning['chosen_on']}",
        f"scored on {tuning['scored_on']}",
    ):
        console.print(f"  {line}", markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    table.add_column("tried", justify="right")
    table.add_column("min", justify="right", style="dim")
    table.add_column("chosen")
    table.add_column("score")
    for name in ("chance", "recipe's", "chosen's"):
        table.add_column(name, justify="right", style="dim" if name == "chance" else None)
    for method, row in tuning["methods"].items():
        failed = sum(bool(trial["errors"]) for trial in row["tried"])
        tried = f"{len(row['tried'])}" + f" ({failed} failed)" * bool(failed)
        chosen = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in row["chosen"].items())
        first = (method, tried, f"{row['seconds'] / 60:.1f}", escape(one_line(chosen)) or "the recipe's")
        for score in tuning["scores"]:
            figures = (_figure(row[part]["scores"][score], False) for part in ("default", "best"))
            chance = tuning["chance"][score]
            guess = "" if chance is None else f"{chance:.0f}"
            table.add_row(*first, escape(one_line(score)), guess, *figures)
            first = ("", "", "", "")
    console.print(table)
    for method, row in tuning["methods"].items():
        for trial in (*row["tried"], row["default"], row["best"]):
            for job, error in trial["errors"].items():
                console.print(printable(f"{method} failed ({job}): {error}"), markup=False)


def _scores(comparison: dict[str, Any]) -> Table:
    published = any(row["published"] for row in comparison["methods"].values())
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    for score in comparison["scores"]:
        table.add_column(escape(one_line(score)), justify="right")
        if published:
            table.add_column("paper", justify="right", style="dim")
    table.add_column("width", justify="right", style="dim")
    table.add_column("min", justify="right", style="dim")
    table.add_column("MB", justify="right", style="dim")
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
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    table.add_column("score")
    for name in ("reached", "paper", "width", "min", "MB"):
        table.add_column(name, justify="right", style=None if name == "reached" else "dim")
    for method, row in comparison["methods"].items():
        first = True
        for score, cell in row["scores"].items():
            cost = _cost(row) if first else ("", "", "")
            paper = str(row["published"].get(score, ""))
            table.add_row(
                method if first else "",
                escape(one_line(score)),
                _figure(cell, bool(row["errors"])),
                paper,
                *cost,
            )
            first = False
    return table


def _cost(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return the width of the embedding, minutes and megabytes."""
    seconds, memory, width = row["cost"]["seconds"], row["cost"]["peak_memory_mb"], row.get("width")
    minutes = "" if seconds is None else f"{seconds / 60:.1f}"
    return "" if width is None else str(width), minutes, "" if memory is None else str(memory)


def _figure(cell: dict[str, Any], failed: bool) -> str:
    if cell["mean"] is None:
        return "failed"
    spread = "" if cell["std"] is None else f" ± {cell['std']:.1f}"
    count = len(cell["values"])
    suffix = f" ({count} seed{'s' if count > 1 else ''})" if failed else ""
    return f"{cell['mean']:.1f}{spread}{suffix}"


def _differences(comparison: dict[str, Any], console: Console) -> None:
    """Print each method's difference to the best baseline, or to the best other method if there is none."""
    lines, baseline = [], True
    for method, row in comparison["methods"].items():
        if row["role"] not in ("method", "method with labels"):
            continue
        for score, cell in row["scores"].items():
            gap = cell.get("difference")
            if gap:
                low, high = gap["interval"]
                baseline = comparison["methods"][gap["to"]]["role"] in ("baseline", "floor")
                lines.append(
                    f"  {method} {score}: {gap['mean']:+.1f} [{low:+.1f}, {high:+.1f}] to {gap['to']}"
                )
    if lines:
        other = "baseline" if baseline else "other"
        console.print(f"difference to the best {other}, 95 % intervals over test records and seeds:")
        for line in lines:
            console.print(one_line(line), markup=False)
