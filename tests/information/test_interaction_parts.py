"""The parts of the estimation, tested one by one."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from known_decompositions import known_twins
from scipy.special import log_softmax

from commlearn.batch import choose_subsets
from commlearn.datasets.trifeature import Trifeature
from commlearn.errors import CommlearnError
from commlearn.information.diagnose import _copies, _whole_copies
from commlearn.information.estimate import (
    Quantity,
    QuantityKey,
    atoms_of_two,
    cell_table,
    measure,
    soft_cells,
)
from commlearn.information.evidence import all_columns, components, group_codes
from commlearn.information.experts import posteriors
from commlearn.information.experts.folds import fit_stack, make_folds, standard_error
from commlearn.information.experts.models import Recipe, _gradient, _loss, _start, screened_columns
from commlearn.information.experts.posteriors import Evidence, fit_posteriors, fit_table, rich_family
from commlearn.information.material import label_columns, prepare_target
from commlearn.information.nulls import Exchange, label_tests
from commlearn.information.pid import broja
from commlearn.information.sources import trifeature_blocks
from commlearn.information.views import Limits, _p_value, resampled_weights, with_interval

ATOMS = ("redundant", "unique1", "unique2", "synergistic")


def exact_logs(table: np.ndarray, records: int, seed: int = 0):
    """Draw records of a discrete table; return true log posteriors of each modality and the pair, labels."""
    draw = np.random.default_rng(seed)
    first, second, labels = np.unravel_index(draw.choice(table.size, records, p=table.ravel()), table.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        tables = {
            ("a",): np.log(table.sum(axis=1) / table.sum(axis=(1, 2))[:, None])[first],
            ("b",): np.log(table.sum(axis=0) / table.sum(axis=(0, 2))[:, None])[second],
            ("a", "b"): np.log(table / table.sum(axis=2, keepdims=True))[first, second],
        }
    return {subset: np.maximum(log, -30) for subset, log in tables.items()}, labels


@pytest.mark.parametrize("classes", [2, 3])
def test_atoms_of_exact_posteriors_are_those_of_the_table(classes):
    table = np.random.default_rng(classes).dirichlet(np.full(9 * classes, 0.3)).reshape(3, 3, classes)
    logs, labels = exact_logs(table, 100_000)
    parts = atoms_of_two(measure(logs, labels), ("a",), ("b",))
    for name in ATOMS:
        assert parts[name].bits == pytest.approx(getattr(broja(table), name), abs=0.02)


def test_shares_average_to_their_numbers():
    table = np.random.default_rng(1).dirichlet(np.full(18, 0.3)).reshape(3, 3, 2)
    measured = measure(*exact_logs(table, 2000))
    for part in atoms_of_two(measured, ("a",), ("b",)).values():
        assert part.shares.mean() == pytest.approx(part.bits, abs=1e-6)


def test_intervals_hold_the_truth_as_often_as_they_say():
    first, second = (np.array([[1 - rate, rate], [rate, 1 - rate]]) for rate in (0.1, 0.25))
    table = np.einsum("ya,yb->aby", first, second) / 2  # two noisy copies of one bit
    truth = broja(table)
    held, shorter = [], []
    for seed in range(120):
        parts = atoms_of_two(measure(*exact_logs(table, 400, seed)), ("a",), ("b",))
        for name in ("redundant", "unique1", "synergistic"):
            sure, true = with_interval(parts[name], 0.9, Limits(most=1.0)), getattr(truth, name)
            held.append(sure.low <= true <= sure.high)
            shorter.append(abs(true - sure.bits) <= 0.5 * (sure.high - sure.bits))
    assert 0.84 <= np.mean(held) <= 0.97
    assert np.mean(shorter) < 0.75  # half the standard error would be too small


def test_components_forget_rotation_scale_and_copies():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(200, 6)) @ np.diag([3, 2, 1, 1, 1, 1])
    same = components(rows, 6)
    for moved in (1e6 * rows + 5, np.tile(rows, 3)):
        assert np.abs(components(moved, 6)) == pytest.approx(np.abs(same), abs=1e-5)


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("widths", [[3], [3, 2], [2, 3, 2]])
def test_gradients_of_the_networks_are_those_of_differences(widths, steps):
    draw = np.random.default_rng(0)
    recipe = Recipe(hidden=4, drop=0.0, steps=steps)
    weights = [part.astype(np.float64) for part in _start(2, widths, recipe, 3, draw)]
    rows = [draw.normal(size=(2, 5, width)) for width in widths]
    labels = draw.integers(0, 3, size=(2, 5))
    slopes = _gradient(weights, rows, labels, recipe, draw)
    for part, slope in zip(weights, slopes, strict=True):
        place = tuple(0 for _ in part.shape)
        values = []
        for step in (1e-5, -1e-5):
            part[place] += step
            values.append(_loss(weights, rows, labels, steps)[0])
            part[place] -= step
        assert slope[place] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-5)


def test_cells_keep_a_binary_posterior_and_the_class_shares():
    draw = np.random.default_rng(0)
    chance = draw.random(5000)
    labels = (draw.random(5000) < chance).astype(int)
    log = np.log(np.stack([1 - chance, chance], axis=1))
    cells = soft_cells(log, 15)
    assert cells.sum(axis=1) == pytest.approx(np.ones(5000))
    table = cell_table(cells, log, labels, np.ones(5000))
    assert table.sum(axis=0) == pytest.approx(np.bincount(labels) / 5000, abs=1e-9)


def test_columns_that_depend_on_each_other_are_chosen_alike_by_every_thread():
    """The L1 solver visits columns in random order, with one generator per process."""
    draw = np.random.default_rng(0)
    own = draw.normal(size=(1000, 5))
    columns, labels = own @ draw.uniform(size=(5, 60)), (own.sum(axis=1) > 0).astype(int)  # rank five
    with ThreadPoolExecutor(4) as pool:
        fits = [pool.submit(screened_columns, [columns], labels) for _ in range(16)]
    first, *others = (fit.result().weights[0] for fit in fits)
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize(("records", "rare"), [(6000, 3000), (6000, 54), (1500, 500)])
def test_columns_are_chosen_by_records_of_every_class_in_any_order_of_rows(records, rare):
    draw = np.random.default_rng(0)
    labels = (np.arange(records) >= records - rare).astype(int)  # sorted by class
    columns = draw.normal(size=(records, 40))
    columns[:, 7] += 2 * labels
    for rows in (np.arange(records), draw.permutation(records)):
        (weights,) = screened_columns([columns[rows]], labels[rows]).weights
        assert weights[7].any()
        assert weights.any(axis=1).sum() <= 16


def test_tables_of_joint_cells_are_counted_some_records_at_a_time(monkeypatch):
    """With three or more modalities, one table of all records and cells takes gigabytes."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 400)
    members = tuple(draw.dirichlet(np.ones(9), size=400) for _ in range(3))
    folds = make_folds(labels, None, 5, 0)
    logs, peaks = [], []
    for at_once in (2**23, 5000):
        monkeypatch.setattr(posteriors, "_AT_ONCE", at_once)
        tracemalloc.start()
        logs.append(fit_table(members, labels, folds).log())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert logs[1] == pytest.approx(logs[0], abs=1e-12)
    assert peaks[1] < 8 * 400 * 9**3 / 2 < peaks[0]


