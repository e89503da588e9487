"""Simple baselines by name: what one would do without learning a representation, a floor and a ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from commlearn.comparison.baselines.base import Baseline, Given
from commlearn.comparison.baselines.linear import cca, pca
from commlearn.comparison.baselines.networks import random_network, supervised
from commlearn.comparison.baselines.raw import raw
from commlearn.errors import ConfigurationError, unknown

__all__ = ["BASELINES", "Baseline", "Given", "find_baseline", "single_names"]

SINGLE = "raw:"

BASELINES: dict[str, Baseline] = {
    "raw": Baseline("features of all modalities, side by side", raw),
    "pca": Baseline("principal components of the raw features", pca),
    "cca": Baseline("what raw features of the modalities have in common, linearly", cca),
    "random": Baseline("CoMM's network without training: the floor", random_network, drawn=True),
    "supervised": Baseline(
        "CoMM's network trained on the target's labels: a ceiling", supervised, drawn=True, labels=True
    ),
}
"""Beside these, `raw:NAME` is one modality alone, and `single` stands for each of them."""


def single_names(modalities: Sequence[str]) -> list[str]:
    """The baselines of single modalities.

    Example:
        >>> single_names(["image", "text"])
        ['raw:image', 'raw:text']
    """
    return [SINGLE + name for name in modalities]


def find_baseline(name: str, modalities: Sequence[str]) -> Baseline | None:
    """The baseline of this name; None if it is none."""
    if not name.startswith(SINGLE):
        return BASELINES.get(name)
    modality = name.removeprefix(SINGLE)
    if modality not in modalities:
        raise ConfigurationError(unknown("baseline", name, single_names(modalities)))
    return replace(
        BASELINES["raw"], about=f"features of {modality} alone", make=partial(raw, names=[modality])
    )
