"""Held-out posteriors of one target, from the best experts, linear probes and a model's own embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from sklearn.utils.extmath import randomized_svd

from commlearn.batch import Subset, choose_subsets
from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.information.experts.folds import LINEAR, fit_stack, make_folds
from commlearn.information.experts.posteriors import (
    Evidence,
    Family,
    Posterior,
    fit_posteriors,
    linear_family,
    rich_family,
    stack_posterior,
)
from commlearn.information.material import Material, Settings, Target, as_numbers, class_texts
from commlearn.information.pid.marginals import Array
from commlearn.kinds.rows import is_empty
from commlearn.probes.raw_columns import all_columns

Logs = dict[Subset, Array]  # natural log p(y | A), (records, classes), held out
MOST_FUSED = 3  # modalities up to which experts also read the fused embedding of every subset


def gather_evidence(
    material: Material, target: Target, groups: np.ndarray | None, settings: Settings
) -> Evidence:
    """Return the features, labels and folds of the records that have a target."""
    material = material.choose(target.rows)
    codes = None if groups is None else group_codes(groups[target.rows], settings.folds)
    folds = make_folds(target.labels, codes, settings.folds, settings.seed)
    problems = Problems(f"target '{target.name}'")
    for label in folds.unlearnable_classes(target.labels):
        problems.add(
            f"all groups with class '{target.classes[label]}' are in one fold, so experts that hold this "
            "fold out cannot learn it; give finer groups or leave the class out."
        )
    problems.raise_if_any(DataError)
    return Evidence(
        *_features(material.arrays, settings),
        {subset: components(array, settings.components) for subset, array in material.fused.items()},
        target.labels,
        folds,
        settings.seed,
    )


def _features(arrays: Mapping[str, Array], settings: Settings) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the principal components and the standardised columns of each modality."""
    coded = {name: with_codes(array) for name, array in arrays.items()}
    return (
        {name: components(array, settings.components) for name, array in coded.items()},
        {name: all_columns(array) for name, array in coded.items()},
    )


def group_codes(groups: np.ndarray, folds: int) -> np.ndarray:
    """Return groups as 0, 1, ..., by their names without blanks; a record without a group is its own."""
    values = np.asarray(groups)
    text = values.dtype.kind in "OUS"
    codes = np.unique([str(value).strip() for value in values] if text else values, return_inverse=True)[1]
    ungrouped = np.array([is_empty(value) for value in values])
    codes[ungrouped] = codes.max(initial=0) + 1 + np.arange(ungrouped.sum())
    codes = np.unique(codes, return_inverse=True)[1]
    if codes.max() + 1 < folds:
        raise DataError(
            f"groups has {codes.max() + 1} distinct values; {folds} folds need at least {folds}. Give finer "
            "groups, or Settings(folds=...)."
        )
    return codes


def best_logs(
    evidence: Evidence, settings: Settings, tell: Callable[[str], None] = lambda what: None
) -> tuple[Logs, dict[Subset, Posterior]]:
    """Fit the best experts on single embeddings side by side and on a model's own embedding of every subset.

    Returns:
        Held-out log posteriors, averaged over divisions into folds, and the posteriors of the first division,
        which can read any pairing of modalities.
    """
    labels = evidence.labels
    logs, posteriors = _logs_of_folds(evidence, tell)
    estimates = [logs]
    for repeat in range(1, settings.repeats_of(len(labels))):
        folds = make_folds(labels, evidence.groups, settings.folds, settings.seed + 1000 * repeat)
        if not len(folds.unlearnable_classes(labels)):
            again = replace(evidence, folds=folds)
            estimates.append(_logs_of_folds(again, lambda what: tell(f"{what}, other folds"))[0])
    if len(estimates) > 1:
        logs = {
            subset: log_softmax(np.mean([estimate[subset] for estimate in estimates], axis=0), axis=1)
            for subset in logs
        }
    return logs, posteriors


def _logs_of_folds(evidence: Evidence, tell: Callable[[str], None]) -> tuple[Logs, dict[Subset, Posterior]]:
    """Return what `best_logs` returns, for a single division into folds.

    Each subset's posterior is combined with those of its fused embedding and of the subsets inside it. Either
    every subset has a fused embedding or none has. Otherwise a larger subset would be credited with what the
    fusion of a smaller one shows.
    """
    posteriors = fit_posteriors(evidence, choose_subsets("every", evidence.names), rich_family, tell)
    logs = {subset: posterior.log for subset, posterior in posteriors.items()}
    fused = evidence.fused if len(evidence.names) <= MOST_FUSED else {}
    joined: Logs = {}
    for subset, block in fused.items():
        tell(f"reading the fused embedding of {' + '.join(subset)}")
        fused_log = _log_of_block(block, evidence, rich_family)
        parts = [logs[subset], fused_log, *(log for part, log in joined.items() if set(part) < set(subset))]
        joined[subset] = fit_stack(parts, evidence.labels, evidence.folds).combine(parts)
    return logs | joined, posteriors


