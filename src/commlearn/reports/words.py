"""What the figures say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commlearn.probes import MEASURES, ProbeResult, score_of
from commlearn.probes.ladder import called
from commlearn.reports.findings import Findings

__all__ = ["in_short", "of_ladder"]


def in_short(findings: Findings) -> list[str]:
    """A few sentences for those who read no further."""
    trained = findings.source.trained
    method, labels = trained.experiment.method["name"], trained.saw_labels
    sentences = [
        f"The method {method} learned one embedding of {_listed(list(trained.specs))} from "
        f"{findings.counts['train']:,} records, {'with' if labels else 'without'} labels."
    ]
    sentences += [of_ladder(target, rungs) for target, rungs in findings.ladder.items()]
    for name, rank in list(findings.ranks.items())[-1:]:
        used = f"{rank:.0f} of {findings.dims[name]} directions (effective rank)"
        sentences.append(f"The embeddings by {called(name)} use {used}.")
    return sentences


def of_ladder(target: str, rungs: Mapping[str, Any]) -> str:
    """What all modalities say of a target, and what they add to the best one alone."""
    names = list(rungs)
    whole = rungs[names[-1]]
    sentence = f"{target}: {_score(whole)} by {called(names[-1])}{_chance(whole)}"
    alone = {name: rungs[name] for name in names if "+" not in name}
    if len(names) == 1 or not alone or all(_at_chance(result) for result in rungs.values()):
        return sentence + "."
    best = max(alone, key=lambda name: score_of(alone[name]))
    gain = score_of(whole) - score_of(alone[best])
    if whole.interval[0] > alone[best].interval[1]:
        comparison = f"together they add {_points(gain, whole)}"
    elif whole.interval[1] < alone[best].interval[0]:
        comparison = f"together they read {_points(-gain, whole)} less: the others disturb it"
    else:
        comparison = "what together they add is within the intervals"
    return f"{sentence}. Best alone is {best} with {_score(alone[best])}; {comparison}."


def _score(result: Any) -> str:
    low, high = result.interval
    if isinstance(result, ProbeResult):
        return f"{100 * result.balanced_accuracy:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{MEASURES[result.measure]} {score_of(result):.2f} [{low:.2f}, {high:.2f}]"


def _chance(result: Any) -> str:
    at_chance = " (no better than chance)" if _at_chance(result) else ""
    if not isinstance(result, ProbeResult):
        return f", where a guess has {result.chance:.2f}{at_chance}"
    return f", where a guess has {100 * result.chance:.0f} %{at_chance}"


def _at_chance(result: Any) -> bool:
    return bool(result.interval[0] <= result.chance)


def _points(gain: float, result: Any) -> str:
    return (
        f"{100 * gain:.0f} points"
        if isinstance(result, ProbeResult)
        else f"{gain:.2f} of {MEASURES[result.measure]}"
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
