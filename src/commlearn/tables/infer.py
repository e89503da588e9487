"""A first schema for a table, with a reason for each guess, for the user to review and correct."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from torch import nn

from commlearn.errors import DataError, unknown
from commlearn.kinds import KINDS
from commlearn.kinds.base import Kind
from commlearn.kinds.numbers import as_numbers
from commlearn.kinds.rows import first_names
from commlearn.tables.formats.reading import Reading
from commlearn.tables.guessed_forms import MANY, SEVERAL, Writing, guessed_form, guessed_missing
from commlearn.tables.leaks import likely_answers, possible_answers
from commlearn.tables.looks import Look, look
from commlearn.tables.roles import SPLITS, TARGETS, WORDS
from commlearn.tables.schema import Schema
from commlearn.tables.schema_yaml import VERSION, kind_to_mapping, plain
from commlearn.tables.table import Table

SPLIT = {"split", "fold", "part", "partition", "subset", "set"}
GROUP = {"group", "patient", "subject", "user", "person", "participant", "speaker", "customer", "client"}
GROUP |= {"session", "author", "family", "household", "student", "animal", "donor", "device"}
IDENTIFIER = {"id", "ids", "uuid", "guid", "key", "index", "idx", "rowid"}
IDENTIFIER |= {"no", "nr", "number", "code", "name"}
NAMES_ROWS = {"id", "ids", "key", "index", "idx", "unnamed", "mrn", "nr", "nummer"}  # ids of whole numbers
NAMES_ROWS_LAST = {"no", "number"}  # the same, but only as the last word of a name
NAMES_THINGS = {"id", "ids", "key", "mrn", "code", "zip", "zipcode", "postcode", "plz"}  # codes, may repeat
TARGET = {"label", "labels", "target", "targets", "y", "class", "classes", "outcome", "diagnosis", "answer"}
MAY_BE_WRITTEN = ("nothing", "category", "labels", "text")  # what columns in a form may look like at first
NEARLY = 0.95  # share of different values from which a column named id counts as one, with mistakes
CLASSES = 100  # maximum number of different values of a guessed class target, or labels of a named one
FRACTIONS = 5  # maximum number of different numbers of a class target, if some are not whole
WIDTH = 116  # characters per line of a comment


@dataclass(frozen=True)
class Guess:
    """The guessed role of one or more columns, with the reason."""

    role: str  # modality, target, id, group, split, missing or unused
    name: str  # name of the modality or the column
    reason: str
    value: Any = None  # kind of a modality, type of a target, or values that mean an empty cell


def inspect_column(name: str, column: pd.Series, root: Path) -> Look:
    """Return what a column looks like; a few whole numbers that name something are categories."""
    seen = look(column, root)
    few_values = 1 < seen.distinct <= min(MANY, seen.filled / 2) and seen.sort == "number"
    if few_values and _words(name) & NAMES_THINGS and _words(name) != {"id"} and _all_whole(column):
        return replace(seen, sort="category", reason=f"{seen.distinct} whole numbers that seem to be codes")
    return seen


def _words(name: str) -> set[str]:
    return {word.lower() for word in WORDS.findall(name)}


def _all_whole(column: pd.Series) -> bool:
    numbers = as_numbers(column.dropna())
    return bool((numbers == np.round(numbers)).all())


def _role(name: str, column: pd.Series, seen: Look, taken: Mapping[str, str]) -> Guess | None:
    """Return the role of a column; None if it has none. There is one id, one group and one split.

    Columns by role, so far, are `taken`: a second group may be an input, a second id or split is unused.
    """
    guess = _by_name(name, column, seen)
    if guess is not None and guess.role == "group" and "group" in taken:
        guess = _identifier(name, _words(name), column, seen)
    if guess is not None and guess.role in ("id", "split") and guess.role in taken:
        return Guess("unused", name, f"{guess.reason}; but the {guess.role} is already {taken[guess.role]}")
    return guess


def _target_type(column: pd.Series, seen: Look) -> tuple[str, str]:
    """Return the type of a target that the user named, and the reason."""
    if seen.sort == "labels":
        return "multilabel", "holds lists of labels"
    cells = column.dropna()
    if seen.sort == "number":
        if seen.distinct > (MANY if _all_whole(cells) else FRACTIONS):
            return "number", f"{seen.distinct} different numbers"
    elif (writing := guessed_form(column)) is not None and writing.form == "amount":
        numbers = np.unique(TARGETS["number"](cells)[0])
        if len(numbers) > (MANY if (numbers == np.round(numbers)).all() else FRACTIONS):
            return "number", writing.reason
    elif len(cells) and all(isinstance(cell, str) for cell in cells):
        distinct = int(cells.nunique())
        if distinct > MANY and not np.isnan(as_numbers(cells)).any():
            return "number", f"{distinct} numbers as text"
        parts = cells.astype(str).str.split(r"\s*[;|]\s*", regex=True)
        labels = parts.explode()
        if (parts.str.len() > 1).mean() > SEVERAL and labels.nunique() <= min(CLASSES, len(labels) / 2):
            return "multilabel", "holds labels separated by ; or |"
        return "class", f"{distinct} different values"
    return "class", f"{seen.distinct} different values"


def _by_name(name: str, column: pd.Series, seen: Look) -> Guess | None:
    words = _words(name)
    repeated = 2 < seen.distinct < seen.filled
    named = bool(words & SPLIT)
    if seen.distinct > 1 and (named or seen.distinct <= len(SPLITS)):
        values = {value.strip().lower() for value in column.dropna().astype(str).unique()}
        parts = {SPLITS[value] for value in values & SPLITS.keys()}
        if values <= SPLITS.keys() and (named or ("train" in parts and len(parts) > 1)):
            of_name = "its name, and " * named
            return Guess("split", name, f"{of_name}its values {', '.join(sorted(values))}")
        reason = f"its name suggests a split, but not all values do: {', '.join(sorted(values)[:5])}. Use "
        numbered = words <= {"fold"} and seen.sort == "number" and seen.distinct <= MANY
        if named and (numbered or not values.isdisjoint(SPLITS)):
            return Guess("unused", name, reason + "train, validation or test, and declare it as split")
    if _names_groups(words) and repeated:
        return Guess("group", name, f"its name; {seen.distinct} groups in {seen.filled} rows")
    if words & TARGET:
        if seen.sort in ("category", "number") and 1 < seen.distinct <= min(CLASSES, max(2, seen.filled / 5)):
            return Guess("target", name, f"its name, and {seen.distinct} different values", "class")
        if seen.sort == "number":
            return Guess("target", name, f"its name, and {seen.distinct} different numbers", "number")
        if seen.sort == "labels":
            return Guess("target", name, "its name, and lists of labels", "multilabel")
    return _identifier(name, words, column, seen)


def _names_groups(words: set[str]) -> bool:
    return bool(words & GROUP) and words <= GROUP | IDENTIFIER


def _identifier(name: str, words: set[str], column: pd.Series, seen: Look) -> Guess | None:
    """Recognise ids (unique whole numbers or single words), and near-ids or codes to leave unused."""
    if seen.sort not in ("number", "nothing", "category"):
        return None
    named_as_id = bool(words & NAMES_ROWS) or name.lower().endswith(("nummer", *NAMES_ROWS_LAST & words))
    if seen.distinct < len(column):
        if words == {"id"} and seen.distinct >= NEARLY * len(column):
            repeated = len(column) - seen.distinct
            reason = f"its name; but {repeated} of {len(column)} rows repeat an id or have none"
            return Guess("id", name, reason)
        if seen.sort == "nothing" and NEARLY * len(column) <= seen.distinct < seen.filled:
            copies = seen.filled - seen.distinct
            reason = f"{seen.distinct} different short values, like ids; but {copies} rows repeat one"
            way_out = "If these rows are copies, drop them and declare the column as id"
            return Guess("unused", name, f"{reason}. {way_out}")
        if not (words & NAMES_THINGS and seen.sort == "number" and _all_whole(column)):
            return None
        reason = f"{seen.distinct} whole numbers that seem to be codes, judging by the name"
        return Guess("unused", name, f"{reason}; list the column in `categorical` to use it")
    if seen.sort == "number":
        with np.errstate(invalid="ignore"):  # the difference of two infinities is NaN
            consecutive = len(column) > 2 and bool((np.diff(as_numbers(column)) == 1).all())
        if (consecutive or named_as_id) and _all_whole(column):
            return Guess("id", name, "numbers the rows" if consecutive else "unique whole numbers")
        return None
    return Guess("id", name, f"{seen.distinct} unique single words")


NUMBERED = re.compile(r"(.*?)(\d+)")
RUN = 8  # minimum number of numbered columns that make a vector


@dataclass(frozen=True)
class Inferred:
    """A schema and the guesses from which it was built."""

    schema: Schema
    guesses: tuple[Guess, ...]
    answers: Mapping[str, str]  # input columns that may be answers, with the reason

    def to_yaml(self, table: str = "the table", path: str | None = None) -> str:
        """Return the schema as YAML with a comment for each guess.

        Args:
            table: name of the table in the first comment.
            path: path of the table relative to the schema, from which `commlearn train` reads it.
        """
        lines = [f"# Guessed from {_line(table)}. Review and correct it; each comment gives the reason."]
        lines += [f"version: {VERSION}"]
        lines += [_flow("table", path)] if path is not None else []
        lines += [_flow("encoding", self.schema.encoding)] if self.schema.encoding else []
        lines += ["modalities:"]
        wrapper = textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
        for guess in self.of("modality"):
            lines += [f"  # {part}" for part in wrapper.wrap(_line(guess.reason))]
            lines += [f"  {_flow(guess.name, kind_to_mapping(guess.value))}"]
        if len(self.of("modality")) == 1:
            lines += [
                "  # Only one modality: if its columns come from several sources, give each source its own."
            ]
        lines += self._entries("target", "targets:  # never seen in training, only by probes")
        for role in ("id", "group", "split"):
            for guess in self.of(role):
                lines += [f"# {_line(guess.reason)}", _flow(role, guess.name)]
        lines += self._entries("missing", "missing:  # values that mean an empty cell")
        if self.answers:
            lines += ["# Some inputs may be answers. Leave out any that are, or name them as targets:"]
        lines += [f"#   {_line(column)} {reason}" for column, reason in self.answers.items()]
        if self.of("unused"):
            lines += ["# Not used:"]
        lines += [f"#   {_line(guess.name)}: {_line(guess.reason)}" for guess in self.of("unused")]
        return "\n".join(lines) + "\n"

    def _entries(self, role: str, title: str) -> list[str]:
        lines = [title]
        for guess in self.of(role):
            lines += [f"  # {_line(guess.reason)}", f"  {_flow(guess.name, plain(guess.value))}"]
        return lines if len(lines) > 1 else []

    def of(self, role: str) -> list[Guess]:
        """Return the guesses with this role."""
        return [guess for guess in self.guesses if guess.role == role]


def stated_targets(table: Table, names: Sequence[str]) -> dict[str, Guess]:
    """Guess the type of each column that the user named as a target."""
    guesses = {}
    for name in names:
        if name not in table.frame.columns:
            raise DataError(unknown("column", name, table.frame.columns))
        sort, reason = _target_type(table.frame[name], inspect_column(name, table.frame[name], table.root))
        guesses[name] = Guess("target", name, f"named as a target; {reason}", sort)
    return guesses


def infer(table: Table, targets: Sequence[str] = (), encoding: str = "") -> Inferred:
    """Guess a kind for every column of a table.

    Args:
        table: the rows and their root folder.
        targets: columns to predict, whatever they look like.
        encoding: encoding of the table's text file, if it was given.
    """
    cells = {name: guessed_missing(table.frame[name]) for name in table.frame.columns}
    missing = {
        name: tuple(values)
        for name, (values, _) in cells.items()
        if values and (isinstance(values[0], str) or not _names_groups(_words(name)))
    }
    table = replace(table, frame=Reading(missing_in=missing).emptied(table.frame))
    frame = table.frame
    guesses = stated_targets(table, targets)
    looks = {name: inspect_column(name, frame[name], table.root) for name in frame.columns}
    possible_forms = {
        name: guessed_form(frame[name]) for name, seen in looks.items() if seen.sort in MAY_BE_WRITTEN
    }
    for name in frame.columns:
        if name not in guesses:
            used_roles = {guess.role: guess.name for guess in guesses.values()}
            guess = _role(name, frame[name], looks[name], used_roles)
            if guess is not None and not (guess.role in ("id", "unused") and possible_forms.get(name)):
                guesses[name] = guess
    forms = {name: writing for name, writing in possible_forms.items() if writing and name not in guesses}
    remaining = {
        name: replace(seen, sort="written") if name in forms else seen
        for name, seen in looks.items()
        if name not in guesses
    }
    empty = [Guess("missing", name, cells[name][1], values) for name, values in missing.items()]
    all_guesses = [*_modalities(remaining, frame, forms), *guesses.values(), *empty]
    by_role: dict[str, dict[str, Any]] = defaultdict(dict)
    for guess in all_guesses:
        by_role[guess.role][guess.name] = guess.value
    if not by_role["modality"]:
        reasons = "; ".join(f"{guess.name}: {guess.reason}" for guess in all_guesses[:20])
        raise DataError(f"No column looks like a modality ({reasons}). Write the schema by hand.")
    id, group, split = (next(iter(by_role[role]), None) for role in ("id", "group", "split"))
    schema = Schema(
        by_role["modality"], by_role["target"], id, group, split, missing=missing, encoding=encoding
    )
    return Inferred(schema, tuple(all_guesses), likely_answers(frame, schema))


def _modalities(looks: dict[str, Look], frame: pd.DataFrame, forms: Mapping[str, Writing]) -> list[Guess]:
    """Combine numbered columns into vectors, and other numbers and categories into one table."""
    modalities: list[Guess] = []
    used: set[str] = set()
    for prefix, columns in _runs([name for name, seen in looks.items() if seen.sort == "number"]):
        missing = frame[columns].isna()
        if (missing.any(axis=1) != missing.all(axis=1)).any():
            continue  # a vector cannot have gaps, a table can
        reason = f"{len(columns)} numbered columns of numbers, {columns[0]} to {columns[-1]}"
        modalities.append(_modality(prefix.strip("_-. ") or "vector", "vector", columns, reason, modalities))
        used.update(columns)
    table_sorts = ("number", "category", "written")
    table_columns = [name for name, seen in looks.items() if seen.sort in table_sorts and name not in used]
    for name, seen in looks.items():
        if seen.sort in KINDS:
            modalities.append(_modality(name, seen.sort, [name], seen.reason, modalities))
        elif table_columns and name == table_columns[0]:
            numbers = sum(looks[column].sort == "number" for column in table_columns)
            few = len(table_columns) - numbers - len(forms)
            reason = f"columns: {numbers} of numbers, {few} with few values"
            reason += "".join(f"; {column}: {writing.reason}" for column, writing in forms.items())
            if answers := possible_answers(frame[table_columns]):
                reason += f"; with two values: {first_names(answers)}"
                reason += " (name those that are answers as targets)"
            categories = [column for column in table_columns if looks[column].sort == "category"]
            codes = [column for column in categories if _is_number(frame[column])]
            options: dict[str, Any] = {"categorical": tuple(codes)} if codes else {}
            options |= {"forms": {column: writing.form for column, writing in forms.items()}} if forms else {}
            modalities.append(_modality("table", "tabular", table_columns, reason, modalities, **options))
        elif seen.sort in ("nothing", "labels"):
            modalities.append(Guess("unused", name, seen.reason))
    return modalities


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _runs(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the columns that share a prefix and are numbered without gaps, by prefix, in numeric order."""
    runs: dict[str, dict[int, str]] = {}
    for name in names:
        if match := NUMBERED.fullmatch(name):
            runs.setdefault(match[1], {})[int(match[2])] = name
    return [
        (prefix, [run[number] for number in sorted(run)])
        for prefix, run in runs.items()
        if len(run) >= RUN and max(run) - min(run) + 1 == len(run)
    ]


