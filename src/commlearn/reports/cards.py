"""The opening of the page: a card for each target, and at most five warnings, each with a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from commlearn.probes import MEASURES, ProbeResult, score_of
from commlearn.probes.ladder import Gain, subset_label
from commlearn.reports.findings import Findings
from commlearn.reports.knowledge import Part, bars_of, doubtful

GUESS = "No probe predicts it better than chance."
MOST, FEW, GAPS, COLLAPSED = 5, 50, 0.5, 2.0  # most warnings; too few test records, present, directions
FEWEST_COMPARED = 10  # test records, below which no card says which modality is better


@dataclass(frozen=True)
class Rung:
    """A score on a line from 0 to 1."""

    label: str
    text: str
    score: float
    low: float | None
    high: float | None
    chance: float
    records: int = 0
    modality: str | None = None  # the modality, if it is a single one

    @property
    def lift(self) -> float:
        """Share of the way from a guess to a perfect score."""
        return max(0.0, min(1.0, (self.score - self.chance) / max(1 - self.chance, 1e-9)))


@dataclass(frozen=True)
class Card:
    """One target: how well it is read, compared with what, and what that means."""

    target: str
    measure: str
    whole: Rung
    rival: Rung | None
    verdict: str
    compared: bool  # whether the verdict is from a comparison
    bar: list[Part] = field(default_factory=list)
    entropy: float = 0.0  # bits needed for certainty: the length of the bar
    bar_of: str = ""  # what the bar is about, if not all modalities and the target
    doubt: str = ""  # why the bar must not be shown

    @property
    def bits(self) -> float:
        return sum(part.bits for part in self.bar)


@dataclass(frozen=True)
class ReportWarning:
    """What is wrong, and what to do about it."""

    text: str

    remedy: str


def cards_of(findings: Findings) -> list[Card]:
    """Return a card for each target that could be probed."""
    return [_card(findings, target) for target in findings.ladder]


def rungs_of(findings: Findings, target: str) -> list[Rung]:
    """Return how well a probe reads a target from each subset of modalities."""
    return [
        rung(subset_label(name), result, name if name in findings.present else None)
        for name, result in findings.ladder[target].items()
    ]


def rung(label: str, result: Any, modality: str | None = None) -> Rung:
    """Return a probe's result as the page shows it."""
    score, (low, high) = score_of(result), result.interval
    percent = isinstance(result, ProbeResult)
    text = f"{100 * score:.0f} %" if percent else f"{score:.2f}"
    return Rung(label, text, score, low, high, result.chance, result.test_records, modality)


def _card(findings: Findings, target: str) -> Card:
    rungs = findings.ladder[target]
    values = (findings.verdict or {"targets": {}})["targets"].get(target)
    bar, entropy, bar_of, doubt = _bar(findings, target)
    if values is not None:
        budget = list(values["budgets"].values())[-1]
        method = findings.source.trained.experiment.method["name"]
        if method in budget["differences"]:  # otherwise it compared other methods only
            reader, best_rival = (_reader(values, budget, name) for name in (method, budget["rival"]))
            method_lines = (line for line in values["words"] if f"({method})" in line)
            words = next(method_lines, values["words"][0])
            measure = MEASURES[values["measure"]]
            return Card(target, measure, reader, best_rival, words, True, bar, entropy, bar_of, doubt)
    names = list(rungs)
    singles = {name: rungs[name] for name in names if "+" not in name}
    best = max(singles, key=lambda name: score_of(singles[name]))
    combined = rung("all together" if len(names) > 1 else names[0], rungs[names[-1]])
    rival = rung(f"{best} alone", singles[best], best) if len(names) > 1 else None
    words = gain_words(rungs, findings.gains[target])
    return Card(
        target,
        MEASURES[rungs[names[-1]].measure],
        combined,
        rival,
        words,
        False,
        bar,
        entropy,
        bar_of,
        doubt,
    )


def _reader(values: Mapping[str, Any], budget: Mapping[str, Any], name: str) -> Rung:
    reader = budget["readers"][name]
    low, high = (None if limit is None else limit / 100 for limit in reader["interval"])
    return Rung(name, f"{reader['score']:.0f} %", reader["score"] / 100, low, high, values["chance"] / 100)


def _bar(findings: Findings, target: str) -> tuple[list[Part], float, str, str]:
    """Return the interaction of the target, or of the first of its labels, if measured and trustworthy.

    The result is its parts, the bits needed for certainty, what it is about, and why it must not be shown.
    """
    for name, values in findings.interactions.items():
        if values["of"] == target and "problem" not in values:
            if doubtful(values):
                return [], 0.0, "", values["verdict"]
            view, parts = next(iter(bars_of(values).items()))
            pair = f"the pair {view}" if "alone" in values else ""
            about = ", ".join(filter(None, [pair, name if name != target else ""]))
            return parts, values["entropy"], about, ""
    return [], 0.0, "", ""


