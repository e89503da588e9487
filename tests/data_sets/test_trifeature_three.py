"""Three vectors with known atoms: true values are counted over all combinations of the factors."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest

from commlearn.datasets.trifeature import FACTORS, MODALITIES, SHOWN, TrifeatureThree
from commlearn.errors import ConfigurationError
from commlearn.probes.probe import Vectors, probe_vectors

LEVELS = 4
SUBSETS = [names for count in (1, 2, 3) for names in combinations(MODALITIES, count)]
BITS = np.log2(LEVELS)
MATCH = -(np.log2(1 / LEVELS) / LEVELS + np.log2(1 - 1 / LEVELS) * (1 - 1 / LEVELS))  # entropy of a synergy
SOURCES = {  # the smallest subsets that determine each target
    "shared": [("vector1",), ("vector2",), ("vector3",)],
    "shared12": [("vector1",), ("vector2",)],
    "unique1": [("vector1",)],
    "unique2": [("vector2",)],
    "unique3": [("vector3",)],
    "synergy13": [("vector1", "vector3")],
    "synergy123": [MODALITIES],
}


def entropy(*columns):
    counts = np.unique(np.stack(columns), axis=1, return_counts=True)[1] / len(columns[0])
    return float(-(counts * np.log2(counts)).sum())


def information(target, *columns):
    return entropy(target) + entropy(*columns) - entropy(target, *columns)


@cache
def every_combination(pairs):
    """Return each combination of factors that occurs in a variant, once, and the targets of all."""
    reader = TrifeatureThree(levels=LEVELS, pairs=pairs)
    grid = np.indices([LEVELS] * len(FACTORS)).reshape(len(FACTORS), -1)
    targets = reader.targets(dict(zip(FACTORS, grid, strict=True)))
    occurs = {"all": slice(None), "mapped": targets["synergy13"] == 1, "square": targets["synergy123"] == 1}
    factors = dict(zip(FACTORS, grid[:, occurs[pairs]], strict=True))
    return factors, reader.targets(factors)


def shown(factors, names):
    return [factors[name] for name in dict.fromkeys(part for one in names for part in SHOWN[one])]


@pytest.mark.parametrize("target", list(SOURCES))
@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_a_target_is_known_to_its_sources_and_to_no_smaller_subset(target, names):
    factors, targets = every_combination("all")
    whole = MATCH if target.startswith("synergy") else BITS
    knows = any(set(source) <= set(names) for source in SOURCES[target])
    assert information(targets[target], *shown(factors, names)) == pytest.approx(whole * knows, abs=1e-9)


def test_targets_say_nothing_of_each_other_in_unbiased_records_but_a_synergy_of_those_it_is_made_of():
    _, targets = every_combination("all")
    for one, other in combinations(targets, 2):
        assert information(targets[one], targets[other]) == pytest.approx(0, abs=1e-9)


def test_in_the_mapped_records_two_vectors_share_what_only_both_say_and_no_other_pair_does():
    factors, _ = every_combination("mapped")
    assert information(factors["texture1"], factors["colour3"]) == pytest.approx(BITS)
    assert information(factors["texture2"], factors["colour3"]) == pytest.approx(0, abs=1e-9)


def test_in_the_square_records_no_two_of_the_three_depend_on_each_other_and_two_give_the_third():
    factors, _ = every_combination("square")
    three = [factors[name] for name in ("texture1", "texture2", "colour3")]
    for one, other in combinations(three, 2):
        assert information(one, other) == pytest.approx(0, abs=1e-9)
    for place in range(3):
        others = three[:place] + three[place + 1 :]
        assert information(three[place], *others) == pytest.approx(BITS)
    for one, other in combinations(MODALITIES, 2):  # all share shape; vectors 1 and 2 also a colour
        alike = {("vector1", "vector2"): 2 * BITS}.get((one, other), BITS)
        both = entropy(*shown(factors, [one])) + entropy(*shown(factors, [other]))
        joint = [*shown(factors, [one]), *shown(factors, [other])]
        assert both - entropy(*joint) == pytest.approx(alike)


@pytest.mark.parametrize("pairs", ["all", "mapped", "square"])
def test_records_are_drawn_evenly_from_what_occurs_and_probes_see_unbiased_ones(pairs):
    data = TrifeatureThree(levels=LEVELS, pairs=pairs, train_records=4000, test_records=1000).read()
    certain = {"all": [], "mapped": ["synergy13"], "square": ["synergy123"]}[pairs]
    for name in ("synergy13", "synergy123"):
        share = data.train.targets[name].mean()
        assert share == 1 if name in certain else abs(share - 1 / LEVELS) < 0.03
        for part in (data.fit, data.test):
            assert abs(part.targets[name].mean() - 1 / LEVELS) < 0.05
    for name in ("shared", "shared12", "unique1", "unique2", "unique3"):
        shares = np.bincount(data.train.targets[name], minlength=LEVELS) / len(data.train)
        assert abs(shares - 1 / LEVELS).max() < 0.04
    unbiased = TrifeatureThree(levels=LEVELS, train_records=4000, test_records=1000).read()
    for name, values in unbiased.fit.targets.items():
        assert np.array_equal(values, data.fit.targets[name])


def test_a_vector_shows_its_own_factors_and_a_linear_probe_of_all_three_no_synergy():
    data = TrifeatureThree(levels=LEVELS, train_records=2000, test_records=2000).read()
    every = np.arange(2000)
    for names, reads in ((MODALITIES[:1], {"unique1", "shared", "shared12"}), (MODALITIES, set(SOURCES))):
        fit, test = (
            Vectors(np.hstack([part.columns[name].take(every).values.numpy() for name in names]), part)
            for part in (data.fit, data.test)
        )
        for target, outcome in probe_vectors(data, fit, test, targets=list(SOURCES)).items():
            above = outcome.result.balanced_accuracy - outcome.result.chance
            assert above > 0.6 if target in reads and "synergy" not in target else above < 0.06, target


def test_another_seed_is_another_draw():
    one, other = (TrifeatureThree(seed=seed, train_records=50, test_records=50).read() for seed in (0, 1))
    assert not np.array_equal(one.train.columns["vector1"].values, other.train.columns["vector1"].values)
    again = TrifeatureThree(seed=0, train_records=50, test_records=50).read()
    assert np.array_equal(one.train.columns["vector1"].values, again.train.columns["vector1"].values)


def test_impossible_settings_are_named():
    with pytest.raises(ConfigurationError, match="levels and features >= 2"):
        TrifeatureThree(levels=1).read()
