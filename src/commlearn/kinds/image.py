"""Images: paths, bytes, arrays or PIL images of any size and colour, read as RGB squares of one size."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from PIL import Image as PIL

from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.pictures import (
    Decoder,
    Fitting,
    Pictures,
    in_threads,
    is_deep,
    unreadable_image_problems,
)
from commlearn.kinds.pretrained import Pretrained
from commlearn.kinds.rows import check_whole, evenly_spaced, first_ten, is_empty, raise_errors

SIZES = (32, 64, 96, 128, 224)  # sizes to choose from, in pixels a side
FEWEST = {96: 2_000, 128: 10_000, 224: 50_000}  # training images needed for these sizes
SAMPLE = 256  # training images that determine the size and the depth
LARGEST = 4_096  # largest size that is read, in pixels a side
IMAGES_IN_MEMORY = 1 << 30  # most bytes of decoded images that are kept in memory
DEPTHS = (255, 1023, 4095, 16_383, 65_535)  # largest values of 8, 10, 12, 14 and 16 bits
ELONGATED = 3  # ratio of longer to shorter side from which cropping loses most of an image


@dataclass(frozen=True)
class Image(Kind):
    """One column of images.

    An image is scaled so that its shorter side fits, and the longer one is cropped evenly at both ends. No
    bars are added: an encoder would have to learn to ignore them, and they would reveal the proportions to a
    contrastive loss. With a few thousand images, an encoder trained from scratch gains little from large
    images and is many times slower: unless a size is stated, large sizes are chosen only for many images.
    Grey becomes RGB, transparency becomes white, EXIF rotation is applied, and grey of more than 8 bits is
    scaled by the depth found in training rows. A pretrained encoder's folder determines size and scaling.

    Example:
        >>> Image("path").columns()
        ('path',)
    """

    name: ClassVar[str] = "image"

    column: str  # column of paths relative to the table, bytes, arrays or PIL images
    size: int = 0  # pixels a side; 0 = near the median of the training images, smaller if these are few
    outside: bool = False  # paths may leave the table's folder
    encoder: Any = None  # a torch module, the folder of a pretrained encoder, or settings of `Pretrained`

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoder", Pretrained.of(self.encoder))
        check_whole("Image size", self.size, 0, "16 to 1024 pixels, or 0 to choose one")
        if self.size and isinstance(self.encoder, Pretrained):
            raise ConfigurationError(
                f"Image size is {self.size}, but a pretrained encoder sets its own. Leave size out."
            )
        if self.size and not 16 <= self.size <= 1024:
            raise ConfigurationError(
                f"Image size is {self.size}; give 16 to 1024 pixels, or 0 to choose one."
            )

    def names(self) -> Sequence[str]:
        return (self.column,)

    def learn(self, cells: Cells) -> dict[str, Any]:
        filled = [cell for cell in cells.frame[self.column].tolist() if not is_empty(cell)]
        decoder = Decoder(cells.root, self.outside)
        sample = [filled[row] for row in evenly_spaced(len(filled), SAMPLE)]
        measurements = [
            measurement
            for measurement in in_threads(lambda cell: _measure(decoder, cell), sample)
            if isinstance(measurement, tuple)
        ]
        if not measurements:
            raise DataError(f"{self.column}: none of the training rows has an image that can be read.")
        side = statistics.median(min(width, height) for width, height, _ in measurements)
        candidates = [size for size in SIZES if len(filled) >= FEWEST.get(size, 0)]
        nearest = min(candidates, key=lambda size: abs(math.log(size / side)))
        brightest = max(value for _, _, value in measurements)
        white = (
            next((depth for depth in DEPTHS if brightest <= depth), DEPTHS[-1]) if brightest else DEPTHS[-1]
        )
        learned = {"size": self.size or nearest, "white": white}
        return learned | self.encoder.for_images() if isinstance(self.encoder, Pretrained) else learned

    def read(self, cells: Cells, state: dict[str, Any]) -> Pictures:
        """Return the images as a column.

        If all fit in memory, they are decoded here and every bad one is reported. Otherwise only paths and
        headers are checked here; pixels are decoded, and errors in them reported, when a batch is taken.
        """
        fitting = Fitting(state["resize"], state["resample"]) if "resize" in state else None
        decoder = Decoder(cells.root, self.outside, state["white"], fitting)
        sources, index = _distinct(cells.frame[self.column].tolist())
        size = state["size"]
        if not 0 < size <= LARGEST:
            raise DataError(f"the learned image size is {size} pixels; it must be from 1 to {LARGEST}")
        rows = np.arange(len(cells)) + cells.first_row
        in_memory = len(sources) * 3 * size**2 <= IMAGES_IN_MEMORY
        results = in_threads(
            (lambda cell: decoder.pixels(cell, size)) if in_memory else (lambda cell: _header(decoder, cell)),
            sources,
        )
        raise_errors(self.column, unreadable_image_problems(results, index, self.column, rows))
        column = Pictures(decoder, size, sources, index, self.column, cells.first_row)
        if not in_memory:
            return column
        images = np.empty((max(len(sources), 1), 3, size, size), dtype=np.uint8)
        for position, pixels in enumerate(results):
            images[position] = pixels
        return replace(column, images=images)

    def check(self, cells: Cells) -> list[Problem]:
        sources, index = _distinct(cells.frame[self.column].tolist())
        if not sources:
            return [Problem("no row has an image; name another column or drop the modality", self.column)]
        decoder = Decoder(cells.root, self.outside)
        results = in_threads(lambda cell: (decoder.pixels(cell, 32), _measure(decoder, cell)), sources)
        rows = np.arange(len(cells)) + cells.first_row
        problems = first_ten(unreadable_image_problems(results, index, self.column, rows))
        decoded = [result for result in results if isinstance(result, tuple)]
        contents = Counter(pixels.tobytes() for pixels, _ in decoded)
        if len(contents) == 1 and len(decoded) == len(results) and (index >= 0).sum() > 1:
            problems.append(Problem("every row shows the same image", self.column, level="warning"))
        ratios = [max(w, h) / min(w, h) for _, (w, h, _) in decoded if max(w, h) >= ELONGATED * min(w, h)]
        if ratios:
            message = (
                f"{len(ratios)} images have a long side at least {ELONGATED} times the short one (up to "
                f"{max(ratios):.0f} times); only the middle square is read"
            )
            problems.append(Problem(message, self.column, level="warning"))
        return problems


def _distinct(cells: list[Any]) -> tuple[list[Any], np.ndarray]:
    """Return the distinct cells, and which one each row holds (-1 = none), so that a file is decoded once."""
    position_of: dict[Any, int] = {}
    sources: list[Any] = []
    index = np.full(len(cells), -1, dtype=np.int64)
    for row, cell in enumerate(cells):
        if is_empty(cell) or (isinstance(cell, dict) and not (cell.get("bytes") or cell.get("path"))):
            continue
        key = cell if isinstance(cell, str | bytes) else id(cell)
        index[row] = position_of.setdefault(key, len(sources))
        if index[row] == len(sources):
            sources.append(cell)
    return sources, index


def _measure(decoder: Decoder, cell: Any) -> tuple[int, int, int]:
    """Return width, height and, for an image of more than 8 bits, its largest value (otherwise 0)."""
    if isinstance(cell, np.ndarray | list):
        brightest = cell.max(initial=0) if isinstance(cell, np.ndarray) and cell.dtype == np.uint16 else 0
        with decoder.open(cell) as picture:
            return picture.width, picture.height, int(brightest)
    with decoder.open(cell) as picture:
        deep = is_deep(picture) and picture.mode != "F"
        return picture.width, picture.height, _largest(picture) if deep else 0


def _largest(picture: PIL.Image) -> int:
    try:
        return int(np.asarray(picture).max())
    except (OSError, SyntaxError, ValueError):  # cut off: reported when its pixels are needed
        return 0


def _header(decoder: Decoder, cell: Any) -> None:
    decoder.open(cell).close()
