"""Everything that a report shows, measured once, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commlearn.errors import CommlearnError, RunError
from commlearn.kinds.arrays import presence
from commlearn.plot.projection import projections
from commlearn.probes import has_label, parts_to_read
from commlearn.probes.audit import Audit, audit_rows
from commlearn.probes.ladder import Embedded, Gain, Ladder, embed_subsets, gain_of, outcomes_of, subsets_of
from commlearn.probes.nearest import nearest, unit
from commlearn.reports.columns import Look, looks
from commlearn.reports.map import Colouring, colouring, layouts
from commlearn.reports.mistakes import Alike, Mistakes, alike, mistakes
from commlearn.reports.pieces import Piece, examples, versions_seen
from commlearn.reports.records import Cards, cards, shown_rows
from commlearn.reports.source import Source
from commlearn.storage.plain_json import values_of_file
from commlearn.training.diagnostics import effective_rank

ASKED, NEAREST = 4, 5  # records whose neighbours are shown, neighbours of each

AUDITED = 1000  # records of a split that the audit uses


@dataclass(frozen=True)
class Findings:
    """What was measured, section by section."""

    source: Source
    counts: dict[str, int]  # records of each split
    present: dict[str, float]  # by modality: share of test records that have it
    classes: dict[str, dict[str, Any]]  # by target: how its values are distributed
    metrics: list[dict[str, Any]]
    ranks: dict[str, float]  # effective rank of the embeddings, by subset
    dims: dict[str, int]
    ladder: Ladder
    gains: dict[str, Gain | None]  # by target
    maps: dict[str, dict[str, np.ndarray]]
    colourings: list[Colouring]
    cards: Cards
    neighbours: dict[str, dict[int, list[int]]]
    near: dict[int, list[int]]  # neighbours of every shown record, by all modalities
    columns: list[Look]
    examples: list[tuple[int, list[Piece]]]
    augmented_examples: dict[str, list[list[Piece]]]  # by modality: records, clean and augmented
    mistakes: dict[str, Mistakes]  # by target
    alike: Alike | None
    interactions: dict[str, dict[str, Any]] = field(default_factory=dict)  # by target
    audit: Audit | None = None
    comparison: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None  # verdict of that comparison
    unscored: dict[str, tuple[str, str]] = field(default_factory=dict)  # targets: why, and what to do
    notes: list[str] = field(default_factory=list)  # what else could not be measured, and why

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        ladder = {
            target: {name: asdict(result) for name, result in rungs.items()}
            for target, rungs in self.ladder.items()
        }
        return {
            "name": self.source.trained.experiment.name,
            "records": self.counts,
            "present": self.present,
            "targets": self.classes,
            "effective_rank": self.ranks,
            "dimensions": self.dims,
            "probes": ladder,
            "unscored": {target: " ".join(reason) for target, reason in self.unscored.items()},
            "interactions": self.interactions,
            "audit": self.audit.to_dict() if self.audit else None,
            "neighbours": {
                name: {
                    self.cards.names[r]: [self.cards.names[o] for o in others] for r, others in rows.items()
                }
                for name, rows in self.neighbours.items()
            },
            "missing": {f"{entry.of}: {entry.name}": entry.missing for entry in self.columns},
            "mistakes": {target: entry.to_dict(self.cards.names) for target, entry in self.mistakes.items()},
            "near_duplicates": None
            if self.alike is None
            else {
                "pairs": [
                    [self.cards.names[a], self.cards.names[b], cosine] for a, b, cosine, _ in self.alike.pairs
                ],
                "count": self.alike.count,
                "share": self.alike.share,
            },
            "comparison": self.comparison,
            "verdict": self.verdict,
            "warnings": [*self.source.trained.warnings, *(self.audit.warnings if self.audit else [])],
            "notes": self.notes,
        }


def find(
    source: Source,
    interactions: dict[str, dict[str, Any]],
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Findings:
    """Embed, probe and lay out: everything except the drawing."""
    data, names = source.data, tuple(source.trained.specs)
    subsets = subsets_of(names)
    test = embed_subsets(source.trained, data.test, subsets, tell)
    unscored = source.unscored()
    targets = {target: source.sorts[target] for target in source.targets if target not in unscored}
    parts = [
        test if records is data.test else embed_subsets(source.trained, records, subsets, tell)
        for records in (parts_to_read(data, targets) if targets else ())
    ]
    outcomes, problems = outcomes_of(parts, data, list(targets), seed, tell)
    rows = shown_rows(len(data.test), seed=seed)
    tell("laying out the map")
    page_cards = cards(source, rows)
    full_subset = list(test)[-1]
    near = nearest_records({full_subset: test[full_subset]}, rows, range(len(rows)))[full_subset]
    mistakes_by_target = {
        target: mistakes(
            source,
            target,
            rungs[full_subset],
            parts[0][full_subset].rows,
            test[full_subset],
            page_cards,
            near,
        )
        for target, rungs in outcomes.items()
        if full_subset in rungs
    }
    return Findings(
        source=source,
        counts={"train": len(data.train), "probe": len(data.fit), "test": len(data.test)},
        present={name: float(presence(data.test.columns[name]).mean()) for name in names},
        classes={name: describe(values) for name, values in data.test.targets.items()},
        metrics=source.run.folder.metrics() if source.run else [],
        ranks={
            name: effective_rank(torch.from_numpy(part.vectors[:2000]))
            for name, part in test.items()
            if len(part.rows) > 2
        },
        dims={name: part.vectors.shape[1] for name, part in test.items()},
        ladder={
            target: {name: entry.result for name, entry in rungs.items()}
            for target, rungs in outcomes.items()
            if rungs
        },
        gains={
            target: gain_of(rungs, test, data.test.targets[target], source.sorts[target], seed)
            for target, rungs in outcomes.items()
        },
        maps=layouts(test, rows, projections(), seed),
        colourings=_colourings(source, rows),
        cards=page_cards,
        neighbours=nearest_records(test, rows, typical_records(test[full_subset], rows, seed)),
        near=near,
        columns=looks(source),
        examples=examples(source, page_cards),
        augmented_examples=versions_seen(source),
        mistakes={target: entry for target, entry in mistakes_by_target.items() if entry is not None},
        alike=alike(source, test[full_subset], page_cards),
        interactions=interactions,
        audit=_audit(source, list(targets), seed, tell),
        comparison=_beside_run(source.root if source.run else None, "table.json", "methods"),
        verdict=_beside_run(source.root if source.run else None, "verdict.json", "targets"),
        unscored=unscored,
        notes=list(problems.values()),
    )


def describe(values: np.ndarray) -> dict[str, Any]:
    """Describe how a target's values are distributed over the test records."""
    labelled = has_label(values)
    if values.ndim == 2:
        return {"labelled": int(labelled.sum()), "outputs": values.shape[1]}
    if values.dtype.kind == "f" and len(np.unique(values[labelled])) > 20:
        quartiles = np.quantile(values[labelled], [0, 0.25, 0.5, 0.75, 1]).tolist()
        return {"labelled": int(labelled.sum()), "quartiles": quartiles}
    filled = values[labelled].tolist()
    multilabel = bool(filled) and isinstance(filled[0], tuple)  # several labels per record: each counts
    counts = Counter(str(label) for value in filled for label in (value if multilabel else (value,)))
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    return {"labelled": int(labelled.sum()), "classes": {label: counts[label] for label in ranked}}


