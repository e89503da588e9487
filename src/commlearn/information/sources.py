"""Turn a model, a folder, arrays or columns into modalities, target and groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commlearn.batch import choose_subsets
from commlearn.datasets import READERS
from commlearn.datasets.trifeature import Objects, Trifeature, draw_pairs, pair_records
from commlearn.errors import ConfigurationError, DataError, unknown
from commlearn.information.material import MOST_MODALITIES, Material, chosen_names, from_arrays, is_collection
from commlearn.information.pid.marginals import Array
from commlearn.kinds.base import Cells
from commlearn.kinds.rows import is_empty
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.vector import Vector
from commlearn.methods.base import Method
from commlearn.probes.raw_columns import raw_arrays
from commlearn.probes.readout_rows import CrossFitRows, rows_to_cross_fit
from commlearn.records import Records, presence
from commlearn.seeds import numpy_generator
from commlearn.tables.formats.reading import PLAIN
from commlearn.tables.roles import encode_target
from commlearn.tables.schema import Schema
from commlearn.tables.table import Table, check_order, read_table
from commlearn.trained.embed import embed, method_owner


def schema_of(columns: Mapping[str, Any], table: Table) -> Schema:
    """Return a schema for named columns: a single column of lists or arrays is a vector, all else tabular."""
    kinds: dict[str, Any] = {}
    for name, entry in columns.items():
        names = [entry] if isinstance(entry, str) else list(entry)
        column = table.frame.get(names[0]) if len(names) == 1 else None
        lists = column is not None and any(np.ndim(cell) == 1 for cell in column.dropna().head(1))
        kinds[name] = Vector(names[0]) if lists else Tabular(names)
    return Schema(kinds)


_PAIRS, _BLOCKS = 6000, 5  # pairs of images, and blocks of images that they are drawn within


def own_records(model: Any) -> CrossFitRows:
    """Return records of a run's own data set that can be judged fold by fold.

    If the method saw no labels, they are its training records; otherwise, those it was not trained on. For a
    run on a table, they are the rows that passing this table would give.
    """
    options = dict(model.experiment.data) if hasattr(model, "experiment") else {}
    reader = READERS[options.pop("name")](**options) if options.get("name") in READERS else None
    if not isinstance(reader, Trifeature):
        rows = rows_to_cross_fit(model, with_targets=True)
        if not rows.records.targets:
            raise DataError(
                f"The data set '{model.experiment.data['name']}' has no targets. Give a table that has some."
            )
        return rows
    train, test = reader.objects()
    objects, origin = (test, "test") if model.saw_labels else (train, "own")
    records, blocks = trifeature_blocks(reader, objects, _PAIRS)
    source = f"{len(records)} pairs of the run's {origin} images, no image in two folds"
    return CrossFitRows(replace(records, groups=blocks.astype(np.uint64)), None, source)


def trifeature_blocks(reader: Trifeature, objects: Objects, pairs: int) -> tuple[Records, np.ndarray]:
    """Draw unbiased pairs of images within blocks, and return the pairs with the block of each.

    Images of one combination share a block. Pairs drawn from all images would show each image in several
    folds, and experts would recognise it.
    """
    attributes = (objects.shape, objects.texture, objects.colour)
    combination = np.unique(np.stack(attributes, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    order = numpy_generator(reader.seed, "interaction blocks").permutation(combination.max() + 1)
    block = (order % _BLOCKS)[combination]
    rows, blocks = [], []
    for number in range(_BLOCKS):
        members = np.flatnonzero(block == number)
        block_objects = Objects(*(part[members] for part in (objects.images, *attributes)))
        generator = numpy_generator(reader.seed, "interaction pairs", number)
        rows.append(members[draw_pairs(block_objects, pairs // _BLOCKS, generator)])
        blocks.append(np.full(pairs // _BLOCKS, number))
    return pair_records(objects, np.concatenate(rows), reader.mapping()), np.concatenate(blocks)


_FEW_COLUMNS = 128  # most columns of a modality whose raw columns are analysed next to its embedding


@dataclass(frozen=True)
class TargetInputs:
    """One target of a source, with the modalities to compare, the groups of records and any warnings."""

    material: Material
    values: Any
    name: str
    groups: np.ndarray | None
    positions: np.ndarray  # positions of these records among all that the source offered
    offered: int  # number of records that the source offered
    warnings: tuple[str, ...] = ()
    sort: str | None = None  # sort of the target (such as `class`), if a schema states it

    def select(self, values: np.ndarray) -> np.ndarray:
        """Return the rows of these records, from rows for them or for all that the source offered."""
        return values[self.positions] if values.shape[:1] == (self.offered,) else values


@dataclass(frozen=True)
class GatheredInputs:
    """Modalities of a source, ready for any target that it has."""

    material: Material  # modalities of the records that have all of them
    read: Callable[[Any], tuple[Any, str]]  # returns the values of a target for all records, and its name
    records: int  # number of records in the source
    rows: np.ndarray  # positions of the records that have all modalities
    groups: np.ndarray | None  # groups of all records
    targets: Mapping[str, str | None] = field(default_factory=dict)  # targets that are stated, with sorts
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)  # table columns of each modality
    offered: int | None = None  # number of records before any trained on with labels were left out
    places: np.ndarray | None = None  # positions of the source's records among those offered
    joined: Sequence[tuple[str, Any]] = ()  # what the caller gave, with a name each, to be joined by position

    def about(self, target: Any) -> TargetInputs:
        check_order([*self.joined, ("target", target)])
        values, name = self.read(target)
        _check_length(f"target '{name}'", values, self.records)
        warnings = tuple(
            f"target '{name}' is itself a column that the modality '{modality}' reads, which gives away the "
            "answer; leave the column out of the modality, or choose another target"
            for modality, columns in self.columns.items()
            if (target is None or isinstance(target, str)) and name in columns
        )
        return TargetInputs(
            self.material,
            values.iloc[self.rows] if isinstance(values, pd.DataFrame) else values[self.rows],
            name,
            None if self.groups is None else self.groups[self.rows],
            self.rows if self.places is None else self.places[self.rows],
            self.records if self.offered is None else self.offered,
            warnings,
            self.targets.get(name),
        )


def gather(source: Any, data: Any, modalities: Sequence[str] | None, groups: Any) -> GatheredInputs:
    """Return the modalities, targets and groups of a source.

    Args:
        source: a run, its folder, an Embedder or a method; a dict of arrays; or a Schema or a dict of column
            names, to read `data` without a model.
        data: a table, Records or a Dataset.
        modalities: names of the modalities to compare; all if not given.
        groups: one value per record, or the name of a column.
    """
    if isinstance(source, str | Path):
        from commlearn.trained.artifact import load

        source = load(source)
    arrays = source.items() if isinstance(source, Mapping) else ()
    joined = [*arrays, ("data", data), ("groups", groups)]
    check_order(joined)  # before anything is embedded; `about` checks the target, too
    if isinstance(source, Schema) or (isinstance(source, Mapping) and holds_column_names(source, data)):
        gathered = _of_columns(source, data, modalities, groups)
    elif isinstance(source, Mapping):
        gathered = _of_arrays(source, data, modalities, groups)
    else:
        gathered = _of_model(method_owner(source), data, modalities, groups)
    return replace(gathered, joined=joined)


def _check_length(description: str, values: Any, records: int) -> None:
    if len(values) != records:
        raise DataError(
            f"{description} has {len(values)} values, but the modalities have {records} records; give one "
            "value per record."
        )


def holds_column_names(source: Mapping[str, Any], data: Any) -> bool:
    """Whether the values of `source` are names of table columns."""
    are_names = all(
        isinstance(value, str)
        or (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value))
        for value in source.values()
    )
    return bool(source) and are_names and data is not None


def _of_arrays(
    arrays: Mapping[str, Any], data: Any, modalities: Sequence[str] | None, groups: Any
) -> GatheredInputs:
    material = from_arrays(arrays, modalities)
    table = None if data is None else _table(data)
    return GatheredInputs(
        material,
        lambda target: _target(None, table, None, target),
        material.records,
        np.arange(material.records),
        _groups(groups, table, None, material.records),
    )


def _of_columns(
    source: Schema | Mapping[str, Any], data: Any, modalities: Sequence[str] | None, groups: Any
) -> GatheredInputs:
    table = _table(data, source)
    schema = source if isinstance(source, Schema) else schema_of(source, table)
    chosen_schema = replace(schema.only(chosen_names(schema.modalities, modalities)), id=None)
    records = chosen_schema.read(table, chosen_schema.learn(table), empty=True)
    complete, positions, notes = _complete(records)
    arrays = from_arrays(raw_arrays(complete), None)
    material = replace(arrays, origin="raw columns, no model", notes=notes)
    return GatheredInputs(
        material,
        lambda target: _target(schema, table, None, target),
        len(records),
        positions,
        _groups(groups, table, schema, len(records)),
        schema.targets,
        {name: kind.columns() for name, kind in chosen_schema.modalities.items()},
    )


def _of_model(model: Any, data: Any, modalities: Sequence[str] | None, groups: Any) -> GatheredInputs:
    method = model if isinstance(model, Method) else getattr(model, "method", None)
    if not isinstance(method, Method):
        raise ConfigurationError(
            f"A {type(model).__name__} is neither a model nor a dict of arrays. Give a run, its folder, an "
            "Embedder, a dict of arrays by modality, or a Schema with a table."
        )
    names = chosen_names(method.modalities, modalities)
    schema: Schema | None = getattr(model, "schema", None)
    rows = own_records(model) if data is None else rows_to_cross_fit(model, data, names)
    records, table = rows.records, rows.table
    columns = {name: records.columns[name] for name in names}
    complete, positions, notes = _complete(replace(records, columns=columns))
    few = len(names) <= MOST_MODALITIES
    subsets = choose_subsets("every", tuple(names))[len(names) :] if few else ()  # two or more
    material = Material(
        from_arrays({name: embed(model, complete, [name], blocks="learned") for name in names}, None).arrays,
        {
            subset: np.asarray(embed(model, complete, list(subset), blocks="learned"), dtype=np.float64)
            for subset in subsets
        },
        own_columns(complete),
        f"embeddings of {rows.source}" if rows.source else "embeddings by the model",
        (rows.warning, *notes) if rows.warning else notes,
    )

    def of_records(values: Any) -> Any:
        """Reduce values to the records that are used; a name stays as it is."""
        return values if values is None or isinstance(values, str) else rows.select(values)

    groups = of_records(groups)
    group_values = records.held_together if groups is None else _groups(groups, table, schema, len(records))
    sorts = schema.targets if schema else {}
    targets = {**(sorts if table else {}), **{name: sorts.get(name) for name in records.targets}}
    return GatheredInputs(
        material,
        lambda target: _target(schema, table, records, of_records(target)),
        len(records),
        positions,
        group_values,
        targets,
        {name: schema.modalities[name].columns() for name in names} if schema and table else {},
        rows.offered,
        rows.positions,
    )


def own_columns(records: Records) -> dict[str, Array]:
    """Return the raw columns of the modalities that are tables or vectors with few columns."""
    small = {
        name: records.columns[name]
        for name, spec in records.specs.items()
        if spec.kind in ("tabular", "vector") and spec.shape[0] + sum(spec.shape[1:]) <= _FEW_COLUMNS
    }
    return raw_arrays(replace(records, columns=small)) if small else {}


def _table(data: Any, source: object = None) -> Table:
    if data is None:
        raise ConfigurationError("There is no table: give data=, a DataFrame, a dict of columns or a path.")
    reading = source.reading() if isinstance(source, Schema) else PLAIN
    return data if isinstance(data, Table) else read_table(data, reading=reading)


def _values(source: Any, table: Table | None, argument: str) -> tuple[Any, str]:
    """Return values, or the column of that name, with their name; a 2-D array of one column becomes 1-D."""
    if not hasattr(source, "__iter__"):
        raise DataError(f"{argument}={source!r} is not one value per record, nor the name of a column.")
    if getattr(source, "ndim", 1) == 2 and source.shape[1] == 1:
        source = source.iloc[:, 0] if isinstance(source, pd.DataFrame) else source[:, 0]
    if isinstance(source, pd.DataFrame):
        return source, argument
    if not isinstance(source, str):
        return source, str(getattr(source, "name", None) or argument)
    if table is None:
        raise ConfigurationError(f"{argument}='{source}' names a column, but there is no table; give data=.")
    if source not in table.frame:
        raise DataError(unknown(argument, source, [str(name) for name in table.frame.columns]))
    return table.frame[source], source


def _target(
    schema: Schema | None, table: Table | None, records: Records | None, target: Any
) -> tuple[Any, str]:
    """Return the values and name of the target, from the records, the schema's targets or any column."""
    targets = [*(schema.targets if schema else ()), *(records.targets if records else ())]
    if target is None and len(set(targets)) == 1:
        target = targets[0]
    if target is None:
        raise ConfigurationError(
            f"Name a target: one of {', '.join(dict.fromkeys(targets)) or 'the columns'}."
        )
    if records is not None and isinstance(target, str) and target in records.targets:
        return _values(np.asarray(records.targets[target]), None, target)
    if schema is not None and table is not None and isinstance(target, str) and target in schema.targets:
        cells = Cells(table.frame, table.root, table.first_row)
        return encode_target(cells, target, schema.targets[target]), target
    if records is not None and table is None and isinstance(target, str):
        raise DataError(unknown("target", target, records.targets))
    values, name = _values(target, table, "target")
    return _objects(values), name


