"""From a schema and its table to a training: settings are the user's, or chosen from the data.

A part is an augmentation or an encoder, stated for one modality or for all of a kind. Without a name, as in
`augmentations: {photo: {flip: 0}}`, it is the part that would have been chosen anyway, with these options.

`suggest` chooses sizes, encoders and the length of the training from the records, `chosen_augmentations` how
strongly to augment them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch

from commlearn.augmentations import AUGMENTATIONS, DEFAULT_AUGMENTATION, Augmentation
from commlearn.augmentations.tabular import MISSING
from commlearn.batch import Modality, Spec
from commlearn.config.build import pretrained_of, read_data
from commlearn.config.configuration import Experiment, experiment_from
from commlearn.config.fill import merged, set_dotted
from commlearn.errors import ConfigurationError, Problems, unknown
from commlearn.kinds.rows import evenly_spaced
from commlearn.methods import METHODS
from commlearn.models.build import part_of, part_of_kind
from commlearn.models.encoders import default_encoder
from commlearn.models.encoders.own import OWN
from commlearn.models.encoders.tabular import FIXED
from commlearn.records import Column, Dataset, Records
from commlearn.storage.places import is_remote
from commlearn.tables import schema_yaml
from commlearn.tables.schema import Schema
from commlearn.tables.signal import CODES, quick_features
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
        method: method to use instead of the schema's, whose options then do not carry over.
    """
    values, location = schema_yaml.load(Path(path))
    schema = Schema.from_mapping(values, location)
    if table is None:
        if not values.get("table"):
            raise ConfigurationError(
                f"{path} does not say where its table is. Add `table: PATH`, or give table=."
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
    stated = settings["method"]
    if method is not None and (stated.get("name") if isinstance(stated, Mapping) else stated) != method:
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
    if defaults["model"]["features"] == "fixed":
        on_features = _feature_modalities(data, encoders, augmentations)
    defaults["model"]["encoders"] |= {name: {"name": FIXED} for name in on_features}
    if embeds_tokens(draft.method["name"]):
        defaults["method"] = {"name": draft.method["name"], "embedding": EMBEDDING}
        if on_features:
            defaults["method"] |= ON_FEATURES
    defaults["augmentations"] = {}
    if METHODS[draft.method["name"]].views.augmented:
        comparable = len(data.train) <= LARGE and not isinstance(data.train, StreamedRecords)
        defaults["training"]["stand_ins"] = len(on_features) == len(specs) > 1 and comparable
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


BATCH = (16, 256)  # smallest and largest batch
BATCH_ON_FEATURES = 128  # largest batch if encoders read fixed features
STEPS = (300, 2_000)  # fewest and most steps
PASSES = 12  # epochs, if the number of steps stays between these two
PASSES_ON_FEATURES = 8
LARGE = 20_000  # records above which a model is wider, and not every record is compared with every other
SMALL = 5_000  # records up to which text encoders have one layer


def suggest(
    records: Records, epochs: int | None = None, batch: int | None = None, features: str = "auto"
) -> dict[str, Any]:
    """Choose batch size, epochs, width, learning rate, encoders and features for these training records.

    A batch is a power of two near a sixteenth of the records: a contrast needs many negatives, and an epoch
    needs more than a few steps. The number of epochs is chosen to take between 300 and 2 000 steps.

    Args:
        records: training records.
        epochs: number of epochs, if stated; the warm-up follows it.
        batch: batch size, if stated; the epochs follow it.
        features: what encoders read; "auto" is "fixed" unless the records are streamed.

    Example:
        >>> import numpy as np
        >>> from commlearn.records import VectorColumn
        >>> settings = suggest(Records({"v": VectorColumn(np.zeros((1000, 4), np.float32))}))
        >>> settings["training"]["batch_size"], settings["training"]["epochs"], settings["model"]["width"]
        (64, 20, 128)
    """
    count = len(records)
    if features == "auto":
        features = "learned" if isinstance(records, StreamedRecords) else "fixed"
    largest, passes = (BATCH_ON_FEATURES, PASSES_ON_FEATURES) if features == "fixed" else (BATCH[1], PASSES)
    if not batch or batch < 1:
        power = 2 ** round(math.log2(max(count / 16, 1)))
        batch = min(max(power, BATCH[0]), largest, max(count, 2))
    steps = max(count // batch, 1)  # per epoch
    epochs = epochs or max(1, round(min(max(passes * steps, STEPS[0]), STEPS[1]) / steps))
    return {
        "model": {
            "width": 256 if count > LARGE and features == "learned" else 128,
            "encoders": _encoders(records),
            "features": features,
        },
        "training": {
            "epochs": epochs,
            "batch_size": batch,
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "warmup_epochs": round(0.05 * epochs, 3),
        },
    }


def _encoders(records: Records) -> dict[str, dict[str, Any]]:
    """Choose one-layer text encoders for few records: two layers are slower and learn no more from these."""
    if len(records) > SMALL:
        return {}
    small = {"name": "text", "hidden": 96, "layers": 1}
    texts = [name for name, spec in records.specs.items() if spec.kind == "text" and len(spec.shape) == 1]
    return {name: dict(small) for name in texts}  # texts of a pretrained tokenizer have another encoder


def choice_line(settings: Mapping[str, Any], records: Records) -> str:
    """Describe chosen settings in one line.

    Example:
        >>> import numpy as np
        >>> from commlearn.records import VectorColumn
        >>> records = Records({"v": VectorColumn(np.zeros((9, 4), np.float32))})
        >>> settings = {"training": {"epochs": 5}, "augmentations": {"v": {"name": "vector", "std": 0.1}}}
        >>> choice_line(settings, records)
        'chosen for 9 training records: training.epochs 5, augmentations.v vector (std=0.1)'
        >>> choice_line({"model": {"encoders": {"v": "fixed", "w": "fixed"}}}, records)
        'chosen for 9 training records: model.encoders.{v,w} fixed'
    """
    return f"chosen for {len(records)} training records: {', '.join(_flat(settings))}"


def left_open(chosen: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were chosen and not stated.

    Example:
        >>> left_open({"training": {"epochs": 5, "threads": 1}, "seed": 1}, {"training": {"epochs": 2}})
        {'training': {'threads': 1}, 'seed': 1}
    """
    result: dict[str, Any] = {}
    for key, value in chosen.items():
        if isinstance(value, Mapping) and isinstance(stated.get(key), Mapping | None):
            value = left_open(value, stated.get(key) or {})
        elif key in stated:
            continue
        if value != {}:
            result[key] = value
    return result


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    parts: list[str] = []
    alike: dict[str, list[str]] = {}  # names of modalities, by what was chosen for them
    for key, value in settings.items():
        if isinstance(value, Mapping) and "name" not in value:
            parts += _flat(value, f"{prefix}{key}.")
            continue
        words = _short(value)
        if isinstance(value, Mapping):  # a part: its name and options
            options = " ".join(f"{name}={_short(option)}" for name, option in value.items() if name != "name")
            words = f"{value['name']}{f' ({options})' if options else ''}"
        if prefix in ("model.encoders.", "augmentations."):
            alike.setdefault(words, []).append(str(key))
        else:
            parts.append(f"{prefix}{key} {words}")
    for words, names in alike.items():
        parts.append(f"{prefix}{names[0] if len(names) == 1 else '{' + ','.join(names) + '}'} {words}")
    return parts


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(_short(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


SAMPLE = 256  # records that are compared to choose the strength of an augmentation
ENOUGH = 0.5  # share of them that must be recognised
OF_FEATURES = {"name": "vector", "std": 0.0, "drop": 0.0, "swap": 0.3}
LADDERS: dict[str, tuple[dict[str, Any], ...]] = {
    "image": (
        {"name": "simclr"},
        {"name": "simclr", "scale": [0.25, 1.0], "greyscale": 0.1},
        {"name": "simclr", "scale": [0.4, 1.0], "hue": 0.05, "greyscale": 0.0, "blur": 0.3},
        {
            "name": "simclr",
            "scale": [0.6, 1.0],
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.2,
            "hue": 0.02,
            "greyscale": 0.0,
            "blur": 0.2,
        },
    ),
    "tabular": (
        {"name": "tabular", "std": 0.3, "mask": 0.4},
        {"name": "tabular"},
        {"name": "tabular", "std": 0.05, "mask": 0.1},
    ),
    "vector": (
        {"name": "vector", "std": 0.3, "drop": 0.2},
        {"name": "vector"},
        {"name": "vector", "std": 0.05, "drop": 0.1},
    ),
}
"""Augmentations by kind, the strongest first; the last is used if no other leaves records recognisable."""


def chosen_augmentations(
    records: Records, stated: Mapping[str, Any], on_features: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Choose augmentations that are not stated, for encoders on fixed features and kinds with a ladder.

    An augmentation should change a record as much as possible but leave it recognisable. So each modality
    gets the strongest of a few strengths at which at least half of the augmented records still look more
    like their own original than like any other, by the features that the augmentation left. This needs no
    labels.
    """
    result = {}
    for name, column in records.columns.items():
        if part_of(stated, name, records.specs):
            continue
        if name in on_features:
            result[name] = dict(OF_FEATURES)
        elif column.spec.kind in LADDERS:
            result[name] = dict(_strongest(column))
    return result


def recognised(column: Column, augmentation: Augmentation) -> float:
    """Return the share of a sample of records that, once augmented, still look most like themselves.

    Example:
        >>> from commlearn.augmentations import VectorAugmentation
        >>> from commlearn.records import VectorColumn
        >>> column = VectorColumn(np.random.default_rng(0).normal(size=(50, 20)).astype("float32"))
        >>> recognised(column, VectorAugmentation(std=0.01, drop=0.0))
        1.0
    """
    clean = column.take(np.array(evenly_spaced(len(column), SAMPLE)))
    changed = augmentation(clean, torch.Generator().manual_seed(0), column.spec)
    present = slice(None) if clean.present is None else clean.present
    remaining = _remaining_features(changed, column)[present].double()  # (present, features)
    augmented, originals = _features(changed, column)[present] * remaining, _features(clean, column)[present]
    if not len(augmented):
        return 1.0
    square = (
        augmented.square().sum(dim=1, keepdim=True)
        - 2 * augmented @ originals.T
        + remaining @ originals.square().T
    )
    return float((square.diagonal() <= square.amin(dim=1) + 1e-6).double().mean())  # ties count as recognised


def _strongest(column: Column) -> dict[str, Any]:
    """Return the strongest augmentation of the kind's ladder that leaves records recognisable."""
    *stronger, weakest = LADDERS[column.spec.kind]
    for part in stronger:
        options = {key: value for key, value in part.items() if key != "name"}
        if recognised(column, AUGMENTATIONS[part["name"]](**options)) >= ENOUGH:
            return part
    return weakest


def _remaining_features(changed: Modality, column: Column) -> torch.Tensor:
    """Return which features the augmentation left, (batch, features); dropped ones are not compared."""
    features = _features(changed, column)
    if column.spec.kind == "vector":
        return features != 0
    if column.spec.kind == "tabular":
        count = column.spec.shape[0]
        numbers, codes = changed.values[:, :count], changed.values[:, count:]
        return torch.cat([~numbers.isnan(), (codes != MISSING).repeat_interleave(CODES, dim=1)], dim=1)
    return torch.ones_like(features, dtype=torch.bool)


def _features(modality: Modality, column: Column) -> torch.Tensor:
    if modality.values.dtype == torch.uint8:  # augmented images are floats in 0..1
        modality = modality.with_values(modality.values.float() / 255)
    return quick_features(modality, column.spec).double()
