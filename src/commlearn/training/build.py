"""From an experiment's names to data, augmentations and a method with fresh weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from commlearn.augmentations import AUGMENTATIONS, DEFAULT_AUGMENTATION, Augmentation
from commlearn.data import READERS
from commlearn.data.records import Dataset, Spec
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.methods.base import Method
from commlearn.models.build import build_encoders, build_fusion
from commlearn.own_draws import OwnDraws
from commlearn.seeds import torch_seed
from commlearn.training.configuration import Experiment, Part

__all__ = ["augmentation_part", "build_augmentations", "build_method", "pretrained_of", "read_data"]


def build_method(
    experiment: Experiment,
    specs: Mapping[str, Spec],
    state: Mapping[str, Any] | None = None,
    fresh: bool = True,
) -> Method:
    """The method with fresh weights, decided by the seed alone.

    Args:
        experiment: names its parts.
        specs: kind and shape of each modality, in schema order.
        state: what each modality learned; those that were read for a pretrained encoder get it.
        fresh: the first weights matter; else a checkpoint will replace them.
    """
    options, model = dict(experiment.method), experiment.model
    build = METHODS[options.pop("name")].build
    described = pretrained_of(state)
    with OwnDraws(torch_seed(experiment.seed, "init")):
        encoders = build_encoders(specs, model.width, model.encoders, described, fresh)
        if "fusion" in inspect.signature(build).parameters:
            options["fusion"] = build_fusion(tuple(specs), model.width, model.fusion)
        return build(encoders, model.width, **options)


def build_augmentations(experiment: Experiment, specs: Mapping[str, Spec]) -> dict[str, Augmentation]:
    """One augmentation for each modality: named for it, for its kind, or the kind's default."""
    built = {}
    for name, spec in specs.items():
        options = dict(augmentation_part(experiment, name, spec))
        chosen = options.pop("name")
        if chosen != "none":
            built[name] = AUGMENTATIONS[chosen](**options)
    return built


def augmentation_part(experiment: Experiment, name: str, spec: Spec) -> Part:
    """The augmentation that is chosen for a modality or for its kind, or the kind's default."""
    chosen = experiment.augmentations.get(name) or experiment.augmentations.get(spec.kind)
    if not chosen and spec.kind not in DEFAULT_AUGMENTATION:
        raise ConfigurationError(
            f"No augmentation serves '{spec.kind}' by default. Name one for {name} (none leaves it as it "
            "is), or add its kind to DEFAULT_AUGMENTATION."
        )
    return chosen or {"name": DEFAULT_AUGMENTATION[spec.kind]}


def pretrained_of(state: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """The pretrained encoders for which modalities were read, by modality."""
    return {name: learned["encoder"] for name, learned in (state or {}).items() if "encoder" in learned}


def read_data(experiment: Experiment) -> Dataset:
    """Read the data set that the experiment names."""
    options = dict(experiment.data)
    return READERS[options.pop("name")](**options).read()
