"""Build what an experiment names: data, augmentations and a method with fresh weights."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from commlearn.augmentations import AUGMENTATIONS, DEFAULT_AUGMENTATION, Augmentation
from commlearn.batch import Spec
from commlearn.config.configuration import Experiment, Part
from commlearn.datasets import READERS
from commlearn.errors import ConfigurationError, unknown
from commlearn.kinds.arrays import presence
from commlearn.methods import METHODS
from commlearn.methods.base import Method
from commlearn.models.build import build_encoders, build_fusion, not_passed, part_of
from commlearn.models.encoders.own import OWN, features_made
from commlearn.models.encoders.tabular import FIXED
from commlearn.models.features import FeatureBlocks
from commlearn.records import Dataset
from commlearn.seeded_draws import SeededDraws
from commlearn.seeds import torch_seed
from commlearn.storage.places import nothing_fetched
from commlearn.tables.streamed import StreamedRecords


def build_method(
    experiment: Experiment,
    specs: Mapping[str, Spec],
    state: Mapping[str, Any] | None = None,
    fresh: bool = True,
    features: FeatureBlocks | None = None,
    modules: Mapping[str, nn.Module] | None = None,
) -> Method:
    """Build the method with fresh weights, which are determined by the seed alone.

    `fresh`: whether initial weights matter; False if a checkpoint will replace them.
    """
    options, model = dict(experiment.method), experiment.model
    build = METHODS[options.pop("name")].build
    pretrained = pretrained_of(state)
    with SeededDraws(torch_seed(experiment.seed, "init")):
        encoders = build_encoders(specs, model.width, model.encoders, pretrained, fresh, features, modules)
        if "fusion" in inspect.signature(build).parameters:
            options["fusion"] = build_fusion(tuple(specs), model.width, model.fusion)
        return build(encoders, model.width, **options)


def build_features(
    experiment: Experiment, specs: Mapping[str, Spec], state: Mapping[str, Any] | None = None
) -> FeatureBlocks | None:
    """Build fixed features that have not learned yet; None if the experiment or its modalities have none.

    Modalities that were read for a pretrained encoder have none, as its states are more informative.
    """
    pretrained = pretrained_of(state)
    plain = {name: spec for name, spec in specs.items() if name not in pretrained}
    if not plain or experiment.model.features != "fixed":
        return None
    return FeatureBlocks(plain, experiment.model.networks)


def learned_features(
    experiment: Experiment,
    data: Dataset,
    rows: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> FeatureBlocks | None:
    """Return fixed features that have learned from the training records; None if the experiment has none.

    If records are streamed, they learn from the sample of the training rows that is in memory.
    """
    features = build_features(experiment, data.train.specs, data.state)
    if features is None:
        return None
    records = data.fit if isinstance(data.train, StreamedRecords) else data.train
    if rows is not None:
        records = records.choose(np.arange(min(rows, len(records))))
    return features.learn(records, experiment.seed, tell)


def reads_features(experiment: Experiment, name: str, specs: Mapping[str, Spec]) -> bool:
    """Whether the encoder of a modality reads its fixed features."""
    part = part_of(experiment.model.encoders, name, specs)
    return part is not None and part["name"] == FIXED


def build_augmentations(experiment: Experiment, specs: Mapping[str, Spec]) -> dict[str, Augmentation]:
    """Build one augmentation for each modality, except those for which "none" is chosen."""
    built = {}
    for name in specs:
        options = dict(augmentation_part(experiment, name, specs))
        choice = options.pop("name")
        if choice != "none":
            built[name] = AUGMENTATIONS[choice](**options)
    return built


def augmentation_part(experiment: Experiment, name: str, specs: Mapping[str, Spec]) -> Part:
    """Return the augmentation that is chosen for a modality or for its kind, or the kind's default.

    If the encoder reads fixed features, these are augmented, as a vector.
    """
    if name not in experiment.augmentations and reads_features(experiment, name, specs):
        specs = {**specs, name: Spec("vector", ())}
    part, kind = part_of(experiment.augmentations, name, specs), specs[name].kind
    if not part and kind not in DEFAULT_AUGMENTATION:
        raise ConfigurationError(
            f"There is no default augmentation for kind '{kind}'. Name one for {name} (none leaves it as it "
            "is), or add its kind to DEFAULT_AUGMENTATION."
        )
    return part or {"name": DEFAULT_AUGMENTATION[kind]}


def pretrained_of(state: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Return the pretrained encoders for which modalities were read, by modality."""
    return {name: learned["encoder"] for name, learned in (state or {}).items() if "encoder" in learned}


def with_modules(
    experiment: Experiment, data: Dataset, modules: Mapping[str, nn.Module]
) -> tuple[Experiment, dict[str, nn.Module]]:
    """Return the experiment with the user's modules as encoders, and copies of these that have read records.

    The given modules stay as they are.
    """
    copies, encoders = copy.deepcopy(dict(modules)), dict(experiment.model.encoders)
    seed = torch_seed(experiment.seed, "own modules")  # for lazy weights, drawn at the first forward pass
    for name, part in encoders.items():
        if part["name"] == OWN and name not in copies:
            raise not_passed(name)
    for name, module in copies.items():
        if name not in data.train.specs:
            raise ConfigurationError(f"encoders: {unknown('modality', name, data.train.specs)}")
        if not isinstance(module, nn.Module):
            raise ConfigurationError(
                f"encoders: the encoder of '{name}' is {module!r:.60}; give a torch module."
            )
        column = data.fit.columns[name]
        example = column.take(np.flatnonzero(presence(column))[:2])
        with SeededDraws(seed):
            encoders[name] = {"name": OWN, "features": features_made(name, module, example)}
    return replace(experiment, model=replace(experiment.model, encoders=encoders)), copies


def read_data(experiment: Experiment) -> Dataset:
    """Read the data set that the experiment names; if a folder was loaded, nothing is fetched.

    Example:
        >>> from commlearn.config.configuration import read_experiment
        >>> small = {"data.train_pairs": 60, "data.size": 24}
        >>> data = read_data(read_experiment("trifeature-quick", small))
        >>> len(data.train), list(data.train.specs)
        (60, ['image1', 'image2'])
    """
    options = dict(experiment.data)
    reader = READERS[options.pop("name")](**options)
    if not experiment.stored:
        return reader.read()
    with nothing_fetched():
        return reader.read()
