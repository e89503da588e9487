"""Checks of whether the numbers of a report can be trusted: leaks, cross-checks and diagnostics.

For Gaussians the unique information of the weaker modality is zero (Barrett 2015), so the parts follow from
the shares of variance that three linear regressions explain (on each modality alone, and on both):

    I_A = -1/2 log2(1 - R2_A)        shared = min(I_1, I_2)        synergy = I_12 - max(I_1, I_2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import NearestNeighbors

from commlearn.information.curve import Curve
from commlearn.information.estimate import cell_count, information_in, information_of, subset_name
from commlearn.information.evidence import Logs
from commlearn.information.experts.folds import Folds, fit_linear, make_folds
from commlearn.information.experts.models import boosting, fit_reduced, screened_columns
from commlearn.information.experts.posteriors import Evidence, ignore_convergence_warnings
from commlearn.information.material import Material, Settings, Target
from commlearn.information.pid.marginals import Array
from commlearn.information.views import LEARNABLE, Estimate, Limits, View
from commlearn.probes.row_order import is_serial, serial_modality
from commlearn.seeds import numpy_generator
from commlearn.tables.leaks import is_continuous

_PENALTIES = np.logspace(-2, 4, 7)


def gaussian_parts(evidence: Evidence, numbers: Array) -> dict[str, float]:
    """Return the Gaussian parts of two modalities about a number, in bits, from held-out regressions."""
    first, second = evidence.blocks.values()
    information1, information2 = (_bits(block, numbers, evidence) for block in (first, second))
    total = max(_bits(np.concatenate([first, second], axis=1), numbers, evidence), information1, information2)
    shared = min(information1, information2)
    return {
        "redundant": shared,
        "unique1": information1 - shared,
        "unique2": information2 - shared,
        "synergistic": total - max(information1, information2),
    }


def gaussian_note(evidence: Evidence, numbers: Array) -> str:
    """Return the Gaussian parts as a sentence."""
    shared, unique1, unique2, synergy = gaussian_parts(evidence, numbers).values()
    first, second = evidence.names
    return (
        f"cross-check without classes: if everything were linear and Gaussian, {first} and {second} would "
        f"share {shared:.2f} bits, add {unique1:.2f} and {unique2:.2f} individually, and add {synergy:.2f} "
        "only together"
    )


def _bits(block: Array, numbers: Array, evidence: Evidence) -> float:
    predicted = np.empty(len(numbers))
    for train in evidence.folds.training():
        if not train.all():  # few groups may leave a fold without records
            predicted[~train] = RidgeCV(_PENALTIES).fit(block[train], numbers[train]).predict(block[~train])
    unexplained = ((predicted - numbers) ** 2).mean() / numbers.var()
    return float(max(0.0, -0.5 * np.log2(np.clip(unexplained, 1e-9, 1.0))))


_COPIES = 0.01  # share of copies among the records above which a report warns
_LEAST_COLUMNS = 3  # records of fewer columns may be equal without being copies
_FOLLOWS = 1.2  # records per value of a column, at most, from which the others follow
_LEAST_DISTINCT = 50  # up to this many distinct records, equal ones do not count as copies
_LEAKED_BITS = 0.02  # bits of leakage from which a report warns
_EXPLAINED = 0.5  # share of variance held by the components below which a report warns
_SAME_ORDER = 0.999  # rank correlation above which a column counts as the target number itself
_LEAST_GROUPS, _IMPURITY = 20, 0.1  # fewest values of a column; highest impurity, relative to chance
_LEAST_MARKED = 5  # fewest records with a code for it to count as one that tells a class
_NEIGHBOURS, _JUMP, _NEAR_SHARE = 16, 8.0, 0.25  # neighbours per record; factor of a jump; share of records
_TWINS, _CLEARLY = 5, 6.0  # most near-copies of a record to look for; standard errors of their likeness
_EQUAL = 1e-6  # distance of standardised records up to which they are equal: roundings add up to 1e-7
_SAMPLE = 500  # records whose neighbours are searched
_LOST_BITS = 0.05  # bits lost from which the order of the rows is worth a warning
_MOST_LOST = 0.2  # share of bits lost to the order above which the numbers cannot be trusted
_RECOGNISED = (  # what follows from copies of records, before what groups are to keep together
    "records with a copy on the other side of a fold can be recognised rather than predicted, so the numbers "
    "are too high; pass groups= that keep"
)


@dataclass(frozen=True)
class Signs:
    """Warnings about the data that make the numbers doubtful, mostly because they are too high."""

    severe: list[str]  # warnings because of which the numbers cannot be trusted
    others: list[str]  # warnings to read alongside the numbers


def leak_signs(material: Material, target: Target, evidence: Evidence, settings: Settings) -> Signs:
    """Return warnings about columns that hold the target, copies, groups, the order of rows and lost columns.

    Only columns from the caller are searched for the target: one of them may be the target, whereas a
    dimension of a model's embedding that predicts the target was learned.
    """
    material = material.choose(target.rows)
    given = material.given.items()
    severe = [sign for name, values in given for sign in _columns_that_answer(name, values, target)]
    severe += _near_copies(evidence)
    # Raw columns show whether a modality varies continuously: an embedding of a few categories does, too.
    wide = {name: values for name, values in given if values.shape[1] >= _LEAST_COLUMNS}
    copies, others = _copies({**material.arrays, **wide}, evidence.groups)
    severe += copies or _whole_copies(material.arrays, settings.seed, evidence.groups)
    if evidence.groups is None:
        severe += [sign for name, values in given for sign in _numbered_groups(name, values, target)]
    else:
        ungrouped_folds = make_folds(evidence.labels, None, settings.folds, settings.seed)
        leaked = _linear_bits(evidence, ungrouped_folds) - _linear_bits(evidence, evidence.folds)
        others = []  # what is only alike may be alike in several groups
        if leaked >= _LEAKED_BITS:
            others.append(
                f"groups matter: a linear probe finds {leaked:.2f} bits more if a group may be on both sides "
                "of a fold; if the groups are finer than the real dependence between records, these numbers "
                "are still too high"
            )
    serial, mildly_serial = _order_signs(evidence, target.name)
    return Signs([*severe, *serial], [*others, *mildly_serial, *_lost_columns(evidence)])


def _lost_columns(evidence: Evidence) -> list[str]:
    """Return a warning for each modality whose components, which most experts read, hold little variance."""
    warnings = []
    for name, block in evidence.blocks.items():
        columns = evidence.columns[name]
        if columns.shape[1] <= block.shape[1]:
            continue
        basis, _ = np.linalg.qr(block - block.mean(axis=0))
        share = float(((basis.T @ columns) ** 2).sum() / max(float((columns**2).sum()), 1e-300))
        if share < _EXPLAINED:
            warnings.append(
                f"{block.shape[1]} components of '{name}' hold {100 * share:.0f} % of the variance of its "
                f"{columns.shape[1]} columns. Single columns are still searched, but a combination "
                "that is spread over many of them may be missed: give fewer columns, or a larger "
                "Settings(components=...)"
            )
    return warnings


def _columns_that_answer(name: str, values: Array, target: Target) -> list[str]:
    """Return a warning about the first column that predicts the class, or the number, without error."""
    classes = len(target.classes)
    ranks = None if target.numbers is None else rankdata(target.numbers)
    for index, column in enumerate(values.T):
        if ranks is not None:
            varies = np.ptp(column) > 0
            predicts = varies and abs(np.corrcoef(rankdata(column), ranks)[0, 1]) > _SAME_ORDER
        else:
            order = np.lexsort((target.labels, column))
            steps, changes = np.diff(column[order]), np.diff(target.labels[order]) != 0
            mixed = (changes & (steps == 0)).any()
            predicts = not mixed and (changes.sum() < classes or 1 + np.count_nonzero(steps) <= 2 * classes)
        if predicts:
            return [
                f"column {index} of '{name}' predicts '{target.name}' without error: if it is the target, or "
                "is derived from it, it leaks the answer; leave it out"
            ]
    return _codes_that_answer(name, values, target) if ranks is None else []


def _codes_that_answer(name: str, values: Array, target: Target) -> list[str]:
    """Return a warning if columns with two values each, as of a category, together tell every class."""
    columns, answered = [], np.zeros(len(values), dtype=bool)
    for index, column in enumerate(values.T):
        marked = column == column.max()
        two_values = not marked.all() and np.ptp(column[~marked]) == 0
        if two_values and marked.sum() >= _LEAST_MARKED and np.ptp(target.labels[marked]) == 0:
            columns.append(index)
            answered |= marked
    rest = np.unique(target.labels[~answered])  # one category may have no column of its own
    if not columns or len(rest) > 1 or len(columns) > 2 * len(target.classes):
        return []
    shown = f"{', '.join(map(str, columns[:5]))}{', ...' if len(columns) > 5 else ''}"
    return [
        f"columns {shown} of '{name}', as of a category, together predict '{target.name}' without error: if "
        "the category is the target, or is derived from it, it leaks the answer; leave it out"
    ]


def _numbered_groups(name: str, values: Array, target: Target) -> list[str]:
    """Return a warning about the first column that seems to number groups of records with the same class."""
    records = len(values)
    for index, column in enumerate(values.T):
        counts = np.unique(column, return_counts=True)[1]
        if not (_LEAST_GROUPS <= len(counts) <= records / 2 and counts.max() <= records / 10):
            continue
        repeated = contingency_matrix(column, target.labels)[counts > 1]  # (values, classes)
        purity = float(repeated.max(axis=1).sum() / repeated.sum())
        share = np.bincount(target.labels).max() / records
        if purity > 1 - _IMPURITY * (1 - share):
            return [
                f"column {index} of '{name}' has {len(counts)} values, and records with the same value have "
                f"the same '{target.name}': if it numbers patients, films or the like, pass it as groups="
            ]
    return []


def _near_copies(evidence: Evidence) -> list[str]:
    """Return the first warning that many records have a few very near neighbours and no others nearby.

    Each modality is checked, then all of them joined. In a smooth cloud, the distance to the next neighbour
    grows gradually, and the share of neighbours of the record's class falls gradually. A jump means that the
    nearer ones are copies of the record with some jitter. Neighbours of the same group do not count.
    """
    joined = {**evidence.columns, "all modalities": np.concatenate(list(evidence.columns.values()), axis=1)}
    records = len(evidence.labels)
    sample = numpy_generator(0, "interactions near copies").permutation(records)[:_SAMPLE]
    for name, columns in joined.items():
        if columns.shape[1] < 2 or records < 10 * _NEIGHBOURS:
            continue
        search = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1).fit(columns)
        distances, rows = (part[:, 1:] for part in search.kneighbors(columns[sample]))
        share = max(
            _share_of_jumps(distances, rows, sample, evidence) if columns.shape[1] >= _LEAST_COLUMNS else 0.0,
            _share_of_twins(distances, rows, sample, evidence),
        )
        if share > _NEAR_SHARE:
            return [
                f"{100 * share:.0f} % of the records have near-copies in {name}: {_RECOGNISED} near-copies "
                "together, or leave them out"
            ]
    return []


def _share_of_jumps(distances: Array, rows: np.ndarray, sample: np.ndarray, evidence: Evidence) -> float:
    """Return the share of records from whose neighbours the distance jumps."""
    steps = distances[:, 1:] / np.maximum(distances[:, :-1], 1e-12)
    steps[distances[:, :-1] < _EQUAL] = 0.0  # exact copies are counted elsewhere
    jump = steps.argmax(axis=1)
    copied = steps.max(axis=1) > _JUMP
    if evidence.groups is not None:
        others = evidence.groups[rows] != evidence.groups[sample][:, None]
        copied &= np.array([other[: step + 1].any() for other, step in zip(others, jump, strict=True)])
    return float(copied.mean())


def _share_of_twins(distances: Array, rows: np.ndarray, sample: np.ndarray, evidence: Evidence) -> float:
    """Return the share of records whose class their nearest neighbours have, but not the one after those."""
    labels, groups = evidence.labels, evidence.groups
    ignored = np.zeros(rows.shape, bool) if groups is None else groups[rows] == groups[sample][:, None]
    equal = ((distances < _EQUAL) & ~ignored).any(axis=1)  # exact copies are counted elsewhere
    order = np.argsort(ignored, axis=1, kind="stable")  # the others first, by their distance
    same = np.take_along_axis((labels[rows] == labels[sample][:, None]).astype(float), order, axis=1)
    drops = same[:, :_TWINS] - same[:, 1 : _TWINS + 1]
    large = np.bincount(labels)[labels[sample]] > _NEIGHBOURS  # no class ends within these neighbours
    drops = drops[~equal & large & (np.count_nonzero(~ignored, axis=1) > _TWINS)]
    if len(drops) < _NEAR_SHARE * len(sample):
        return 0.0
    class_shares = np.bincount(labels) / len(labels)
    mean, error = drops.mean(axis=0), drops.std(axis=0) / np.sqrt(len(drops))
    drop = float(np.max(np.where(mean > _CLEARLY * error, mean, 0.0)))
    return min(1.0, drop / float(1 - class_shares @ class_shares))


@ignore_convergence_warnings()
def _linear_bits(evidence: Evidence, folds: Folds) -> float:
    """Return the bits that a linear probe finds."""
    probe = fit_linear(tuple(evidence.blocks.values()), evidence.labels, folds, 0.1)
    return information_in(probe.log(), evidence.labels).bits


@ignore_convergence_warnings()
def _simple_bits(evidence: Evidence, folds: Folds) -> float:
    """Return the bits that the better of a linear probe and boosting finds, at least zero."""
    columns = tuple(evidence.columns.values())
    trees = fit_reduced(columns, evidence.labels, folds, screened_columns, boosting)
    return max(0.0, _linear_bits(evidence, folds), information_in(trees.log(), evidence.labels).bits)


def _order_signs(evidence: Evidence, name: str) -> tuple[list[str], list[str]]:
    """Return warnings about a target and a modality that depend on the order of the rows: severe, others.

    In a series over time, folds of single records put each record's neighbours in time on the other side, and
    experts recognise the moment instead of predicting the target: two unrelated random walks look
    informative. So the information is measured again with stretches of consecutive rows held out together.

    A table that is sorted by class, or by one of its columns, is not a series: given the class, its other
    columns do not depend on the order.
    """
    labels, groups = evidence.labels, evidence.groups
    modality = serial_modality(evidence.columns, labels, groups) if is_serial(labels, groups) else None
    folds = None if modality is None else _stretches(evidence)
    if folds is None or len(folds.unlearnable_classes(evidence.labels)):
        return [], []
    before, after = _simple_bits(evidence, evidence.folds), _simple_bits(evidence, folds)
    if before - after < _LOST_BITS:
        return [], []
    sign = (
        f"rows that follow one another are alike in '{modality}' and in '{name}', as in a series over time: "
        f"of {before:.2f} bits that simple experts find, {after:.2f} remain if stretches of consecutive rows "
        "are held out together; pass groups= that number such stretches, longer than this likeness lasts"
    )
    return ([sign], []) if before - after > _MOST_LOST * before else ([], [sign])


def _stretches(evidence: Evidence) -> Folds:
    """Return folds of consecutive records, or groups, of each class; all classes are in every fold."""
    labels, count = evidence.labels, evidence.folds.count
    unit = np.arange(len(labels)) if evidence.groups is None else evidence.groups
    place = np.bincount(unit, weights=np.arange(len(labels))) / np.bincount(unit)
    most = contingency_matrix(unit, labels).argmax(axis=1)  # class of most of a group's records
    fold = np.empty(len(place), dtype=np.intp)
    for label in np.unique(most):
        members = np.flatnonzero(most == label)
        members = members[np.argsort(place[members], kind="stable")]
        fold[members] = np.arange(len(members)) * count // len(members)
    return Folds(fold[unit], count, evidence.groups)


def _copies(arrays: Mapping[str, Array], groups: np.ndarray | None = None) -> tuple[list[str], list[str]]:
    """Return warnings about records that repeat in a modality: those about copies, and the others.

    Repeated records are copies if a column varies continuously; otherwise they may only be alike. Within a
    group, they do not count: no fold divides it.
    """
    copies: list[str] = []
    repeats: list[str] = []
    counted = "records" if groups is None else "records, counted once per group"
    for name, values in arrays.items():
        if values.shape[1] < _LEAST_COLUMNS:
            continue
        values = values.round(9)
        values = values[_once_per_group([values], groups)]
        distinct = len(np.unique(values, axis=0))
        if len(values) - distinct <= _COPIES * len(values) or distinct <= _LEAST_DISTINCT:
            continue
        (copies if any(_varies(column, distinct) for column in values.T) else repeats).append(
            f"'{name}' has {distinct} distinct values in {len(values)} {counted}: {_RECOGNISED} copies of "
            f"'{name}' together"
        )
    return copies, repeats


def _varies(column: Array, distinct: int) -> bool:
    """Whether a column tells most distinct records apart, and not only because the others follow from it.

    Whole years of age have few values, so records repeat if the other columns are, say, groups of ages.
    """
    values = len(np.unique(column))
    return values > distinct / 2 and (distinct > _FOLLOWS * values or is_continuous(column))


def _once_per_group(parts: Sequence[Array], groups: np.ndarray | None) -> np.ndarray | slice:
    """Return an index of one record per value and group; of every record if there are no groups."""
    if groups is None:
        return slice(None)
    return np.unique(np.column_stack([groups, *parts]), axis=0, return_index=True)[1]


def _whole_copies(arrays: Mapping[str, Array], seed: int, groups: np.ndarray | None = None) -> list[str]:
    """Return a warning if more records are equal in all modalities than random pairings would give."""
    rounded = [values.round(9) for values in arrays.values()]
    rows = _once_per_group(rounded, groups)
    rounded = [values[rows] for values in rounded]
    records = len(rounded[0])
    draw = numpy_generator(seed, "interactions copies")
    expected = _count_repeats([values[draw.permutation(records)] for values in rounded])
    repeated = _count_repeats(rounded)
    if sum(values.shape[1] for values in rounded) < _LEAST_COLUMNS or records - repeated <= _LEAST_DISTINCT:
        return []
    if repeated <= _COPIES * records + 2 * expected:
        return []
    return [
        f"{repeated} of {records} records are the same as another one in all modalities: {_RECOGNISED} "
        "copies together, or leave them out"
    ]


def _count_repeats(parts: list[Array]) -> int:
    rows = np.concatenate(parts, axis=1)
    return len(rows) - len(np.unique(rows, axis=0))


TRUSTED_RECORDS, TRUSTED_PER_CELL, TRUSTED_GROUPS = 500, 10.0, 20
_GROWTH, _GROWTH_SHARE = 0.25, 0.3  # tolerated growth from half to all records: bits, share of H(Y)
_MISCALIBRATED = 0.05  # tolerated calibration error, as a fraction


@dataclass(frozen=True)
class Diagnostics:
    """Evidence on whether the numbers of a report can be trusted."""

    verdict: str  # one sentence: whether the numbers can be trusted, and which are only lower bounds
    gap: float  # largest certificate of the programs, in bits
    # Calibration error of each subset's posterior: mean distance of confidence and hit rate, as a fraction.
    calibration: dict[str, float]
    cells: dict[str, int]  # number of cells of each single modality's posterior
    per_cell: float  # mean number of records per class and cell
    learnable: float  # share of a planted synergy that experts found
    trusted: bool  # whether the numbers hold, as estimates or as lower bounds
    seconds: float  # time that the report took


def diagnose(
    logs: Logs,
    view: View,
    curve: Curve,
    limits: Limits,
    evidence: Evidence,
    severe: Sequence[str],
    seconds: float,
) -> tuple[Diagnostics, list[str]]:
    """Return the diagnostics, and a sentence for each doubt.

    The learning curve shows whether there are enough records; without one, their number decides.
    """
    labels = evidence.labels
    parts = [*view.spectrum, *view.unique.values(), *(pair.redundant for pair in view.pairs)]
    expected = expected_error(parts, len(labels))
    doubts = list(severe)
    if curve.growth:
        growth = curve.growth[information_of(view.names)].bits
        if growth > max(_GROWTH, _GROWTH_SHARE * view.entropy):
            doubts.append(
                f"the total grew by {growth:.2f} bits from {len(labels) // 2} to {len(labels)} records and "
                f"has not levelled off; {expected}"
            )
    doubts += count_doubts(evidence, expected, records=not curve.growth)
    trusted = not doubts
    verdict = f"CANNOT BE TRUSTED: {doubts[0]}" if doubts else _verdict(view, limits, bool(curve.growth))
    errors = {subset_name(subset): calibration_error(log, labels) for subset, log in logs.items()}
    chance = 1 / np.sqrt(len(labels))  # error from sampling alone
    doubts += [
        f"the posterior of {name} is miscalibrated: its confidence differs from its hit rate by "
        f"{100 * error:.0f} percentage points"
        for name, error in errors.items()
        if error > _MISCALIBRATED + chance
    ]
    cells = dict(zip(view.names, view.cells[0], strict=True))
    per_cell = _per_cell(labels)
    diagnostics = Diagnostics(verdict, view.gap, errors, cells, per_cell, limits.learnable, trusted, seconds)
    return diagnostics, doubts


WITHOUT_CURVE = "Can be trusted within its intervals, as far as can be seen without a learning curve."


def _verdict(view: View, limits: Limits, with_curve: bool = True) -> str:
    parts = {"synergy": view.spectrum[1:], "the total": [view.total]}
    if len(view.names) == 2:
        pair = view.pairs[0]
        parts |= {"the shared part": [pair.redundant], "the unique parts": [pair.unique1, pair.unique2]}
    else:
        parts |= {
            "what single modalities provide": [view.spectrum[0]],
            "the unique parts": list(view.unique.values()),
            "what more than one modality carries": [view.non_exclusive],
        }
    growing = [name for name, numbers in parts.items() if any(number.growing for number in numbers)]
    if not growing and not with_curve:
        return WITHOUT_CURVE
    if not growing:
        return "Can be trusted within its intervals: more records would change little."
    reason = (
        f"the experts found {100 * limits.learnable:.0f} % of a planted synergy at this sample size"
        if limits.learnable < LEARNABLE
        else "the estimates still grow with the number of records"
    )
    return f"AT LEAST: {' and '.join(growing)} can only be bounded from below ({reason})."


def expected_error(parts: Sequence[Estimate], records: int) -> str:
    """Return a clause on the error: half the widest interval, or 0.05 bits * sqrt(1000 / records) if more."""
    bits = max(0.05 * float(np.sqrt(1000 / records)), *((part.high - part.low) / 2 for part in parts))
    return f"expect each part to be off by up to {bits:.2f} bits"


def count_doubts(evidence: Evidence, expected: str, records: bool = True) -> list[str]:
    """Return doubts about the number of groups and, for reports without a learning curve, of records."""
    labels, groups, few = evidence.labels, evidence.groups, []
    if records and len(labels) < TRUSTED_RECORDS:
        few.append(f"{len(labels)} records are fewer than {TRUSTED_RECORDS}")
    if records and (per_cell := _per_cell(labels)) < TRUSTED_PER_CELL:
        few.append(f"{per_cell:.1f} records per class and cell are fewer than {TRUSTED_PER_CELL:.0f}")
    if groups is not None and (count := len(np.unique(groups))) < TRUSTED_GROUPS:
        few.append(f"{count} groups are fewer than {TRUSTED_GROUPS}")
    return [f"{doubt}; {expected}" for doubt in few]


def _per_cell(labels: np.ndarray) -> float:
    """Return the mean number of records per class and cell."""
    classes = len(np.unique(labels))
    return len(labels) / (classes * cell_count(len(labels), classes))


def calibration_error(log: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean distance between confidence and hit rate, over ten bins of equal mass.

    Example:
        >>> calibration_error(np.log([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 0])).__round__(2)
        0.1
    """
    confidence, hit = np.exp(log.max(axis=1)), log.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence, kind="stable"), 10)
    gaps = [abs(confidence[part].mean() - hit[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(labels))
