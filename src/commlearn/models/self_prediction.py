"""Self-prediction: predicting each modality of a record's other view from a fused vector of one view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.batch import Modality, Subset, View
from commlearn.models.encoders.tabular import FeatureEncoder
from commlearn.models.features.base import FeatureValues
from commlearn.models.tokens import Tokens, pool

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
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, size))
                for name, size in sizes.items()
            }
        )

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
            target = other_version(self.target(name, view[name], tokens[name]))
            for subset, vectors in fused.items():
                error = (head(vectors).float() - target).square().mean(dim=1)
                required = {name} if len(subset) == len(self.heads) else {name, *subset}
                present = torch.stack([view[modality].there for modality in required]).all(dim=0).float()
                errors.append(torch.stack([error * present, present], dim=1))
        return torch.stack(errors).sum(dim=0)

    @torch.no_grad()
    def target(self, name: str, modality: Modality, tokens: Tokens) -> Tensor:
        """Return the fixed features or mean tokens to predict for a modality, (2 * records, size)."""
        reader = self.readers[0].get(name)
        if reader is not None:
            precomputed = isinstance(modality, FeatureValues)
            return modality.values.float() if precomputed else cast(Tensor, reader.features(modality)).float()
        means = pool(tokens).float()
        return F.layer_norm(means, means.shape[1:])


def mean_error(rows: Tensor) -> Tensor:
    """Return the mean squared error from the sums and counts of `SelfPrediction` for all rows, (..., 2)."""
    total = rows.flatten(0, -2).sum(dim=0)
    return total[0] / total[1].clamp(min=1)


def other_version(rows: Tensor) -> Tensor:
    """Return each row's counterpart in the other of two versions that are stored one after the other."""
    first, second = rows.chunk(2)
    return torch.cat([second, first])
