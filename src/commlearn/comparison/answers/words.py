"""The verdict of one target in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEASURES = {"balanced_accuracy": "balanced accuracy", "auroc": "AUROC", "r2": "R2"}
READ_BY = {
    "pca": "their principal components",
    "untrained": "a linear reader beside the untrained network",
    "network": "a network",
    "tabicl": "TabICL",
}
NO_LOSS = 3.0  # points: an interval that reaches no further says that nothing is lost


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Sentences: does learning add anything, with how many labels, which modalities are needed."""
    measure, best = MEASURES[values["measure"]], values["best"]
    if best["claim"] != "more":
        return [
            f"Nothing here reads it: the best reader, {best['reader']}, is {points_words(best)} points from "
            f"chance ({measure})."
        ]
    sentences = [sentence for method in _methods(values) for sentence in _adds(values, method)]
    if not sentences:
        sentences.append(f"The best rival is {_whole(values)['rival']}: {_score(values)} {measure}.")
    if best.get("without"):
        score = f"{best['score']:.1f} % {measure}"
        sentences.insert(0, f"{best['reader']} reads it best, without {best['without']}: {score}.")
    if values["combination"]:
        sentences += _combination(values["combination"])
    return [*sentences, *modality_words(values["modalities"])]


def _adds(values: Mapping[str, Any], method: str) -> list[str]:
    whole, rival = _whole(values), _whole(values)["rival"]
    last = whole["differences"][method]
    more = {
        budget: part["differences"][method]
        for budget, part in values["budgets"].items()
        if part["differences"][method]["claim"] == "more"
    }
    fewer = [budget for budget in more if budget != "all"]
    sentences = []
    if last["claim"] == "more":
        sentences.append(
            f"The embedding ({method}) adds {points_words(last)} points to the best rival, {rival}, with all "
            "labels."
        )
    elif not fewer:
        adds = "loses" if last["claim"] == "less" else "adds nothing"
        sentences.append(
            f"{_enough(rival)}: {_score(values)} {MEASURES[values['measure']]}. The embedding ({method}) "
            f"{adds}: {points_words(last)}."
        )
    if fewer:
        largest = max(fewer, key=lambda budget: more[budget]["points"])
        part = values["budgets"][largest]
        rest = "" if "all" in more else f"; with all of them nothing ({points_words(last)})"
        sentences.append(
            f"With {_budget(largest)} ({part['labelled_rows']} rows) the embedding ({method}) adds "
            f"{points_words(more[largest])} points to the best rival, {part['rival']}{rest}."
        )
    worse = [
        budget
        for budget, part in values["budgets"].items()
        if part["differences"][method]["claim"] == "less" and budget != "all"
    ]
    if worse:
        part = values["budgets"][worse[0]]
        sentences.append(
            f"With {_budget(worse[0])} {part['rival']} is better than the embedding ({method}): "
            f"{points_words(part['differences'][method])}."
        )
    return sentences


def _combination(claim: Mapping[str, Any]) -> list[str]:
    if claim["claim"] == "more":
        read = f"all modalities but {claim['without']}" if claim.get("without") else "all modalities"
        return [
            f"The combination matters: {claim['joint']}, which reads {read} together, is "
            f"{points_words(claim)} points from {claim['apart']}, which reads each on its own."
        ]
    if claim["claim"] == "less":
        return [
            f"{claim['apart']} is better than reading together ({claim['joint']}: {points_words(claim)})."
        ]
    return []


def modality_words(each: Mapping[str, Any]) -> list[str]:
    """Which modalities are needed, which disturb, which can be left out, and of which nothing is certain."""
    needed, spare, open_ones = [], [], []
    for name, values in each.items():
        claim = values["refit"]
        if claim["claim"] == "less":
            needed.append(f"Keep {name}: without it {points_words(claim)} points.")
        elif claim["claim"] == "more":
            needed.append(f"Leave out {name}: without it {points_words(claim)} points.")
        elif claim["interval"][0] is not None and claim["interval"][0] > -NO_LOSS:
            spare.append(f"{name} ({points_words(claim)})")
        else:
            open_ones.append(f"{name} ({points_words(claim)})")
    sentences = needed
    if spare:
        sentences.append(f"Each of these can be left out at little loss: {', '.join(spare)}.")
    if open_ones:
        sentences.append(f"Too few rows say whether these are needed: {', '.join(open_ones)}.")
    return sentences


def _enough(rival: str) -> str:
    if rival.endswith(" alone"):
        return f"{rival} is enough"
    if rival == "features":
        return "Plain features are enough"
    return f"Plain features are enough, read by {READ_BY.get(rival, rival)}"


def _budget(budget: str) -> str:
    return (
        f"{budget.replace('%', ' %')} of the labels" if budget.endswith("%") else f"{budget} labels a class"
    )


def points_words(claim: Mapping[str, Any]) -> str:
    """A difference with its interval, in points."""
    low, high = claim["interval"]
    limits = "no interval: too few groups" if low is None or high is None else f"{low:+.1f}, {high:+.1f}"
    return f"{claim['points']:+.1f} [{limits}]"


def _score(values: Mapping[str, Any]) -> str:
    whole = _whole(values)
    return f"{whole['readers'][whole['rival']]['score']:.1f} %"


def _whole(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return values["budgets"]["all"]


def _methods(values: Mapping[str, Any]) -> list[str]:
    return list(_whole(values)["differences"])