def _objects(values: Any) -> Any:
    """Return values as an array, with each collection as one object; arrays and frames stay as they are."""
    if isinstance(values, np.ma.MaskedArray):
        return _as_array(values)
    if isinstance(values, np.ndarray | pd.DataFrame):
        return values
    cells = list(values)
    if any(is_collection(value) for value in cells):
        return np.fromiter(cells, dtype=object, count=len(cells))
    return _as_array(values)


def _as_array(values: Any) -> np.ndarray:
    """Return values as an array; NumPy would turn a NaN among texts into the text "nan", and drop a mask."""
    if isinstance(values, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(values), np.array(None, dtype=object), values.data)
    texts = isinstance(values, list | tuple) and any(isinstance(value, str) for value in values)
    if texts and any(is_empty(value) for value in values):
        return np.fromiter(values, dtype=object, count=len(values))
    return np.asarray(values)


def _groups(groups: Any, table: Table | None, schema: Schema | None, records: int) -> np.ndarray | None:
    if groups is None and schema is not None and table is not None and schema.group in table.frame:
        groups = schema.group
    if groups is None:
        return None
    values = _as_array(_values(groups, table, "groups")[0])
    if values.ndim != 1:
        raise DataError(f"groups has shape {values.shape}; give one value per record.")
    _check_length("groups", values, records)
    return values


def _complete(records: Records) -> tuple[Records, np.ndarray, tuple[str, ...]]:
    """Return the records that have all of the modalities, their positions, and a note if some have not."""
    present = np.all([presence(column) for column in records.columns.values()], axis=0)
    rows = np.flatnonzero(present)
    if not len(rows):
        raise DataError(f"No record has all of {', '.join(records.columns)}; compare fewer modalities.")
    if present.all():
        return records, rows, ()
    missing = len(records) - len(rows)
    note = f"{missing} of {len(records)} records lack a modality and were left out"
    return records.choose(rows), rows, (note,)
