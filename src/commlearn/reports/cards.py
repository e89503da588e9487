"""What the page says: a card for each target, warnings with remedies, what modalities provide together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from commlearn.information.pairs import pairs_in_words, part_in_words, share_in_words
from commlearn.plot.decomposition import most_informative, parts_of
from commlearn.probes.ladder import Gain, subset_label
from commlearn.probes.measures import SHARE
from commlearn.probes.results import MEASURES, ProbeResult, score_of
from commlearn.reports.findings import Findings

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
class Part:
    """One piece of a bar."""

    label: str
    modality: str | None  # the modality that says it alone; None if shared or taking several together
    bits: float
    low: float
    high: float


@dataclass(frozen=True)
class Card:
    """One target: how well it is read, compared with what, and what that means."""

    target: str
    measure: str
    whole: Rung
    rival: Rung | None
    verdict: str
    compared: bool  # whether the verdict is from a comparison
    bar: list[Part]
    entropy: float  # bits needed for certainty: the length of the bar
    bar_of: str  # what the bar is about, if not all modalities and the target
    doubt: str  # why the bar must not be shown

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
    rungs, bar = findings.ladder[target], _bar(findings, target)
    values = (findings.verdict or {"targets": {}})["targets"].get(target)
    if values is not None:
        budget = list(values["budgets"].values())[-1]
        method = findings.source.trained.experiment.method["name"]
        if method in budget["differences"]:  # otherwise it compared other methods only
            reader, best_rival = (_reader(values, budget, name) for name in (method, budget["rival"]))
            method_lines = (line for line in values["words"] if f"({method})" in line)
            words = next(method_lines, values["words"][0])
            return Card(target, MEASURES[values["measure"]], reader, best_rival, words, True, *bar)
    name, whole = list(rungs.items())[-1]
    best = max((name for name in rungs if "+" not in name), key=lambda name: score_of(rungs[name]))
    combined = rung("all together" if len(rungs) > 1 else name, whole)
    rival = rung(f"{best} alone", rungs[best], best) if len(rungs) > 1 else None
    words = gain_words(rungs, findings.gains[target])
    return Card(target, MEASURES[whole.measure], combined, rival, words, False, *bar)


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
    return list(dict.fromkeys(_warnings(findings)))


def _warnings(findings: Findings) -> Iterator[ReportWarning]:
    for name, rank in list(findings.ranks.items())[-1:]:
        if rank < min(COLLAPSED, findings.dims[name]):
            yield ReportWarning(
                f"The embeddings use only {rank:.1f} directions: all records are almost at the same point.",
                "Lower training.learning_rate, strengthen the augmentations, or train on more records.",
            )
    for target, rungs in findings.ladder.items():
        if _is_guess(rungs):
            yield ReportWarning(
                f"No probe predicts {target} better than chance.",
                "Check labels and inputs with commlearn check; if they are right, train for longer, or "
                "accept that these modalities carry no information about it.",
            )
    for text in findings.source.data.signs:
        yield _split(text, "")
    for text in findings.audit.warnings if findings.audit else ():
        yield _split(text, "Weaken that augmentation.")
    logged = [str(text) for entry in findings.metrics[-1:] for text in entry.get("warnings", ())]
    for text in (*findings.source.trained.warnings, *logged):
        yield _split(text, "Look at the curves at the end of this page.")
    yield from _decomposition_warnings(findings.interactions)
    if findings.ladder and 0 < findings.counts["test"] < FEW:  # otherwise nothing has an interval
        yield ReportWarning(
            f"There are only {findings.counts['test']} test records, so every interval is wide.",
            "Score more rows: commlearn report RUN TABLE.",
        )
    if copies := sum(same for *_, same in (findings.alike.pairs if findings.alike else ())):
        yield ReportWarning(
            f"{copies} pairs of test records are the same in every cell.",
            "Remove them, or keep them in one part of the split with a group column: commlearn check.",
        )
    for name, share in findings.present.items():
        if share < GAPS:
            yield ReportWarning(
                f"{100 * (1 - share):.0f} % of the test records have no {name}.",
                f"Fill it in, or leave it out: the scores of {name} are based on few records.",
            )


def _decomposition_warnings(interactions: Mapping[str, Mapping[str, Any]]) -> Iterator[ReportWarning]:
    """Yield the reasons to doubt the bits, each once for all the targets that it is about."""
    targets: dict[tuple[str, str], list[str]] = {}
    for target, values in interactions.items():
        for text in values.get("warnings", ()):
            reason, separator, _ = text.partition("; expect each part")  # the amount differs between targets
            targets.setdefault((reason, separator), []).append(target)
    for (reason, separator), names in targets.items():
        if separator:
            yield ReportWarning(
                f"Too few records to decompose {', '.join(names)}: {reason}.",
                "Take the bits as a hint, and label more records that have all modalities.",
            )
        else:
            remedy = f"See commlearn interactions RUN --target {interactions[names[0]]['of']}."
            yield _split(f"Decomposing {', '.join(names)}: {reason}", remedy)


def _split(text: str, remedy: str) -> ReportWarning:
    """Split a warning into its first sentence and the rest, which says what to do; by default `remedy`."""
    first, _, rest = text.partition(". ")
    first = f"{first[:1].upper()}{first[1:]}".rstrip(".") + "."
    return ReportWarning(first, rest.rstrip(".") + "." if rest else remedy)


def gain_words(rungs: Mapping[str, Any], gain: Gain | None) -> str:
    """Describe what several modalities add to the best one alone, on the records that have that one."""
    if _is_guess(rungs):
        return "No probe predicts it better than chance."
    if gain is None:
        return "There is only one modality, so nothing to compare it with." if len(rungs) == 1 else ""
    if gain.records < FEWEST_COMPARED:
        return f"Only {gain.records} test records: too few to say which modality is better."
    result = rungs[gain.best]
    best = f"The best single modality is {gain.best} with {_score(result)}"
    scope = f" on the {gain.records} records that have it; on these" if gain.without else ";"
    size, (low, high) = _difference(abs(gain.score), result), gain.interval
    if not math.isfinite(high - low):
        return f"{best}; there are too few groups to say what the others add."
    if low > 0:
        comparison = f"together they add {size}"
    elif high < 0:
        comparison = f"together they score {size} less: the others add noise"
    else:
        comparison = "what they add together could be chance" if low < high else "together they add nothing"
    limits = " to ".join(_difference(limit, result, sign="+") for limit in gain.interval)
    return f"{best}{scope} {comparison} ({limits})."


def _is_guess(rungs: Mapping[str, Any]) -> bool:
    """Whether all intervals reach down to chance; one that holds every possible score does not count."""
    limits = [(*result.interval, result.chance) for result in rungs.values()]
    telling = [(low, chance) for low, high, chance in limits if math.isfinite(low) and (low, high) != SHARE]
    return bool(telling) and all(low <= chance for low, chance in telling)


def _score(result: Any) -> str:
    low, high = result.interval
    if isinstance(result, ProbeResult):
        return f"{100 * result.balanced_accuracy:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{MEASURES[result.measure]} {score_of(result):.2f} [{low:.2f}, {high:.2f}]"


def _difference(gain: float, result: Any, sign: str = "") -> str:
    if isinstance(result, ProbeResult):
        return f"{100 * gain:{sign}.0f}" + ("" if sign else " points")
    return f"{gain:{sign}.2f}" + ("" if sign else f" of {MEASURES[result.measure]}")


def bars_of(values: Mapping[str, Any]) -> dict[str, list[Part]]:
    """Return a bar for each view or, with many modalities, for each pair, the one that knows most first."""
    views = values["views"] if "alone" not in values else {p["name"]: p for p in most_informative(values)}
    bars: dict[str, list[Part]] = {name: [] for name in views}
    for name, view in views.items():
        for label, part in parts_of(view).items():
            modality = label.removeprefix("only ") if label.startswith("only ") else None
            bars[name].append(Part(label, modality, part["bits"], part["low"], part["high"]))
    return bars


def doubtful(values: Mapping[str, Any]) -> bool:
    """Return whether the numbers must not be shown without saying that they cannot be trusted."""
    return str(values["verdict"]).startswith("CANNOT BE TRUSTED")


def sentences(values: Mapping[str, Any]) -> list[str]:
    """Return the findings as sentences, the most telling first."""
    names, entropy = values["modalities"], values["entropy"]
    if "alone" in values:
        return [values["verdict"], share_in_words(names, values["total"], entropy), *pairs_in_words(values)]
    view = values["views"]["data"]
    lines = [values["verdict"], share_in_words(names, view["total"], entropy)]
    if len(names) == 2:
        pair, (first, second) = view["pairs"][0], names
        return [
            *lines,
            part_in_words(f"{first} and {second} share {{}}", pair["redundant"]),
            part_in_words(f"{first} adds {{}} to {second}", pair["unique1"]),
            part_in_words(f"{second} adds {{}} to {first}", pair["unique2"]),
            part_in_words("{} is available only from both together", pair["synergistic"]),
        ]
    lines.append(part_in_words("{} can be read from more than one of them", view["non_exclusive"]))
    lines += [
        part_in_words(f"{{}} can be read from {name} only", part) for name, part in view["unique"].items()
    ]
    orders = enumerate(view["spectrum"][1:], 2)
    return lines + [part_in_words(f"{{}} needs {order} of them together", part) for order, part in orders]


def information_rows(values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return what the chart shows and what each subset knows: view or pair, part, bits, low, high, p."""
    if "alone" in values:
        rows = [_row("alone", name, part) for name, part in values["alone"].items()]
        for pair in values["pairs"]:
            rows += [_row(pair["name"], *entry) for entry in parts_of(pair).items()]
            rows.append(_row(pair["name"], "total", pair["total"]))
        return [*rows, _row("all", "total", values["total"])]
    rows = []
    for name, view in values["views"].items():
        rows += [_row(name, f"I({' + '.join(rung['modalities'])})", rung) for rung in view["ladder"]]
        rows += [_row(name, label, {**part, "p": None}) for label, part in parts_of(view).items()]
    return rows


def _row(view: str, part: str, quantity: Mapping[str, Any]) -> tuple[Any, ...]:
    return (view, part, quantity["bits"], quantity["low"], quantity["high"], quantity["p"])
