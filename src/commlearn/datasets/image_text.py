"""MM-IMDb and Hateful Memes: published pictures and texts, read with the same kinds as your own tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from commlearn.datasets.converted import existing_path
from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.kinds.base import plain
from commlearn.records import Chosen, Column, Dataset, Drawn, Records
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import parse_json
from commlearn.tables.schema import Schema
from commlearn.tables.splits import name_keys, parts_of_names
from commlearn.tables.table import Table

GENRES = (
    *("drama", "comedy", "romance", "thriller", "crime", "action", "adventure", "horror", "documentary"),
    *("mystery", "sci-fi", "music", "fantasy", "family", "biography", "war", "history", "animation"),
    *("musical", "western", "sport", "short", "film-noir"),
)
COLUMNS = ("id", "image", "target", "part", "text", "record")
PARTS = {"train": "train", "validation": "dev", "test": "test"}  # as split.json names them
LISTED = 10  # most problems of one kind that are listed
SIZE = 224  # pixels per side, unless the image's options say otherwise

TextRows = tuple[Table, list[str]]
"""A row for each text, with the rows of a record adjacent; and notes."""


def read_films(path: str | Path) -> TextRows:
    """Read MM-IMDb: split.json, and for each film a poster, plots and genres in the folder `dataset`."""
    root = _folder(path, "mm_imdb", "the folder with split.json and dataset/")
    split = _json(root / "split.json")
    problems = Problems(str(root))
    if not isinstance(split, dict):
        raise DataError(
            f"{root / 'split.json'} holds a {type(split).__name__}; expected {{train, dev, test}}."
        )
    for key in PARTS.values():
        if not isinstance(split.get(key), list) or not split.get(key):
            problems.add(
                f"split.json has no list of films under '{key}'; found {', '.join(map(str, split))}."
            )
    problems.raise_if_any(DataError)
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    without_plot = 0
    for part, key in PARTS.items():
        for film in map(str, split[key]):
            try:
                film_rows = _film(root, film)
            except DataError as problem:
                failures.append(str(problem))
                continue
            without_plot += not film_rows
            record = len(rows)  # its first row, a unique number
            rows += [{**row, "part": part, "record": record} for row in film_rows]
    _add_failures(failures, problems)
    problems.raise_if_any(DataError)
    notes = [f"{without_plot} films have no plot and are left out"] if without_plot else []
    return Table(pd.DataFrame(rows, columns=COLUMNS), root), notes


def _film(root: Path, film: str) -> list[dict[str, Any]]:
    """Return a row for each plot of a film, with its poster and genres."""
    image = _inside(f"dataset/{film}.jpeg", "split.json")
    details = _json(root / "dataset" / f"{film}.json")
    if not isinstance(details, dict) or not {"plot", "genres"} <= set(details):
        raise DataError(f"dataset/{film}.json: expected 'plot' and 'genres'.")
    plots = [details["plot"]] if isinstance(details["plot"], str) else details["plot"]
    genres = details["genres"]
    if not _is_text_list(plots) or not _is_text_list(genres):
        raise DataError(f"dataset/{film}.json: 'plot' and 'genres' must be lists of text.")
    if not (root / image).is_file():
        raise DataError(f"{image} is missing.")
    film_genres = {genre.lower() for genre in genres}
    shared = {"id": film, "image": image, "target": tuple(genre for genre in GENRES if genre in film_genres)}
    return [{**shared, "text": plot} for plot in plots if plot.strip()]


def read_memes(path: str | Path, validation: float, seed: int) -> TextRows:
    """Read Hateful Memes: train.jsonl, and dev.jsonl as the test part, with lines {img, text, label}.

    Args:
        path: path of the folder.
        validation: share of train.jsonl that is used only for validation.
        seed: seed of that choice.
    """
    root = _folder(path, "hateful_memes", "the folder with train.jsonl, dev.jsonl and img/")
    train, test = (_lines(root, name) for name in ("train.jsonl", "dev.jsonl"))
    images, _ = name_keys(pd.Series([row["image"] for row in train]))  # lines of one image stay together
    for row, is_validation in zip(train, parts_of_names(images, validation, 0.0, seed), strict=True):
        row["part"] = "validation" if is_validation else "train"
    for row in test:
        row["part"] = "test"
    test_images = {row["image"] for row in test}
    remaining = [row for row in train if row["image"] not in test_images]
    notes = [f"train.jsonl: {len(train) - len(remaining)} lines show an image of dev.jsonl and are left out"]
    frame = pd.DataFrame([*remaining, *test])
    frame["record"] = np.arange(len(frame))
    return Table(frame, root), notes if len(remaining) < len(train) else []


def _lines(root: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    problems, failures = Problems(str(root)), []
    for number, text in enumerate(_text(root / name).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = parse_json(text)
            image, sentence, label = line["img"], line["text"], line["label"]
            if not isinstance(sentence, str) or label not in (0, 1) or not isinstance(image, str):
                raise DataError(f"img and text must be text, and label 0 or 1; got {label!r:.40}")
            if not (root / _inside(image, name)).is_file():
                raise DataError(f"{image} is missing")
            rows.append({"id": image, "image": image, "text": sentence, "target": int(label)})
        except (ValueError, KeyError, TypeError, DataError) as problem:
            reason = f"no key {problem}" if isinstance(problem, KeyError) else problem
            failures.append(f"{name}, line {number}: {reason}; expected {{img, text, label}}.")
    _add_failures(failures, problems)
    if not rows and not failures:
        problems.add(f"{name} has no lines.")
    problems.raise_if_any(DataError)
    return rows


def _folder(path: str | Path, name: str, description: str) -> Path:
    root = existing_path(path, name, description)
    if not root.is_dir():
        raise DataError(f"{root} is a file; {name} needs {description}.")
    return root


def _text(path: Path) -> str:
    try:
        return plain_file(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}.") from problem
    except UnicodeDecodeError as problem:
        raise DataError(f"{path} is not UTF-8 at byte {problem.start}.") from problem


def _json(path: Path) -> Any:
    try:
        return parse_json(_text(path))
    except ValueError as problem:
        raise DataError(f"{path} is not JSON: {problem}. Is it cut off?") from problem


def _inside(path: str, location: str) -> str:
    """Return a path of the data set; reject one that leads out of its folder."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{location}: '{path:.60}' leads out of the data set's folder.")
    return path


