"""The one place that gives readouts their rows: which to fit on, which to score, and which belong together.

Every readout - probe, ladder, retrieval, audit, interactions, report, fine-tuning - gets its rows here. No
row is scored if the model has seen its label or the label of another row of its group. If no other rows are
left, an error says which to pass. Groups are passed along in `Records.groups`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commlearn.errors import ConfigurationError, DataError, DataWarning
from commlearn.methods.base import Method
from commlearn.probes.row_order import split_signs
from commlearn.records import Column, Dataset, Records
from commlearn.storage.places import is_remote, refuse_remote
from commlearn.tables.dataset import NO_PLACE, named_records
from commlearn.tables.leaks import is_continuous
from commlearn.tables.splits import parts_of_names, row_names
from commlearn.tables.table import Source, Table, read_table
from commlearn.trained.embed import method_owner
from commlearn.trained.model import TEST_SHARE, Trained
from commlearn.trained.run import read_own_data

COPIES = 0.02  # smallest share of equal test rows that is examined for copies
DISTINCT = 0.2  # smallest share of distinct rows of a table with copies: ten cities repeat more often
COMPARED = 1000  # distinct rows compared to tell copies from rows of a few discrete cells, at most


@dataclass(frozen=True)
class CrossFitRows:
    """Records that are each judged by experts fitted on other records."""

    records: Records  # with their groups
    table: Table | None  # rows that the records were read from, if it was a table; row i is record i
    source: str  # description of the records
    warning: str = ""  # caveat about the records to show to the user, if any
    positions: np.ndarray | None = None  # positions among the records that were offered; None for all
    offered: int | None = None  # number of records that were offered; None if these are all

    def select(self, values: Any) -> Any:
        """Select the values of these records from values for all offered records; return others unchanged."""
        if self.positions is None or len(values) != self.offered:
            return values
        return values.iloc[self.positions] if hasattr(values, "iloc") else np.asarray(values)[self.positions]


def readout_rows(model: Any, data: Dataset | Source | None = None, with_targets: bool = True) -> Dataset:
    """Return rows to fit a readout on, and other rows to score it on whose labels the model has not seen.

    Args:
        model: a trained run, artifact, Embedder or method.
        data: a Dataset of chosen parts; or a table, whose rows go to the parts that they had in training,
            and new rows to the parts that their keys determine; the training's own data if not given.
        with_targets: whether to read the targets of a table's schema; if not, the table need not have them.

    Returns:
        `fit` to fit on, `validation` to choose thresholds on, `test` to score.

    Raises:
        DataError: no row is left to score.
    """
    trained = method_owner(model)
    if data is None:
        data = _own_data(trained, "A probe")
    if not isinstance(data, Dataset):
        data = _parts_of_table(_reader(model, trained), data, with_targets)
    if not len(data.test):
        raise DataError("There are no test records to score a probe on; the split has none.")
    unseen = _unseen(trained, len(data.test), data.test.keys, data.test.groups)
    test = data.test.choose(np.flatnonzero(unseen))
    if len(test) < len(data.test):
        _warn(
            f"{len(data.test) - len(test)} of {len(data.test)} test rows are left out: they, or rows of "
            f"their group, were trained on with labels ({_labels(trained)})."
        )
        data = replace(data, test=test)
    return without_overlap(data)


def rows_to_cross_fit(
    model: Any,
    data: Dataset | Records | Source | Table | None = None,
    modalities: Sequence[str] | None = None,
    with_targets: bool = False,
) -> CrossFitRows:
    """Return rows for a readout that fits and judges in turn, fold by fold.

    These are all rows if the model saw no labels, otherwise the rows whose labels it did not see. Of a data
    set, only the rows to fit on or, if the model saw labels, the test rows are considered.

    Args:
        model: a trained run, artifact, Embedder or method.
        data: a table, records, or a data set; the training's own data if not given.
        modalities: modalities to read; all if not given.
        with_targets: whether to read the targets of a table's schema, too.
    """
    trained, own = method_owner(model), data is None
    table_rows: Table | None = None
    if data is None:
        data = _own_data(trained, "A report on interactions")
    if isinstance(data, Dataset):
        records = data.test if _saw_labels(trained) else data.fit
    elif isinstance(data, Records):
        records = data
    else:
        reader = _reader(model, trained)
        schema, state = reader.reader()
        reading = schema.reading(state)
        table_rows = data if isinstance(data, Table) else reader.at_root(read_table(data, reading=reading))
        table_records = reader.records(table_rows, with_targets, modalities, empty=True)
        records = named_records(table_records, row_names(table_rows, schema))
    mask = _unseen(trained, len(records), records.keys, records.groups)
    rows = np.flatnonzero(mask)
    source = f"{len(rows)} records of the run's own data set" if own and table_rows is None else ""
    if mask.all():
        return CrossFitRows(records, table_rows, source)
    if table_rows is not None:
        table_rows = replace(table_rows, frame=table_rows.frame.iloc[rows].reset_index(drop=True))
    return CrossFitRows(
        records.choose(rows),
        table_rows,
        source,
        f"{len(mask) - len(rows)} of {len(mask)} records were trained on with labels ({_labels(trained)}), "
        "or belong to a group that was, and were left out",
        rows,
        len(mask),
    )


def unseen_positions(model: Any, table: Table) -> np.ndarray:
    """Return the positions of a table's rows that may be scored, without reading their modalities."""
    trained = _reader(model, method_owner(model))
    names = row_names(table, trained.reader()[0])
    keys, groups = (None, None) if names is None else names
    return np.flatnonzero(_unseen(trained, len(table), keys, groups))


