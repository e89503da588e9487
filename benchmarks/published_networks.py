"""Measure what EfficientNet-lite0 and MiniLM add to the default embedding of tables with pictures and texts.

    python benchmarks/published_networks.py --data FOLDER [--emoji FOLDER] [--tables "mosi transcripts"]
    python benchmarks/published_networks.py --time

The folder of --data contains mosi_utt.npz and easy_vqa.npz, that of --emoji the npm package
emoji-datasource-google. Embeddings come from `cl.Embedder(schema).fit(train).transform(test)` and are read by
StandardScaler and LogisticRegression. Scores are balanced accuracies in percent, with C = 1 and with C chosen
on training rows. --time measures the processor seconds of a fit of 5 000 rows with pictures of 64 pixels,
texts and ten numbers.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from own_data_tables import TABLES, OwnTable, column_of
from PIL import Image as PIL
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl

ROWS = 6_000  # most training rows
BUDGETS = (5, 20)  # labels per class
DRAWS = 5
PENALTIES = (0.0003, 0.001, 0.01, 0.1, 1.0)


def emoji(folder: Path) -> OwnTable:
    """Read pictures of 64 pixels with names, in nine categories; 60 % of the rows are for training."""
    entries = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    entries = [entry for entry in entries if entry["has_img_google"] and entry["category"] != "Component"]
    pictures = column_of(_on_white(folder / "img/google/64" / entry["image"]) for entry in entries)
    labels = np.array([entry["category"] for entry in entries])
    names = np.array([entry["name"].lower() for entry in entries], dtype=object)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.4, random_state=0, stratify=labels)
    schema = cl.Schema({"picture": cl.Image("picture"), "name": cl.Text("name")})
    return OwnTable({"picture": pictures, "name": names}, schema, labels, {}, np.sort(train), np.sort(test))


def scores(fit: np.ndarray, fit_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> str:
    """Return the balanced accuracy at each budget, as cells: with C = 1 / with C chosen."""
    cells = []
    for budget in (*BUDGETS, 0):
        draws = [np.arange(len(fit))] if not budget else [_few(fit_labels, budget, d) for d in range(DRAWS)]
        values = [_scored(fit[rows], fit_labels[rows], test, test_labels) for rows in draws]
        cells.append(" / ".join(f"{value:.1f}" for value in np.mean(values, axis=0)))
    return " | ".join(cells)


def table_rows(name: str, table: OwnTable) -> None:
    """Print a Markdown table row for each part of the embedding, without and with networks."""
    table = table.first(ROWS)
    fit, test = table.part(table.train), table.part(table.test)
    for networks in (False, True):
        start = time.process_time()
        model = cl.Embedder(table.schema, networks=networks).fit(fit)
        seconds = time.process_time() - start
        ways: Sequence[tuple[str, Mapping[str, Any]]] = (
            ("full embedding", {}),
            ("features", {"blocks": "features"}),
            *((f"{one} alone", {"modalities": [one]}) for one in table.schema.modalities),
        )
        for way, options in ways:
            seen = [model.transform(part, **options) for part in (fit, test)]
            read = scores(seen[0], table.labels[table.train], seen[1], table.labels[table.test])
            print(
                f"| {name} | {'with' if networks else 'without'} | {way} | {read} | {seconds:.0f} |",
                flush=True,
            )


def times(rows: int = 5_000) -> None:
    """Print the processor seconds of a fit of synthetic rows, without and with networks."""
    draw = np.random.default_rng(0)
    words = np.array([f"word{place}" for place in range(2_000)])
    table = {
        "picture": column_of(draw.integers(0, 255, (rows, 64, 64, 3)).astype(np.uint8)),
        "text": np.array([" ".join(draw.choice(words, 20)) for _ in range(rows)], dtype=object),
        "numbers": column_of(draw.normal(size=(rows, 10)).astype(np.float32)),
    }
    schema = cl.Schema(
        {"picture": cl.Image("picture"), "text": cl.Text("text"), "numbers": cl.Vector("numbers")}
    )
    for networks in (False, True):
        start = time.process_time()
        cl.Embedder(schema, networks=networks).fit(table)
        seconds = time.process_time() - start
        print(f"{rows} rows, {'with' if networks else 'without'} networks: {seconds:.0f} s", flush=True)


def _scored(fit: np.ndarray, fit_labels: np.ndarray, test: np.ndarray, labels: np.ndarray) -> list[float]:
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(
        min(5, np.unique(fit_labels, return_counts=True)[1].min()), shuffle=True, random_state=0
    )
    grid = {"logisticregression__C": PENALTIES}
    readers = (plain, GridSearchCV(plain, grid, scoring="balanced_accuracy", cv=folds))
    return [
        100 * balanced_accuracy_score(labels, reader.fit(fit, fit_labels).predict(test)) for reader in readers
    ]


def _few(labels: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Draw up to `budget` rows of each class."""
    draw = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    return np.concatenate([draw.choice(rows, min(budget, len(rows)), replace=False) for rows in classes])


def _on_white(path: Path) -> np.ndarray:
    picture = PIL.open(path).convert("RGBA")
    white = PIL.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return np.asarray(white.convert("RGB"))


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--emoji", type=Path)
    parser.add_argument("--tables", default="mosi transcripts,easy_vqa,digit halves,emoji")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    if options.time:
        times()
        return
    readers = {**{name: partial(read, options.data) for name, read in TABLES.items()}}
    readers["emoji"] = partial(emoji, options.emoji)
    print("| table | networks | input of the probe | 5 per class | 20 per class | all labels | fit, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in options.tables.split(","):
        if name != "emoji" or options.emoji is not None:
            table_rows(name, readers[name]())


if __name__ == "__main__":
    main()
