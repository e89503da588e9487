"""Entry points that turn a model, arrays or a table into an interaction report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from threadpoolctl import threadpool_limits

from commlearn.errors import ConfigurationError, DataError, Problems, renamed_argument
from commlearn.information.curve import Curve, learning_curve
from commlearn.information.diagnose import diagnose, gaussian_note, leak_signs
from commlearn.information.estimate import measure
from commlearn.information.evidence import (
    MOST_FUSED,
    Evidence,
    Logs,
    best_logs,
    fused_logs,
    gather_evidence,
    linear_logs,
    model_logs,
    raw_logs,
)
from commlearn.information.material import MOST_MODALITIES, label_columns, prepare_target
from commlearn.information.nulls import combination_test, missing_tests
from commlearn.information.pairs import PairReport, pair_values
from commlearn.information.report import InteractionReport, LabelReports
from commlearn.information.settings import Settings
from commlearn.information.sources import Asked, Gathered, gather, names_columns
from commlearn.information.uncertainty import Limits, find_limits
from commlearn.information.views import View, make_view

_FUSED_NOTE = (
    "with more than three modalities, every subset is measured on the single embeddings side by side; the "
    "model's own embeddings of subsets are in the REPRESENTATION view only"
)


@renamed_argument("told", "tell", gone_in="0.3.0")
def interactions(
    model_or_embeddings: Any,
    data: Any = None,
    target: Any = None,
    modalities: Sequence[str] | None = None,
    groups: Any = None,
    predictions: Mapping[Any, Any] | None = None,
    settings: Settings | None = None,
    tell: Callable[[str], None] | None = None,
    posteriors: Mapping[Any, Any] | None = None,
) -> InteractionReport | PairReport | LabelReports:
    """Estimate what modalities know about a target: how much is shared, unique and synergistic, in bits.

    Args:
        model_or_embeddings: source of the modalities: a dict of arrays, (records, features) each, which needs
            no model; a run, its folder or an Embedder; or a Schema or a dict of column names, to read raw
            columns of the table.
        data: a table (arrays need none, and a run without one is analysed on its own data set); with arrays
            and no `target`, the target values.
        target: one class or number per record, or the name of a column; several labels per record give one
            report per label.
        modalities: names of the modalities to compare; all if not given.
        groups: one value per record, or the name of a column; records of one group (a patient, a film) are
            never on both sides of a fold.
        predictions: a supervised model's probabilities for every subset, (records, classes), for the MODEL
            view.
        settings: how thorough the report is; see `Settings`.
        tell: called with a progress message at each step.
        posteriors: probabilities for every subset, (records, classes), to use instead of fitted experts; each
            record's must come from experts that have not seen it. Combinations are then not tested, and
            there is no learning curve.

    Returns:
        The report, which can be printed, plotted or converted with `to_dict` and `to_frame`; one per label if
        there are several labels. More than five modalities have too many subsets, so the report is on pairs.

    Raises:
        DataError: the records do not fit together, or the target cannot be analysed.
        ConfigurationError: a name does not exist, or the settings do not fit.

    Example:
        >>> import numpy as np
        >>> draw = np.random.default_rng(0)
        >>> left, right = draw.integers(0, 2, size=(2, 600))
        >>> arrays = {"left": left[:, None] + 0.1 * draw.normal(size=(600, 3)),
        ...           "right": right[:, None] + 0.1 * draw.normal(size=(600, 3))}
        >>> report = interactions(arrays, target=left ^ right, settings=Settings(curve=False))
        >>> report.atoms.synergistic.bits > 0.9
        True
    """
    arrays = isinstance(model_or_embeddings, Mapping) and not names_columns(model_or_embeddings, data)
    if target is None and arrays:
        target, data = data, None
    gathered = gather(model_or_embeddings, data, modalities, groups)
    return ask(gathered, target, predictions, settings, tell, posteriors)


def ask(
    gathered: Gathered,
    target: Any,
    predictions: Mapping[Any, Any] | None = None,
    settings: Settings | None = None,
    tell: Callable[[str], None] | None = None,
    posteriors: Mapping[Any, Any] | None = None,
) -> InteractionReport | PairReport | LabelReports:
    """Return the report on one target; `gather` has computed the embeddings once for all targets."""
    settings, tell = settings or Settings(), tell or (lambda what: None)
    with threadpool_limits(1):  # matrices are small: more threads only wait for each other
        asked = gathered.about(target)
        labels = label_columns(asked.values)
        if labels is None:
            return _report(asked, predictions, settings, tell, posteriors)
        if predictions is not None or posteriors is not None:
            raise ConfigurationError(
                f"predictions= and posteriors= describe one target, and '{asked.name}' has several labels; "
                "ask about one label at a time."
            )
        reports, skipped = {}, {}
        for label, values in labels.items():
            tell(f"label {label}")
            one = replace(asked, values=values, name=f"{asked.name}: {label}")
            try:
                reports[label] = _report(one, None, settings, tell)
            except DataError as problem:
                skipped[label] = str(problem)
        if not reports:
            problems = Problems(f"target '{asked.name}': none of its labels can be analysed")
            for why in skipped.values():
                problems.add(why)
            problems.raise_if_any(DataError)
        return LabelReports(asked.name, reports, skipped)


def _report(
    asked: Asked,
    predictions: Mapping[Any, Any] | None,
    settings: Settings,
    tell: Callable[[str], None],
    own: Mapping[Any, Any] | None = None,
) -> InteractionReport | PairReport:
    if (count := len(asked.material.arrays)) > MOST_MODALITIES:
        if predictions is not None or own is not None:
            raise ConfigurationError(
                f"predictions= and posteriors= cover every subset, but of {count} modalities only pairs "
                f"are measured; choose at most {MOST_MODALITIES} with modalities=."
            )
        return _pair_report(asked, settings, tell)
    start = time.perf_counter()
    target = prepare_target(asked.values, asked.name, settings.bins, settings.folds, asked.sort)
    evidence = gather_evidence(asked.material, target, asked.groups, settings)
    predicted = model_logs(predictions, target, evidence, asked.of_these)
    given = model_logs(own, target, evidence, asked.of_these)
    if given is None:
        logs, posteriors = best_logs(evidence, settings, tell)
    else:
        settings = replace(settings, curve=False)
        logs, posteriors = given, {}
    data, curve, limits = judge(evidence, logs, settings, tell, planted=given is None)
    tell("linear probes")
    linear = make_view(linear_logs(evidence, posteriors), evidence, settings)
    tell("shuffled modalities")
    combination = combination_test(
        logs, posteriors, evidence.labels, evidence.folds, settings.permutations, settings.seed
    )
    seen, raw = fused_logs(evidence, settings), raw_logs(asked.material, target, evidence, settings)
    notes = [*asked.material.notes, *target.notes]
    if target.numbers is not None and len(evidence.names) == 2:
        notes.append(gaussian_note(evidence, target.numbers))
    if evidence.fused and len(evidence.names) > MOST_FUSED:
        notes.append(_FUSED_NOTE)
    tell("leaks")
    signs = leak_signs(asked.material, target, evidence, settings)
    severe = [*target.severe, *signs.severe, *asked.warnings]
    seconds = time.perf_counter() - start
    diagnostics, doubts = diagnose(logs, data, curve, limits, evidence, severe, seconds)
    return InteractionReport(
        target=replace(target, rows=asked.positions[target.rows]),
        where=asked.material.where,
        data=data,
        linear=linear,
        representation=None if seen is None else make_view(seen, evidence, settings),
        raw=None if raw is None else make_view(raw, evidence, settings),
        model=None if predicted is None else make_view(predicted, evidence, settings),
        combination=combination,
        curve=curve,
        diagnostics=diagnostics,
        settings=settings,
        warnings=(
            *doubts,
            *missing_tests(evidence.labels, evidence.folds),
            *signs.others,
            *target.warnings,
        ),
        notes=tuple(notes),
    )


def _pair_report(asked: Asked, settings: Settings, tell: Callable[[str], None]) -> PairReport:
    values = pair_values(asked.material, asked.values, asked.name, asked.groups, settings, tell, asked.sort)
    values["warnings"] = [*asked.warnings, *values["warnings"]]
    if asked.warnings:
        values["verdict"] = f"CANNOT BE TRUSTED: {asked.warnings[0]}"
    values["notes"] = [*asked.material.notes, *values["notes"]]
    return PairReport(values)


def judge(
    evidence: Evidence,
    logs: Logs,
    settings: Settings,
    tell: Callable[[str], None] = lambda what: None,
    planted: bool = True,
) -> tuple[View, Curve, Limits]:
    """Return the DATA view with its intervals, the learning curve and the limits."""
    tell("learning curve")
    curve = learning_curve(evidence, logs, measure(logs, evidence.labels), settings)
    tell("a planted synergy")
    limits = find_limits(evidence, settings, planted)
    tell("intervals")
    view = make_view(logs, evidence, settings, curve.growth, limits)
    return view, curve, limits
