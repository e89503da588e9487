"""Distributions whose decomposition is known: textbook examples, to check an estimator against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from commlearn.information.calibrate import Twin

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KnownPair:
    """Two modalities: p[x1, x2, y] and its parts in bits."""

    name: str
    table: Array
    redundant: float
    unique1: float
    unique2: float
    synergistic: float
    total: float


@dataclass(frozen=True)
class KnownTriple:
    """Three modalities: p[x1, x2, x3, y], its order spectrum, unique and non-exclusive parts in bits."""

    name: str
    table: Array
    spectrum: tuple[float, float, float]
    unique: tuple[float, float, float]
    non_exclusive: float


def deterministic(target: Callable[..., int], *sizes: int) -> Array:
    """Return p[x_1, ..., x_n, y] for independent uniform x_i and y = target(x_1, ..., x_n)."""
    cells = list(np.ndindex(*sizes))
    return _uniform([(*cell, target(*cell)) for cell in cells])


def _uniform(records: Iterable[tuple[int, ...]]) -> Array:
    """Return a table with equal mass on each record (x_1, ..., x_n, y)."""
    records = np.array(list(records))
    table = np.zeros(records.max(axis=0) + 1)
    np.add.at(table, tuple(records.T), 1.0 / len(records))
    return table


def _flipped(table: Array, rate: float) -> Array:
    """Return the table with its binary target flipped at the given rate."""
    return (1 - rate) * table + rate * table[..., ::-1]


def _noisy_copies(first: Array, second: Array) -> Array:
    """Return p[x1, x2, y] of x1 and x2 independent given a fair bit y; channels p(x | y) have a row per y."""
    return np.einsum("ya,yb->aby", first, second) / 2


def _symmetric(rate: float) -> Array:
    return np.array([[1 - rate, rate], [rate, 1 - rate]])


def _erasing(rate: float) -> Array:
    return np.array([[1 - rate, 0.0, rate], [0.0, 1 - rate, rate]])


def _copied(size: int) -> Array:
    return _uniform((i, i, i) for i in range(size))


def _correlated_and(agree: float) -> Array:
    table = np.zeros((2, 2, 2))
    for a, b in np.ndindex(2, 2):
        table[a, b, a & b] = agree / 2 if a == b else (1 - agree) / 2
    return table


def _redundant_with_xor() -> Array:
    """Return a table in which both modalities see a shared bit, and each sees one half of a parity."""
    return _uniform((2 * r + a, 2 * r + b, 2 * r + (a ^ b)) for r, a, b in np.ndindex(2, 2, 2))


def _every_kind() -> Array:
    """Return a table with one redundant bit, one unique to each modality, and one synergistic."""
    return _uniform(
        (4 * r + 2 * u + a, 4 * r + 2 * v + b, 8 * r + 4 * u + 2 * v + (a ^ b))
        for r, u, v, a, b in np.ndindex(2, 2, 2, 2, 2)
    )


def known_pairs() -> list[KnownPair]:
    """Return cases of two modalities: noiseless and noisy gates, channels, digits and Trifeature tasks."""
    return [*_gates(), *_noisy_gates(), *_digits(), *_trifeature()]


def _gates() -> list[KnownPair]:
    pointwise = _uniform([(0, 1, 0), (1, 0, 0), (0, 2, 1), (2, 0, 1)])
    log3 = float(np.log2(3))
    alone = 1.5 - 0.75 * log3  # bits that one input of AND has about y
    return [
        KnownPair("y = x1 = x2", _copied(2), 1.0, 0.0, 0.0, 0.0, 1.0),
        KnownPair("y = x1", deterministic(lambda a, b: a, 2, 2), 0.0, 1.0, 0.0, 0.0, 1.0),
        KnownPair("y = x1 XOR x2", deterministic(lambda a, b: a ^ b, 2, 2), 0.0, 0.0, 0.0, 1.0, 1.0),
        KnownPair(
            "y = x1 AND x2", deterministic(lambda a, b: a & b, 2, 2), alone, 0.0, 0.0, 0.5, alone + 0.5
        ),
        KnownPair("y = x1 + x2", deterministic(lambda a, b: a + b, 2, 2), 0.5, 0.0, 0.0, 1.0, 1.5),
        KnownPair("y = (x1, x2)", deterministic(lambda a, b: 2 * a + b, 2, 2), 0.0, 1.0, 1.0, 0.0, 2.0),
        KnownPair("RDN x XOR", _redundant_with_xor(), 1.0, 0.0, 0.0, 1.0, 2.0),
        KnownPair("RDN x UNQ1 x UNQ2 x XOR", _every_kind(), 1.0, 1.0, 1.0, 1.0, 4.0),
        KnownPair("pointwise unique", pointwise, 0.5, 0.0, 0.0, 0.5, 1.0),
    ]


def _noisy_gates() -> list[KnownPair]:
    gate_and = deterministic(lambda a, b: a & b, 2, 2)
    small, large = _symmetric(0.1), _symmetric(0.25)
    return [
        KnownPair("y = x1 = x2, flipped 10 %", _flipped(_copied(2), 0.1), 0.5310, 0.0, 0.0, 0.0, 0.5310),
        KnownPair("AND, flipped 10 %", _flipped(gate_and, 0.1), 0.1468, 0.0, 0.0, 0.2655, 0.4123),
        KnownPair("BSC(.1), BSC(.1)", _noisy_copies(small, small), 0.5310, 0.0, 0.0, 0.2111, 0.7421),
        KnownPair("BSC(.1), BSC(.25)", _noisy_copies(small, large), 0.1887, 0.3423, 0.0, 0.0700, 0.6010),
        KnownPair("BEC(.2), BEC(.5)", _noisy_copies(_erasing(0.2), _erasing(0.5)), 0.5, 0.3, 0.0, 0.1, 0.9),
        KnownPair("AND, P(x1 = x2) = .9", _correlated_and(0.9), 0.7583, 0.0, 0.0, 0.2345, 0.9928),
    ]


def _digits() -> list[KnownPair]:
    ten = float(np.log2(10))
    return [
        KnownPair(
            "digits (a + b) mod 10", deterministic(lambda a, b: (a + b) % 10, 10, 10), 0.0, 0.0, 0.0, ten, ten
        ),
        KnownPair(
            "digits a > b", deterministic(lambda a, b: int(a > b), 10, 10), 0.2841, 0.0, 0.0, 0.7086, 0.9928
        ),
        KnownPair("digits max(a, b)", deterministic(max, 10, 10), 1.1996, 0.0, 0.0, 1.8492, 3.0488),
        KnownPair("digits a + b", deterministic(lambda a, b: a + b, 10, 10), 0.7086, 0.0, 0.0, ten, 4.0306),
    ]


def _trifeature() -> list[KnownPair]:
    """Return cases: shared shape, texture of the first, and whether texture and colour match (ten pairs)."""
    ten, rare = float(np.log2(10)), 0.4690
    first = deterministic(lambda a, b: a, 10, 10)
    match = deterministic(lambda a, b: int(b == (3 * a + 2) % 10), 10, 10)
    return [
        KnownPair("Trifeature shared", _copied(10), ten, 0.0, 0.0, 0.0, ten),
        KnownPair("Trifeature unique1", first, 0.0, ten, 0.0, 0.0, ten),
        KnownPair("Trifeature synergy", match, 0.0, 0.0, 0.0, rare, rare),
    ]


def known_triples() -> list[KnownTriple]:
    """Return cases of three modalities."""
    none = (0.0, 0.0, 0.0)
    bits = (2, 2, 2)
    copied = _uniform((i, i, i, i) for i in range(2))
    linked = _uniform((a, b, a, a ^ b) for a, b in np.ndindex(2, 2))
    parity = deterministic(lambda a, b, c: a ^ b ^ c, *bits)
    idle = deterministic(lambda a, b, c: a ^ b, *bits)
    every = deterministic(lambda a, b, c: a & b & c, *bits)
    summed = deterministic(lambda a, b, c: a + b + c, *bits)
    majority = deterministic(lambda a, b, c: int(a + b + c > 1), *bits)
    mixed = deterministic(lambda a, b, c: 2 * a + (b ^ c), *bits)
    copies = deterministic(lambda a, b, c: 4 * a + 2 * b + c, *bits)
    return [
        KnownTriple("RDN3", copied, (1.0, 0.0, 0.0), none, 1.0),
        KnownTriple("parity of three", parity, (0.0, 0.0, 1.0), none, 0.0),
        KnownTriple("XOR, idle third", idle, (0.0, 1.0, 0.0), none, 0.0),
        KnownTriple("AND3", every, (0.1379, 0.1556, 0.25), none, 0.1379),
        KnownTriple("SUM3", summed, (0.3113, 0.5, 1.0), none, 0.3113),
        KnownTriple("MAJ3", majority, (0.1887, 0.3113, 0.5), none, 0.1887),
        KnownTriple("y = (x1, x2 XOR x3)", mixed, (1.0, 1.0, 0.0), (1.0, 0.0, 0.0), 0.0),
        KnownTriple("COPY3", copies, (3.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0),
        KnownTriple("XOR, x3 = x1", linked, (0.0, 1.0, 0.0), none, 0.0),
    ]


def gate(
    name: str, target: object, separations: Sequence[float], flip: float = 0.0, dimensions: int = 32
) -> Twin:
    """Return a twin of uniform bits and a two-class function of them, wrong with probability `flip`."""
    latents = np.zeros((2,) * (len(separations) + 1))
    for bits in product((0, 1), repeat=len(separations)):
        label = int(target(*bits))  # type: ignore[operator]
        latents[(*bits, label)] += 1 - flip
        latents[(*bits, 1 - label)] += flip
    return Twin(name, latents / latents.sum(), tuple(separations), dimensions)


def known_twins() -> list[Twin]:
    """Return the six twins of two modalities on which all estimators are compared."""
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
