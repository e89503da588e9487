"""Embeddings of records: one function for every method and any subset of modalities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

import numpy as np
import torch

from commlearn.data.batch import Modality, View, merge, to_device
from commlearn.data.records import Records, image_numbers
from commlearn.data.tables import Source
from commlearn.errors import ConfigurationError, DataError, unknown
from commlearn.methods.base import Method
from commlearn.models.features import FeatureBlocks
from commlearn.models.tokens import Tokens

__all__ = ["Blocks", "HasMethod", "ReadsTables", "carrier", "dimension_names", "embed", "features_of"]

Blocks = Literal["all", "learned", "features"]
"""Which parts of an embedding: what the method embeds, the fixed features, or one beside the other."""
CACHED = 1_600_000  # bytes of values that are embedded at once
KEPT = 500_000_000  # bytes of tokens that are kept of images which many records show


class HasMethod(Protocol):
    """A trained run, or anything else that carries a method."""

    @property
    def method(self) -> Method: ...


@runtime_checkable
class ReadsTables(HasMethod, Protocol):
    """Something trained on a table, which reads another like it."""

    def records(
        self, table: Source, with_targets: bool = False, modalities: Sequence[str] | None = None
    ) -> Records: ...


@torch.inference_mode()
def embed(
    model: Any,
    records: Records | Source,
    modalities: Sequence[str] | None = None,
    batch_size: int | None = None,
    blocks: Blocks = "all",
) -> np.ndarray:
    """Embeddings of clean (not augmented) records, (records, dim) float32.

    Args:
        model: a method, or a run or an Embedder that holds one.
        records: what to embed; if the model was trained on a table, a table will do.
        modalities: which of them to use; all that were trained if not given.
        batch_size: records at a time, chosen from their size if not given; it does not change the result
            beyond rounding.
        blocks: `learned` is what the method embeds, `features` the fixed features of each modality (zeros
            for one that is absent or not used), `all` one beside the other. A model without features has
            the learned part alone.
    """
    model = carrier(model)
    fixed = features_of(model, blocks)
    if not isinstance(records, Records):
        records = _read(model, records, modalities)
    method = model if isinstance(model, Method) else model.method
    device = next(method.parameters()).device
    training = method.training
    names = [name for name in modalities or method.modalities if name in records.columns]
    fixed = None if fixed is None else fixed.to(device)
    batch_size = batch_size or _at_once(records.view(slice(0, 1)))
    method.eval()
    try:
        found: np.ndarray | None = None
        learned = [] if blocks == "features" else names
        each = {name: _encoded_once(method, name, records, batch_size) for name in learned}
        encoded = {name: column for name, column in each.items() if column is not None}
        others = [name for name in names if name not in encoded]
        for start in range(0, len(records), batch_size):
            rows = np.arange(start, min(start + batch_size, len(records)))
            read = records.view(rows, others) if others else {}
            view: View = {name: encoded[name].take(rows) if name in encoded else read[name] for name in names}
            _refuse_empty(view, start)
            vectors = _embedded(method, to_device(view, device), modalities, blocks)
            if fixed is not None:
                plain = {**read, **records.view(rows, list(encoded))} if encoded else read
                vectors = torch.cat([vectors, fixed(to_device(plain, device), names)], dim=1)
            if found is None:
                found = np.empty((len(records), vectors.shape[1]), dtype=np.float32)
            torch.from_numpy(found[rows[0] : rows[-1] + 1]).copy_(vectors)
    finally:
        method.train(training)
    return np.zeros((0, 0), dtype=np.float32) if found is None else found


def features_of(model: Any, blocks: Blocks = "all") -> FeatureBlocks | None:
    """The fixed features that these blocks of a model's embedding hold, if any.

    Args:
        model: what carries them; a method alone has none.
        blocks: checked here.
    """
    if blocks not in get_args(Blocks):
        raise ConfigurationError(unknown("blocks", str(blocks), get_args(Blocks)))
    features: FeatureBlocks | None = getattr(carrier(model), "features", None)
    if features is None and blocks == "features":
        raise ConfigurationError(
            "This model has no fixed features. Train with model.features=fixed, or embed with "
            "blocks='learned'."
        )
    return None if blocks == "learned" else features


def dimension_names(model: Any, dim: int, blocks: Blocks = "all") -> list[str]:
    """comm0, comm1, ... for the learned dimensions, NAME_feature0, ... for those of each modality.

    Args:
        model: what was trained.
        dim: dimensions of the embedding; of some methods, fewer modalities make fewer.
        blocks: that the embedding holds.
    """
    features = features_of(model, blocks)
    fixed = [] if features is None else features.names()
    method = carrier(model).experiment.method["name"]
    return [*(f"{method}{place}" for place in range(dim - len(fixed))), *fixed]


def _embedded(method: Method, view: View, modalities: Sequence[str] | None, blocks: Blocks) -> torch.Tensor:
    """What the method embeds, (batch, dim); nothing of it where features alone are asked for."""
    if blocks != "features":
        return method.embed(view, modalities)
    example = view[method.subset(modalities, view)[0]].values
    return torch.empty(len(example), 0, device=example.device)


def _at_once(record: View) -> int:
    """As many records as keep first layers in a processor's cache, but enough for large products."""
    size = sum(modality.values.nbytes for modality in record.values())
    return min(max(CACHED // max(size, 1), 16), 1024)


@dataclass(frozen=True)
class TokensColumn:
    """Tokens of images that many records show, each encoded once."""

    tokens: Tokens  # of the distinct images
    index: np.ndarray  # (records,): which of them each record shows

    def take(self, rows: np.ndarray) -> Tokens:
        chosen = torch.from_numpy(self.index[rows]).to(self.tokens.values.device)
        return self.tokens.apply(lambda tensor: tensor[chosen])


def _encoded_once(method: Method, name: str, records: Records, batch_size: int) -> TokensColumn | None:
    """Tokens in place of a column whose images are shown by many records each; None for others."""
    column = records.columns[name]
    numbers = image_numbers(column)
    if numbers is None or name not in method.encoders:
        return None
    _, first, index = np.unique(numbers, return_index=True, return_inverse=True)
    if 2 * len(first) > len(index):
        return None
    device, parts = next(method.parameters()).device, []
    for start in range(0, len(first), batch_size):
        view = to_device({name: column.take(first[start : start + batch_size])}, device)
        tokens = method.encode(view, [name])[name]
        if tokens.values.nbytes / len(tokens) * len(first) > KEPT:
            return None
        parts.append({name: cast(Modality, tokens)})
    return TokensColumn(cast(Tokens, merge(parts)[name]), index)


def carrier(model: Any) -> Any:
    """What carries the method: an Embedder's trained model, or the model itself."""
    return getattr(model, "trained", model)


def _read(model: Method | HasMethod, table: Source, modalities: Sequence[str] | None) -> Records:
    if not isinstance(model, ReadsTables):
        raise ConfigurationError(
            f"A {type(model).__name__} does not know how to read a table. Give Records, or the run or the "
            "Embedder that it belongs to."
        )
    return model.records(table, modalities=modalities)


def _refuse_empty(view: View, start: int) -> None:
    """A record without any of the modalities has no embedding."""
    masks = [modality.present for modality in view.values()]
    given = [mask for mask in masks if mask is not None]
    if not masks or len(given) < len(masks):
        return
    empty = (~torch.stack(given).any(dim=0)).nonzero().flatten().tolist()
    if empty:
        told = ", ".join(str(start + row) for row in empty[:10]) + (", ..." if len(empty) > 10 else "")
        raise DataError(f"Records {told} have none of {', '.join(view)}; leave them out, or fill one.")
