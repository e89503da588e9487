"""The report: all results for one target, as sentences, as plain values and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from commlearn.batch import all_but_one
from commlearn.errors import DataError
from commlearn.escapes import file_name_part, html_text
from commlearn.information.curve import Curve, Gain, Growth
from commlearn.information.diagnose import Diagnostics
from commlearn.information.estimate import ATOMS, QuantityKey, atoms_of_two, information_of, subset_name
from commlearn.information.material import Settings, Target
from commlearn.information.nulls import Combination
from commlearn.information.views import GROWS, GROWS_SHARE, Estimate, Pair, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from commlearn.information.pairs import PairReport

_VIEWS = ("data", "linear", "representation", "raw", "model")


@dataclass(frozen=True)
class InteractionReport:
    """Report on what modalities know about a target, together and separately, in bits."""

    target: Target  # labels and classes of the target, and what was done to it
    where: str  # what the modalities' arrays are, in words
    data: View  # the DATA view: the best experts on all arrays
    linear: View  # the view of a linear probe of the same arrays, side by side
    # the REPRESENTATION view: a linear probe of a model's own embedding of each subset
    representation: View | None
    raw: View | None  # the best experts on the raw columns behind a model's embeddings, if these are few
    model: View | None  # the MODEL view: a supervised model's own predictions
    combination: Combination  # the test of whether the combination matters
    curve: Curve  # the same numbers on fewer records, and what each modality adds
    diagnostics: Diagnostics  # evidence on whether the numbers can be trusted
    settings: Settings  # settings that the report was made with
    warnings: tuple[str, ...] = ()  # what makes the numbers less certain
    notes: tuple[str, ...] = ()  # what else a reader should know

    @property
    def verdict(self) -> str:
        """Whether the numbers can be trusted, and which are only lower bounds."""
        return self.diagnostics.verdict

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return self.data.names

    @property
    def entropy(self) -> float:
        """H(Y): the bits that certainty about the target takes."""
        return self.data.entropy

    @property
    def records(self) -> int:
        return len(self.target.labels)

    @property
    def atoms(self) -> Pair:
        """Parts of the two modalities, or of the first pair of more: see `data.pairs` and `data.spectrum`."""
        return self.data.pairs[0]

    @property
    def views(self) -> dict[str, View]:
        """The views that the report has, by name."""
        views = {name: getattr(self, name) for name in _VIEWS}
        return {name: view for name, view in views.items() if view is not None}

    def contributions(self) -> pd.DataFrame:
        """Return each record's share of information and parts, in bits; the shares average to the numbers.

        The records with the largest `synergistic` are those whose label only the combination explains.
        With more than two modalities, the parts are those of the first pair.

        Raises:
            DataError: the report was read back from values, which do not include the records' shares.
        """
        measured = self.data.measured
        if measured is None:
            raise DataError(
                "A report that was read back does not contain the records' shares. Call interactions() again "
                "to get them."
            )
        columns = {f"I({subset_name(s)})": quantity.shares for s, quantity in measured.ladder.items()}
        parts = atoms_of_two(measured, self.atoms.first, self.atoms.second)
        columns |= {name: part.shares for name, part in parts.items()}
        label = np.array(self.target.classes, dtype=object)[self.target.labels]
        return pd.DataFrame({"record": self.target.rows, "label": label} | columns)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the records' shares as JSON-compatible values, with settings, seed and version."""
        labels, curve = self.target.labels, self.curve
        points = {
            key: {str(n): bits for n, bits in bits_at.items()} for key, bits_at in curve.numbers.items()
        }
        return {
            "verdict": self.verdict,
            "target": self.target.name,
            "records": self.records,
            "classes": {name: int((labels == label).sum()) for label, name in enumerate(self.target.classes)},
            "modalities": list(self.modalities),
            "where": self.where,
            "entropy": self.entropy,
            "level": self.settings.level,
            "version": version("commlearn"),
            "seed": self.settings.seed,
            "settings": asdict(self.settings),
            "views": {name: _view(view) for name, view in self.views.items()},
            "combination": asdict(self.combination),
            "curve": {str(key): dict(bits) for key, bits in points.items()},
            "extrapolated": {str(key): bits for key, bits in curve.extrapolated().items()},
            "growth": [{**_key(key), **asdict(change)} for key, change in curve.growth.items()],
            "points": [{**_key(key), "bits": bits} for key, bits in points.items()],
            "worth": {name: [asdict(gain) for gain in gains] for name, gains in curve.worth.items()},
            "diagnostics": asdict(self.diagnostics),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "words": str(self),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InteractionReport:
        """Rebuild the report from its values; it prints and plots as before but lacks the records' shares."""
        counts = values["classes"]
        labels = np.repeat(np.arange(len(counts)), list(counts.values()))
        names, entropy = tuple(values["modalities"]), values["entropy"]
        views = {name: _read_view(view, names, entropy) for name, view in values["views"].items()}
        fields: dict[str, Any] = {name: views.get(name) for name in _VIEWS}
        return cls(
            Target(values["target"], labels, tuple(counts), np.arange(len(labels)), len(labels)),
            values["where"],
            **fields,
            combination=Combination(**values["combination"]),
            curve=Curve(
                {
                    _read_key(row): {int(n): bits for n, bits in row["bits"].items()}
                    for row in values["points"]
                },
                {name: [_read_gain(gain) for gain in gains] for name, gains in values["worth"].items()},
                {_read_key(row): Growth(row["bits"], row["error"]) for row in values["growth"]},
            ),
            diagnostics=Diagnostics(**values["diagnostics"]),
            settings=Settings(**values["settings"]),
            warnings=tuple(values["warnings"]),
            notes=tuple(values["notes"]),
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per number: view, quantity, of, bits, low, high, error, p, growing."""
        return pd.DataFrame(
            {"view": name, "quantity": key.part, "of": key.of, **asdict(value)}
            for name, view in self.views.items()
            for key, value in view.numbers.items()
        )

    def __str__(self) -> str:
        name, total = self.target.name, self.data.total
        lines = [
            self.verdict,
            f"Information about '{name}' in {listed(self.modalities)} ({self.records} records, "
            f"{len(self.target.classes)} classes; {self.where}), in bits: one bit answers one yes-or-no "
            f"question with even odds, and certainty about '{name}' takes {self.entropy:.2f} bits.",
            f"Together they provide {total}: {100 * total.bits / self.entropy:.0f} % of certainty.",
            *(f"Warning: {text}" for text in self.warnings if not self.verdict.endswith(text)),
            "",
            *(_two(self) if len(self.modalities) == 2 else _many(self)),
            "",
            *_ladder(self),
            "",
            _droppable(self),
            *_linear(self),
            *_views(self),
            *_more_data(self),
            "",
            *(f"Note: {note}." for note in self.notes),
            "Assumed, not tested: unique (hence shared) information depends only on how each modality "
            "relates to the target on its own; records are drawn independently, or in the given groups.",
            f"Intervals: {100 * self.settings.level:.0f} %; 'at least' gives the lower end where the upper "
            "one is open. The numbers describe these arrays as these experts read them: they are lower "
            "bounds on what the raw data contain.",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return html_text(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Return the figure; also write it to `path` if given."""
        from commlearn.plot.decomposition import interaction_figure

        return interaction_figure(self.to_dict(), path)


@dataclass(frozen=True)
class LabelReports:
    """One report per label of a multi-label target."""

    name: str  # name of the target
    reports: Mapping[str, InteractionReport | PairReport]  # the report of each label
    # labels that could not be analysed, with the reason for each
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, label: str) -> InteractionReport | PairReport:
        return self.reports[label]

    def to_dict(self) -> dict[str, Any]:
        labels = {label: report.to_dict() for label, report in self.reports.items()}
        return {"target": self.name, "labels": labels, "skipped": dict(self.skipped)}

    def to_frame(self) -> pd.DataFrame:
        """Return the rows of all reports, with a column for the label."""
        frames = [report.to_frame().assign(label=label) for label, report in self.reports.items()]
        return pd.concat(frames, ignore_index=True)

    def __str__(self) -> str:
        skipped = (f"Warning: label '{label}' was left out: {why}" for label, why in self.skipped.items())
        return "\n\n".join([*skipped, *map(str, self.reports.values())])

    def _repr_html_(self) -> str:
        return html_text(self)

    def plot(self, path: str | Path | None = None) -> dict[str, Figure]:
        """Return one figure per label; the label is appended to the file name."""
        figures = {}
        for label, report in self.reports.items():
            own = None if path is None else Path(path).with_stem(f"{Path(path).stem}-{file_name_part(label)}")
            figures[label] = report.plot(own)
        return figures


def _view(view: View) -> dict[str, Any]:
    return {
        "numbers": [{**_key(key), **asdict(value)} for key, value in view.numbers.items()],
        "gap": view.gap,
        "cells": [list(cells) for cells in view.cells],
        "ladder": [
            {
                "modalities": list(subset),
                **asdict(value),
                "accuracy": view.accuracy[subset],
                "balanced_accuracy": view.balanced_accuracy[subset],
            }
            for subset, value in view.ladder.items()
        ],
        "pairs": [
            {**parts_of_pair(pair), "bounds_of_redundant": [pair.least_redundant, pair.most_redundant]}
            for pair in view.pairs
        ],
        "spectrum": [asdict(value) for value in view.spectrum],
        "unique": {name: asdict(value) for name, value in view.unique.items()},
        "non_exclusive": asdict(view.non_exclusive),
        "shapley": {name: asdict(value) for name, value in view.shapley.items()},
        "total": asdict(view.total),
    }


def parts_of_pair(pair: Pair) -> dict[str, Any]:
    """Return the two subsets of a pair, its parts and its total, as plain values."""
    parts = {name: asdict(getattr(pair, name)) for name in (*ATOMS, "total")}
    return {"first": list(pair.first), "second": list(pair.second), **parts}


def _key(key: QuantityKey) -> dict[str, Any]:
    return {"part": key.part, "subsets": [list(subset) for subset in key.subsets]}


def _read_key(row: Mapping[str, Any]) -> QuantityKey:
    return QuantityKey(row["part"], tuple(tuple(subset) for subset in row["subsets"]))


def _read_gain(gain: Mapping[str, Any]) -> Gain:
    intervals = {name: tuple(gain[name]) for name in ("bits_interval", "accuracy_interval")}
    return Gain(**{**gain, **intervals})


def _read_view(view: Mapping[str, Any], names: tuple[str, ...], entropy: float) -> View:
    fields = ("bits", "low", "high", "error", "p", "growing")
    numbers = {_read_key(row): Estimate(**{name: row[name] for name in fields}) for row in view["numbers"]}
    accuracy, balanced = (
        {tuple(row["modalities"]): row[name] for row in view["ladder"]}
        for name in ("accuracy", "balanced_accuracy")
    )
    return View(names, entropy, view["gap"], list(map(tuple, view["cells"])), numbers, accuracy, balanced)


PRESENT = 0.05  # largest p-value at which a part is called present
ROUNDED = 0.005  # bits below which a number is printed as 0.00
_LOWER = "  Synergy counts only what these experts could learn; there may be more that is harder to learn."


def _two(report: InteractionReport) -> list[str]:
    first, second = report.modalities
    pair = report.atoms
    return [
        f"- shared: {first} and {second} both provide {pair.redundant}{_tested(pair.redundant)}",
        f"- unique: only {first} provides {pair.unique1}{_tested(pair.unique1)}",
        f"- unique: only {second} provides {pair.unique2}{_tested(pair.unique2)}",
        f"- synergy: together they provide {pair.synergistic} that neither provides on its own"
        f"{_tested(pair.synergistic)}",
        _LOWER,
        _chance(report),
        f"  Without any assumption, the shared part lies between {pair.least_redundant:.2f} and "
        f"{pair.most_redundant:.2f} bits.",
    ]


def _many(report: InteractionReport) -> list[str]:
    view = report.data
    subjects = {1: "single modalities provide", 2: "pairs add"}
    lines = [
        f"- {subjects.get(order, f'{order} together add')}: {part}{_tested(part)}"
        f"{_which_pair(view) if order == 2 and part.bits > 0.005 else ''}"
        for order, part in enumerate(view.spectrum, 1)
    ]
    lines += [f"- unique: only {name} provides {part}{_tested(part)}" for name, part in view.unique.items()]
    lines.append(f"- carried by more than one single modality: {view.non_exclusive}")
    lines += [_LOWER, _chance(report)]
    for pair in view.pairs:
        lines.append(f"  {subset_name(pair.first)} against {subset_name(pair.second)}: {_parts(pair)}")
    return lines


def _parts(pair: Pair) -> str:
    return (
        f"shared {pair.redundant.bits:.2f}, unique {pair.unique1.bits:.2f} and {pair.unique2.bits:.2f}, "
        f"synergy {pair.synergistic.bits:.2f}"
    )


def _which_pair(view: View) -> str:
    """Return a clause that names the two modalities with the largest synergy."""
    single = [pair for pair in view.pairs if len(pair.first) == len(pair.second) == 1]
    largest = max(single, key=lambda pair: pair.synergistic.bits)
    return f", most of all {largest.first[0]} with {largest.second[0]} ({largest.synergistic.bits:.2f})"


def _chance(report: InteractionReport) -> str:
    """Return a sentence on how much synergy conditional independence would leave."""
    total, test = report.data.total, report.combination
    remaining = max(0.0, min(test.independent, total.bits) - report.data.spectrum[0].bits)
    if test.p is None:
        finding = "whether the combination itself matters could not be tested"
    else:
        p = max(test.p, _synergy(report.data).p or 0.0)  # the synergy must be present, too
        beginning = "" if p <= PRESENT else "no evidence that "
        finding = f"{beginning}the combination itself matters (p {_p(p)})"
    return (
        f"  If the modalities were independent given the class, {remaining:.2f} bits of synergy would "
        f"remain; {finding}."
    )


def _ladder(report: InteractionReport) -> list[str]:
    width = max(len("on their own"), *(len(subset_name(subset)) for subset in report.data.ladder))
    extrapolated = report.curve.extrapolated()
    heading = "  2n*" if extrapolated else ""
    lines = [f"{'on their own':<{width}}  bits  interval      {heading:<6}  correct  balanced"]
    for subset, value in report.data.ladder.items():
        high = "open" if value.growing else f"{value.high:.2f}"
        more = min(max(extrapolated.get(information_of(subset), 0.0), 0.0), report.entropy)
        expected = f"  {more:4.2f}" if extrapolated else ""
        lines.append(
            f"{subset_name(subset):<{width}}  {value.bits:4.2f}  [{value.low:.2f}, {high}]  {expected:<6}  "
            f"{100 * report.data.accuracy[subset]:5.1f} %  "
            f"{100 * report.data.balanced_accuracy[subset]:5.1f} %"
        )
    if extrapolated:
        lines.append("* 2 est(n) - est(n / 2): what the learning curve predicts for many more records.")
    return lines


def _droppable(report: InteractionReport) -> str:
    """Return a sentence on the modality whose loss costs least."""
    view, names = report.data, report.modalities
    costs = {}
    for name, rest in zip(names, all_but_one(names), strict=True):
        costs[name] = (view.total.bits - view.ladder[rest].bits, view.accuracy[names] - view.accuracy[rest])
    name = min(costs, key=lambda candidate: costs[candidate][0])
    bits, points = costs[name]
    return (
        f"Cheapest to drop: {name}, at a cost of {bits:.2f} bits and {100 * points:.1f} points of accuracy."
    )


def _linear(report: InteractionReport) -> list[str]:
    mlp, linear = _synergy(report.data), _synergy(report.linear)
    if mlp.bits < 0.02 or (mlp.p or 0) > PRESENT:
        return []
    seen = f"({min(linear.bits, mlp.bits):.2f} of {mlp.bits:.2f} bits)"
    if linear.bits >= 0.7 * mlp.bits:
        return [f"The synergy can be read linearly {seen}."]
    part = "part" if linear.bits >= 0.1 * mlp.bits else "none"
    rest = "; non-linear experts do" if part == "none" else ""
    return [f"A linear probe of the modalities side by side sees {part} of the synergy {seen}{rest}."]


def _synergy(view: View) -> Estimate:
    """Return the synergy of two modalities or, if there are more, the largest part beyond single ones."""
    return (
        view.pairs[0].synergistic
        if len(view.spectrum) == 2
        else max(view.spectrum[1:], key=lambda part: part.bits)
    )


def _orders(view: View) -> str:
    return ", ".join(f"S({order}) {part.bits:.2f}" for order, part in enumerate(view.spectrum, 1))


def _views(report: InteractionReport) -> list[str]:
    views = {
        "RAW columns (the best experts, no model)": report.raw,
        "REPRESENTATION (a linear probe of the model's own embedding)": report.representation,
        "MODEL (its own predictions)": report.model,
    }
    return [
        f"{name}: {_parts(view.pairs[0]) if len(view.names) == 2 else _orders(view)}; "
        f"{view.total.bits:.2f} bits in total, compared with {report.data.total.bits:.2f} in the DATA view."
        for name, view in views.items()
        if view is not None
    ]


def _more_data(report: InteractionReport) -> list[str]:
    """Return sentences on what each modality adds, and on whether more records would change the total."""
    points = report.curve.numbers[information_of(report.modalities)]
    lines = []
    for name, gains in report.curve.worth.items():
        low, high = gains[-1].bits_interval
        rest = [other for other in report.modalities if other != name]
        lines.append(
            f"{name}, given {rest[0] if len(rest) == 1 else 'the others'}, adds {gains[-1].bits:.2f} bits "
            f"[{low:.2f}, {high:.2f}] and {100 * gains[-1].accuracy:.1f} points of balanced accuracy"
            + "".join(f"; {gain.bits:.2f} at {gain.records} records" for gain in gains[-2::-1])
            + "."
        )
    if len(points) < 2:
        return lines
    *_, previous, current = sorted(points)
    gain, total = points[current] - points[previous], report.data.total
    change = "change the total little: it moved"
    if total.growing:  # or harder to learn than these experts can; the verdict says which
        grew = gain > max(GROWS, GROWS_SHARE * total.bits)
        change = "probably raise the total: it grew" if grew else "perhaps raise the total: it moved"
    return [*lines, f"More records would {change} by {gain:+.2f} bits from {previous} to {current} records."]


def _tested(value: Estimate) -> str:
    if value.p is None:
        return " (not tested)"
    if value.p <= PRESENT and value.bits < ROUNDED:
        return " (too small to distinguish from zero)"
    return (
        f" (p {_p(value.p)})" if value.p <= PRESENT else f" (not distinguishable from zero, p {_p(value.p)})"
    )


def _p(value: float) -> str:
    return "< 0.01" if value < 0.01 else f"= {value:.2f}"


def listed(names: Sequence[str]) -> str:
    """Return two or more names as text, such as "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}"
