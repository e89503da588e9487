"""Linear representations of raw features: what varies most, and what modalities have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from commlearn.comparison.baselines.base import Given
from commlearn.comparison.baselines.raw import raw, raw_parts
from commlearn.errors import ConfigurationError
from commlearn.records import Records

RIDGE = 0.1  # added to the variance of every direction of a modality, which is 1 a feature
COMMON = 64  # directions a modality, at most


def pca(given: Given, parts: Sequence[Records]) -> list[np.ndarray]:
    """As many principal components of the standardised raw features as an embedding has numbers."""
    rows = raw(given, parts)
    scaler = StandardScaler().fit(rows[0])
    rows = [scaler.transform(part) for part in rows]
    count = min(given.experiment.model.width, *rows[0].shape)
    with threadpool_limits(limits=1):
        model = PCA(count, svd_solver="auto", random_state=0).fit(rows[0])
        return [model.transform(part) for part in rows]


def cca(given: Given, parts: Sequence[Records]) -> list[np.ndarray]:
    """Generalised canonical correlation: every modality's projection to what all have in common."""
    columns = raw_parts(parts, list(given.data.train.specs))
    if len(columns) < 2:
        raise ConfigurationError(
            f"cca needs at least 2 modalities; the data have {len(columns)} ({', '.join(columns)}). "
            "Leave it out of --methods."
        )
    scaled = []
    for rows in columns.values():
        scaler = StandardScaler().fit(rows[0])
        scaled.append([scaler.transform(part) for part in rows])
    with threadpool_limits(limits=1):
        maps, _ = common_directions([rows[0] for rows in scaled], COMMON)
        return [
            np.concatenate([rows[part] @ matrix for rows, matrix in zip(scaled, maps, strict=True)], axis=1)
            for part in range(len(parts))
        ]


def common_directions(
    modalities: Sequence[np.ndarray], most: int, ridge: float = RIDGE
) -> tuple[list[np.ndarray], np.ndarray]:
    """MAXVAR: the directions G that all modalities' ridge projections P_i reach best together.

        G = leading eigenvectors of sum_i P_i,   P_i = X_i (X_i'X_i + n ridge I)^-1 X_i',
        map_i = (X_i'X_i + n ridge I)^-1 X_i' G sqrt(n).

    Args:
        modalities: standardised features of the same records, each (records, features).
        most: directions, at most; no more than the smallest modality has features.
        ridge: added to each variance.

    Returns:
        A map for each modality, (features, directions); and how well each direction is reached by the
        modalities on average, from 0 to 1.
    """
    records = len(modalities[0])
    shrunk, solved = [], []
    for rows in modalities:
        left, scale, right = np.linalg.svd(rows, full_matrices=False)
        strong = scale > 1e-7 * max(scale.max(initial=0), 1e-12)
        left, scale, right = left[:, strong], scale[strong], right[strong]
        penalised = scale**2 + records * ridge
        shrunk.append(left * (scale / np.sqrt(penalised)))  # P_i = shrunk_i shrunk_i'
        solved.append((right.T * (scale / penalised), left))
    count = min(most, *(part.shape[1] for part in shrunk))
    common, reached, _ = np.linalg.svd(np.concatenate(shrunk, axis=1), full_matrices=False)
    common = common[:, :count] * np.sqrt(records)
    return [inverse @ (left.T @ common) for inverse, left in solved], reached[:count] ** 2 / len(modalities)
