"""Training records whose fixed features are computed once, before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from commlearn.data.records import Dataset, Records
from commlearn.data.streamed import StreamedRecords
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method
from commlearn.models.encoders.fixed import FeatureEncoder
from commlearn.models.features import feature_column

__all__ = ["with_features"]


def with_features(
    data: Dataset, method: Method, device: torch.device, tell: Callable[[str], None]
) -> Dataset:
    """The data with features in place of the values of each modality whose encoder reads them.

    Args:
        data: its training and validation records are looked at.
        method: holds the encoders.
        device: where features are computed.
        tell: takes a line for the log.
    """
    readers = {
        name: encoder for name, encoder in method.encoders.items() if isinstance(encoder, FeatureEncoder)
    }
    if readers and isinstance(data.train, StreamedRecords):
        raise ConfigurationError(
            f"Encoder fixed of {', '.join(readers)} reads features that are computed once, of records in "
            "memory; these are streamed. Name other encoders, or leave out stream."
        )
    train, validation = data.train, data.validation
    for name, encoder in readers.items():
        tell(f"{name}: {encoder.features.dim} fixed features of {len(train)} records are computed")
        train = _with_features(train, name, encoder, device)
        if validation is not None and len(validation):
            validation = _with_features(validation, name, encoder, device)
    return replace(data, train=train, validation=validation) if readers else data


def _with_features(records: Records, name: str, encoder: FeatureEncoder, device: torch.device) -> Records:
    column = feature_column(encoder.features, records.columns[name], device)
    return replace(records, columns={**records.columns, name: column})
