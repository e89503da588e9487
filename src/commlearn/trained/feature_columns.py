"""Training records whose fixed features are computed once, before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method
from commlearn.models.encoders.tabular import FeatureEncoder
from commlearn.models.features import feature_column
from commlearn.records import Dataset, Records
from commlearn.tables.streamed import StreamedRecords


def with_features(
    data: Dataset, method: Method, device: torch.device, tell: Callable[[str], None]
) -> Dataset:
    """The data with features in place of the values of each modality whose encoder reads them."""
    readers = _readers(method)
    if readers and isinstance(data.train, StreamedRecords):
        raise ConfigurationError(
            f"Encoder fixed of {', '.join(readers)} reads features that are computed once, of records in "
            "memory; these are streamed. Name other encoders, or leave out stream."
        )
    for name, encoder in readers.items():
        tell(f"{name}: {encoder.features.dim} fixed features of {len(data.train)} records are computed")
    validation = data.validation
    if validation is not None and len(validation):
        validation = as_encoders_read(validation, method, device)
    return replace(data, train=as_encoders_read(data.train, method, device), validation=validation)


def as_encoders_read(records: Records, method: Method, device: torch.device | None = None) -> Records:
    """The records with fixed features in place of the values that they are computed from."""
    computed = {
        name: feature_column(encoder.features, records.columns[name], device)
        for name, encoder in _readers(method).items()
        if name in records.columns
    }
    return replace(records, columns={**records.columns, **computed}) if computed else records


def _readers(method: Method) -> dict[str, FeatureEncoder]:
    """The encoders that read fixed features, by modality."""
    return {name: encoder for name, encoder in method.encoders.items() if isinstance(encoder, FeatureEncoder)}
