"""Options of a part whose name is left to the choice: `augmentations: {photo: {flip: 0}}`.

A part is an augmentation or an encoder, stated for a modality or for all of a kind. Without a name
it is what would have been chosen anyway, with these options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from commlearn.augmentations import DEFAULT_AUGMENTATION
from commlearn.batch import Spec
from commlearn.errors import ConfigurationError, Problems, unknown
from commlearn.models.encoders import default_encoder

__all__ = ["by_modality", "check_keys", "completed", "named_only"]

# where parts are stated by modality or by kind, and which one a modality gets if nothing is stated
PLACES: dict[tuple[str, ...], Callable[[Spec], str]] = {
    ("augmentations",): lambda spec: DEFAULT_AUGMENTATION[spec.kind],
    ("model", "encoders"): default_encoder,
}


def named_only(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without the parts that have no name.

    Example:
        >>> named_only({"seed": 1, "augmentations": {"a": {"flip": 0}, "b": {"name": "none"}, "c": "text"}})
        {'seed': 1, 'augmentations': {'b': {'name': 'none'}, 'c': 'text'}}
    """
    result = dict(settings)
    for place in PLACES:
        parts = _at(result, place)
        if _nameless(parts):
            named = {key: part for key, part in parts.items() if key not in _nameless(parts)}
            result = _with(result, place, named)
    return result


def check_keys(settings: Mapping[str, Any], specs: Mapping[str, Spec]) -> None:
    """Refuse parts of a modality that the data do not have."""
    problems = Problems("Configuration")
    for place in PLACES:
        for key in _at(settings, place):
            if key not in specs and key not in DEFAULT_AUGMENTATION:
                kinds = {spec.kind for spec in specs.values()}
                problems.add(f"{'.'.join(place)}: {unknown('modality or kind', key, {*specs, *kinds})}")
    problems.raise_if_any(ConfigurationError)


def by_modality(settings: Mapping[str, Any], specs: Mapping[str, Spec]) -> dict[str, Any]:
    """The settings with options that are stated for a kind given to each modality of it.

    Example:
        >>> by_modality({"augmentations": {"image": {"flip": 0}}}, {"photo": Spec("image", (3, 8, 8))})
        {'augmentations': {'photo': {'flip': 0}}}
    """
    result = dict(settings)
    for place in PLACES:
        parts = _at(result, place)
        loose = _nameless(parts)
        if not loose:
            continue
        spread = {key: part for key, part in parts.items() if key not in loose}
        for name, spec in specs.items():
            options = {**loose.get(spec.kind, {}), **loose.get(name, {})}
            if options and name not in spread:
                spread[name] = options
        result = _with(result, place, spread)
    return result


def completed(
    settings: Mapping[str, Any], chosen: Mapping[str, Any], specs: Mapping[str, Spec]
) -> dict[str, Any]:
    """The settings with a name for every part of a modality: that of its kind, the chosen, the usual one."""
    result = dict(settings)
    for place, usual in PLACES.items():
        parts, loose = _at(result, place), _nameless(_at(result, place))
        if not loose:
            continue
        whole = dict(parts)
        for name, options in loose.items():
            kind = specs[name].kind
            of_kind = parts.get(kind) or {"name": usual(specs[name])}
            below = {"name": of_kind} if isinstance(of_kind, str) else of_kind
            whole[name] = {**(_at(chosen, place).get(name) or below), **options}
        result = _with(result, place, whole)
    return result


def _nameless(parts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {key: part for key, part in parts.items() if isinstance(part, Mapping) and "name" not in part}


def _at(settings: Mapping[str, Any], place: tuple[str, ...]) -> Mapping[str, Any]:
    here: Any = settings
    for key in place:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def _with(settings: Mapping[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    key, *rest = place
    return {**settings, key: _with(settings[key], tuple(rest), value) if rest else value}
