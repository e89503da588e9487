"""Pretrained transformers as encoders, whose token states go to the fusion.

A frozen one is not among the method's parameters: it is loaded when it is first needed, gets no
gradient, and checkpoints leave it out (they hold its checksum). Token states that were computed
earlier pass through it unchanged. A fine-tuned one is a module like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from commlearn.errors import ConfigurationError
from commlearn.models.adapters import SequenceAdapter
from commlearn.models.encoders.pretrained_model import build, feed, fingerprint, load, locate
from commlearn.models.tokens import ModalityEncoder
from commlearn.storage.places import nothing_fetched


@dataclass(frozen=True)
class Description:
    """Everything about a pretrained model except its weights, as plain values."""

    pretrained: str  # folder, or name on the hub
    architecture: str  # class in transformers
    config: Mapping[str, Any]  # configuration of the architecture
    features: int  # width of a token state
    sha256: str  # checksum of the folder's configuration, preparation and weights
    frozen: bool = True
    mean: tuple[float, ...] = ()  # mean that pixels in 0..1 are normalised by; images only
    std: tuple[float, ...] = ()  # standard deviation that they are normalised by; images only
    padding: int = 0  # token id under padding; texts only

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Description:
        return cls(**{entry.name: values[entry.name] for entry in fields(cls) if entry.name in values})

    def weights(self) -> nn.Module:
        """Load the model from its folder, which must match this description."""
        with nothing_fetched():  # a hub model that the user named was fetched when training rows were read
            folder = locate(self.pretrained)
        sha = fingerprint(folder)
        if sha != self.sha256:
            raise ConfigurationError(
                f"The pretrained encoder in {folder} is not the one this model was trained with: its SHA-256 "
                f"is {sha[:12]}..., it was {self.sha256[:12]}.... Restore the original weights, or train "
                "again."
            )
        return load(folder, self.architecture, self.config)


class PretrainedEncoder(nn.Module):
    """Maps pixels or token ids to token states."""

    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)

    def __init__(self, description: Description, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.description, self.shape = description, tuple(shape)
        if self.reads_images:
            for name, values in (("mean", description.mean), ("std", description.std)):
                self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    @property
    def reads_images(self) -> bool:
        return len(self.description.mean) > 0

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self.computed(values):
            if values.ndim == 4:  # (batch, versions, length, features): the first version
                values, padding = values[:, 0], None if padding is None else padding[:, 0]
            return values.float(), padding
        if self.reads_images:
            pixels = values.float() / 255 if values.dtype == torch.uint8 else values
            return self.states((pixels - self.mean) / self.std, None), None
        return self.texts(values, padding), padding

    def states(self, values: Tensor, padding: Tensor | None) -> Tensor:
        """Return the transformer's token states for prepared values, (batch, length, features)."""
        raise NotImplementedError

    def computed(self, values: Tensor) -> bool:
        """Return whether these values are token states already, rather than pixels or ids."""
        return tuple(values.shape[1:]) != self.shape if self.reads_images else values.is_floating_point()

    def texts(self, ids: Tensor, padding: Tensor | None) -> Tensor:
        config = self.description.config
        if padding is not None:
            ids = ids.masked_fill(padding, self.description.padding)
        if not str(config.get("model_type")).startswith("siglip"):
            return self.states(ids, padding)
        # SigLIP was trained on texts of one length and attends to their padding
        missing = int(config["max_position_embeddings"]) - ids.shape[1]
        padded = nn.functional.pad(ids, (0, max(missing, 0)), value=self.description.padding)
        return self.states(padded, None)[:, : ids.shape[1]]


class FineTuned(PretrainedEncoder):
    """A transformer that is fine-tuned; parameters that do not affect the token states stay frozen."""

    def __init__(self, description: Description, shape: tuple[int, ...], fresh: bool = True) -> None:
        super().__init__(description, shape)
        self.backbone = (
            description.weights() if fresh else build(description.architecture, description.config)
        )
        blank = torch.zeros(1, *shape) if self.reads_images else torch.full((1, 2), description.padding)
        self.forward(blank, None)[0].square().sum().backward()
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(parameter.grad is not None)
            parameter.grad = None

    def states(self, values: Tensor, padding: Tensor | None) -> Tensor:
        return feed(self.backbone, values, padding)


class Frozen(PretrainedEncoder):
    """A transformer that is never trained and is not part of the method's state."""

    def __init__(self, description: Description, shape: tuple[int, ...]) -> None:
        super().__init__(description, shape)
        self.held: list[nn.Module] = []  # in a list, so that it is not a submodule

    @property
    def backbone(self) -> nn.Module:
        """The transformer, loaded on first use; modalities with the same encoder share it."""
        if not self.held:
            key = (self.description.sha256, self.description.architecture)
            model = IN_MEMORY.get(key)
            if model is None:
                IN_MEMORY[key] = model = self.description.weights().eval().requires_grad_(False)
            self.held = [model]
        return self.held[0]

    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Use these weights instead of the folder's."""
        model = build(self.description.architecture, self.description.config)
        model.load_state_dict(dict(tensors))
        self.held = [model.eval().requires_grad_(False)]

    def states(self, values: Tensor, padding: Tensor | None) -> Tensor:
        with torch.inference_mode(False):  # weights loaded in inference mode could not be used in training
            model = self.backbone.to(values.device)
        with torch.no_grad():
            return feed(model, values, padding)


IN_MEMORY: WeakValueDictionary[tuple[str, str], nn.Module] = WeakValueDictionary()


def pretrained(
    shape: tuple[int, ...], width: int, description: Mapping[str, Any], fresh: bool = True
) -> ModalityEncoder:
    """Build an encoder from a pretrained transformer, each of whose token states becomes a token.

    If a checkpoint will replace the weights of a fine-tuned one, pass `fresh=False` to skip loading them.
    """
    parsed = Description.of(description)
    encoder = Frozen(parsed, shape) if parsed.frozen else FineTuned(parsed, shape, fresh)
    return ModalityEncoder(encoder, SequenceAdapter(parsed.features, width))


def frozen_encoders(encoders: nn.ModuleDict) -> dict[str, Frozen]:
    """Return a method's encoders that are pretrained and frozen, by modality."""
    inner = {name: getattr(encoder, "encoder", None) for name, encoder in encoders.items()}
    return {name: encoder for name, encoder in inner.items() if isinstance(encoder, Frozen)}
