"""Measure how components of fixed features should be scaled: unchanged (power 1), or partly whitened (0.5).

    python benchmarks/component_sizes.py [--data FOLDER]

A logistic regression (C = 1) reads the features of texts and pictures that need no download: docstrings of
installed packages (the class is the package), names and pictures of emoji (the category), and digits. With
FOLDER, it also reads training rows of the `mosi_utt` transcripts, `icu_a` and `watch`. Scores are balanced
accuracies in percent (icu_a: AUROC): for 5 and 20 labels per class the mean of ten draws, tested on a
held-out third of the rows or groups; for all labels the mean of five folds.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from own_data_tables import TABLES
from PIL import Image as PIL
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

import commlearn as cl
from commlearn.models.features.fixed import RAW, FixedFeatures
from commlearn.models.features.raw import BLOCK, Raw
from commlearn.records import Column
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table

POWERS = (0.5, 0.75, 1.0)
PACKAGES = ("numpy", "scipy.stats", "scipy.signal", "pandas", "torch", "torch.nn", "matplotlib.pyplot")
NAMES = r"\b(numpy|np|scipy|pandas|pd|torch|matplotlib|plt|[Tt]ensor|Axes|DataFrame)\b"
EMOJI = Path(__file__).parent.parent / "examples" / "data"
SIDE = 32  # pixels per side of an emoji, and of a digit


class Case(NamedTuple):
    name: str
    columns: dict[str, Column]
    labels: np.ndarray
    groups: np.ndarray
    curve: bool = False


def case_of(
    name: str, schema: cl.Schema, rows: dict[str, Any], labels: np.ndarray, groups: np.ndarray | None
) -> Case:
    """Convert the rows to columns of one kind each, with labels and groups in the same order."""
    groups = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    modalities = {**schema.modalities, "filler": cl.Vector("filler")}
    schema = cl.Schema(modalities, targets={"answer": "class", "member": "number"})
    filler = np.arange(len(labels), dtype=float)
    answers = np.array([f"class {label}" for label in labels], dtype=object)
    table = {**rows, "filler": filler, "answer": answers, "member": groups.astype(float)}
    train = dataset_of(read_table(table), schema, test=0.01).train
    columns = {key: column for key, column in train.columns.items() if key != "filler"}
    codes = np.unique(train.targets["answer"].astype(str), return_inverse=True)[1]
    members = np.asarray(train.targets["member"], dtype=float).ravel().round().astype(int)
    return Case(name, columns, codes, members, curve=name == "icu_a")


def cases(folder: Path | None) -> Iterator[Case]:
    texts, packages = docstrings()
    yield case_of("docstrings", cl.Schema({"text": cl.Text("text")}), {"text": texts}, packages, None)
    emoji = pd.read_csv(EMOJI / "emoji.csv")
    sheet = PIL.open(EMOJI / "emoji.png").convert("RGB")
    across = sheet.width // SIDE
    corners = [(SIDE * (place % across), SIDE * (place // across)) for place in range(len(emoji))]
    pictures = np.array([png(sheet.crop((x, y, x + SIDE, y + SIDE))) for x, y in corners], dtype=object)
    common = ~emoji["category"].isin(["Flags", "Component"]).to_numpy()
    labels = emoji["category"].to_numpy()[common]
    names = emoji["name"].to_numpy(dtype=object)[common]
    yield case_of("emoji: names", cl.Schema({"text": cl.Text("text")}), {"text": names}, labels, None)
    images = cl.Schema({"image": cl.Image("image")})
    yield case_of("emoji: pictures", images, {"image": pictures[common]}, labels, None)
    digits = load_digits()
    pictures = np.array(
        [png(PIL.fromarray(np.uint8(15 * one))) for one in digits.images[:1000]], dtype=object
    )
    yield case_of("digits: pictures", images, {"image": pictures}, digits.target[:1000], None)
    for name in ("mosi transcripts", "icu_a", "watch") if folder else ():
        table = TABLES[name](folder)
        train = table.train[:1500]
        groups = None if table.groups is None else table.groups[train]
        yield case_of(name, table.schema, dict(table.part(train)), table.labels[train], groups)


def docstrings(each: int = 220) -> tuple[np.ndarray, np.ndarray]:
    """Return pieces of documentation from each package, with package names removed, and their packages."""
    texts, packages, generator = [], [], np.random.default_rng(0)
    for package in PACKAGES:
        module = importlib.import_module(package)
        documents = {
            inspect.getdoc(part) or ""
            for name in dir(module)
            if callable(part := getattr(module, name, None))
        }
        long = sorted(document for document in documents if len(document) > 200)
        for place in generator.permutation(len(long))[:each]:
            texts.append(" ".join(re.sub(NAMES, "", long[place]).split())[100:400])
            packages.append(package)
    return np.array(texts, dtype=object), np.array(packages)


def png(picture: PIL.Image, side: int = SIDE) -> bytes:
    file = io.BytesIO()
    picture.resize((side, side), PIL.Resampling.BILINEAR).convert("RGB").save(file, "PNG")
    return file.getvalue()


def use(power: float) -> None:
    """Scale the components of all kinds of features by this power of their deviation from now on."""

    def softness(self: Raw) -> float:
        return power

    kinds: list[type[Raw]] = [Raw, *RAW.values()]
    for kind in kinds:
        kind.softness = property(softness)  # type: ignore[assignment, method-assign]


def features(case: Case, networks: bool) -> np.ndarray:
    """Return all fixed features side by side, (rows, features), each with deviation 1."""
    blocks = []
    for column in case.columns.values():
        learned = FixedFeatures(column.spec, networks).learn(column, 0)
        parts = [np.arange(at, min(at + BLOCK, len(column))) for at in range(0, len(column), BLOCK)]
        blocks.append(np.concatenate([learned(column.take(part)).numpy() for part in parts]))
    values = np.concatenate(blocks, axis=1)
    return (values - values.mean(axis=0)) / values.std(axis=0).clip(1e-9)


def score(case: Case, values: np.ndarray, fit: np.ndarray, held: np.ndarray) -> float:
    reader = LogisticRegression(max_iter=300, tol=1e-3).fit(values[fit], case.labels[fit])
    if case.curve:
        return 100 * float(roc_auc_score(case.labels[held], reader.predict_proba(values[held])[:, 1]))
    return 100 * float(balanced_accuracy_score(case.labels[held], reader.predict(values[held])))


def scores(case: Case, values: np.ndarray) -> list[float]:
    """Return the scores with 5 labels per class, with 20 and with all."""
    few: dict[int, list[float]] = {5: [], 20: []}
    splits = GroupShuffleSplit(10, test_size=1 / 3, random_state=0).split(values, groups=case.groups)
    for draw, (rest, held) in enumerate(splits):
        order = np.random.default_rng(draw).permutation(rest)
        for count, reached in few.items():
            fit = [order[case.labels[order] == one][:count] for one in np.unique(case.labels)]
            reached.append(score(case, values, np.concatenate(fit), held))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(values, case.labels, case.groups)
    every = [score(case, values, fit, held) for fit, held in folds]
    return [float(np.mean(reached)) for reached in (*few.values(), every)]


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print("| features | networks | power | 5 labels per class | 20 | all |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case in cases(options.data):
        reads = "image" in case.columns or "text" in case.columns
        for networks in (True, False) if reads else (False,):
            for power in POWERS:
                use(power)
                reached = " | ".join(f"{value:.1f}" for value in scores(case, features(case, networks)))
                print(f"| {case.name} | {'yes' if networks else 'no'} | {power} | {reached} |", flush=True)


if __name__ == "__main__":
    main()
