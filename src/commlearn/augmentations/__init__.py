"""Augmentations by name, and the functions that make the views."""

from __future__ import annotations

from commlearn.augmentations.image import ImageAugmentation
from commlearn.augmentations.sequence import (
    SequenceAugmentation,
    TextAugmentation,
    TokenDropout,
    TokenVersion,
)
from commlearn.augmentations.tabular import Noise, TabularAugmentation, VectorAugmentation
from commlearn.augmentations.views import Augmentation, make_batch, plan_batch

__all__ = [
    "AUGMENTATIONS",
    "DEFAULT_AUGMENTATION",
    "Augmentation",
    "ImageAugmentation",
    "Noise",
    "SequenceAugmentation",
    "TabularAugmentation",
    "TextAugmentation",
    "TokenDropout",
    "TokenVersion",
    "VectorAugmentation",
    "make_batch",
    "plan_batch",
]

AUGMENTATIONS: dict[str, type] = {
    "noise": Noise,
    "sequence": SequenceAugmentation,
    "simclr": ImageAugmentation,
    "tabular": TabularAugmentation,
    "text": TextAugmentation,
    "token_dropout": TokenDropout,
    "token_version": TokenVersion,
    "vector": VectorAugmentation,
}

DEFAULT_AUGMENTATION = {
    "image": "simclr",
    "text": "text",
    "series": "sequence",
    "audio": "sequence",
    "tabular": "tabular",
    "tokens": "token_dropout",
    "token_versions": "token_version",
    "vector": "vector",
}
