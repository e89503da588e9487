"""Augmentations by name, one file per kind of modality, and the wrapper that makes the views."""

from __future__ import annotations

from commlearn.augmentations.image import ImageAugmentation
from commlearn.augmentations.vector import Noise
from commlearn.augmentations.views import Augmentation, make_batch

__all__ = [
    "AUGMENTATIONS",
    "DEFAULT_AUGMENTATION",
    "Augmentation",
    "ImageAugmentation",
    "Noise",
    "make_batch",
]

AUGMENTATIONS: dict[str, type] = {"simclr": ImageAugmentation, "noise": Noise}

DEFAULT_AUGMENTATION = {"image": "simclr", "vector": "noise", "tabular": "noise"}
