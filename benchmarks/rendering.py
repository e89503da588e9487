"""Compare the speed of the Trifeature renderer with one that loops over all pixels in Python.

Run `python benchmarks/rendering.py`. Both use the same definitions and the same random numbers, so their
pictures are equal except for rounding; the last column gives the difference.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from machine import Machine, Row, measure, seconds, table

from commlearn.datasets.trifeature_render import (
    BACKGROUND,
    BOX,
    COLOURS,
    PARTS,
    PATTERNS,
    PERIOD,
    SHAPES,
    TEXTURES,
    draw_poses,
    oversampling,
    render,
)


def _turned(x: float, y: float, angle: float) -> tuple[float, float]:
    """Return the point in axes that are rotated clockwise by the angle."""
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _share(distance: float) -> float:
    return min(max(0.5 - distance, 0.0), 1.0)


def _shape_share(shape: str, x: float, y: float, half_box: float) -> float:
    """Return the share of the pixel that the shape covers."""
    parts = PARTS[shape]
    distance = min(max(a * x + b * y - c * half_box for a, b, c in part.tolist()) for part in parts)
    return _share(distance)


def _texture_share(texture: str, x: float, y: float, pose: tuple[float, ...], size: int) -> float:
    """Return the share of the pixel that the texture paints, as the mean over points spread in the pixel."""
    _, _, _, angle, phase_u, phase_v = pose
    factor, period = oversampling(size), PERIOD * size
    total = 0.0
    for column in range(factor):
        for row in range(factor):
            u, v = _turned(x + (column + 0.5) / factor - 0.5, y + (row + 0.5) / factor - 0.5, angle)
            point = np.float32(u / period + phase_u), np.float32(v / period + phase_v)
            total += _share(float(PATTERNS[texture](*point)) * period * factor)
    return total / factor**2


def render_by_pixel(
    shapes: np.ndarray, textures: np.ndarray, colours: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Render the pictures of `render`, one pixel at a time."""
    poses = list(zip(*(values.tolist() for values in draw_poses(len(shapes), size, rng)), strict=True))
    images = np.full((len(shapes), size, size, 3), BACKGROUND, dtype=np.uint8)
    for image, shape, texture, colour, pose in zip(images, shapes, textures, colours, poses, strict=True):
        ink = [round(255 * channel) for channel in list(COLOURS.values())[colour]]
        for row in range(size):
            for column in range(size):
                x, y = column + 0.5 - pose[0], row + 0.5 - pose[1]
                share = _shape_share(SHAPES[shape], *_turned(x, y, pose[2]), BOX * size / 2)
                if share > 0:
                    share *= _texture_share(TEXTURES[texture], x, y, pose, size)
                    image[row, column] = [int(BACKGROUND + share * (c - BACKGROUND) + 0.5) for c in ink]
    return images


def tables(machine: Machine, images: int = 1300, loop_images: int = 4) -> list[str]:
    rows = []
    for size in (64, 224):
        kinds = np.random.default_rng(0).integers(0, 10, (3, images))
        made: list[np.ndarray] = []

        def draw(kinds=kinds, size=size, made=made) -> None:
            made.append(render(*kinds, size, np.random.default_rng(1)))

        spent = seconds(draw, rounds=1, warm=False)
        few, looped = kinds[:, :loop_images], []

        def loop(few=few, size=size, looped=looped) -> None:
            with np.errstate(over="ignore"):  # the noise's hash wraps around, which only arrays do silently
                looped.append(render_by_pixel(*few, size, np.random.default_rng(1)))

        slow = seconds(loop, rounds=1, warm=False) / loop_images
        same = render(*few, size, np.random.default_rng(1))
        difference = np.abs(same.astype(int) - looped[0]).mean()
        note = (
            f"{images / spent:.0f} images/s; a loop over pixels {1 / slow:.2f} images/s: "
            f"{slow * images / spent:.0f} times as long; mean difference {difference:.4f} grey levels"
        )
        rows.append(Row(f"{images} images of {size} px", spent, bytes=made[0].nbytes, note=note))
    return [table("Rendering", rows, machine)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=1300, help="images for the vectorised renderer")
    parser.add_argument("--loop-images", type=int, default=4, help="images for the loop over pixels")
    options = parser.parse_args()
    print("\n".join(tables(measure(), options.images, options.loop_images)))


if __name__ == "__main__":
    main()
