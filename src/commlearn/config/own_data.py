"""From a schema and its table to a training: settings are the user's, or chosen from the data.

A part is an augmentation or an encoder, stated for one modality or for all of a kind. Without a name, as in
`augmentations: {photo: {flip: 0}}`, it is the part that would have been chosen anyway, with these options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from commlearn.augmentations import DEFAULT_AUGMENTATION
from commlearn.batch import Spec
from commlearn.config.build import pretrained_of, read_data
from commlearn.config.configuration import Experiment, experiment_from
from commlearn.config.defaults import LARGE, choice_line, left_open, merged, suggest
from commlearn.config.fill import set_dotted
from commlearn.config.strength import chosen_augmentations
from commlearn.errors import ConfigurationError, Problems, unknown
from commlearn.methods import METHODS
from commlearn.models.build import part_of, part_of_kind
from commlearn.models.encoders import default_encoder
from commlearn.models.encoders.own import OWN
from commlearn.models.encoders.tabular import FIXED
from commlearn.records import Dataset
from commlearn.storage.places import is_remote
from commlearn.tables import schema_yaml
from commlearn.tables.schema import Schema
from commlearn.tables.streamed import StreamedRecords

OF_DATA = ("validation", "test", "stream")  # settings that belong to the reader
EMBEDDING = "fused+tokens"  # of every method that supports it
ON_FEATURES = {"temperature": 0.3, "head": [256, 128]}  # options of these methods if encoders read features
Parts = Mapping[str, Any]
"""Stated encoders or augmentations, by modality or by kind."""


def is_schema(path: str | Path) -> bool:
    """Whether a YAML file is a schema: it names modalities, which no recipe does."""
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
    """Return what to train, the records to train on, and a line on the settings chosen from them.

    Args:
        path: path of a schema, which may also state its table (relative to itself) and training settings.
        table: table to use instead of the schema's.
        overrides: dotted key to value, such as {"training.epochs": 20}.
        method: method to use instead of the schema's.
    """
    values, location = schema_yaml.load(Path(path))
    schema = Schema.from_mapping(values, location)
    if table is None:
        if not values.get("table"):
            raise ConfigurationError(
                f"{path} does not say where its table is. Add `table: PATH`, or give --table."
            )
        table = str(values["table"])
        table = table if is_remote(table) else Path(path).parent / table
    location = str(table) if is_remote(table) else str(Path(table).resolve())
    data = {"name": "table", "table": location, "schema": schema.to_mapping()}
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
    """Choose from the records what settings leave open; return the experiment and a line on the choice."""
    settings = _with_own_modules(settings)
    draft = experiment_from(named_only(settings))  # reports wrong settings before any choice
    specs = data.train.specs
    model, training = dict(settings.get("model") or {}), settings.get("training") or {}
    encoders, augmentations = model.get("encoders", {}), settings.get("augmentations", {})
    _check_keys({"augmentations": augmentations, "model.encoders": encoders}, specs)
    encoders, augmentations = by_modality(encoders, specs), by_modality(augmentations, specs)
    defaults = suggest(data.train, training.get("epochs"), training.get("batch_size"), draft.model.features)
    defaults["model"]["encoders"] = {
        name: part
        for name, part in defaults["model"]["encoders"].items()
        if not part_of(draft.model.encoders, name, specs)
    }
    on_features = []
    if defaults["model"]["features"] == "fixed" and not isinstance(data.train, StreamedRecords):
        on_features = _feature_modalities(data, encoders, augmentations)
    defaults["model"]["encoders"] |= {name: {"name": FIXED} for name in on_features}
    if embeds_tokens(draft.method["name"]):
        defaults["method"] = {"name": draft.method["name"], "embedding": EMBEDDING}
        if on_features:
            defaults["method"] |= ON_FEATURES
    defaults["augmentations"] = {}
    if METHODS[draft.method["name"]].views.augmented:
        small = len(data.train) <= LARGE  # stand-ins compare every record with every other
        defaults["training"]["stand_ins"] = len(on_features) == len(specs) > 1 and small
        defaults["augmentations"] = chosen_augmentations(data.fit, draft.augmentations, on_features)
    if model.get("features") == "auto":  # "auto" states nothing
        del model["features"]
    settings = {**settings, "method": draft.method, "augmentations": augmentations}
    settings["model"] = {**model, "encoders": encoders}
    open_settings = left_open(defaults, settings) | _sizes_of_images(settings, data)
    settings["model"]["encoders"] = _complete(encoders, defaults["model"]["encoders"], specs, default_encoder)
    settings["augmentations"] = _complete(
        augmentations, defaults["augmentations"], specs, lambda spec: DEFAULT_AUGMENTATION[spec.kind]
    )
    experiment = experiment_from(merged(defaults, settings))
    return experiment, choice_line(open_settings, data.train) if open_settings else ""


def _with_own_modules(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the settings the encoders that the schema declares to be the user's own modules."""
    modalities = settings["data"].get("schema", {}).get("modalities", {})
    own_encoders = {name: {"name": OWN} for name, part in modalities.items() if part.get("encoder") == OWN}
    model = dict(settings.get("model") or {})
    extended_model = {**model, "encoders": own_encoders | (model.get("encoders") or {})}
    return {**settings, "model": extended_model} if own_encoders else dict(settings)


