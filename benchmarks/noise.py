"""Check what every readout reports on pure noise: python benchmarks/noise.py --draws 20

The data are two modalities and a label, all independent. For every door (an entry point with its data), a
probe's interval must cover chance in about 95 % of draws, interactions must find nothing, and no p-value may
be small more often than its level. Situations: with and without groups (40 patients of 12 rows, one label
each, features with and without a shift per patient), with and without labels seen in training (supcon,
comm), split by column, by group and by key, through a run folder, an artifact and an Embedder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import commlearn as cl
from commlearn.config.configuration import experiment_from
from commlearn.errors import DataError
from commlearn.information.material import Settings
from commlearn.information.report import InteractionReport
from commlearn.probes.probe import probe
from commlearn.probes.results import ProbeResult
from commlearn.trained.run import Run

ROWS, PER_GROUP, SHIFT = 480, 12, 1.0
EVERY_DOOR = 6  # draws that also include the doors that read the same rows as another one
QUICK = Settings(curve=False, bootstrap=5, permutations=39)
METHODS = {"no labels seen": "comm", "labels seen": "supcon"}
GROUPS = ("no groups", "groups", "groups with a shift")
SPLITS = ("default", "column")


def noise(seed: int, groups: str, rows: int = ROWS) -> pd.DataFrame:
    """Return a table with independent columns; rows of one patient share the label and perhaps a shift."""
    draw = np.random.default_rng(seed)
    patient = np.arange(rows) // (PER_GROUP if groups != "no groups" else 1)
    count = int(patient.max()) + 1
    label = draw.permutation(np.arange(count) % 2)[patient]
    held = draw.permutation(np.arange(count) % 4 == 0)[patient]
    values = draw.normal(size=(2, rows, 4))
    if groups == "groups with a shift":
        values += SHIFT * draw.normal(size=(2, count, 4))[:, patient]
    return pd.DataFrame(
        {
            "case": [f"{seed}-{row}" for row in range(rows)],
            "patient": [f"{seed}-{one}" for one in patient],
            "part": np.where(held, "test", "train"),
            "left": list(values[0].astype(np.float32)),
            "right": list(values[1].astype(np.float32)),
            "ill": label,
        }
    )


def schema(groups: str, split: str) -> cl.Schema:
    return cl.Schema(
        {"left": cl.Vector("left"), "right": cl.Vector("right")},
        {"ill": "class"},
        id="case",
        group=None if groups == "no groups" else "patient",
        split="part" if split == "column" else None,
    )


def trained(table: pd.DataFrame, stated: cl.Schema, method: str, seed: int, folder: Path) -> Run:
    """Train for a few epochs, which is enough for a method with labels to memorise its training rows."""
    path = folder / "table.parquet"
    table.to_parquet(path)
    settings = {
        "name": "noise",
        "seed": seed,
        "data": {"name": "table", "table": str(path), "schema": stated.to_mapping(), "test": 0.25},
        "method": {"name": method},
        "model": {"width": 32},
        "training": {"epochs": 4, "batch_size": 64, "learning_rate": 2e-3, "diagnose": 0},
    }
    return cl.train(experiment_from(settings), folder / "run", overwrite=True)


def doors(table: pd.DataFrame, groups: str, split: str, method: str, seed: int, folder: Path) -> list[dict]:
    """Return the answer of each door for one draw of noise, or the reason why it refused."""
    stated, rows = schema(groups, split), []
    situation = {"groups": groups, "split": split, "method": method, "seed": seed}

    def add(door: str, ask) -> None:
        try:
            rows.append({**situation, "door": door, **answer(ask())})
        except DataError as problem:
            rows.append({**situation, "door": door, "refused": str(problem).split(":")[0][:60]})

    def decomposed(source, *data) -> InteractionReport:
        return cl.interactions(source, *data, target="ill", settings=QUICK)

    run = trained(table, stated, method, seed, folder)
    fresh = noise(seed + 100_000, groups, ROWS // 2)
    add("probe(run, table)", lambda: probe(run, table)["ill"])
    add("probe(run, table), neighbours", lambda: probe(run, table, kind="neighbours")["ill"])
    add("interactions(run)", lambda: decomposed(run))
    if seed < EVERY_DOOR:
        artifact = cl.load(cl.export(run, folder / "artifact"))
        add("probe(run)", lambda: probe(run)["ill"])
        add("probe(artifact, table)", lambda: probe(artifact, table)["ill"])
        add("probe_ladder(run), left alone", lambda: cl.probe_ladder(run)["ill"]["left"])
    model = cl.Embedder(stated, method=method, epochs=4, batch_size=64, random_state=seed).fit(table)
    add("probe(Embedder, the rows of fit)", lambda: probe(model, table)["ill"])
    add("probe(Embedder, new rows)", lambda: probe(model, fresh)["ill"])
    add("interactions(Embedder, the rows of fit)", lambda: decomposed(model, table))
    if split != "default" or method != "comm":  # the arrays would be the same
        return rows
    raw = {name: np.stack(table[name].to_list()) for name in ("left", "right")}
    given = None if groups == "no groups" else table["patient"].to_numpy()
    label = table["ill"].to_numpy()
    add("interactions(arrays)", lambda: cl.interactions(raw, label, groups=given, settings=QUICK))
    return rows


def answer(result) -> dict:
    """Return what is counted: whether a probe's interval covers chance, or what a report claims."""
    if isinstance(result, ProbeResult):
        low, high = result.interval
        return {"covers": bool(low <= result.chance <= high), "low": low, "high": high}
    pair = result.atoms
    parts = [pair.redundant, pair.unique1, pair.unique2, pair.synergistic]
    return {
        "bits": result.data.total.bits,
        "p": {"total": result.data.total.p, "combination": result.combination.p},
        "present": sum(part.p is not None and part.p <= 0.05 for part in parts),
    }


