"""Images: paths, bytes, arrays or PIL images of any size and colour, read as RGB squares of one size."""

from __future__ import annotations

import io
import math
import os
import statistics
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image as PIL
from PIL import ImageOps, UnidentifiedImageError

from commlearn.batch import Modality, Spec
from commlearn.errors import DAMAGED, ConfigurationError, DataError
from commlearn.kinds import arrays
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.pretrained import Pretrained
from commlearn.kinds.rows import (
    Result,
    column_name,
    evenly_spaced,
    first_ten,
    is_empty,
    is_empty_file,
    raise_errors,
    store_whole,
)

SIZES = (32, 64, 96, 128, 224)  # sizes to choose from, in pixels a side
FEWEST = {96: 2_000, 128: 10_000, 224: 50_000}  # training images needed for these sizes
SAMPLE = 256  # training images that determine the size and the depth
LARGEST_SIZE = 4_096  # largest size that is read, in pixels a side
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
        object.__setattr__(self, "column", column_name(self.column))
        object.__setattr__(self, "encoder", Pretrained.of(self.encoder))
        store_whole(self, "size", "Image size", 0, "16 to 1024 pixels, or 0 to choose one")
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
        column = cells.frame[self.column].tolist()
        filled = [cell for cell in column if not (is_empty(cell) or is_empty_file(cell))]
        decoder = Decoder(cells.root, self.outside)
        sample = [filled[row] for row in evenly_spaced(len(filled), SAMPLE)]
        results = in_threads(lambda cell: _measure(decoder, cell), sample)
        measurements = [result for result in results if isinstance(result, tuple)]
        if not measurements:
            first = f" The first: {results[0]}" if results else ""
            raise DataError(f"{self.column}: none of the training rows has an image that can be read.{first}")
        side = statistics.median(min(width, height) for width, height, _ in measurements)
        candidates = [size for size in SIZES if len(filled) >= FEWEST.get(size, 0)]
        nearest = min(candidates, key=lambda size: abs(math.log(size / side)))
        brightest = max(value for _, _, value in measurements)
        white = next((depth for depth in DEPTHS if brightest and brightest <= depth), DEPTHS[-1])
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
        if not 0 < size <= LARGEST_SIZE:
            raise DataError(f"the learned image size is {size} pixels; it must be from 1 to {LARGEST_SIZE}")
        pictures = Pictures(decoder, size, sources, index, self.column, cells.first_row)
        if len(sources) * 3 * size**2 > IMAGES_IN_MEMORY:
            pictures.for_each(lambda cell: decoder.open(cell).close())
            return pictures
        images = np.empty((max(len(sources), 1), 3, size, size), dtype=np.uint8)
        for position, pixels in enumerate(pictures.for_each(lambda cell: decoder.pixels(cell, size))):
            images[position] = pixels
        return replace(pictures, images=images)

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
        if is_empty(cell) or is_empty_file(cell):
            continue
        key = cell if isinstance(cell, str | bytes) else id(cell)
        index[row] = position_of.setdefault(key, len(sources))
        if index[row] == len(sources):
            sources.append(cell)
    return sources, index


def _measure(decoder: Decoder, cell: Any) -> tuple[int, int, int]:
    """Return width, height and, for an image of more than 8 bits, its largest value (otherwise 0)."""
    with decoder.open(cell) as picture:
        if isinstance(cell, np.ndarray) and cell.dtype == np.uint16:
            brightest = int(cell.max(initial=0))
        else:
            brightest = _largest(picture) if is_deep(picture) else 0
        return picture.width, picture.height, brightest


def _largest(picture: PIL.Image) -> int:
    try:
        return int(np.asarray(picture).max())
    except (OSError, SyntaxError, ValueError):  # cut off: reported when its pixels are needed
        return 0


LARGEST = 89_478_485  # most pixels of an image; a file of a few bytes can claim more and fill the memory
DEEPEST = 65_535  # largest value of 16 bits
GLANCE = 32  # pixels a side when an image is decoded only to see whether that works
LONGEST = 32  # largest ratio of the sides; only the middle of a longer image is read
PROGRAMS = {"EPS", "WMF", "EMF"}  # formats that hold programs, for which PIL would start another program
UNREADABLE = (
    *(*DAMAGED, OSError, SyntaxError, RuntimeError, AssertionError, MemoryError),
    *(struct.error, zlib.error, PIL.DecompressionBombError),
)


