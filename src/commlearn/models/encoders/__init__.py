"""Encoders by name. Each is built from the shape of one record's values and the fusion's width."""

from __future__ import annotations

from collections.abc import Callable

from commlearn.models.encoders.image import alexnet, resnet18, resnet50, small_cnn
from commlearn.models.encoders.vector import features, linear
from commlearn.models.tokens import ModalityEncoder

__all__ = ["DEFAULT_ENCODER", "ENCODERS"]

ENCODERS: dict[str, Callable[..., ModalityEncoder]] = {
    "alexnet": alexnet,
    "features": features,
    "linear": linear,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "small_cnn": small_cnn,
}

DEFAULT_ENCODER = {"image": "small_cnn", "vector": "linear", "tabular": "features"}
