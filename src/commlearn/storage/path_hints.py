"""Hints for a path that holds something other than expected: what it is, and the command to run next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Literal

from commlearn.errors import nearest

Wanted = Literal["run", "table", "recipe"]
TABLES = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".tar", ".xlsx", ".feather")
RUNS = ("config.yaml", "config.json")  # configuration files of a training and of an export
SHOWN = 3  # most runs of a folder that are named


def path_hint(path: str | Path, wanted: Wanted) -> str:
    """Return a sentence about what is at a path, to be added to an error; empty if there is nothing to say.

    Args:
        path: the path that the user named.
        wanted: what should be there.

    Example:
        >>> path_hint("films.csv", "run")
        ''
        >>> import pathlib
        >>> written = pathlib.Path("films.csv").write_text("a,b")
        >>> path_hint("films.csv", "recipe")
        ' It is a table. Guess a schema for it first: commlearn init films.csv -o films.yaml'
    """
    path = Path(path)
    return f" {sentence}" if (sentence := _sentence(path, wanted)) else ""


def _sentence(path: Path, wanted: Wanted) -> str:
    argument, stem = shlex.quote(str(path)), shlex.quote(f"{path.name.partition('.')[0]}.yaml")
    if not os.path.exists(path):
        guess = nearest(path.name, os.listdir(path.parent)) if os.path.isdir(path.parent) else None
        return f"There is nothing there; did you mean {path.with_name(guess)}?" if guess else ""
    if os.path.isdir(path):
        if _is_run(path):
            return "" if wanted == "run" else f"It is the folder of a run, but a {wanted} is expected here."
        runs = sorted(str(folder) for folder in path.iterdir() if _is_run(folder))
        return f"Runs in it: {', '.join(runs[:SHOWN])}." if runs and wanted == "run" else ""
    if _is_run(path.parent) and path.name in RUNS:
        return f"It is a file of a run; the run's folder is {path.parent}."
    if path.suffix in (".yaml", ".yml") and wanted != "recipe":
        advice = f" Train on it first: commlearn train {argument}" if wanted == "run" else ""
        return f"It is a schema or a recipe, but a {wanted} is expected here.{advice}"
    if path.with_suffix("").suffix in TABLES or path.suffix in TABLES:
        next_steps = {
            "run": f"Train on it first: commlearn init {argument} -o {stem}; commlearn train {stem}",
            "recipe": f"Guess a schema for it first: commlearn init {argument} -o {stem}",
        }
        return f"It is a table. {next_steps[wanted]}" if wanted in next_steps else ""
    return ""


def _is_run(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in RUNS)
