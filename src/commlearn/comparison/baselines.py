"""Simple baselines by name: alternatives to learning a representation, a floor and a ceiling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from commlearn.batch import Modality, Spec
from commlearn.config.build import build_method, learned_features, pretrained_of
from commlearn.config.configuration import Experiment
from commlearn.errors import ConfigurationError, unknown
from commlearn.methods.base import Method
from commlearn.models.features import FeatureBlocks, feature_column
from commlearn.records import Dataset, Records
from commlearn.trained.embed import embed
from commlearn.trained.model import Trained
from commlearn.training.callbacks import Callback
from commlearn.training.finetune import FineTuning, finetune


@dataclass(frozen=True)
class BaselineInputs:
    """Inputs that a baseline may use."""

    experiment: Experiment  # CoMM, with the sizes, encoders, budget and seed of the other members
    data: Dataset
    targets: Sequence[str]  # used only by a baseline that learns from labels
    folder: Path  # the baseline's own folder, for files that it keeps
    progress: Callback


@dataclass(frozen=True)
class Baseline:
    """A member of a comparison that is not a method."""

    make: Callable[[BaselineInputs, Sequence[Records]], list[np.ndarray]]
    """Makes the vectors of each part, (records, dim); nothing is fitted on the parts after the first."""
    drawn: bool = False  # whether the seed matters
    labels: bool = False  # whether it learns from labels; if so, it is trained for one target


PIXELS = 16  # pixels per side to which an image is averaged
WORDS = 2000  # most frequent words of the first part that are counted
BLOCK = 512  # records processed at once


def raw(
    given: BaselineInputs, parts: Sequence[Records], names: Sequence[str] | None = None
) -> list[np.ndarray]:
    """Return the raw features of the named modalities (all if none are named) side by side."""
    columns = raw_parts(parts, names or list(given.data.train.specs))
    return [np.concatenate([rows[part] for rows in columns.values()], axis=1) for part in range(len(parts))]


def raw_parts(parts: Sequence[Records], names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Return each modality's raw features in each part, (records, features).

    Vectors and numeric table cells are unchanged, categories one-hot, images averaged to 16 x 16 pixels;
    series and audio become five statistics of each channel, text the weighted counts of its words. A record
    without the modality has zeros; if any record lacks it, one more feature marks those that do.
    """
    features_of = {}
    for name in names:
        spec = parts[0].specs[name]
        flat = _frequent(parts[0], name, spec) if spec.kind == "text" else _FLAT.get(spec.kind, _flatten)
        rows = [_read(records, name, flat, spec) for records in parts]
        features_of[name] = [values for values, _ in rows]
        if not all(present.all() for _, present in rows):
            features_of[name] = [
                np.concatenate([values * present[:, None], ~present[:, None]], axis=1, dtype=np.float32)
                for values, present in rows
            ]
    return features_of


