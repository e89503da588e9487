"""The schema of a table: the columns of its modalities and targets, of ids, groups and the split.

A schema is written in Python or YAML and can read any table that has its columns::

    modalities:
      xray: {kind: image, column: path}
      labs: {kind: tabular, columns: [hb, crp]}
    targets: {diagnosis: class}
    id: case
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from torch import nn

from commlearn.errors import (
    LOOKED_UP,
    MISSPELT,
    ConfigurationError,
    DataError,
    DataWarning,
    Problems,
    nearest,
    unknown,
)
from commlearn.escapes import html_table
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.image import Pictures
from commlearn.kinds.rows import (
    LIMIT,
    WAY_OUT,
    Unreadable,
    collect_errors,
    column_name,
    first_names,
    raise_errors,
)
from commlearn.records import Column, Records, presence
from commlearn.tables import schema_yaml
from commlearn.tables.formats.reading import Reading
from commlearn.tables.roles import TARGETS, encode_target, id_problems, split_names, split_problems
from commlearn.tables.schema_yaml import EVERYWHERE, VERSION, newer
from commlearn.tables.table import Table

NAME = re.compile(r"[A-Za-z0-9_-]+")
EXAMPLES = {"modalities": "{'xray': Image('path')}", "targets": "{'diagnosis': 'class'}"}


@dataclass(frozen=True)
class Schema:
    """The modalities of a table's rows, by name and in order, with the targets, id, group and split columns.

    Args:
        modalities: kinds by name, such as `{"xray": Image("path"), "labs": Tabular(["hb", "crp"])}`;
            names consist of letters, digits, `_` and `-`.
        targets: `class`, `number` or `multilabel` by column; probes use them, most methods never see them.
        id: column that identifies each record.
        group: column that names the group of a row, such as a patient; a split by hash never divides it.
        split: column that assigns each row to train, validation or test.
        version: version of the schema format.
        missing: words that stand for an empty cell in any column, such as `["NA", "-"]`; or words and
            numbers by column, such as `{"age": [-999]}`, where `*` stands for every column.
        unreadable: `error` refuses cells that cannot be read, such as paths of missing files; `missing`
            treats them as empty and lists them.
        unreadable_limit: largest percentage of a modality's filled cells that may count as missing.
        encoding: encoding of tables in text files, such as "cp1252"; if not given, it is detected, trying
            UTF-8 first.

    Example:
        >>> from commlearn.kinds.text import Text
        >>> Schema({"notes": Text("note")}, targets={"ill": "class"}).columns()
        ('note', 'ill')
    """

    modalities: Mapping[str, Kind]
    targets: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    group: str | None = None
    split: str | None = None
    version: int = VERSION
    missing: Sequence[str] | Mapping[str, Sequence[Any]] = ()
    unreadable: str = "error"
    unreadable_limit: float = LIMIT
    encoding: str = ""

    def __post_init__(self) -> None:
        problems = Problems("schema")
        for key, example in EXAMPLES.items():
            if not isinstance(getattr(self, key), Mapping):
                problems.add(f"{key} is {getattr(self, key)!r:.60}; give a mapping, such as {example}.")
        if not isinstance(self.version, int):
            problems.add(f"version is {self.version!r:.60}; give a whole number, such as {VERSION}.")
        problems.raise_if_any(ConfigurationError)
        if self.version > VERSION:
            raise ConfigurationError(newer(self.version))
        for name, kind in self.modalities.items():
            if not isinstance(kind, Kind):
                problems.add(f"modality '{name}' is {kind!r}; give a kind such as Image('path').")
        for key in schema_yaml.ROLES:
            object.__setattr__(self, key, column_name(getattr(self, key)))
        targets = {column_name(column): sort for column, sort in self.targets.items()}
        object.__setattr__(self, "targets", targets)
        _check_names(self.modalities, self.targets, problems)
        object.__setattr__(self, "missing", schema_yaml.missing_cells(self.missing, problems))
        schema_yaml.check_encoding(self.encoding, problems)
        schema_yaml.check_unreadable(self.unreadable, self.unreadable_limit, problems)
        problems.raise_if_any(ConfigurationError)

    @classmethod
    def from_yaml(cls, source: str | Path) -> Schema:
        """Read a schema from a file, or from YAML text. All problems are reported at once."""
        return cls.from_mapping(*schema_yaml.load(source))

    @classmethod
    def from_mapping(cls, mapping: Any, where: str = "schema") -> Schema:
        """Build a schema from plain values, as read from YAML or JSON."""
        problems = Problems(where)
        values = schema_yaml.parts(mapping, problems)
        if values:
            _check_names(values["modalities"], values["targets"], problems)
        problems.raise_if_any(ConfigurationError)
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Return the schema as plain values, leaving out settings at their defaults."""
        mapping: dict[str, Any] = {"version": self.version}
        mapping["modalities"] = {
            name: schema_yaml.kind_to_mapping(kind) for name, kind in self.modalities.items()
        }
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name not in mapping and value not in (entry.default, (), {}):
                mapping[entry.name] = schema_yaml.plain(value)
        return mapping

    def to_yaml(self) -> str:
        """Return the schema as YAML text that `from_yaml` can read."""
        return yaml.safe_dump(
            self.to_mapping(), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
        )

    def _repr_html_(self) -> str:
        """Return the HTML table that a notebook displays."""
        rows = []
        for name, kind in self.modalities.items():
            entries = schema_yaml.kind_to_mapping(kind).items()
            settings = [f"{key} {value}" for key, value in entries if key not in schema_yaml.KIND_KEYS]
            rows.append((name, kind.name, ", ".join(map(str, kind.columns())), ", ".join(settings)))
        rows += [(column, f"target, {sort}", column, "") for column, sort in self.targets.items()]
        roles = {key: getattr(self, key) for key in schema_yaml.ROLES}
        rows += [(key, key, column, "") for key, column in roles.items() if column is not None]
        return html_table("Schema", ("name", "role", "columns", "settings"), rows)

    def columns(self, with_targets: bool = True) -> tuple[str, ...]:
        """Return each column that the schema needs, once; without targets, only those of the modalities."""
        names = [column for kind in self.modalities.values() for column in kind.columns()]
        names += [*self._named(), *self.targets] if with_targets else []
        return tuple(dict.fromkeys(names))

    def _named(self) -> list[str]:
        return [column for column in (self.id, self.group, self.split) if column is not None]

    def reading(self, state: Mapping[str, Any] | None = None) -> Reading:
        """Return the settings that `read_table` needs to interpret cells: names, missing values, encoding.

        Args:
            state: what `learn` returned, which identifies more columns as categories.
        """
        texts = {column for column, sort in self.targets.items() if sort == "multilabel"}  # 1,5 is two labels
        names = {*self._named(), *texts}
        for name, kind in self.modalities.items():
            names |= set(kind.names())
            texts |= set(kind.columns()) if kind.name == "text" else set(getattr(kind, "forms", ()))
            with suppress(LookupError, TypeError):  # a wrong state is reported where it is used
                if state is not None and kind.name == "tabular":
                    names |= {part["column"] for part in state[name]["categories"]}
        missing = self.missing if isinstance(self.missing, Mapping) else {EVERYWHERE: self.missing}
        by_column = {column: tuple(values) for column, values in missing.items()}
        common_values = by_column.pop(EVERYWHERE, ())
        return Reading(frozenset(names), common_values, by_column, self.encoding, frozenset(texts))

    def only(self, modalities: Sequence[str] | None) -> Schema:
        """Return the schema with only these modalities, in the schema's order; None keeps all of them."""
        if modalities is None:
            return self
        for name in modalities:
            if name not in self.modalities:
                raise ConfigurationError(unknown("modality", name, self.modalities))
        if not modalities:
            raise ConfigurationError(f"Choose at least one of the modalities {', '.join(self.modalities)}.")
        chosen = {name: kind for name, kind in self.modalities.items() if name in modalities}
        return replace(self, modalities=chosen)

    def missing_columns(self, frame: pd.DataFrame, with_targets: bool = True) -> dict[str, str]:
        """Return the columns that the schema needs and the table lacks, each with an error message."""
        readers = {column: "the schema reads" for column in self.columns(with_targets)}
        for name, kind in self.modalities.items():
            readers |= dict.fromkeys(kind.columns(), f"modality '{name}' reads")
        return _missing_messages(readers, frame)

    def misnamed_columns(self, frame: pd.DataFrame) -> dict[str, str]:
        """Return missing columns of a table to train on, including those named in the `missing` setting."""
        readers = dict.fromkeys(self.training_columns(), "the schema's list of missing cells names")
        return _missing_messages(readers, frame) | self.missing_columns(frame)

    def training_columns(self) -> tuple[str, ...]:
        """Return every column that the schema names, including those in the `missing` setting."""
        extra = self.missing if isinstance(self.missing, Mapping) else ()
        names = [name for name in (*self.columns(), *extra) if name != EVERYWHERE]
        return tuple(dict.fromkeys(names))

    def learn(self, table: Table, rows: np.ndarray | None = None) -> dict[str, dict[str, Any]]:
        """Return what each modality's kind learns from the training rows: plain values, saved with the model.

        Args:
            table: the rows and their root folder.
            rows: positions of the training rows; all rows if not given.
        """
        refuse_columns("the table does not fit the schema", self.missing_columns(table.frame, False))
        problems = Problems("The training rows cannot be learned from")
        state = {}
        for name, kind in self.modalities.items():
            with collect_errors(problems, f"modality '{name}'"):
                state[name] = self._learn_kind(name, kind, table, rows)
        problems.raise_if_any(DataError)
        return state

    def notes(self, state: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
        """Return log lines about what was learned, each beginning with the modality."""
        return tuple(
            f"{name}: {note}" for name, kind in self.modalities.items() for note in kind.notes(state[name])
        )

    def _learn_kind(self, name: str, kind: Kind, cells: Cells, rows: np.ndarray | None) -> dict[str, Any]:
        """Return what a kind learns from some rows; errors name the row in the whole table."""
        training_cells = cells if rows is None or len(rows) == len(cells) else cells.take(rows)
        if self.unreadable == "missing":  # no limit here: `read` counts them
            return Unreadable(100).without(name, kind, training_cells, kind.learn)[0]
        try:
            return kind.learn(training_cells)
        except DataError:
            if training_cells is not cells:
                raise_errors(kind.columns()[0], kind.check(cells))
            raise

    def read_modality(
        self, name: str, cells: Cells, state: Mapping[str, Any], unreadable: Unreadable | None
    ) -> Column:
        """Read one modality as a column; if a list is given, unreadable cells are emptied and noted in it.

        Args:
            name: name of the modality.
            cells: the rows.
            state: what its kind learned.
            unreadable: list of unreadable cells; if None, such cells raise an error.
        """
        kind = self.modalities[name]
        if unreadable is None:
            return kind.read(cells, dict(state))

        def read(cells: Cells) -> Column:
            column = kind.read(cells, dict(state))
            if isinstance(column, Pictures):
                column.raise_unreadable()
            return column

        return unreadable.without(name, kind, cells, read)[0]

    def read(
        self,
        table: Table,
        state: Mapping[str, dict[str, Any]],
        with_targets: bool = False,
        empty: bool = False,
        unreadable: Unreadable | None = None,
    ) -> Records:
        """Read the table as records, with every modality prepared by what was learned.

        Args:
            table: the rows and their root folder.
            state: what `learn` returned.
            with_targets: also read the target columns, which a table to embed need not have.
            empty: accept records that have no modality at all.
            unreadable: collects the unreadable cells if the schema counts them as missing; the caller must
                judge it. If not given, this table is judged on its own and a warning counts the cells.
        """
        collector = None if self.unreadable == "error" else unreadable or Unreadable(self.unreadable_limit)
        refuse_columns("the table does not fit the schema", self.missing_columns(table.frame, with_targets))
        problems = Problems("The table cannot be read")
        columns: dict[str, Column] = {}
        targets: dict[str, np.ndarray] = {}
        with collect_errors(problems, "id"):
            self.ids(table)
        for name in self.modalities:
            with collect_errors(problems, f"modality '{name}'"):
                columns[name] = self.read_modality(name, table, state[name], collector)
        for name, sort in self.targets.items() if with_targets else ():
            with collect_errors(problems, f"target '{name}'"):
                targets[name] = encode_target(table, name, sort)
        if collector is None and len(columns) < len(self.modalities):
            problems.add(WAY_OUT)
        if collector is not None and unreadable is None:
            with collect_errors(problems, "unreadable"):
                collector.judge()
        if len(columns) == len(self.modalities) and not empty:
            with collect_errors(problems, "records"):
                raise_errors("the table", empty_record_problems(table, columns, self.id))
        problems.raise_if_any(DataError)
        if collector is not None and unreadable is None and collector.entries:
            warnings.warn(DataWarning("; ".join(collector.lines())), stacklevel=3)
        return Records(columns, targets, sorts=self.targets)

    def ids(self, table: Table) -> np.ndarray | None:
        """Return the id of each record, checking that all exist and are unique; None without an id column."""
        if self.id is None or self.id not in table.frame:
            return None
        raise_errors(self.id, id_problems(table, self.id))
        return table.frame[self.id].to_numpy()

    def splits(self, table: Table) -> dict[str, np.ndarray]:
        """Return the rows of train, validation and test by position; without a split column all are train."""
        if self.split is None:
            return {"train": np.arange(len(table))}
        if self.split not in table.frame:
            raise DataError(
                *_missing_messages({self.split: "says which split a row is in"}, table.frame).values()
            )
        raise_errors(self.split, split_problems(table, self.split))
        names = split_names(table.frame[self.split])
        rows = {name: np.flatnonzero(names == name) for name in ("train", "validation", "test")}
        return {name: positions for name, positions in rows.items() if len(positions)}

    def with_absent(self, table: Table) -> tuple[Table, list[str]]:
        """Return the table with empty columns for the modalities that it lacks, and the names of these.

        Columns that may only be misspelt are not added, so that they are reported as missing. Nothing is
        added to a table without any modality.
        """
        frame, own = table.frame, set(self.columns())
        others = [str(name) for name in frame.columns if name not in own]
        absent = [
            name
            for name, kind in self.modalities.items()
            if not any(column in frame for column in kind.columns())
            and not any(nearest(column, others, MISSPELT) for column in kind.columns()[:LOOKED_UP])
        ]
        if not absent or len(absent) == len(self.modalities):
            return table, []
        columns = dict.fromkeys(column for name in absent for column in self.modalities[name].columns())
        empty_columns = pd.DataFrame(None, frame.index, list(columns), dtype=object)
        return replace(table, frame=pd.concat([frame, empty_columns], axis=1)), absent


def refuse_columns(subject: str, missing: Mapping[str, str]) -> None:
    """Raise one error for all columns that a table lacks, if there are any."""
    problems = Problems(subject)
    problems.messages += missing.values()
    problems.raise_if_any(DataError)


def empty_record_problems(
    cells: Cells, columns: Mapping[str, Column], id: str | None = None
) -> list[Problem]:
    """Return a problem for each record that has no modality at all.

    Args:
        cells: rows of the table.
        columns: every modality, as read.
        id: column whose value names a record in the message, in addition to its row.
    """
    empty = np.flatnonzero(~np.any([presence(column) for column in columns.values()], axis=0))
    ids = cells.frame[id].astype(object).tolist() if id in cells.frame and len(empty) else None
    return [
        Problem(
            f"{'the record' if ids is None else f'record {ids[row]!r}'} has none of "
            f"{', '.join(columns)}; fill in one of them or leave the row out",
            row=cells.first_row + int(row),
        )
        for row in empty
    ]


def modules_of_schema(schema: Schema) -> dict[str, nn.Module]:
    """Return the user's own encoder modules by modality, such as that of `Image("photo", encoder=module)`."""
    encoders = {name: getattr(kind, "encoder", None) for name, kind in schema.modalities.items()}
    return {name: encoder for name, encoder in encoders.items() if isinstance(encoder, nn.Module)}


def schema_with_modules(schema: Schema, modules: Mapping[str, nn.Module]) -> Schema:
    """Put encoder modules back into a schema that was read from plain values, which cannot hold them."""
    kinds: dict[str, Any] = dict(schema.modalities)
    kinds |= {name: replace(kinds[name], encoder=module) for name, module in modules.items()}
    return replace(schema, modalities=kinds)


def _check_names(modalities: Mapping[Any, Any], targets: Mapping[str, Any], problems: Problems) -> None:
    if not modalities:
        problems.add("modalities is empty; name at least one.")
    for name in modalities:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.add(f"{name!r} cannot be a modality's name; use only letters, digits, _ and -.")
        elif hasattr(nn.ModuleDict(), name):
            reason = "because torch modules already use it"
            problems.add(f"'{name}' cannot be a modality's name, {reason}; choose another.")
    for column, sort in targets.items():
        if not isinstance(sort, str) or sort not in TARGETS:
            problems.add(f"target '{column}': " + unknown("type", sort, TARGETS))


def _missing_messages(readers: Mapping[str, str], frame: pd.DataFrame) -> dict[str, str]:
    """Return a message for each column that the table lacks, given what reads it."""
    columns, messages = first_names(list(map(str, frame.columns))), dict[str, str]()
    for column in [column for column in readers if column not in frame.columns]:
        guess = nearest(column, frame.columns) if len(messages) < LOOKED_UP else None
        hint = f" Did you mean '{guess}'?" if guess else ""
        messages[column] = (
            f"There is no column '{column}', which {readers[column]}.{hint} The table has {columns}."
        )
    return messages
