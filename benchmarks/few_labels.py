"""Compare the default embedding of users' own tables with the usual alternatives, by `cl.compare`.

    python benchmarks/few_labels.py --data FOLDER --out runs/few-labels [--tables watch,mfeat] [--seeds 1]

FOLDER contains mfeat.npz, mosi_utt.npz, easy_vqa.npz, watch.npz, tcga_breast.npz and icu_a.parquet. The
script writes each as a Parquet table with a schema. `cl.compare` then runs the rivals with 5 and 20 labels
per class in five draws and with all labels, leaves out modalities, and computes intervals and the verdict.
If it is run again, it continues where it stopped.

`--tables packaged` selects the tables of packaged_tables.py, on which no training setting was chosen. FOLDER
must then contain the wheels that packaged_tables.py lists.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from own_data_tables import TABLES
from packaged_tables import PACKAGED

import commlearn as cl
from commlearn.comparison.table import Comparison

BUDGETS = ("5", "20", "all")
DEFAULT = "digit halves,tcga_breast,watch,mosi transcripts,mfeat,icu_a,easy_vqa 6000"


def summary(name: str, comparison: Comparison) -> str:
    """Return Markdown table rows: the best rival, the embedding, and their difference with its interval."""
    frame = comparison.to_frame()
    rows = []
    for _, own in frame[~frame["rival"]].iterrows():
        same = frame[(frame["labels"] == own["labels"]) & (frame["reader"] == own["best_rival"])].iloc[0]
        rows.append(
            f"| {name} | {own['labels']} | {own['best_rival']} {same['score']:.1f} | {own['score']:.1f} "
            f"| {own['difference']:+.1f} | {own['difference_low']:+.1f} to {own['difference_high']:+.1f} |"
        )
    return "\n".join(rows)


def absences(name: str, comparison: Comparison) -> list[tuple[str, float, float, float]]:
    """Return the loss without each modality in points, for the embedding and for the features.

    Each row has a name and three differences: the embedding without the modality, and the same with a reader
    refitted for it, both relative to the complete embedding; and the features with the modality's mean filled
    in, relative to the complete features.
    """
    rows = []
    for values in (comparison.verdict or {"targets": {}})["targets"].values():
        for modality, read in values["modalities"].items():
            own, features = read["comm"], read["features"]
            three = own["left_out"], own["refit"], features["filled_with_mean"]
            rows.append((f"{name}: {modality}", *(one["points"] for one in three)))
    return rows


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables and their comparisons")
    parser.add_argument("--tables", default=DEFAULT)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--jobs", type=int, default=0, help="trainings at the same time; default: one per core"
    )
    options = parser.parse_args()
    print("| table | labels per class | best rival | embedding | difference | interval |")
    print("| --- | --- | --- | --- | --- | --- |")
    verdicts, absent = [], []
    for name in PACKAGED if options.tables == "packaged" else options.tables.split(","):
        folder = options.out / name.replace(" ", "-")
        schema = folder / "schema.yaml"
        if not schema.exists():
            schema = (TABLES | PACKAGED)[name](options.data).write(folder)
        settings = {"training.threads": 1} if options.jobs == 1 else None
        comparison = cl.compare(
            schema,
            seeds=options.seeds,
            out=folder / "comparison",
            overrides=settings,
            jobs=options.jobs,
            tell=lambda line: None,
            budgets=BUDGETS,
        )
        print(summary(name, comparison), flush=True)
        verdicts.append(f"{name}:\n{comparison}")
        absent += absences(name, comparison)
    print("\n| missing from test rows | left out | a reader for the rest | features, mean filled in |")
    print("| --- | --- | --- | --- |")
    for case, *points in [*absent, ("mean", *np.mean([row[1:] for row in absent], axis=0))]:
        print(f"| {case} | {' | '.join(f'{value:+.1f}' for value in points)} |")
    print("\n\n".join(["", *verdicts]))


if __name__ == "__main__":
    main()