def _read(
    records: Records, name: str, flat: Callable[[Modality, Spec], Tensor], spec: Spec
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features, (records, features), and which records have the modality."""
    values, present = [], []
    for start in range(0, len(records), BLOCK):
        modality = records.view(slice(start, start + BLOCK), [name])[name]
        values.append(torch.nan_to_num(flat(modality, spec).float()).numpy())
        present.append(modality.presence.numpy())
    return np.concatenate(values), np.concatenate(present)


def _flatten(modality: Modality, spec: Spec) -> Tensor:
    return _steps(modality, spec) if modality.values.ndim > 2 else modality.values.flatten(1)


def _pixels(modality: Modality, spec: Spec) -> Tensor:  # (batch, channels, height, width)
    height, width = (min(PIXELS, side) for side in modality.values.shape[-2:])
    return F.adaptive_avg_pool2d(modality.values.float(), (height, width)).flatten(1)


def _cells(modality: Modality, spec: Spec) -> Tensor:
    """Return numbers with zeros for missing ones, flags for the missing ones, and one-hot categories."""
    numbers, codes = modality.values[:, : spec.shape[0]], modality.values[:, spec.shape[0] :]
    one_hot = [F.one_hot(codes[:, i].long(), size) for i, size in enumerate(spec.shape[1:])]
    return torch.cat([numbers.nan_to_num(), numbers.isnan(), *one_hot], dim=1)


def _steps(modality: Modality, spec: Spec) -> Tensor:
    """Return mean, deviation, minimum, maximum and mean change of each channel over unpadded steps."""
    values = modality.values.float().nan_to_num().flatten(2)  # (batch, steps, channels)
    real = modality.real
    weight = real[..., None].float()
    count = weight.sum(dim=1).clamp(min=1)  # (batch, 1)
    mean = (values * weight).sum(dim=1) / count
    deviation = (((values - mean[:, None]) ** 2 * weight).sum(dim=1) / count).sqrt()
    lowest = values.masked_fill(~real[..., None], torch.inf).amin(dim=1)
    highest = values.masked_fill(~real[..., None], -torch.inf).amax(dim=1)
    pairs = weight[:, 1:] * weight[:, :-1]
    change = ((values[:, 1:] - values[:, :-1]).abs() * pairs).sum(dim=1) / pairs.sum(dim=1).clamp(min=1)
    statistics = torch.cat([mean, deviation, lowest, highest, change], dim=1)
    return statistics.nan_to_num(posinf=0.0, neginf=0.0)  # records without any step


def _words(modality: Modality, spec: Spec) -> Tensor:
    """Count how often each id occurs, (batch, ids)."""
    counts = torch.zeros(len(modality), spec.shape[0])
    return counts.scatter_add_(1, modality.values, modality.real.float())


def _frequent(records: Records, name: str, spec: Spec) -> Callable[[Modality, Spec], Tensor]:
    """Return a function from text to tf-idf rows of length 1, over the most frequent ids of these records."""
    frequency = np.zeros(spec.shape[0], dtype=np.int64)
    for start in range(0, len(records), BLOCK):
        modality = records.view(slice(start, start + BLOCK), [name])[name]
        frequency += (_words(modality, spec) > 0).sum(dim=0).numpy()
    frequent_ids = np.sort(np.argsort(-frequency, kind="stable")[:WORDS])
    frequent_ids = frequent_ids[frequency[frequent_ids] > 0]
    rarity = np.log((1 + len(records)) / (1 + frequency[frequent_ids])) + 1

    def tf_idf(modality: Modality, spec: Spec) -> Tensor:
        rows = np.log1p(_words(modality, spec).numpy()[:, frequent_ids]) * rarity
        return torch.from_numpy(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))

    return tf_idf


_FLAT: dict[str, Callable[[Modality, Spec], Tensor]] = {"image": _pixels, "tabular": _cells}


RIDGE = 0.1  # added to the variance of each direction of a modality; the variance of each feature is 1
COMMON = 64  # common directions, at most


def pca(given: BaselineInputs, parts: Sequence[Records]) -> list[np.ndarray]:
    """Return principal components of the standardised raw features, as many as the model is wide."""
    rows = _standardised(raw(given, parts))
    count = min(given.experiment.model.width, *rows[0].shape)
    with threadpool_limits(limits=1):
        model = PCA(count, svd_solver="auto", random_state=0).fit(rows[0])
        return [model.transform(part) for part in rows]


def cca(given: BaselineInputs, parts: Sequence[Records]) -> list[np.ndarray]:
    """Generalised canonical correlation: project every modality onto the directions that all share."""
    columns = raw_parts(parts, list(given.data.train.specs))
    scaled = [_standardised(rows) for rows in columns.values()]
    with threadpool_limits(limits=1):
        maps, _ = common_directions([rows[0] for rows in scaled], COMMON)
        projected = [[part @ matrix for part in rows] for rows, matrix in zip(scaled, maps, strict=True)]
    return [np.concatenate(rows, axis=1) for rows in zip(*projected, strict=True)]


def _standardised(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    scaler = StandardScaler().fit(parts[0])
    return [scaler.transform(part) for part in parts]


def common_directions(
    modalities: Sequence[np.ndarray], most: int, ridge: float = RIDGE
) -> tuple[list[np.ndarray], np.ndarray]:
    """MAXVAR: find the directions G that all modalities' ridge projections P_i reach best together.

        G = leading eigenvectors of sum_i P_i,   P_i = X_i (X_i'X_i + n ridge I)^-1 X_i',
        map_i = (X_i'X_i + n ridge I)^-1 X_i' G sqrt(n).

    Returns:
        A map for each modality, (features, directions); and how well the modalities reach each direction on
        average, from 0 to 1.
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


def fixed_features(given: BaselineInputs, parts: Sequence[Records]) -> list[np.ndarray]:
    """Return all modalities' fixed features side by side; raw ones where a pretrained encoder reads them."""
    pretrained = pretrained_of(given.data.state)
    specs = {name: spec for name, spec in given.data.train.specs.items() if name not in pretrained}
    networks = given.experiment.model.networks
    blocks = FeatureBlocks(specs, networks).learn(parts[0], 0).each if specs else {}
    rows = raw_parts(parts, list(pretrained))
    for name, block in blocks.items():
        columns = [feature_column(block, records.columns[name]) for records in parts]
        rows[name] = [column.take(np.arange(len(column))).values.numpy() for column in columns]
    return [np.concatenate([arrays[part] for arrays in rows.values()], axis=1) for part in range(len(parts))]


def random_network(given: BaselineInputs, parts: Sequence[Records]) -> list[np.ndarray]:
    """Return embeddings from the initial weights of the seed, without training."""
    method, _ = _initial(given)
    return [embed(method, records) for records in parts]


def supervised(given: BaselineInputs, parts: Sequence[Records]) -> list[np.ndarray]:
    """Train the same network on the labels of one target, for as many epochs unless stopped by validation."""
    training = given.experiment.training
    settings = FineTuning(
        given.targets[0],
        epochs=training.epochs,
        patience=max(5, training.epochs // 5),
        learning_rate=training.learning_rate,
        batch_size=training.batch_size,
        weight_decay=training.weight_decay,
        seed=given.experiment.seed,
    )
    method, features = _initial(given)
    specs = given.data.train.specs
    start = Trained(experiment=given.experiment, method=method, specs=specs, features=features)
    folder = given.folder / "network"
    run = finetune(start, settings, folder, given.data, resume=True, progress=given.progress)
    return [embed(run, records, blocks="learned") for records in parts]


def _initial(given: BaselineInputs) -> tuple[Method, FeatureBlocks | None]:
    """Return the method with the initial weights of the seed, and the fixed features that it reads."""
    features = learned_features(given.experiment, given.data)
    return build_method(given.experiment, given.data.train.specs, features=features), features


SINGLE = "raw:"

BASELINES: dict[str, Baseline] = {
    "raw": Baseline(raw),
    "fixed": Baseline(fixed_features),
    "pca": Baseline(pca),
    "cca": Baseline(cca),
    "random": Baseline(random_network, drawn=True),  # the floor
    "supervised": Baseline(supervised, drawn=True, labels=True),  # a ceiling
}
"""In addition, `raw:NAME` is one modality alone, and `single` stands for `raw:NAME` of every modality."""


def single_names(modalities: Sequence[str]) -> list[str]:
    """Return the names of the baselines of single modalities.

    Example:
        >>> single_names(["image", "text"])
        ['raw:image', 'raw:text']
    """
    return [SINGLE + name for name in modalities]


def find_baseline(name: str, modalities: Sequence[str]) -> Baseline | None:
    """Return the baseline of this name; None if the name is not a baseline's."""
    if not name.startswith(SINGLE):
        return BASELINES.get(name)
    modality = name.removeprefix(SINGLE)
    if modality not in modalities:
        raise ConfigurationError(unknown("baseline", name, single_names(modalities)))
    return Baseline(partial(raw, names=[modality]))
