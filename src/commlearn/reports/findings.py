"""Everything that a report shows, measured once, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from commlearn.errors import CommlearnError, RunError
from commlearn.plot.projection import projections
from commlearn.probes.audit import Audit, audit_rows
from commlearn.probes.ladder import Embedded, embed_subsets, gain_of, outcomes_of, subsets_of
from commlearn.probes.nearest import nearest, unit
from commlearn.probes.probe import has_label, parts_to_read
from commlearn.probes.results import Outcome
from commlearn.records import presence
from commlearn.reports.map import Colouring, colouring, layouts
from commlearn.reports.records import (
    Cards,
    cards,
    clipped,
    examples,
    looks,
    number,
    versions_seen,
)
from commlearn.reports.source import Source
from commlearn.seeds import numpy_generator
from commlearn.storage.plain_json import values_of_file
from commlearn.trained.run_folder import JOB
from commlearn.training.watch import effective_rank

MOST = 1000  # records on the map
ASKED, NEAREST = 4, 5  # records whose neighbours are shown, neighbours of each
AUDITED = 1000  # records of a split that the audit uses
HARDEST, PAIRS, MATRIX = 6, 6, 12  # most records, pairs, and classes for which every confusion is shown
SAME = 0.995  # lowest cosine of two records that are listed as near-duplicates


@dataclass(frozen=True)
class Mistakes:
    """Mistakes on one target."""

    wrong: int  # records that are wrong; 0 for a number, which is neither right nor wrong
    records: int
    hardest: list[tuple[int, str, str, str]]  # place among those shown; truth, answer, how hard
    classes: tuple[str, ...] = ()  # classes of the matrix
    matrix: tuple[tuple[int, ...], ...] = ()  # rows are the truth
    confusions: tuple[tuple[str, str, int], ...] = ()  # truth, answer, records


@dataclass(frozen=True)
class Alike:
    """Pairs of shown records that are embedded at almost the same place."""

    pairs: list[tuple[int, int, float, bool]]  # the closest: places, cosine, whether all cells are equal
    count: int  # number of all such pairs
    share: float  # their share of all pairs of records
    closest: float  # cosine of the closest pair


class Findings:
    """What was measured, section by section: embed, probe and lay out, everything except the drawing."""

    def __init__(
        self, source: Source, interactions: dict[str, dict[str, Any]], seed: int, tell: Callable[[str], None]
    ) -> None:
        data, names, sorts = source.data, tuple(source.trained.specs), source.sorts
        self.source = source
        self.interactions = interactions  # by target
        subsets = subsets_of(names)
        test = embed_subsets(source.trained, data.test, subsets, tell)
        self.unscored = source.unscored()  # targets: why, and what to do
        targets = {target: sorts[target] for target in source.targets if target not in self.unscored}
        parts = [
            test if records is data.test else embed_subsets(source.trained, records, subsets, tell)
            for records in (parts_to_read(data, targets) if targets else ())
        ]
        outcomes, problems = outcomes_of(parts, data, list(targets), seed, tell)
        self.notes = problems  # what else could not be measured, and why
        rows = np.sort(numpy_generator(seed, "report records").permutation(len(data.test))[:MOST])
        tell("laying out the map")
        self.cards = cards(source, rows)
        full_subset, whole = list(test.items())[-1]
        near = nearest_records({full_subset: whole}, rows, range(len(rows)))
        self.near = near[full_subset]  # neighbours of every shown record, by all modalities
        self.mistakes: dict[str, Mistakes] = {}  # by target
        for target, rungs in outcomes.items():
            if full_subset in rungs:
                fit_rows, outcome = parts[0][full_subset].rows, rungs[full_subset]
                entry = mistakes(source, target, outcome, fit_rows, whole, self.cards, self.near)
                if entry is not None:
                    self.mistakes[target] = entry
        self.counts = {  # records of each split
            "train": len(data.train),
            "probe": len(data.fit),
            "test": len(data.test),
        }
        self.present = {  # by modality: share of test records that have it
            name: float(presence(data.test.columns[name]).mean()) for name in names
        }
        self.classes = {  # by target: how its values are distributed
            name: describe(values) for name, values in data.test.targets.items()
        }
        self.metrics = source.run.folder.metrics() if source.run else []
        self.ranks = {  # effective rank of the embeddings, by subset
            name: effective_rank(torch.from_numpy(part.vectors[:2000]))
            for name, part in test.items()
            if len(part.rows) > 2
        }
        self.dims = {name: part.vectors.shape[1] for name, part in test.items()}
        self.ladder = {
            target: {name: entry.result for name, entry in rungs.items()}
            for target, rungs in outcomes.items()
            if rungs
        }
        self.gains = {  # by target
            target: gain_of(rungs, test, data.test.targets[target], sorts[target], seed)
            for target, rungs in outcomes.items()
        }
        self.maps = layouts(test, rows, projections(), seed)
        self.colourings = _colourings(source, rows)
        self.neighbours = nearest_records(test, rows, typical_records(whole, rows, seed))
        self.columns = looks(source)
        self.examples = examples(source, self.cards)
        self.augmented_examples = versions_seen(source)  # by modality: records, clean and augmented
        self.alike = alike(source, whole, self.cards)
        self.audit = _audit(source, list(targets), seed, tell)
        self.comparison = _beside_run(source, "table.json", "methods")
        self.verdict = _beside_run(source, "verdict.json", "targets")  # verdict of that comparison

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        names = self.cards.names
        return {
            "name": self.source.trained.experiment.name,
            "records": self.counts,
            "present": self.present,
            "targets": self.classes,
            "effective_rank": self.ranks,
            "dimensions": self.dims,
            "probes": {
                target: {name: asdict(result) for name, result in rungs.items()}
                for target, rungs in self.ladder.items()
            },
            "unscored": {target: " ".join(reason) for target, reason in self.unscored.items()},
            "interactions": self.interactions,
            "audit": self.audit.to_dict() if self.audit else None,
            "neighbours": {
                subset: {names[row]: [names[other] for other in others] for row, others in rows.items()}
                for subset, rows in self.neighbours.items()
            },
            "missing": {f"{entry.of}: {entry.name}": entry.missing for entry in self.columns},
            "mistakes": {target: _plain(entry, names) for target, entry in self.mistakes.items()},
            "near_duplicates": None
            if self.alike is None
            else {
                "pairs": [[names[a], names[b], cosine] for a, b, cosine, _ in self.alike.pairs],
                "count": self.alike.count,
                "share": self.alike.share,
            },
            "comparison": self.comparison,
            "verdict": self.verdict,
            "warnings": [
                *self.source.data.signs,
                *self.source.trained.warnings,
                *(self.audit.warnings if self.audit else []),
            ],
            "notes": self.notes,
        }


def _plain(entry: Mistakes, names: Sequence[str]) -> dict[str, Any]:
    hardest = [
        {"record": names[at], "truth": true, "answer": answer} for at, true, answer, _ in entry.hardest
    ]
    return {**asdict(entry), "hardest": hardest}


def describe(values: np.ndarray) -> dict[str, Any]:
    """Describe how a target's values are distributed over the test records."""
    filled = values[has_label(values)]
    shared = {"labelled": len(filled)}
    if values.ndim == 2:
        return {**shared, "outputs": values.shape[1]}
    if values.dtype.kind == "f" and len(np.unique(filled)) > 20:
        return {**shared, "quartiles": np.quantile(filled, [0, 0.25, 0.5, 0.75, 1]).tolist()}
    cells = filled.tolist()
    multilabel = bool(cells) and isinstance(cells[0], tuple)  # several labels per record: each counts
    counts = Counter(str(label) for value in cells for label in (value if multilabel else (value,)))
    return {**shared, "classes": dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))}


