"""Trifeature: pairs, targets, splits and the map are as stated in the paper."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from commlearn.datasets.trifeature import Trifeature
from commlearn.errors import ConfigurationError


@cache
def read(**options):
    return Trifeature(**{"size": 24, "train_pairs": 2000, **options}).read()


def test_sizes_are_the_papers():
    data = read()
    assert len(data.train) == 2000
    assert len(data.test) == 10 * 20 * 20  # all pairs of the 20 test images of each shape
    assert len(data.train.columns["image1"].images) == 2400
    assert len(data.test.columns["image1"].images) == 200


def test_a_pair_shares_its_shape_and_nothing_else_by_design():
    targets = read().fit.targets
    for name in ("shared", "unique1", "unique2"):
        assert set(np.unique(targets[name])) == set(range(10))
    assert abs(np.corrcoef(targets["unique1"], targets["unique2"])[0, 1]) < 0.1
    assert abs(np.corrcoef(targets["shared"], targets["unique1"])[0, 1]) < 0.1


def test_about_a_tenth_of_unbiased_pairs_is_in_the_map_and_all_biased_ones_are():
    assert 0.07 < read().fit.targets["synergy"].mean() < 0.13
    assert 0.07 < read().test.targets["synergy"].mean() < 0.13
    assert read(pairs="mapped").train.targets["synergy"].all()


def test_probes_see_unbiased_pairs_whatever_the_training_pairs():
    unbiased, biased = read(), read(pairs="mapped")
    assert np.array_equal(unbiased.fit.targets["synergy"], biased.fit.targets["synergy"])
    assert np.array_equal(unbiased.test.targets["synergy"], biased.test.targets["synergy"])
    assert np.array_equal(unbiased.fit.columns["image1"].index, biased.fit.columns["image1"].index)


def test_the_map_is_one_to_one_and_does_not_depend_on_what_was_drawn_before():
    mapping = Trifeature(seed=3).mapping()
    assert sorted(mapping) == list(range(10))
    reader = Trifeature(size=24, seed=3, train_pairs=10)
    reader.read()
    assert np.array_equal(reader.mapping(), mapping)
    assert not np.array_equal(Trifeature(seed=4).mapping(), mapping)


def test_train_and_test_show_different_combinations():
    train, test = Trifeature(size=24).objects()
    keys = [set(zip(part.shape, part.texture, part.colour, strict=True)) for part in (train, test)]
    assert [len(key) for key in keys] == [800, 200]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("seed", range(5))
def test_every_texture_and_colour_of_a_shape_is_tested_equally_often(seed):
    test = Trifeature(size=24, seed=seed).objects()[1]
    for feature in (test.texture, test.colour):
        table = np.zeros((10, 10), dtype=int)
        np.add.at(table, (test.shape, feature), 1)
        assert (table == 2).all()


def test_frequencies_learned_in_training_say_nothing_about_test_synergy():
    data = read(train_pairs=10_000)
    assert data.test.targets["synergy"].sum() == 400
    for name in ("shared", "unique1", "unique2"):
        rates = [data.test.targets["synergy"][data.test.targets[name] == value].mean() for value in range(10)]
        assert np.allclose(rates, 0.1)


def test_the_same_seed_gives_the_same_records_at_any_size():
    small, large = read(), read(size=32)
    for name, values in small.fit.targets.items():
        assert np.array_equal(values, large.fit.targets[name])
    again = Trifeature(size=24, train_pairs=2000).read()
    assert np.array_equal(again.train.columns["image1"].images, small.train.columns["image1"].images)


def test_targets_do_not_reveal_synergy_one_at_a_time():
    targets = read(train_pairs=10_000).fit.targets
    for name in ("shared", "unique1", "unique2"):
        rates = [targets["synergy"][targets[name] == value].mean() for value in range(10)]
        assert max(rates) < 0.2


@pytest.mark.parametrize("wrong", [{"train_pairs": 1}, {"size": 23}])
def test_impossible_settings_are_named(wrong):
    with pytest.raises(ConfigurationError, match=r"size >= 24, train_pairs >= 2"):
        Trifeature(**wrong).read()


def test_intervals_of_pairs_draw_the_images_of_both_sides():
    data = Trifeature(size=24, train_pairs=60, views=1).read()
    units = data.test.resampled
    assert units.shape == (len(data.test), 2)
    assert data.test.groups is None
    assert data.train.held_together is None
    shapes = data.test.targets["shared"]
    for side in units.T:  # rows with the same image have the same shape
        assert all(len(set(shapes[side == image])) == 1 for image in np.unique(side))
