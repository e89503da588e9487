"""The weights of frozen encoders in an artifact, and in a run that began with one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from commlearn.methods.base import Method
from commlearn.models.encoders.pretrained import frozen_encoders
from commlearn.training.model_bounds import no_larger_than

__all__ = ["adopt_frozen", "frozen_tensors"]

FROZEN = "pretrained."  # before the names of tensors that are no part of the method's own state


def frozen_tensors(method: Method) -> dict[str, Tensor]:
    """The weights of every frozen encoder, by names that no other tensor has."""
    return {
        f"{FROZEN}{name}.{key}": tensor
        for name, encoder in frozen_encoders(method.encoders).items()
        for key, tensor in encoder.backbone.state_dict().items()
    }


def adopt_frozen(method: Method, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Give frozen encoders the weights that `frozen_tensors` named; returns the other tensors.

    Args:
        method: holds the encoders.
        tensors: of a file, by name.
        where: the file or folder that they are from, for messages.
    """
    rest = dict(tensors)
    for name, encoder in frozen_encoders(method.encoders).items():
        first = f"{FROZEN}{name}."
        adopted = {key.removeprefix(first): rest.pop(key) for key in [*rest] if key.startswith(first)}
        with no_larger_than(adopted.values(), where):
            encoder.adopt(adopted)
    return rest
