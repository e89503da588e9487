"""The default embedding of own tables beside what its users would do otherwise, with all labels and with few.

    python benchmarks/few_labels.py --data FOLDER --out results.jsonl [--tables watch,mfeat] [--seeds 3]

FOLDER holds mfeat.npz, mosi_utt.npz, easy_vqa.npz, watch.npz, tcga_breast.npz and icu_a.parquet. Everything
is learned on training rows, without labels; then k labels a class are drawn five times (or all are taken)
and every rival gets the same ones: a logistic regression on standardised vectors, its penalty found by
cross-validation among them. Rivals: the fixed features of each modality, all side by side, late fusion (the
mean of the modalities' log-probabilities), boosting on the features side by side (all labels alone), and the
same network untrained. Scores are balanced accuracy, of icu_a the area under the ROC curve.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from own_data_tables import TABLES, OwnTable
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl
from commlearn.config.build import build_method

DRAWS = 5
RESAMPLES = 1000
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
OWN = ("embedding", "learned", "untrained")  # what is no rival
DEFAULT = "watch,tcga_breast,digit halves,mfeat,mosi transcripts,icu_a,easy_vqa"
Parts = tuple[np.ndarray, np.ndarray]  # vectors of training and of test rows


def embeddings(table: OwnTable, seed: int) -> tuple[dict[str, Parts], float]:
    """The vectors of every rival that is read by one regression, and the processor seconds of `fit`."""
    rows = [table.part(table.train), table.part(table.test)]
    began = time.process_time()
    model = cl.Embedder(table.schema, random_state=seed).fit(rows[0])
    seconds = time.process_time() - began
    run = model.trained
    fresh = build_method(run.experiment, run.specs, run.state, features=run.features)
    untrained = replace(run, method=fresh.eval())
    records = [run.records(part) for part in rows]
    found = {
        "features": tuple(cl.embed(run, part, blocks="features") for part in records),
        "embedding": tuple(cl.embed(run, part) for part in records),
        "learned": tuple(cl.embed(run, part, blocks="learned") for part in records),
        "untrained": tuple(cl.embed(untrained, part) for part in records),
    }
    start = 0
    for name, dim in run.features.dims.items():
        found[f"features of {name}"] = tuple(part[:, start : start + dim] for part in found["features"])
        start += dim
    return found, seconds


class Budget:
    """Some labelled training rows, and how a rival that is fitted on them scores on the test rows."""

    def __init__(self, table: OwnTable, labels: int | None, draw: int) -> None:
        known = table.labels[table.train]
        if labels is None:
            self.rows = np.arange(len(known))
        else:
            order = np.random.default_rng(draw)
            classes = [np.flatnonzero(known == label) for label in np.unique(known)]
            self.rows = np.concatenate([order.permutation(rows)[:labels] for rows in classes])
        self.known, self.wanted = known[self.rows], table.labels[table.test]
        self.groups = None if labels or table.groups is None else table.groups[table.train]
        self.curve = table.curve

    def probabilities(self, vectors: Parts) -> np.ndarray:
        """Of each class for each test row, by a regression."""
        folds: Any = StratifiedKFold(3, shuffle=True, random_state=0)
        if self.groups is not None:
            folds = GroupKFold(min(5, len(np.unique(self.groups))))
        scale = StandardScaler().fit(vectors[0])
        model = make_pipeline(LogisticRegression(max_iter=300, tol=1e-3))
        search = GridSearchCV(
            model, {"logisticregression__C": STRENGTHS}, cv=folds, scoring="neg_log_loss", error_score=-99.0
        )
        search.fit(scale.transform(vectors[0])[self.rows], self.known, groups=self.groups)
        return search.predict_proba(scale.transform(vectors[1]))

    def boosted(self, vectors: Parts) -> np.ndarray:
        model = HistGradientBoostingClassifier(max_iter=100, random_state=0)
        return model.fit(vectors[0][self.rows], self.known).predict_proba(vectors[1])

    def score(self, chances: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
        if self.curve:
            return float(roc_auc_score(self.wanted[rows], chances[rows, 1]))
        guesses = np.unique(self.known)[chances[rows].argmax(axis=1)]
        return float(balanced_accuracy_score(self.wanted[rows], guesses))

    def interval(self, first: np.ndarray, second: np.ndarray) -> list[float]:
        """95 % of the difference of two rivals' scores, over the test rows that there might have been."""
        draw, count = np.random.default_rng(0), len(self.wanted)
        gaps = []
        for _ in range(RESAMPLES):
            rows = draw.integers(count, size=count)
            gaps.append(self.score(first, rows) - self.score(second, rows))
        return [round(float(limit), 4) for limit in np.quantile(gaps, (0.025, 0.975))]


def rivals(budget: Budget, vectors: dict[str, Parts], boost: bool) -> dict[str, np.ndarray]:
    found = {name: budget.probabilities(parts) for name, parts in vectors.items()}
    singles = [chances for name, chances in found.items() if name.startswith("features of ")]
    found["late fusion"] = np.mean([np.log(chances + 1e-9) for chances in singles], axis=0)
    if boost:
        found["boosting"] = budget.boosted(vectors["features"])
    return found


def compare(name: str, folder: Path, seed: int, out: Path) -> None:
    table = TABLES[name](folder)
    vectors, seconds = embeddings(table, seed)
    for labels in (5, 20, None):
        for draw in range(DRAWS if labels else 1):
            budget = Budget(table, labels, draw)
            found = rivals(budget, vectors, boost=labels is None)
            scores = {rival: round(budget.score(chances), 4) for rival, chances in found.items()}
            best = max((rival for rival in scores if rival not in OWN), key=scores.__getitem__)
            line = {"table": name, "seed": seed, "labels": labels, "draw": draw, "seconds": round(seconds, 1)}
            line |= {"scores": scores, "best": best}
            if labels is None:
                line["interval"] = budget.interval(found["embedding"], found[best])
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def summary(out: Path) -> str:
    """A table in Markdown: means over seeds and draws."""
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    rows = ["| table | labels a class | best rival | embedding | untrained | difference | 95 % | fit, s |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in dict.fromkeys(line["table"] for line in lines):
        for labels in (5, 20, None):
            some = [line for line in lines if (line["table"], line["labels"]) == (name, labels)]
            mean = {
                rival: float(np.mean([line["scores"][rival] for line in some])) for rival in some[0]["scores"]
            }
            best = max((rival for rival in mean if rival not in OWN), key=mean.__getitem__)
            limits = np.mean([line["interval"] for line in some], axis=0) if labels is None else None
            shown = "" if limits is None else f"{100 * limits[0]:+.1f} to {100 * limits[1]:+.1f}"
            gap = 100 * (mean["embedding"] - mean[best])
            rows.append(
                f"| {name} | {labels or 'all'} | {best} {100 * mean[best]:.1f} "
                f"| {100 * mean['embedding']:.1f} | {100 * mean['untrained']:.1f} | {gap:+.1f} | {shown} "
                f"| {np.mean([line['seconds'] for line in some]):.0f} |"
            )
    return "\n".join(rows)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; what it holds is not done again")
    parser.add_argument("--tables", default=DEFAULT)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    before = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    done = {(line["table"], line["seed"]) for line in map(json.loads, before) if line["labels"] is None}
    for seed in range(options.seeds):
        for name in options.tables.split(","):
            if (name, seed) not in done:
                compare(name, options.data, seed, options.out)
    print(summary(options.out))


if __name__ == "__main__":
    main()
