"""Records as the reader of a report sees them: one by one, modality by modality, and column by column."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as PIL

from commlearn.kinds.rows import is_empty
from commlearn.plot.gallery import versions_of
from commlearn.probes.probe import has_label
from commlearn.records import presence
from commlearn.reports.source import Source

CLIPPED = 140  # characters of a text that are shown
COLUMNS = 8  # columns of a modality that are shown
BUDGET = 1_000_000  # bytes of all small pictures together
SHOWN_KINDS = ("text", "tabular")


@dataclass(frozen=True)
class Sprite:
    """The small pictures of one modality, side by side in one image."""

    modality: str
    across: int  # tiles in a row
    jpeg: bytes
    present: np.ndarray  # (records,) bool

    def place(self, record: int) -> tuple[int, int]:
        return record % self.across, record // self.across

    def css(self, number: int) -> str:
        """Return a class with the image as background; `--x`, `--y` choose the tile, `--side` its size."""
        return f".s{number}{{background-image:url({_data_uri(self.jpeg)});--across:{self.across}}}"


@dataclass(frozen=True)
class Cards:
    """The records that a report shows one by one."""

    rows: np.ndarray  # (records,): which test records
    names: list[str]
    values: list[list[tuple[str, str]]]  # for each record: names and values
    texts: list[str]  # text of each record, in one line
    sprites: list[Sprite]


def cards(source: Source, rows: np.ndarray) -> Cards:
    """Return what to show of these test records."""
    names, schema = [f"test record {row}" for row in rows.tolist()], source.trained.schema
    if source.cells is not None and schema is not None and schema.id in source.cells:
        names = [clipped(value, 40) for value in source.cells[schema.id].iloc[rows].tolist()]
    values = _values(source, rows)
    return Cards(rows, names, values, _texts(source, values), _sprites(source, rows))


def _values(source: Source, rows: np.ndarray) -> list[list[tuple[str, str]]]:
    targets, cells = source.data.test.targets, source.cells
    columns = [(name, label_texts(labels[rows], "unknown")) for name, labels in targets.items()]
    if cells is not None:
        for modality, spec in source.trained.specs.items():
            for column in source.columns(modality)[:COLUMNS] if spec.kind in SHOWN_KINDS else ():
                if column not in targets and column in cells:
                    columns.append((column, [number(cell) for cell in cells[column].iloc[rows].tolist()]))
    return [[(clipped(name, 40), values[index]) for name, values in columns] for index in range(len(rows))]


def label_texts(labels: np.ndarray, missing: str) -> list[str]:
    """Return each label as it is shown, or `missing` for a record without one."""
    pairs = zip(labels.tolist(), has_label(labels), strict=True)
    return [number(label) if is_labelled else missing for label, is_labelled in pairs]


def _texts(source: Source, values: list[list[tuple[str, str]]]) -> list[str]:
    """Return the texts of each record; for a record without texts, its first cells with their names."""
    specs = source.trained.specs
    texts, cells = (
        {clipped(column, 40) for name in specs if specs[name].kind == kind for column in source.columns(name)}
        for kind in SHOWN_KINDS
    )
    lines = []
    for pairs in values:
        filled = [(key, value) for key, value in pairs if value != "-"]
        sentences = [value for key, value in filled if key in texts]
        named = [f"{key} {value}" for key, value in filled if key in cells]
        lines.append(clipped(" · ".join(sentences or named[:4])))
    return lines


def number(value: Any) -> str:
    """Return a cell in few characters; whole numbers, which may be codes of classes, with all digits."""
    if isinstance(value, tuple | list):
        return clipped(", ".join(map(str, value)))
    if is_empty(value):
        return "-"
    if isinstance(value, float):
        return f"{value:.15g}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return clipped(value)


def clipped(value: Any, most: int = CLIPPED) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _sprites(source: Source, rows: np.ndarray) -> list[Sprite]:
    names = [name for name, spec in source.trained.specs.items() if spec.kind == "image"]
    tile, across = {1: 56, 2: 40}.get(len(names), 32), math.ceil(math.sqrt(len(rows)))
    sprites = []
    for name in names if len(rows) else ():
        sheet = PIL.new("RGB", (across * tile, math.ceil(len(rows) / across) * tile), "white")
        present = np.ones(len(rows), dtype=bool)
        for start in range(0, len(rows), 256):
            part = source.data.test.columns[name].take(rows[start : start + 256])
            present[start : start + 256] = part.presence.numpy()
            for record, pixels in enumerate(part.values.numpy(), start):
                if present[record]:
                    corner = (record % across * tile, record // across * tile)
                    sheet.paste(_picture(pixels).resize((tile, tile), PIL.Resampling.BILINEAR), corner)
        sprites.append(Sprite(name, across, _jpeg(sheet, BUDGET // len(names)), present))
    return sprites


def _picture(pixels: np.ndarray) -> PIL.Image:
    """Return pixels of any type, (channels, height, width), as a picture."""
    if pixels.dtype != np.uint8:
        pixels = (255 * pixels.clip(0, 1)).astype(np.uint8)
    return PIL.fromarray(np.moveaxis(pixels, 0, -1).squeeze()).convert("RGB")


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _jpeg(sheet: PIL.Image, most: int) -> bytes:
    """Return the best quality that fits, at half the size if even the lowest quality does not."""
    for quality in (82, 65, 45, 30):
        content = io.BytesIO()
        sheet.save(content, "JPEG", quality=quality, optimize=True)
        if content.tell() <= most:
            return content.getvalue()
    return _jpeg(sheet.resize((max(sheet.width // 2, 1), max(sheet.height // 2, 1))), most)


EXAMPLES, SIDE, WIDE, HIGH = 6, 160, 120, 34  # records; pixels of a picture's side; size of a line
CHANNELS, POINTS, WORDS = 3, 96, 40  # how many are drawn of a series or a text
HIDDEN = "▮"  # how a gallery writes a masked word

Cells = tuple[tuple[str, str | None], ...]
Words = tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Piece:
    """What to show of one modality of one record: only the field that fits its kind is filled, or none."""

    modality: str
    picture: str = ""  # a data URI
    words: Words = ()  # each word, and whether it was masked
    cells: Cells = ()  # column and value, None if it is masked or missing
    lines: tuple[str, ...] = ()  # SVG paths, one per channel


def examples(source: Source, shown: Cards) -> list[tuple[int, list[Piece]]]:
    """Return records evenly spread over those that the page shows, each with all of its modalities."""
    spread = np.linspace(0, len(shown.rows) - 1, min(EXAMPLES, len(shown.rows))).round()
    return [
        (position, [_example(source, name, int(shown.rows[position])) for name in source.trained.specs])
        for position in np.unique(spread).astype(int).tolist()
    ]


def _example(source: Source, name: str, row: int) -> Piece:
    column, spec = source.data.test.columns[name], source.trained.specs[name]
    part = column.take(np.array([row]))
    if not part.presence[0]:
        return Piece(name)
    if spec.kind in ("text", "tabular") and source.cells is not None:
        cells = source.cells.iloc[row]
        named_cells = {key: cells[key] for key in source.columns(name)[:COLUMNS] if key in cells}
        if spec.kind == "text":
            joined = " ".join(str(cell) for cell in named_cells.values() if not is_empty(cell))
            return Piece(name, words=((clipped(joined, 2 * CLIPPED), False),))
        texts = {key: None if is_empty(cell) else number(cell) for key, cell in named_cells.items()}
        return Piece(name, cells=tuple((clipped(key, 30), text) for key, text in texts.items()))
    if spec.kind == "text":
        return Piece(name, words=((f"{part.values.shape[1]} tokens", False),))
    values = part.values[0]
    if part.padding is not None:
        values = values[~part.padding[0]]
    return _drawn(name, spec.kind, values.numpy())


def _drawn(name: str, kind: str, values: np.ndarray, span: tuple[float, float] | None = None) -> Piece:
    """Draw an image as a picture, everything else as lines between the limits in `span` or its own."""
    if kind == "image":
        image = _picture(values)
        image = image.resize((SIDE, SIDE), PIL.Resampling.NEAREST if image.width < SIDE // 2 else None)
        content = io.BytesIO()
        image.save(content, "JPEG", quality=80)
        return Piece(name, picture=_data_uri(content.getvalue()))
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


def versions_seen(source: Source) -> dict[str, list[list[Piece]]]:
    """Return, by modality, two records: the clean version, then three that the network saw in training."""
    pieces = {}
    for name in source.trained.specs:
        pages = versions_of(source.trained, source.data, name, records=2, versions=3, seed=0)
        pieces[name] = [_versions(source, name, page) for page in pages]
    return pieces


def _versions(source: Source, name: str, versions: Sequence[Any]) -> list[Piece]:
    clean = versions[0]
    if clean.kind == "text":
        return [Piece(name, words=_words(clean.words, version.words)) for version in versions]
    state = (source.trained.state or {}).get(name, {})
    if clean.kind == "tabular" and "numbers" in state:
        return [Piece(name, cells=_cells(version.values, state)) for version in versions]
    span = None if clean.kind == "image" else limits([version.values for version in versions])
    return [_drawn(name, clean.kind, version.values, span) for version in versions]


def _words(clean: Sequence[str], words: Sequence[str]) -> Words:
    """Return each word and whether it was masked; masked words are readable if no word was left out."""
    readable = clean if len(clean) == len(words) else words
    pairs = [(readable[index], word == HIDDEN) for index, word in enumerate(words[:WORDS])]
    return (*pairs, *([("…", False)] if len(words) > WORDS else []))


def _cells(values: np.ndarray, state: Mapping[str, Any]) -> Cells:
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


BINS, CLASSES = 16, 8  # bars of a number, and classes of the others, that are shown at most


@dataclass(frozen=True)
class Look:
    """One column: how many cells are missing, and how the others are distributed."""

    name: str
    of: str  # modality, or "target"
    missing: float  # share of the records without a value
    bars: tuple[tuple[str, int], ...] = ()  # range or class, and number of records
    what: str = ""  # what the bars are about, if not the value itself
    is_number: bool = False
    others: int = 0  # classes that are not shown

    @property
    def highest(self) -> int:
        return max(count for _, count in self.bars)


def looks(source: Source) -> list[Look]:
    """Return a look at each target, then at each column that the modalities read."""
    entries = []
    for name, values in source.data.test.targets.items():
        labelled = has_label(values)
        filled = list(values[labelled]) if values.ndim == 1 else []
        entries.append(_look(name, "target", float(1 - labelled.mean()), filled, source.sorts[name]))
    frame = pd.DataFrame() if source.cells is None else source.cells
    for modality, spec in source.trained.specs.items():
        columns = [column for column in source.columns(modality) if column in frame]
        for column in columns:
            cells = frame[column].tolist()
            filled = [cell for cell in cells if not is_empty(cell)]
            missing = 1 - len(filled) / max(len(cells), 1)
            entries.append(
                _look(column, modality, missing, filled if spec.kind in SHOWN_KINDS else [], spec.kind)
            )
        if not columns:
            absent = 1 - presence(source.data.test.columns[modality]).mean()
            entries.append(Look(modality, modality, float(absent)))
    return entries


def _look(name: str, of: str, missing: float, cells: list[Any], sort: str) -> Look:
    """Summarise numbers in ranges of equal width, text by its number of words, everything else by class."""
    if not cells:
        return Look(name, of, missing)
    if sort == "text":
        words = np.array([len(str(cell).split()) for cell in cells], dtype=float)
        return Look(name, of, missing, _ranges(words), "words", True)
    if sort in ("number", "tabular") and not isinstance(cells[0], tuple):
        numbers = pd.to_numeric(pd.Series(cells), errors="coerce").to_numpy(dtype=float)
        if np.isfinite(numbers).all() and len(np.unique(numbers)) > CLASSES:
            return Look(name, of, missing, _ranges(numbers), "", True)
    labels = (label for cell in cells for label in (cell if isinstance(cell, tuple) else (cell,)))
    ranked = sorted(Counter(map(number, labels)).items(), key=lambda pair: (-pair[1], pair[0]))
    bars = tuple((clipped(label, 28), count) for label, count in ranked[:CLASSES])
    return Look(name, of, missing, bars, others=len(ranked) - len(bars))


def _ranges(values: np.ndarray) -> tuple[tuple[str, int], ...]:
    counts, edges = np.histogram(values, min(BINS, len(np.unique(values))))
    return tuple(
        (f"{number(float(low))} to {number(float(high))}", int(count))
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    )
