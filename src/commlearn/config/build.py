"""Build what an experiment names: data, augmentations and a method with fresh weights.

`resolved` states every option of what is named, so that a run's folder means the same when a default changes.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from commlearn.augmentations import AUGMENTATIONS, DEFAULT_AUGMENTATION, Augmentation
from commlearn.batch import Spec
from commlearn.config.configuration import Experiment, Part
from commlearn.datasets import READERS
from commlearn.errors import ConfigurationError, unknown
from commlearn.methods import METHODS
from commlearn.methods.base import Method
from commlearn.models.build import FUSIONS, build_encoders, build_fusion, encoder_part, not_passed, part_of
from commlearn.models.encoders import ENCODERS
from commlearn.models.encoders.own import OWN, features_made
from commlearn.models.encoders.tabular import FIXED
from commlearn.models.features import FeatureBlocks
from commlearn.records import Dataset, presence
from commlearn.seeds import SeededDraws, torch_seed
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
    encoder = part_of(experiment.model.encoders, name, specs)
    if name not in experiment.augmentations and encoder is not None and encoder["name"] == FIXED:
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
    with nothing_fetched() if experiment.stored else nullcontext():
        return reader.read()


def resolved(
    experiment: Experiment, specs: Mapping[str, Spec], learned: Mapping[str, Any] | None = None
) -> Experiment:
    """Return the experiment with the parts of each modality named, and all options of all parts stated.

    Options that are already stated stay, so resolving twice changes nothing more.

    Example:
        >>> from commlearn.config.configuration import read_experiment
        >>> experiment = resolved(read_experiment("trifeature-quick"), {"image1": Spec("image", (3, 64, 64))})
        >>> experiment.method["temperature"], experiment.augmentations["image1"]["name"]
        (0.1, 'simclr')
    """
    encoder_parts, pretrained = experiment.model.encoders, pretrained_of(learned)
    encoders = {
        name: _with_defaults(encoder_part(encoder_parts, name, specs), ENCODERS)
        for name in specs
        if name in encoder_parts or name not in pretrained
    }
    augmentations = {
        name: _with_defaults(augmentation_part(experiment, name, specs), {"none": dict, **AUGMENTATIONS})
        for name in specs
    }
    builders = {name: method.build for name, method in METHODS.items()}
    fusion = _with_defaults(experiment.model.fusion, FUSIONS)
    return replace(
        experiment,
        data=_with_defaults(experiment.data, READERS),
        method=_with_defaults(experiment.method, builders, excluded=("fusion",)),
        model=replace(experiment.model, encoders=encoders, fusion=fusion),
        augmentations=augmentations,
    )


def _with_defaults(
    part: Mapping[str, Any], registry: Mapping[str, Callable[..., Any]], excluded: tuple[str, ...] = ()
) -> Part:
    """Return the part, with the defaults of all options that it does not state."""
    build = registry[part["name"]]
    options: Mapping[str, inspect.Parameter] = {} if build is dict else inspect.signature(build).parameters
    defaults = {
        name: option.default
        for name, option in options.items()
        if option.default is not option.empty and name not in excluded
    }
    for field in fields(build) if is_dataclass(build) else ():
        if field.name in defaults and field.default_factory is not MISSING:
            defaults[field.name] = field.default_factory()
    return {"name": part["name"], **defaults, **part}
