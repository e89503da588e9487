"""Continuous data whose decomposition is known: what an estimator is measured on.

Two or more binary latents, seen through Gaussian noise and rotated into many dimensions with non-linear
copies. Given the latents, all else is noise: the decomposition is that of the scalars before the rotation,
which fine binning gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.stats import norm

from commlearn.evaluation.marginals import Array
from commlearn.evaluation.pid import OrderSpectrum, Pid, broja, order_spectrum
from commlearn.seeds import numpy_generator

__all__ = ["Twin", "gate", "known_twins"]


@dataclass(frozen=True)
class Twin:
    """A distribution of latents, and how modalities show them.

    Attributes:
        name: what it is called.
        latents: joint probabilities p[x_1, ..., x_n, y] of values 0, ..., k - 1.
        separations: per modality, between neighbouring values, in standard deviations of the noise.
        dimensions: of each modality, at least 4; one number for all, or one each.
    """

    name: str
    latents: Array
    separations: tuple[float, ...]
    dimensions: int | tuple[int, ...] = 32

    def sample(self, records: int, seed: int) -> tuple[dict[str, Array], np.ndarray]:
        """Modalities a, b, ... and the target."""
        draw = numpy_generator(seed, f"twin {self.name}")
        cells = draw.choice(self.latents.size, size=records, p=self.latents.ravel())
        *values, target = np.unravel_index(cells, self.latents.shape)
        arrays = {}
        for place, (value, apart) in enumerate(zip(values, self.separations, strict=True)):
            middle = (self.latents.shape[place] - 1) / 2
            scalar = apart * (value - middle) + draw.normal(size=records)
            wide = self.dimensions if isinstance(self.dimensions, int) else self.dimensions[place]
            arrays[chr(ord("a") + place)] = _spread(scalar, wide, draw)
        return arrays, target

    def truth(self, bins: int = 100) -> Pid:
        """The exact decomposition of two modalities, by fine binning."""
        return broja(self.binned(bins))

    def spectrum(self, bins: int = 30) -> OrderSpectrum:
        return order_spectrum(self.binned(bins))

    def binned(self, bins: int) -> Array:
        """p[t_1, ..., t_n, y] of the noisy scalars."""
        table = self.latents
        for place, apart in enumerate(self.separations):
            channel = _channel(self.latents.shape[place], apart, bins)  # (values, bins)
            table = np.moveaxis(np.tensordot(channel, table, axes=(0, place)), 0, place)
        return table / table.sum()


def _channel(values: int, apart: float, bins: int) -> Array:
    """p(bin | value) on bins of about equal mass."""
    centres = apart * (np.arange(values) - (values - 1) / 2)
    grid = np.linspace(centres[0] - 6, centres[-1] + 6, 20_001)
    mixture = norm.cdf(grid[:, None] - centres).mean(axis=1)
    edges = np.interp(np.linspace(0, 1, bins + 1)[1:-1], mixture, grid)
    below = np.concatenate(
        [np.zeros((values, 1)), norm.cdf(edges - centres[:, None]), np.ones((values, 1))], 1
    )
    return np.diff(below, axis=1)


def _spread(scalar: Array, dimensions: int, draw: np.random.Generator) -> Array:
    """The scalar, three non-linear copies and noise, rotated."""
    copies = np.stack([scalar, np.tanh(scalar), scalar**2 / 4, np.sin(scalar)], axis=1)
    noise = draw.normal(size=(len(scalar), dimensions - copies.shape[1]))
    rotation, _ = np.linalg.qr(draw.normal(size=(dimensions, dimensions)))
    return np.concatenate([copies, noise], axis=1) @ rotation


def gate(
    name: str, target: object, separations: Sequence[float], flip: float = 0.0, dimensions: int = 32
) -> Twin:
    """Uniform bits and a two-class function of them, wrong with probability `flip`.

    Example:
        >>> gate("XOR", lambda a, b: a ^ b, (4, 3)).truth().synergistic > 0.5
        True
    """
    latents = np.zeros((2,) * (len(separations) + 1))
    for bits in product((0, 1), repeat=len(separations)):
        label = int(target(*bits))  # type: ignore[operator]
        latents[(*bits, label)] += 1 - flip
        latents[(*bits, 1 - label)] += flip
    return Twin(name, latents / latents.sum(), tuple(separations), dimensions)


def known_twins() -> list[Twin]:
    """The six of two modalities that every estimator is compared on."""
    apart = (4.0, 3.0)
    shared = np.zeros((2, 2, 2))
    shared[0, 0, 0] = shared[1, 1, 1] = 0.5
    first, second = (np.array([[1 - rate, rate], [rate, 1 - rate]]) for rate in (0.1, 0.25))
    noisy = np.einsum("ya,yb->aby", first, second) / 2
    return [
        Twin("RDN", shared, apart),
        gate("UNQ1", lambda a, b: a, apart),
        gate("XOR", lambda a, b: a ^ b, apart),
        gate("AND", lambda a, b: a & b, apart),
        gate("AND, flipped 10 %", lambda a, b: a & b, apart, flip=0.1),
        Twin("BSC(.1), BSC(.25)", noisy, apart),
    ]
