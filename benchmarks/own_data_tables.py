"""The real tables of the own-data benchmarks: each file is read into rows, a schema and raw features."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image as PIL
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split

import commlearn as cl

__all__ = ["TABLES", "OwnTable", "column_of"]

THUMBNAIL = 16  # pixels per side of the raw image features


@dataclass(frozen=True)
class OwnTable:
    """Rows with a schema, labels, and raw features of each modality for a probe."""

    rows: Mapping[str, Any]  # by column: its cells
    schema: cl.Schema
    labels: np.ndarray
    raw: Mapping[str, np.ndarray]  # by modality: (rows, features)
    train: np.ndarray  # positions of the training rows
    test: np.ndarray
    groups: np.ndarray | None = None  # group of each row, such as a person
    curve: bool = False  # whether the score is the area under the ROC curve

    def choosing(self, seed: int = 0) -> OwnTable:
        """Return only the training rows, with a quarter of them as the test, for choosing settings."""
        fit, held = train_test_split(
            self.train, test_size=0.25, random_state=seed, stratify=self.labels[self.train]
        )
        return replace(self, train=np.sort(fit), test=np.sort(held))

    def first(self, count: int, seed: int = 0) -> OwnTable:
        """Return the table with at most `count` training rows, drawn once; 0 keeps all."""
        if not count or count >= len(self.train):
            return self
        chosen = np.random.default_rng(seed).choice(self.train, count, replace=False)
        return replace(self, train=np.sort(chosen))

    def encoded(self, folder: Path) -> OwnTable:
        """Return the table with a pretrained sentence encoder for texts; its vectors are the raw features."""
        from sentence_transformers import SentenceTransformer  # in commlearn[test]

        modalities, raw = dict(self.schema.modalities), dict(self.raw)
        for name, kind in self.schema.modalities.items():
            if isinstance(kind, cl.Text):
                modalities[name] = replace(kind, encoder=str(folder))
                model = SentenceTransformer(str(folder), device="cpu")
                raw[name] = model.encode(list(self.rows[kind.column]), show_progress_bar=False)
        return replace(self, schema=replace(self.schema, modalities=modalities), raw=raw)

    def write(self, folder: Path) -> Path:
        """Write training and test rows as a Parquet table next to its schema; returns the schema's path."""
        rows = np.concatenate([self.train, self.test])
        frame = pd.DataFrame({name: list(map(_cell, values[rows])) for name, values in self.rows.items()})
        frame["label"] = [f"class {label}" for label in self.labels[rows]]
        frame["split"] = np.repeat(["train", "test"], [len(self.train), len(self.test)])
        stated = {"targets": {"label": "class"}, "split": "split"}
        if self.groups is not None:
            frame["group"] = self.groups[rows].astype(str)
            stated["group"] = "group"
        folder.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(folder / "table.parquet")
        values = {"table": "table.parquet", **self.schema.to_mapping(), **stated}
        (folder / "schema.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return folder / "schema.yaml"

    def part(self, positions: np.ndarray) -> dict[str, Any]:
        return {name: values[positions] for name, values in self.rows.items()}


def mfeat(folder: Path) -> OwnTable:
    """Read mfeat: six vectors of a handwritten digit; 1400 / 600 rows, stratified."""
    data = np.load(folder / "mfeat.npz", allow_pickle=False)
    names = ("fac", "fou", "kar", "mor", "pix", "zer")
    raw = {name: data[name] for name in names}
    labels = data["label"]
    train, test = train_test_split(np.arange(2000), test_size=600, random_state=0, stratify=labels)
    schema = cl.Schema({name: cl.Vector(name) for name in names})
    return OwnTable(raw, schema, labels, raw, np.sort(train), np.sort(test))


def mosi_vectors(folder: Path) -> OwnTable:
    """Read MOSI's text, audio and video vectors of utterances, which are positive or negative."""
    names = ("text", "audio", "video")
    data = _both(folder / "mosi_utt.npz", names)
    raw = {name: data[name] for name in names}
    schema = cl.Schema({name: cl.Vector(name) for name in names})
    return OwnTable(raw, schema, data["label"], raw, data["train"], data["test"])


def mosi_transcripts(folder: Path) -> OwnTable:
    """Read MOSI's transcripts, which were made without labels, and audio vectors."""
    data = _both(folder / "mosi_utt.npz", ("transcript", "audio"))
    words = TfidfVectorizer(min_df=2).fit([data["transcript"][row] for row in data["train"]])
    raw = {"text": words.transform(data["transcript"]).toarray().astype(np.float32), "audio": data["audio"]}
    schema = cl.Schema({"text": cl.Text("transcript"), "audio": cl.Vector("audio")})
    rows = {"transcript": data["transcript"].astype(object), "audio": data["audio"]}
    return OwnTable(rows, schema, data["label"], raw, data["train"], data["test"])


def digit_halves(folder: Path) -> OwnTable:
    """Return scikit-learn's digits, with each half as a picture of 32 x 32 pixels; needs no file."""
    digits = load_digits()
    halves = {"left": digits.images[:, :, :4], "right": digits.images[:, :, 4:]}
    rows = {name: _blocks(pixels * 15.9, (4, 8)) for name, pixels in halves.items()}
    raw = {name: pixels.reshape(-1, 32).astype(np.float32) for name, pixels in halves.items()}
    schema = cl.Schema({name: cl.Image(name) for name in halves})
    places = np.arange(len(digits.target))
    train, test = train_test_split(places, test_size=597, random_state=0, stratify=digits.target)
    return OwnTable(rows, schema, digits.target, raw, np.sort(train), np.sort(test))


def easy_vqa(folder: Path) -> OwnTable:
    """Read Easy-VQA: pictures of shapes and questions about them."""
    data = np.load(folder / "easy_vqa.npz", allow_pickle=False)
    images = np.concatenate([data["images_train"], data["images_test"]])
    shown = np.concatenate([data["image_id_train"], data["image_id_test"] + len(data["images_train"])])
    questions = np.concatenate([data["question_train"], data["question_test"]])
    small = np.stack([_thumbnail(image) for image in images])
    words = TfidfVectorizer(use_idf=False, norm=None, token_pattern=r"\w+").fit(questions)
    count = len(data["question_train"])
    files = np.array([_png(image) for image in images], dtype=object)
    return OwnTable(
        {"image": files[shown], "question": questions.astype(object)},
        cl.Schema({"image": cl.Image("image"), "question": cl.Text("question")}),
        np.concatenate([data["answer_train"], data["answer_test"]]),
        {"image": small[shown], "question": words.transform(questions).toarray().astype(np.float32)},
        np.arange(count),
        np.arange(count, len(questions)),
        groups=shown,
    )


def watch(folder: Path) -> OwnTable:
    """Read two sensors of a watch during 27 exercises; test persons are not in the training rows."""
    data = np.load(folder / "watch.npz", allow_pickle=False)
    names = ("acc", "gyro")
    rows = {name: column_of(_series(data[name])) for name in names}
    raw = {name: np.nan_to_num(data[name]).mean(axis=1) for name in names}
    train = data["split"] == "train"
    schema = cl.Schema({name: cl.Series(name) for name in names})
    places = (np.flatnonzero(train), np.flatnonzero(~train))
    return OwnTable(rows, schema, data["exercise"], raw, *places, groups=data["subject"])


def tcga_breast(folder: Path) -> OwnTable:
    """Read three kinds of molecules of breast tumours, by subtype; test tumours have no proteins."""
    data = np.load(folder / "tcga_breast.npz", allow_pickle=False)
    names = ("mirna", "mrna", "protein")
    rows = {name: column_of(_series(data[name])) for name in names}
    train = data["split"] == "train"
    schema = cl.Schema({name: cl.Vector(name) for name in names})
    raw = {name: np.nan_to_num(data[name]) for name in names}
    return OwnTable(rows, schema, data["subtype"], raw, np.flatnonzero(train), np.flatnonzero(~train))


def icu_a(folder: Path) -> OwnTable:
    """Read measurements of intensive care stays, and five facts about the patient; the label is mortality."""
    frame = pd.read_parquet(folder / "icu_a.parquet").reset_index(drop=True)
    static = ["Age", "Gender", "Height", "ICUType", "Weight"]
    stays = [
        None if stay is None else np.array(list(map(list, stay)), np.float32) for stay in frame["series"]
    ]
    rows = {**{name: frame[name].to_numpy() for name in static}, "series": column_of(_series(stays))}
    schema = cl.Schema({"static": cl.Tabular(static), "series": cl.Series("series")})
    labels = frame["mortality"].to_numpy()
    train, test = train_test_split(np.arange(len(frame)), train_size=3000, random_state=0, stratify=labels)
    raw = {"static": frame[static].fillna(0).to_numpy(dtype=np.float32)}
    return OwnTable(rows, schema, labels, raw, np.sort(train), np.sort(test), curve=True)


TABLES = {
    "mfeat": mfeat,
    "mosi vectors": mosi_vectors,
    "mosi transcripts": mosi_transcripts,
    "easy_vqa": easy_vqa,
    "easy_vqa 6000": lambda folder: easy_vqa(folder).first(6000),
    "digit halves": digit_halves,
    "watch": watch,
    "tcga_breast": tcga_breast,
    "icu_a": icu_a,
}


def _both(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read arrays with training rows followed by test rows, and the positions of both."""
    data = np.load(path, allow_pickle=False)
    joined = {
        name: np.concatenate([data[f"{name}_train"], data[f"{name}_test"]]) for name in (*names, "label")
    }
    count = len(data["label_train"])
    return {**joined, "train": np.arange(count), "test": np.arange(count, len(joined["label"]))}


def column_of(cells: Iterable[Any]) -> np.ndarray:
    """Return the cells as an array with one object per row: an array, bytes or None."""
    listed = list(cells)
    column = np.empty(len(listed), dtype=object)
    for place, cell in enumerate(listed):
        column[place] = cell
    return column


def _series(values: Iterable[np.ndarray | None]) -> list[np.ndarray | None]:
    """Return arrays of float32, and None for those without any observed value."""
    return [
        None if value is None or np.isnan(value).all() else np.asarray(value, dtype=np.float32)
        for value in values
    ]


def _blocks(images: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Enlarge every pixel to a block of equal pixels; returns a column of arrays."""
    return column_of(np.kron(images, np.ones(block)).round().astype(np.uint8))


def _thumbnail(image: np.ndarray) -> np.ndarray:
    small = PIL.fromarray(image).resize((THUMBNAIL, THUMBNAIL), PIL.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).reshape(-1) / 255


def _cell(value: Any) -> Any:
    """Return a cell as it is stored in Parquet: pictures as PNG, arrays as lists, absent values as None."""
    if isinstance(value, np.ndarray):
        return _png(value) if value.dtype == np.uint8 else value.tolist()
    return value


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.fromarray(image).save(file, format="PNG")
    return file.getvalue()
