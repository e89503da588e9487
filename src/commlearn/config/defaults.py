"""Settings that are chosen from the data if the user states none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from commlearn.records import Records
from commlearn.tables.streamed import StreamedRecords

BATCH = (16, 256)  # smallest and largest batch
BATCH_ON_FEATURES = 128  # largest batch if encoders read fixed features
STEPS = (300, 2_000)  # fewest and most steps
PASSES = 12  # epochs, if the number of steps stays between these two
PASSES_ON_FEATURES = 8
LARGE = 20_000  # records above which a wider model pays off, and learned features suffice
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
        features: what encoders read; "auto" decides by the number of records and whether they are streamed.

    Example:
        >>> import numpy as np
        >>> from commlearn.records import VectorColumn
        >>> settings = suggest(Records({"v": VectorColumn(np.zeros((1000, 4), np.float32))}))
        >>> settings["training"]["batch_size"], settings["training"]["epochs"], settings["model"]["width"]
        (64, 20, 128)
    """
    count = len(records)
    if features == "auto":
        features = "fixed" if count <= LARGE and not isinstance(records, StreamedRecords) else "learned"
    largest, passes = (BATCH_ON_FEATURES, PASSES_ON_FEATURES) if features == "fixed" else (BATCH[1], PASSES)
    if not batch or batch < 1:
        power = 2 ** round(math.log2(max(count / 16, 1)))
        batch = min(max(power, BATCH[0]), largest, max(count, 2))
    steps = max(count // batch, 1)  # per epoch
    epochs = epochs or max(1, round(min(max(passes * steps, STEPS[0]), STEPS[1]) / steps))
    return {
        "model": {
            "width": 256 if count > LARGE else 128,
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


def choice_line(settings: Mapping[str, Any], records: Records) -> str:
    """Describe chosen settings in one line.

    Example:
        >>> import numpy as np
        >>> from commlearn.records import VectorColumn
        >>> records = Records({"v": VectorColumn(np.zeros((9, 4), np.float32))})
        >>> settings = {"training": {"epochs": 5}, "augmentations": {"v": {"name": "vector", "std": 0.1}}}
        >>> choice_line(settings, records)
        'chosen for 9 training records: training.epochs 5, augmentations.v vector (std=0.1)'
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
    for key, value in settings.items():
        if isinstance(value, Mapping) and "name" not in value:
            parts += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Mapping):  # a part: its name and options
            options = " ".join(
                f"{option}={_short(setting)}" for option, setting in value.items() if option != "name"
            )
            parts.append(f"{prefix}{key} {value['name']}{f' ({options})' if options else ''}")
        else:
            parts.append(f"{prefix}{key} {_short(value)}")
    return parts


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(_short(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _encoders(records: Records) -> dict[str, dict[str, Any]]:
    """Choose one-layer text encoders for few records: two layers are slower and learn no more from these."""
    if len(records) > SMALL:
        return {}
    small = {"name": "text", "hidden": 96, "layers": 1}
    texts = [name for name, spec in records.specs.items() if spec.kind == "text" and len(spec.shape) == 1]
    return {name: dict(small) for name in texts}  # texts of a pretrained tokenizer have another encoder


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested settings; those of `above` win. An empty section states nothing.

    Example:
        >>> merged({"training": {"epochs": 5, "threads": 1}}, {"training": {"epochs": 2}})
        {'training': {'epochs': 2, 'threads': 1}}
        >>> merged({"training": {"epochs": 5}}, {"training": None})
        {'training': {'epochs': 5}}
    """
    result = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping | None) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value or {}) if nested else value
    return result
