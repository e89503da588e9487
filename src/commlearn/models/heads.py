"""Heads and temperatures: the parts between an embedding and its loss, which no probe sees."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from commlearn.batch import Subset, subset_name
from commlearn.errors import ConfigurationError, unknown

TemperatureChoice = float | Literal["learned"] | dict[str, float | Literal["learned"] | dict[str, float]]
"""A number, `learned`, `{start: .., end: ..}` over the training, or a mapping from terms to any of these."""
HEAD = (512, 256)  # hidden and output features of the published head
TERMS = ("full", "single")  # names for the term of all modalities, and for the terms of single modalities


def projection_head(width: int, hidden: int = HEAD[0], out: int = HEAD[1]) -> nn.Sequential:
    """Build CoMM's head: Linear-BN-ReLU, Linear-BN-ReLU, Linear."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),  # batch norm has its own bias
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out),
    )


class Temperature(nn.Module):
    """A temperature that is constant or changes over the training along half a cosine.

    Example:
        >>> cooling = Temperature(0.5, 0.1)
        >>> [round(cooling(progress), 3) for progress in (0.0, 0.5, 1.0)]
        [0.5, 0.3, 0.1]
    """

    def __init__(self, start: float, end: float | None = None) -> None:
        super().__init__()
        self.start, self.end = start, start if end is None else end

    def forward(self, progress: float = 0.0) -> float:
        return half_cosine(self.start, self.end, progress)


class LearnedTemperature(nn.Module):
    """A temperature that is learned as a logarithm, from 0.1, and never falls below 0.01."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(0.1)))

    def forward(self, progress: float = 0.0) -> Tensor:
        return self.log.exp().clamp(min=0.01)


class TermTemperatures(nn.Module):
    """A temperature for each term of a loss: that of its name, or of `full` or `single`, or by default 0.1.

    Example:
        >>> parts, both = TermTemperatures({"full": Temperature(0.5), "a": Temperature(0.2)}), ("a", "b")
        >>> parts([both, ("a",), ("b",)], full=both)
        {('a', 'b'): 0.5, ('a',): 0.2, ('b',): 0.1}
    """

    def __init__(self, by_term: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.by_term = nn.ModuleDict(by_term)

    def forward(
        self, subsets: Iterable[Subset], full: Subset, progress: float = 0.0
    ) -> dict[Subset, float | Tensor]:
        values = {key: part(progress) for key, part in self.by_term.items()}
        kinds = {subset: "full" if subset == full else "single" * (len(subset) == 1) for subset in subsets}
        return {
            subset: values.get(subset_name(subset), values.get(kind, 0.1)) for subset, kind in kinds.items()
        }


def term_temperatures(
    temperature: nn.Module, subsets: Iterable[Subset], full: Subset, progress: float = 0.0
) -> dict[Subset, float | Tensor]:
    """Return the temperature of each subset's term after a share `progress` of the training."""
    if isinstance(temperature, TermTemperatures):
        return temperature(subsets, full, progress)
    return dict.fromkeys(subsets, temperature(progress))


def half_cosine(start: float, end: float, progress: float) -> float:
    """Return the value after a share `progress` of the training, on half a cosine from `start` to `end`."""
    return start + (end - start) * (1 - math.cos(math.pi * progress)) / 2


def temperature_of(
    choice: float | str | Mapping[str, Any], terms: Sequence[str] = TERMS, where: str = "method.temperature"
) -> nn.Module:
    """Build the temperature that a configuration describes."""
    if choice == "learned":
        return LearnedTemperature()
    if not isinstance(choice, Mapping):
        return Temperature(positive(choice, where))
    if {*choice} & {"start", "end"}:
        if {*choice} != {"start", "end"}:
            raise ConfigurationError(
                f"{where} has {', '.join(choice)}; give start and end, and nothing else."
            )
        return Temperature(*(positive(choice[key], f"{where}.{key}") for key in ("start", "end")))
    for key in choice:
        if key not in terms:
            raise ConfigurationError(f"{where}: {unknown('term', key, [*terms, 'start', 'end'])}")
    return TermTemperatures({key: temperature_of(part, (), f"{where}.{key}") for key, part in choice.items()})


def positive(value: Any, where: str) -> float:
    """Return the value as a float; refuse anything but a number above 0."""
    if not isinstance(value, int | float) or not value > 0:
        raise ConfigurationError(f"{where} is {value!r}; give a number above 0.")
    return float(value)
