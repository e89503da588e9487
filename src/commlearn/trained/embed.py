"""Embeddings of records: one function for every method and any subset of modalities."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import torch

from commlearn.batch import Spec, View, as_names, joined, to_device
from commlearn.errors import ConfigurationError, DataError, DataWarning, DivergedError, unknown
from commlearn.kinds.rows import first_names
from commlearn.methods.base import Method
from commlearn.models.encoders.tabular import FeatureEncoder
from commlearn.models.features import FeatureBlocks, feature_column
from commlearn.models.tokens import Tokens
from commlearn.records import Chosen, Column, Dataset, Records, image_numbers, presence
from commlearn.tables.streamed import StreamedRecords
from commlearn.tables.table import Source, Table
from commlearn.trained.model import Trained


class NotFiniteError(DivergedError):
    """Embeddings hold infinities or NaN."""

    def __init__(self, rows: Sequence[int], names: Sequence[str] = ()) -> None:
        self.rows = rows
        labels = [f"row {row} ({names[index]})" if names else f"row {row}" for index, row in enumerate(rows)]
        super().__init__(
            f"The embedding of {first_names(labels)} is not finite. Look for extreme values there; if there "
            "are none, the model's weights or its preprocessing are damaged."
        )


@contextmanager
def naming_rows(table: Table, id_column: str | None) -> Iterator[None]:
    """Make errors name rows that are not finite by their number in the whole table, and by their id."""
    try:
        yield
    except NotFiniteError as problem:
        ids = table.frame[id_column].tolist() if id_column in table.frame else None
        names = [] if ids is None else [f"{id_column} {ids[row]!s:.40}" for row in problem.rows]
        raise NotFiniteError([table.first_row + row for row in problem.rows], names) from problem


Blocks = Literal["all", "learned", "features"]
"""Blocks of an embedding: what the method embeds (learned), the fixed features, or both in this order."""
CACHED = 1_600_000  # bytes of values to embed at once
TOKENS_IN_MEMORY = 500_000_000  # most bytes of tokens to keep for images that many records share


@torch.inference_mode()
def embed(
    model: Any,
    records: Records | Source,
    modalities: Sequence[str] | None = None,
    batch_size: int | None = None,
    blocks: Blocks = "all",
) -> np.ndarray:
    """Return embeddings of clean (not augmented) records, (records, dim) float32.

    Args:
        model: a method, or a run or an Embedder that holds one.
        records: records to embed; or a table, if the model was trained on one.
        modalities: modalities to use; all that were trained if not given. If some are named, records
            without any of them get NaN, and a warning counts them.
        batch_size: records per batch, chosen from their size if not given; it does not change the result
            beyond rounding.
        blocks: `learned` is what the method embeds, `features` the fixed features of each modality (an
            estimate from the others for one that is absent or not used), `all` both in this order. A model
            without fixed features has only the learned block.

    Raises:
        DivergedError: an embedding is not finite; the message names its rows.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:]}
        >>> model = cl.Embedder(epochs=1).fit(table)
        >>> cl.embed(model, table, blocks="learned").shape
        (60, 384)
    """
    model, modalities = method_owner(model), as_names(modalities)
    features = features_of(model, blocks)
    if batch_size is not None and (not isinstance(batch_size, int | np.integer) or batch_size < 1):
        raise ConfigurationError(f"batch_size is {batch_size!r}; give a whole number, at least 1.")
    if not isinstance(records, Records):
        if not isinstance(model, Trained):
            raise ConfigurationError(
                f"A {type(model).__name__} cannot read a table. Give Records, or the run "
                "(cl.load(FOLDER)) or the Embedder that it belongs to."
            )
        table = model.table(records, modalities=modalities)
        with naming_rows(table, model.reader()[0].id):
            table_records = model.records(table, modalities=modalities, empty=modalities is not None)
            return embed(model, table_records, modalities, batch_size, blocks)
    method = method_of(model)
    device = next(method.parameters()).device
    method.subset(modalities, records.columns)  # refuses what it or the records lack
    names = modalities or list(method.modalities)
    positions = rows_with_any(records, modalities)
    if 0 < len(positions) < len(records):
        warn_of_absent(len(records) - len(positions), len(records), names)
        return embed_with_gaps(model, records, positions, modalities, batch_size, blocks)
    features = None if features is None else features.to(device)
    batch_size = batch_size or records_per_batch(records)
    records = replace(records, columns={name: records.columns[name] for name in names})
    embeddings: np.ndarray | None = None
    with evaluating(method):
        columns: dict[str, Column] = {}
        if blocks != "features":
            records = with_encoder_features(records, method, device)
            columns = {  # what encoders read: fixed features, tokens of distinct images, or the values
                name: _encode_once(method, name, column, batch_size) or column
                for name, column in records.columns.items()
            }
        each = {} if features is None else features.each
        feature_columns = {
            name: feature_column(each[name], records.columns[name], device) for name in names if name in each
        }
        for start in range(0, len(records), batch_size):
            rows = np.arange(start, min(start + batch_size, len(records)))
            view = to_device({name: column.take(rows) for name, column in columns.items()}, device)
            feature_view: View = {name: column.take(rows) for name, column in feature_columns.items()}
            _refuse_empty(view or feature_view, start)
            # without fixed features, as with a pretrained encoder, values show how many records there are
            feature_view = feature_view or view or {names[0]: records.columns[names[0]].take(rows)}
            parts = []
            if blocks != "features":
                parts.append(method.embed(view, modalities))
            if features is not None:
                parts.append(features(to_device(feature_view, device), names))
            vectors = torch.cat(parts, dim=1)
            if embeddings is None:
                embeddings = np.empty((len(records), vectors.shape[1]), dtype=np.float32)
            torch.from_numpy(embeddings[rows[0] : rows[-1] + 1]).copy_(vectors)
    if embeddings is None:
        return np.zeros((0, 0), dtype=np.float32)
    rows = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(rows):
        raise NotFiniteError(rows.tolist())
    return embeddings


def embed_with_gaps(
    model: Any,
    records: Records,
    rows: np.ndarray,
    modalities: Sequence[str] | None = None,
    batch_size: int | None = None,
    blocks: Blocks = "all",
) -> np.ndarray:
    """Return embeddings of the records at the positions `rows` (from `rows_with_any`), NaN for others."""
    if not len(rows):
        return np.full((len(records), embedding_dim(model, modalities, blocks)), np.nan, dtype=np.float32)
    try:
        vectors = embed(model, records.choose(rows), modalities, batch_size, blocks)
    except NotFiniteError as problem:
        raise NotFiniteError(rows[list(problem.rows)].tolist()) from problem
    filled = np.full((len(records), vectors.shape[1]), np.nan, dtype=np.float32)
    filled[rows] = vectors
    return filled


def warn_of_absent(absent: int, records: int, names: Sequence[str]) -> None:
    """Warn that some records have none of the named modalities, and how many."""
    message = (
        f"{absent} of {records} records have none of {', '.join(names)}. Their embeddings are NaN in memory "
        "and are left out of files."
    )
    warnings.warn(DataWarning(message), stacklevel=3)


def embedding_dim(model: Trained, modalities: Sequence[str] | None = None, blocks: Blocks = "all") -> int:
    """Return the dimension of an embedding of these modalities; of all modalities if none are named."""
    features = features_of(model, blocks)
    learned_dim = 0
    if blocks != "features":
        device = next(model.method.parameters()).device
        blank = torch.zeros(1, 1, model.experiment.model.width, device=device)
        view: View = {name: Tokens(blank) for name in modalities or model.specs}
        with torch.inference_mode():
            learned_dim = model.method.embed(view, modalities).shape[1]
    return learned_dim + (0 if features is None else features.dim)


def rows_with_any(records: Records, names: Sequence[str] | None) -> np.ndarray:
    """Return the positions of records that have any of these modalities; of all records if none are named."""
    if names is None or not len(records):
        return np.arange(len(records))
    return np.flatnonzero(np.any([presence(records.columns[name]) for name in names], axis=0))


def features_of(model: Any, blocks: Blocks = "all") -> FeatureBlocks | None:
    """Return the fixed features that these blocks of a model's embedding include; None if there are none."""
    if blocks not in get_args(Blocks):
        raise ConfigurationError(unknown("blocks", str(blocks), get_args(Blocks)))
    features: FeatureBlocks | None = getattr(method_owner(model), "features", None)
    if features is None and blocks == "features":
        raise ConfigurationError(
            "This model has no fixed features. Train with model.features=fixed, or embed with "
            "blocks='learned'."
        )
    return None if blocks == "learned" else features