def test_a_stack_of_useless_experts_says_the_class_shares():
    draw = np.random.default_rng(0)
    labels = (draw.random(2000) < 0.3).astype(int)
    noise = [log_softmax(3 * draw.normal(size=(2000, 2)), axis=1) for _ in range(3)]
    folds = make_folds(labels, None, 5, 0)
    stack = fit_stack(noise, labels, folds)
    claims = np.exp(stack.combine(noise))
    assert claims[:, 1].mean() == pytest.approx(labels.mean(), abs=0.02)
    assert claims[:, 1].std() < 0.05


def test_folds_keep_groups_whole():
    groups = np.repeat(np.arange(40), 5)
    folds = make_folds(np.arange(200) % 2, groups, 5, 0)
    assert all(len(np.unique(folds.of[groups == group])) == 1 for group in range(40))


def test_posteriors_do_not_depend_on_the_number_of_threads_nor_on_how_pairs_are_read(monkeypatch):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 150)
    blocks = {name: labels[:, None] + draw.normal(size=(150, 3)) for name in "ab"}
    folds = make_folds(labels, None, 3, 0)
    by_order = []
    for threads in ("1", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        evidence = Evidence(blocks, blocks, {}, labels, folds)
        by_order.append(fit_posteriors(evidence, choose_subsets("every", ("a", "b")), rich_family))
    one, other = (posteriors["a", "b"] for posteriors in by_order)
    assert (one.log == other.log).all()
    order = Exchange(folds.of).draw(draw)
    rows = {"a": np.arange(150), "b": order}
    again = one.parts[1]
    claims = [expert.log([order]) for expert in again.experts]
    assert again.paired(rows) == pytest.approx(again.stack.combine(claims, [order]), abs=1e-5)
    assert np.abs(one.paired(rows) - one.log).max() > 0.01


def test_shuffles_stay_within_their_part():
    within = np.random.default_rng(0).integers(0, 4, 100)
    order = Exchange(within).draw(np.random.default_rng(1))
    assert sorted(order) == list(range(100))
    assert (within[order] == within).all()


def test_label_test_is_level_under_the_null():
    draw = np.random.default_rng(0)
    p_values = []
    for _ in range(60):
        labels = draw.integers(0, 2, 200)
        log = log_softmax(draw.normal(size=(200, 2)), axis=1)
        folds = make_folds(labels, None, 5, 0)
        p_values.append(label_tests({("a",): log}, labels, folds, 39, int(draw.integers(1000)))[("a",)])
    assert 0.3 < np.mean(p_values) < 0.7
    assert np.mean(np.array(p_values) <= 0.05) < 0.2


def test_a_part_that_shrinks_with_more_records_is_not_called_present():
    shares = np.random.default_rng(0).normal(0.05, 0.5, size=1000)
    shares = shares - shares.mean() + 0.05
    part = Quantity(0.05, shares, shares)
    key = QuantityKey("unique1", (("a",), ("b",)))
    given = (key, with_interval(part, 0.9, Limits(most=1.0)), {("a",): 0.01}, ("a", "b"))
    assert _p_value(*given) <= 0.01
    assert _p_value(*given, bias=0.05) == _p_value(*given)
    assert _p_value(*given, bias=-0.05) == pytest.approx(0.5)


def test_groups_widen_the_standard_error():
    shares = np.repeat(np.random.default_rng(0).normal(size=50), 10)
    groups = np.repeat(np.arange(50), 10)
    assert standard_error(shares, groups) == pytest.approx(standard_error(shares) * np.sqrt(10 * 50 / 49))
    weights = resampled_weights(500, 3, 0, groups)
    assert (np.ptp(weights.reshape(3, 50, 10), axis=2) == 0).all()


@pytest.mark.parametrize("twin", known_twins()[2:3])
def test_twins_show_what_they_claim(twin):
    arrays, target = twin.sample(50, 0)
    assert arrays["a"].shape == (50, 32)
    assert twin.truth(50).synergistic == pytest.approx(twin.truth(150).synergistic, abs=5e-3)
    assert twin.sample(50, 0)[1].tolist() == target.tolist()


# ---------------------------------------------------------------------------------------------------- targets
def test_numbers_are_cut_into_eight_and_it_is_said():
    target = prepare_target(np.random.default_rng(0).normal(size=800), "price", None, 5)
    assert np.bincount(target.labels).tolist() == [100] * 8
    assert "800 values" in target.notes[0]
    assert "choose with bins=" in target.notes[0]


def test_empty_targets_and_small_classes_are_warned_of_with_numbers():
    target = prepare_target(["a"] * 30 + ["b"] * 10 + [None] * 5, "kind", None, 5)
    assert target.rows.tolist() == list(range(40))
    assert "5 of 45 records" in target.warnings[0]
    assert "class 'b' has only 10 records" in target.warnings[1]


def test_codes_of_text_that_hold_no_number_cannot_be_binned():
    with pytest.raises(CommlearnError, match="not a finite number"):
        prepare_target(["low", "high"] * 20, "kind", 4, 5)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([1, None, 2] * 20, ("1", "2")),
        (["a", None, "b", " "] * 20, ("a", "b")),
        (["a", "", "b"] * 20, ("a", "b")),
        (pd.array(["a", pd.NA, "b", ""] * 20, dtype="string"), ("a", "b")),
        (pd.array([1, None, 3] * 20, dtype="Int64"), ("1", "3")),
    ],
)
@pytest.mark.parametrize("kind", [list, pd.Series])
def test_empty_cells_are_no_class(values, classes, kind):
    target = prepare_target(kind(values), "kind", None, 5)
    assert target.classes == classes
    assert len(target.labels) == 40
    assert f"{len(values) - 40} of {len(values)} records" in target.warnings[0]