def _beside_run(source: Source, name: str, part: str) -> dict[str, Any] | None:
    """Return a file of the comparison that a run is part of, if it holds the given part.

    It is about the training's records, so a report on another table has none. A run that was only stored
    in the comparison's folder, such as a fine-tuned one, is no part of it.
    """
    if not (source.run and source.root and source.own):
        return None
    above = source.root.resolve().parents[:3] if (source.root / JOB).exists() else ()
    for folder in (source.root, *above):
        path = folder / name
        if path.exists():
            try:
                comparison = values_of_file(path)
            except RunError:
                return None
            return comparison if part in comparison else None
    return None


def _colourings(source: Source, rows: np.ndarray) -> list[Colouring]:
    labels = {name: values[rows] for name, values in source.data.test.targets.items()}
    return [
        colouring(name, labels[name], source.sorts[name])
        for name in source.targets or labels
        if has_label(labels[name]).any() and not (labels[name].ndim == 2 and source.sorts[name] == "number")
    ]


def _audit(source: Source, targets: Sequence[str], seed: int, tell: Callable[[str], None]) -> Audit | None:
    """Audit the augmentations by the first target; return None if that is not possible."""
    if not targets:
        return None
    tell(f"auditing the augmentations by {targets[0]}")
    try:
        return audit_rows(source.trained, source.data, targets[0], (1,), AUDITED, seed)
    except CommlearnError:
        return None


def typical_records(part: Embedded, rows: np.ndarray, seed: int) -> list[int]:
    """Return positions in `rows` of records from different regions: those nearest to cluster centres."""
    from sklearn.cluster import KMeans  # slow to import

    positions, vectors = part.among(rows)
    vectors = unit(vectors)
    if len(positions) <= ASKED:
        return positions.tolist()
    most = min(ASKED, len(np.unique(vectors.round(4), axis=0)))  # no more clusters than distinct vectors
    centres = KMeans(most, n_init=1, random_state=seed).fit(vectors).cluster_centers_
    return sorted({int(positions[index]) for index in (vectors @ unit(centres).T).argmax(axis=0)})