def dimension_names(model: Any, dim: int, blocks: Blocks = "all") -> list[str]:
    """Return column names: the method's, such as comm0, then NAME_feature0, ... of each modality's features.

    With some methods, fewer modalities give fewer dimensions.
    """
    features = features_of(model, blocks)
    feature_names = [] if features is None else features.names()
    method = method_owner(model).experiment.method["name"]
    return [*(f"{method}{index}" for index in range(dim - len(feature_names))), *feature_names]


def records_per_batch(records: Records) -> int:
    """Return a batch size that keeps first layers in the processor's cache but allows large products."""
    size = sum(modality.values.nbytes for modality in records.view(slice(0, 1)).values())
    return min(max(CACHED // max(size, 1), 16), 1024)


@dataclass(frozen=True)
class TokensColumn:
    """Tokens in place of the values they were made from."""

    tokens: Tokens

    @property
    def spec(self) -> Spec:
        return Spec("tokens", self.tokens.values.shape[2:])

    @property
    def present(self) -> np.ndarray | None:
        """(records,): which records have the modality; None if all do."""
        mask = self.tokens.present
        return None if mask is None else mask.cpu().numpy()

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: np.ndarray) -> Tokens:
        indices = torch.as_tensor(rows, device=self.tokens.values.device)
        tokens = self.tokens.apply(lambda tensor: tensor[indices])
        if tokens.padding is None:
            return tokens
        used = (~tokens.padding).any(dim=0).nonzero()
        longest = int(used.max()) + 1 if len(used) else 1
        return replace(tokens, values=tokens.values[:, :longest], padding=tokens.padding[:, :longest])


def with_tokens(model: Any, records: Records) -> Records:
    """Replace the values that learned encoders read by their tokens, so that several subsets share them.

    Values from which an embedding's fixed features are computed stay.
    """
    method, features, batch_size = method_of(model), features_of(model), records_per_batch(records)
    learned_names = [
        name
        for name in method.modalities
        if name in records.columns
        and (features is None or name not in features.each)
        and name not in feature_encoders(method)
    ]
    rows = np.arange(len(records))
    encoded = {name: _tokens(method, name, records.columns[name], rows, batch_size) for name in learned_names}
    return replace(records, columns={**records.columns, **encoded})


def _encode_once(method: Method, name: str, column: Column, batch_size: int) -> Chosen | None:
    """Encode each image of a column once if most are shared by several records; None for other columns."""
    numbers = image_numbers(column)
    if numbers is None:
        return None
    _, first, index = np.unique(numbers, return_index=True, return_inverse=True)
    if not len(first) or 2 * len(first) > len(index):
        return None
    sample = _tokens(method, name, column, first[:1], batch_size)
    if sample.tokens.values.nbytes * len(first) > TOKENS_IN_MEMORY:
        return None
    return Chosen(_tokens(method, name, column, first, batch_size), index)


@torch.inference_mode()
def _tokens(method: Method, name: str, column: Column, rows: np.ndarray, batch_size: int) -> TokensColumn:
    device, parts = next(method.parameters()).device, []
    with evaluating(method):
        for start in range(0, len(rows), batch_size):
            view = to_device({name: column.take(rows[start : start + batch_size])}, device)
            parts.append(method.encode(view, [name])[name])
    return TokensColumn(cast(Tokens, joined(parts)))


def with_features(
    data: Dataset, method: Method, device: torch.device, tell: Callable[[str], None]
) -> Dataset:
    """Return the data with fixed features in place of values, for each modality whose encoder reads them."""
    when = ", each time they are read" if isinstance(data.train, StreamedRecords) else ""
    for name, encoder in feature_encoders(method).items():
        tell(f"{name}: computing {encoder.features.dim} fixed features of {len(data.train)} records{when}")
    validation = data.validation
    if validation is not None and len(validation):
        validation = with_encoder_features(validation, method, device)
    return replace(data, train=with_encoder_features(data.train, method, device), validation=validation)


def with_encoder_features(records: Records, method: Method, device: torch.device | None = None) -> Records:
    """Return the records with fixed features in place of values where the encoder reads these."""
    readers = {name: part for name, part in feature_encoders(method).items() if name in records.columns}
    if not readers:
        return records
    if isinstance(records, StreamedRecords):
        return records.changed(lambda group: with_encoder_features(group, method, device))
    feature_columns = {
        name: feature_column(encoder.features, records.columns[name], device)
        for name, encoder in readers.items()
    }
    return replace(records, columns={**records.columns, **feature_columns})


def feature_encoders(method: Method) -> dict[str, FeatureEncoder]:
    """Return the encoders that read fixed features, by modality."""
    return {name: encoder for name, encoder in method.encoders.items() if isinstance(encoder, FeatureEncoder)}


def method_owner(model: Any) -> Any:
    """Return the object that holds the method: an Embedder's trained model, or the model itself."""
    return model.trained if hasattr(type(model), "trained") else getattr(model, "trained", model)


def method_of(model: Any) -> Method:
    """Return the method of a run, an artifact or an Embedder, or the method itself."""
    model = method_owner(model)
    return model if isinstance(model, Method) else model.method


@contextmanager
def evaluating(method: Method) -> Iterator[None]:
    """Put a method into evaluation mode within the block."""
    training = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(training)


def _refuse_empty(view: View, start: int) -> None:
    """Refuse records without any of the modalities, which have no embedding."""
    if not view:
        return
    present = torch.stack([modality.presence for modality in view.values()]).any(dim=0)
    if empty := (~present).nonzero().flatten().tolist():
        positions = ", ".join(str(start + row) for row in empty[:10]) + (", ..." if len(empty) > 10 else "")
        raise DataError(
            f"Records {positions} have none of {', '.join(view)}. Leave them out, or add a value for at "
            "least one."
        )