def _is_text_list(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _add_failures(failures: Sequence[str], problems: Problems) -> None:
    for line in failures[:LISTED]:
        problems.add(line)
    if len(failures) > LISTED:
        problems.add(f"and {len(failures) - LISTED} more")


@dataclass(frozen=True)
class MMIMDb:
    """Films with poster, plots and 23 genres; training draws one of a film's plots each time.

    A probe sees the first plot. Target: `genres`, the names of the film's genres.
    """

    path: str = ""  # folder with split.json and dataset/
    image: dict[str, Any] = field(default_factory=dict)  # options of the kind image
    text: dict[str, Any] = field(default_factory=dict)  # options of the kind text

    def read(self) -> Dataset:
        """Read the published split; the kinds learn from its training part only."""
        return _dataset(read_films(self.path), self.image, self.text, "genres", "multilabel")


@dataclass(frozen=True)
class HatefulMemes:
    """Memes: a picture and its line of text. Target: `hateful`, 1 = hateful."""

    path: str = ""  # folder with train.jsonl, dev.jsonl and img/
    image: dict[str, Any] = field(default_factory=dict)  # options of the kind image
    text: dict[str, Any] = field(default_factory=dict)  # options of the kind text
    validation: float = 0.1  # share of train.jsonl that is used only for validation
    seed: int = 0  # seed of that choice

    def read(self) -> Dataset:
        """Read both files; dev.jsonl, whose labels are public, is the test part."""
        if not 0 <= self.validation < 1:
            raise ConfigurationError(f"data.validation is {self.validation}; give 0 or more and less than 1.")
        memes = read_memes(self.path, self.validation, self.seed)
        return _dataset(memes, self.image, self.text, "hateful", "class")


def _dataset(
    content: TextRows, image: Mapping[str, Any], text: Mapping[str, Any], target: str, sort: str
) -> Dataset:
    """Return the records of all parts."""
    table, notes = content
    rows = {part: np.flatnonzero((table.frame["part"] == part).to_numpy()) for part in PARTS}
    for part in ("train", "test"):
        if not len(rows[part]):
            raise DataError(f"{table.root}: the {part} part is empty. {', '.join(notes)}.")
    size = {} if image.get("encoder") else {"size": SIZE}  # a pretrained encoder sets its own size
    schema = Schema.from_mapping(
        {
            "modalities": {
                "image": {"kind": "image", "column": "image", **size, **image},
                "text": {"kind": "text", "column": "text", **text},
            },
            "targets": {target: sort},
        },
        "data",
    )
    table = replace(table, frame=table.frame.rename(columns={"target": target}))
    state = plain(schema.learn(table, rows["train"]))
    records = schema.read(table, state, with_targets=True)
    numbers = table.frame["record"].to_numpy()
    parts: dict[str, Records] = {}
    for part, members in rows.items():
        _, first, count = np.unique(numbers[members], return_index=True, return_counts=True)
        first = members[first]
        if len(first):
            parts[part] = _drawn(records, first, count) if (count > 1).any() else records.choose(first)
    return Dataset(
        parts["train"],
        parts["test"],
        parts.get("validation"),
        schema=schema.to_mapping(),
        state=state,
        notes=tuple(notes),
    )


def _drawn(records: Records, first: np.ndarray, count: np.ndarray) -> Records:
    """Return records whose text has several versions; everything else is that of the first row."""
    chosen = records.choose(first)
    starts = np.cumsum([0, *count[:-1]])
    rows = np.repeat(first - starts, count) + np.arange(count.sum())  # all versions, one after another
    versions = Chosen(records.columns["text"], rows)
    columns: dict[str, Column] = {**chosen.columns, "text": Drawn(versions, starts, count)}
    return replace(chosen, columns=columns)
