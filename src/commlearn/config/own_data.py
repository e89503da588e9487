"""From a schema and its table to a training: settings are the user's, else chosen from the data.

A part is an augmentation or an encoder, stated for a modality or for all of a kind. Without a name, as in
`augmentations: {photo: {flip: 0}}`, it is what would have been chosen anyway, with these options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from commlearn.augmentations import DEFAULT_AUGMENTATION
from commlearn.batch import Spec
from commlearn.config.build import pretrained_of, read_data
from commlearn.config.configuration import Experiment, experiment_from
from commlearn.config.defaults import choice_line, left_open, merged, suggest
from commlearn.config.fill import set_dotted
from commlearn.config.strength import chosen_augmentations
from commlearn.errors import ConfigurationError, Problems, unknown
from commlearn.methods import METHODS
from commlearn.models.encoders import default_encoder
from commlearn.models.encoders.own import OWN
from commlearn.models.encoders.tabular import FIXED
from commlearn.records import Dataset
from commlearn.storage.places import is_remote
from commlearn.tables import schema_yaml
from commlearn.tables.schema import Schema
from commlearn.tables.streamed import StreamedRecords

OF_DATA = ("validation", "test", "stream")  # settings that belong to the reader
EMBEDDING = "fused+tokens"  # of every method that can
ON_FEATURES = {"temperature": 0.3, "head": [256, 128]}  # of the same methods, if encoders read features
Parts = Mapping[str, Any]
Place = tuple[str, ...]
# where parts are stated by modality or by kind, and which one a modality gets if nothing is stated
PLACES: dict[Place, Callable[[Spec], str]] = {
    ("augmentations",): lambda spec: DEFAULT_AUGMENTATION[spec.kind],
    ("model", "encoders"): default_encoder,
}


def is_schema(path: str | Path) -> bool:
    """Whether a YAML file describes a table: it names modalities, as no recipe does."""
    if Path(path).suffix not in {".yaml", ".yml"} or not Path(path).is_file():
        return False
    values, _ = schema_yaml.load(Path(path))
    return isinstance(values, Mapping) and "modalities" in values


def read_own(
    path: str | Path,
    table: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    method: str | None = None,
) -> tuple[Experiment, Dataset, str]:
    """What to train, on which records, and which settings were chosen from them.

    Args:
        path: of a schema, which may also say where its table is (relative to itself) and how to train.
        table: takes the place of the schema's.
        overrides: dotted key to value, such as {"training.epochs": 20}.
        method: takes the place of the schema's.
    """
    values, where = schema_yaml.load(Path(path))
    schema = Schema.from_mapping(values, where)
    if table is None:
        if not values.get("table"):
            raise ConfigurationError(
                f"{path} does not say where its table is. Add `table: PATH`, or give --table."
            )
        table = str(values["table"])
        table = table if is_remote(table) else Path(path).parent / table
    where = str(table) if is_remote(table) else str(Path(table).resolve())
    data = {"name": "table", "table": where, "schema": schema.to_mapping()}
    data |= {key: values[key] for key in OF_DATA if key in values}
    settings = {
        key: values[key] for key in schema_yaml.SETTINGS if key in values and key not in (*OF_DATA, "table")
    }
    settings = {"name": Path(path).stem, "method": "comm", **settings, "data": data}
    if method is not None:
        settings["method"] = {"name": method}
    for key, value in (overrides or {}).items():
        set_dotted(settings, key, value)
    records = read_data(experiment_from(named_only(settings)))
    experiment, note = experiment_for(settings, records)
    return experiment, records, note


def experiment_for(settings: Mapping[str, Any], data: Dataset) -> tuple[Experiment, str]:
    """The settings with what they leave open chosen from the records; and the choice in one line."""
    settings = _with_own_modules(settings)
    stated = experiment_from(named_only(settings))  # what is wrong with the settings comes before a choice
    specs = data.train.specs
    _check_keys(settings, specs)
    settings = by_modality(settings, specs)
    model, training = settings.get("model") or {}, settings.get("training") or {}
    if "model" in settings:  # an empty one, or features that are left open, state nothing
        settings["model"] = {
            key: value for key, value in model.items() if (key, value) != ("features", "auto")
        }
    chosen = suggest(data.train, training.get("epochs"), training.get("batch_size"), stated.model.features)
    chosen["model"]["encoders"] = {
        name: part
        for name, part in chosen["model"]["encoders"].items()
        if not {name, specs[name].kind} & {*stated.model.encoders}
    }
    on_features = _read_by_features(settings, data, chosen["model"]["features"])
    chosen["model"]["encoders"] |= {name: {"name": FIXED} for name in on_features}
    if embeds_tokens(stated.method["name"]):
        chosen["method"] = {"name": stated.method["name"], "embedding": EMBEDDING}
        if on_features:
            chosen["method"] |= ON_FEATURES
    if METHODS[stated.method["name"]].views.augmented:
        chosen["training"]["stand_ins"] = len(on_features) == len(specs) > 1
        chosen["augmentations"] = chosen_augmentations(data.fit, stated.augmentations, on_features)
    open_ones = left_open(chosen, {**settings, "method": stated.method}) | _sizes_of_images(settings, data)
    settings = {**_completed(settings, chosen, specs), "method": stated.method}
    experiment = experiment_from(merged(chosen, settings))
    return experiment, choice_line(open_ones, data.train) if open_ones else ""


def _with_own_modules(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the encoders that a schema says are modules of the user's."""
    modalities = settings["data"].get("schema", {}).get("modalities", {})
    own = {name: {"name": OWN} for name, part in modalities.items() if part.get("encoder") == OWN}
    model = dict(settings.get("model") or {})
    stated = {**model, "encoders": own | (model.get("encoders") or {})}
    return {**settings, "model": stated} if own else dict(settings)


