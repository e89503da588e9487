"""What the features of some modalities let expect of those of another: ridge regression on training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from commlearn.models.features.base import Learned
from commlearn.seeds import numpy_generator

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, float("inf"))  # times dimensions / rows; the last expects nothing
HELD_OUT = 3  # one row of so many decides between them


class ExpectedFeatures(Learned):
    """The best linear guess of a modality's features from those of the modalities that are there.

    Its penalty is chosen on training rows held out, for each modality given all the others. Where nothing
    better is found the guess is zero, the average record.

    Args:
        dims: dimensions of each modality's features.

    Example:
        >>> rows = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
        >>> parts = {"a": rows, "b": rows.sum(dim=1, keepdim=True) / 2**0.5}
        >>> expected = ExpectedFeatures({"a": 2, "b": 1}).learn(parts, {}, 0)
        >>> filled = expected({"a": rows, "b": torch.zeros(90, 1)}, {"b": torch.zeros(90, dtype=torch.bool)})
        >>> bool((filled["b"] - parts["b"]).abs().mean() < 0.1)
        True
    """

    second: Tensor
    rows: Tensor
    ridge: Tensor

    def __init__(self, dims: Mapping[str, int]) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.weights: dict[tuple[str, tuple[str, ...]], Tensor] = {}  # of a guess, by what is given
        self.store(
            second=torch.zeros(0, 0),  # (dim, dim): mean products of all features
            rows=torch.tensor(1.0),  # that they are means of
            ridge=torch.full((len(dims),), torch.inf),  # of each modality
        )

    @torch.no_grad()
    def learn(self, parts: Mapping[str, Tensor], present: Mapping[str, Tensor], seed: int) -> Self:
        """Follow training rows.

        Args:
            parts: features of each modality, (rows, dim), zeros where it is absent.
            present: (rows,) bool, of the modalities that some rows lack.
            seed: of the rows held out.
        """
        values = torch.cat([parts[name] for name in self.dims], dim=1).cpu().double()  # (rows, dim)
        there = torch.stack([_mask(parts, present, name) for name in self.dims], dim=1).cpu()
        held = torch.from_numpy(numpy_generator(seed, "held out").permutation(len(values)) % HELD_OUT == 0)
        second, count = self._moments(values[~held], there[~held]), max(int((~held).sum()), 1)
        ridges = []
        for name in self.dims:
            tried = values[held & there.all(dim=1)]
            ridges.append(self._best(name, second, count, tried) if len(tried) > 1 else torch.inf)
        self.store(
            second=self._moments(values, there).float(),
            rows=torch.tensor(float(len(values))),
            ridge=torch.tensor(ridges),
        )
        self.weights = {}
        return self

    def forward(self, parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The features with guesses in place of those that are absent.

        Args:
            parts: of each modality, (batch, dim).
            present: (batch,) bool, of the modalities that some records lack.
        """
        there = torch.stack([_mask(parts, present, name) for name in self.dims], dim=1)  # (batch, modalities)
        filled = {name: parts[name].clone() for name in self.dims}
        patterns, which = torch.unique(there, dim=0, return_inverse=True)
        for number, pattern in enumerate(patterns.tolist()):
            given = tuple(name for name, here in zip(self.dims, pattern, strict=True) if here)
            records = which == number
            for name, here in zip(self.dims, pattern, strict=True):
                if not here and given:
                    given_values = torch.cat([parts[other][records] for other in given], dim=1)
                    filled[name][records] = given_values @ self._weights(name, given).to(given_values)
        return filled

    def _weights(self, name: str, given: tuple[str, ...]) -> Tensor:
        """What a guess multiplies the given features with, (given, dim)."""
        if (name, given) not in self.weights:
            ridge = float(self.ridge[list(self.dims).index(name)])
            second = self.second.cpu().double()
            solved = self._solved(name, given, second, float(self.rows), [ridge])
            self.weights[name, given] = solved[0].float()
        return self.weights[name, given]

    def _solved(
        self, name: str, given: Sequence[str], second: Tensor, rows: float, ridges: Sequence[float]
    ) -> list[Tensor]:
        """The weights at each penalty."""
        places = self._places()
        columns = torch.cat([places[other] for other in given])
        products = second[columns][:, places[name]]  # (given, dim)
        spread, axes = torch.linalg.eigh(second[columns][:, columns])
        turned = axes.T @ products
        scale = spread.clamp(min=0).mean() * len(columns) / rows
        return [
            torch.zeros_like(products)
            if ridge == torch.inf
            else axes @ (turned / (spread.clamp(min=0) + ridge * scale + 1e-9)[:, None])
            for ridge in ridges
        ]

    def _best(self, name: str, second: Tensor, rows: int, tried: Tensor) -> float:
        """The penalty whose guesses err least."""
        places, given = self._places(), [other for other in self.dims if other != name]
        if not given:
            return torch.inf
        given_values = tried[:, torch.cat([places[other] for other in given])]
        wanted = tried[:, places[name]]
        errors = [
            (given_values @ weights - wanted).square().mean()
            for weights in self._solved(name, given, second, rows, RIDGES)
        ]
        return RIDGES[int(torch.stack(errors).argmin())]

    def _moments(self, values: Tensor, there: Tensor) -> Tensor:
        """Mean products over the rows that have both modalities, as some complete rows could have them."""
        counts = (there.double().T @ there.double()).clamp(min=1)  # (modalities, modalities)
        sizes = torch.tensor(list(self.dims.values()))
        second = values.T @ values / counts.repeat_interleave(sizes, 0).repeat_interleave(sizes, 1)
        if there.all():
            return second
        spread, axes = torch.linalg.eigh(second)
        return (axes * spread.clamp(min=0)) @ axes.T

    def _places(self) -> dict[str, Tensor]:
        """Where the features of each modality lie among all."""
        ends = np.cumsum(list(self.dims.values()))
        return {
            name: torch.arange(int(end) - size, int(end))
            for (name, size), end in zip(self.dims.items(), ends, strict=True)
        }

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        self.weights = {}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _mask(parts: Mapping[str, Tensor], present: Mapping[str, Tensor], name: str) -> Tensor:
    """Which rows have the modality, (rows,) bool."""
    if name in present:
        return present[name]
    return torch.ones(len(parts[name]), dtype=torch.bool, device=parts[name].device)
