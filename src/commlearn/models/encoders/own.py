"""User-defined modules as encoders, from plain tensors to a vector or tokens."""

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

OWN = "own module"  # its name in configurations and schemas, which hold no code


class OwnEncoder(nn.Module):
    """Runs a module on values only, or on values and `padding` if its `forward` has such an argument.

    Pictures are passed as floats in 0..1. The module returns a vector, (batch, features), or tokens, (batch,
    length, features), together with their padding if it is not that of the values. A module whose
    parameters are all frozen stays in evaluation mode.

    Args:
        module: the user's module.
        features: size of the vector or of each token; 0 = any.
    """

    def __init__(self, module: nn.Module, features: int = 0) -> None:
        super().__init__()
        self.module, self.features, self.takes_padding = module, features, False
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
                "padding=None); padding is (batch, length), True at padded positions, or None."
            )
        output = self.module(values, padding=padding) if self.takes_padding else self.module(values)
        features, padding = output if isinstance(output, tuple) else (output, padding)
        missing = self.training and values.is_floating_point() and bool(values.isnan().any())
        if missing and isinstance(features, Tensor) and features.isnan().any():
            raise ConfigurationError(
                f"The encoder {name} returned NaN for values that contain NaN: numbers that are missing, or "
                "that an augmentation hides. Begin its forward with values = torch.nan_to_num(values)."
            )
        shape = tuple(features.shape) if isinstance(features, Tensor) else (type(features).__name__,)
        if len(shape) not in (2, 3) or shape[0] != values.shape[0]:
            raise ConfigurationError(
                f"The encoder {name} returned {shape} for values of {tuple(values.shape)}; return a vector, "
                "(batch, features), or tokens, (batch, length, features)."
            )
        if self.features not in (0, features.shape[-1]):
            raise ConfigurationError(
                f"The encoder {name} returns {features.shape[-1]} features, but {self.features} are "
                f"expected. Add nn.Linear({features.shape[-1]}, {self.features}) at its end."
            )
        if features.ndim == 2:
            return features[:, None], None  # (batch, 1, features)
        if padding is not None and padding.shape != features.shape[:2]:
            raise ConfigurationError(
                f"The encoder {name} returned tokens of shape {tuple(features.shape[:2])}, but the padding "
                f"has shape {tuple(padding.shape)}. Return both: tokens, and their padding."
            )
        return features, padding


def own(module: nn.Module, width: int, features: int = 0) -> ModalityEncoder:
    """Build an encoder from a module passed in Python; outputs that differ in width are projected.

    Args:
        module: the user's module itself, not a copy of it.
        width: width of the tokens.
        features: number of features that the module returns; 0 = the width.
    """
    features = features or width
    return ModalityEncoder(OwnEncoder(module, features), SequenceAdapter(features, width))


def token_encoders(encoders: Mapping[str, nn.Module], width: int) -> dict[str, nn.Module]:
    """Return a method's encoders, wrapping plain modules, which must give vectors or tokens of its width."""
    return {
        name: encoder if isinstance(encoder, TokenEncoder) else own(encoder, width)
        for name, encoder in encoders.items()
    }


def features_made(name: str, module: nn.Module, example: Modality) -> int:
    """Return the number of features in a module's output, of a vector or of each token.

    The module is put into evaluation mode and left in it.
    """
    encoder = OwnEncoder(module).eval()
    try:
        with torch.no_grad():
            output, _ = encoder(example.values, example.padding)
    except (RuntimeError, ValueError, TypeError, LookupError) as problem:
        shape = ", ".join(map(str, example.values.shape))
        raise ConfigurationError(
            f"The encoder of '{name}', {type(module).__name__}, fails on values of ({shape}): {problem}"
        ) from problem
    return output.shape[-1]


def modules_of(encoders: nn.ModuleDict) -> dict[str, nn.Module]:
    """Return the user's modules among the encoders of a method, by modality."""
    inner = {name: getattr(encoder, "encoder", None) for name, encoder in encoders.items()}
    return {name: encoder.module for name, encoder in inner.items() if isinstance(encoder, OwnEncoder)}


def refuse_unfit(encoders: nn.ModuleDict, weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse modules whose parameters differ in shape from the stored weights."""
    for name, module in modules_of(encoders).items():
        prefix = f"encoders.{name}.encoder.module."
        stored = {key.removeprefix(prefix): part for key, part in weights.items() if key.startswith(prefix)}
        expected, actual = (
            {key: _shape(part) for key, part in tensors.items() if isinstance(part, Tensor)}
            for tensors in (stored, module.state_dict())
        )
        mismatches = [
            f"{key} is {expected.get(key, 'missing')} there and "
            f"{actual.get(key, 'missing')} in what was passed"
            for key in sorted({*expected, *actual})
            if expected.get(key) != actual.get(key) and actual.get(key) != "lazy"
        ]
        if mismatches:
            suffix = f", and {len(mismatches) - 1} more" if len(mismatches) > 1 else ""
            raise RunError(
                f"{where} does not fit the {type(module).__name__} that was passed as the encoder of "
                f"'{name}': {mismatches[0]}{suffix}. Pass a module built like the one used in training."
            )


def _shape(tensor: Tensor) -> str:
    """Describe a shape in words; a lazy parameter takes the shape of the weights that it gets."""
    return "lazy" if is_lazy(tensor) else " x ".join(map(str, tensor.shape)) or "a number"
