"""Fixed features of each kind of modality: well-known numbers that are computed, not trained.

Series and sound become random-convolution features (MiniRocket) and statistics of each channel, texts
weighted counts of words and their leading directions, images pixels, gradients and colours,
tables cells and what is missing of them; vectors stay as they are. Where packages with the weights of
EfficientNet-lite0 and MiniLM are installed, what these see of images and texts is among the features.
What a kind takes from training rows are buffers, so a model that holds `FixedFeatures` saves them with its
weights.
"""

from commlearn.models.features.base import DIMENSIONS, FeatureValues, Texts
from commlearn.models.features.blocks import FeatureBlocks
from commlearn.models.features.fixed import FeatureColumn, FixedFeatures, feature_column
from commlearn.models.features.series import MiniRocket
from commlearn.models.features.stand_ins import StandIns, stand_ins

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
