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
from commlearn.information.evidence import (
    MOST_FUSED,
    Logs,
    best_logs,
    fused_logs,
    gather_evidence,
    linear_logs,
    model_logs,
    raw_logs,
)
from commlearn.information.experts.posteriors import Evidence
from commlearn.information.material import MOST_MODALITIES, Settings, label_columns, prepare_target
from commlearn.information.nulls import combination_test, missing_tests
from commlearn.information.pairs import PairReport, pair_values
from commlearn.information.report import InteractionReport, LabelReports
from commlearn.information.sources import GatheredInputs, TargetInputs, gather, holds_column_names
from commlearn.information.views import Limits, View, find_limits, make_view


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
            view; classes in sorted order, or columns of a data frame named after the classes.
        settings: how thorough the report is; see `Settings`.
        tell: called with a progress message at each step.
        posteriors: probabilities for every subset, (records, classes), to use instead of fitted experts; each
            record's must come from experts that have not seen it. Classes as in `predictions`. Combinations
            are then not tested, and there is no learning curve.

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
    arrays = isinstance(model_or_embeddings, Mapping) and not holds_column_names(model_or_embeddings, data)
    if target is None and arrays:
        target, data = data, None
    gathered = gather(model_or_embeddings, data, modalities, groups)
    return ask(gathered, target, predictions, settings, tell, posteriors)


def ask(
    gathered: GatheredInputs,
    target: Any,
    predictions: Mapping[Any, Any] | None = None,
    settings: Settings | None = None,
    tell: Callable[[str], None] | None = None,
    posteriors: Mapping[Any, Any] | None = None,
) -> InteractionReport | PairReport | LabelReports:
    """Return the report on one target; `gather` has computed the embeddings once for all targets."""
    settings, tell = settings or Settings(), tell or (lambda message: None)
    with threadpool_limits(1):  # matrices are small: more threads only wait for each other
        inputs = gathered.about(target)
        labels = label_columns(inputs.values)
        if labels is None:
            return _report(inputs, predictions, settings, tell, posteriors)
        if predictions is not None or posteriors is not None:
            raise ConfigurationError(
                f"predictions= and posteriors= describe one target, and '{inputs.name}' has several labels; "
                "ask about one label at a time."
            )
        reports, skipped = {}, {}
        for label, values in labels.items():
            tell(f"label {label}")
            label_inputs = replace(inputs, values=values, name=f"{inputs.name}: {label}")
            try:
                reports[label] = _report(label_inputs, None, settings, tell)
            except DataError as problem:
                skipped[label] = str(problem)
        if not reports:
            problems = Problems(f"target '{inputs.name}': none of its labels can be analysed")
            for reason in skipped.values() or ["no record has any label; choose another target."]:
                problems.add(reason)
            problems.raise_if_any(DataError)
        return LabelReports(inputs.name, reports, skipped)


def _report(
    inputs: TargetInputs,
    predictions: Mapping[Any, Any] | None,
    settings: Settings,
    tell: Callable[[str], None],
    own_posteriors: Mapping[Any, Any] | None = None,
) -> InteractionReport | PairReport:
    if (count := len(inputs.material.arrays)) > MOST_MODALITIES:
        if predictions is not None or own_posteriors is not None:
            raise ConfigurationError(
                f"predictions= and posteriors= cover every subset, but of {count} modalities only pairs "
                f"are measured; choose at most {MOST_MODALITIES} with modalities=."
            )
        material, groups = inputs.material, inputs.groups
        return PairReport(
            pair_values(
                material, inputs.values, inputs.name, groups, settings, tell, inputs.sort, inputs.warnings
            )
        )
    start = time.perf_counter()
    target = prepare_target(inputs.values, inputs.name, settings.bins, settings.folds, inputs.sort)
    evidence = gather_evidence(inputs.material, target, inputs.groups, settings)
    predicted_logs = model_logs(predictions, target, evidence, inputs.select)
    own_logs = model_logs(own_posteriors, target, evidence, inputs.select)
    if own_logs is None:
        logs, posteriors = best_logs(evidence, settings, tell)
    else:
        settings = replace(settings, curve=False)
        logs, posteriors = own_logs, {}
    data, curve, limits = judge(evidence, logs, settings, tell, planted=own_logs is None)
    tell("linear probes")
    linear = make_view(linear_logs(evidence, posteriors), evidence, settings)
    tell("shuffled modalities")
    combination = combination_test(
        logs, posteriors, evidence.labels, evidence.folds, settings.permutations, settings.seed
    )
    fused, raw = fused_logs(evidence), raw_logs(inputs.material, target, evidence, settings)
    notes = [*inputs.material.notes, *target.notes]
    if target.numbers is not None and len(evidence.names) == 2:
        notes.append(gaussian_note(evidence, target.numbers))
    if evidence.fused and len(evidence.names) > MOST_FUSED:
        notes.append(
            "with more than three modalities, every subset is measured on the single embeddings side by "
            "side; the model's own embeddings of subsets are in the REPRESENTATION view only"
        )
    tell("leaks")
    signs = leak_signs(inputs.material, target, evidence, settings)
    severe = [*target.severe, *signs.severe, *inputs.warnings]
    seconds = time.perf_counter() - start
    diagnostics, doubts = diagnose(logs, data, curve, limits, evidence, severe, seconds)
    return InteractionReport(
        target=replace(target, rows=inputs.positions[target.rows]),
        where=inputs.material.origin,
        data=data,
        linear=linear,
        representation=None if fused is None else make_view(fused, evidence, settings),
        raw=None if raw is None else make_view(raw, evidence, settings),
        model=None if predicted_logs is None else make_view(predicted_logs, evidence, settings),
        combination=combination,
        curve=curve,
        diagnostics=diagnostics,
        settings=settings,
        warnings=(*doubts, *missing_tests(evidence.labels, evidence.folds), *signs.others, *target.warnings),
        notes=tuple(notes),
    )


def judge(
    evidence: Evidence,
    logs: Logs,
    settings: Settings,
    tell: Callable[[str], None] = lambda what: None,
    planted: bool = True,
) -> tuple[View, Curve, Limits]:
    """Return the DATA view with its intervals, the learning curve and the limits."""
    tell("learning curve")
    curve = learning_curve(evidence, logs, settings)
    tell("a planted synergy")
    limits = find_limits(evidence, settings, planted)
    tell("intervals")
    return make_view(logs, evidence, settings, curve.growth, limits), curve, limits
