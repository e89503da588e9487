"""From a model, arrays or a table to the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from commlearn.errors import DataError
from commlearn.evaluation.interactions.features import components
from commlearn.evaluation.interactions.folds import Folds, make_folds
from commlearn.evaluation.interactions.material import Material, from_arrays
from commlearn.evaluation.interactions.nulls import combination_test
from commlearn.evaluation.interactions.posteriors import (
    Posterior,
    Subset,
    all_subsets,
    fit_posteriors,
    linear_family,
    rich_family,
)
from commlearn.evaluation.interactions.report import Diagnostics, InteractionReport, calibration_error
from commlearn.evaluation.interactions.settings import Settings
from commlearn.evaluation.interactions.target import Target, prepare_target
from commlearn.evaluation.interactions.views import View, make_view, subset_name

__all__ = ["interactions"]

_TRUSTED_RECORDS, _TRUSTED_PER_CELL = 500, 10.0


def interactions(
    model_or_embeddings: Any,
    data: Any = None,
    target: Any = None,
    modalities: Sequence[str] | None = None,
    groups: Any = None,
    settings: Settings | None = None,
    told: Callable[[str], None] | None = None,
) -> InteractionReport:
    """What modalities know about a target: how much is shared, unique and synergistic, in bits.

    Args:
        model_or_embeddings: a dict of arrays, (records, features) each.
        data: the target's values, if it is given in this place.
        target: one class or number a record.
        modalities: which to compare; all if not given.
        groups: records of one group are never on both sides of a fold.
        settings: how thoroughly; see `Settings`.
        told: hears what is being done.

    Returns:
        The report; print it.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> left, right = draw.integers(0, 2, size=(2, 600))
        >>> arrays = {"left": left[:, None] + 0.1 * draw.normal(size=(600, 3)),
        ...           "right": right[:, None] + 0.1 * draw.normal(size=(600, 3))}
        >>> report = interactions(arrays, target=left ^ right, settings=Settings(curve=False))
        >>> report.atoms.synergistic.bits > 0.9
        True
    """
    settings = settings or Settings()
    target = data if target is None else target
    material = from_arrays(model_or_embeddings, modalities)
    with threadpool_limits(1):
        return _report(material, target, "target", groups, settings, told or (lambda what: None))


def _report(
    material: Material, values: Any, name: str, groups: Any, settings: Settings, told: Callable[[str], None]
) -> InteractionReport:
    start = time.perf_counter()
    if len(values) != material.records:
        raise DataError(
            f"target '{name}' has {len(values)} values, the modalities have {material.records} records; "
            "give one value a record."
        )
    target = prepare_target(values, name, settings.bins, settings.folds)
    material = material.choose(target.kept)
    codes = None if groups is None else _codes(groups)[target.kept]
    folds = make_folds(target.labels, codes, settings.folds, settings.seed)
    blocks = {name: components(array, settings.components) for name, array in material.arrays.items()}
    names = tuple(blocks)
    subsets = all_subsets(names)
    posteriors = fit_posteriors(blocks, subsets, target.labels, folds, rich_family, settings.seed, told)
    told("intervals")
    data = _view(posteriors, target, names, folds, settings, codes)
    told("linear probes")
    probes = fit_posteriors(blocks, subsets, target.labels, folds, linear_family, settings.seed)
    linear = _view(probes, target, names, folds, settings, codes)
    told("shuffled modalities")
    combination = combination_test(posteriors, names, target.labels, settings.permutations, settings.seed)
    diagnostics, doubts = _diagnose(posteriors, data, target, time.perf_counter() - start)
    return InteractionReport(
        target=target,
        modalities=names,
        where=material.where,
        entropy=data.measured.entropy,
        data=data,
        linear=linear,
        representation=None,
        model=None,
        combination=combination,
        curve={},
        diagnostics=diagnostics,
        settings=settings,
        warnings=(*doubts, *target.warnings),
        notes=(*material.notes, *target.notes),
    )


def _view(
    posteriors: Mapping[Subset, Posterior],
    target: Target,
    names: Subset,
    folds: Folds,
    settings: Settings,
    groups: np.ndarray | None,
) -> View:
    logs = {subset: posterior.log for subset, posterior in posteriors.items()}
    return make_view(logs, target.labels, names, folds, settings, groups)


def _diagnose(
    posteriors: Mapping[Subset, Posterior], view: View, target: Target, seconds: float
) -> tuple[Diagnostics, list[str]]:
    labels = target.labels
    cells = {}
    for union in view.measured.unions[:1]:
        cells = dict(zip(view.measured.names, union.cells, strict=True))
    per_cell = len(labels) / (len(target.classes) * max(cells.values(), default=1))
    doubts = []
    total = view.total
    if len(labels) < _TRUSTED_RECORDS:
        doubts.append(
            f"{len(labels)} records are fewer than {_TRUSTED_RECORDS}; expect the parts to be off by about "
            f"{_expected(view):.2f} bits"
        )
    if per_cell < _TRUSTED_PER_CELL:
        doubts.append(
            f"{per_cell:.1f} records a class and cell are fewer than {_TRUSTED_PER_CELL:.0f}; expect the "
            f"parts to be off by about {_expected(view):.2f} bits"
        )
    trusted = not doubts and np.isfinite(total.bits)
    errors = {subset_name(subset): calibration_error(part.log, labels) for subset, part in posteriors.items()}
    return Diagnostics(view.measured.gap, errors, cells, per_cell, bool(trusted), seconds), doubts


def _expected(view: View) -> float:
    """Half the widest interval among the parts."""
    parts = [*view.spectrum, *view.unique.values(), *(pair.redundant for pair in view.pairs)]
    return max((part.high - part.low) / 2 for part in parts)


def _codes(groups: Any) -> np.ndarray:
    return np.unique(np.asarray(groups), return_inverse=True)[1]
