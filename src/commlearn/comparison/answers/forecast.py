"""Forecast before training: which modalities predict a target, alone or combined, with advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from commlearn.comparison.answers.readouts import results_of_unit, units_of
from commlearn.comparison.answers.rivals import ALONE, Unit, alone, chosen_rivals, of_task, vectors_of
from commlearn.comparison.answers.task import ALL, labelled_rows, task_of
from commlearn.comparison.answers.verdict import NO_LOSS, TargetVerdict, modality_words, points_words
from commlearn.config.own_data import read_own
from commlearn.probes.probe import check_targets, chosen_targets, has_label
from commlearn.probes.readout_rows import without_overlap
from commlearn.records import Records
from commlearn.seeds import numpy_generator

ENOUGH = 3.0  # points below the best reader within which a reader counts as equally good
ROWS = 2000  # rows of each part that are used, at most
READERS = ("single", "features", "late fusion", "boosting", "network")
ADVICE = {
    "nothing": "These features do not predict it: look for other features or more rows before training.",
    "undecided": "There are too few test rows or groups to say whether anything predicts it: score more.",
    "combine": "Read the modalities together, with {reader}. An embedding may lose what only their "
    "combination provides: `commlearn compare` measures this. CoMM (method comm) keeps more of it than "
    "aligning does.",
    "one": "One modality is enough: {best}.",
    "align": "Every modality predicts it: aligning them (method clip) preserves this.",
    "features": "Plain features side by side predict it; with all labels, an embedding has little to add.",
}


def forecast(
    schema: str | Path,
    table: str | Path | None = None,
    targets: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Read each target from fixed features on a sample of the rows, without training an embedding.

    Args:
        schema: path of a YAML file.
        table: replaces the schema's table.
        targets: names of targets; all if not given.
        tell: receives a line for each target.

    Returns:
        By target: `advice` (a name in `ADVICE`), `words`, and the values of a verdict.
    """
    experiment, data, _ = read_own(schema, table, {"model.features": "fixed"}, "comm")
    data = without_overlap(data)
    sorts = chosen_targets(data, targets, "linear")
    check_targets(data, sorts)
    data = replace(data, train=_sample(data.fit, sorts), test=_sample(data.test, sorts), probe=None)
    check_targets(data, sorts)  # a sample may have no labels of a rare target
    modalities = list(data.train.specs)
    vectors = vectors_of(experiment, data, {}, untrained=False)
    readers, _ = chosen_rivals(READERS, modalities, len(data.fit))
    forecasts = {}
    for name, sort in sorts.items():
        tell(f"predicting {name} from the features of {len(data.fit)} rows")
        task = task_of(data, name, sort)
        own_vectors, results = of_task(vectors, task), {}
        with threadpool_limits(limits=1):
            for readout, names in units_of(task, [ALL], modalities, readers, []):
                unit = Unit(own_vectors, labelled_rows(task, ALL), readout.without)
                results[readout] = results_of_unit(unit, names)
        values = TargetVerdict(task, results, modalities, readers, []).values()
        advice = _advice(values, modalities)
        forecasts[name] = {**values, "advice": advice, "words": _words(values, advice, modalities)}
    return forecasts


def _sample(records: Records, targets: Iterable[str]) -> Records:
    """Return the records, or if there are too many, a sample of those that have any of the targets."""
    if len(records) <= ROWS:
        return records
    labelled = np.flatnonzero(np.any([has_label(records.targets[name]) for name in targets], axis=0))
    count = min(ROWS, len(labelled))
    return records.choose(labelled).sample(count, numpy_generator(0, "forecast"))


def _advice(values: Mapping[str, Any], modalities: Sequence[str]) -> str:
    """Return the advice that the claims support.

    A modality counts as dispensable only if the interval rules out a loss of `NO_LOSS` points or more.
    """
    if values["best"]["claim"] != "more":
        return "undecided" if None in values["best"]["interval"] else "nothing"
    readers = values["budgets"][ALL]["readers"]
    least = values["best"]["score"] - ENOUGH
    if values["combination"] and values["combination"]["claim"] == "more":
        return "features" if readers["features"]["score"] >= least else "combine"
    sufficient = [name for name in modalities if readers[alone(name)]["score"] > least]
    lowest = {name: cost["refit"]["interval"][0] for name, cost in values["modalities"].items()}
    dispensable = [name for name, low in lowest.items() if low is not None and low > -NO_LOSS]
    if len(modalities) > 1 and len(sufficient) == len(dispensable) == len(modalities):
        return "align"
    if sufficient and len(dispensable) >= len(modalities) - 1:
        return "one"
    return "features"


def _words(values: Mapping[str, Any], advice: str, modalities: Sequence[str]) -> list[str]:
    readers = values["budgets"][ALL]["readers"]
    ranked = sorted(modalities, key=lambda name: -readers[alone(name)]["score"])
    scores = ", ".join(f"{name} {readers[alone(name)]['score']:.1f} %" for name in ranked)
    chance = f"chance {values['chance']:.0f} %"
    sentences = [f"Alone: {scores} ({values['measure'].replace('_', ' ')}, {chance})."]
    if advice != "nothing":
        best = values["best"]
        if not best["reader"].endswith(ALONE):
            exception = f" from all but {best['without']}" if best["without"] else ""
            sentences.append(f"Together: {best['score']:.1f} % by {best['reader']}{exception}.")
        if advice == "combine":
            gain = points_words(values["combination"])
            sentences.append(
                f"Reading them together adds {gain} points to the best reader of separate modalities."
            )
        sentences += modality_words(values["modalities"])
    return [*sentences, f"Advice: {ADVICE[advice].format(best=ranked[0], reader=values['best']['reader'])}"]
