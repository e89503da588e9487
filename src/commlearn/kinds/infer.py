"""A first schema for a table, each guess with its reason, to be read and mended by its owner."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import yaml
from torch import nn

from commlearn.data.tables import Table
from commlearn.errors import DataError, unknown
from commlearn.kinds import KINDS
from commlearn.kinds.base import Kind
from commlearn.kinds.leaks import named, possible_answers
from commlearn.kinds.looks import Look
from commlearn.kinds.roles import Guess, role_of, seen_as, stated_target
from commlearn.kinds.schema import Schema
from commlearn.kinds.schema_yaml import VERSION, kind_to_mapping

__all__ = ["Guess", "Inferred", "infer"]

NUMBERED = re.compile(r"(.*?)(\d+)")
RUN = 8  # numbered columns that make a vector, at least


@dataclass(frozen=True)
class Inferred:
    """A schema and the guesses that it is made of."""

    schema: Schema
    guesses: tuple[Guess, ...]

    def to_yaml(self, table: str = "the table", path: str | None = None) -> str:
        """The schema with a comment for each guess.

        Args:
            table: how the table is called in the first comment.
            path: where it lies, relative to the schema; `commlearn train` reads it there.
        """
        lines = [
            f"# Guessed from {table}. Read it and mend it: each comment says why.",
            f"version: {VERSION}",
        ]
        lines += [_flow("table", path)] if path is not None else []
        lines += ["modalities:"]
        for guess in self._of("modality"):
            lines += [f"  # {_line(guess.reason)}", f"  {_flow(guess.name, kind_to_mapping(guess.value))}"]
        if self._of("target"):
            lines += ["targets:  # never seen in training, only by probes"]
        for guess in self._of("target"):
            lines += [f"  # {_line(guess.reason)}", f"  {_flow(guess.name, guess.value)}"]
        for role in ("id", "group", "split"):
            for guess in self._of(role):
                lines += [f"# {_line(guess.reason)}", _flow(role, guess.name)]
        if self._of("unused"):
            lines += ["# Not used:"]
        lines += [f"#   {_line(guess.name)}: {_line(guess.reason)}" for guess in self._of("unused")]
        return "\n".join(lines) + "\n"

    def _of(self, role: str) -> list[Guess]:
        return [guess for guess in self.guesses if guess.role == role]


def infer(table: Table, targets: Sequence[str] = ()) -> Inferred:
    """Guess a kind for every column of a table.

    Args:
        table: rows and where they lie.
        targets: columns that are to be predicted, whatever they look like.
    """
    frame = table.frame
    for name in targets:
        if name not in frame.columns:
            raise DataError(unknown("column", name, frame.columns))
    looks = {name: seen_as(name, frame[name], table.root) for name in frame.columns}
    guesses: dict[str, Guess] = {name: stated_target(name, frame[name], looks[name]) for name in targets}
    for name in frame.columns:
        if name not in guesses:
            known = {guess.role: guess.name for guess in guesses.values()}
            guess = role_of(name, frame[name], looks[name], known)
            if guess is not None:
                guesses[name] = guess
    left = {name: seen for name, seen in looks.items() if name not in guesses}
    found = [*_modalities(left, frame), *guesses.values()]
    modalities = {guess.name: guess.value for guess in found if guess.role == "modality"}
    if not modalities:
        told = "; ".join(f"{guess.name}: {guess.reason}" for guess in found[:20])
        raise DataError(f"No column looks like a modality ({told}). Write the schema by hand.")
    chosen = {guess.role: guess.name for guess in found}
    stated = {guess.name: guess.value for guess in found if guess.role == "target"}
    schema = Schema(modalities, stated, chosen.get("id"), chosen.get("group"), chosen.get("split"))
    return Inferred(schema, tuple(found))


def _modalities(looks: dict[str, Look], frame: pd.DataFrame) -> list[Guess]:
    """Numbered columns as vectors, other numbers and categories as one table, each other column alone."""
    found: list[Guess] = []
    taken: set[str] = set()
    for prefix, columns in _runs([name for name, seen in looks.items() if seen.sort == "number"]):
        missing = frame[columns].isna()
        if (missing.any(axis=1) != missing.all(axis=1)).any():
            continue  # a vector has no gaps, a table may
        reason = f"{len(columns)} numbered columns of numbers, {columns[0]} to {columns[-1]}"
        found.append(_modality(prefix.strip("_-. ") or "vector", "vector", columns, reason, found))
        taken.update(columns)
    flat = [name for name, seen in looks.items() if seen.sort in ("number", "category") and name not in taken]
    for name, seen in looks.items():
        if seen.sort in KINDS:
            found.append(_modality(name, seen.sort, [name], seen.reason, found))
        elif flat and name == flat[0]:
            numbers = sum(looks[column].sort == "number" for column in flat)
            reason = f"columns of numbers: {numbers}, of few values: {len(flat) - numbers}"
            answers = possible_answers(frame[flat])
            if answers:
                reason += f"; of two values: {named(answers)} (name those that are answers with --target)"
            codes = [
                column for column in flat if looks[column].sort == "category" and _is_number(frame[column])
            ]
            found.append(_modality("table", "tabular", flat, reason, found, codes))
        elif seen.sort in ("nothing", "labels"):
            found.append(Guess("unused", name, seen.reason))
    return found


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _runs(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Columns of one prefix whose numbers have no gap, in the order of the numbers."""
    runs: dict[str, dict[int, str]] = {}
    for name in names:
        match = NUMBERED.fullmatch(name)
        if match:
            runs.setdefault(match[1], {})[int(match[2])] = name
    return [
        (prefix, [run[number] for number in sorted(run)])
        for prefix, run in runs.items()
        if len(run) >= RUN and max(run) - min(run) + 1 == len(run)
    ]


def _modality(
    name: str,
    kind: str,
    columns: Sequence[str],
    reason: str,
    found: Sequence[Guess],
    categorical: Sequence[str] = (),
) -> Guess:
    """A modality under a name that a schema allows and that is still free."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or kind
    taken = {guess.name for guess in found if guess.role == "modality"}
    names = [clean, f"{clean}_{kind}", *(f"{clean}_{count}" for count in range(2, len(taken) + 3))]
    free = next(option for option in names if option not in taken and not hasattr(nn.ModuleDict(), option))
    options = {"categorical": tuple(categorical)} if categorical else {}
    read = columns[0] if len(columns) == 1 else tuple(columns)
    made: Kind = KINDS[kind](read, **options)  # type: ignore[call-arg]
    return replace(Guess("modality", free, reason), value=made)


def _flow(key: str, value: Any) -> str:
    """One line of YAML."""
    inner = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 30, sort_keys=False)
    outer = yaml.safe_dump(key, allow_unicode=True, width=1 << 30)
    return f"{_bare(outer)}: {_bare(inner)}"


def _bare(dumped: str) -> str:
    """Without the end of a document; spaces of a name stay, the unusual ones too."""
    return dumped.removesuffix("...\n").strip("\n")


def _line(text: str) -> str:
    return " ".join(text.split())
