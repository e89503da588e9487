"""Compare the default embeddings of several methods on users' own tables, with few labels and with all.

    python benchmarks/own_methods.py --data FOLDER [--tables watch,mfeat] [--methods comm,simclr]
    python benchmarks/own_methods.py --data FOLDER --methods comm --set method.prediction=4

Only training rows are used: a quarter of them (for watch, the rows of two people) are held out and scored.
Scores are balanced accuracies in percent (icu_a: AUROC) of a logistic regression on standardised dimensions;
for few labels, the mean of five draws. `features` are the fixed features of CoMM's embedding, without its
learned part.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from own_data_tables import TABLES, OwnTable
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl

DEFAULT = "watch,tcga_breast,mfeat,mosi transcripts,digit halves,icu_a"
METHODS = "comm,infmasking,comm-crossself,crossself,simclr,cmc"
BUDGETS = (5, 20)
DRAWS = 5


def choosing(table: OwnTable) -> OwnTable:
    """Return only the training rows, with some held out: those of two groups if there are at most ten."""
    if table.groups is None or len(np.unique(table.groups[table.train])) > 10:
        return table.choosing()
    splitter = GroupShuffleSplit(1, test_size=2, random_state=0)
    fit, held = next(splitter.split(table.train, groups=table.groups[table.train]))
    return replace(table, train=table.train[fit], test=table.train[held])


def few(labels: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield positions of `count` rows of each class, for several draws."""
    for draw in range(DRAWS):
        generator = np.random.default_rng(draw)
        yield np.concatenate(
            [generator.permutation(np.flatnonzero(labels == one))[:count] for one in np.unique(labels)]
        )


def score(table: OwnTable, fit: np.ndarray, labels: np.ndarray, held: np.ndarray) -> float:
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(fit, labels)
    truth = table.labels[table.test]
    if table.curve:
        return 100 * float(roc_auc_score(truth, reader.predict_proba(held)[:, 1]))
    return 100 * float(balanced_accuracy_score(truth, reader.predict(held)))


def row(table: OwnTable, model: cl.Embedder, blocks: str) -> str:
    """Return the scores with each budget, as cells of a Markdown table."""
    fit, held = (model.transform(table.part(rows), blocks=blocks) for rows in (table.train, table.test))
    labels = table.labels[table.train]
    scores = [
        np.mean([score(table, fit[some], labels[some], held) for some in few(labels, count)])
        for count in BUDGETS
    ]
    return " | ".join(f"{value:.1f}" for value in (*scores, score(table, fit, labels, held)))


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tables", default=DEFAULT)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--set", nargs="*", default=[], help="settings, KEY=VALUE")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    settings = {key: yaml.safe_load(value) for key, value in (part.split("=", 1) for part in options.set)}
    print("| table | vectors | 5 per class | 20 per class | all labels | fit, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.tables.split(","):
        table = choosing(TABLES[name](options.data))
        for method in options.methods.split(","):
            start = time.process_time()
            model = cl.Embedder(table.schema, method=method, settings=settings)
            model.fit(table.part(table.train))
            seconds = time.process_time() - start
            if method == "comm":
                print(f"| {name} | features | {row(table, model, 'features')} | |", flush=True)
            print(f"| {name} | {method} | {row(table, model, 'all')} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
