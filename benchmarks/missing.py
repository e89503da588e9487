"""Measure the cost of missing modalities, in training and at test time.

    python benchmarks/missing.py --data FOLDER [--tables mfeat] [--share 0.3] [--seeds 1]

Trains CoMM with its defaults on complete rows, and on the same rows with a share of their modality
entries removed at random (every row keeps at least one). A logistic regression is fitted on the embeddings
of the training rows and scored on complete test rows. Then each modality in turn is missing from all
test rows, once left out and once filled with the training mean; the probe is still the one fitted on
complete rows. For comparison: raw features with the mean filled in; a probe fitted on embeddings of the
remaining modalities; and the modality left out of the model that was trained with gaps.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from own_data import learn, probe
from own_data_tables import TABLES, OwnTable, column_of

import commlearn as cl

COMPLETE = "no modality missing"
COLUMNS = ("left out", "mean filled in", "raw, mean", "own probe", "gaps, left out")


def with_gaps(table: OwnTable, share: float, seed: int) -> OwnTable:
    """Return the table with a share of the modality entries of its training rows removed."""
    draw = np.random.default_rng(seed)
    chance = draw.random((len(table.labels), len(table.rows)))
    gone = chance < share
    gone[np.arange(len(gone)), chance.argmax(axis=1)] = False
    gone[table.test] = False
    rows = {}
    for place, (name, values) in enumerate(table.rows.items()):
        pairs = zip(values, gone[:, place], strict=True)
        rows[name] = column_of(None if absent else cell for cell, absent in pairs)
    return replace(table, rows=rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument(
        "--tables",
        default="mfeat,mosi vectors,digit halves",
        help="names, separated by commas; no tables with texts",
    )
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--choose", action="store_true", help="score on a quarter of the training rows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    overrides = {word.partition("=")[0]: yaml.safe_load(word.partition("=")[2]) for word in options.set}
    for name in options.tables.split(","):
        results: list[dict[str, np.ndarray]] = []
        for seed in range(options.seeds):
            table = TABLES[name](options.data)
            table = table.choosing() if options.choose else table
            print(f"{name}, seed {seed}: {len(table.train)} training rows, {len(table.test)} test rows")
            results.append(scores(table, seed, options.share, overrides))
            tell(results[-1])
        print(f"{name}, mean of {options.seeds} seeds")
        tell({key: np.mean([one[key] for one in results], axis=0) for key in results[0]})


def scores(table: OwnTable, seed: int, share: float, overrides: dict[str, object]) -> dict[str, np.ndarray]:
    """Return accuracies on complete test rows, by gaps in training, and on rows without each modality."""
    labels, test_labels = table.labels[table.train], table.labels[table.test]
    gaps = with_gaps(table, share, seed)
    whole, holed = (learn(rows, seed, overrides)[0] for rows in (table, gaps))
    train, test = (cl.embed(whole, table.part(rows)) for rows in (table.train, table.test))
    train_gaps, test_whole = (cl.embed(holed, gaps.part(rows)) for rows in (gaps.train, gaps.test))
    pairs = {COMPLETE: [(train, test), (train_gaps, test_whole)]}
    for part in table.rows:
        rest = [modality for modality in table.rows if modality != part]
        rest_train, rest_test = (
            cl.embed(whole, table.part(rows), rest) for rows in (table.train, table.test)
        )
        pairs[part] = [
            (train, rest_test),
            (train, cl.embed(whole, mean_filled_in(table, part))),
            raw_mean_filled_in(table, part),
            (rest_train, rest_test),
            (train_gaps, cl.embed(holed, gaps.part(gaps.test), rest)),
        ]
    return {
        key: np.array([probe(fit, labels, scored, test_labels) for fit, scored in some])
        for key, some in pairs.items()
    }


def tell(results: dict[str, np.ndarray]) -> None:
    complete, gaps = results[COMPLETE]
    print(f"  trained on complete rows {complete:.3f}")
    print(f"  trained on rows with gaps {gaps:.3f} ({100 * (gaps - complete):+.1f} points)")
    print(f"  {'missing from test rows':22}{''.join(f'{word:>16}' for word in COLUMNS)}")
    for part, row in results.items():
        if part == COMPLETE:
            continue
        print(f"  {part:22}{''.join(f'{score:16.3f}' for score in row)}", flush=True)


def mean_filled_in(table: OwnTable, part: str) -> dict[str, np.ndarray]:
    """Return the test rows with the mean of the training rows in place of one modality."""
    rows = table.part(table.test)
    seen = np.stack(list(table.rows[part][table.train])).astype(np.float64)
    mean = seen.mean(axis=0).astype(table.rows[part][0].dtype)
    return {**rows, part: column_of([mean] * len(table.test))}


def raw_mean_filled_in(table: OwnTable, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return concatenated raw features of training rows, and of test rows with one modality's mean."""
    held = {name: values[table.test] for name, values in table.raw.items()}
    held[part] = np.broadcast_to(table.raw[part][table.train].mean(axis=0), held[part].shape)
    train = [values[table.train] for values in table.raw.values()]
    return np.concatenate(train, axis=1), np.concatenate(list(held.values()), axis=1)


if __name__ == "__main__":
    main()
