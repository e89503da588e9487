"""One record's modality as the page shows it: a picture, words, named cells, or a line."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as PIL

from commlearn.kinds.rows import is_empty
from commlearn.plot.gallery import versions_of
from commlearn.reports.records import CLIPPED, COLUMNS, Cards, as_picture, clipped, data_uri, number
from commlearn.reports.source import Source

EXAMPLES, SIDE, WIDE, HIGH = 6, 160, 120, 34  # records; pixels of a picture's side; size of a line
CHANNELS, POINTS, WORDS = 3, 96, 40  # how many are drawn of a series or a text
HIDDEN = "▮"  # how a gallery writes a masked word


@dataclass(frozen=True)
class Piece:
    """What to show of one modality of one record: only the field that fits its kind is filled, or none."""

    modality: str
    picture: str = ""  # a data URI
    words: tuple[tuple[str, bool], ...] = ()  # each word, and whether it was masked
    cells: tuple[tuple[str, str | None], ...] = ()  # column and value, None if it is masked or missing
    lines: tuple[str, ...] = ()  # SVG paths, one per channel


def examples(source: Source, shown: Cards, most: int = EXAMPLES) -> list[tuple[int, list[Piece]]]:
    """Return records evenly spread over those that the page shows, each with all of its modalities."""
    positions = (
        np.unique(np.linspace(0, len(shown.rows) - 1, min(most, len(shown.rows))).round())
        .astype(int)
        .tolist()
    )
    return [
        (position, [_example(source, name, int(shown.rows[position])) for name in source.trained.specs])
        for position in positions
    ]


def _example(source: Source, name: str, row: int) -> Piece:
    column, spec = source.data.test.columns[name], source.trained.specs[name]
    part = column.take(np.array([row]))
    if part.present is not None and not part.present[0]:
        return Piece(name)
    if spec.kind in ("text", "tabular") and source.cells is not None:
        cells = source.cells.iloc[row]
        named_cells = {key: cells[key] for key in source.columns(name)[:COLUMNS] if key in cells}
        if spec.kind == "text":
            joined = " ".join(str(cell) for cell in named_cells.values() if not is_empty(cell))
            return Piece(name, words=((clipped(joined, 2 * CLIPPED), False),))
        entries = tuple(
            (clipped(key, 30), None if is_empty(cell) else number(cell)) for key, cell in named_cells.items()
        )
        return Piece(name, cells=entries)
    if spec.kind == "text":
        return Piece(name, words=((f"{part.values.shape[1]} tokens", False),))
    values = part.values[0]
    if part.padding is not None:
        values = values[~part.padding[0]]
    return drawn(name, spec.kind, values.numpy())


def drawn(name: str, kind: str, values: np.ndarray, span: tuple[float, float] | None = None) -> Piece:
    """Draw an image as a picture, everything else as lines between the limits in `span` or its own."""
    if kind == "image":
        return Piece(name, picture=_picture(values))
    channels = values.T[:CHANNELS] if values.ndim == 2 else values.reshape(1, -1)
    low, high = span or limits([values])
    return Piece(name, lines=tuple(line_path(channel, low, high) for channel in channels))


def limits(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the smallest and the largest finite value of all arrays."""
    finite = np.concatenate([array[np.isfinite(array)].ravel() for array in arrays])
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def line_path(values: np.ndarray, low: float, high: float, wide: int = WIDE, tall: int = HIGH) -> str:
    """Return a line as the `d` of an SVG path; long lines are averaged, and gaps stay gaps.

    Example:
        >>> line_path(np.array([0.0, 1.0]), 0, 1, 10, 10)
        'M0 9L10 1'
    """
    if len(values) > POINTS:
        values = np.array([part.mean() for part in np.array_split(values.astype(float), POINTS)])
    spacing = wide / max(len(values) - 1, 1)
    path, pen = "", "M"
    for index, value in enumerate(values.tolist()):
        if not np.isfinite(value):
            pen = "M"
            continue
        height = 1 + (tall - 2) * (1 - (value - low) / ((high - low) or 1))
        path, pen = f"{path}{pen}{index * spacing:.4g} {height:.3g}", "L"
    return path


def _picture(pixels: np.ndarray) -> str:
    image = as_picture(pixels)
    image = image.resize((SIDE, SIDE), PIL.Resampling.NEAREST if image.width < SIDE // 2 else None)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return data_uri(content.getvalue())


def versions_seen(source: Source, records: int = 2, versions: int = 3) -> dict[str, list[list[Piece]]]:
    """Return, by modality, some records: the clean version, then what the network saw of it in training."""
    return {
        name: [
            _versions(source, name, record)
            for record in versions_of(source.trained, source.data, name, records, versions, 0)
        ]
        for name in source.trained.specs
    }


def _versions(source: Source, name: str, versions: Sequence[Any]) -> list[Piece]:
    clean = versions[0]
    if clean.kind == "text":
        return [Piece(name, words=_words(clean.words, version.words)) for version in versions]
    state = (source.trained.state or {}).get(name, {})
    if clean.kind == "tabular" and "numbers" in state:
        return [Piece(name, cells=_cells(version.values, state)) for version in versions]
    span = None if clean.kind == "image" else limits([version.values for version in versions])
    return [drawn(name, clean.kind, version.values, span) for version in versions]


def _words(clean: Sequence[str], words: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """Return each word and whether it was masked; masked words are readable if no word was left out."""
    same_length = len(clean) == len(words)
    pairs = [
        (clean[index] if same_length else word, word == HIDDEN) for index, word in enumerate(words[:WORDS])
    ]
    return (*pairs, *([("…", False)] if len(words) > WORDS else []))


def _cells(values: np.ndarray, state: Mapping[str, Any]) -> tuple[tuple[str, str | None], ...]:
    """Return cells in the units of the table, from standardised numbers and codes of categories."""
    cells: list[tuple[str, str | None]] = []
    for value, part in zip(values.tolist(), [*state["numbers"], *state["categories"]], strict=True):
        if "names" in part:
            names = [None, "another", *part["names"]]
            text = names[int(value)] if int(value) < len(names) else None
        elif np.isnan(value) or not part["scores"]:
            text = None
        else:
            text = number(float(np.interp(value, part["scores"], part["knots"])))
        cells.append((clipped(part["column"], 30), None if text is None else clipped(text, 40)))
    return tuple(cells[: 2 * COLUMNS])
