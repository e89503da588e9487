"""Encoders that read the fixed features of a modality instead of its values."""

from __future__ import annotations

from commlearn.batch import Modality
from commlearn.models.encoders.tabular import mlp
from commlearn.models.features import FeatureValues, FixedFeatures
from commlearn.models.tokens import ModalityEncoder, TokenEncoder, Tokens

FIXED = "fixed"  # the name of this encoder


class FeatureEncoder(TokenEncoder):
    """Tokens of a modality by way of its fixed features.

    Args:
        features: have learned from training records; they are not trained, and the model saves them once.
        encoder: reads the vector of features.
    """

    def __init__(self, features: FixedFeatures, encoder: ModalityEncoder) -> None:
        super().__init__()
        self.held = [features]  # in a list, so that it is not a submodule
        self.reader = encoder

    @property
    def features(self) -> FixedFeatures:
        return self.held[0]

    def forward(self, modality: Modality) -> Tokens:
        if not isinstance(modality, FeatureValues):
            values = self.features.to(modality.values.device)(modality)  # (batch, dim)
            modality = FeatureValues(values, None, modality.present)
        tokens: Tokens = self.reader(modality)
        return tokens


def fixed(features: FixedFeatures, width: int, hidden: int = 256, layers: int = 2) -> FeatureEncoder:
    """The fixed features of a modality become one token by a perceptron of `layers` linear maps."""
    return FeatureEncoder(features, mlp((features.dim,), width, hidden, layers))
