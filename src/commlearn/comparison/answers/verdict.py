"""Verdict: statements on what embeddings add, which modalities are needed and whether combining them matters.

A statement is made if its interval excludes 0 and the difference is at least one point. The intervals of one
question hold jointly with 95 % (Bonferroni); they cover test rows or groups, draws of labelled rows and
seeds. The reader that others are compared with was chosen on training rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.comparison.answers.readouts import Readout, Result, results_in, units_of
from commlearn.comparison.answers.rivals import ALONE
from commlearn.comparison.answers.task import ALL, Task, labelled_rows
from commlearn.probes.measures import NO_SPREAD, interval_over_repeats, unseen_errors, widening
from commlearn.probes.results import MEASURES

LEAST = 1.0  # smallest difference, in points, that is worth a sentence
COMBINED = 2.0  # points that reading modalities together has to add to reading them apart
LEVEL = 0.95
SEED = "#"  # separator between the name of a method and its seed
FULL = (ALL, "")  # all labels, and no modality left out

Results = dict[Readout, dict[tuple[str, str], Result]]


def run_name(method: str, seed: int) -> str:
    """Return the name of a training among the readers.

    Example:
        >>> run_name("comm", 0)
        'comm#0'
    """
    return f"{method}{SEED}{seed}"


def verdict_of(
    out: Path,
    tasks: Sequence[Task],
    budgets: Sequence[str],
    modalities: Sequence[str],
    readers: Sequence[str],
    runs: Sequence[str],
    not_tried: Mapping[str, str],
) -> dict[str, Any]:
    """Return the verdict as plain values, as written to `verdict.json`."""
    targets = {}
    for task in tasks:
        units = units_of(task, budgets, modalities, readers, runs)
        results = {readout: results_in(readout.path(out)) for readout, _ in units}
        values = TargetVerdict(task, results, modalities, readers, runs).values()
        targets[task.name] = {**values, "words": words_of(values)}
    return {
        "version": 1,
        "rules": {
            "least_points": LEAST,
            "least_points_combined": COMBINED,
            "level_of_each_question": LEVEL,
            "rival": "the best on training rows that it was not fitted on; never chosen on test rows",
        },
        "targets": targets,
        "not_tried": dict(not_tried),
    }


class TargetVerdict:
    """The results of one target, and the verdict's claims computed from them."""

    def __init__(
        self,
        task: Task,
        results: Results,
        modalities: Sequence[str],
        readers: Sequence[str],
        runs: Sequence[str],
    ) -> None:
        self.task, self.modalities, self.rivals = task, list(modalities), list(readers)
        self.methods: dict[str, list[str]] = defaultdict(list)
        for run in runs:
            self.methods[run.rpartition(SEED)[0]].append(run)
        self.readers = [*self.rivals, *self.methods]
        self.units: dict[tuple[str, str], list[dict[tuple[str, str], Result]]] = defaultdict(list)
        for readout, unit in results.items():
            self.units[readout.budget, readout.without].append(unit)
        self.budgets = [budget for budget, without in reversed(self.units) if not without]

    def values(self) -> dict[str, Any]:
        """Return the target's part of the verdict, in percent, except for the words."""
        task = self.task
        full_reader = self._best(FULL, self.readers)
        level = _level(2)  # two questions: is anything readable, and does combining matter
        each_level = _level(len(self.budgets) * len(self.methods))
        without, reader = self._best_over_subsets(self.readers)
        return {
            "sort": task.sort,
            "measure": task.measure,
            "chance": 100 * task.chance,
            "rows": {"train": len(task.train), "test": len(task.test)},
            "groups": None if task.test_groups is None else len(np.unique(task.test_groups)),
            "budgets": {budget: self._budget(budget, each_level) for budget in self.budgets},
            "best": {
                "reader": reader,
                "without": without,
                "score": self._reader((ALL, without), reader)["score"],
                **self._claim(self._scores((ALL, without), reader) - task.chance, level),
            },
            "combination": self._combination(level),
            "modalities": {
                name: self._absent(name, full_reader)
                for name in (self.modalities if len(self.modalities) > 1 else ())
                if self._fitted_readers((ALL, name), self.readers)
            },
        }

    def _budget(self, budget: str, level: float) -> dict[str, Any]:
        key = (budget, "")
        rival = self._best(key, self.rivals)
        gaps = {method: self._gaps(key, method, key, rival) for method in self.methods}
        return {
            "labelled_rows": len(labelled_rows(self.task, budget).rows),
            "draws": len(self.units[key]),
            "rival": rival,
            "differences": {method: self._claim(gap, level) for method, gap in gaps.items()},
            "readers": {name: self._reader(key, name) for name in self.readers},
        }

    def _reader(self, key: tuple[str, str], name: str) -> dict[str, Any]:
        flat = [result for unit in self._results_of(key, name) for result in unit]
        scores = self._scores(key, name)
        low, high = self._interval(scores, LEVEL, (-np.inf, 1.0))
        return {
            "score": 100 * float(scores[..., 0].mean()),
            "interval": _finite(100 * low, 100 * high),
            "loss": float(np.mean([result.loss for result in flat])),
            "on_training_rows": 100 * self._selection(key, name),
            "seconds": round(float(np.mean([result.seconds for result in flat])), 2),
            "megabytes": max(result.megabytes for result in flat),
        }

    def _combination(self, level: float) -> dict[str, Any] | None:
        """Return what reading modalities jointly adds to the best of single modalities and late fusion."""
        separate = [name for name in self.rivals if name.endswith(ALONE) or name == "late fusion"]
        joint = [name for name in self.readers if name not in separate]
        if not separate or not joint or len(self.modalities) < 2:
            return None
        without, best_joint = self._best_over_subsets(joint)
        best_separate = self._best(FULL, separate)
        claim = self._claim(self._gaps((ALL, without), best_joint, FULL, best_separate), level, COMBINED)
        return {"joint": best_joint, "without": without, "apart": best_separate, **claim}

    def _best_over_subsets(self, names: Sequence[str]) -> tuple[str, str]:
        """Return the modality left out ("" if none) and the name of the best reader on training rows.

        Leaving one out matters: uninformative columns can hide what the other modalities tell together.
        """
        removable = [
            name for name in self.modalities if len(self.modalities) > 2 and (ALL, name) in self.units
        ]
        best = {
            key: self._best(key, fitted)
            for key in [FULL, *((ALL, absent) for absent in removable)]
            if (fitted := self._fitted_readers(key, names))
        }
        key = max(best, key=lambda key: (self._rank(key, best[key]), not key[1]))
        return key[1], best[key]

    def _fitted_readers(self, key: tuple[str, str], names: Sequence[str]) -> list[str]:
        """Return those of the named readers that were fitted for this budget and these modalities."""
        fitted = {name for unit in self.units[key] for name, _ in unit}
        return [name for name in names if self._runs_of(name)[0] in fitted]

    def _absent(self, modality: str, full_reader: str) -> dict[str, Any]:
        """Return the cost of lacking a modality, for readers refitted without it and those fitted with it."""
        key, level = (ALL, modality), _level(len(self.modalities))
        fitted = self._fitted_readers(key, self.readers)
        refit = self._best(key, fitted)
        claim = self._claim(self._gaps(key, refit, FULL, full_reader), level)
        claim["score"] = self._reader(key, refit)["score"]
        values: dict[str, Any] = {"reader": refit, "refit": claim}
        for name in ["features", *self.methods]:
            if name in fitted and self._results_of(FULL, name, modality)[0]:
                field = "filled_with_mean" if name == "features" else "left_out"
                filled = self._gaps(FULL, name, FULL, name, modality)
                refitted = self._gaps(key, name, FULL, name)
                values[name] = {field: self._claim(filled, level), "refit": self._claim(refitted, level)}
        return values

    def _runs_of(self, name: str) -> list[str]:
        """Return the names of a method's trainings, or a rival's own name."""
        return self.methods.get(name) or [name]

    def _results_of(self, key: tuple[str, str], name: str, segment: str = "") -> list[list[Result]]:
        """Return, for each draw of labelled rows, the results of a rival or of each seed of a method."""
        return [
            [unit[run, segment] for run in self._runs_of(name) if (run, segment) in unit]
            for unit in self.units[key]
        ]

    def _selection(self, key: tuple[str, str], name: str) -> float:
        return float(np.mean([result.selection for unit in self._results_of(key, name) for result in unit]))

    def _rank(self, key: tuple[str, str], name: str) -> float:
        return float(round(np.nan_to_num(self._selection(key, name), nan=-1e9), 4))

    def _best(self, key: tuple[str, str], names: Sequence[str]) -> str:
        """Return the best reader on training rows; ties go to the first, which is the simplest."""
        return max(names, key=lambda name: self._rank(key, name))

    def _scores(self, key: tuple[str, str], name: str, segment: str = "") -> np.ndarray:
        """Return scores, (draws of labels, seeds, 1 + samples), cut to the fewest seeds of any draw."""
        results = self._results_of(key, name, segment)
        seeds = min(map(len, results))
        return np.stack([[result.scores for result in unit[:seeds]] for unit in results])

    def _gaps(
        self, key: tuple[str, str], name: str, other_key: tuple[str, str], other: str, segment: str = ""
    ) -> np.ndarray:
        """Return scores minus another reader's, seed by seed, or of every seed if one has a single result."""
        scores, other_scores = self._scores(key, name, segment), self._scores(other_key, other)
        if 1 not in (scores.shape[1], other_scores.shape[1]):
            seeds = min(scores.shape[1], other_scores.shape[1])
            scores, other_scores = scores[:, :seeds], other_scores[:, :seeds]
        return scores - other_scores

    def _claim(self, gaps: np.ndarray, level: float, least: float = LEAST) -> dict[str, Any]:
        mean = 100 * float(gaps[..., 0].mean())
        low, high = (100 * limit for limit in self._interval(gaps, level))
        claim = "none"
        if low > 0 and mean >= least:
            claim = "more"
        elif high < 0 and mean <= -least:
            claim = "less"
        return {"points": mean, "interval": _finite(low, high), "claim": claim}

    def _interval(
        self, scores: np.ndarray, level: float, limits: tuple[float, float] = (-np.inf, np.inf)
    ) -> tuple[float, float]:
        """Return the interval over samples of test rows, draws of labels and seeds."""
        centre = float(scores[..., 0].mean())
        factor = widening(self.task.strata, self.task.test_groups, level)
        low, high = interval_over_repeats(scores[..., 1:], centre, factor, limits, level)
        if high - low < NO_SPREAD and self.task.measure != "r2":
            labels = self.task.test > 0 if self.task.sort == "multilabel" else None
            margin = unseen_errors(self.task.strata, self.task.test_groups, labels)
            low, high = max(low - margin, limits[0]), min(high + margin, limits[1])
        return low, high