def held_out(
    records: int, groups: np.ndarray | None, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Draw a share of the records, or of their groups, to hold out from fitting, (records,) bool."""
    units = np.arange(records) if groups is None else np.unique(groups, return_inverse=True)[1]
    if not units.any():  # a single group: its records are divided after all
        units = np.arange(records)
    count = int(units.max()) + 1
    return np.isin(units, generator.permutation(count)[: max(1, round(share * count))])


def own_table(model: Any) -> str | None:
    """Return the path of the table that a model was trained on; None if it was trained on something else."""
    trained = method_owner(model)
    settings = trained.experiment.data if hasattr(trained, "experiment") else {}
    if settings.get("name") != "table" or settings.get("stream"):
        return None
    path = str(settings.get("table") or "")
    if not path:
        raise DataError(NO_PLACE)
    if trained.experiment.stored:
        refuse_remote(path)
    if not (is_remote(path) or Path(path).exists()):
        raise ConfigurationError(
            f"The table used for training is no longer at '{path}'. Name one: the table is an argument of "
            "every command and function that reads rows."
        )
    return path


def _own_data(trained: Any, readout: str) -> Dataset | str:
    if not hasattr(trained, "experiment"):
        raise ConfigurationError(f"{readout} of a {type(trained).__name__} needs data; pass a Dataset.")
    return own_table(trained) or read_own_data(trained)


def _reader(model: Any, trained: Any) -> Trained:
    if not isinstance(trained, Trained):
        raise ConfigurationError(
            f"A {type(model).__name__} cannot read a table. Give a Dataset, or the run "
            "(cl.load(FOLDER)) or the Embedder that it belongs to."
        )
    return trained


def _parts_of_table(trained: Trained, source: Source, with_targets: bool) -> Dataset:
    schema, state = trained.reader()
    schema = schema if with_targets else replace(schema, targets={})
    table = trained.at_root(read_table(source, schema.columns(), schema.reading(state)))
    names = row_names(table, schema)
    records = named_records(trained.records(table, with_targets), names)
    rows = trained.split(table, names)
    if "test" not in rows and schema.split is None and not trained.saw_labels and names is not None:
        part = parts_of_names(names.units, 0.0, TEST_SHARE, int(trained.experiment.data.get("seed", 0)))
        rows = {"train": np.flatnonzero(part == 0), "test": np.flatnonzero(part == 2)}
        _warn(
            f"The model was trained, without labels, on all {len(records)} rows, including those scored "
            "here. Pass rows it has not seen to measure it on new data."
        )
    if "test" not in rows and trained.saw_labels:
        raise DataError(_all_seen(trained, len(records)))
    if "test" not in rows:
        raise DataError(
            "The table has no test rows. Mark some as test in the schema's split column, or "
            "train with a test share above 0."
        )
    parts = {name: records.choose(chosen) for name, chosen in rows.items()}
    return Dataset(
        parts.get("train", records.choose(np.zeros(0, dtype=np.int64))),
        parts["test"],
        parts.get("validation"),
        schema=schema.to_mapping(),
        state=state,
    )


def _unseen(trained: Any, count: int, keys: np.ndarray | None, groups: np.ndarray | None) -> np.ndarray:
    """Return which records may be scored, (records,) bool; raise an error if there are none."""
    rows = getattr(trained, "rows", None)
    lacks_groups = rows is not None and rows.groups is not None and groups is None
    if not _saw_labels(trained):
        if lacks_groups:
            _warn(
                "The model was trained with a column of groups, which these rows lack: rows of one group may "
                "be both fitted on and scored. Add it."
            )
        return np.ones(count, dtype=bool)
    if rows is None:
        raise DataError(
            "The model learned from labels, and which rows those were is not recorded, so no row can be "
            "scored without bias. Train it again with this version, and keep its run or its export."
        )
    if keys is None:
        raise DataError(
            "The model learned from labels, and these records cannot be compared with those that it learned "
            "from: they have no keys, or their table lacks columns that identify its rows. Pass the whole "
            "table."
        )
    if lacks_groups:
        raise DataError(
            "The model learned from labels of whole groups, and these rows lack the column that names them. "
            "Add it."
        )
    mask = ~rows.used_in_training(keys, groups)
    if count and not mask.any():
        raise DataError(_all_seen(trained, count))
    return mask


def _saw_labels(trained: Any) -> bool:
    if isinstance(trained, Trained):
        return trained.saw_labels
    method = getattr(trained, "method", trained)
    return isinstance(method, Method) and method.views.targets


def _labels(trained: Any) -> str:
    rows = getattr(trained, "rows", None)
    return ", ".join(rows.labels) if rows is not None and rows.labels else "of its targets"


def _all_seen(trained: Any, records: int) -> str:
    return (
        f"All {records} rows were trained on with labels ({_labels(trained)}), or belong to a group that "
        "was: scores on them say nothing about other rows. Pass rows that the model has not seen. (Rows are "
        "recognised by their id or their cells; different records need different ids.)"
    )


def without_overlap(data: Dataset) -> Dataset:
    """Remove test rows that are also used for fitting or validation; warn about groups in both parts.

    Also warn about rows that may be a series over time, if the table was split at random.
    """
    fit, test = data.fit, data.test
    *others, test_keys = _keys_without_ids(data, [fit, data.validation, test])
    data = replace(data, signs=split_signs(data, others[0]))
    for sign in data.signs:
        _warn(sign)
    used = [keys for keys in others if keys is not None]
    if not used or test_keys is None:
        return data
    overlapping = np.isin(test_keys, np.concatenate(used))
    if overlapping.all() and len(test):
        raise DataError(
            f"All {len(test)} test rows are among the rows that the readout is fitted on. Pass other rows."
        )
    if overlapping.any():
        _warn(
            f"{int(overlapping.sum())} of {len(test)} test rows are also among the rows to fit or to "
            "validate on (the same id or the same cells) and are not scored."
        )
        rows = np.flatnonzero(~overlapping)
        data, test_keys = replace(data, test=test.choose(rows)), test_keys[rows]
    if fit.groups is not None and data.test.groups is not None:
        shared = np.intersect1d(fit.groups, data.test.groups)
        if len(shared):
            _warn(
                f"{len(shared)} groups have rows both to fit on and to score: the split divides them, so a "
                "probe may recognise the group instead of reading the target. Split by whole groups."
            )
    return replace(data, test=_copies_together(data.test, test_keys))


def _keys_without_ids(data: Dataset, parts: Sequence[Records | None]) -> list[np.ndarray | None]:
    """Return the keys of each part's records, with one key for rows that are equal under different ids.

    Without an id column, keys come from the cells and are equal already. Rows of a few discrete cells may be
    equal without being copies: see `_are_copies`.
    """
    keys = [None if part is None else part.keys for part in parts]
    named = [part for part in parts if part is not None and part.keys is not None]
    has_ids = (data.schema or {}).get("id") is not None and data.test.keys is not None
    if not has_ids or not all(type(part) is Records for part in named):
        return keys
    starts = np.cumsum([0, *map(len, named)])
    codes, shared = np.zeros(starts[-1], dtype=np.int64), np.ones(starts[-1], dtype=bool)
    for name in sorted(data.test.columns, key=lambda name: data.test.specs[name].kind == "image"):
        prints = np.zeros(len(codes), dtype=np.int64)
        for part, start in zip(named, starts, strict=False):
            rows = np.flatnonzero(shared[start : start + len(part)])
            prints[start + rows] = _prints(part.columns[name], rows)
        codes = np.unique(np.stack([codes, prints]), axis=1, return_inverse=True)[1].reshape(-1)
        shared &= np.bincount(codes)[codes] > 1  # only what may still be a copy is read further
    distinct = len(np.unique(codes))
    if len(codes) - distinct < COPIES * len(codes) or distinct < DISTINCT * len(codes):
        return keys
    _, first, code = np.unique(codes, return_index=True, return_inverse=True)
    merged = np.concatenate([part.keys for part in named])[first[code.reshape(-1)]]
    of_parts = iter(np.split(merged, starts[1:-1]))
    merged_keys = [None if key is None else next(of_parts) for key in keys]
    return merged_keys if _are_copies(data.test, merged[starts[-2] :]) else keys


def _prints(column: Column, rows: np.ndarray) -> np.ndarray:
    """Return a number for each record's value; equal values share it, and 0 means that there is none."""
    prints = np.zeros(len(rows), dtype=np.int64)
    for start in range(0, len(rows), COMPARED):
        modality = column.take(rows[start : start + COMPARED])
        values = np.ascontiguousarray(modality.values.numpy())
        steps = None if modality.padding is None else modality.real.sum(dim=1).tolist()
        for index in np.flatnonzero(modality.presence.numpy()).tolist():
            value = values[index] if steps is None else values[index, : steps[index]]
            prints[start + index] = hash(value.tobytes())
    return prints


def _copies_together(test: Records, keys: np.ndarray) -> Records:
    """Return test records with all copies of one record as a single unit of the intervals."""
    if test.resampled is not None or type(test) is not Records:
        return test
    copies = len(test) - len(np.unique(keys))
    if copies < COPIES * len(test) or not _are_copies(test, keys):
        return test
    _warn(f"{copies} of {len(test)} test rows are copies of other test rows; intervals count them as one.")
    return replace(test, units=keys)


def _are_copies(records: Records, keys: np.ndarray) -> bool:
    """Whether equal rows are copies of one record; rows of a few discrete cells may be equal without that.

    Equal rows count as copies only if a single number, or one text, picture or series, tells nearly all
    distinct rows apart.
    """
    first = np.unique(keys, return_index=True)[1]
    return any(_tells_apart(column, first) for column in records.columns.values())


def _tells_apart(column: Column, rows: np.ndarray) -> bool:
    """Whether one number of a column, or its whole value, differs between nearly all of these records.

    Whole numbers, such as years of age, also do if all other cells follow from them, and do not count.
    """
    values = column.take(rows[:COMPARED]).values
    least = 0.9 * len(values)
    if values.ndim == 2 and column.spec.kind in ("vector", "tabular"):
        numbers = values.numpy().T
        return any(len(np.unique(part)) > least and is_continuous(part) for part in numbers)
    return len(torch.unique(values.flatten(1), dim=0)) > least


def _warn(message: str) -> None:
    warnings.warn(DataWarning(message), stacklevel=4)
