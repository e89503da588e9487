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
        >>> whole = resolved(read_experiment("trifeature-quick"), {"image1": Spec("image", (3, 64, 64))})
        >>> whole.method["temperature"], whole.augmentations["image1"]["name"]
        (0.1, 'simclr')
    """
    chosen, settled = experiment.model.encoders, pretrained_of(learned)
    encoders = {
        name: _whole(encoder_part(chosen, name, specs), ENCODERS)
        for name in specs
        if name in chosen or name not in settled
    }
    augmentations = {
        name: _whole(augmentation_part(experiment, name, specs), {"none": dict, **AUGMENTATIONS})
        for name in specs
    }
    builders = {name: method.build for name, method in METHODS.items()}
    fusion = _whole(experiment.model.fusion, FUSIONS)
    return replace(
        experiment,
        data=_whole(experiment.data, READERS),
        method=_whole(experiment.method, builders, given=("fusion",)),
        model=replace(experiment.model, encoders=encoders, fusion=fusion),
        augmentations=augmentations,
    )


def _whole(
    part: Mapping[str, Any], registry: Mapping[str, Callable[..., Any]], given: tuple[str, ...] = ()
) -> Part:
    """Return the part, with the defaults of all options that it does not state."""
    defaults = _defaults(registry[part["name"]])
    return {
        "name": part["name"],
        **{key: value for key, value in defaults.items() if key not in given},
        **part,
    }


def _defaults(build: Callable[..., Any]) -> dict[str, Any]:
    """Return the options that need not be stated, with their defaults."""
    if build is dict:
        return {}
    made = {field.name: field.default_factory for field in fields(build)} if is_dataclass(build) else {}
    defaults = {}
    for option in inspect.signature(build).parameters.values():
        make = made.get(option.name, MISSING)
        if make is not MISSING:
            defaults[option.name] = make()
        elif option.default is not inspect.Parameter.empty:
            defaults[option.name] = option.default
    return defaults