def linear_logs(evidence: Evidence, posteriors: Mapping[Subset, Posterior]) -> Logs:
    """Return the posteriors of a linear probe of the modalities side by side.

    Linear experts among the given posteriors are reused.
    """
    probes: dict[Subset, Posterior] = {}
    for subset in choose_subsets("every", evidence.names):
        if posteriors:
            linear = posteriors[subset].experts[: len(LINEAR)]  # a rich family begins with the linear ones
        else:
            linear = [fit() for fit in linear_family(evidence, subset)]
        probes[subset] = stack_posterior(subset, linear, probes, evidence.labels, evidence.folds)
    return {subset: posterior.log for subset, posterior in probes.items()}


def fused_logs(evidence: Evidence) -> Logs | None:
    """Return a linear probe's posteriors from the model's own embedding of each subset, if there is one."""
    if evidence.names not in evidence.fused:
        return None
    blocks = {(name,): block for name, block in evidence.blocks.items()} | evidence.fused
    return {
        subset: _log_of_block(blocks[subset], evidence, linear_family)
        for subset in choose_subsets("every", evidence.names)
    }


def _log_of_block(block: Array, evidence: Evidence, family: Family) -> Array:
    of_block = replace(evidence, blocks={"fused": block}, columns={"fused": block})
    return fit_posteriors(of_block, [("fused",)], family)[("fused",)].log


def raw_logs(material: Material, target: Target, evidence: Evidence, settings: Settings) -> Logs | None:
    """Return the best experts' posteriors from the raw columns behind a model's embeddings, if any."""
    if not material.raw:
        return None
    raw = {name: array[target.rows] for name, array in material.raw.items()}
    blocks, columns = _features(raw, settings)
    return best_logs(replace(evidence, blocks=blocks, columns=columns, fused={}), settings)[0]


def model_logs(
    predictions: Mapping[Subset, Array] | None,
    target: Target,
    evidence: Evidence,
    select: Callable[[Array], Array],
) -> Logs | None:
    """Return a supervised model's own predictions from every subset, calibrated on other folds.

    `predictions` has rows for the compared records or for all offered records, from which `select` selects.
    """
    if predictions is None:
        return None
    logs = {}
    problems = Problems("predictions")
    by_subset = {(key,) if isinstance(key, str) else tuple(key): value for key, value in predictions.items()}
    for subset in choose_subsets("every", evidence.names):
        if subset not in by_subset:
            problems.add(f"{subset} is missing; give the model's probabilities for every subset.")
            continue
        values = select(as_numbers(_in_class_order(by_subset[subset], target.classes)))
        expected = (target.records, len(target.classes))
        if values.shape != expected:
            problems.add(
                f"{subset} has shape {values.shape}; it must be {expected}, with classes in sorted order."
            )
            continue
        values = values[target.rows]
        if invalid := int((~(np.isfinite(values) & (values >= 0)).all(axis=1)).sum()):
            problems.add(
                f"{subset} has negative or non-finite values in {invalid} of {len(values)} records; give "
                "probabilities, not logits."
            )
            continue
        log = np.log(np.maximum(values, 1e-12))
        logs[subset] = fit_stack([log], evidence.labels, evidence.folds).combine([log])
    problems.raise_if_any(ConfigurationError)
    return logs


def _in_class_order(values: Any, classes: Sequence[str]) -> Any:
    """Sort the columns of a data frame that are named after the classes; return anything else unchanged."""
    if not isinstance(values, pd.DataFrame):
        return values
    names = class_texts(values.columns)
    return (
        values.iloc[:, [names.index(name) for name in classes]]
        if sorted(names) == sorted(classes)
        else values
    )


_EXACT = 1000  # number of columns up to which the full covariance is decomposed
_MOST_CODES = 64  # number of distinct values up to which a column may hold codes
_LEAST_OFTEN = 4  # fewest records per value, on average, in a column of codes
_MOST_COLUMNS = 8  # most columns of codes in one modality


def components(values: Array, most: int) -> Array:
    """Return the leading principal components, (records, at most `most`), with their spread half equalised.

    Columns are standardised, so that units do not matter. Components are scaled to the root of their standard
    deviation, so that directions in which records differ most still stand out. Labels are not used.
    """
    rows = all_columns(values)
    if not rows.any():
        return rows
    if rows.shape[1] <= _EXACT:
        variance, directions = np.linalg.eigh(rows.T @ rows / len(rows))
        variance, directions = variance[::-1][:most], directions[:, ::-1][:, :most]
    else:
        _, singular, transposed = randomized_svd(rows, min(most, *rows.shape), random_state=0)
        variance, directions = singular**2 / len(rows), transposed.T
    significant = variance > 1e-6 * variance[0]
    scaled = rows @ directions[:, significant] / variance[significant] ** 0.25
    return scaled / np.sqrt((scaled**2).mean())


def with_codes(values: Array) -> Array:
    """Return the columns, with an indicator for each value of those that may hold codes, not amounts."""
    indicators = []
    for column in values.T:
        levels = np.unique(column[: 50 * _MOST_CODES])
        if 3 <= len(levels) <= _MOST_CODES:
            levels = np.unique(column)
            if 3 <= len(levels) <= min(_MOST_CODES, len(column) // _LEAST_OFTEN):
                indicators.append((column[:, None] == levels).astype(float))
    if not 1 <= len(indicators) <= _MOST_COLUMNS:
        return values
    return np.concatenate([values, *indicators], axis=1)
