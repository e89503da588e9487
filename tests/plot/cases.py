"""Values as reports and comparisons return them, for up to six modalities with short or long names."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from commlearn.probes.audit import Audit, AuditRow
from commlearn.probes.results import ProbeResult

SHORT = ("image", "note", "labs", "ecg", "wave", "codes")
LONG = (
    "chest radiograph at admission, posterior-anterior projection",
    "discharge letter without the diagnosis section",
    "laboratory values of the first twenty-four hours",
    "electrocardiogram, twelve leads, ten seconds",
    "arterial blood pressure waveform at 125 Hz",
    "procedure codes of earlier stays in any hospital",
)


def modalities(count: int, long: bool) -> list[str]:
    return list((LONG if long else SHORT)[:count])


def subsets(names: list[str]) -> list[str]:
    """Return subsets as a ladder names them: each modality alone, pairs, ..., all."""
    sizes = range(1, len(names) + 1) if len(names) < 6 else (1, 2, len(names))
    return ["+".join(some) for size in sizes for some in combinations(names, size)]


def quantity(bits: float, half: float = 0.06, growing: bool = False) -> dict[str, Any]:
    return {
        "bits": bits,
        "low": max(0.0, bits - half),
        "high": bits + half,
        "error": half / 2,
        "p": 0.02,
        "growing": growing,
    }


def pair_of(first: str, second: str, scale: float = 1.0) -> dict[str, Any]:
    parts = dict(
        zip(("redundant", "unique1", "unique2", "synergistic"), (0.3, 0.12, 0.02, 0.21), strict=True)
    )
    return {
        "name": f"{first} and {second}",
        "first": [first],
        "second": [second],
        **{name: quantity(scale * bits) for name, bits in parts.items()},
        "total": quantity(scale * 0.65),
    }


def view_of(names: list[str], scale: float = 1.0) -> dict[str, Any]:
    rungs = [
        {
            **quantity(scale * min(0.9, 0.3 * (name.count("+") + 1)), growing="+" in name),
            "modalities": name.split("+"),
            "accuracy": min(0.97, 0.6 + 0.1 * name.count("+")),
        }
        for name in subsets(names)
    ]
    return {
        "pairs": [pair_of(*pair, scale) for pair in combinations(names, 2)],
        "spectrum": [quantity(scale * 0.2)] * len(names),
        "non_exclusive": quantity(scale * 0.3),
        "unique": {name: quantity(scale * 0.02 * place) for place, name in enumerate(names)},
        "total": quantity(scale * 0.9),
        "ladder": rungs,
    }


def interactions_of(names: list[str], target: str = "mortality") -> dict[str, Any]:
    """Return all views of up to five modalities, but only the pairs of six."""
    common = {
        "target": target,
        "modalities": names,
        "records": 1234,
        "entropy": 1.0,
        "verdict": "These numbers can be used: what was planted was found, and more records change little.",
        "notes": [],
        "warnings": [],
    }
    if len(names) > 5:
        pairs = [pair_of(*pair, 1 - 0.05 * place) for place, pair in enumerate(combinations(names, 2))]
        return {
            **common,
            "alone": {name: quantity(0.3) for name in names},
            "pairs": pairs,
            "total": quantity(0.9),
        }
    views = ("data", "linear", "representation", "raw", "model")
    return {**common, "views": {name: view_of(names, 1 - 0.15 * at) for at, name in enumerate(views)}}


def rungs_of(names: list[str]) -> dict[str, ProbeResult]:
    """Return scores close to each other and to chance, so that their labels are drawn close together."""
    results = {}
    for place, name in enumerate(subsets(names)):
        score = 0.52 + 0.03 * (place % 7) + 0.05 * name.count("+")
        results[name] = ProbeResult(score, (score - 0.04, score + 0.04), score, 0.5, 2, 1.0, 80, 20)
    return results


def audit_of(names: list[str]) -> Audit:
    def result(score: float) -> ProbeResult:
        return ProbeResult(score, (score - 0.04, score + 0.04), score, 0.5, 2, 1.0, 80, 20)

    rows = [AuditRow(name, 0, result(0.8), False) for name in names]
    rows += [
        AuditRow(name, 1, result(0.6 if place else 0.79), bool(place)) for place, name in enumerate(names)
    ]
    return Audit("mortality", tuple(rows))


def metrics_of(names: list[str]) -> list[dict[str, Any]]:
    """Return logged metrics whose terms end at almost the same value."""
    terms = [*names, "fused"]
    return [
        {
            "step": step,
            "terms": {name: 3 + 2 / step + 0.001 * place for place, name in enumerate(terms)},
            "accuracy": {name: 1 - 1 / step for name in terms},
            "gradient_norm": 1 / step,
        }
        for step in (1, 20, 40, 80, 160)
    ]


def verdict_of(names: list[str]) -> dict[str, Any]:
    """Return a verdict on two methods and four rivals at three budgets, all within a few points."""
    methods, rivals = ["comm", "infmasking"], ["features", "late fusion", "boosting", "principal components"]

    def reader(score: float) -> dict[str, Any]:
        return {"score": score, "interval": [score - 3, score + 3]}

    def claim(points: float, sort: str = "none") -> dict[str, Any]:
        return {"points": points, "interval": [points - 4, points + 4], "claim": sort}

    budgets = {}
    for place, (budget, rows) in enumerate({"5": 10, "20": 40, "all": 900}.items()):
        scores = {name: 60 + 10 * place + at for at, name in enumerate([*rivals, *methods])}
        budgets[budget] = {
            "labelled_rows": rows,
            "rival": rivals[place],
            "readers": {name: reader(score) for name, score in scores.items()},
            "differences": {method: claim(2.0 - at, "more") for at, method in enumerate(methods)},
        }
    ways = {"left_out": claim(-3.1, "less"), "filled_with_mean": claim(-2.9)}
    absent = {"reader": "features", "refit": claim(-2.5), "features": ways, **{one: ways for one in methods}}
    values = {
        "sort": "class",
        "measure": "balanced_accuracy",
        "chance": 50.0,
        "words": ["Plain features are enough."],
        "budgets": budgets,
        "modalities": {name: absent for name in names},
    }
    return {"targets": {"mortality": values}}


def table_of(names: list[str]) -> dict[str, Any]:
    """Return a comparison's table with one member for each role, and published figures."""
    roles = ["method", "method with labels", "baseline", "floor", "ceiling"]
    called = [
        "comm",
        "supcon",
        f"features of {names[0]}",
        "untrained network",
        f"everything about {names[-1]}",
    ]
    rows = {
        name: {
            "role": role,
            "width": 32,
            "published": {"both": 71.0 - place} if place < 2 else {},
            "scores": {
                score: {"mean": None if place == 3 and score == "both" else 30.0 + 14 * place, "std": 1.5}
                for score in ("shared", "unique", "both")
            },
        }
        for place, (name, role) in enumerate(zip(called, roles, strict=True))
    }
    scores = {score: [score] for score in ("shared", "unique", "both")}
    return {
        "recipe": "three tasks of one table",
        "methods": rows,
        "scores": {**scores, "unique": [f"only {name}" for name in names]},
        "chance": dict.fromkeys(scores, 25.0),
        "measures": dict.fromkeys(scores, "balanced accuracy"),
    }


def points_of(classes: int, long: bool) -> tuple[np.ndarray, list[str]]:
    points = np.random.default_rng(0).normal(size=(240, 2))
    word = "a diagnosis whose name is as long as those of the classification" if long else "class"
    return points, [f"{word} {row % classes}" for row in range(240)]
