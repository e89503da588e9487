"""Kinds of data with exactly known parts, some for tuning the interaction report and others for judging it.

Every kind draws a latent for each modality, the target, and what each modality shows of its latent. Its table
contains the exact p[x_1, ..., x_n, y] of the latents: enumerated if they are discrete, on a fine grid if they
are numbers. Settings of the estimator are chosen on the tuning kinds; figures are reported on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import chi2, norm

from commlearn.information.pid import broja, order_spectrum
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

Draw = np.random.Generator
Latents = tuple[tuple[np.ndarray, ...], np.ndarray]  # latents of each modality, and the target
Show = Callable[[np.ndarray, Draw], Array]  # a latent -> (records, columns)

GRID = 240  # cells of equal mass per number


@dataclass(frozen=True)
class Kind:
    """One distribution.

    Attributes:
        name: name of the kind.
        latents: draws the latent of each modality, and the target.
        shows: for each modality, turns its latent into its columns.
        table: returns the exact p[x_1, ..., x_n, y] of the latents.
        tuning: whether settings may be chosen on it.
    """

    name: str
    latents: Callable[[int, Draw], Latents]
    shows: tuple[Show, ...]
    table: Callable[[], Array]
    tuning: bool = False

    def sample(self, records: int, seed: int) -> tuple[dict[str, Array], np.ndarray]:
        """Draw records, and return their modalities a, b, ... and their target."""
        draw = numpy_generator(seed, f"kind {self.name}")
        values, target = self.latents(records, draw)
        shown = [show(value, draw) for show, value in zip(self.shows, values, strict=True)]
        return dict(zip("abc", shown, strict=False)), target

    def parts(self) -> dict[str, float]:
        """Return exact parts in bits: four for two modalities, order spectrum and unique parts for three."""
        return parts_of_table(self.table())


def parts_of_table(table: Array) -> dict[str, float]:
    if table.ndim == 3:
        exact = broja(table, 1e-4)
        return {name: getattr(exact, name) for name in ("redundant", "unique1", "unique2", "synergistic")}
    spectrum = order_spectrum(table)
    parts = {f"spectrum {order}": bits for order, bits in enumerate(spectrum.spectrum, 1)}
    return parts | {f"unique {name}": bits for name, bits in zip("abc", spectrum.unique, strict=True)}


# ------------------------------------------------------------------------------ how modalities show latents
def rotated(columns: int) -> Show:
    """Show one or more numbers among columns of noise, rotated at random."""

    def show(value: np.ndarray, draw: Draw) -> Array:
        value = value.reshape(len(value), -1)
        noise = draw.normal(size=(len(value), columns - value.shape[1]))
        turn, _ = np.linalg.qr(draw.normal(size=(columns, columns)))
        return np.concatenate([value, noise], axis=1) @ turn

    return show


def half_space(columns: int) -> Show:
    """Show a bit as points of a Gaussian on one or the other side of a random plane."""

    def show(value: np.ndarray, draw: Draw) -> Array:
        return rotated(columns)((2 * value - 1) * np.abs(draw.normal(size=len(value))), draw)

    return show


def on_circle(columns: int) -> Show:
    """Show an angle as a point on a circle, among columns of noise."""

    def show(value: np.ndarray, draw: Draw) -> Array:
        return rotated(columns)(2 * np.stack([np.cos(value), np.sin(value)], axis=1), draw)

    return show


def clouds(columns: int, kinds: int) -> Show:
    """Show each value as a cloud of points, so far from the others that none are confused."""

    def show(value: np.ndarray, draw: Draw) -> Array:
        centres = np.linalg.qr(draw.normal(size=(columns, columns)))[0][:kinds]
        return 7.5 * centres[value] + draw.normal(size=(len(value), columns))

    return show


def sparse(columns: int, count: int) -> Show:
    """Show a number as the scaled sum of a few columns; each column on its own is noise."""

    def show(value: np.ndarray, draw: Draw) -> Array:
        shown = draw.normal(size=(len(value), columns))
        chosen = draw.permutation(columns)[:count]
        some = shown[:, chosen]
        shown[:, chosen] = some - some.mean(axis=1, keepdims=True) + (value / count**0.5)[:, None]
        return shown

    return show


def code(value: np.ndarray, draw: Draw) -> Array:
    """Show each value as one number, its code, with codes assigned at random."""
    return draw.permutation(int(value.max()) + 1)[value][:, None].astype(float)


def one_hot(value: np.ndarray, draw: Draw) -> Array:
    return np.eye(int(value.max()) + 1)[value]


# ------------------------------------------------------------------------------ how latents are drawn
def discrete(name: str, table: Array, shows: tuple[Show, ...], tuning: bool = False) -> Kind:
    """Return a kind with latents 0, 1, ... of these joint probabilities."""

    def latents(records: int, draw: Draw) -> Latents:
        cells = draw.choice(table.size, size=records, p=table.ravel())
        *values, target = np.unravel_index(cells, table.shape)
        return tuple(values), target

    return Kind(name, latents, shows, lambda: table, tuning)


def of_function(
    sizes: tuple[int, ...], function: Callable[..., int], classes: int, flip: float = 0.0
) -> Array:
    """Return the table of uniform latents and a function of them, which is wrong with probability `flip`."""
    table = np.zeros((*sizes, classes))
    for cell in np.ndindex(*sizes):
        table[cell] = flip / (classes - 1)
        table[(*cell, int(function(*cell)))] = 1 - flip
    return table / table.sum()


def of_numbers(
    name: str, chances: Callable[[Array, Array], Array], shows: tuple[Show, ...], tuning: bool = False
) -> Kind:
    """Return a kind of two independent standard Gaussian u, v; `chances` gives p(y | u, v), classes last."""

    def latents(records: int, draw: Draw) -> Latents:
        u, v = draw.normal(size=(2, records))
        return (u, v), _drawn(chances(u, v), draw)

    def table() -> Array:
        middle = norm.ppf((np.arange(GRID) + 0.5) / GRID)
        return chances(middle[:, None], middle[None]) / GRID**2

    return Kind(name, latents, shows, table, tuning)


def of_angles(
    name: str,
    sign: int,
    sectors: int,
    noise: float,
    shows: tuple[Show, ...],
    tuning: bool = False,
) -> Kind:
    """Return a kind of two angles; the target is the sector of their sum or difference, plus noise."""

    def latents(records: int, draw: Draw) -> Latents:
        first, second = 2 * np.pi * draw.random((2, records))
        blurred = first + sign * second + noise * draw.normal(size=records)
        return (first, second), (blurred % (2 * np.pi) // (2 * np.pi / sectors)).astype(int)

    def table() -> Array:
        angle = 2 * np.pi * (np.arange(GRID) + 0.5) / GRID
        middle = angle[:, None] + sign * angle[None]
        edges = 2 * np.pi * np.arange(-6 * sectors, 6 * sectors + 1) / sectors
        below = norm.cdf((edges - (middle % (2 * np.pi))[..., None]) / noise)
        turns = np.diff(below, axis=-1).reshape(GRID, GRID, -1, sectors)
        return turns.sum(axis=2) / turns.sum()

    return Kind(name, latents, shows, table, tuning)


def given_class(
    name: str, shares: Array, places: tuple[Array, Array], shows: tuple[Show, ...], tuning: bool = False
) -> Kind:
    """Return a kind whose modalities see the class's position on a line, each with its own unit noise."""

    def latents(records: int, draw: Draw) -> Latents:
        target = draw.choice(len(shares), size=records, p=shares)
        return tuple(place[target] + draw.normal(size=records) for place in places), target

    def table() -> Array:
        cells = 120 if len(shares) > 2 else GRID
        channels = [_cells_given_class(place, shares, cells) for place in places]
        return np.einsum("ya,yb,y->aby", *channels, shares)

    return Kind(name, latents, shows, table, tuning)