def _modality(
    name: str, kind: str, columns: Sequence[str], reason: str, existing: Sequence[Guess], **options: Any
) -> Guess:
    """Return a modality with a valid name that is not taken yet."""
    clean_name = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or kind
    used = {guess.name for guess in existing if guess.role == "modality"}
    numbered = (f"{clean_name}_{number}" for number in count(2))
    candidates = chain((clean_name, f"{clean_name}_{kind}"), numbered)
    free = (option for option in candidates if option not in used and not hasattr(nn.ModuleDict(), option))
    argument = columns[0] if len(columns) == 1 else tuple(columns)
    instance: Kind = KINDS[kind](argument, **options)  # type: ignore[call-arg]
    return Guess("modality", next(free), reason, instance)


def _flow(key: str, value: Any) -> str:
    """Return a key and its value as one line of YAML."""
    inner = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 30, sort_keys=False)
    style = '"' if key.splitlines() != [key] else None  # a key must be on one line
    outer = yaml.safe_dump(key, allow_unicode=True, width=1 << 30, default_style=style)
    return f"{_strip_marks(outer)}: {_strip_marks(inner)}"


def _strip_marks(dumped: str) -> str:
    """Strip YAML's end-of-document mark and line breaks; spaces in a name stay, including unusual ones."""
    return dumped.removesuffix("...\n").strip("\n")


def _line(text: str) -> str:
    return " ".join(text.split())
