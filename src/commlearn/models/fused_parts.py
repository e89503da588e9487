"""The parts of CoMM and related methods other than their encoders, built from configuration options.

The parts that have no file of their own follow: terms without negatives, which do not contrast records with
the others of their batch or group, and self-prediction, which predicts each modality of a record's other view
from a fused vector of one view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.batch import Modality, Subset, View, choose_subsets, subset_name
from commlearn.errors import ConfigurationError
from commlearn.models.encoders.image import ImageEncoder
from commlearn.models.encoders.own import token_encoders
from commlearn.models.encoders.tabular import FeatureEncoder
from commlearn.models.features import FeatureValues
from commlearn.models.features.pictures import TextureEnergies
from commlearn.models.fusion import Fusion
from commlearn.models.heads import HEAD, TERMS, TemperatureChoice, projection_head, temperature_of
from commlearn.models.token_means import TextureMeans, TokenMeans
from commlearn.models.tokens import ModalityEncoder, Tokens, pool
from commlearn.objectives import comm_terms, sigreg, vicreg

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
    objectives: dict[str, Objective] = {
        "infonce": comm_terms,
        "sigreg": SIGReg(),
        "vicreg": partial(_terms, vicreg),
    }
    return objectives[contrast]


Projections = Mapping[Subset, Tensor]
GAUSSIAN = 0.05  # weight of the part of SIGReg that pulls records to a Gaussian


class SIGReg(nn.Module):
    """Terms that pull every subset towards the full fusion of the other view, and its records to a Gaussian.

        term[s] = 0.95 * mean ((s - full') / 2)^2 + 0.05 * SIGReg(s), the mean over both views

    Samples are projected onto 256 directions. Each training step draws new ones from its step number, so that
    they are the same on every rank and after a resume.

    Example:
        >>> both = ("left", "right")
        >>> first, second = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
        >>> [subset for subset in SIGReg()({both: first}, {both: second}, both)]
        [('left', 'right')]
    """

    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(
        self, first: Projections, second: Projections, full: Subset, *others: Any, **named: Any
    ) -> dict[Subset, Tensor]:
        directions = self.directions(first[full].shape[1]).to(first[full].device)
        self.step += self.training

        def loss(rows: Tensor, other: Tensor) -> Tensor:
            distance = F.mse_loss(rows, other) / 4  # squared distance of both from their midpoint
            return (1 - GAUSSIAN) * distance + GAUSSIAN * sigreg(rows, directions.to(rows.dtype))

        return _terms(loss, first, second, full, *others, **named)  # temperature, present, groups

    def directions(self, features: int) -> Tensor:
        """Return this step's unit vectors, (features, 256)."""
        draw = torch.Generator().manual_seed(int(self.step))
        return F.normalize(torch.randn(features, 256, generator=draw), dim=0)


def _terms(
    loss: Callable[[Tensor, Tensor], Tensor],
    first: Projections,
    second: Projections,
    full: Subset,
    temperature: Any = None,
    present: Mapping[Subset, Tensor] | None = None,
    groups: Tensor | None = None,
) -> dict[Subset, Tensor]:
    """Return each subset's loss with the full fusion of the other view, the mean over both views.

    It is 0 if fewer than two rows have the subset. Temperature and groups are for contrasts with negatives.
    """
    terms = {}
    for subset in first:
        rows = (present or {}).get(subset)
        if rows is not None and rows.sum() < 2:
            terms[subset] = 0.0 * first[subset].sum()
            continue
        vectors = first[subset], second[full], second[subset], first[full]
        promoted = [part.to(torch.promote_types(part.dtype, torch.float32)) for part in vectors]
        first_rows, full_second, second_rows, full_first = [
            part if rows is None else part[rows] for part in promoted
        ]
        with torch.autocast(first_rows.device.type, enabled=False):
            terms[subset] = (loss(first_rows, full_second) + loss(second_rows, full_first)) / 2
    return terms


HIDDEN = 256  # hidden units of a head
PREDICTED: Subset = ("predicted modalities",)  # key of the errors among the subsets; not a modality


class SelfPrediction(nn.Module):
    """Heads that predict each modality's fixed features, or its mean token, from fused vectors.

    The features have about unit variance. Each mean token is standardised on its own and passes no gradient.
    Both come from the record's other augmented version, so that what was hidden in one must be inferred.
    Alongside a contrast, which keeps records apart, tokens have no reason to collapse.

    Args:
        encoders: one for each modality; if it reads fixed features, those are predicted.
        width: width of the fused vectors.
        weight: weight of the mean squared error in a method's loss.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], width: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        readers = {name: part for name, part in encoders.items() if isinstance(part, FeatureEncoder)}
        sizes = {name: readers[name].features.dim if name in readers else width for name in encoders}
        self.readers = [readers]  # in a list, so that they are not submodules
        self.heads = nn.ModuleDict()
        for name, size in sizes.items():
            self.heads[name] = nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, size))

    def forward(self, view: View, tokens: Mapping[str, Tokens], fused: Mapping[Subset, Tensor]) -> Tensor:
        """Return each row's squared errors, summed over all predictions that are possible, and their number.

        Args:
            view: both augmented versions of the records, one after the other.
            tokens: tokens of each modality of the view.
            fused: vectors of subsets of its modalities, (2 * records, width) each.

        Returns:
            (2 * records, 2). A modality that a record lacks is not predicted, and a subset predicts only for
            records that have all of it, unless it is the full one.
        """
        errors: list[Tensor] = []
        for name, head in self.heads.items():
            first, second = self.target(name, view[name], tokens[name]).chunk(2)
            target = torch.cat([second, first])  # of the record's other version
            for subset, vectors in fused.items():
                error = (head(vectors).float() - target).square().mean(dim=1)
                required = {name} if len(subset) == len(self.heads) else {name, *subset}
                present = torch.stack([view[modality].presence for modality in required]).all(dim=0).float()
                errors.append(torch.stack([error * present, present], dim=1))
        return torch.stack(errors).sum(dim=0)

    @torch.no_grad()
    def target(self, name: str, modality: Modality, tokens: Tokens) -> Tensor:
        """Return the fixed features or mean tokens to predict for a modality, (2 * records, size)."""
        if isinstance(modality, FeatureValues) and name in self.readers[0]:
            return modality.values.float()
        if name in self.readers[0]:
            return self.readers[0][name].features(modality).float()
        means = pool(tokens).float()
        return F.layer_norm(means, means.shape[1:])


def mean_error(rows: Tensor) -> Tensor:
    """Return the mean squared error from the sums and counts of `SelfPrediction` for all rows, (..., 2)."""
    total = rows.flatten(0, -2).sum(dim=0)
    return total[0] / total[1].clamp(min=1)
