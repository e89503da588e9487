"""A module of the user's as an encoder: plain tensors in, a vector or tokens out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from commlearn.batch import Modality
from commlearn.errors import ConfigurationError, RunError
from commlearn.models.adapters import SequenceAdapter
from commlearn.models.tokens import ModalityEncoder, TokenEncoder

OWN = "own module"  # what configurations and schemas call it: they hold no code
PREFIX = "encoders.{}.encoder.module."  # of its weights among those of a method


class OwnEncoder(nn.Module):
    """Runs a module on values alone, or on values and `padding` if its `forward` has such an argument.

    Pictures come as fractions of 0 to 1. What it gives is a vector, (batch, features), or tokens, (batch,
    length, features), and with them, where their padding is not that of the values, the tokens' padding.
    A module of which no parameter is trained stays in evaluation mode.

    Args:
        module: the user's.
        features: of the vector or of each token; 0 = any.
    """

    def __init__(self, module: nn.Module, features: int = 0) -> None:
        super().__init__()
        self.module = module
        self.features = features
        self.takes_padding = False
        with suppress(ValueError):  # a traced module has no signature
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
                f"These records differ in length, and the encoder {name} does not take `padding`, so an "
                "embedding would depend on the other records in its batch. Write forward(self, values, "
                "padding=None); padding is (batch, length), True where nothing may be read, or None."
            )
        made = self.module(values, padding=padding) if self.takes_padding else self.module(values)
        features, padding = made if isinstance(made, tuple) else (made, padding)
        shape = tuple(features.shape) if isinstance(features, Tensor) else (type(features).__name__,)
        if len(shape) not in (2, 3) or shape[0] != values.shape[0]:
            raise ConfigurationError(
                f"The encoder {name} made {shape} of {tuple(values.shape)}; give a vector, (batch, "
                "features), or tokens, (batch, length, features)."
            )
        if self.features not in (0, features.shape[-1]):
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


def features_made(name: str, module: nn.Module, example: Modality) -> int:
    """How many features a module makes of records: of a vector, or of each token.

    The module is asked in evaluation mode, and left in it.
    """
    encoder = OwnEncoder(module).eval()
    try:
        with torch.no_grad():
            made, _ = encoder(example.values, example.padding)
    except (RuntimeError, ValueError, TypeError, LookupError) as problem:
        shape = ", ".join(map(str, example.values.shape))
        raise ConfigurationError(
            f"The encoder of '{name}', {type(module).__name__}, fails on values of ({shape}): {problem}"
        ) from problem
    return made.shape[-1]


def modules_of(encoders: nn.ModuleDict) -> dict[str, nn.Module]:
    """The modules of the user's among the encoders of a method."""
    inner = {name: getattr(encoder, "encoder", None) for name, encoder in encoders.items()}
    return {name: encoder.module for name, encoder in inner.items() if isinstance(encoder, OwnEncoder)}


def refuse_unfit(encoders: nn.ModuleDict, weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse modules whose parameters differ in shape from the stored weights."""
    for name, module in modules_of(encoders).items():
        first = PREFIX.format(name)
        stored = {key.removeprefix(first): part for key, part in weights.items() if key.startswith(first)}
        given = module.state_dict()
        before, now = (
            {key: _shape(part) for key, part in each.items() if isinstance(part, Tensor)}
            for each in (stored, given)
        )
        wrong = [
            f"{key} is {before.get(key, 'missing')} there and {now.get(key, 'missing')} in what was passed"
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key) and now.get(key) != "lazy"
        ]
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise RunError(
                f"{where} does not fit the {type(module).__name__} that was passed as the encoder of "
                f"'{name}': {wrong[0]}{more}. Pass a module that is made as the one of the training was."
            )


def _shape(tensor: Tensor) -> str:
    """A shape in words; a lazy parameter takes that of the weights which it gets."""
    return "lazy" if is_lazy(tensor) else " x ".join(map(str, tensor.shape)) or "a number"
