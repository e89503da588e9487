"""What modalities learned from training rows, checked when it is read again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from commlearn.errors import ConfigurationError

__all__ = ["check_learned"]

DIVISORS = ("scale", "std")  # keys of numbers that values are divided by


def check_learned(state: Mapping[str, Any] | None, where: str = "preprocessing") -> None:
    """Refuse numbers that would make every record infinite or NaN.

    Args:
        state: what each modality learned, as plain values.
        where: what to call it.

    Example:
        >>> check_learned({"labs": {"mean": [0.5], "scale": [0.0]}})
        Traceback (most recent call last):
        commlearn.errors.ConfigurationError: preprocessing.labs.scale.0 is 0.0; it should be above 0.
    """
    if state is not None:
        _check(state, where, divisor=False)


def _check(value: Any, where: str, divisor: bool) -> None:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check(entry, f"{where}.{key}", key in DIVISORS)
    elif isinstance(value, list | tuple):
        for place, entry in enumerate(value):
            _check(entry, f"{where}.{place}", divisor)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"{where} is {value}; it should be a finite number.")
    elif divisor and isinstance(value, int | float) and not value > 0:
        raise ConfigurationError(f"{where} is {value}; it should be above 0.")