def of_number_in_classes(
    name: str, noises: tuple[float, float], classes: int, shows: tuple[Show, ...], tuning: bool = False
) -> Kind:
    """Return a kind whose target is a Gaussian number in equal classes; modalities see it with noise."""

    def latents(records: int, draw: Draw) -> Latents:
        y = draw.normal(size=records)
        return (
            tuple(y + noise * draw.normal(size=records) for noise in noises),
            np.searchsorted(norm.ppf(np.arange(1, classes) / classes), y),
        )

    def table() -> Array:
        cells, steps = 120, 100
        middles = norm.ppf((np.arange(classes * steps) + 0.5) / (classes * steps))
        shares = np.full(len(middles), 1 / len(middles))
        channels = [
            _cells_given_class(middles / noise, shares, cells).reshape(classes, steps, cells)
            for noise in noises
        ]
        return np.einsum("ysa,ysb->aby", *channels) / len(middles)

    return Kind(name, latents, shows, table, tuning)


def _cells_given_class(place: Array, shares: Array, cells: int) -> Array:
    """Return p(cell | class) of the class's position plus unit noise, in cells of about equal mass."""
    grid = np.linspace(place.min() - 6, place.max() + 6, 20_001)
    below = sum(share * norm.cdf(grid - centre) for share, centre in zip(shares, place, strict=True))
    edges = np.interp(np.linspace(0, 1, cells + 1)[1:-1], below, grid)
    inner = norm.cdf(edges - place[:, None])
    return np.diff(np.concatenate([np.zeros((len(place), 1)), inner, np.ones((len(place), 1))], 1), axis=1)


