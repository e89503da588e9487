"""Similarity search: the records of a table that are most like a row, a text or a picture, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commlearn.batch import Subset, as_names
from commlearn.errors import ConfigurationError, DataError, RunError, unknown
from commlearn.errors import nearest as nearest_name
from commlearn.kinds.base import Cells
from commlearn.kinds.rows import WAY_OUT, is_empty
from commlearn.probes.nearest import nearest
from commlearn.probes.readout_rows import own_table
from commlearn.records import Records, presence
from commlearn.search.index import (
    Index,
    build,
    file_name,
    in_words,
    model_identity,
    read,
    records_of,
    table_identity,
    write,
)
from commlearn.seeds import numpy_generator
from commlearn.tables.schema import Schema
from commlearn.tables.splits import name_keys
from commlearn.tables.table import Source, Table, convert_like, read_table
from commlearn.trained.embed import method_owner, rows_with_any
from commlearn.trained.model import Trained
from commlearn.trained.run import Run

FOLDER = "search"  # folder of the index inside a run
SHOWN = 120  # characters of a record's content that are shown
SAME = 1e-4  # distance of vectors of length 1 below which records count as copies

Query = int | str | Mapping[str, Any]
"""A row's number (from 0), a row's id, or cells by column, modality or kind."""


def similar(
    model: Any,
    table: Source | None,
    query: Query,
    k: int = 10,
    modalities: Sequence[str] | str | None = None,
    by: Sequence[str] | str | None = None,
    index: str | Path | None = None,
    approximate: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Any:
    """Return the records of a table that are most like a query, the most similar first.

    Args:
        model: a run, an export or an Embedder that was trained on a table.
        table: rows to search; the training's own table if None.
        query: the number of a row, from 0; the id of a row, as text; or the cells of a record, such as
            `{"plot": "a boat in a storm"}` or `{"poster": "boat.png"}`, by modality, column or kind.
        k: number of records to return.
        modalities: modalities of the table's records that count; those of `by` if not given.
        by: modalities of the query that count; if not given, all that a query by cells has, otherwise those
            of `modalities`, or all. If they differ from `modalities`, the search is across modalities.
        index: folder in which the table's vectors are kept for the next search. If not given, a run keeps
            them in its folder `search`, and other models do not keep them.
        approximate: search through faiss lists, for many queries among millions of records (`Searcher`).
        tell: function that receives progress messages.

    Returns:
        A frame of the same library as the table, with a row for each hit: `rank`, `row`, `id` and `group` (if
        the schema names such columns), `score` (a cosine), and `above`, the share of random pairs of records
        that are less similar. With several modalities, `score_NAME` and `above_NAME` are the same for each.
        `why` names the modalities that are alike (above 95 % of random pairs) and unlike (below half of
        them). `copy` is true if the model sees no difference. `record` is the start of the record's content.
        A row that serves as the query is not among the hits.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:]}
        >>> model = cl.Embedder(cl.Schema({name: cl.Vector(name) for name in table}), epochs=1).fit(table)
        >>> list(similar(model, table, 3, k=2))[:4]
        ['rank', 'row', 'score', 'above']
    """
    searcher = Searcher(model, table, query, modalities, by, index, approximate, tell)
    return searcher.similar(query, k)


class Searcher:
    """A table for several searches, which is read, embedded and indexed once.

    The arguments are those of `similar`, where `query` is the first query, or one like all others: its cells
    determine `by` and `modalities`.
    """

    def __init__(
        self,
        model: Any,
        table: Source | None,
        query: Query = 0,
        modalities: Sequence[str] | str | None = None,
        by: Sequence[str] | str | None = None,
        index: str | Path | None = None,
        approximate: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        trained = method_owner(model)
        if not isinstance(trained, Trained):
            raise ConfigurationError(
                f"A {type(model).__name__} cannot read a table. "
                "Give the run (cl.load(FOLDER)) or the Embedder that it belongs to."
            )
        self.model = trained
        self.schema, state = self.model.reader()
        self.by, self.modalities = _sides(self.model, self.schema, query, modalities, by)
        source = own_table(self.model) if table is None else table
        if source is None:
            raise ConfigurationError("The model was not trained on a table that can be searched. Give one.")
        self.source = source
        identifiers = [name for name in (self.schema.id, self.schema.group) if name is not None]
        tell("reading the table")
        columns = [*self.schema.columns(with_targets=False), *identifiers]
        self.table = self.model.at_root(read_table(source, columns, self.schema.reading(state)))
        self.index = self._index(index, tell)
        self.lists = Lists(self.index.vectors) if approximate else None

    def similar(self, query: Query, k: int = 10) -> Any:
        """Return the records most like another query, as the function `similar` does."""
        if not isinstance(k, int | np.integer) or k < 1:
            raise ConfigurationError(f"k is {k!r}; give the number of records to return, 1 or more.")
        if isinstance(query, Mapping):
            row = None
            query_record = records_of_cells(self.model, cells_of(query, self.schema), self.by)
        else:
            row = row_of(query, self.table, self.schema)
            query_record = records_of(self.model, self.table, np.array([row]), self.by)
        if not len(rows_with_any(query_record, self.by)):
            subject = "The query" if row is None else f"Row {row}"
            raise DataError(
                f"{subject} has none of {', '.join(self.by)}. Choose modalities that it has: by=[...]."
            )
        vectors = self.index.whole.vectors(self.model, query_record, self.by)
        count = k + (row is not None)
        if self.lists is None:
            positions, cosines = nearest(vectors, self.index.vectors, count)
        else:
            positions, cosines = self.lists.nearest(vectors, min(count, len(self.index.vectors)))
        hits = (positions[0] >= 0) & (self.index.rows[positions[0]] != (-1 if row is None else row))
        rows, cosines = self.index.rows[positions[0][hits]][:k], cosines[0][hits][:k].astype(float)
        return convert_like(self.source, self._hits(query_record, rows, cosines))

    def _hits(self, query_record: Records, rows: np.ndarray, cosines: np.ndarray) -> pd.DataFrame:
        cells = self.table.frame.iloc[rows]
        columns: dict[str, Any] = {"rank": np.arange(1, len(rows) + 1), "row": rows}
        for name, column in (("id", self.schema.id), ("group", self.schema.group)):
            if column is not None and column in cells:
                columns[name] = cells[column].to_numpy()
        columns |= {"score": cosines, "above": self.index.whole.above(cosines)}
        records = records_of(self.model, self.table, rows, self.modalities)
        scores, copies = self._scores(query_record, records)
        above = {name: self.index.each[name].above(scores[name]) for name in self.modalities}
        for name in self.modalities if len(self.modalities) > 1 else ():
            columns |= {f"score_{name}": scores[name], f"above_{name}": above[name]}
        columns["why"] = [
            "a copy: the model sees no difference"
            if copy
            else in_words({name: above[name][hit] for name in above})
            for hit, copy in enumerate(copies.tolist())
        ]
        columns |= {"copy": copies, "record": [self._excerpt(row) for row in rows.tolist()]}
        return pd.DataFrame(columns)

    def _scores(self, query_record: Records, records: Records) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return each hit's cosine by modality, NaN if one side lacks it, and which hits are copies."""
        scores, copies = {}, np.full(len(records), self.by == self.modalities)
        for name, likeness in self.index.each.items():
            in_query = len(rows_with_any(query_record, likeness.by)) > 0
            in_records = presence(records.columns[name])
            scores[name] = np.full(len(records), np.nan)
            hits = np.flatnonzero(in_records & in_query)
            if len(hits):
                vector = likeness.vectors(self.model, query_record, likeness.by)
                candidates = likeness.vectors(self.model, records.choose(hits), likeness.modalities)
                scores[name][hits] = (candidates @ vector[0]).astype(float)
                copies[hits] &= np.linalg.norm(candidates - vector, axis=1) < SAME
            copies &= in_records == in_query
        return scores, copies

    def _excerpt(self, row: int) -> str:
        """Return the start of a record's text or, if it has none, of its other cells."""
        cells = self.table.frame.iloc[row]
        kinds = sorted(self.schema.modalities.values(), key=lambda kind: kind.name != "text")
        names = {column: kind.name for kind in kinds for column in kind.columns() if column in cells}
        plain = [name for name in names if isinstance(cells[name], str | int | float | np.number)]
        words = {name: " ".join(str(cells[name]).split()) for name in plain if not is_empty(cells[name])}
        texts = [text for name, text in words.items() if names[name] == "text"]
        text = "; ".join(texts[:1] or words.values())
        return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

    def _index(self, folder: str | Path | None, tell: Callable[[str], None]) -> Index:
        """Read the index from its file if that fits this model and table; otherwise build it, and write it if
        there is a folder.
        """
        run = self.model.folder if isinstance(self.model, Run) and folder is None else None
        directory = Path(folder) if folder is not None else run and run.path / FOLDER
        if not directory:
            return build(self.model, self.table, self.by, self.modalities, tell)
        location = str(Path(self.source).resolve()) if isinstance(self.source, str | Path) else ""
        name = file_name(location, self.by, self.modalities)
        identity = {
            "model": model_identity(self.model),
            "table": table_identity(self.schema, self.table, (*self.by, *self.modalities)),
        }
        index, reason = read(directory / name, identity, self.by, self.modalities, len(self.table))
        if index is not None:
            return index
        if reason:
            tell(f"{reason}; rebuilding it")
        index = build(self.model, self.table, self.by, self.modalities, tell)
        try:
            if run is not None:
                run.writes(f"{FOLDER}/{name}")
            write(directory / name, index, identity)
        except RunError as problem:
            tell(f"note: {problem} The next search will embed the table again.")
        return index


