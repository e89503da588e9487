"""Settings to try: a grid, or seeded draws from ranges; the same for every method."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from commlearn.errors import ConfigurationError
from commlearn.seeds import numpy_generator
from commlearn.storage.plain_yaml import read_yaml

Setting = dict[str, Any]
"""Dotted key to value; an empty one is the recipe as it stands."""
LOGARITHMIC = 4  # a range of positive numbers whose end is so many times its beginning is drawn on this scale
TRIES = 100  # draws for each setting; whole numbers of a short range come again and again

Values = list[Any] | tuple[float, float] | tuple[int, int]
"""Values to choose from, or the ends of a range."""


def values_of(key: str, stated: str | Sequence[Any]) -> Values:
    """Values with commas between them, or the range `a..b`.

    Example:
        >>> values_of("method.temperature", ".1,.3"), values_of("training.epochs", "4..20")
        ([0.1, 0.3], (4, 20))
    """
    if not isinstance(stated, str):
        values = list(stated)
    elif ".." in stated:
        return _range(key, stated)
    else:
        values = read_yaml(f"[{stated}]", f"--over {key}={stated}")
    if not values:
        raise ConfigurationError(f"--over {key} has no values; give some (.1,.3,1) or a range (.05..1).")
    return values


def settings_to_try(
    over: Mapping[str, Values], budget: int | None, seed: int, default: bool = True
) -> list[Setting]:
    """The recipe as it stands, and further settings: all of a grid if the budget allows, else draws of it.

    Args:
        over: by dotted key; with any range, settings are drawn at random.
        budget: how many settings, the recipe's own one included; all of a grid if not given.
        seed: of the draws; a larger budget begins with the draws of a smaller one.
        default: begin with the recipe as it stands.

    Example:
        >>> settings_to_try({"method.temperature": [0.1, 0.3]}, None, 0)
        [{}, {'method.temperature': 0.1}, {'method.temperature': 0.3}]
        >>> drawn = settings_to_try({"method.temperature": (0.05, 1.0)}, 3, 0)
        >>> len(drawn), all(0.05 <= setting["method.temperature"] <= 1 for setting in drawn[1:])
        (3, True)
    """
    settings: list[Setting] = [{}] if default else []
    grid = [values for values in over.values() if isinstance(values, list)]
    whole = len(grid) == len(over)
    size = math.prod(len(values) for values in grid)
    if budget is None and not whole:
        raise ConfigurationError("A range has no end of settings; give --budget, how many are to be tried.")
    if budget is not None and budget < 1:
        raise ConfigurationError(f"--budget is {budget}; give how many settings are tried, 1 or more.")
    if not over:
        return settings
    if whole and (budget is None or size + len(settings) <= budget):
        return settings + [dict(zip(over, values, strict=True)) for values in itertools.product(*grid)]
    most = budget or 0
    draw = numpy_generator(seed, "settings to try")
    for _ in range(TRIES * most):
        if len(settings) >= most:
            break
        drawn = {key: _drawn(values, draw) for key, values in over.items()}
        if drawn not in settings:
            settings.append(drawn)
    return settings


def _range(key: str, stated: str) -> Values:
    ends = [read_yaml(end, f"--over {key}={stated}") for end in stated.split("..", 1)]
    try:
        low, high = (end if isinstance(end, int) else float(end) for end in ends)
    except (TypeError, ValueError):
        low, high = 0, 0
    if not -math.inf < low < high < math.inf:
        raise ConfigurationError(
            f"--over {key}={stated} is no range; give two numbers, the lower first (.05..1), or "
            "values (.1,.3,1)."
        )
    return (low, high)


def _drawn(values: Values, draw: np.random.Generator) -> Any:
    """One of the values, or a number of the range: on a logarithmic scale if it is wide."""
    if isinstance(values, list):
        return values[int(draw.integers(len(values)))]
    low, high = values
    logarithmic = low > 0 and high / low >= LOGARITHMIC
    if isinstance(low, int) and isinstance(high, int):
        number = math.exp(draw.uniform(math.log(low), math.log(high + 1))) if logarithmic else None
        return int(draw.integers(low, high + 1)) if number is None else min(int(number), high)
    number = math.exp(draw.uniform(math.log(low), math.log(high))) if logarithmic else draw.uniform(low, high)
    return float(f"{number:.3g}")
