"""Records as the reader of a report sees them: a small picture, text and values."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as PIL

from commlearn.kinds.rows import is_empty
from commlearn.probes import has_label
from commlearn.reports.source import Source
from commlearn.seeds import numpy_generator

MOST = 1000  # records on the map
CLIPPED = 140  # characters of a text that are shown
COLUMNS = 8  # columns of a modality that are shown
BUDGET = 1_000_000  # bytes of all small pictures together
SHOWN_KINDS = ("text", "tabular")


@dataclass(frozen=True)
class Sprite:
    """The small pictures of one modality, side by side in one image."""

    modality: str
    tile: int  # pixels per side
    across: int  # tiles in a row
    jpeg: bytes
    present: np.ndarray  # (records,) bool

    def place(self, record: int) -> tuple[int, int]:
        return record % self.across, record // self.across

    def css(self, number: int) -> str:
        """Return a class with the image as background; `--x`, `--y` choose the tile, `--side` its size."""
        return f".s{number}{{background-image:url({data_uri(self.jpeg)});--across:{self.across}}}"


@dataclass(frozen=True)
class Cards:
    """The records that a report shows one by one."""

    rows: np.ndarray  # (records,): which test records
    names: list[str]
    values: list[list[tuple[str, str]]]  # for each record: names and values
    texts: list[str]  # text of each record, in one line
    sprites: list[Sprite]


def shown_rows(records: int, most: int = MOST, seed: int = 0) -> np.ndarray:
    """Return all test records, or as many of them as a page can hold, drawn by seed."""
    order = numpy_generator(seed, "report records").permutation(records)[:most]
    return np.sort(order)


def cards(source: Source, rows: np.ndarray) -> Cards:
    """Return what to show of these test records."""
    values = _values(source, rows)
    return Cards(rows, _names(source, rows), values, _texts(source, values), _sprites(source, rows))


def _names(source: Source, rows: np.ndarray) -> list[str]:
    schema = source.trained.schema
    if source.cells is not None and schema is not None and schema.id in source.cells:
        return [clipped(value, 40) for value in source.cells[schema.id].iloc[rows].tolist()]
    return [f"test record {row}" for row in rows.tolist()]


def _values(source: Source, rows: np.ndarray) -> list[list[tuple[str, str]]]:
    columns: list[tuple[str, list[str]]] = []
    for name in source.data.test.targets:
        labels = source.data.test.targets[name][rows]
        labelled = has_label(labels)
        texts = [
            number(label) if is_labelled else "unknown"
            for label, is_labelled in zip(labels.tolist(), labelled, strict=True)
        ]
        columns.append((name, texts))
    if source.cells is not None:
        shown_columns = {name for name, _ in columns}
        for modality, spec in source.trained.specs.items():
            for column in source.columns(modality)[:COLUMNS] if spec.kind in SHOWN_KINDS else ():
                if column not in shown_columns and column in source.cells:
                    cells = source.cells[column].iloc[rows].tolist()
                    columns.append((column, [number(cell) for cell in cells]))
    return [[(clipped(name, 40), values[index]) for name, values in columns] for index in range(len(rows))]


def _texts(source: Source, values: list[list[tuple[str, str]]]) -> list[str]:
    """Return the texts of each record; for a record without texts, its first cells with their names."""
    specs = source.trained.specs
    texts, cells = (
        {clipped(column, 40) for name in specs if specs[name].kind == kind for column in source.columns(name)}
        for kind in SHOWN_KINDS
    )
    lines = []
    for pairs in values:
        sentences = [value for key, value in pairs if key in texts and value != "-"]
        named = [f"{key} {value}" for key, value in pairs if key in cells and value != "-"]
        lines.append(clipped(" · ".join(sentences or named[:4])))
    return lines


def number(value: Any) -> str:
    """Return a cell in few characters."""
    if isinstance(value, tuple | list):
        return clipped(", ".join(map(str, value)))
    if is_empty(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else clipped(value)


def clipped(value: Any, most: int = CLIPPED) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _sprites(source: Source, rows: np.ndarray) -> list[Sprite]:
    names = [name for name, spec in source.trained.specs.items() if spec.kind == "image"]
    if not names or not len(rows):
        return []
    tile = {1: 56, 2: 40}.get(len(names), 32)
    return [_sprite(source, rows, name, tile, BUDGET // len(names)) for name in names]


def _sprite(source: Source, rows: np.ndarray, name: str, tile: int, most: int) -> Sprite:
    across = math.ceil(math.sqrt(len(rows)))
    sheet = PIL.new("RGB", (across * tile, math.ceil(len(rows) / across) * tile), "white")
    present = np.ones(len(rows), dtype=bool)
    column = source.data.test.columns[name]
    for start in range(0, len(rows), 256):
        part = column.take(rows[start : start + 256])
        for index, pixels in enumerate(part.values.numpy()):
            record = start + index
            if part.present is not None and not part.present[index]:
                present[record] = False
                continue
            corner = (record % across * tile, record // across * tile)
            sheet.paste(as_picture(pixels).resize((tile, tile), PIL.Resampling.BILINEAR), corner)
    return Sprite(name, tile, across, _jpeg(sheet, most), present)


def as_picture(pixels: np.ndarray) -> PIL.Image:
    """Return pixels of any type, (channels, height, width), as a picture."""
    if pixels.dtype != np.uint8:
        pixels = (255 * pixels.clip(0, 1)).astype(np.uint8)
    return PIL.fromarray(np.moveaxis(pixels, 0, -1).squeeze()).convert("RGB")


def data_uri(jpeg: bytes) -> str:
    """Return a picture as a data URI, to embed in a page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _jpeg(sheet: PIL.Image, most: int) -> bytes:
    """Return the best quality that fits, at half the size if even the lowest quality does not."""
    for quality in (82, 65, 45, 30):
        content = io.BytesIO()
        sheet.save(content, "JPEG", quality=quality, optimize=True)
        if content.tell() <= most:
            return content.getvalue()
    return _jpeg(sheet.resize((max(sheet.width // 2, 1), max(sheet.height // 2, 1))), most)
