"""MM-IMDb and Hateful Memes: published tables of pictures and texts, read by the kinds of own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from commlearn.data.readers.image_text import ImageText, read_films, read_memes
from commlearn.data.records import Chosen, Column, Dataset, Drawn, Records
from commlearn.data.tables import Table
from commlearn.errors import ConfigurationError
from commlearn.kinds.base import plain
from commlearn.kinds.schema import Schema

__all__ = ["HatefulMemes", "MMIMDb"]

SIZE = 224  # pixels a side, unless the image's options say otherwise


@dataclass(frozen=True)
class MMIMDb:
    """Films with poster, plots and 23 genres; training draws one of a film's plots each time.

    A probe sees the first plot. Target: `genres`, the names of those that a film has.
    """

    path: str = ""  # folder with split.json and dataset/
    image: dict[str, Any] = field(default_factory=dict)  # options of the kind image
    text: dict[str, Any] = field(default_factory=dict)  # options of the kind text

    def read(self) -> Dataset:
        """Reads the published split; the kinds learn from its training part alone."""
        return _dataset(read_films(self.path), self.image, self.text, ("genres", "multilabel"))


@dataclass(frozen=True)
class HatefulMemes:
    """Memes: a picture and its line of text. Target: `hateful`, 1 = it is."""

    path: str = ""  # folder with train.jsonl, dev.jsonl and img/
    image: dict[str, Any] = field(default_factory=dict)  # options of the kind image
    text: dict[str, Any] = field(default_factory=dict)  # options of the kind text
    validation: float = 0.1  # share of train.jsonl that only validates
    seed: int = 0  # of that choice

    def read(self) -> Dataset:
        """Reads both files; dev.jsonl, whose labels are public, is the test part."""
        if not 0 <= self.validation < 1:
            raise ConfigurationError(f"data.validation is {self.validation}; give 0 to less than 1.")
        found = read_memes(self.path, self.validation, self.seed)
        return _dataset(found, self.image, self.text, ("hateful", "class"))


def _dataset(
    found: ImageText, image: Mapping[str, Any], text: Mapping[str, Any], target: tuple[str, str]
) -> Dataset:
    """Records of all parts. Rows are texts; a record with several has a row for each."""
    name, sort = target
    size = {} if image.get("encoder") else {"size": SIZE}  # a pretrained encoder says its own
    schema = Schema.from_mapping(
        {
            "modalities": {
                "image": {"kind": "image", "column": "image", **size, **image},
                "text": {"kind": "text", "column": "text", **text},
            },
            "targets": {name: sort},
        },
        "data",
    )
    table = Table(found.frame.rename(columns={"target": name}), found.root)
    train = np.flatnonzero((found.frame["part"] == "train").to_numpy())
    state = plain(schema.learn(table, train))
    records = schema.read(table, state, with_targets=True)
    parts: dict[str, Records] = {}
    for part in ("train", "validation", "test"):
        first, count = found.rows_of(part)
        if len(first):
            parts[part] = _drawn(records, first, count) if (count > 1).any() else records.choose(first)
    return Dataset(
        parts["train"],
        parts["test"],
        parts.get("validation"),
        schema=schema.to_mapping(),
        state=state,
        notes=tuple(found.notes),
    )


def _drawn(records: Records, first: np.ndarray, count: np.ndarray) -> Records:
    """Records whose text has several versions; all else is that of the first."""
    chosen = records.choose(first)
    starts = np.cumsum([0, *count[:-1]])
    rows = np.repeat(first - starts, count) + np.arange(count.sum())  # every version, one after another
    versions = Chosen(records.columns["text"], rows)
    columns: dict[str, Column] = {**chosen.columns, "text": Drawn(versions, starts, count)}
    return replace(chosen, columns=columns)
