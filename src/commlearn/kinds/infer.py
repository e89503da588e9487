"""A first schema for a table, each guess with its reason, to be read and mended by its owner."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import yaml
from torch import nn

from commlearn.data.tables import Table
from commlearn.errors import DataError, unknown
from commlearn.kinds import KINDS
from commlearn.kinds.base import Kind
from commlearn.kinds.looks import Look, look
from commlearn.kinds.names import SPLITS
from commlearn.kinds.schema import Schema
from commlearn.kinds.schema_yaml import VERSION, kind_to_mapping

__all__ = ["Guess", "Inferred", "infer"]

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
NUMBERED = re.compile(r"(.*?)(\d+)")
RUN = 8  # numbered columns that make a vector, at least
SPLIT = {"split", "fold", "part", "partition", "subset", "set"}
GROUP = {"group", "patient", "subject", "user", "person", "participant", "speaker", "customer", "client"}
GROUP |= {"session", "author", "family", "household", "student", "animal", "donor", "device"}
IDENTIFIER = {
    "id",
    "ids",
    "uuid",
    "guid",
    "key",
    "index",
    "idx",
    "rowid",
    "no",
    "nr",
    "number",
    "code",
    "name",
}
TARGET = {"label", "labels", "target", "targets", "y", "class", "classes", "outcome", "diagnosis", "answer"}
NEARLY = 0.95  # share of different values from which a column named id is one, with mistakes
CLASSES = 100  # different values of a class target, at most, unless it was named


@dataclass(frozen=True)
class Guess:
    """What some columns were taken for, and why."""

    role: str  # modality, target, id, group, split or unused
    name: str  # of the modality, or of the column
    reason: str
    value: Any = None  # the kind of a modality, the type of a target


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
    looks = {name: look(frame[name], table.root) for name in frame.columns}
    guesses: dict[str, Guess] = {name: _stated_target(name, looks[name]) for name in targets}
    for name in frame.columns:
        if name not in guesses:
            guess = _by_name(name, frame[name], looks[name])
            if guess is not None and not _taken(guess, guesses.values()):
                guesses[name] = guess
    left = {name: seen for name, seen in looks.items() if name not in guesses}
    found = [*_modalities(left), *guesses.values()]
    modalities = {guess.name: guess.value for guess in found if guess.role == "modality"}
    if not modalities:
        told = "; ".join(f"{guess.name}: {guess.reason}" for guess in found[:20])
        raise DataError(f"No column looks like a modality ({told}). Write the schema by hand.")
    chosen = {guess.role: guess.name for guess in found}
    stated = {guess.name: guess.value for guess in found if guess.role == "target"}
    schema = Schema(modalities, stated, chosen.get("id"), chosen.get("group"), chosen.get("split"))
    return Inferred(schema, tuple(found))


def _taken(guess: Guess, others: Any) -> bool:
    """There is one id, one group and one split."""
    return guess.role in ("id", "group", "split") and any(other.role == guess.role for other in others)


def _stated_target(name: str, seen: Look) -> Guess:
    if seen.sort == "labels":
        return Guess("target", name, "named as a target; holds lists of labels", "multilabel")
    if seen.sort == "number" and seen.distinct > 20:
        return Guess("target", name, f"named as a target; {seen.distinct} different numbers", "number")
    return Guess("target", name, f"named as a target; {seen.distinct} different values", "class")


def _by_name(name: str, column: pd.Series, seen: Look) -> Guess | None:
    """What the name of a column gives away, if its values agree."""
    words = {word.lower() for word in WORDS.findall(name)}
    repeated = 2 < seen.distinct < seen.filled
    if words & SPLIT and seen.distinct > 1:
        values = {str(value).strip().lower() for value in column.dropna().unique()}
        if values <= SPLITS.keys():
            return Guess("split", name, f"its name, and its values {', '.join(sorted(values))}")
    if words & GROUP and words <= GROUP | IDENTIFIER and repeated:
        return Guess("group", name, f"its name; {seen.distinct} groups of {seen.filled} rows")
    if words & TARGET:
        if seen.sort in ("category", "number") and 1 < seen.distinct <= min(CLASSES, max(2, seen.filled / 5)):
            return Guess("target", name, f"its name, and {seen.distinct} different values", "class")
        if seen.sort == "number":
            return Guess("target", name, f"its name, and {seen.distinct} different numbers", "number")
        if seen.sort == "labels":
            return Guess("target", name, "its name, and lists of labels", "multilabel")
    return _identifier(name, words, column, seen)


def _identifier(name: str, words: set[str], column: pd.Series, seen: Look) -> Guess | None:
    """A column whose values name the rows: each its own, whole numbers or single words."""
    if seen.sort not in ("number", "nothing", "category"):
        return None
    if seen.distinct < len(column):
        if words != {"id"} or seen.distinct < NEARLY * len(column):
            return None
        told = f"its name; but {len(column) - seen.distinct} of {len(column)} rows repeat an id or have none"
        return Guess("id", name, told)
    if seen.sort == "number":
        numbers = column.to_numpy(dtype=np.float64)
        whole = bool((numbers == np.round(numbers)).all())
        counter = whole and len(column) > 2 and bool((np.diff(numbers) == 1).all())
        if counter or (whole and words & {"id", "ids", "key", "index", "idx", "unnamed"}):
            return Guess("id", name, "counts the rows" if counter else "whole numbers, each its own")
        return None
    return Guess("id", name, f"{seen.distinct} single words, each its own")


def _modalities(looks: dict[str, Look]) -> list[Guess]:
    """Numbered columns as vectors, other numbers and categories as one table, each other column alone."""
    found: list[Guess] = []
    taken: set[str] = set()
    for prefix, columns in _runs([name for name, seen in looks.items() if seen.sort == "number"]):
        reason = f"{len(columns)} numbered columns of numbers, {columns[0]} to {columns[-1]}"
        found.append(_modality(prefix.strip("_-. ") or "vector", "vector", columns, reason, found))
        taken.update(columns)
    flat = [name for name, seen in looks.items() if seen.sort in ("number", "category") and name not in taken]
    for name, seen in looks.items():
        if seen.sort in KINDS:
            found.append(_modality(name, seen.sort, [name], seen.reason, found))
        elif name in flat and name == flat[0]:
            count = sum(looks[column].sort == "number" for column in flat)
            reason = f"columns of numbers: {count}, of few values: {len(flat) - count}"
            found.append(_modality("table", "tabular", flat, reason, found))
        elif seen.sort in ("nothing", "labels"):
            found.append(Guess("unused", name, seen.reason))
    return found


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


def _modality(name: str, kind: str, columns: Sequence[str], reason: str, found: Sequence[Guess]) -> Guess:
    """A modality under a name that a schema allows and that is still free."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or kind
    taken = {guess.name for guess in found if guess.role == "modality"}
    options = [clean, f"{clean}_{kind}", *(f"{clean}_{count}" for count in range(2, len(taken) + 3))]
    free = next(option for option in options if option not in taken and not hasattr(nn.ModuleDict(), option))
    made: Kind = KINDS[kind](columns[0] if len(columns) == 1 else tuple(columns))  # type: ignore[call-arg]
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
