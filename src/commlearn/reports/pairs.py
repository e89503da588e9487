"""Each pair of many modalities: what the two share, what each adds to the other, what only both say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from commlearn.information.estimate import Quantity
from commlearn.information.evidence import Evidence, Logs, gather_evidence
from commlearn.information.experts.posteriors import Posterior, Subset, fit_posteriors, rich_family
from commlearn.information.material import Material, prepare_target
from commlearn.information.nulls import missing_tests
from commlearn.information.pid.marginals import Array
from commlearn.information.settings import Settings
from commlearn.information.uncertainty import Known, Limits, known
from commlearn.information.views import Pair, make_view

__all__ = ["pair_values"]


def pair_values(
    arrays: Mapping[str, Array],
    values: np.ndarray,
    name: str,
    groups: np.ndarray | None,
    settings: Settings,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Plain values: every modality alone, every pair, and all together.

    Args:
        arrays: embeddings of each modality.
        values: of the target.
        name: of the target.
        groups: of the records.
        settings: of folds and intervals.
        tell: hears which subset is looked at.
    """
    target = prepare_target(values, name, settings.bins, settings.folds)
    evidence = gather_evidence(Material(dict(arrays)), target, groups, settings)
    whole, labels = evidence.names, evidence.labels
    posteriors = _posteriors(evidence, settings, tell)
    tell("intervals")
    alone: dict[str, Known] = {}
    pairs, totals = [], []
    for both in combinations(whole, 2):
        logs: Logs = {subset: posteriors[subset].log for subset in ((both[0],), (both[1],), both)}
        view = make_view(logs, labels, both, evidence.folds, settings)
        alone |= {one: view.ladder[(one,)] for one in both}
        pairs.append(_pair(view.pairs[0]))
        totals.append(view.measured.total)
    most = _bits_of(posteriors[whole].log, labels).at_least(*totals)  # more cannot know less
    share = np.bincount(labels) / len(labels)
    entropy = -float(share @ np.log2(share))
    total = known(most, settings.level, Limits(entropy), groups=evidence.groups)
    return {
        "target": name,
        "records": len(labels),
        "modalities": list(whole),
        "entropy": entropy,
        "level": settings.level,
        "alone": {one: asdict(value) for one, value in alone.items()},
        "pairs": pairs,
        "total": asdict(total),
        "warnings": [*missing_tests(labels, evidence.folds, combination=False), *target.warnings],
        "notes": list(target.notes),
    }


def _posteriors(
    evidence: Evidence, settings: Settings, tell: Callable[[str], None]
) -> dict[Subset, Posterior]:
    """Of each modality alone, each pair, and all together."""
    whole = evidence.names
    subsets: list[Subset] = [*((one,) for one in whole), *combinations(whole, 2), whole]
    place = iter(range(1, len(subsets) + 1))
    return fit_posteriors(
        evidence.blocks,
        subsets,
        evidence.labels,
        evidence.folds,
        rich_family,
        settings.seed,
        lambda what: tell(f"{what} ({next(place)} of {len(subsets)})"),
        evidence.columns,
    )


def _pair(pair: Pair) -> dict[str, Any]:
    parts = ("redundant", "unique1", "unique2", "synergistic", "total")
    quantities = {part: asdict(getattr(pair, part)) for part in parts}
    return {"first": list(pair.first), "second": list(pair.second), **quantities}


def _bits_of(log: Array, labels: np.ndarray) -> Quantity:
    """I(all; Y): what the records' held-out posteriors say beyond the classes' shares."""
    share = np.bincount(labels) / len(labels)
    bits = (log[np.arange(len(labels)), labels] - np.log(share)[labels]) / np.log(2)
    return Quantity(float(bits.mean()), bits, bits)