def test_numbers_among_empty_cells_are_numbers():
    values = pd.Series([*np.random.default_rng(0).normal(size=400), *[None] * 5], dtype=object)
    assert len(prepare_target(values, "price", None, 5).classes) == 8


@pytest.mark.parametrize("bins", [None, 4])
def test_what_is_stated_beats_what_is_guessed(bins):
    codes = np.arange(600) % 30
    for values, classes in ((codes, 30), (np.array(["low", "mid", "high"])[codes % 3], 3)):
        target = prepare_target(values, "icd", bins, 5, "class")
        assert (len(target.classes), target.numbers, target.severe) == (classes, None, ())
        assert ["bins= has no effect" in note for note in target.notes] == [True] * (bins is not None)
    assert prepare_target(codes, "icd", None, 5).severe
    target = prepare_target(codes, "icd", None, 5, "number")
    assert (len(target.classes), target.severe) == (8, ())


@pytest.mark.parametrize(
    ("values", "bins", "classes"),
    [
        ([0] * 90 + [1] * 10, 4, ("0", "1")),  # most quantiles are 0
        ([True] * 50 + [False] * 50, 4, ("False", "True")),
        ([0] * 90 + list(range(1, 11)), 4, ("-inf to 1", "1 to inf")),
        (1.6e9 + np.arange(80), 4, ("-inf to 1600000020", "1600000020 to 1600000040")),
        (12345.5 + np.arange(80) / 80, 4, ("-inf to 12345.7", "12345.7 to 12346")),
        ([1234567.0, 1234568.0] * 20, None, ("1234567", "1234568")),
        ([1, "1"] * 20, None, ("1", "'1'")),
    ],
)
def test_classes_have_names_of_their_own(values, bins, classes):
    values = np.asarray(values) if bins or isinstance(values[1], float) else pd.Series(values, dtype=object)
    target = prepare_target(values, "y", bins, 5)
    assert len(set(target.classes)) == len(target.classes) > 1
    assert {*classes} <= {*target.classes}