def summary(rows: list[dict]) -> str:
    """Return a table with one line for each door and kind of noise."""
    frame = pd.DataFrame(rows)
    columns = f"{'draws':>5} {'covers':>7} {'bits<=.03':>9} {'p<=.05':>7} {'present':>7}"
    lines = [f"{'door':42} {'situation':28} {columns}"]
    for (door, groups, method), part in frame.groupby(["door", "groups", "method"]):
        head = f"{door:42} {groups + ', ' + method:28} {len(part):5}"
        counted = part[part["refused"].isna()]
        refused = len(part) - len(counted)
        cells = [counted_cells(counted)] if len(counted) else []
        cells += [f"{refused} refused: {part['refused'].dropna().iloc[0]}"] if refused else []
        lines.append(" ".join([head, *cells]))
    return "\n".join([*lines, "", "all doors: " + counted_cells(frame)])


def counted_cells(part: pd.DataFrame) -> str:
    """Return shares of intervals that cover chance, of small totals and p-values; number of parts found."""
    covers, bits = part["covers"].dropna().astype(float), part["bits"].dropna()
    small = [p <= 0.05 for each in part["p"].dropna() for p in each.values() if p is not None]
    cells = [f"{100 * covers.mean():6.1f}%" if len(covers) else f"{'':7}"]
    if len(bits):
        share = f"{100 * np.mean(small):6.1f}%" if small else f"{'-':>7}"
        cells += [f"{100 * (bits <= 0.03).mean():8.1f}%", share, f"{int(part['present'].dropna().sum()):7}"]
    return " ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--out", help="JSON lines of every answer")
    options = parser.parse_args()
    rows, start = [], time.process_time()
    situations = list(itertools.product(GROUPS, SPLITS, METHODS.values()))
    for seed in range(options.first, options.first + options.draws):
        for groups, split, method in situations:
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows += doors(noise(seed, groups), groups, split, method, seed, Path(folder))
        print(
            f"draw {seed + 1 - options.first} of {options.draws}, {time.process_time() - start:.0f} s",
            flush=True,
        )
        if options.out:
            Path(options.out).write_text("".join(json.dumps(row) + "\n" for row in rows))
    empty = {"refused": None, "covers": None, "bits": None, "p": None, "present": None}
    print(summary([{**empty, **row} for row in rows]))


if __name__ == "__main__":
    main()