def matching(name: str, dimensions: int, alike: float, tuning: bool = False) -> Kind:
    """Return a kind whose target is whether a and b match: Gaussian vectors, correlated by `alike` if so.

    If they do not match, they are independent. With s = (a + b) / sqrt 2 and t = (a - b) / sqrt 2, the
    log-likelihood ratio depends only on |s|^2 and |t|^2. These are chi-squared, scaled by 1 + alike and
    1 - alike if a and b match. Neither modality alone carries information, so all of it is synergy, and the
    table is that of a noisy parity with as many bits.
    """

    def latents(records: int, draw: Draw) -> Latents:
        target = draw.integers(0, 2, records)
        first, second = draw.normal(size=(2, records, dimensions))
        near = alike * first + (1 - alike**2) ** 0.5 * second
        return (first, np.where(target[:, None] == 1, near, second)), target

    def table() -> Array:
        scale = np.array([1 - alike, 1.0, 1 + alike])
        ends = chi2.ppf([1e-9, 1 - 1e-9], dimensions)
        edges = np.geomspace(ends[0] * scale[0], ends[1] * scale[-1], 1201)
        apart, wide, narrow = (
            np.diff(chi2.cdf(edges / factor, dimensions)) for factor in (1.0, scale[2], scale[0])
        )
        joint = np.stack([np.outer(apart, apart), np.outer(wide, narrow)], axis=-1) / 2
        bits = _information(joint.reshape(-1, 2))
        flip = _flip_of(1 - bits)
        return of_function((2, 2), lambda a, b: a ^ b, 2, flip)

    return Kind(name, latents, (rotated(dimensions + 5),) * 2, table, tuning)


def _information(joint: Array) -> float:
    joint = joint / joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    some = joint > 0
    return float((joint[some] * np.log2(joint[some] / apart[some])).sum())


def _flip_of(entropy: float) -> float:
    """Return the share of flips that gives a fair bit this conditional entropy."""
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        uncertain = -middle * np.log2(middle) - (1 - middle) * np.log2(1 - middle)
        low, high = (middle, high) if uncertain < entropy else (low, middle)
    return (low + high) / 2


def _drawn(chances: Array, draw: Draw) -> np.ndarray:
    return (draw.random(len(chances))[:, None] > np.cumsum(chances, axis=1)).sum(axis=1)


def _two(chance: Array) -> Array:
    return np.stack([1 - chance, chance], axis=-1)


def _logistic(value: Array) -> Array:
    return 1 / (1 + np.exp(-value))


def _lookup(seed: int, sizes: tuple[int, int], classes: int) -> Array:
    """Return a table with random class probabilities per pair of codes, most of them close to 0 or 1."""
    chances = np.random.default_rng(seed).dirichlet(np.full(classes, 0.15), size=sizes)
    return chances / (sizes[0] * sizes[1])


def _same(first: int, second: int) -> int:
    return int(first == second)


def _together(kinds: int, flip: float) -> Array:
    """Return a table in which half of the records have two equal kinds and half two different ones."""
    table = of_function((kinds, kinds), _same, 2, flip)
    weight = np.where(np.eye(kinds) > 0, kinds - 1, 1.0)
    table = table * weight[..., None]
    return table / table.sum()


def _copies(kinds: int, errors: tuple[float, float]) -> Array:
    """Return a table of two copies of the class, each replaced by another class with its own probability."""
    channels = [
        np.full((kinds, kinds), e / (kinds - 1)) + np.eye(kinds) * (1 - e * kinds / (kinds - 1))
        for e in errors
    ]
    return np.einsum("ya,yb->aby", *channels) / kinds


