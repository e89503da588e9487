"""Trifeature pictures: one object with a shape, a texture and a colour, drawn with numpy.

A shape is a union of convex polygons in a box of [-1, 1] x [-1, 1], x to the right and y down. A texture is
a function of the plane, in units of one texture period, whose values are signed distances to the paint.

Shapes and textures are both computed as signed distances, negative inside the object (or its paint); half a
pixel on each side of zero becomes a soft edge. The texture is read only at the pixels inside the shape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from commlearn.errors import DataError

Floats = np.ndarray  # float32, of any shape


# --- shapes: each spans its box of [-1, 1] x [-1, 1]; points are complex numbers x + i y -----------------


def _polygon(corners: ArrayLike) -> np.ndarray:
    """Return a row (a, b, c) per edge of a convex polygon, clockwise: inside, every a x + b y < c."""
    start = np.asarray(corners, dtype=np.complex128)
    edge = np.roll(start, -1) - start
    outward = edge / np.abs(edge) * -1j
    return np.stack([outward.real, outward.imag, (outward * start.conj()).real], axis=1)  # (edges, 3)


def _rectangle(half_width: float, half_height: float, centre: complex = 0) -> np.ndarray:
    x, y = half_width, 1j * half_height
    return _polygon([centre - x - y, centre + x - y, centre + x + y, centre - x + y])


def _turns(count: int) -> np.ndarray:
    return np.exp(2j * np.pi * np.arange(count) / count)


# One arm of a star: its sides extend past the notches and the centre, so that five arms leave no seam.
_ARM = np.array([-1.05j, 0.45 + 0.1j, -0.45 + 0.1j])
_DIE = (0, -0.7 - 0.7j, 0.7 - 0.7j, 0.7 + 0.7j, -0.7 + 0.7j)

PARTS: dict[str, tuple[np.ndarray, ...]] = {  # convex polygons; a shape is their union
    "triangle": (_polygon([-0.88j, 1 + 0.85j, -1 + 0.85j]),),
    "square": (_rectangle(0.87, 0.87),),  # a full box would lose more of its rotated corners
    "plus": (_rectangle(1, 0.33), _rectangle(0.33, 1)),
    "circle": (_polygon(0.97 * _turns(36)),),  # within 0.2 pixels of a circle, at 224 pixels
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
    """Return the distance to the nearest whole number."""
    return np.abs(u - np.rint(u))


def _from_hexagon_centre(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Return the offset (absolute, per axis) from the nearest point of the hexagonal lattice of pitch 1."""
    row = np.float32(np.sqrt(3.0))
    x, y = _to_nearest(u), row * _to_nearest(v / row)
    # The lattice consists of two rectangular ones; each point belongs to the nearer centre of the two.
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
    """Flip a fair coin for every cell of the plane, always the same: a hash of its integer coordinates."""
    column, row = (np.floor(coordinate / cell).astype(np.int32).view(np.uint32) for coordinate in (u, v))
    bits = column * np.uint32(0x9E3779B1) ^ row * np.uint32(0x85EBCA77)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        bits = (bits ^ bits >> np.uint32(shift)) * np.uint32(factor)
    return np.where(bits >> np.uint32(31), np.float32(-1.0), np.float32(1.0))


def _triangles(u: Floats, v: Floats, pitch: float = 2.0) -> Floats:
    height = pitch * np.float32(np.sqrt(0.75))
    t = v / height
    s = u / pitch - 0.5 * t
    s, t = s - np.floor(s), t - np.floor(t)  # position in a rhombus of two triangles, one of them painted
    inside = np.minimum(np.minimum(s, t), 1.0 - s - t)
    outside = np.minimum(np.minimum(1.0 - s, 1.0 - t), s + t - 1.0)
    return height * np.where(s + t < 1.0, -inside, outside)


def _zigzags(u: Floats, v: Floats, wave: float = 3.0) -> Floats:
    slanted = (v + wave * _to_nearest(u / wave)) * np.float32(np.sqrt(0.5))  # 45 degrees, up and down
    return _to_nearest(slanted) - 0.25


def _rain(u: Floats, v: Floats, pitch: float = 1.1, length: float = 3.2) -> Floats:
    column = np.rint(u / pitch)
    # Golden-ratio steps keep neighbouring columns apart and never fall into rows.
    along = _to_nearest(v / length + column * np.float32(0.618034))
    return np.maximum(np.abs(u - pitch * column) - 0.22 * pitch, length * (along - 0.33))


def _pluses(u: Floats, v: Floats, pitch: float = 2.6) -> Floats:
    x, y = _to_nearest(u / pitch), _to_nearest(v / pitch)
    shifted = x + y > 0.5  # placed like the black squares of a chessboard
    x, y = np.where(shifted, 0.5 - x, x), np.where(shifted, 0.5 - y, y)
    return pitch * np.maximum(np.minimum(x, y) - 0.08, np.maximum(x, y) - 0.26)