def _sides(
    model: Trained,
    schema: Any,
    query: Query,
    modalities: Sequence[str] | str | None,
    by: Sequence[str] | str | None,
) -> tuple[Subset, Subset]:
    """Return the modalities of the query and of the table's records, in the schema's order."""
    available = modalities_of(cells_of(query, schema), schema) if isinstance(query, Mapping) else None
    if available == []:
        raise DataError("All cells of the query are empty. Give at least one, such as a text or a picture.")
    of_query = _names(model, by) or available or _names(model, modalities) or list(model.specs)
    if available is not None and (absent := [name for name in of_query if name not in available]):
        raise ConfigurationError(
            f"by names {', '.join(absent)}, for which the query has no cell; it has {', '.join(available)}."
        )
    of_candidates = _names(model, modalities) or of_query
    ordered = [tuple(name for name in model.specs if name in side) for side in (of_query, of_candidates)]
    return ordered[0], ordered[1]


def _names(model: Trained, names: Sequence[str] | str | None) -> list[str]:
    chosen = as_names(names) or []
    for name in chosen:
        if name not in model.specs:
            raise ConfigurationError(unknown("modality", name, model.specs))
    return chosen


def row_of(query: int | str, table: Table, schema: Schema) -> int:
    """Return the number of the row that a query names."""
    if not isinstance(query, str):
        whole = isinstance(query, float | np.floating) and float(query).is_integer()
        if isinstance(query, bool) or not (whole or isinstance(query, int | np.integer)):
            words = " ".join(repr(query).split())
            raise DataError(
                f"The query is a {type(query).__name__} ({words:.60}). Give the number of a row, from 0, the "
                f"id of a row, as text, or a dict of cells, such as {_example(schema)}."
            )
        row = int(query)
        if not 0 <= row < len(table):
            raise DataError(
                f"There is no row {row}: the table has {len(table)} rows, from 0 to {len(table) - 1}."
            )
        return row
    if schema.id is None or schema.id not in table.frame:
        reason = (
            "the schema names no id column" if schema.id is None else f"the table has no column '{schema.id}'"
        )
        raise DataError(
            f"'{query:.40}' looks like an id, but {reason}. Give the number of a row, or cells such "
            f"as {_example(schema)}."
        )
    ids, present = name_keys(table.frame[schema.id])
    rows = np.flatnonzero(present & (ids == name_keys(pd.Series([query]))[0]))
    if not len(rows):
        guess = nearest_name(query, table.frame[schema.id][present][:10_000].astype(str))
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise DataError(
            f"No row has the {schema.id} '{query:.40}'.{hint} To search by content, give the record's "
            f"cells, such as {_example(schema)}."
        )
    return int(rows[0])