def _xor_and_look(flip: float) -> Array:
    """Return a table whose target is the parity of a and b; c is a noisy copy of it."""
    table = np.zeros((2, 2, 2, 2))
    for a, b, c in np.ndindex(2, 2, 2):
        table[a, b, c, a ^ b] = (1 - flip if c == a ^ b else flip) / 4
    return table


@cache
def all_kinds() -> tuple[Kind, ...]:
    """Return all kinds, those for tuning first."""
    tune = {"tuning": True}
    line = np.arange(3.0)
    return (
        given_class(
            "mixture of six classes",
            np.full(6, 1 / 6),
            (2.5 * np.repeat(line, 2), 2.5 * np.tile(line, 2)),
            (rotated(8), rotated(8)),
            **tune,
        ),
        of_angles("difference of angles, halves", -1, 2, 0.5, (on_circle(6),) * 2, **tune),
        discrete(
            "XOR of half-spaces in 8 dimensions",
            of_function((2, 2), lambda a, b: a ^ b, 2, 0.05),
            (half_space(8),) * 2,
            **tune,
        ),
        discrete(
            "sum modulo 4",
            of_function((4, 4), lambda a, b: (a + b) % 4, 4, 0.05),
            (clouds(10, 4),) * 2,
            **tune,
        ),
        of_numbers(
            "wide: 4 of 300 columns matter",
            lambda u, v: _two(_logistic(3 * u + 2 * v)),
            (sparse(300, 4), rotated(8)),
            **tune,
        ),
        matching("matching of vectors", 3, 0.95, **tune),
        discrete("codes as numbers", _lookup(7, (9, 9), 3), (code, code), **tune),
        of_number_in_classes("above the median", (0.6, 1.0), 2, (rotated(12),) * 2, **tune),
        discrete(
            "6 levels, a above b",
            of_function((6, 6), lambda a, b: a > b, 2, 0.03),
            (clouds(8, 6),) * 2,
            **tune,
        ),
        discrete("three: parity of a and b, c looks", _xor_and_look(0.2), (clouds(6, 2),) * 3, **tune),
        given_class(
            "mixture of four classes",
            np.array([0.4, 0.3, 0.2, 0.1]),
            (np.array([0.0, 1.8, 3.6, 5.4]), np.array([4.5, 1.5, 0.0, 3.0])),
            (rotated(20), rotated(20)),
        ),
        of_angles("sum of angles, three sectors", 1, 3, 0.4, (on_circle(10),) * 2),
        discrete(
            "XOR of half-spaces in 16 dimensions",
            of_function((2, 2), lambda a, b: a ^ b, 2, 0.05),
            (half_space(16),) * 2,
        ),
        of_numbers("sign of a product", lambda u, v: _two(norm.cdf(u * v / 0.3)), (rotated(12),) * 2),
        discrete(
            "sum modulo 5",
            of_function((5, 5), lambda a, b: (a + b) % 5, 5),
            (clouds(12, 5),) * 2,
        ),
        of_numbers(
            "wide: 3 of 512 columns matter",
            lambda u, v: _two(_logistic(2.5 * u + 2.5 * v)),
            (sparse(512, 3), rotated(12)),
        ),
        given_class(
            "rare class, 4 %",
            np.array([0.96, 0.04]),
            (np.array([0.0, 2.5]), np.array([0.0, 1.8])),
            (rotated(10), rotated(10)),
        ),
        discrete("matching of eight kinds", _together(8, 0.05), (clouds(12, 8),) * 2),
        discrete("one-hot codes", _lookup(11, (7, 7), 4), (one_hot, one_hot)),
        of_number_in_classes("quartiles", (0.5, 0.8), 4, (rotated(12),) * 2),
        discrete("noisy copies of five classes", _copies(5, (0.1, 0.3)), (clouds(16, 5),) * 2),
        discrete(
            "three: a XOR b, or c",
            of_function((2, 2, 2), lambda a, b, c: (a ^ b) | c, 2, 0.05),
            (clouds(8, 2),) * 3,
        ),
    )


def tuning_kinds() -> list[Kind]:
    return [kind for kind in all_kinds() if kind.tuning]


def held_out_kinds() -> list[Kind]:
    return [kind for kind in all_kinds() if not kind.tuning]