PATTERNS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "solid": lambda u, v: np.full_like(u, -1.0),
    "stripes": lambda u, v: _to_nearest(u) - 0.25,
    "grid": lambda u, v: 1.4 * (np.minimum(_to_nearest(u / 1.4), _to_nearest(v / 1.4)) - 0.1),
    "hexgrid": _hexgrid, "dots": _dots, "noise": _noise,
    "triangles": _triangles, "zigzags": _zigzags, "rain": _rain, "pluses": _pluses,
}  # fmt: skip
TEXTURES: tuple[str, ...] = tuple(PATTERNS)


BACKGROUND = 128  # grey 0.5
BOX = 128 / 224  # side of the object's box, as a fraction of the image's side
PERIOD = 10 / 224  # texture period, same fraction; marks are 0.7 to 2.6 periods apart, distinct at 64 pixels
MAX_ANGLE = np.pi / 4  # largest rotation of the object, and of its texture
SMALLEST = 24  # pixels; below it a texture has less than one pixel per period
WINDOW_PIXELS = 2**17  # pixels processed at once: 0.5 MB per temporary array, which stays in a core's cache

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0), "yellow": (1.0, 1.0, 0.0),
    "pink": (1.0, 0.4, 1.0), "cyan": (0.0, 1.0, 1.0), "purple": (0.3, 0.0, 0.5), "ocean": (0.1, 0.4, 0.5),
    "orange": (1.0, 0.6, 0.0), "white": (1.0, 1.0, 1.0),
}  # fmt: skip


class Poses(NamedTuple):
    """Positions and rotations of the objects: arrays of one value per sample."""

    x: np.ndarray  # position of the box's centre, in pixels
    y: np.ndarray
    angle: np.ndarray  # rotation of the object, in radians, clockwise
    texture_angle: np.ndarray
    phase_u: np.ndarray  # phase of the texture at the box's centre, in periods
    phase_v: np.ndarray


def draw_poses(count: int, size: int, rng: np.random.Generator) -> Poses:
    """Draw every sample's position, rotations and phase; a sample's draw depends only on its place."""
    unit = rng.random((count, 6)).T
    centre = size * (BOX / 2 + (1 - BOX) * unit[:2])
    # The noise is one fixed function of the plane: with phases this wide, every sample shows another part.
    return Poses(*centre, *(MAX_ANGLE * (2 * unit[2:4] - 1)), *(4096 * unit[4:6]))


def oversampling(size: int) -> int:
    """Return the points per axis and pixel at which a texture is read: at least 2, and 8 per period."""
    return max(2, int(np.ceil(8 / (PERIOD * size))))


def _window(size: int) -> int:
    """Return the side, in pixels, of a square that holds any shape at any rotation."""
    return 2 * int(np.ceil(REACH * BOX * size / 2)) + 2


def _shape_distance(shape: str, poses: Poses, x_offset: Floats, y_offset: Floats, size: int) -> Floats:
    """Return the signed distance to the shape, in pixels, over a window around each object."""
    cos, sin = np.cos(poses.angle)[:, None], np.sin(poses.angle)[:, None]

    def edge_distance(a: float, b: float, c: float) -> Floats:
        """Return the distance beyond one edge of the rotated shape."""
        along_row = ((a * cos - b * sin) * x_offset).astype(np.float32)  # (n, window)
        along_column = ((a * sin + b * cos) * y_offset - c * BOX * size / 2).astype(np.float32)  # (n, window)
        return along_row[:, None, :] + along_column[:, :, None]  # (n, window, window)

    return reduce(
        np.minimum, (reduce(np.maximum, (edge_distance(*edge) for edge in part)) for part in PARTS[shape])
    )


def _coverage(distance: Floats) -> Floats:
    """Return the painted share of a pixel whose centre is this far (in pixels) outside an edge."""
    return np.clip(0.5 - distance, 0.0, 1.0)


def _paint(
    texture: str, poses: Poses, sample: np.ndarray, x_offset: Floats, y_offset: Floats, size: int
) -> Floats:
    """Return the painted share of the pixels at these offsets from the centres of their samples' boxes."""
    period, factor = PERIOD * size, oversampling(size)
    cos = (np.cos(poses.texture_angle) / period).astype(np.float32)[sample]
    sin = (np.sin(poses.texture_angle) / period).astype(np.float32)[sample]
    u = cos * x_offset + sin * y_offset + poses.phase_u.astype(np.float32)[sample]
    v = cos * y_offset - sin * x_offset + poses.phase_v.astype(np.float32)[sample]
    pattern, total = PATTERNS[texture], np.zeros_like(u)
    steps = ((np.arange(factor) + 0.5) / factor - 0.5).astype(np.float32)
    for dx in steps:
        for dy in steps:
            distance = pattern(u + (cos * dx + sin * dy), v + (cos * dy - sin * dx))
            total += _coverage(distance * np.float32(period * factor))
    return total / factor**2


