"""Groups in the interactions: chance levels, widths of intervals, and missing p-values."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import t

import commlearn as cl
from commlearn.information import Settings
from commlearn.information.curve import _parts
from commlearn.information.experts import posteriors
from commlearn.information.experts.folds import Folds, fit_stack, make_folds, standard_error, tail
from commlearn.information.experts.models import Recipe, _split
from commlearn.information.experts.posteriors import Evidence
from commlearn.information.material import Material
from commlearn.information.nulls import Exchange, combination_test, label_tests, missing_tests
from commlearn.information.pairs import pair_values
from commlearn.information.views import learnable_share
from commlearn.reports.cards import sentences

QUICK = Settings(repeats=1, curve=False, bootstrap=3, permutations=39)


def patients(seed: int, effect: float, count: int = 50, rows: int = 12):
    """Return noise in two modalities, shifted per patient by `effect`; a label per patient; the patients."""
    draw = np.random.default_rng(seed)
    group = np.repeat(np.arange(count), rows)
    arrays = {
        name: draw.normal(size=(len(group), 8)) + effect * draw.normal(size=(count, 8))[group]
        for name in "ab"
    }
    return arrays, draw.permutation(np.arange(count) % 2)[group], group


# ------------------------------------------------------------------------------------------------ exchanges
def test_a_group_takes_the_place_of_another_one_in_its_part():
    groups = np.repeat([0, 1, 2, 3, 4, 5], 3)
    parts = np.repeat([0, 1], 9)
    taken = Exchange(parts, groups).draw(np.random.default_rng(0)).reshape(6, 3)
    assert sorted(taken[:, 0] // 3) == list(range(6))  # each group once
    assert (taken - taken[:, :1] == np.arange(3)).all()  # its rows in order
    assert (parts[taken] == parts.reshape(6, 3)).all()


def test_groups_of_other_sizes_are_stretched_and_shortened():
    groups = np.array([0, 0, 1, 1, 1, 1])
    labels = np.array([7, 8, 1, 2, 3, 4])
    exchange = Exchange(np.zeros(6, dtype=int), groups)
    seen = {tuple(labels[exchange.draw(np.random.default_rng(seed))]) for seed in range(9)}
    assert seen == {(7, 8, 1, 2, 3, 4), (1, 3, 7, 7, 8, 8)}


def test_a_group_in_several_parts_goes_to_one_other_group():
    groups, classes = np.repeat(np.arange(5), 4), np.tile([0, 0, 1, 1], 5)
    taken = Exchange(classes, groups).draw(np.random.default_rng(1))
    assert (classes[taken] == classes).all()
    assert all(len(np.unique(groups[taken][groups == group])) == 1 for group in range(5))


def test_what_can_be_exchanged_is_counted():
    labels = np.repeat([0, 1, 0, 1, 0, 1], 4)
    groups = np.repeat(np.arange(6), 4)
    one = np.zeros(24, dtype=int)
    assert Exchange(one, groups).suffices(labels)  # 6! / (3! 3!) = 20
    assert not Exchange(one[:20], groups[:20]).suffices(labels[:20])  # 5! / (3! 2!) = 10
    assert Exchange(one).suffices(labels)
    assert not Exchange(groups, groups).suffices(np.arange(24))  # each group is alone in its part


# ---------------------------------------------------------------------------------------------------- tests
def share_below(p_values: list[float | None]) -> float:
    return float(np.mean([p is not None and p <= 0.05 for p in p_values]))


def test_labels_of_groups_are_exchanged_as_groups():
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(50), 12)
    by_group, by_record = [], []
    for _ in range(80):
        labels = draw.permutation(np.arange(50) % 2)[group]
        folds = make_folds(labels, group, 5, 0)
        log = log_softmax(draw.normal(size=(50, 2))[group], axis=1)  # depends on the patient only
        for p_values, one in ((by_group, folds), (by_record, Folds(folds.of, folds.count))):
            p_values.append(label_tests({("a",): log}, labels, one, 39, 1)[("a",)])
    assert share_below(by_group) <= 0.07
    assert share_below(by_record) > 0.15  # exchanging single records would fail


def test_labels_that_come_with_larger_groups_are_no_evidence():
    group = np.repeat(np.arange(60), np.where(np.arange(60) % 2, 20, 4))
    labels = (np.arange(60) % 2)[group]  # the ill have more records
    folds = make_folds(labels, group, 5, 0)
    log = np.tile(np.log(np.bincount(labels) / len(labels)), (len(labels), 1))  # the class shares only
    assert label_tests({("a",): log}, labels, folds, 39, 0)[("a",)] > 0.5


@dataclass
class OfGroups:
    """A posterior that reads the product of the values of two records' groups."""

    values: dict[str, np.ndarray]
    stack: object

    def paired(self, rows):
        claims = np.prod([self.values[name][row] for name, row in rows.items()], axis=0)
        return log_softmax(np.stack([np.zeros(len(claims)), 0.3 * claims], axis=1), axis=1)

    @property
    def log(self):
        every = np.arange(len(next(iter(self.values.values()))))
        return self.paired(dict.fromkeys(self.values, every))