def test_a_column_beside_one_of_another_scale_is_kept():
    draw = np.random.default_rng(0)
    values = np.stack([draw.normal(size=50), 1e10 * draw.normal(size=50), np.full(50, 1e10), np.zeros(50)], 1)
    assert all_columns(values).shape == (50, 2)


@pytest.mark.parametrize("none", ["", " ", None, np.nan, pd.NA])
def test_records_of_no_group_are_groups_of_their_own(none):
    groups = pd.Series(["a", "b", none, none] * 5, dtype="string" if none is pd.NA else object)
    codes = group_codes(np.asarray(groups), 5)
    assert len(np.unique(codes)) == 2 + 10
    assert codes[0] == codes[4] != codes[1] == codes[5]


def test_blanks_around_the_name_of_a_group_make_no_other_group():
    """A split of the table takes `p0` and `p0 ` for one group, too."""
    names = np.array(["p0", "p0 ", " p1", "p1", "p2"], dtype=object)
    assert group_codes(names, 3).tolist() == [0, 0, 1, 1, 2]


def test_labels_of_several_kinds():
    assert label_columns(np.array([0, 1, 1])) is None
    assert list(label_columns(np.array([[0, 1], [1, 1]]))) == ["0", "1"]
    for none in (None, np.nan, ""):
        marks = label_columns([("a",), none, ("b",), "b"])
        assert np.isnan(marks["a"][1])
        assert marks["b"][[0, 2, 3]].tolist() == [0, 1, 1]
    assert label_columns([np.array(["a", "b"]), np.array([])])["a"].tolist() == [1, 0]
    assert list(label_columns([["a", None], ["b", float("nan"), " "]])) == ["a", "b"]


def test_copies_on_both_sides_of_a_fold_are_told():
    values = np.random.default_rng(0).normal(size=(100, 4))
    assert _copies({"a": values}) == ([], [])
    copies, alike = _copies({"a": np.repeat(values, 3, axis=0)})
    assert "100 distinct values in 300 records" in copies[0]
    assert not alike
    coarse = np.repeat(np.random.default_rng(0).integers(0, 9, (100, 4)).astype(float), 3, axis=0)
    copies, alike = _copies({"a": coarse})  # answers in a form repeat without being copies
    assert not copies
    assert "distinct values in 300 records" in alike[0]


def test_years_of_age_and_groups_of_ages_are_no_copies():
    draw = np.random.default_rng(0)
    age = draw.normal(50, 15, size=600).round().clip(18, 90)
    age[:5] = 999  # not known
    records = np.stack([(age - 50) / 15, age < 30, age > 65], axis=1)
    copies, alike = _copies({"a": records})
    assert not copies
    assert "distinct values in 600 records" in alike[0]
    measured = np.concatenate([records, draw.normal(size=(600, 1)).round(2)], axis=1)
    assert _copies({"a": np.repeat(measured[:200], 3, axis=0)})[0]


def test_copies_of_records_of_few_columns_are_told_and_common_values_are_not():
    draw = np.random.default_rng(0)
    measured = {"a": draw.normal(size=(100, 2)), "b": draw.normal(size=(100, 1))}
    assert _whole_copies(measured, 0) == []
    twice = {name: np.repeat(values, 2, axis=0) for name, values in measured.items()}
    assert "100 of 200 records are the same" in _whole_copies(twice, 0)[0]
    years = {"a": draw.integers(0, 60, (400, 1)), "b": draw.integers(0, 3, (400, 2)).astype(float)}
    assert _whole_copies(years, 0) == []


def test_no_trifeature_combination_is_in_two_blocks():
    reader = Trifeature(size=24, train_pairs=10, views=2)
    records, blocks = trifeature_blocks(reader, reader.objects()[0], pairs=200)
    combination = {name: column.index // 2 for name, column in records.columns.items()}
    where: dict[int, set[int]] = {}
    for column in combination.values():
        for one, block in zip(column, blocks, strict=True):
            where.setdefault(int(one), set()).add(int(block))
    assert len(records) == 200
    assert all(len(places) == 1 for places in where.values())