def _draw(
    images: np.ndarray, samples: np.ndarray, shape: str, texture: str, poses: Poses, inks: Floats
) -> None:
    """Draw these samples, all of one shape and texture, into the images."""
    size = images.shape[1]
    poses = Poses(*(values[samples] for values in poses))
    steps = np.arange(_window(size)) - _window(size) // 2
    columns = np.floor(poses.x).astype(np.int64)[:, None] + steps  # (n, window)
    rows = np.floor(poses.y).astype(np.int64)[:, None] + steps
    x_offset = (columns + 0.5 - poses.x[:, None]).astype(np.float32)
    y_offset = (rows + 0.5 - poses.y[:, None]).astype(np.float32)

    cover = _coverage(_shape_distance(shape, poses, x_offset, y_offset, size))  # (n, window, window)
    sample, i, j = np.nonzero(cover)
    y, x = rows[sample, i], columns[sample, j]
    inside = (y >= 0) & (y < size) & (x >= 0) & (x < size)  # a rotated corner may stick out of the image
    sample, i, j, y, x = (index[inside] for index in (sample, i, j, y, x))

    share = cover[sample, i, j] * _paint(
        texture, poses, sample, x_offset[sample, j], y_offset[sample, i], size
    )
    mixed = BACKGROUND + share[:, None] * (inks[samples][sample] - BACKGROUND)  # (pixels, 3)
    images[samples[sample], y, x] = (mixed + 0.5).astype(np.uint8)


def _indices(argument: str, values: ArrayLike, names: tuple[str, ...], problems: list[str]) -> np.ndarray:
    """Return the values as whole numbers; what is wrong with them is added to the problems."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        problems.append(
            f"{argument} must be a list of whole numbers, got {array.dtype} of shape {array.shape}"
        )
        return array
    valid = f"0 ({names[0]}) to {len(names) - 1} ({names[-1]})"
    for index in np.flatnonzero((array < 0) | (array >= len(names)))[:1]:
        problems.append(f"{argument}[{index}] is {array[index]}; use {valid}")
    return array.astype(np.int64)


def render(
    shapes: ArrayLike, textures: ArrayLike, colours: ArrayLike, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw one object per sample on grey, each with its own position, rotation and texture rotation.

    Args:
        shapes: Index into `SHAPES` for every sample, of shape (n,).
        textures: Index into `TEXTURES` for every sample, of shape (n,).
        colours: Index into the names of `COLOURS` for every sample, of shape (n,).
        size: Side of the square images in pixels.
        rng: Source of the positions and rotations.

    Returns:
        uint8 images of shape (n, size, size, 3), red-green-blue.

    Raises:
        DataError: If an index is out of range, the lengths differ, or the size is too small.

    Example:
        >>> star, dots, red = SHAPES.index("star"), TEXTURES.index("dots"), list(COLOURS).index("red")
        >>> render([star], [dots], [red], size=64, rng=np.random.default_rng(0)).shape
        (1, 64, 64, 3)
    """
    problems: list[str] = []
    shapes = _indices("shapes", shapes, SHAPES, problems)
    textures = _indices("textures", textures, TEXTURES, problems)
    colours = _indices("colours", colours, tuple(COLOURS), problems)
    if not shapes.size == textures.size == colours.size:
        problems.append(f"got {shapes.size} shapes, {textures.size} textures and {colours.size} colours")
    if size < SMALLEST:
        problems.append(f"size is {size} pixels; use {SMALLEST} or more")
    if problems:
        raise DataError("; ".join(problems))

    poses = draw_poses(len(shapes), size, rng)
    inks = np.rint(255 * np.array(list(COLOURS.values()))).astype(np.float32)[colours]  # (n, 3)
    images = np.full((len(shapes), size, size, 3), BACKGROUND, dtype=np.uint8)
    chunk = max(1, WINDOW_PIXELS // _window(size) ** 2)
    for shape, texture in np.ndindex(len(SHAPES), len(TEXTURES)):
        samples = np.flatnonzero((shapes == shape) & (textures == texture))
        for start in range(0, len(samples), chunk):
            _draw(images, samples[start : start + chunk], SHAPES[shape], TEXTURES[texture], poses, inks)
    return images


def gallery(size: int = 64, seed: int = 0) -> np.ndarray:
    """Return one picture of every shape (rows) with every texture (columns), cycling through the colours."""
    shapes, textures = np.divmod(np.arange(len(SHAPES) * len(TEXTURES)), len(TEXTURES))
    images = render(shapes, textures, (shapes + textures) % len(COLOURS), size, np.random.default_rng(seed))
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=64)  # a dark line between cells
    cells = framed.reshape(len(SHAPES), len(TEXTURES), *framed.shape[1:])
    return np.concatenate([np.concatenate(row, axis=1) for row in cells])