@dataclass(frozen=True)
class Fitting:
    """How the images for a pretrained encoder are made square."""

    resize: int | list[int]  # pixels of the shorter side, or height and width regardless of proportions
    resample: int  # PIL's number of the resampling filter

    def square(self, picture: PIL.Image, size: int) -> PIL.Image:
        """Return the picture resized, and cropped at the centre to `size` pixels a side."""
        if isinstance(self.resize, int):
            short_side = min(picture.size)
            if max(picture.size) > LONGEST * short_side:  # a line of pixels would become a huge image
                width, height = (min(side, LONGEST * short_side) for side in picture.size)
                picture = ImageOps.fit(picture, (width, height), PIL.Resampling.NEAREST)
            long_side = int(self.resize * max(picture.size) / short_side)
            width, height = (
                (self.resize, long_side) if picture.width <= picture.height else (long_side, self.resize)
            )
        else:
            height, width = self.resize
        resized = picture.resize((width, height), PIL.Resampling(self.resample))
        left, top = (width - size) // 2, (height - size) // 2
        return resized.crop((left, top, left + size, top + size))


@dataclass(frozen=True)
class Decoder:
    """Decoder of cells to pixels; its errors name the cell that cannot be read."""

    root: Path  # paths in cells are relative to it
    outside: bool = False  # paths may leave the root
    white: int = DEEPEST  # the value that is white in images of more than 8 bits
    fitting: Fitting | None = None  # how a pretrained encoder needs its images

    def pixels(self, cell: Any, size: int) -> np.ndarray:
        """Return (3, size, size) uint8, scaled by the shorter side and cropped, or as `fitting` says."""
        with _decoding_errors(cell), self.open(cell) as picture:
            if self.fitting is None:
                picture.draft("RGB", (size, size))  # JPEG: decodes at a fraction of the size
            upright = self.rgb(ImageOps.exif_transpose(picture))
            if self.fitting is None:
                square = ImageOps.fit(upright, (size, size), PIL.Resampling.BILINEAR)
            else:
                square = self.fitting.square(upright, size)
        return np.asarray(square).transpose(2, 0, 1)

    def open(self, cell: Any) -> PIL.Image:
        """Open the picture and read its header: its size and mode are known, its pixels are not."""
        if isinstance(cell, dict):  # as the `datasets` library stores images
            cell = cell.get("bytes") or cell.get("path") or cell
        with _decoding_errors(cell):
            if isinstance(cell, PIL.Image):
                return cell.copy()  # closing or drafting it must not change the caller's image
            if isinstance(cell, np.ndarray | list):
                return self.from_array(np.asarray(cell))
            if isinstance(cell, bytes | bytearray):
                return _within_limit(io.BytesIO(cell), cell)
            if isinstance(cell, str | Path):
                return _within_limit(arrays.file_of(cell, self.root, self.outside), cell)
        raise DataError(
            f"{shown(cell)} is not an image; give a path, the bytes of a file, an array or a PIL image."
        )

    def from_array(self, array: np.ndarray) -> PIL.Image:
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
            shape = " x ".join(map(str, array.shape))
            raise DataError(
                f"An array of shape {shape} is not an image; give (height, width) with 1, 3 or 4 channels."
            )
        if array.dtype.kind not in "biuf":
            raise DataError(f"An array of type {array.dtype} is not an image; give numbers.")
        if array.dtype == bool:
            array = array * np.uint8(255)
        elif array.dtype == np.uint16:
            array = np.minimum(array * (255 / self.white), 255).round()
        else:
            low, high, limit = float(array.min()), float(array.max()), 1 if array.dtype.kind == "f" else 255
            if not (low >= 0 and high <= limit):  # also catches NaN
                raise DataError(
                    f"An array of {array.dtype} has values from {low:g} to {high:g}; give whole numbers from "
                    "0 to 255 or fractions from 0 to 1."
                )
            array = (array * (255 if limit == 1 else 1)).round()
        return PIL.fromarray(array.astype(np.uint8))

    def rgb(self, picture: PIL.Image) -> PIL.Image:
        """Convert any mode to RGB: transparency becomes white, and deep grey is scaled by `white`."""
        if picture.mode == "F":
            return self.from_array(np.nan_to_num(np.asarray(picture))).convert("RGB")
        if is_deep(picture):
            pixels = np.asarray(picture, dtype=np.float32)
            if pixels.max() > DEEPEST:
                raise DataError(
                    f"A grey image has values up to {pixels.max():.0f}; give whole numbers from 0 to "
                    f"{DEEPEST}."
                )
            grey = np.clip(pixels * (255 / self.white), 0, 255).round().astype(np.uint8)
            return PIL.fromarray(grey).convert("RGB")
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            background = PIL.new("RGBA", picture.size, (255, 255, 255, 255))
            return PIL.alpha_composite(background, picture).convert("RGB")
        return picture.convert("RGB")


