"""The exact parts in `benchmarks/interaction_truths.py`, checked by sampling instead of integrating."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

PATH = Path(__file__).parents[2] / "benchmarks" / "interaction_truths.py"
SPEC = importlib.util.spec_from_file_location("interaction_truths", PATH)
truths = importlib.util.module_from_spec(SPEC)
sys.modules["interaction_truths"] = truths  # dataclasses look up their module
SPEC.loader.exec_module(truths)

DRAWN = 200_000
TABLED = [kind for kind in truths.all_kinds() if not kind.name.startswith("matching of vectors")]


def counted(kind, cells):
    """Estimate p[x_1, ..., y] by counting drawn latents, with numbers cut into equally frequent cells."""
    values, target = kind.latents(DRAWN, np.random.default_rng(3))
    codes = []
    for value in values:
        if value.dtype.kind == "f":
            value = np.searchsorted(np.quantile(value, np.arange(1, cells) / cells), value)
        codes.append(value)
    sizes = [int(code.max()) + 1 for code in [*codes, target]]
    table = np.zeros(sizes)
    np.add.at(table, (*codes, target), 1 / DRAWN)
    return table


@pytest.mark.parametrize("kind", TABLED, ids=lambda kind: kind.name)
def test_exact_parts_are_those_of_counted_latents(kind):
    drawn, exact = truths.parts_of_table(counted(kind, 32)), kind.parts()
    assert drawn == pytest.approx(exact, abs=0.02)


def test_matching_vectors_agree_with_the_mean_log_likelihood_ratio():
    kind = next(kind for kind in truths.all_kinds() if kind.name == "matching of vectors")
    (first, second), target = kind.latents(DRAWN, np.random.default_rng(4))
    alike = 0.95
    both = np.stack([first, second], axis=2)  # (records, dimensions, 2)
    ratio = sum(
        multivariate_normal([0, 0], [[1, alike], [alike, 1]]).logpdf(both[:, place])
        - multivariate_normal([0, 0], np.eye(2)).logpdf(both[:, place])
        for place in range(first.shape[1])
    )
    chance = 1 / (1 + np.exp(-np.where(target == 1, ratio, -ratio)))  # probability of the true target
    parts = kind.parts()
    assert parts["synergistic"] == pytest.approx(1 + np.log2(chance).mean(), abs=0.004)
    assert [parts[name] for name in ("redundant", "unique1", "unique2")] == pytest.approx([0, 0, 0], abs=1e-6)


def test_what_is_shown_holds_what_the_latent_holds():
    """If clouds overlapped, or the wrong columns were summed, the exact parts would be too large."""
    draw = np.random.default_rng(5)
    values = draw.integers(0, 5, 4000)
    shown = truths.clouds(12, 5)(values, np.random.default_rng(6))
    centres = np.stack([shown[values == value].mean(axis=0) for value in range(5)])
    nearest = ((shown[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == values).all()
    number = draw.normal(size=4000)
    columns = truths.sparse(50, 3)(number, np.random.default_rng(7))
    weights = np.linalg.lstsq(columns, number, rcond=None)[0]
    assert columns @ weights == pytest.approx(number, abs=1e-6)
    assert np.count_nonzero(np.abs(weights) > 1e-6) == 3
    assert columns.std(axis=0) == pytest.approx(np.ones(50), abs=0.1)  # no column stands out by its scale


def test_kinds_are_divided_into_those_for_tuning_and_others():
    tuning, held_out = truths.tuning_kinds(), truths.held_out_kinds()
    assert len(tuning) >= 8
    assert len(held_out) >= 12
    assert len({kind.name for kind in [*tuning, *held_out]}) == len(tuning) + len(held_out)