def warnings_of(findings: Findings) -> list[ReportWarning]:
    """Return what a reader must know first, most serious first; the page shows the first five."""
    overall_rank = list(findings.ranks.items())[-1:]
    warnings = [
        ReportWarning(
            f"The embeddings use only {rank:.1f} directions: all records are almost at the same point.",
            "Lower training.learning_rate, strengthen the augmentations, or train on more records.",
        )
        for name, rank in overall_rank
        if rank < min(COLLAPSED, findings.dims[name])
    ]
    for target, rungs in findings.ladder.items():
        if all(result.interval[0] <= result.chance for result in rungs.values()):
            warnings.append(
                ReportWarning(
                    f"No probe predicts {target} better than chance.",
                    "Check labels and inputs with commlearn check; if they are right, train for longer, or "
                    "accept that these modalities carry no information about it.",
                )
            )
    warnings += [
        _split(text, "Weaken that augmentation.")
        for text in (findings.audit.warnings if findings.audit else [])
    ]
    metric_warnings = [str(text) for entry in findings.metrics[-1:] for text in entry.get("warnings", ())]
    warnings += [
        _split(text, "Look at the curves at the end of this page.")
        for text in (*findings.source.trained.warnings, *metric_warnings)
    ]
    warnings += _decomposition_warnings(findings.interactions)
    if findings.ladder and 0 < findings.counts["test"] < FEW:  # otherwise nothing has an interval
        warnings.append(
            ReportWarning(
                f"There are only {findings.counts['test']} test records, so every interval is wide.",
                "Score more rows: commlearn report RUN TABLE.",
            )
        )
    copies = sum(same for *_, same in (findings.alike.pairs if findings.alike else ()))
    if copies:
        warnings.append(
            ReportWarning(
                f"{copies} pairs of test records are the same in every cell.",
                "Remove them, or keep them in one part of the split with a group column: commlearn check.",
            )
        )
    warnings += [
        ReportWarning(
            f"{100 * (1 - share):.0f} % of the test records have no {name}.",
            f"Fill it in, or leave it out: the scores of {name} are based on few records.",
        )
        for name, share in findings.present.items()
        if share < GAPS
    ]
    return list(dict.fromkeys(warnings))


def _decomposition_warnings(interactions: Mapping[str, Mapping[str, Any]]) -> list[ReportWarning]:
    """Return the reasons to doubt the bits, each once for all the targets that it is about."""
    targets: dict[tuple[str, str], list[str]] = {}
    for target, values in interactions.items():
        for text in values.get("warnings", ()):
            reason, separator, _ = text.partition("; expect each part")  # the amount differs between targets
            targets.setdefault((reason, separator), []).append(target)
    return [
        ReportWarning(
            f"Too few records to decompose {', '.join(names)}: {reason}.",
            "Take the bits as a hint, and label more records that have all modalities.",
        )
        if separator
        else _split(
            f"Decomposing {', '.join(names)}: {reason}",
            f"See commlearn interactions RUN --target {interactions[names[0]]['of']}.",
        )
        for (reason, separator), names in targets.items()
    ]


def _split(text: str, remedy: str) -> ReportWarning:
    """Split a warning into its first sentence and the rest, which says what to do; by default `remedy`."""
    first, _, rest = text.partition(". ")
    first = f"{first[:1].upper()}{first[1:]}".rstrip(".") + "."
    return ReportWarning(first, rest.rstrip(".") + "." if rest else remedy)


def gain_words(rungs: Mapping[str, Any], gain: Gain | None) -> str:
    """Describe what several modalities add to the best one alone, on the records that have that one."""
    if all(result.interval[0] <= result.chance for result in rungs.values()):
        return GUESS
    if gain is None:
        return "There is only one modality, so nothing to compare it with." if len(rungs) == 1 else ""
    if gain.records < FEWEST_COMPARED:
        return f"Only {gain.records} test records: too few to say which modality is better."
    result = rungs[gain.best]
    scope = f" on the {gain.records} records that have it; on these" if gain.without else ";"
    size, (low, high) = _difference(abs(gain.score), result), gain.interval
    if not math.isfinite(high - low):
        reason = "there are too few groups to say what the others add"
        return f"The best single modality is {gain.best} with {_score(result)}; {reason}."
    if low > 0:
        comparison = f"together they add {size}"
    elif high < 0:
        comparison = f"together they score {size} less: the others add noise"
    else:
        comparison = "what they add together could be chance" if low < high else "together they add nothing"
    limits = " to ".join(_difference(limit, result, sign="+") for limit in gain.interval)
    best = f"The best single modality is {gain.best} with {_score(result)}"
    return f"{best}{scope} {comparison} ({limits})."


def _score(result: Any) -> str:
    low, high = result.interval
    if isinstance(result, ProbeResult):
        return f"{100 * result.balanced_accuracy:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{MEASURES[result.measure]} {score_of(result):.2f} [{low:.2f}, {high:.2f}]"


def _difference(gain: float, result: Any, sign: str = "") -> str:
    if isinstance(result, ProbeResult):
        return f"{100 * gain:{sign}.0f}" + ("" if sign else " points")
    return f"{gain:{sign}.2f}" + ("" if sign else f" of {MEASURES[result.measure]}")