@dataclass(frozen=True)
class Pictures:
    """Images of many records, decoded once if all fit in memory, otherwise each time they are taken.

    Records that show the same file share its pixels.
    """

    decoder: Decoder
    size: int
    sources: list[Any]  # distinct cells
    index: np.ndarray  # (records,): which source a record shows; -1 = none
    column: str  # name of the column, for messages
    first_row: int = 0  # position of the first row in the table, for messages
    images: np.ndarray | None = field(default=None, repr=False)  # (sources, 3, size, size) uint8

    @property
    def spec(self) -> Spec:
        return Spec("image", (3, self.size, self.size))

    @cached_property
    def present(self) -> np.ndarray | None:
        """(records,): False if a record has no image; None if all have one."""
        return None if (self.index >= 0).all() else self.index >= 0

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray) -> Modality:
        indices = self.index[rows]
        images = self._decode(rows, indices) if self.images is None else self.images[indices]
        images[indices < 0] = 0
        present = None if self.present is None else torch.from_numpy(indices >= 0)
        return Modality(torch.from_numpy(images), None, present)

    def raise_unreadable(self) -> None:
        """Check that all images can be decoded; otherwise errors appear only when images are taken."""

        def decode(cell: Any) -> None:
            self.decoder.pixels(cell, GLANCE)

        if self.images is None:
            self.for_each(decode)

    def for_each(self, work: Callable[[Any], Any]) -> list[Any]:
        """Return the result of `work` for each source; one error names all rows whose source it refuses."""
        results = in_threads(work, self.sources)
        rows = np.arange(len(self.index)) + self.first_row
        raise_errors(self.column, unreadable_image_problems(results, self.index, self.column, rows))
        return results

    def _decode(self, rows: np.ndarray, indices: np.ndarray) -> np.ndarray:
        images = np.zeros((len(rows), 3, self.size, self.size), dtype=np.uint8)
        positions = np.flatnonzero(indices >= 0)
        sources = [self.sources[index] for index in indices[positions].tolist()]
        results = in_threads(lambda cell: self.decoder.pixels(cell, self.size), sources)
        each, table_rows = np.arange(len(results)), rows[positions] + self.first_row
        raise_errors(self.column, unreadable_image_problems(results, each, self.column, table_rows))
        for position, pixels in zip(positions, results, strict=True):
            images[position] = np.asarray(pixels)
        return images


def in_threads(work: Callable[[Any], Result], cells: Iterable[Any]) -> list[Result | DataError]:
    """Return the result of `work` for each cell, in order, or the error that says what is wrong with it."""

    def attempt(cell: Any) -> Result | DataError:
        try:
            return work(cell)
        except DataError as problem:
            return problem

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # PIL releases Python's lock to decode
        return list(pool.map(attempt, cells))


def unreadable_image_problems(
    read: Sequence[Any], index: np.ndarray, column: str, rows: np.ndarray
) -> list[Problem]:
    """Return one problem for each row whose image could not be read.

    Args:
        read: the result of each source, or its error.
        index: which source each row shows; -1 = none.
        column: name of the column, for messages.
        rows: positions of the rows in the table, for messages.
    """
    return [
        Problem(str(read[source]), column, row)
        for source, row in zip(index.tolist(), rows.tolist(), strict=True)
        if source >= 0 and isinstance(read[source], DataError)
    ]


def is_deep(picture: PIL.Image) -> bool:
    """Return whether whole numbers have more than 8 bits a pixel: PIL's own conversion would clip them."""
    return picture.mode.startswith("I")


def shown(cell: Any) -> str:
    if isinstance(cell, bytes | bytearray):
        return f"an image of {len(cell)} bytes"
    if isinstance(cell, np.ndarray | list | PIL.Image):
        return f"a {type(cell).__name__}"
    return arrays.shown(cell)


@contextmanager
def _decoding_errors(cell: Any) -> Iterator[None]:
    """Turn whatever PIL raises for a damaged file into one error that names the cell."""
    try:
        yield
    except UNREADABLE as problem:
        message = f"{shown(cell)} cannot be decoded ({problem}). Is it cut off? Replace it or empty the cell."
        raise DataError(message) from problem


def _within_limit(file: Any, cell: Any) -> PIL.Image:
    try:
        picture = PIL.open(file)
    except UnidentifiedImageError as problem:
        raise DataError(
            f"{shown(cell)} is not an image that PIL recognises. Replace it or empty the cell."
        ) from problem
    except PIL.DecompressionBombError as problem:
        raise DataError(f"{shown(cell)}: {problem} Give a smaller image.") from problem
    if picture.format in PROGRAMS:
        picture.close()
        raise DataError(
            f"{shown(cell)} is in {picture.format} format, which is a program and is not run. Convert "
            "it to PNG."
        )
    if picture.width * picture.height > LARGEST:
        message = f"{shown(cell)} has {picture.width} x {picture.height} pixels; at most {LARGEST:,} are read"
        picture.close()
        raise DataError(f"{message}. Give a smaller image.")
    return picture
