"""States every option of a run, so that its folder means the same when a default changes later."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

from commlearn.augmentations import AUGMENTATIONS
from commlearn.batch import Spec
from commlearn.config.build import augmentation_part, pretrained_of
from commlearn.config.configuration import Experiment, Part
from commlearn.datasets import READERS
from commlearn.methods import METHODS
from commlearn.models.build import FUSIONS, encoder_part
from commlearn.models.encoders import ENCODERS


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
    defaults = _defaults(registry[part["name"]])
    return {
        "name": part["name"],
        **{key: value for key, value in defaults.items() if key not in excluded},
        **part,
    }


def _defaults(build: Callable[..., Any]) -> dict[str, Any]:
    """Return the options that need not be stated, with their defaults."""
    if build is dict:
        return {}
    factories = {field.name: field.default_factory for field in fields(build)} if is_dataclass(build) else {}
    defaults = {}
    for option in inspect.signature(build).parameters.values():
        factory = factories.get(option.name, MISSING)
        if factory is not MISSING:
            defaults[option.name] = factory()
        elif option.default is not inspect.Parameter.empty:
            defaults[option.name] = option.default
    return defaults
