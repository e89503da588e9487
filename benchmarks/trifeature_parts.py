"""Measure the information of CoMM and its rivals about Trifeature's four targets, compared with the truth.

    commlearn compare trifeature-quick --methods clip,comm --seeds 1 --out runs/quick
    python benchmarks/trifeature_parts.py runs/quick --out docs/images/trifeature-bits.png

Computes the interaction report of each trained run: of `shared`, `unique1` and `unique2` for the runs on
unbiased pairs, and of `synergy` for those on biased ones. Results are stored in FOLDER/parts.json as soon as
they exist, so that a second call only draws. Every bar except the truth shows what a linear probe reads from
a run's embedding of both images, or from its single embeddings side by side. A table is also printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from commlearn.information import InteractionReport, Settings
from commlearn.information.ask import ask
from commlearn.information.pid import broja
from commlearn.information.sources import gather
from commlearn.trained.artifact import load

TARGETS = {"shared": "unbiased", "unique1": "unbiased", "unique2": "unbiased", "synergy": "biased"}
PARTS = {"redundant": "shared R", "unique1": "unique U1", "unique2": "unique U2", "synergistic": "synergy S"}
COLOURS = ("#0072B2", "#E69F00", "#F0E442", "#009E73")
SETTINGS = Settings(curve=False, bootstrap=5, permutations=39)

Parts = dict[str, float]


def parts_of(report: InteractionReport, view: str) -> Parts:
    pair = report.views[view].pairs[0]
    return {part: getattr(pair, part).bits for part in PARTS}


def truth(labels: np.ndarray, target: str) -> Parts:
    """Return the parts for perfect knowledge of shape, texture and colour, with the labels' class shares."""
    if target == "synergy":  # one in ten of all combinations of texture and colour, which are equally likely
        table = np.zeros((10, 10, 2))
        for first, second in np.ndindex(10, 10):
            table[first, second, int(first == second)] = 1 / 100
    else:
        table = np.zeros((11, 11, 10))
        for label, share in enumerate(np.bincount(labels, minlength=10) / len(labels)):
            first = label if target in ("shared", "unique1") else 10
            second = label if target in ("shared", "unique2") else 10
            table[first, second, label] = share
    exact = broja(table)
    return {part: getattr(exact, part) for part in PARTS}


def ask_runs(folder: Path, methods: list[str], seed: int) -> dict[str, dict[str, Parts]]:
    """Return parts by target and by source; those that are already stored are not computed again."""
    stored = folder / "parts.json"
    parts_by_target: dict[str, dict[str, Parts]] = json.loads(stored.read_text()) if stored.exists() else {}
    for method in methods:
        for variant in dict.fromkeys(TARGETS.values()):
            missing = [
                target
                for target in TARGETS
                if TARGETS[target] == variant and method not in parts_by_target.get(target, {})
            ]
            if not missing:
                continue
            run = load(folder / method / f"seed{seed}" / variant)
            material = gather(run, None, None, None)
            for target in missing:
                report: Any = ask(material, target, settings=SETTINGS)
                labels = report.target.labels
                asked = parts_by_target.setdefault(target, {"truth": truth(labels, target)})
                asked[method] = parts_of(report, "representation")
                asked[f"{method}, encoders side by side"] = parts_of(report, "linear")
                asked[f"{method}, best experts on its encoders"] = parts_of(report, "data")
                stored.write_text(json.dumps(parts_by_target, indent=1))
                print_parts(target, asked)
    return parts_by_target


def print_parts(target: str, asked: dict[str, Parts]) -> None:
    for who, parts in asked.items():
        print(f"{target:<10}{who:<40}" + "".join(f"{parts[part]:8.3f}" for part in PARTS), flush=True)


def draw(parts_by_target: dict[str, dict[str, Parts]], shown: list[str], path: Path) -> None:
    """Draw a panel for each target, with a bar for each source, split into its parts."""
    figure = Figure(figsize=(11, 0.5 + 0.42 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(parts_by_target), sharey=True)
    for axes, (target, asked) in zip(panels, parts_by_target.items(), strict=True):
        _panel(axes, target, [asked[who] for who in shown])
    panels[0].set_yticks(range(len(shown)), shown)
    panels[0].invert_yaxis()
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, ncols=4, fontsize=8, loc="outside lower center"
    )
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, target: str, rows: list[Parts]) -> None:
    left = np.zeros(len(rows))
    for (part, name), colour in zip(PARTS.items(), COLOURS, strict=True):
        bits = np.array([row[part] for row in rows])
        axes.barh(range(len(rows)), bits, 0.72, left=left, color=colour, label=name)
        left += bits
    axes.set_title(target, loc="left", fontsize=10)
    axes.set_xlabel("bits")
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of a comparison, with METHOD/seedN/VARIANT")
    parser.add_argument(
        "--methods", default="comm,clip", help="names, separated by commas; also encoders of the first"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the figure; default: FOLDER/parts.png")
    options = parser.parse_args()
    methods = options.methods.split(",")
    parts_by_target = ask_runs(options.folder, methods, options.seed)
    for target, asked in parts_by_target.items():
        print_parts(target, asked)
    shown = ["truth", *methods, f"{methods[0]}, encoders side by side"]
    draw(
        {target: parts_by_target[target] for target in TARGETS},
        shown,
        options.out or options.folder / "parts.png",
    )


if __name__ == "__main__":
    main()
