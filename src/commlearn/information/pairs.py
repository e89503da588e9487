"""Report on each pair of many modalities: what the two share, what each one adds, and their synergy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from commlearn.batch import Subset, choose_subsets
from commlearn.escapes import html_text
from commlearn.information.diagnose import WITHOUT_CURVE, count_doubts, expected_error, leak_signs
from commlearn.information.estimate import ATOMS, information_in
from commlearn.information.evidence import gather_evidence
from commlearn.information.experts.posteriors import Evidence, Posterior, fit_posteriors, rich_family
from commlearn.information.material import Material, Settings, prepare_target
from commlearn.information.nulls import missing_tests
from commlearn.information.report import PRESENT, listed, parts_of_pair
from commlearn.information.views import LEARNABLE, Estimate, Limits, find_limits, make_view, with_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PAIRED = 6  # number of modalities up to which every pair is read
PARTS = (*ATOMS, "total")


@dataclass(frozen=True)
class PairReport:
    """Report on many modalities: what each one alone, each pair, and all together know about a target.

    With more than five modalities, there are too many subsets to read each of them.
    """

    values: Mapping[str, Any]  # all results, as JSON-compatible values

    @property
    def verdict(self) -> str:
        """Whether the numbers can be trusted."""
        return str(self.values["verdict"])

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers with their intervals, and the report as text under `words`."""
        return {**self.values, "words": str(self)}

    def to_frame(self) -> pd.DataFrame:
        """Return one row per number: quantity, of, bits, low, high, error, p, growing, p_corrected."""
        rows = [("information", name, number) for name, number in self.values["alone"].items()]
        rows += [(part, pair["name"], pair[part]) for pair in self.values["pairs"] for part in PARTS]
        rows.append(("total", "all", self.values["total"]))
        return pd.DataFrame([{"quantity": part, "of": of, **number} for part, of, number in rows])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Return a figure with a bar for each pair; also write it to `path` if given."""
        from commlearn.plot.decomposition import pairs_figure

        return pairs_figure(self.values, path)

    def _repr_html_(self) -> str:
        return html_text(self)

    def __str__(self) -> str:
        values = self.values
        width = max(map(len, ("modality", *values["alone"])))
        pair_width = max(len("pair"), *(len(pair["name"]) for pair in values["pairs"]))
        heads = "".join(f"{head:>10}" for head in ("shared", "1st only", "2nd only", "synergy", "in all"))
        lines = [
            values["verdict"],
            f"About '{values['target']}', {values['records']} records:",
            *(f"Warning: {text}" for text in values["warnings"] if not values["verdict"].endswith(text)),
            "",
            f"- {share_in_words(values['modalities'], values['total'], values['entropy'])}",
            *(f"- {line}" for line in pairs_in_words(values)),
            "",
            f"{'modality':<{width}}  bits on its own",
            *(f"{name:<{width}}  {_estimate(number)}" for name, number in values["alone"].items()),
            "",
            f"{'pair':<{pair_width}}  {heads}",
            *(
                f"{pair['name']:<{pair_width}}  " + "".join(f"{pair[part]['bits']:>10.2f}" for part in PARTS)
                for pair in values["pairs"]
            ),
            "",
            f"With {len(values['modalities'])} modalities, only pairs are measured, not every subset: choose "
            "up to five to see what three or more provide only together. All numbers are lower bounds, from "
            "experts that have not seen the record that they predict.",
            *(f"Note: {note}." for note in values["notes"]),
        ]
        return "\n".join(lines)


def pair_values(
    material: Material,
    values: np.ndarray,
    name: str,
    groups: np.ndarray | None,
    settings: Settings,
    tell: Callable[[str], None],
    sort: str | None = None,
    severe: Sequence[str] = (),
) -> dict[str, Any]:
    """Return plain values for each modality alone, pairs of those that know most, and all together.

    `severe` holds warnings because of which the numbers cannot be trusted.
    """
    target = prepare_target(values, name, settings.bins, settings.folds, sort)
    evidence = gather_evidence(material, target, groups, settings)
    names, labels = evidence.names, evidence.labels
    posteriors, measured_pairs = _posteriors(evidence, tell)
    # Enough permutations for one of so many tests to stand out after the correction.
    enough = round(max(len(names), len(measured_pairs)) / PRESENT)
    settings = replace(settings, permutations=max(settings.permutations, enough))
    tell("a planted synergy")
    limits = find_limits(evidence, settings)
    tell("intervals")
    singles: dict[str, Estimate] = {}
    pairs, totals = [], []
    for pair_names in measured_pairs:
        logs = {subset: posteriors[subset].log for subset in choose_subsets("every", pair_names)}
        view = make_view(logs, evidence, settings, limits=limits)
        singles |= {modality: view.ladder[(modality,)] for modality in pair_names}
        pairs.append({"name": " + ".join(pair_names), **parts_of_pair(view.pairs[0])})
        totals += [view.measured.total] if view.measured else []
    for modality in names:
        if modality not in singles:  # in none of the pairs that were read
            bits = information_in(posteriors[(modality,)].log, labels)
            singles[modality] = with_interval(bits, settings.level, limits, groups=evidence.groups)
    # More modalities cannot know less.
    joint = information_in(posteriors[names].log, labels).at_least(*totals)
    total = with_interval(joint, settings.level, limits, groups=evidence.groups, combined=True)
    tell("leaks")
    signs = leak_signs(material, target, evidence, settings)
    parts = [Estimate(**pair[part]) for pair in pairs for part in PARTS]
    expected = expected_error(parts, len(labels))
    alone = {modality: asdict(singles[modality]) for modality in names}
    for tests in (list(alone.values()), *([pair[part] for pair in pairs] for part in PARTS)):
        for number, p in zip(tests, holm([number["p"] for number in tests]), strict=True):
            number["p_corrected"] = p
    doubts = [*severe, *target.severe, *signs.severe, *count_doubts(evidence, expected)]
    return {
        "verdict": f"CANNOT BE TRUSTED: {doubts[0]}" if doubts else _verdict(limits),
        "target": name,
        "records": len(labels),
        "modalities": list(names),
        "entropy": limits.most,
        "level": settings.level,
        "alone": alone,
        "pairs": pairs,
        "total": asdict(total),
        "warnings": [
            *doubts,
            *missing_tests(labels, evidence.folds, combination=False),
            *signs.others,
            *target.warnings,
        ],
        "notes": [*material.notes, *_left_out(names, measured_pairs), *target.notes],
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number by Holm's method; missing ones count, too.

    Example:
        >>> holm([0.01, None, 0.5, 0.02])
        [0.04, None, 1.0, 0.06]
    """
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(sorted((p, at) for at, p in enumerate(p_values) if p is not None)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        corrected[place] = largest
    return corrected


def _verdict(limits: Limits) -> str:
    if limits.learnable < LEARNABLE:
        return (
            "AT LEAST: synergy and the totals can only be bounded from below (the experts found "
            f"{100 * limits.learnable:.0f} % of a planted synergy at this sample size)."
        )
    return WITHOUT_CURVE


def _posteriors(
    evidence: Evidence, tell: Callable[[str], None]
) -> tuple[dict[Subset, Posterior], list[Subset]]:
    """Return posteriors of each modality alone, of pairs and of all together, and the pairs read."""
    names = evidence.names
    single: list[Subset] = [(one,) for one in names]
    pairs = min(len(names), MOST_PAIRED)
    count = len(single) + pairs * (pairs - 1) // 2 + 1
    steps = iter(range(1, count + 1))
    tell_step: Callable[[str], None] = lambda text: tell(f"{text} ({next(steps)} of {count})")  # noqa: E731
    singles = fit_posteriors(evidence, single, rich_family, tell_step)
    bits = {
        subset: information_in(posterior.log, evidence.labels).bits for subset, posterior in singles.items()
    }
    best = sorted(sorted(single, key=lambda subset: -bits[subset])[:MOST_PAIRED], key=single.index)
    measured_pairs: list[Subset] = [(*one, *other) for one, other in combinations(best, 2)]
    joint = fit_posteriors(evidence, [*measured_pairs, names], rich_family, tell_step, singles)
    return joint, measured_pairs


def _left_out(names: Sequence[str], measured_pairs: Sequence[Subset]) -> list[str]:
    """Return a note on pairs that were not read and how to get them, or none if all were read."""
    paired = {name for pair in measured_pairs for name in pair}
    others = [name for name in names if name not in paired]
    if not others:
        return []
    count = len(names) * (len(names) - 1) // 2
    return [
        f"{len(measured_pairs)} of {count} pairs were measured, those of the {len(paired)} modalities that "
        f"provide most on their own. Pairs with {', '.join(others)} were not, and may include a synergy of "
        f"two modalities that provide nothing on their own. Choose up to {MOST_PAIRED} modalities by name to "
        "measure all their pairs"
    ]


def pairs_in_words(values: Mapping[str, Any]) -> list[str]:
    """Return sentences on who knows most alone, which pair shares most, and which has the largest synergy."""
    singles, pairs = values["alone"], values["pairs"]
    best = max(singles, key=lambda name: singles[name]["bits"])
    shared = max(pairs, key=lambda pair: pair["redundant"]["bits"])
    joint = max(pairs, key=lambda pair: pair["synergistic"]["bits"])
    both, joint_both = (" and ".join([*pair["first"], *pair["second"]]) for pair in (shared, joint))
    alone = "none of them provides anything on its own"
    together = "no two of them provide anything that neither provides on its own"
    findings = (
        (singles[best], f"{best} provides most on its own: {{}}", alone),
        (shared["redundant"], f"{both} share most: {{}}", "no two of them share anything"),
        (joint["synergistic"], f"{joint_both} have the largest synergy: {{}}", together),
    )
    return [
        fallback if _is_nothing(part) else part_in_words(sentence, part)
        for part, sentence, fallback in findings
    ]


def share_in_words(names: list[str], total: Mapping[str, Any], entropy: float) -> str:
    return (
        f"{listed(names)} provide {Estimate(**total)} of the {entropy:.2f} bits needed for certainty "
        f"({100 * total['bits'] / entropy:.0f} %)"
    )


def part_in_words(what: str, part: Mapping[str, Any]) -> str:
    """Return the sentence with the number in its place, and a doubt if it may be chance."""
    if _is_nothing(part):
        return what.replace("{}", "nothing")
    p = part.get("p_corrected", part["p"])
    if p is None:
        doubt = " - not tested against chance"
    else:
        doubt = " - or nothing: it could be chance" if p > PRESENT else ""
    return what.replace("{}", str(_estimate(part))) + doubt


def _estimate(number: Mapping[str, Any]) -> Estimate:
    return Estimate(**{key: value for key, value in number.items() if key != "p_corrected"})


def _is_nothing(part: Mapping[str, Any]) -> bool:
    return bool(part["bits"] < 0.005 and part["high"] < 0.05)