def _beside_run(root: Path | None, name: str, part: str) -> dict[str, Any] | None:
    """Return a file of the comparison that a run is part of, if it holds the given part."""
    for folder in [root, *root.parents[:3]] if root is not None else []:
        path = folder / name
        if path.exists():
            try:
                comparison = values_of_file(path)
            except RunError:
                return None
            return comparison if part in comparison else None
    return None


def _colourings(source: Source, rows: np.ndarray) -> list[Colouring]:
    targets = [*source.targets] or list(source.data.test.targets)
    labels = {name: source.data.test.targets[name][rows] for name in targets}
    return [
        colouring(name, values, source.sorts[name])
        for name, values in labels.items()
        if has_label(values).any() and not (values.ndim == 2 and source.sorts[name] == "number")
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


def typical_records(part: Embedded, rows: np.ndarray, seed: int, most: int = ASKED) -> list[int]:
    """Return positions in `rows` of records from different regions: those nearest to cluster centres."""
    from sklearn.cluster import KMeans  # slow to import

    positions, vectors = part.among(rows)
    vectors = unit(vectors)
    if len(positions) <= most:
        return positions.tolist()
    most = min(most, len(np.unique(vectors.round(4), axis=0)))  # no more clusters than distinct vectors
    centres = KMeans(most, n_init=1, random_state=seed).fit(vectors).cluster_centers_
    return sorted({int(positions[index]) for index in (vectors @ unit(centres).T).argmax(axis=0)})


def nearest_records(
    embedded: Mapping[str, Embedded], rows: np.ndarray, asked: Sequence[int], count: int = NEAREST
) -> dict[str, dict[int, list[int]]]:
    """Return, by subset and then by requested record, positions in `rows` of its neighbours by angle.

    Records that a subset cannot embed have no neighbours there and are not neighbours of others.
    """
    neighbours_by_subset: dict[str, dict[int, list[int]]] = {}
    for name, part in embedded.items():
        positions, vectors = part.among(rows)
        queries = np.flatnonzero(np.isin(positions, asked))
        units, indices = unit(vectors), np.arange(len(positions))
        others, _ = nearest(units[queries], units, count, apart=(indices[queries], indices))
        neighbours_by_subset[name] = dict(
            zip(positions[queries].tolist(), positions[others].tolist(), strict=True)
        )
    return neighbours_by_subset