def nearest_records(
    embedded: Mapping[str, Embedded], rows: np.ndarray, asked: Sequence[int], count: int = NEAREST
) -> dict[str, dict[int, list[int]]]:
    """Return, by subset and then by requested record, positions in `rows` of its neighbours by angle.

    Records that a subset cannot embed have no neighbours there and are not neighbours of others.
    """
    neighbours = {}
    for name, part in embedded.items():
        positions, vectors = part.among(rows)
        queries = np.flatnonzero(np.isin(positions, asked))
        units, indices = unit(vectors), np.arange(len(positions))
        others, _ = nearest(units[queries], units, count, apart=(indices[queries], indices))
        neighbours[name] = dict(zip(positions[queries].tolist(), positions[others].tolist(), strict=True))
    return neighbours


def mistakes(
    source: Source,
    target: str,
    outcome: Outcome,
    fit_rows: np.ndarray,
    whole: Embedded,
    shown: Cards,
    near: Mapping[int, Sequence[int]],
) -> Mistakes | None:
    """Return what the probe of all modalities got wrong; None for targets of several labels or numbers.

    For classes, the hardest records are those whose neighbours are of other classes too; for numbers,
    those furthest from their prediction.
    """
    labels = source.data.test.targets[target]
    rows = whole.rows[has_label(labels[whole.rows])]  # the records that were scored, in their order
    outputs = outcome.predicted.size // max(len(outcome.predicted), 1)
    if source.sorts[target] == "multilabel" or outputs > 1:
        return None
    position_of = {row: position for position, row in enumerate(shown.rows.tolist())}
    places = {index: position_of[row] for index, row in enumerate(rows.tolist()) if row in position_of}
    truth, answers = outcome.truth.ravel(), outcome.predicted.ravel()
    hardest: list[tuple[int, str, str, str]] = []
    if source.sorts[target] == "number":
        errors = np.abs(truth - answers)
        for index in [i for i in np.argsort(-errors, kind="stable").tolist() if i in places][:HARDEST]:
            true, answer, error = (number(float(part[index])) for part in (truth, answers, errors))
            hardest.append((places[index], true, answer, f"{error} off"))
        return Mistakes(0, len(rows), hardest)
    fit_labels = source.data.fit.targets[target][fit_rows]
    both = (fit_labels[has_label(fit_labels)], labels[rows])
    classes = np.unique(np.concatenate([one.astype(str) if one.dtype == object else one for one in both]))
    names = [number(name) for name in classes.tolist()]
    code = dict(zip(rows.tolist(), truth.tolist(), strict=True))
    wrong = np.flatnonzero(truth != answers).tolist()
    hard = []
    for index in wrong:
        if index in places:
            others = [code.get(row) for row in shown.rows[list(near.get(places[index], ()))].tolist()]
            hard.append((others.count(code[int(rows[index])]), places[index], index, len(others)))
    for same, place, index, count in sorted(hard)[:HARDEST]:
        how = f"{same} of its {count} nearest records share its class"
        hardest.append((place, names[truth[index]], names[answers[index]], how))
    counts = Counter((names[truth[index]], names[answers[index]]) for index in wrong)
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    matrix = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(matrix, (truth, answers), 1)
    small = 1 < len(names) <= MATRIX
    return Mistakes(
        len(wrong),
        len(rows),
        hardest,
        tuple(clipped(name, 24) for name in names) if small else (),
        tuple(map(tuple, matrix.tolist())) if small else (),
        tuple((*pair, count) for pair, count in ranked[:8]),
    )


def alike(source: Source, whole: Embedded, shown: Cards) -> Alike | None:
    """Return the closest pairs of records in the embedding of all modalities; None if fewer than two."""
    positions, vectors = whole.among(shown.rows)
    if len(positions) < 2:
        return None
    units = unit(vectors.astype(np.float32))
    first, second = np.triu_indices(len(positions), 1)
    cosines = (units @ units.T)[first, second]
    count = int((cosines >= SAME).sum())
    pairs = []
    for index in np.argsort(-cosines, kind="stable")[: min(PAIRS, count)].tolist():
        pair = int(positions[first[index]]), int(positions[second[index]])
        pairs.append((*pair, float(cosines[index]), _equal(source, shown.rows[list(pair)])))
    return Alike(pairs, count, count / len(cosines), float(cosines.max()))


def _equal(source: Source, rows: np.ndarray) -> bool:
    """Return whether all cells that the modalities read are the same in two rows."""
    frame = source.cells
    if frame is None:
        return False
    read = [column for name in source.trained.specs for column in source.columns(name) if column in frame]
    first, second = (frame[read].iloc[row].astype(str) for row in rows.tolist())
    return bool((first == second).all())
