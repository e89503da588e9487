"""What the page opens with: a card a target, and at most five warnings, each with its way out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from commlearn.probes import MEASURES, ProbeResult, score_of
from commlearn.probes.ladder import Gain, called
from commlearn.reports.findings import Findings
from commlearn.reports.knowledge import Part, bars_of, doubtful

GUESS = "No probe reads it better than a guess."
MOST, FEW, GAPS, COLLAPSED = 5, 50, 0.5, 2.0  # warnings; test records; share missing; directions
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
    modality: str | None = None  # where it is one alone

    @property
    def lift(self) -> float:
        """Share of the way from a guess to everything right."""
        return max(0.0, min(1.0, (self.score - self.chance) / max(1 - self.chance, 1e-9)))


@dataclass(frozen=True)
class Card:
    """One target: how well it is read, against what, and what that means."""

    target: str
    measure: str
    whole: Rung
    rival: Rung | None
    verdict: str
    compared: bool  # whether the verdict is that of a comparison
    bar: list[Part] = field(default_factory=list)
    entropy: float = 0.0  # bits that certainty takes: the length of the bar
    bar_of: str = ""  # what the bar is about, where that is not all modalities and the target
    doubt: str = ""  # why the bar must not be shown

    @property
    def bits(self) -> float:
        return sum(part.bits for part in self.bar)


@dataclass(frozen=True)
class Warned:
    """What is wrong, and what to do about it."""

    text: str
    way: str


def cards_of(findings: Findings) -> list[Card]:
    """One a target that could be probed."""
    return [_card(findings, target) for target in findings.ladder]


def rungs_of(findings: Findings, target: str) -> list[Rung]:
    """What a probe reads of a target by each subset of modalities."""
    return [
        rung(called(name), result, name if name in findings.present else None)
        for name, result in findings.ladder[target].items()
    ]


def rung(label: str, result: Any, modality: str | None = None) -> Rung:
    """A probe's result as the page shows it."""
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
        if method in budget["differences"]:  # else the comparison read others alone
            read, best_rival = (_reader(values, budget, name) for name in (method, budget["rival"]))
            of_method = (line for line in values["words"] if f"({method})" in line)
            words = next(of_method, values["words"][0])
            measure = MEASURES[values["measure"]]
            return Card(target, measure, read, best_rival, words, True, bar, entropy, bar_of, doubt)
    names = list(rungs)
    alone = {name: rungs[name] for name in names if "+" not in name}
    best = max(alone, key=lambda name: score_of(alone[name]))
    whole = rung("all together" if len(names) > 1 else names[0], rungs[names[-1]])
    rival = rung(f"{best} alone", alone[best], best) if len(names) > 1 else None
    words = gain_words(rungs, findings.gains[target])
    return Card(
        target,
        MEASURES[rungs[names[-1]].measure],
        whole,
        rival,
        words,
        False,
        bar,
        entropy,
        bar_of,
        doubt,
    )


def _reader(values: Mapping[str, Any], budget: Mapping[str, Any], name: str) -> Rung:
    one = budget["readers"][name]
    low, high = (None if limit is None else limit / 100 for limit in one["interval"])
    return Rung(name, f"{one['score']:.0f} %", one["score"] / 100, low, high, values["chance"] / 100)


def _bar(findings: Findings, target: str) -> tuple[list[Part], float, str, str]:
    """The interaction of the target, or of the first of its labels, if it was measured and can be trusted.

    Its parts, the bits that certainty takes, what it is about, and why it must not be shown.
    """
    for name, values in findings.interactions.items():
        if values["of"] == target and "problem" not in values:
            if doubtful(values):
                return [], 0.0, "", values["verdict"]
            view, parts = next(iter(bars_of(values).items()))
            where = f"the pair {view}" if "alone" in values else ""
            about = ", ".join(filter(None, [where, name if name != target else ""]))
            return parts, values["entropy"], about, ""
    return [], 0.0, "", ""


