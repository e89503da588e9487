"""Sound: WAV files or arrays of samples, as log-mel frames."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.io import wavfile
from torch import Tensor

from commlearn.errors import DAMAGED, ConfigurationError, DataError
from commlearn.kinds.arrays import array_of, cells_of, file_of, flat_lists, is_blank, numbers_in, shown
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.rows import column_name, first_ten, is_empty_file, map_rows, raise_errors, store_whole
from commlearn.kinds.series import learn_sequences, standardise
from commlearn.records import Column, Sequences

RATE = 16_000  # samples a second to which all sound is resampled
RATES = (1000, 400_000)  # lowest and highest rate that are read
WINDOW = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms
TRANSFORM = 512  # points of the Fourier transform
MELS = 64
LOUDEST = 1e6  # full scale is 1; samples far beyond it are damage, and their power would be infinite
FULL_SCALES = (2**15, 2**23, 2**31, 2**64)  # full scales of whole-number samples
QUIET = 1e-8  # power added before the logarithm, so that silence is finite


@dataclass(frozen=True)
class Audio(Kind):
    """One column of sound: paths or bytes of WAV files, or arrays of samples at one known rate.

    Sound becomes mono at 16 kHz, then 64 log-mel bands in frames of 25 ms every 10 ms; frames are
    averaged down to `max_length`, and each band is standardised with the training rows. Whole numbers in a
    list or an array are taken as 16-bit samples unless those of any training row need 24 or 32 bits, and
    single bytes as 8-bit.

    Example:
        >>> import pandas as pd
        >>> tone = np.sin(np.arange(8000) / 5)
        >>> cells = Cells(pd.DataFrame({"sound": [tone, tone / 2]}))
        >>> kind = Audio("sound", rate=8000)
        >>> kind.read(cells, kind.learn(cells)).take(np.array([0])).values.shape  # one second
        torch.Size([1, 101, 64])
    """

    name: ClassVar[str] = "audio"

    column: str
    rate: int | None = None  # samples a second, for cells that are arrays; a file states its rate
    max_length: int = 512  # frames of the longest sound after averaging
    outside: bool = False  # paths may leave the table's folder

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", column_name(self.column))
        if self.rate is not None:
            whole = isinstance(self.rate, int | np.integer)
            if not (whole and RATES[0] <= self.rate <= RATES[1]):
                raise ConfigurationError(
                    f"Audio rate is {self.rate!r}; give {RATES[0]} to {RATES[1]} samples per second."
                )
            object.__setattr__(self, "rate", int(self.rate))
        store_whole(self, "max_length", "Audio max_length", 1, "at least 1 frame")

    def names(self) -> Sequence[str]:
        return (self.column,)

    def learn(self, cells: Cells) -> dict[str, Any]:
        """Return each band's mean and scale, how many frames are averaged, and a full scale above 16 bits."""
        scales, _ = map_rows(self._cells(cells), self._full_scale, self.column, cells.first_row)
        widest = max([FULL_SCALES[0], *filter(None, scales)])
        frames, problems = self._apply(cells, log_mel, widest)
        raise_errors(self.column, problems)
        learned = learn_sequences(self.column, frames, self.max_length)
        if widest == FULL_SCALES[0]:
            return learned
        return {**learned, "full_scale": float(widest)}  # whole numbers of a state are sizes of the model

    def read(self, cells: Cells, state: dict[str, Any]) -> Column:
        """Return the frames, averaged and standardised."""
        frames, problems = self._apply(
            cells,
            lambda sound: standardise(log_mel(sound), state, self.max_length),
            state.get("full_scale", FULL_SCALES[0]),
        )
        raise_errors(self.column, problems)
        return Sequences.of("audio", frames, MELS)

    def check(self, cells: Cells) -> list[Problem]:
        spans, problems = self._apply(cells, np.ptp)
        if not problems and all(span is None for span in spans):
            problems = [Problem("no row has sound; name another column or drop the modality", self.column)]
        silent = [
            Problem("is silent; is it the right file?", self.column, cells.first_row + row, "warning")
            for row, span in enumerate(spans)
            if span == 0
        ]
        return first_ten(problems) + first_ten(silent)

    def _cells(self, cells: Cells) -> list[Any]:
        """Return the cells; lists of bytes become arrays, as Python's numbers do not tell their width."""
        column = cells.frame[self.column]
        flat = flat_lists(column)
        return cells_of(column) if flat is not None and flat[0].dtype.itemsize == 1 else column.tolist()

    def _full_scale(self, cell: Any) -> int:
        """Return the full scale that the wide whole numbers of one cell need; 0 if it holds none."""
        holds_samples = isinstance(cell, list | tuple | np.ndarray | Tensor) or (
            isinstance(cell, str) and cell.lstrip().startswith("[")
        )
        has_samples = self.rate is not None and holds_samples and not is_blank(cell)
        return _full_scale(numbers_in(cell, Path())) if has_samples else 0

    def _apply(
        self, cells: Cells, change: Callable[[np.ndarray], Any], full_scale: float = FULL_SCALES[0]
    ) -> tuple[list[Any], list[Problem]]:
        """Apply `change` to each row's mono samples; return results (None without sound) and problems."""

        def apply(cell: Any) -> Any:
            is_absent = is_blank(cell) or is_empty_file(cell)
            return None if is_absent else change(self._sound(cell, cells.root, full_scale))

        return map_rows(self._cells(cells), apply, self.column, cells.first_row)

    def _sound(self, cell: Any, root: Path, full_scale: float = FULL_SCALES[0]) -> np.ndarray:
        """Return one cell as mono samples at 16 kHz; whole numbers have at least this full scale."""
        if isinstance(cell, dict):  # as the `datasets` library stores sound
            if not (cell.get("bytes") or cell.get("path")):
                raise DataError(
                    f"{shown(cell)} has neither 'bytes' nor a 'path'; give the bytes or the path of a WAV "
                    "file, or only the samples, with Audio(..., rate=samples per second)"
                )
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes | bytearray):
            rate, samples = read_wav(io.BytesIO(cell), f"a cell of {len(cell)} bytes")
        elif isinstance(cell, str | Path) and not str(cell).lstrip().startswith("["):
            rate, samples = read_wav(file_of(cell, root, self.outside), shown(cell))
        elif self.rate is None:
            raise DataError("holds samples without a rate; give Audio(..., rate=samples per second)")
        else:
            numbers = numbers_in(cell, root)
            own_scale = _full_scale(numbers)
            samples = numbers / float(max(full_scale, own_scale)) if own_scale else _scaled(numbers)
            rate = self.rate
        if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] > len(samples)):
            raise DataError(f"holds an array of {shown(samples)}; give (samples,) or (samples, channels)")
        if not samples.size:
            raise DataError(f"{shown(cell)} has no samples; leave the cell empty")
        if not (np.abs(samples) <= LOUDEST).all():  # also catches NaN
            raise DataError(
                f"holds samples that are not finite or exceed {LOUDEST:g}; correct them, or empty the cell"
            )
        mono = samples if samples.ndim == 1 else samples.mean(axis=1)
        from scipy.signal import resample_poly  # deferred, as it takes a second in every process

        divisor = gcd(rate, RATE)
        return resample_poly(mono, RATE // divisor, rate // divisor).astype(np.float32)


def read_wav(file: Path | io.BytesIO, name: str) -> tuple[int, np.ndarray]:
    """Return the rate and the samples, (samples,) or (samples, channels), of a WAV file; full scale is 1."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rate, samples = wavfile.read(file)
    except (*DAMAGED, OSError, UnboundLocalError, MemoryError, struct.error) as problem:  # a wrong header
        raise DataError(f"{name} cannot be read as a WAV file ({problem}); convert it to WAV") from problem
    if any("EOF" in str(warning.message) for warning in caught):
        raise DataError(f"{name} is cut off; replace it, or leave the cell empty")
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"{name} has {rate} samples per second, not {RATES[0]} to {RATES[1]}; replace it")
    return int(rate), _scaled(samples)


def log_mel(sound: np.ndarray) -> np.ndarray:
    """Return the logarithm of the power in each mel band, (frames, bands), of mono samples at 16 kHz.

    Example:
        >>> log_mel(np.zeros(1600)).shape
        (11, 64)
    """
    window = torch.hann_window(WINDOW)
    samples = torch.as_tensor(sound, dtype=torch.float32)
    spectrum = torch.stft(
        samples, TRANSFORM, HOP, WINDOW, window, center=True, pad_mode="constant", return_complex=True
    )  # (bins, frames)
    power = (spectrum.abs() / window.sum()).square()
    return (power.T @ mel_filters() + QUIET).log().numpy()  # (frames, bands)


@lru_cache(maxsize=1)
def mel_filters() -> Tensor:
    """Return triangular filters, evenly spaced in mel, 2595 log10(1 + f / 700), to 8 kHz: (bins, bands)."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, MELS + 2) / 2595) - 1)  # Hz
    bins = np.linspace(0, RATE / 2, TRANSFORM // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.minimum(rising, falling).clip(0)).float()


def _full_scale(samples: np.ndarray) -> int:
    """Return the full scale that whole numbers of 16 bits or more need; 0 for other samples."""
    if samples.dtype.kind not in "iu" or samples.dtype.itemsize == 1:
        return 0
    loudest = max(-int(samples.min(initial=0)), int(samples.max(initial=0)))
    return next(scale for scale in FULL_SCALES if loudest <= scale)


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Convert whole numbers of any width to fractions of full scale; bytes are centred on 128."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return samples / -float(np.iinfo(samples.dtype).min)
    return array_of(samples, Path())
