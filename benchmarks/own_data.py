"""Compare unsupervised CoMM on real tables with a probe of the raw features.

    python benchmarks/own_data.py --data FOLDER [--tables mfeat,easy_vqa] [--seeds 3]

FOLDER contains mfeat.npz, mosi_utt.npz and easy_vqa.npz. CoMM is trained on the training rows without
labels, with default settings unless --set changes them. The same kind of logistic regression reads all
features, which are standardised; its penalty is chosen by cross-validation on training rows. With
--choose, a quarter of the training rows is used as the test, so that settings can be chosen without
looking at the real one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from own_data_tables import TABLES, OwnTable
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl
from commlearn.config.fill import set_dotted
from commlearn.config.own_data import experiment_for
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
SEARCH_ROWS = 4000


def probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Return the test accuracy of a logistic regression."""
    rows = np.random.default_rng(0).permutation(len(train))[:SEARCH_ROWS]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = GridSearchCV(model, {"logisticregression__C": STRENGTHS}, cv=folds, refit=False)
        search.fit(train[rows], labels[rows])
        model.set_params(**search.best_params_).fit(train, labels)
    return float(model.score(test, test_labels))


def raw_scores(table: OwnTable) -> dict[str, float]:
    """Return the probe's accuracy on the raw features of each modality, and on all of them side by side."""
    features = {**table.raw, "all raw": np.concatenate(list(table.raw.values()), axis=1)}
    return {name: scored(table, values[table.train], values[table.test]) for name, values in features.items()}


def learned_scores(table: OwnTable, run: Any, each: bool) -> dict[str, float]:
    """Return the probe's accuracy on the embedding, on its fused part only, and on that of each modality."""
    subsets = {"CoMM": None, **({f"CoMM {name}": [name] for name in table.raw} if each else {})}
    parts = [table.part(rows) for rows in (table.train, table.test)]
    embedded = {name: [cl.embed(run, part, subset) for part in parts] for name, subset in subsets.items()}
    width = run.experiment.model.width
    embedded["CoMM, fused alone"] = [rows[:, :width] for rows in embedded["CoMM"]]
    return {name: scored(table, *rows) for name, rows in embedded.items()}


def scored(table: OwnTable, train: np.ndarray, test: np.ndarray) -> float:
    return probe(train, table.labels[table.train], test, table.labels[table.test])


def learn(table: OwnTable, seed: int, overrides: dict[str, Any], method: str = "comm") -> tuple[Any, float]:
    """Train a model on the training rows; returns the run, and the seconds that it took."""
    data = dataset_of(read_table(table.part(table.train)), table.schema, test=0.0)
    settings = {
        "name": "own data",
        "data": {"name": "table", "table": "", "schema": table.schema.to_mapping()},
        "method": {"name": method},
        "seed": seed,
        "training": {"threads": 1, "log_every": 100, "checkpoint_every": 10**6},
    }
    for key, value in overrides.items():
        set_dotted(settings, key, value)
    experiment, note = experiment_for(settings, data)
    if seed == 0:
        print(note, flush=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = cl.train(experiment, Path(folder) / "run", data)
    return run, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--tables", default="mfeat,mosi vectors,mosi transcripts,easy_vqa")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretrained", type=Path, help="folder of a sentence encoder for the texts")
    parser.add_argument("--rows", type=int, default=0, help="at most this many training rows")
    parser.add_argument("--choose", action="store_true", help="score on a quarter of the training rows")
    parser.add_argument("--no-raw", action="store_true", help="leave the raw features out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    overrides = {word.partition("=")[0]: yaml.safe_load(word.partition("=")[2]) for word in options.set}
    for name in options.tables.split(","):
        table = TABLES[name](options.data).first(options.rows)
        table = table.choosing() if options.choose else table
        table = table.encoded(options.pretrained) if options.pretrained else table
        print(f"{name}: {len(table.train)} training rows, {len(table.test)} test rows", flush=True)
        for part, accuracy in ({} if options.no_raw else raw_scores(table)).items():
            print(f"  {part:20} {accuracy:.3f}", flush=True)
        accuracies: dict[str, list[float]] = {}
        for seed in range(options.seeds):
            run, seconds = learn(table, seed, overrides)
            for part, accuracy in learned_scores(table, run, each=seed == 0).items():
                accuracies.setdefault(part, []).append(accuracy)
            print(f"  seed {seed}: {accuracies['CoMM'][-1]:.3f}, trained in {seconds:.0f} s", flush=True)
        for part, scores in accuracies.items():
            spread = f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
            print(f"  {part:20} {np.mean(scores):.3f}{spread}", flush=True)


if __name__ == "__main__":
    main()
