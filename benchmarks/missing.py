"""What missing modalities cost: in training, and afterwards.

    python benchmarks/missing.py --data FOLDER [--tables mfeat] [--share 0.3] [--seeds 1]

Trains CoMM with its defaults on complete rows, and on the same rows with a share of their modality
entries taken away at random (every row keeps one). A logistic regression is fitted on the embeddings
of the rows that were trained on, and scored on complete test rows. Then each modality in turn is
missing from all test rows, once left out and once filled with the training mean; the probe stays as
it was fitted on complete rows.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from own_data import learn, probe
from own_data_tables import TABLES, OwnTable

import commlearn as cl


def with_gaps(table: OwnTable, share: float, seed: int) -> OwnTable:
    """The table with a share of the modality entries of its training rows taken away."""
    draw = np.random.default_rng(seed)
    chance = draw.random((len(table.labels), len(table.rows)))
    gone = chance < share
    gone[np.arange(len(gone)), chance.argmax(axis=1)] = False
    gone[table.test] = False
    rows = {}
    for place, (name, values) in enumerate(table.rows.items()):
        cells = np.empty(len(values), dtype=object)
        cells[:] = [None if absent else cell for cell, absent in zip(values, gone[:, place], strict=True)]
        rows[name] = cells
    return replace(table, rows=rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--tables", default="mfeat,mosi vectors", help="those of vectors alone")
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--choose", action="store_true", help="score on a quarter of the training rows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    overrides = {word.partition("=")[0]: yaml.safe_load(word.partition("=")[2]) for word in options.set}
    for name in options.tables.split(","):
        for seed in range(options.seeds):
            table = TABLES[name](options.data)
            table = table.choosing() if options.choose else table
            report(name, table, seed, options.share, overrides)


def report(name: str, table: OwnTable, seed: int, share: float, overrides: dict[str, object]) -> None:
    labels, test_labels = table.labels[table.train], table.labels[table.test]
    whole, _ = learn(table, seed, overrides)
    train, test = (cl.embed(whole, table.part(rows)) for rows in (table.train, table.test))
    complete = probe(train, labels, test, test_labels)
    print(f"{name}, seed {seed}: {len(table.train)} rows to learn from, {len(table.test)} to score")
    print(f"  trained on complete rows            {complete:.3f}", flush=True)

    gaps = with_gaps(table, share, seed)
    holed, _ = learn(gaps, seed, overrides)
    train_gaps, test_whole = (cl.embed(holed, gaps.part(rows)) for rows in (gaps.train, gaps.test))
    lost = probe(train_gaps, labels, test_whole, test_labels)
    print(
        f"  trained with {share:.0%} of entries missing   {lost:.3f}  ({100 * (lost - complete):+.1f} points)"
    )

    print(
        f"  {'missing from test rows':22}{'left out':>10}{'mean filled in':>16}{'gaps trained, left out':>24}"
    )
    for part in table.rows:
        rest = [modality for modality in table.rows if modality != part]
        filled = table.part(table.test)
        mean = table.rows[part][table.train].mean(axis=0)
        filled[part] = np.broadcast_to(mean, filled[part].shape).copy()
        variants = (
            (train, cl.embed(whole, table.part(table.test), rest)),
            (train, cl.embed(whole, filled)),
            (train_gaps, cl.embed(holed, gaps.part(gaps.test), rest)),
        )
        scores = [probe(fit, labels, scored, test_labels) for fit, scored in variants]
        print(f"  {part:22}{scores[0]:10.3f}{scores[1]:16.3f}{scores[2]:24.3f}", flush=True)


if __name__ == "__main__":
    main()
