"""From a schema and its table to a training: settings are the user's, else chosen from the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from commlearn.augmentations import DEFAULT_AUGMENTATION
from commlearn.config.build import pretrained_of, read_data
from commlearn.config.configuration import Experiment, experiment_from
from commlearn.config.defaults import choice_line, left_open, merged, suggest
from commlearn.config.fill import set_dotted
from commlearn.config.parts_left_open import by_modality, check_keys, completed, named_only
from commlearn.config.strength import chosen_augmentations
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.models.encoders.fixed import FIXED
from commlearn.models.encoders.own import OWN
from commlearn.records import Dataset
from commlearn.storage.places import is_remote
from commlearn.tables import schema_yaml
from commlearn.tables.schema import Schema
from commlearn.tables.streamed import StreamedRecords

__all__ = ["embeds_tokens", "experiment_for", "is_schema", "read_own"]

OF_DATA = ("validation", "test", "stream")  # settings that belong to the reader
EMBEDDING = "fused+tokens"  # of every method that can
ON_FEATURES = {"temperature": 0.3, "head": [256, 128]}  # of the same methods, if encoders read features


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
    check_keys(settings, specs)
    settings = by_modality(settings, specs)
    model, training = settings.get("model") or {}, settings.get("training") or {}
    if "model" in settings:  # an empty one, or features that are left open, state nothing
        settings["model"] = {
            key: value for key, value in model.items() if (key, value) != ("features", "auto")
        }
    chosen = suggest(data.train, training.get("epochs"), training.get("batch_size"), stated.model.features)
    chosen["model"]["encoders"] = _not_stated(chosen["model"]["encoders"], stated.model.encoders, data)
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
    settings = {**completed(settings, chosen, specs), "method": stated.method}
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


def _not_stated(chosen: Mapping[str, Any], stated: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """Parts of modalities for which none is stated by name or by kind."""
    specs = data.train.specs
    return {
        name: part for name, part in chosen.items() if name not in stated and specs[name].kind not in stated
    }