def warnings_of(findings: Findings) -> list[Warned]:
    """What a reader must know before anything else, the gravest first; the page shows the first five."""
    grave = list(findings.ranks.items())[-1:]
    warned = [
        Warned(
            f"The embeddings use {rank:.1f} directions: records lie almost in one place.",
            "Lower training.learning_rate, strengthen the augmentations, or train on more records.",
        )
        for name, rank in grave
        if rank < min(COLLAPSED, findings.dims[name])
    ]
    for target, rungs in findings.ladder.items():
        if all(result.interval[0] <= result.chance for result in rungs.values()):
            warned.append(
                Warned(
                    f"No probe reads {target} better than a guess.",
                    "Check labels and inputs with commlearn check; if they are right, train for longer, or "
                    "accept that these modalities do not say it.",
                )
            )
    warned += [
        _split(text, "Weaken that augmentation.")
        for text in (findings.audit.warnings if findings.audit else [])
    ]
    epochs = [str(text) for entry in findings.metrics[-1:] for text in entry.get("warnings", ())]
    warned += [
        _split(text, "Look at the curves at the end of this page.")
        for text in (*findings.source.trained.warnings, *epochs)
    ]
    warned += _of_decompositions(findings.interactions)
    if findings.ladder and 0 < findings.counts["test"] < FEW:  # else nothing has an interval
        warned.append(
            Warned(
                f"There are only {findings.counts['test']} test records, so every interval is wide.",
                "Score more rows: commlearn report RUN TABLE.",
            )
        )
    copies = sum(same for *_, same in (findings.alike.pairs if findings.alike else ()))
    if copies:
        warned.append(
            Warned(
                f"{copies} pairs of test records are copies of each other in every cell.",
                "Remove them, or keep them in one part of the split by a group column: commlearn check.",
            )
        )
    warned += [
        Warned(
            f"{100 * (1 - share):.0f} % of the test records have no {name}.",
            f"Fill it, or leave it out: what {name} says is scored on few records.",
        )
        for name, share in findings.present.items()
        if share < GAPS
    ]
    return list(dict.fromkeys(warned))


def _of_decompositions(interactions: Mapping[str, Mapping[str, Any]]) -> list[Warned]:
    """What speaks against the bits, once for all targets that it is about."""
    targets: dict[tuple[str, str], list[str]] = {}
    for target, values in interactions.items():
        for text in values.get("warnings", ()):
            reason, few, _ = text.partition("; expect each part")  # by how much differs between targets
            targets.setdefault((reason, few), []).append(target)
    return [
        Warned(
            f"Too few records to decompose {', '.join(names)}: {reason}.",
            "Take the bits as a hint, and label more records that have all modalities.",
        )
        if few
        else _split(
            f"Decomposing {', '.join(names)}: {reason}",
            f"See commlearn interactions RUN --target {interactions[names[0]]['of']}.",
        )
        for (reason, few), names in targets.items()
    ]


def _split(text: str, way: str) -> Warned:
    """A warning in two: its first sentence, and the others, which say what to do."""
    first, _, rest = text.partition(". ")
    first = f"{first[:1].upper()}{first[1:]}".rstrip(".") + "."
    return Warned(first, rest.rstrip(".") + "." if rest else way)


def gain_words(rungs: Mapping[str, Any], gain: Gain | None) -> str:
    """What several modalities add to the best one alone, on the records that have that one."""
    if all(result.interval[0] <= result.chance for result in rungs.values()):
        return GUESS
    if gain is None:
        return "One modality alone: there is nothing to compare it with." if len(rungs) == 1 else ""
    if gain.records < FEWEST_COMPARED:
        return f"Only {gain.records} test records: too few to say which modality is better."
    result = rungs[gain.best]
    where = f" on the {gain.records} records that have it; on these" if gain.without else ";"
    size, (low, high) = _difference(abs(gain.score), result), gain.interval
    if not math.isfinite(high - low):
        few = "there are too few groups to say what the others add"
        return f"Best alone is {gain.best} with {_score(result)}; {few}."
    if low > 0:
        comparison = f"together they add {size}"
    elif high < 0:
        comparison = f"together they score {size} less: the others add noise"
    else:
        comparison = "what they add together could be chance" if low < high else "together they add nothing"
    limits = " to ".join(_difference(limit, result, sign="+") for limit in gain.interval)
    return f"Best alone is {gain.best} with {_score(result)}{where} {comparison} ({limits})."


def _score(result: Any) -> str:
    low, high = result.interval
    if isinstance(result, ProbeResult):
        return f"{100 * result.balanced_accuracy:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{MEASURES[result.measure]} {score_of(result):.2f} [{low:.2f}, {high:.2f}]"


def _difference(gain: float, result: Any, sign: str = "") -> str:
    if isinstance(result, ProbeResult):
        return f"{100 * gain:{sign}.0f}" + ("" if sign else " points")
    return f"{gain:{sign}.2f}" + ("" if sign else f" of {MEASURES[result.measure]}")