def _read_by_features(settings: Mapping[str, Any], data: Dataset, suggested: str) -> list[str]:
    """The modalities whose encoders read fixed features: all for which nothing else is stated.

    An encoder, a pretrained one or an augmentation of pictures, texts or series is stated for their values.
    """
    model = settings.get("model") or {}
    if model.get("features", suggested) != "fixed" or isinstance(data.train, StreamedRecords):
        return []
    encoders, augmentations = (model.get("encoders") or {}), (settings.get("augmentations") or {})
    chosen = []
    for name, spec in data.train.specs.items():
        part = augmentations.get(name, augmentations.get(spec.kind, {"name": "none"}))
        augmented = part if isinstance(part, str) else part.get("name", DEFAULT_AUGMENTATION[spec.kind])
        free = name not in pretrained_of(data.state) and not {name, spec.kind} & {*encoders}
        if free and augmented in ("none", "noise", "vector"):
            chosen.append(name)
    return chosen


def embeds_tokens(method: str) -> bool:
    """Whether a method can embed the mean token of each modality in addition to the fused vector.

    Example:
        >>> embeds_tokens("comm"), embeds_tokens("clip")
        (True, False)
    """
    return EMBEDDING in get_args(get_type_hints(METHODS[method].build).get("embedding"))


def _sizes_of_images(settings: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """The sizes of images that the schema leaves open, as a schema would state them."""
    modalities = settings["data"].get("schema", {}).get("modalities", {})
    sizes = {
        name: {"size": spec.shape[-1]}
        for name, spec in data.train.specs.items()
        if spec.kind == "image" and not {"size", "encoder"} & set(modalities.get(name, ()))
    }
    return {"modalities": sizes} if sizes else {}


def named_only(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without the parts that have no name.

    Example:
        >>> named_only({"seed": 1, "augmentations": {"a": {"flip": 0}, "b": {"name": "none"}, "c": "text"}})
        {'seed': 1, 'augmentations': {'b': {'name': 'none'}, 'c': 'text'}}
    """
    return _with_parts(settings, lambda place, parts, nameless: _but(parts, nameless))


def _check_keys(settings: Mapping[str, Any], specs: Mapping[str, Spec]) -> None:
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

    def spread(place: Place, parts: Parts, nameless: Parts) -> Parts:
        result = _but(parts, nameless)
        for name, spec in specs.items():
            options = {**nameless.get(spec.kind, {}), **nameless.get(name, {})}
            if options and name not in result:
                result[name] = options
        return result

    return _with_parts(settings, spread)


def _completed(
    settings: Mapping[str, Any], chosen: Mapping[str, Any], specs: Mapping[str, Spec]
) -> dict[str, Any]:
    """The settings with a name for every part of a modality: that of its kind, the chosen, the usual one."""

    def whole(place: Place, parts: Parts, nameless: Parts) -> Parts:
        result = dict(parts)
        for name, options in nameless.items():
            spec = specs[name]
            of_kind = parts.get(spec.kind) or {"name": PLACES[place](spec)}
            below = {"name": of_kind} if isinstance(of_kind, str) else of_kind
            result[name] = {**(_at(chosen, place).get(name) or below), **options}
        return result

    return _with_parts(settings, whole)


def _with_parts(
    settings: Mapping[str, Any], change: Callable[[Place, Parts, Parts], Parts]
) -> dict[str, Any]:
    """The settings with other parts wherever some have no name; `change` gets all, and those without."""
    result = dict(settings)
    for place in PLACES:
        parts = _at(result, place)
        nameless = {
            key: part for key, part in parts.items() if isinstance(part, Mapping) and "name" not in part
        }
        if nameless:
            result = _with(result, place, change(place, parts, nameless))
    return result


def _but(parts: Parts, others: Parts) -> dict[str, Any]:
    return {key: part for key, part in parts.items() if key not in others}


def _at(settings: Mapping[str, Any], place: tuple[str, ...]) -> Mapping[str, Any]:
    here: Any = settings
    for key in place:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def _with(settings: Mapping[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    key, *rest = place
    return {**settings, key: _with(settings[key], tuple(rest), value) if rest else value}
