"""Settings chosen from the data, where the user states none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from commlearn.data.records import Records

__all__ = ["merged", "said", "suggest"]

BATCH = (16, 256)  # the smallest and the largest
STEPS = (1_000, 3_000)  # the fewest and the most
LARGE = 20_000  # records from which a wider model pays


def suggest(records: Records, epochs: int | None = None, batch: int | None = None) -> dict[str, Any]:
    """Batch, epochs, width and rate for these training records.

    A batch is a power of two near a sixteenth of the records: a contrast needs company, and an epoch
    more than a few steps. Epochs are as many as take between 1 000 and 3 000 steps.

    Args:
        records: to train on.
        epochs: if they are stated, the warm-up follows them.
        batch: if it is stated, the epochs follow it.

    Example:
        >>> import numpy as np
        >>> from commlearn.data.records import VectorColumn
        >>> made = suggest(Records({"v": VectorColumn(np.zeros((1000, 4), np.float32))}))
        >>> made["training"]["batch_size"], made["training"]["epochs"], made["model"]["width"]
        (64, 67, 128)
    """
    count = len(records)
    if not batch or batch < 1:
        near = 2 ** round(math.log2(max(count / 16, 1)))
        batch = min(max(near, BATCH[0]), BATCH[1], max(count, 2))
    steps = max(count // batch, 1)  # an epoch
    epochs = epochs or max(1, round(min(max(20 * steps, STEPS[0]), STEPS[1]) / steps))
    return {
        "model": {"width": 256 if count > LARGE else 128},
        "training": {
            "epochs": epochs,
            "batch_size": batch,
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "warmup_epochs": round(0.05 * epochs, 3),
        },
    }


def said(settings: Mapping[str, Any], records: Records) -> str:
    """The choice in one line."""
    parts = [
        f"{section}.{key} {value:g}" if isinstance(value, float) else f"{section}.{key} {value}"
        for section, values in settings.items()
        for key, value in values.items()
    ]
    return f"chosen for {len(records)} training records: {', '.join(parts)}"


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings; those above win.

    Example:
        >>> merged({"training": {"epochs": 5, "threads": 1}}, {"training": {"epochs": 2}})
        {'training': {'epochs': 2, 'threads': 1}}
    """
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result