def test_modalities_of_groups_are_exchanged_as_groups():
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(50), 12)
    by_group, by_record = [], []
    for _ in range(80):
        values = {name: draw.normal(size=50)[group] for name in "ab"}
        labels = draw.permutation(np.arange(50) % 2)[group]
        folds = make_folds(labels, group, 5, 0)
        for p_values, one in ((by_group, folds), (by_record, Folds(folds.of, folds.count))):
            stack = fit_stack([np.zeros((600, 2))], labels, one)
            posteriors = {s: OfGroups({name: values[name] for name in s}, stack) for s in ("a", "b", "ab")}
            posteriors = {tuple(name): posterior for name, posterior in posteriors.items()}
            single = {name: posterior.log for name, posterior in posteriors.items()}
            p_values.append(combination_test(single, posteriors, labels, one, 39, 1).p)
    assert share_below(by_group) <= 0.07
    assert share_below(by_record) > 0.15


def test_experts_of_several_folds_share_the_luck_of_the_draw():
    """Slopes of 40 features are learned on other folds, so the folds are not independent draws."""
    draw = np.random.default_rng(0)
    labels = np.arange(200) % 2
    p_values = []
    for _ in range(300):
        features = draw.normal(size=(200, 40))
        folds = make_folds(labels, None, 5, 0)
        signed = features * (2 * labels - 1)[:, None]
        slopes = np.stack([signed[folds.of != fold].mean(axis=0) for fold in range(5)])
        log = log_softmax(
            np.stack([np.zeros(200), (slopes[folds.of] * features).sum(axis=1)], axis=1), axis=1
        )
        p_values.append(label_tests({("a",): log}, labels, folds, 39, 0)[("a",)])
    assert share_below(p_values) <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_noise_of_patients_is_told_as_nothing(effect):
    totals, p_values = [], []
    for seed in range(12):
        arrays, labels, group = patients(seed, effect)
        report = cl.interactions(arrays, target=labels, groups=group, settings=QUICK)
        totals.append(report.data.total.bits)
        p_values += [report.data.total.p, report.combination.p]
    assert np.mean(np.array(totals) > 0.03) <= 1 / 12
    assert share_below(p_values) <= 2 / 24


