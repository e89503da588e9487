"""Probe ladder: probes of each modality alone, of pairs, and of all modalities together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from commlearn.batch import Subset, subset_name
from commlearn.errors import ConfigurationError, DataError, DataWarning, unknown
from commlearn.probes.measures import NO_SPREAD, main_score, measured, strata_of, unseen_errors
from commlearn.probes.probe import Vectors, has_label, parts_to_read, probe_vectors, targets_to_score
from commlearn.probes.readout_rows import readout_rows
from commlearn.probes.results import Interval, Outcome, score_of
from commlearn.records import Dataset, Records, presence
from commlearn.trained.embed import (
    NotFiniteError,
    embed,
    method_of,
    method_owner,
    records_per_batch,
    with_encoder_features,
    with_tokens,
)

ENCODED = 1024  # records whose tokens are in memory at once
PAIRS_UP_TO = 3  # modalities, at most, for which pairs are probed by default

Ladder = dict[str, dict[str, Any]]
"""Probe results by target, then by subset, from the fewest modalities to all."""


@dataclass(frozen=True)
class Embedded:
    """Embeddings of the records that have at least one modality of a subset."""

    subset: Subset
    rows: np.ndarray  # (n,): positions of these records, in ascending order
    vectors: np.ndarray  # (n, dim)

    def among(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions in `rows` of the records that have an embedding, and their embeddings."""
        positions = np.flatnonzero(np.isin(rows, self.rows))
        return positions, self.vectors[np.searchsorted(self.rows, rows[positions])]


def probe_ladder(
    model: Any,
    data: Any = None,
    targets: Sequence[str] | str | None = None,
    subsets: Sequence[Sequence[str]] | None = None,
    seed: int = 0,
) -> Ladder:
    """Probe several subsets of modalities, with the same targets and the same split for each.

    A record that has none of a subset's modalities is left out of its rung; each result counts its records.

    Args:
        model: a trained run, method or Embedder.
        data: a Dataset with rows to fit on and to score; or a table, which is split as in training; the
            training's own data if not given.
        targets: targets to probe; all if not given.
        subsets: subsets to probe; if not given, each modality alone, pairs (of up to three), and all.
        seed: seed of the folds and of the bootstrap.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:], "sign": rows[:, 0] > 0}
        >>> halves = {"left": cl.Vector("left"), "right": cl.Vector("right")}
        >>> schema = cl.Schema(halves, targets={"sign": "class"})
        >>> model = cl.Embedder(schema, epochs=1).fit({name: cells[:60] for name, cells in table.items()})
        >>> list(cl.probe_ladder(model, table)["sign"])
        ['left', 'right', 'left+right']
    """
    data = readout_rows(model, data)
    chosen = targets_to_score(data, targets)
    trained = method_owner(model)
    names = tuple(getattr(trained, "specs", None) or trained.modalities)
    requested = _checked(subsets, names) if subsets else subsets_of(names)
    parts = [embed_subsets(model, records, requested) for records in parts_to_read(data, chosen)]
    outcomes, problems = outcomes_of(parts, data, list(chosen), seed)
    ladder = {
        name: {subset: outcome.result for subset, outcome in by_subset.items()}
        for name, by_subset in outcomes.items()
    }
    if problems and not any(ladder.values()):
        raise DataError("; ".join(problems))
    for problem in problems:
        warnings.warn(problem, DataWarning, stacklevel=2)
    return ladder


def _checked(subsets: Sequence[Sequence[str]], modalities: Subset) -> list[Subset]:
    """Return subsets by name, checked; a single name is a subset of one."""
    chosen = [(subset,) if isinstance(subset, str) else tuple(dict.fromkeys(subset)) for subset in subsets]
    for subset in chosen:
        for name in subset or ("",):
            if name not in modalities:
                raise ConfigurationError(unknown("modality", name, modalities))
    return chosen


def subsets_of(modalities: Sequence[str]) -> list[Subset]:
    """Return each modality alone, pairs if there are few modalities, and all together.

    Example:
        >>> subsets_of(["a", "b"])
        [('a',), ('b',), ('a', 'b')]
    """
    names = tuple(modalities)
    singles: list[Subset] = [(name,) for name in names]
    pairs: list[Subset] = list(combinations(names, 2)) if 2 < len(names) <= PAIRS_UP_TO else []
    return singles if len(names) == 1 else [*singles, *pairs, names]


def subset_label(subset: str, whole: Sequence[str] = ()) -> str:
    """Return the name of a subset for use in a sentence, shortened if it has many modalities.

    Args:
        subset: names, joined by "+".
        whole: names of all modalities; a large subset is described by those that it lacks.

    Example:
        >>> subset_label("image+text"), subset_label("image+text+table+series")
        ('image+text', 'all 4 modalities')
        >>> subset_label("image+text+table+series", ["image", "text", "table", "series", "audio"])
        'all but audio'
    """
    names = subset.split("+")
    lacking = [name for name in whole if name not in names]
    if len(names) < max(4, len(lacking)):
        return subset
    return f"all but {'+'.join(lacking)}" if lacking else f"all {len(names)} modalities"


