"""Measure what labels of some rows add to the training: `comm-sup` compared with `comm` on real tables.

    python benchmarks/some_labels.py --data FOLDER [--choose --weights 0.1,0.3,1] [--draws 2]

FOLDER is that of few_labels.py. The labels of 5, 20 or all training rows of each class are known. `comm-sup`
learns from these labels and from all rows, `comm` only from all rows without labels. A logistic regression on
the full embedding, standardised on all training rows, is then fitted on the labelled rows. With --choose, a
quarter of the training rows is used as the test, so that the weight can be chosen without looking at the real
one. The class of `--tables "product of signs"` depends only on the combination of two vectors of noise.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from own_data_tables import TABLES, OwnTable
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

import commlearn as cl

DEFAULT = "mfeat,digit halves,tcga_breast,mosi transcripts,watch,icu_a"


def product_of_signs(folder: Path) -> OwnTable:
    """Return two vectors of noise; the class is whether their first numbers share a sign. Needs no file."""
    draw = np.random.default_rng(0)
    rows = {name: draw.normal(size=(3000, 8)).astype(np.float32) for name in ("left", "right")}
    labels = (rows["left"][:, 0] * rows["right"][:, 0] > 0).astype(int)
    schema = cl.Schema({name: cl.Vector(name) for name in rows})
    return OwnTable(rows, schema, labels, rows, np.arange(1500), np.arange(1500, 3000))


def labelled_rows(labels: np.ndarray, budget: str, draw: int) -> np.ndarray:
    """Return the positions of the rows whose label is known: `budget` per class, or all."""
    if budget == "all":
        return np.arange(len(labels))
    generator = np.random.default_rng(draw)
    each = [generator.permutation(np.flatnonzero(labels == name)) for name in np.unique(labels)]
    return np.sort(np.concatenate([rows[: int(budget)] for rows in each]))


def fitted(table: OwnTable, seed: int, method: str | dict, rows: np.ndarray | None = None) -> cl.Embedder:
    """Train on all training rows, with the labels of those at `rows`."""
    labels = None
    if rows is not None:
        labels = np.full(len(table.train), None, dtype=object)
        labels[rows] = [str(label) for label in table.labels[table.train[rows]]]
    model = cl.Embedder(table.schema, method, random_state=seed, settings={"training.threads": 1})
    return model.fit(table.part(table.train), labels)


def score(table: OwnTable, vectors: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> float:
    """Return the balanced accuracy on the test rows in percent, or the area under the ROC curve."""
    scaler = StandardScaler().fit(vectors[0])
    train, test = map(scaler.transform, vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        readout = LogisticRegression(max_iter=200).fit(train[rows], table.labels[table.train[rows]])
    truth = table.labels[table.test]
    if table.curve:
        return 100 * float(roc_auc_score(truth, readout.decision_function(test)))
    return 100 * float(balanced_accuracy_score(truth, readout.predict(test)))


def embedded(table: OwnTable, model: cl.Embedder, blocks: str = "all") -> tuple[np.ndarray, np.ndarray]:
    train, test = (model.transform(table.part(rows), blocks=blocks) for rows in (table.train, table.test))
    return train, test


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tables", default=DEFAULT)
    parser.add_argument(
        "--weights", default="", help="weights of the supervised term; default: the method's own"
    )
    parser.add_argument("--budgets", default="5,20,all", help="labels per class")
    parser.add_argument("--draws", type=int, default=1, help="seeds, each with its own labelled rows")
    parser.add_argument("--choose", action="store_true", help="score on a quarter of the training rows")
    options = parser.parse_args()
    methods: dict[str, str | dict] = {"comm-sup": "comm-sup"}
    if options.weights:
        weights = map(float, options.weights.split(","))
        methods = {f"comm-sup {w:g}": {"name": "comm-sup", "label_weight": w} for w in weights}
    columns = ["features", "comm", *methods]
    print(f"| table | labels per class | {' | '.join(columns)} | seconds per fit |")
    print("| --- | --- |" + " --- |" * (len(columns) + 1))
    for name in options.tables.split(","):
        table = product_of_signs(options.data) if name == "product of signs" else TABLES[name](options.data)
        table = table.choosing() if options.choose else table
        scores: dict[str, list[list[float]]] = {budget: [] for budget in options.budgets.split(",")}
        seconds = []
        for draw in range(options.draws):
            start = time.perf_counter()
            plain = fitted(table, draw, "comm")
            seconds.append(time.perf_counter() - start)
            vectors = [embedded(table, plain, "features"), embedded(table, plain)]
            for budget, draws in scores.items():
                rows = labelled_rows(table.labels[table.train], budget, draw)
                draws.append([score(table, each, rows) for each in vectors])
                for method in methods.values():
                    model = fitted(table, draw, method, rows)
                    draws[-1].append(score(table, embedded(table, model), rows))
        for budget, draws in scores.items():
            means = " | ".join(f"{mean:.1f}" for mean in np.mean(draws, axis=0))
            print(f"| {name} | {budget} | {means} | {np.mean(seconds):.0f} |", flush=True)


if __name__ == "__main__":
    main()
