"""From names and shapes to modules: the one place where encoders are looked up."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from commlearn.data.records import Spec
from commlearn.errors import ConfigurationError, unknown
from commlearn.models.encoders import ENCODERS, default_encoder
from commlearn.models.tokens import ModalityEncoder

__all__ = ["build_encoders"]


def build_encoders(
    specs: Mapping[str, Spec], width: int, chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, ModalityEncoder]:
    """One encoder for each modality.

    Args:
        specs: kind and shape of each modality, in schema order.
        width: of the tokens.
        chosen: encoder name and options, by modality or by kind; the rest get their kind's default.
    """
    encoders = {}
    for name, spec in specs.items():
        part = dict(chosen.get(name) or chosen.get(spec.kind) or {"name": default_encoder(spec)})
        encoder = part.pop("name")
        if encoder not in ENCODERS:
            raise ConfigurationError(unknown("encoder", encoder, ENCODERS))
        build = ENCODERS[encoder]
        for option in part:
            if option not in inspect.signature(build).parameters:
                raise ConfigurationError(
                    unknown(
                        f"option of encoder {encoder}", option, list(inspect.signature(build).parameters)[2:]
                    )
                )
        encoders[name] = build(spec.shape, width, **part)
    return encoders
