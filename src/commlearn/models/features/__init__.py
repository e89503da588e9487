"""Fixed features of each kind of modality: well-known numbers that are computed, not trained.

Series and sound become random-convolution features (MiniRocket) and statistics of each channel; texts,
leading directions of weighted word counts; images, pixels, edges, colours and textures; tables, cells
and which of them are missing. Vectors do not change. If the packages with the weights of
EfficientNet-lite0 and MiniLM are installed, their outputs for images and texts are included.
Everything that a kind learns from training rows is a buffer, so a model that holds `FixedFeatures` saves
it with its weights.
"""

from commlearn.models.features.blocks import FeatureBlocks
from commlearn.models.features.fixed import FeatureColumn, FixedFeatures, StandIns, feature_column, stand_ins
from commlearn.models.features.raw import DIMENSIONS, FeatureValues, Texts
from commlearn.models.features.series import MiniRocket

__all__ = [
    "DIMENSIONS",
    "FeatureBlocks",
    "FeatureColumn",
    "FeatureValues",
    "FixedFeatures",
    "MiniRocket",
    "StandIns",
    "Texts",
    "feature_column",
    "stand_ins",
]
