"""The table of a comparison: scores over seeds, differences from the best baseline, costs and failures.

`Comparison` holds the table together with the verdict, with its data frame, plots and HTML.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from commlearn.comparison.plan import PREDICTIONS, Job, Member, arrays_of, targets_of
from commlearn.config.configuration import Experiment, Score, Training
from commlearn.errors import ConfigurationError
from commlearn.escapes import html_text
from commlearn.methods import METHODS
from commlearn.probes import measures
from commlearn.probes.measures import draws, interval_over_repeats, widening
from commlearn.probes.probe import chosen_targets
from commlearn.probes.results import MEASURE_OF, MEASURES
from commlearn.records import Dataset, Records
from commlearn.storage.plain_json import values_of_file
from commlearn.trained.run_folder import COST


class Comparison(dict[str, Any]):
    """The table, as written to `table.json`, and the verdict on the methods and their rivals.

    Attributes:
        verdict: the content of `verdict.json`; None if no verdict was requested.
    """

    def __init__(self, table: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> None:
        super().__init__(table)
        self.verdict = None if verdict is None else dict(verdict)

    def __str__(self) -> str:
        """Return the verdict in sentences, target by target, or the table if there is no verdict."""
        if not self.verdict:
            return dict.__repr__(self)
        lines = []
        for target, values in self.verdict["targets"].items():
            lines += [f"{target}:", *(f"  {sentence}" for sentence in values["words"])]
        not_tried = self.verdict["not_tried"]
        return "\n".join([*lines, *(f"Not tried: {name} ({reason})." for name, reason in not_tried.items())])

    def to_frame(self) -> pd.DataFrame:
        """Return the verdict as a frame: one row for each target, budget of labels and reader."""
        if self.verdict is None:
            raise ConfigurationError(
                "This comparison has no verdict: it was run without rivals or without a method that learns "
                "without labels. Compare with rivals=[...] and such a method (comm) in methods=."
            )
        rows = []
        for target, values in self.verdict["targets"].items():
            for budget, part in values["budgets"].items():
                for reader, result in part["readers"].items():
                    gap = part["differences"].get(reader)
                    rows.append(
                        {
                            "target": target,
                            "measure": values["measure"],
                            "labels": budget,
                            "labelled_rows": part["labelled_rows"],
                            "reader": reader,
                            "rival": reader not in part["differences"],
                            "score": result["score"],
                            "low": result["interval"][0],
                            "high": result["interval"][1],
                            "loss": result["loss"],
                            "best_rival": part["rival"],
                            "difference": gap and gap["points"],
                            "difference_low": gap and gap["interval"][0],
                            "difference_high": gap and gap["interval"][1],
                            "claim": gap and gap["claim"],
                            "seconds": result["seconds"],
                            "megabytes": result["megabytes"],
                        }
                    )
        return pd.DataFrame(rows)

    def plot(self, target: str | None = None) -> Any:
        """Plot one target: budget curves, differences to the best rival, absent modalities; three Axes."""
        from commlearn.plot.comparison import verdict

        return verdict(self, target)

    def _repr_html_(self) -> str:
        if self.verdict is None:
            return html_text(dict.__repr__(self))
        parts = []
        for target, values in self.verdict["targets"].items():
            title = escape(target)
            encoded = base64.b64encode(self.plot(target)._repr_png_()).decode()
            sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in values["words"])
            picture = f'<img alt="verdict of {title}" src="data:image/png;base64,{encoded}">'
            parts.append(f"<h4>{title}</h4><ul>{sentences}</ul>{picture}")
        frame = self.to_frame()
        full = frame[frame["labels"] == "all"]
        columns = ["target", "reader", "score", "low", "high", "loss", "seconds", "megabytes"]
        table = full[columns].to_html(index=False, float_format="{:.2f}".format, escape=True)
        return "".join([*parts, table])


class Prediction(NamedTuple):
    """Truth and prediction of every test record, and which records belong together."""

    truth: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray | None = None


Predictions = dict[str, Prediction]
"""Predictions by target."""


def values_of_draws(predictions: Predictions, sorts: Mapping[str, str]) -> np.ndarray:
    """Return the score of each bootstrap sample of the test records, in percent, averaged over targets.

    The samples depend only on the records, so they are the same for every member.
    """
    by_target = []
    for target, (truth, predicted, groups) in predictions.items():
        blocks = draws(measures.strata_of(sorts[target], truth), groups=groups)
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw without any record of a class
            scores = [measures.main_score(sorts[target], truth, predicted, weights) for weights in blocks]
        by_target.append(np.concatenate(scores))
    return 100 * np.mean(by_target, axis=0)


def seed_pairs(own: Collection[int], other: Collection[int]) -> list[tuple[int, int]]:
    """Pair equal seeds; if one side has a single seed or none are equal, pair every seed with every other.

    Example:
        >>> seed_pairs([0, 1, 2], [0, 2]), seed_pairs([0], [0, 1])
        ([(0, 0), (2, 2)], [(0, 0), (0, 1)])
    """
    shared = sorted(set(own) & set(other))
    if shared and min(len(own), len(other)) > 1:
        return [(seed, seed) for seed in shared]
    return [(own_seed, other_seed) for own_seed in own for other_seed in other]


def table_from(
    experiment: Experiment,
    data: Dataset,
    members: Sequence[Member],
    scores: Mapping[str, Score],
    jobs: Sequence[Job],
    errors: Mapping[Job, str],
) -> dict[str, Any]:
    """Build the table: scores in percent by member, with mean and standard deviation over finished seeds."""
    sorts = chosen_targets(data, sorted(targets_of(scores)), "linear")
    rows: dict[str, Any] = {}
    draws: dict[str, dict[str, dict[int, np.ndarray]]] = {name: {} for name in scores}  # by score and member
    factors = dict.fromkeys(scores, 1.0)  # widen the draws' intervals; the largest over seeds and targets
    for member in members:
        member_jobs = [job for job in jobs if job.method == member.name]
        results = {job: job.probes() for job in member_jobs}
        scored = {}
        for name, score in scores.items():
            own = {job: probes for job, probes in results.items() if probes and job.variant == score.variant}
            scored[name] = _by_seed(own, score.targets, sorts)
            draws[name][member.name] = {}
            for seed in scored[name]:
                predictions = _predictions([job for job in own if job.seed == seed], score.targets)
                draws[name][member.name][seed] = values_of_draws(predictions, sorts)
                for target, prediction in predictions.items():
                    strata = measures.strata_of(sorts[target], prediction.truth)
                    factors[name] = max(factors[name], widening(strata, prediction.groups))
        costs = [values_of_file(job.folder / COST) for job in member_jobs if (job.folder / COST).exists()]
        rows[member.name] = {
            "role": member.role,
            "scores": {name: _cell(values) for name, values in scored.items()},
            "published": dict(experiment.published.get(member.name, {})),
            "probes": {f"seed{job.seed}/{job.folder.name}": probes for job, probes in results.items()},
            "updates": _updates(member, experiment.training, data),
            "width": max((cost["width"] for cost in costs if cost.get("width") is not None), default=None),
            "cost": _cost(costs, len({job.seed for job in member_jobs})),
            "errors": {str(job): errors[job] for job in member_jobs if job in errors},
        }
    for name in scores:
        _compare(name, rows, draws[name], factors[name])
    metrics = {MEASURES[MEASURE_OF[sort]] for sort in sorts.values()}
    return {
        "recipe": experiment.name,
        "metric": f"{' and '.join(sorted(metrics))} of a linear probe, percent",
        "measures": {name: MEASURES[MEASURE_OF[sorts[score.targets[0]]]] for name, score in scores.items()},
        "chance": {name: _chance(name, rows, scores) for name in scores},
        "scores": {name: list(score.targets) for name, score in scores.items()},
        "records": {"train": len(data.train), "fit": len(data.fit), "test": len(data.test)},
        "budget": {
            "epochs": experiment.training.epochs,
            "batch_size": experiment.training.batch_size,
            "steps": _steps(experiment.training, data.train),
        },
        "methods": rows,
    }


def _by_seed(
    results: Mapping[Job, Mapping[str, Any]], targets: Sequence[str], sorts: Mapping[str, str]
) -> dict[int, float]:
    """Return the score of each seed for which all targets of the score were measured."""
    by_seed: dict[int, dict[str, float]] = {}
    for job, probes in results.items():
        for target in targets:
            if target in job.targets and (value := probes[target][MEASURE_OF[sorts[target]]]) is not None:
                by_seed.setdefault(job.seed, {})[target] = value
    return {
        seed: 100 * float(np.mean([values[target] for target in targets]))
        for seed, values in by_seed.items()
        if set(targets) <= set(values)
    }


def _cell(values: Mapping[int, float]) -> dict[str, Any]:
    numbers = list(values.values())
    return {
        "mean": float(np.mean(numbers)) if numbers else None,
        "std": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
        "values": {str(seed): value for seed, value in values.items()},
    }


def _compare(
    score: str, rows: dict[str, Any], draws: Mapping[str, Mapping[int, np.ndarray]], factor: float
) -> None:
    """Add each row's difference from the best label-free baseline or, without one, the best other member.

    Its interval is over draws of test records, spread by `factor`, and over pairs of seeds.
    """
    means = {name: row["scores"][score]["mean"] for name, row in rows.items()}
    scored = [name for name, mean in means.items() if mean is not None]
    simple = [name for name in scored if rows[name]["role"] in ("baseline", "floor")]
    for name in scored:
        others = [other for other in (simple or scored) if other != name]
        if not others:
            continue
        best = max(others, key=lambda other: means[other])
        pairs = seed_pairs(draws[name], draws[best])
        values, best_values = (rows[key]["scores"][score]["values"] for key in (name, best))
        mean = float(np.mean([values[str(key)] - best_values[str(best_key)] for key, best_key in pairs]))
        gaps = np.stack([draws[name][key] - draws[best][best_key] for key, best_key in pairs])
        rows[name]["scores"][score]["difference"] = {
            "to": best,
            "mean": mean,
            "interval": list(interval_over_repeats(gaps, mean, factor)),
        }


def _predictions(jobs: Sequence[Job], targets: Sequence[str]) -> Predictions:
    predictions: Predictions = {}
    for job in jobs:
        arrays = arrays_of(job.folder / PREDICTIONS)
        for target in targets:
            if target in job.targets:
                names = [f"{target}/{part}" for part in ("truth", "predicted", "groups")]
                predictions[target] = Prediction(*(arrays[name] for name in names if name in arrays))
    return predictions


def _cost(costs: Sequence[Mapping[str, Any]], seeds: int) -> dict[str, Any]:
    """Return the average seconds per seed for all its trainings, and the peak memory of any training."""
    return {
        "seconds": round(sum(cost["seconds"] for cost in costs) / seeds, 1) if costs else None,
        "peak_memory_mb": max(filter(None, (cost["peak_memory_mb"] for cost in costs)), default=None),
    }


def _updates(member: Member, training: Training, data: Dataset) -> int:
    """Return the number of weight updates: two per batch for two-player methods, none for most baselines.

    What learns from labels sees the records whose labels are read: of a streamed table, those in memory.
    """
    if member.baseline is not None and not member.labels:
        return 0
    per_batch = METHODS[member.name].steps_per_batch if member.baseline is None else 1
    return per_batch * _steps(training, data.fit if member.labels else data.train)


def _steps(training: Training, records: Records) -> int:
    return training.epochs * (len(records) // training.batch_size)


def _chance(score: str, rows: Mapping[str, Any], scores: Mapping[str, Score]) -> float | None:
    """Return the score of guessing, in percent; None for numbers, of which a guess explains nothing."""
    for row in rows.values():
        for probes in row["probes"].values():
            chances = [(probes or {}).get(target, {}).get("chance") for target in scores[score].targets]
            if chances and all(value is not None for value in chances):
                return 100 * float(np.mean(chances))
    return None
