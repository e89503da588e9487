"""A module of the user's as an encoder: plain tensors in, a vector or tokens out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from commlearn.errors import ConfigurationError
from commlearn.models.adapters import SequenceAdapter
from commlearn.models.tokens import ModalityEncoder, TokenEncoder

__all__ = ["OwnEncoder", "own", "token_encoders"]


class OwnEncoder(nn.Module):
    """Runs a module on values alone, or on values and `padding` if its `forward` has such an argument.

    Pictures come as fractions of 0 to 1. What it gives is a vector, (batch, features), or tokens, (batch,
    length, features), and with them, where their padding is not that of the values, the tokens' padding.
    A module of which no parameter is trained stays in evaluation mode.

    Args:
        module: the user's.
        features: of the vector or of each token.
    """

    def __init__(self, module: nn.Module, features: int) -> None:
        super().__init__()
        self.module = module
        self.features = features
        self.takes_padding = "padding" in inspect.signature(module.forward).parameters

    def train(self, mode: bool = True) -> OwnEncoder:
        super().train(mode)
        parameters = list(self.module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            self.module.eval()
        return self

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if values.dtype == torch.uint8:
            values = values.float() / 255
        name = type(self.module).__name__
        if padding is not None and not self.takes_padding:
            raise ConfigurationError(
                f"These records differ in length, and the encoder {name} does not ask what is padding: an "
                "embedding would depend on the records beside it. Write forward(self, values, padding=None); "
                "padding is (batch, length), True where nothing may be read, or None."
            )
        made = self.module(values, padding=padding) if self.takes_padding else self.module(values)
        features, padding = made if isinstance(made, tuple) else (made, padding)
        if not isinstance(features, Tensor) or features.ndim not in (2, 3) or len(features) != len(values):
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ConfigurationError(
                f"The encoder {name} made {shape} of {tuple(values.shape)}; give a vector, (batch, "
                "features), or tokens, (batch, length, features)."
            )
        if features.shape[-1] != self.features:
            raise ConfigurationError(
                f"The encoder {name} gives {features.shape[-1]} features, where {self.features} are read. "
                f"Add nn.Linear({features.shape[-1]}, {self.features}) at its end."
            )
        if features.ndim == 2:
            return features[:, None], None  # (batch, 1, features)
        if padding is not None and padding.shape != features.shape[:2]:
            raise ConfigurationError(
                f"The encoder {name} made tokens of {tuple(features.shape[:2])}, and the padding is of "
                f"{tuple(padding.shape)}. Return both: tokens, and their padding."
            )
        return features, padding


def own(module: nn.Module, width: int, features: int = 0) -> ModalityEncoder:
    """A module that is passed in Python; what is no token of the fusion's width is projected to one.

    Args:
        module: the user's, not a copy of it.
        width: of the tokens.
        features: that it gives; 0 = the width.
    """
    features = features or width
    return ModalityEncoder(OwnEncoder(module, features), SequenceAdapter(features, width))


def token_encoders(encoders: Mapping[str, nn.Module], width: int) -> dict[str, nn.Module]:
    """The encoders of a method: plain modules among them must give vectors or tokens of its width."""
    return {
        name: encoder if isinstance(encoder, TokenEncoder) else own(encoder, width)
        for name, encoder in encoders.items()
    }