# ----------------------------------------------------------------------------------------- missing p-values
def test_where_groups_leave_nothing_to_exchange_there_is_no_p_value_and_it_is_said(tmp_path):
    draw = np.random.default_rng(0)
    arrays = {name: draw.normal(size=(200, 2)) for name in "ab"}
    labels = (arrays["a"][:, 0] + 0.2 * draw.normal(size=200) > 0).astype(int)
    group = np.repeat(np.arange(5), 40)  # each group is a fold
    report = cl.interactions(arrays, target=labels, groups=group, settings=QUICK)
    assert all(number.p is None for view in report.views.values() for number in view.numbers.values())
    assert report.combination.p is None
    assert report.combination.independent > 0.5
    few = "5 groups in 5 folds allow fewer than 20 distinct permutations"
    reasons = [warning for warning in report.warnings if few in warning]
    assert [warning.split(":")[0] for warning in reasons] == [
        "the parts have no p-values",
        "the combination has no p-value",
    ]
    assert "unique: only a provides" in str(report)
    assert "(not tested)" in str(report)
    assert "could not be tested" in str(report)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["combination"]["p"] is None
    assert any(line.endswith("not tested against chance") for line in sentences(values))
    assert report.to_frame()["p"].isna().all()
    report.plot(tmp_path / "report.png")


def test_pairs_of_many_modalities_say_it_too():
    draw = np.random.default_rng(0)
    arrays = {name: draw.normal(size=(100, 2)) for name in "abc"}
    values = pair_values(
        Material(arrays), np.arange(100) % 2, "y", np.repeat(np.arange(5), 20), QUICK, lambda what: None
    )
    assert values["verdict"].startswith("CANNOT BE TRUSTED: 100 records are fewer than 500")
    assert values["warnings"][-1].startswith("the parts have no p-values: 5 groups in 5 folds")
    assert values["alone"]["a"]["p"] is None


def test_of_many_modalities_the_pairs_of_those_that_know_most_are_read(monkeypatch):
    monkeypatch.setattr("commlearn.information.pairs.MOST_PAIRED", 2)
    draw = np.random.default_rng(0)
    labels = np.arange(120) % 2
    arrays = {name: draw.normal(size=(120, 2)) for name in "abcd"}
    arrays["b"][:, 0] += labels
    arrays["d"][:, 0] += 2 * labels
    steps = []
    values = pair_values(Material(arrays), labels, "y", None, QUICK, steps.append)
    assert [pair["name"] for pair in values["pairs"]] == ["b + d"]
    assert list(values["alone"]) == list("abcd")
    assert any(note.startswith("1 of 6 pairs were measured") and "a, c" in note for note in values["notes"])
    assert any("(6 of 6)" in step for step in steps)  # 4 single modalities, a pair, all


@pytest.mark.parametrize("modalities", range(2, 21))
def test_tables_of_many_modalities_fit_into_memory(modalities):
    assert all(count**modalities <= 32**3 for count in posteriors._cluster_counts(modalities, 100_000))


def test_enough_groups_are_not_warned_of():
    _, labels, group = patients(0, 1.0)
    assert missing_tests(labels, make_folds(labels, group, 5, 0)) == []
    assert missing_tests(labels, make_folds(labels, None, 5, 0)) == []


# ------------------------------------------------------------------------------------------------ intervals
def test_few_groups_give_wide_intervals():
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(6), 50)
    covers = []
    for _ in range(400):
        shares = draw.normal(size=6)[group]
        middle, error = shares.mean(), standard_error(shares, group)
        covers.append(abs(middle) <= t.ppf(0.95, 5) * error)
        assert error == pytest.approx(shares[::50].std(ddof=1) / np.sqrt(6))
    assert 0.87 <= np.mean(covers) <= 0.93
    assert tail(2.0, 1.0, group) == pytest.approx(t.sf(2.0, 5))


def test_what_a_modality_is_worth_is_as_sure_as_its_groups():
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 10)
    labels = draw.integers(0, 2, 40)[group]
    arrays = {name: (labels + draw.normal(size=40)[group])[:, None] for name in "ab"}
    report = cl.interactions(arrays, target=labels, groups=group, settings=QUICK)
    gain = report.curve.worth["a"][-1]
    shares = report.data.measured.ladder[("a", "b")].shares - report.data.measured.ladder[("b",)].shares
    half = (gain.bits_interval[1] - gain.bits_interval[0]) / 2
    assert half == pytest.approx(t.ppf(0.95, 39) * standard_error(shares, group))
    assert half > 2 * 1.64 * standard_error(shares)  # the error without groups