def cells_of(query: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return a query's cells by column; keys may also name a one-column modality, or a kind that is unique.

    Example:
        >>> from commlearn.kinds.text import Text
        >>> schema = Schema({"plot": Text("summary")})
        >>> cells_of({"plot": "a boat"}, schema), cells_of({"text": "a boat"}, schema)
        ({'summary': 'a boat'}, {'summary': 'a boat'})
    """
    single = {name: kind for name, kind in schema.modalities.items() if len(kind.columns()) == 1}
    kinds = [kind.name for kind in single.values()]
    columns = {
        **{kind.name: kind.columns()[0] for kind in single.values() if kinds.count(kind.name) == 1},
        **{name: kind.columns()[0] for name, kind in single.items()},
        **{column: column for kind in schema.modalities.values() for column in kind.columns()},
    }
    for key in query:
        if key not in columns:
            ambiguous = [name for name, kind in single.items() if kind.name == key]
            if ambiguous:
                raise ConfigurationError(
                    f"Several modalities are of kind {key}. Use the name of one: {', '.join(ambiguous)}."
                )
            raise ConfigurationError(unknown("column of the query", key, columns))
    cells = {columns[key]: str(cell) if isinstance(cell, Path) else cell for key, cell in query.items()}
    scalars = {
        name: [cell] for name, cell in cells.items() if isinstance(cell, str | int | float | np.number)
    }
    emptied = schema.reading().emptied(pd.DataFrame(scalars, dtype=object)).isna()  # as in the table's rows
    return {name: None if name in scalars and emptied[name][0] else cell for name, cell in cells.items()}


def modalities_of(cells: Mapping[str, Any], schema: Schema) -> list[str]:
    """Return the modalities for which a query has a cell that is not empty."""
    return [
        name
        for name, kind in schema.modalities.items()
        if any(column in cells and not is_empty(cells[column]) for column in kind.columns())
    ]


def records_of_cells(model: Trained, cells: Mapping[str, Any], names: Sequence[str]) -> Records:
    """Return a query's cells as one record; paths are relative to the working directory and may leave it."""
    schema = model.reader()[0].only(names)
    kinds: dict[str, Any] = dict(schema.modalities)
    kinds = {
        name: replace(kind, outside=True) if hasattr(kind, "outside") else kind
        for name, kind in kinds.items()
    }
    row = {column: np.empty(1, dtype=object) for column in schema.columns(with_targets=False)}
    for column in row.keys() & cells.keys():
        row[column][0] = cells[column]
    reader = replace(model, schema=replace(schema, modalities=kinds))
    try:
        return reader.records(Cells(pd.DataFrame(row), Path.cwd()), modalities=names)
    except DataError as problem:
        raise DataError(_of_query(str(problem))) from problem


def _of_query(message: str) -> str:
    """Return what cannot be read in a query: it is no table, has no rows, and cannot go on without a cell.

    Example:
        >>> _of_query("The table cannot be read: modality 'a': file row 0: 'a.png': there is no such file")
        "The query cannot be read: modality 'a': file: 'a.png': there is no such file"
    """
    if not message.startswith("The table cannot be read: "):
        return message
    head, *more = [line.strip().removeprefix("- ") for line in message.splitlines() if WAY_OUT not in line]
    problems = "; ".join(more) or head.removeprefix("The table cannot be read: ")
    return f"The query cannot be read: {problems.replace(' row 0:', ':')}"


def _example(schema: Schema) -> str:
    name, kind = next(iter(schema.modalities.items()))
    return f'{{"{name if len(kind.columns()) == 1 else kind.columns()[0]}": ...}}'


EXTRA = "pip install 'commlearn[search]'"
LISTS, VISITED = 4.0, 0.02  # lists per square root of the vector count; share of the lists visited
FEWEST = 8  # lists that a query visits, at least
EXAMPLES = 50  # vectors per list from which the centres are learned


class Lists:
    """Vectors of length 1 in lists of similar ones; a query searches only the nearest lists.

    Args:
        vectors: (records, dim) float32.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        try:
            import faiss
        except ImportError as problem:
            raise ConfigurationError(
                f"approximate=True needs faiss: {EXTRA}. Exact search needs no extra package."
            ) from problem
        count = max(1, min(int(LISTS * math.sqrt(len(vectors))), len(vectors) // 40))
        self.index = faiss.index_factory(vectors.shape[1], f"IVF{count},Flat", faiss.METRIC_INNER_PRODUCT)
        examples = numpy_generator(0, "lists").permutation(len(vectors))[: EXAMPLES * count]
        self.index.train(np.ascontiguousarray(vectors[np.sort(examples)]))
        self.index.add(np.ascontiguousarray(vectors))
        self.index.nprobe = max(FEWEST, int(VISITED * count))  # more lists find more, but take longer

    def nearest(self, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return positions and cosines of similar vectors, (rows, count) each.

        Positions are -1 where the lists had too few.
        """
        cosines, positions = self.index.search(np.ascontiguousarray(rows, dtype=np.float32), count)
        return positions, cosines