def _feature_modalities(data: Dataset, encoders: Parts, augmentations: Parts) -> list[str]:
    """Return the modalities whose encoders read fixed features: all for which nothing else is stated.

    A stated encoder, a pretrained one, or an augmentation of pictures, texts or series needs their values.
    """
    names, specs = [], data.train.specs
    for name, spec in specs.items():
        part = part_of(augmentations, name, specs) or {"name": "none"}
        augmentation = part if isinstance(part, str) else part.get("name", DEFAULT_AUGMENTATION[spec.kind])
        unconstrained = name not in pretrained_of(data.state) and not part_of(encoders, name, specs)
        if unconstrained and augmentation in ("none", "noise", "vector"):
            names.append(name)
    return names


def embeds_tokens(method: str) -> bool:
    """Whether a method can embed the mean token of each modality in addition to the fused vector.

    Example:
        >>> embeds_tokens("comm"), embeds_tokens("clip")
        (True, False)
    """
    return EMBEDDING in get_args(get_type_hints(METHODS[method].build).get("embedding"))


def _sizes_of_images(settings: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """Return the sizes of images that the schema leaves open, in the form in which it would state them."""
    modalities = settings["data"].get("schema", {}).get("modalities", {})
    sizes = {
        name: {"size": spec.shape[-1]}
        for name, spec in data.train.specs.items()
        if spec.kind == "image" and not {"size", "encoder"} & set(modalities.get(name, ()))
    }
    return {"modalities": sizes} if sizes else {}


def named_only(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without the parts that have no name.

    Example:
        >>> named_only({"seed": 1, "augmentations": {"a": {"flip": 0}, "b": {"name": "none"}, "c": "text"}})
        {'seed': 1, 'augmentations': {'b': {'name': 'none'}, 'c': 'text'}}
    """
    result, model = dict(settings), settings.get("model")
    if "augmentations" in settings:
        result["augmentations"] = _named(settings["augmentations"])
    if isinstance(model, Mapping) and "encoders" in model:
        result["model"] = {**model, "encoders": _named(model["encoders"])}
    return result


def _named(parts: Any) -> Any:
    if not isinstance(parts, Mapping):
        return parts  # refused when it is read
    return {key: part for key, part in parts.items() if not isinstance(part, Mapping) or "name" in part}


def _check_keys(sections: Mapping[str, Parts], specs: Mapping[str, Spec]) -> None:
    """Refuse parts for modalities that the data do not have, or for unknown kinds."""
    problems, kinds = Problems("Configuration"), {spec.kind for spec in specs.values()}
    for section, parts in sections.items():
        for key in parts:
            if key not in specs and key not in DEFAULT_AUGMENTATION:
                problems.add(f"{section}: {unknown('modality or kind', key, {*specs, *kinds})}")
    problems.raise_if_any(ConfigurationError)


def by_modality(parts: Parts, specs: Mapping[str, Spec]) -> dict[str, Any]:
    """Return the parts, with options that are stated for a kind copied to each of its modalities.

    Example:
        >>> by_modality({"image": {"flip": 0}}, {"photo": Spec("image", (3, 8, 8))})
        {'photo': {'flip': 0}}
    """
    result = _named(parts)
    nameless = {key: part for key, part in parts.items() if key not in result}
    for name in specs:
        options = {**(part_of_kind(nameless, name, specs) or {}), **nameless.get(name, {})}
        if options and name not in result:
            result[name] = options
    return result


def _complete(
    parts: Parts, defaults: Parts, specs: Mapping[str, Spec], fallback: Callable[[Spec], str]
) -> dict[str, Any]:
    """Give every part a name: for options alone, that of the default part, their kind's or the fallback."""
    result = _named(parts)
    for name in [name for name in parts if name not in result]:
        base = defaults.get(name) or part_of_kind(result, name, specs) or fallback(specs[name])
        result[name] = {**({"name": base} if isinstance(base, str) else base), **parts[name]}
    return result
