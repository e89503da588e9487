"""The parts of CoMM and related methods other than their encoders, built from configuration options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from commlearn.batch import Subset, choose_subsets, subset_name
from commlearn.errors import ConfigurationError
from commlearn.models.encoders.image import ImageEncoder
from commlearn.models.encoders.own import token_encoders
from commlearn.models.fusion import Fusion
from commlearn.models.heads import HEAD, TERMS, TemperatureChoice, projection_head, temperature_of
from commlearn.models.self_prediction import SelfPrediction
from commlearn.models.textures import TextureEnergies
from commlearn.models.token_means import TextureMeans, TokenMeans
from commlearn.models.tokens import ModalityEncoder
from commlearn.models.without_negatives import SIGReg, vicreg_terms
from commlearn.objectives import comm_terms

Objective = Callable[..., dict[Subset, Tensor]]
"""Takes the arguments of `comm_terms` and returns a term for each subset."""
Contrast = Literal["infonce", "sigreg", "vicreg"]
"""How a subset is compared with the full fusion: with other records as negatives, or without."""
Held = Literal["fused", "fused+tokens", "fused+textures"]
"""What an embedding holds: the fused vector, alone or followed by each modality's mean token or textures."""


def fused_parts(
    encoders: Mapping[str, nn.Module],
    width: int,
    fusion: nn.Module | None,
    subsets: str,
    temperature: TemperatureChoice,
    embedding: Held,
    head: tuple[int, int] = HEAD,
    prediction: float = 0.0,
) -> dict[str, Any]:
    """Return the arguments of CoMM's constructor; the fusion is the published one if none is given."""
    if prediction < 0:
        raise ConfigurationError(f"method.prediction is {prediction}; give 0 or more.")
    if min(head) < 1:
        raise ConfigurationError(f"head is {list(head)}; give two numbers of features above 0.")
    chosen = choose_subsets(subsets, tuple(encoders))
    encoders = token_encoders(encoders, width)
    return {
        "encoders": encoders,
        "fusion": fusion or Fusion(width),
        "head": projection_head(width, *head),
        "subsets": chosen,
        "temperature": temperature_of(temperature, (*TERMS, *map(subset_name, chosen))),
        "beside": _beside(embedding, encoders, width),
        "prediction": SelfPrediction(encoders, width, prediction) if prediction else None,
    }


def _beside(embedding: Held, encoders: Mapping[str, nn.Module], width: int) -> TokenMeans | None:
    if embedding != "fused+textures":
        return TokenMeans(list(encoders), width) if embedding == "fused+tokens" else None
    for name, encoder in encoders.items():
        if not isinstance(encoder, ModalityEncoder) or not isinstance(encoder.encoder, ImageEncoder):
            raise ConfigurationError(
                f"method.embedding is fused+textures, but '{name}' does not use an image encoder of this "
                "library. Choose fused+tokens."
            )
        encoder.textures = TextureEnergies()
    return TextureMeans(list(encoders), width)


def objective_of(contrast: Contrast, temperature: TemperatureChoice) -> Objective:
    """Return the objective of a contrast; those without negatives accept only a number, which they ignore."""
    if contrast != "infonce" and not isinstance(temperature, int | float):
        raise ConfigurationError(
            f"method.contrast {contrast} does not use a temperature, but method.temperature is "
            f"{temperature}. Remove method.temperature, or choose infonce."
        )
    objectives: dict[Contrast, Objective] = {
        "infonce": comm_terms,
        "sigreg": SIGReg(),
        "vicreg": vicreg_terms,
    }
    return objectives[contrast]