def _level(questions: int) -> float:
    return 1 - (1 - LEVEL) / max(questions, 1)


def _finite(low: float, high: float) -> list[float | None]:
    """Return limits for JSON: null if there are too few rows or groups for an interval."""
    return [float(limit) if np.isfinite(limit) else None for limit in (low, high)]


READ_BY = {
    "pca": "their principal components",
    "untrained": "a linear reader together with the untrained network's embedding",
    "network": "a network",
    "tabicl": "TabICL",
}
NO_LOSS = 5.0  # points: if the interval's lower limit is above minus this, little is lost


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Return sentences on whether and with how many labels learning adds, and which modalities matter."""
    measure, best = MEASURES[values["measure"]], values["best"]
    if best["claim"] != "more":
        without = None in best["interval"]
        finding = "It cannot be said whether anything predicts it" if without else "Nothing here predicts it"
        return [
            f"{finding}: the best reader, {best['reader']}, differs from chance by "
            f"{points_words(best)} points ({measure})."
        ]
    full = values["budgets"][ALL]
    sentences = [sentence for method in full["differences"] for sentence in _adds(values, method)]
    if not sentences:
        sentences.append(f"The best rival is {full['rival']}: {_score(values)} {measure}.")
    if best.get("without"):
        score = f"{best['score']:.1f} % {measure}"
        chosen = f"On training rows, {best['reader']} without {best['without']} is best"
        sentences.insert(0, f"{chosen}; on the test rows it scores {score}.")
    if values["combination"]:
        sentences += _combination(values["combination"])
    return [*sentences, *modality_words(values["modalities"])]


def _adds(values: Mapping[str, Any], method: str) -> list[str]:
    full = values["budgets"][ALL]
    rival, last = full["rival"], full["differences"][method]
    gains = {
        budget: part["differences"][method]
        for budget, part in values["budgets"].items()
        if part["differences"][method]["claim"] == "more"
    }
    partial = [budget for budget in gains if budget != ALL]
    verb = "loses" if last["claim"] == "less" else "adds nothing"
    sentences = []
    if last["claim"] == "more":
        sentences.append(
            f"The embedding ({method}) adds {points_words(last)} points to the best rival, {rival}, with all "
            "labels."
        )
    elif not partial:
        sentences.append(
            f"{_enough_words(rival)}: {_score(values)} {MEASURES[values['measure']]}. "
            f"The embedding ({method}) {verb}: {points_words(last)}."
        )
    if partial:
        largest = max(partial, key=lambda budget: gains[budget]["points"])
        rival, labels = values["budgets"][largest]["rival"], _budget(values, largest, counted=True)
        rest = "" if ALL in gains else f"; with all labels it {verb} ({points_words(last)})"
        sentences.append(
            f"With {labels} the embedding ({method}) adds {points_words(gains[largest])} points to the best "
            f"rival, {rival}{rest}."
        )
    worse = [
        budget
        for budget, part in values["budgets"].items()
        if part["differences"][method]["claim"] == "less" and budget != ALL
    ]
    if worse:
        part = values["budgets"][worse[0]]
        sentences.append(
            f"With {_budget(values, worse[0])} {part['rival']} is better than the embedding ({method}): "
            f"{points_words(part['differences'][method])}."
        )
    return sentences


def _combination(claim: Mapping[str, Any]) -> list[str]:
    if claim["claim"] == "more":
        modalities = f"all modalities but {claim['without']}" if claim.get("without") else "all modalities"
        return [
            f"The combination matters: {claim['joint']}, which reads {modalities} together, is "
            f"{points_words(claim)} points better than {claim['apart']}, the best reader of separate "
            "modalities."
        ]
    if claim["claim"] == "less":
        return [
            f"{claim['apart']} is better than reading the modalities together ({claim['joint']}: "
            f"{points_words(claim)})."
        ]
    return []


def modality_words(each: Mapping[str, Any]) -> list[str]:
    """Return sentences on which modalities are needed, harmful, dispensable or undecided."""
    sentences, dispensable, undecided = [], [], []
    for name, values in each.items():
        claim = values["refit"]
        if claim["claim"] != "none":
            advice = f"Keep {name}: leaving it out" if claim["claim"] == "less" else f"Leave out {name}: this"
            sentences.append(f"{advice} changes the score by {points_words(claim)} points.")
        elif claim["interval"][0] is not None and claim["interval"][0] > -NO_LOSS:
            dispensable.append(f"{name} ({points_words(claim)})")
        else:
            undecided.append(f"{name} ({points_words(claim)})")
    if dispensable:
        sentences.append(f"Each of these can be left out with little loss: {', '.join(dispensable)}.")
    if undecided:
        sentences.append(f"There are too few rows to say whether these are needed: {', '.join(undecided)}.")
    return sentences


def _enough_words(rival: str) -> str:
    if rival.endswith(ALONE):
        return f"{rival} is enough"
    if rival == "features":
        return "Plain features are enough"
    return f"Plain features are enough, using {READ_BY.get(rival, rival)}"


def _budget(values: Mapping[str, Any], budget: str, counted: bool = False) -> str:
    """Return what a budget allows; a number is one of rows if the target has no classes."""
    rows = values["budgets"][budget]["labelled_rows"]
    number = f" ({rows} rows)" if counted else ""
    if budget.endswith("%"):
        return f"{budget.replace('%', ' %')} of the labels{number}"
    return f"{budget} labels per class{number}" if values["sort"] == "class" else f"{rows} labelled rows"


def points_words(claim: Mapping[str, Any]) -> str:
    """Format a difference with its interval, in points."""
    low, high = claim["interval"]
    limits = "no interval: too few groups" if low is None or high is None else f"{low:+.1f}, {high:+.1f}"
    return f"{claim['points']:+.1f} [{limits}]"


def _score(values: Mapping[str, Any]) -> str:
    full = values["budgets"][ALL]
    return f"{full['readers'][full['rival']]['score']:.1f} %"
