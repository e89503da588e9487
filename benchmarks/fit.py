"""Measure the processor time of `Embedder().fit` on vectors with default settings, relative to a floor.

    python benchmarks/fit.py [--modalities 3 8] [--rows 5000]

The data are synthetic vectors of 20 numbers, all of which share some information. The floor is the time that
the matrix products of the fit would take at the rate of large products. The accuracies are those of a
logistic regression on four classes, tested on rows that were not used for the fit, with all labels and with
40 (mean of ten draws). To measure an older commit, set PYTHONPATH to its sources.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
import torch
from machine import measure, operations
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl

WIDTH = 20
DRAWS = 10


def table(modalities: int, rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return vectors that mix shared and private sources, and labels that depend on the shared ones."""
    draw = np.random.default_rng(0)
    shared = draw.normal(size=(rows, 6))
    columns = {}
    for place in range(modalities):
        sources = np.hstack([shared, draw.normal(size=(rows, 6))])
        mixed = np.tanh(sources @ draw.normal(size=(12, WIDTH))) + 0.5 * draw.normal(size=(rows, WIDTH))
        columns[f"view{place}"] = list(mixed.astype("float32"))
    return pd.DataFrame(columns), (shared[:, 0] > 0) + 2 * (shared[:, 1] > 0)


def accuracy(fit: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> float:
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return float(reader.fit(fit, labels).score(test, truth))


def measured(modalities: int, rows: int, rate: float) -> str:
    frame, labels = table(modalities, rows + 1000)
    schema = {"modalities": {name: {"kind": "vector", "column": name} for name in frame}}
    model = cl.Embedder(schema)
    start = time.process_time()
    model.fit(frame[:rows])
    seconds = time.process_time() - start
    floor = operations(lambda: cl.Embedder(schema).fit(frame[:rows])) / rate
    fit, test = model.transform(frame[:rows]), model.transform(frame[rows:])
    few = [np.random.default_rng(draw).choice(rows, 40, replace=False) for draw in range(DRAWS)]
    scores = [accuracy(fit[some], labels[some], test, labels[rows:]) for some in few]
    whole = accuracy(fit, labels[:rows], test, labels[rows:])
    return (
        f"| {modalities} | {rows} | {seconds:.1f} | {floor:.1f} | {100 * floor / seconds:.0f} % "
        f"| {100 * whole:.1f} | {100 * np.mean(scores):.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--modalities", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--rows", type=int, default=5000)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(1)
    rate = measure().products
    print("| modalities | rows | fit, s | floor, s | share | all labels | 40 labels |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for modalities in options.modalities:
        print(measured(modalities, options.rows, rate), flush=True)


if __name__ == "__main__":
    main()
