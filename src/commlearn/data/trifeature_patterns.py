"""Shapes and textures of Trifeature.

A shape is a union of convex polygons in a box of [-1, 1] x [-1, 1], x to the right and y down. A texture is
a function of the plane, in units of one texture period, whose values are signed distances to the paint.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["PARTS", "PATTERNS", "REACH", "SHAPES", "TEXTURES", "Floats"]

Floats = np.ndarray  # float32, of any shape


# --- shapes: each spans its box of [-1, 1] x [-1, 1]; points are complex numbers x + i y -----------------


def _polygon(corners: ArrayLike) -> np.ndarray:
    """Rows (a, b, c) for the corners of a convex polygon, clockwise: inside, every a x + b y < c."""
    start = np.asarray(corners, dtype=np.complex128)
    along = np.roll(start, -1) - start
    outward = along / np.abs(along) * -1j
    return np.stack([outward.real, outward.imag, (outward * start.conj()).real], axis=1)  # (edges, 3)


def _rectangle(half_width: float, half_height: float, centre: complex = 0) -> np.ndarray:
    x, y = half_width, 1j * half_height
    return _polygon([centre - x - y, centre + x - y, centre + x + y, centre - x + y])


def _turns(count: int) -> np.ndarray:
    return np.exp(2j * np.pi * np.arange(count) / count)


# One arm of a star: its sides run on past the notches and the centre, so that five arms leave no seam.
_ARM = np.array([-1.05j, 0.45 + 0.1j, -0.45 + 0.1j])
_DIE = (0, -0.7 - 0.7j, 0.7 - 0.7j, 0.7 + 0.7j, -0.7 + 0.7j)

PARTS: dict[str, tuple[np.ndarray, ...]] = {  # convex polygons; a shape is their union
    "triangle": (_polygon([-0.88j, 1 + 0.85j, -1 + 0.85j]),),
    "square": (_rectangle(0.87, 0.87),),  # a full box would lose more of its turned corners
    "plus": (_rectangle(1, 0.33), _rectangle(0.33, 1)),
    "circle": (_polygon(0.97 * _turns(36)),),  # 0.2 pixels from round, at 224 pixels
    "tee": (_rectangle(1, 0.31, -0.69j), _rectangle(0.31, 1)),
    "rhombus": (_polygon([-1j, 0.64, 1j, -0.64]),),
    "pentagon": (_polygon(-1.05j * _turns(5)),),
    "star": tuple(_polygon(turn * _ARM) for turn in _turns(5)),
    "fivesquare": tuple(_rectangle(0.3, 0.3, centre) for centre in _DIE),
    "trapezoid": (_polygon([-0.45 - 0.6j, 0.45 - 0.6j, 1 + 0.6j, -1 + 0.6j]),),
}
SHAPES: tuple[str, ...] = tuple(PARTS)
REACH = 1.42  # no shape has a point further from the centre of its box


# --- textures: signed distance to the paint, in periods -----------------------------------------------------


def _to_nearest(u: Floats) -> Floats:
    """Distance to the nearest whole number."""
    return np.abs(u - np.rint(u))


def _from_hexagon_centre(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Offset (absolute, per axis) from the nearest point of the hexagonal lattice of pitch 1."""
    row = np.float32(np.sqrt(3.0))
    x, y = _to_nearest(u), row * _to_nearest(v / row)
    # The lattice is two rectangular ones; each point belongs to the nearer centre of the two.
    other_x, other_y = 0.5 - x, 0.5 * row - y
    nearer = x * x + y * y < other_x * other_x + other_y * other_y
    return np.where(nearer, x, other_x), np.where(nearer, y, other_y)


def _hexgrid(u: Floats, v: Floats, pitch: float = 2.0) -> Floats:
    x, y = _from_hexagon_centre(u / pitch, v / pitch)
    to_wall = 0.5 - np.maximum(x, 0.5 * x + np.float32(np.sqrt(0.75)) * y)
    return pitch * (to_wall - 0.09)


def _dots(u: Floats, v: Floats, pitch: float = 1.5) -> Floats:
    x, y = _from_hexagon_centre(u / pitch, v / pitch)
    return pitch * (np.sqrt(x * x + y * y) - 0.42)


def _noise(u: Floats, v: Floats, cell: float = 0.7) -> Floats:
    """A fair coin for every cell of the plane, always the same: a hash of the cell's whole coordinates."""
    column, row = (np.floor(along / cell).astype(np.int32).view(np.uint32) for along in (u, v))
    bits = column * np.uint32(0x9E3779B1) ^ row * np.uint32(0x85EBCA77)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        bits = (bits ^ bits >> np.uint32(shift)) * np.uint32(factor)
    return np.where(bits >> np.uint32(31), np.float32(-1.0), np.float32(1.0))


def _triangles(u: Floats, v: Floats, pitch: float = 2.0) -> Floats:
    height = pitch * np.float32(np.sqrt(0.75))
    t = v / height
    s = u / pitch - 0.5 * t
    s, t = s - np.floor(s), t - np.floor(t)  # position in a rhombus of two triangles: painted, and not
    inside = np.minimum(np.minimum(s, t), 1.0 - s - t)
    outside = np.minimum(np.minimum(1.0 - s, 1.0 - t), s + t - 1.0)
    return height * np.where(s + t < 1.0, -inside, outside)


def _zigzags(u: Floats, v: Floats, wave: float = 3.0) -> Floats:
    slanted = (v + wave * _to_nearest(u / wave)) * np.float32(np.sqrt(0.5))  # lines at 45 degrees, up, down
    return _to_nearest(slanted) - 0.25


def _rain(u: Floats, v: Floats, pitch: float = 1.1, length: float = 3.2) -> Floats:
    column = np.rint(u / pitch)
    # Golden-ratio steps keep neighbouring columns apart and never fall into rows.
    along = _to_nearest(v / length + column * np.float32(0.618034))
    return np.maximum(np.abs(u - pitch * column) - 0.22 * pitch, length * (along - 0.33))


def _pluses(u: Floats, v: Floats, pitch: float = 2.6) -> Floats:
    x, y = _to_nearest(u / pitch), _to_nearest(v / pitch)
    other = x + y > 0.5  # the signs stand like the black fields of a chessboard
    x, y = np.where(other, 0.5 - x, x), np.where(other, 0.5 - y, y)
    return pitch * np.maximum(np.minimum(x, y) - 0.08, np.maximum(x, y) - 0.26)


PATTERNS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "solid": lambda u, v: np.full_like(u, -1.0),
    "stripes": lambda u, v: _to_nearest(u) - 0.25,
    "grid": lambda u, v: 1.4 * (np.minimum(_to_nearest(u / 1.4), _to_nearest(v / 1.4)) - 0.1),
    "hexgrid": _hexgrid, "dots": _dots, "noise": _noise,
    "triangles": _triangles, "zigzags": _zigzags, "rain": _rain, "pluses": _pluses,
}  # fmt: skip
TEXTURES: tuple[str, ...] = tuple(PATTERNS)
