"""What the name of a column gives away, if its values agree: an id, a group, a split, a target."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commlearn.kinds.looks import Look, look
from commlearn.kinds.names import SPLITS
from commlearn.kinds.numbers import as_numbers

__all__ = ["Guess", "role_of", "seen_as", "stated_target"]

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
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
NAMES_ROWS = {"id", "ids", "key", "index", "idx", "unnamed", "mrn", "nr", "nummer"}  # whole numbers so called
NAMES_ROWS_LAST = {"no", "number"}  # likewise, as the last word
NAMES_THINGS = {
    "id",
    "ids",
    "key",
    "mrn",
    "code",
    "zip",
    "zipcode",
    "postcode",
    "plz",
}  # whole numbers that repeat
TARGET = {"label", "labels", "target", "targets", "y", "class", "classes", "outcome", "diagnosis", "answer"}
NEARLY = 0.95  # share of different values from which a column named id is one, with mistakes
CLASSES = 100  # different values of a class target, at most, unless it was named
MANY = 20  # different numbers of a target from which it is a number, and of an identifier to be a category
FRACTIONS = 5  # likewise, where some are no whole numbers
SEVERAL = 0.1  # share of cells of several labels from which a target has several


@dataclass(frozen=True)
class Guess:
    """What some columns were taken for, and why."""

    role: str  # modality, target, id, group, split or unused
    name: str  # of the modality, or of the column
    reason: str
    value: Any = None  # the kind of a modality, the type of a target


def seen_as(name: str, column: pd.Series, root: Path) -> Look:
    """What a column looks like; few whole numbers that name something are categories."""
    seen = look(column, root)
    few = 1 < seen.distinct <= min(MANY, seen.filled / 2) and seen.sort == "number"
    if few and _words(name) & NAMES_THINGS and _words(name) != {"id"} and _whole(column):
        return replace(seen, sort="category", reason=f"{seen.distinct} whole numbers that name something")
    return seen


def _words(name: str) -> set[str]:
    return {word.lower() for word in WORDS.findall(name)}


def _whole(column: pd.Series) -> bool:
    numbers = as_numbers(column.dropna())
    return bool((numbers == np.round(numbers)).all())


def role_of(name: str, column: pd.Series, seen: Look, known: Mapping[str, str]) -> Guess | None:
    """Its role, if it has one. There is one id, one group and one split.

    Args:
        name: of the column.
        column: its cells.
        seen: what they look like.
        known: the columns that have these roles already; a second group is read, a second id or split is not.
    """
    guess = _by_name(name, column, seen)
    if guess is not None and guess.role == "group" and "group" in known:
        guess = _identifier(name, _words(name), column, seen)
    if guess is not None and guess.role in ("id", "split") and guess.role in known:
        return Guess("unused", name, f"{guess.reason}; but the {guess.role} is {known[guess.role]}")
    return guess


def stated_target(name: str, column: pd.Series, seen: Look) -> Guess:
    """The type of a target that was named as one."""
    if seen.sort == "labels":
        return Guess("target", name, "named as a target; holds lists of labels", "multilabel")
    cells = column.dropna()
    if seen.sort == "number":
        numbers = as_numbers(cells)
        fractions = seen.distinct > FRACTIONS and bool((numbers != np.round(numbers)).any())
        if fractions or seen.distinct > MANY:
            return Guess("target", name, f"named as a target; {seen.distinct} different numbers", "number")
    elif len(cells) and all(isinstance(cell, str) for cell in cells):
        distinct = int(cells.nunique())
        if distinct > MANY and not np.isnan(as_numbers(cells)).any():
            return Guess("target", name, f"named as a target; {distinct} numbers as text", "number")
        parts = cells.astype(str).str.split(r"\s*[;|]\s*", regex=True)
        labels = parts.explode()
        if (parts.str.len() > 1).mean() > SEVERAL and labels.nunique() <= min(CLASSES, len(labels) / 2):
            return Guess("target", name, "named as a target; holds labels between ; or |", "multilabel")
        return Guess("target", name, f"named as a target; {distinct} different values", "class")
    return Guess("target", name, f"named as a target; {seen.distinct} different values", "class")


def _by_name(name: str, column: pd.Series, seen: Look) -> Guess | None:
    """What the name of a column gives away, if its values agree."""
    words = _words(name)
    repeated = 2 < seen.distinct < seen.filled
    if words & SPLIT and seen.distinct > 1:
        values = {str(value).strip().lower() for value in column.dropna().unique()}
        if values <= SPLITS.keys():
            return Guess("split", name, f"its name, and its values {', '.join(sorted(values))}")
        told = f"its name says split, but not all of its values do: {', '.join(sorted(values)[:5])}. Write "
        numbered = words <= {"fold"} and seen.sort == "number" and seen.distinct <= MANY
        if numbered or not values.isdisjoint(SPLITS):
            return Guess("unused", name, told + "train, validation or test, and state it as split")
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
    named = bool(words & NAMES_ROWS) or name.lower().endswith(("nummer", *NAMES_ROWS_LAST & words))
    if seen.distinct < len(column):
        if words == {"id"} and seen.distinct >= NEARLY * len(column):
            repeated = len(column) - seen.distinct
            told = f"its name; but {repeated} of {len(column)} rows repeat an id or have none"
            return Guess("id", name, told)
        if not (words & NAMES_THINGS and seen.sort == "number" and _whole(column)):
            return None
        told = f"{seen.distinct} whole numbers that name something, by its name; `categorical` reads them so"
        return Guess("unused", name, told)
    if seen.sort == "number":
        with np.errstate(invalid="ignore"):  # of two infinite ones there is no difference
            counter = len(column) > 2 and bool((np.diff(as_numbers(column)) == 1).all()) and _whole(column)
        if counter or (named and _whole(column)):
            return Guess("id", name, "counts the rows" if counter else "whole numbers, each its own")
        return None
    return Guess("id", name, f"{seen.distinct} single words, each its own")