# -------------------------------------------------------------------------------------------------- experts
def test_networks_are_stopped_by_groups_that_they_do_not_learn_from():
    labels, group = np.arange(600) % 2, np.arange(600) // 12
    folds = make_folds(labels, group, 5, 0)
    fit, held = _split(folds, Recipe(), np.random.default_rng(0))
    for mine, other in zip(fit, held, strict=True):
        assert not set(group[mine]) & set(group[other])
        assert len(np.unique(mine)) == len(mine) > 380
        assert len(other) == 57


def test_the_luck_of_few_groups_moves_no_weights():
    """A patient's own features fit the labels of the other folds' 40 patients by chance."""
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(50), 12)
    totals = {"groups": [], "records": []}
    for _ in range(40):
        labels = draw.permutation(np.arange(50) % 2)[group]
        folds = make_folds(labels, group, 5, 0)
        own = [log_softmax(1.5 * draw.normal(size=(50, 2))[group], axis=1) for _ in range(8)]
        for name, one in (("groups", folds), ("records", Folds(folds.of, folds.count))):
            log = fit_stack(own, labels, one).combine(own)
            totals[name].append(1 + log[np.arange(600), labels].mean() / np.log(2))
    assert np.mean(totals["groups"]) > np.mean(totals["records"]) + 0.02  # chance fits are trusted less


def test_halves_without_a_class_to_learn_are_left_out_of_the_curve():
    """A half may hold out all of a class's three patients, which used to raise an error about shapes."""
    groups = np.repeat(np.arange(50), 20)
    labels = np.where(groups < 3, 2, groups % 2)
    block = {"a": np.zeros((1000, 1))}
    halves = []
    for seed in range(6):
        evidence = Evidence(block, block, {}, labels, make_folds(labels, groups, 5, seed))
        halves += _parts(evidence, Settings(seed=seed))
    assert 0 < len(halves) < 12
    for rows, half in halves:
        assert (half.labels == labels[rows]).all()
        assert all(len(np.unique(half.labels[train])) == 3 for train in half.folds.training())


def test_a_planted_synergy_is_not_recognised_in_copies_of_one_group():
    """Experts that have seen a record's copies find any synergy; reports used to look complete."""
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 25)
    blocks = tuple(draw.normal(size=(40, 4))[groups] + 1e-3 * draw.normal(size=(1000, 4)) for _ in "ab")
    assert learnable_share(blocks, None, Settings()) > 0.9
    assert learnable_share(blocks, groups, Settings()) < 0.3
    two = np.repeat(np.arange(2), 500)  # one class per group: a fold cannot learn the other class
    assert learnable_share((two[:, None] + 0.0, np.zeros((1000, 1))), two, Settings(folds=2)) == 0


def test_few_groups_may_leave_a_fold_without_records():
    """Scikit-learn's folds of groups may be empty, which used to end with its error about no samples."""
    groups = np.repeat(np.arange(5), [4, 12, 1, 10, 7])
    target = np.array([int(bit) for bit in "1111011111111011001111111011101111"])
    assert 0 in np.bincount(make_folds(target, groups, 5, 0).of, minlength=5)
    arrays = {name: np.random.default_rng(0).normal(size=(34, 2)) for name in "ab"}
    report = cl.interactions(arrays, target=target, groups=groups, settings=QUICK)
    assert report.verdict.startswith("CANNOT BE TRUSTED")


def test_a_class_of_two_groups_may_be_missing_in_a_resampling():
    """With so few groups, a resampling may well lack a class, which used to raise an error about NaN."""
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 12)
    arrays = {name: draw.normal(size=(120, 3)) for name in ("a", "b")}
    settings = Settings(curve=False, bootstrap=30, permutations=19)
    report = cl.interactions(arrays, target=(groups < 5).astype(int), groups=groups, settings=settings)
    assert np.isfinite(report.data.total.high)