def embed_subsets(
    model: Any, records: Records, subsets: Sequence[Subset], tell: Callable[[str], None] = lambda line: None
) -> dict[str, Embedded]:
    """Embed records, without augmentation, by each subset of modalities; encodes each modality only once."""
    names = dict.fromkeys(sum(subsets, ()))
    present = {name: presence(records.columns[name]) for name in names}  # may read the modality: once for all
    rows = {subset: np.flatnonzero(np.any([present[name] for name in subset], axis=0)) for subset in subsets}
    records = with_encoder_features(records, method_of(model))
    parts: dict[Subset, list[np.ndarray]] = {subset: [] for subset in subsets}
    for start in range(0, len(records), ENCODED):
        end = min(start + ENCODED, len(records))
        tell(f"embedding records {start + 1} to {end} of {len(records)}")
        batch = records.choose(np.arange(start, end))
        batch_size, encoded = records_per_batch(batch), with_tokens(model, batch)
        for subset, positions in rows.items():
            selected = positions[slice(*np.searchsorted(positions, [start, end]))]
            try:
                parts[subset].append(embed(model, encoded.choose(selected - start), subset, batch_size))
            except NotFiniteError as problem:
                raise NotFiniteError(selected[list(problem.rows)].tolist()) from problem
    none = np.zeros((0, 0), dtype=np.float32)
    return {
        subset_name(subset): Embedded(
            subset, rows[subset], np.concatenate([part for part in arrays if len(part)] or [none])
        )
        for subset, arrays in parts.items()
    }


def outcomes_of(
    parts: Sequence[Mapping[str, Embedded]],
    data: Dataset,
    targets: Sequence[str],
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, dict[str, Outcome]], list[str]]:
    """Probe embeddings of `parts_to_read`; return the rungs with predictions, and why any are missing."""
    outcomes: dict[str, dict[str, Outcome]] = {}
    lacking: dict[tuple[str, str], list[str]] = {}  # target and reason to the subsets that were not probed
    for target in targets:
        outcomes[target] = {}
        for name in parts[0]:
            tell(f"probing {target} from {name}")
            try:
                outcomes[target][name] = _rung([part[name] for part in parts], data, target, seed)
            except DataError as problem:
                reason = str(problem).removeprefix(f"target '{target}': ")
                lacking.setdefault((target, reason), []).append(name)
    return outcomes, [
        f"{target} from {', '.join(names)}: {reason}" for (target, reason), names in lacking.items()
    ]


@dataclass(frozen=True)
class Gain:
    """Score of all modalities together minus that of the best one alone, on records that have that one."""

    best: str  # name of the best single modality
    score: float  # all together minus the best one
    interval: Interval
    records: int
    without: int  # records that lack the best modality


def gain_of(
    outcomes: Mapping[str, Outcome],
    test: Mapping[str, Embedded],
    labels: np.ndarray,
    sort: str,
    seed: int = 0,
) -> Gain | None:
    """Return the gain of all modalities over the best single one, paired over records.

    Returns None if there is only one modality, or if the rungs needed for the comparison are missing.
    """
    singles = {name: outcome for name, outcome in outcomes.items() if len(test[name].subset) == 1}
    joint = list(test)[-1]
    if not singles or joint in singles or joint not in outcomes:
        return None
    best = max(singles, key=lambda name: score_of(singles[name].result))
    labelled = has_label(labels)
    scored = [test[name].rows[labelled[test[name].rows]] for name in (joint, best)]
    shared = np.isin(scored[0], scored[1])
    joint_outcome, best_outcome = outcomes[joint], outcomes[best]
    pairs = (
        (joint_outcome.truth[shared], joint_outcome.predicted[shared]),
        (best_outcome.truth, best_outcome.predicted),
    )

    def difference(weights: np.ndarray) -> np.ndarray:
        joint_score, best_score = (main_score(sort, *pair, weights) for pair in pairs)
        return joint_score - best_score

    strata = strata_of(sort, best_outcome.truth)
    value, interval = measured({"gain": difference}, strata, seed, best_outcome.groups)["gain"]
    if sort != "number" and interval[1] - interval[0] < NO_SPREAD:
        several = best_outcome.truth > 0 if sort == "multilabel" else None
        margin = unseen_errors(strata, best_outcome.groups, several)
        interval = value - margin, value + margin
    return Gain(best, value, interval, int(shared.sum()), int((~shared).sum()))


def _rung(parts: Sequence[Embedded], data: Dataset, target: str, seed: int) -> Outcome:
    records = parts_to_read(data, {target: "multilabel"})[: len(parts)]
    vectors = [
        Vectors(part.vectors, part_records.choose(part.rows))
        for part, part_records in zip(parts, records, strict=True)
    ]
    outcome = probe_vectors(data, *vectors, targets=target, seed=seed)[target]
    missing = sum(map(len, records[:2])) - sum(len(part.rows) for part in parts[:2])
    return replace(outcome, result=replace(outcome.result, dropped=outcome.result.dropped + missing))
