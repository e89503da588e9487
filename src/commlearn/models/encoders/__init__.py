"""Encoders by name. Each is built from the shape of one record's values and the fusion's width.

There are two exceptions: `fixed` is built from the fixed features of the modality, `own module` from
a user-defined module.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from commlearn.batch import Spec
from commlearn.errors import ConfigurationError
from commlearn.models.encoders.image import alexnet, resnet18, resnet50, small_cnn
from commlearn.models.encoders.own import OWN, own
from commlearn.models.encoders.sequence import force, gru, series, text, transformer
from commlearn.models.encoders.tabular import features, fixed, linear, mlp, mlp_tokens, perceptron, tabular

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,
    "features": features,
    "fixed": fixed,
    "force": force,
    "gru": gru,
    "linear": linear,
    "mlp": mlp,
    "mlp_tokens": mlp_tokens,
    OWN: own,
    "perceptron": perceptron,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "series": series,
    "small_cnn": small_cnn,
    "tabular": tabular,
    "text": text,
    "transformer": transformer,
}

DEFAULTS = {"text": "text", "series": "series", "audio": "series", "tabular": "tabular", "vector": "mlp"}
SMALL = 96  # largest side in pixels for which a small network suffices


def default_encoder(spec: Spec) -> str:
    """Return the name of the encoder for a modality if none is chosen.

    Example:
        >>> default_encoder(Spec("image", (3, 64, 64))), default_encoder(Spec("image", (3, 224, 224)))
        ('small_cnn', 'resnet18')
    """
    if spec.kind == "image":
        return "small_cnn" if max(spec.shape[1:]) <= SMALL else "resnet18"
    if spec.kind not in DEFAULTS:
        raise ConfigurationError(
            f"There is no default encoder for kind '{spec.kind}'. Choose one for the modality, or add its "
            "kind to DEFAULTS."
        )
    return DEFAULTS[spec.kind]
