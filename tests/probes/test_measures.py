"""Measures equal scikit-learn's, for plain records and for records drawn several times."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from commlearn.probes import measures
from commlearn.probes.measures import draws, interval_over_repeats, measured, widening


@st.composite
def scored_records(draw):
    count = draw(st.integers(4, 40))
    scores = np.array(draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))) / 5
    positive = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    positive[:2] = True, False
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    weights[:2] = 1
    return scores, positive, weights


@settings(max_examples=60, deadline=None)
@given(scored_records())
def test_areas_equal_those_of_scikit_learn_with_ties_and_repeated_records(records):
    scores, positive, weights = records
    both = np.stack([weights, np.ones_like(weights)]).astype(np.float32)
    for row, given_weights in enumerate((weights, None)):
        expected = metrics.roc_auc_score(positive, scores, sample_weight=given_weights)
        assert measures.auroc(scores, positive, both)[row] == pytest.approx(expected)
        expected = metrics.average_precision_score(positive, scores, sample_weight=given_weights)
        assert measures.auprc(scores, positive, both)[row] == pytest.approx(expected)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_recall_f1_r2_and_errors_equal_those_of_scikit_learn(generator):
    weights = generator.integers(0, 3, size=50)
    drawn = np.repeat(np.arange(50), weights)
    truth, predicted = generator.integers(4, size=(2, 50))
    both = weights[None].astype(np.float32)
    expected = metrics.balanced_accuracy_score(truth[drawn], predicted[drawn])
    assert measures.mean_recall(truth == predicted, truth, both)[0] == pytest.approx(expected)
    truth, predicted = generator.random((2, 50, 6)) < 0.4
    for weighted, average in ((True, "weighted"), (False, "macro")):
        expected = metrics.f1_score(truth[drawn], predicted[drawn], average=average)
        assert measures.f1(predicted, truth, both, weighted)[0] == pytest.approx(expected)
    truth = generator.normal(size=(50, 2))
    predicted = truth + generator.normal(size=(50, 2))
    expected = metrics.r2_score(truth[drawn], predicted[drawn], multioutput="raw_values")
    np.testing.assert_allclose(measures.r2(predicted, truth, both)[0], expected)
    expected = metrics.mean_squared_error(truth[drawn], predicted[drawn], multioutput="raw_values")
    np.testing.assert_allclose(measures.squared_error(predicted, truth, both)[0], expected)


def test_areas_of_many_classes_are_means_of_one_against_the_rest(generator):
    labels = generator.integers(3, size=60)
    shares = generator.random((60, 3))
    shares /= shares.sum(axis=1, keepdims=True)
    positive = labels[:, None] == np.arange(3)
    score = measures.mean_over_labels(measures.auroc, shares, positive, measures.equal_weights(60))
    assert score[0] == pytest.approx(metrics.roc_auc_score(labels, shares, multi_class="ovr"))


def test_a_draw_with_no_label_to_score_has_no_mean_and_no_warning():
    scores, positive = np.array([[0.9], [0.2], [0.1]]), np.array([[True], [False], [False]])
    weights = np.array([[0, 1, 1], [1, 1, 1]], dtype=np.float32)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("error")
        means = measures.mean_over_labels(measures.auroc, scores, positive, weights)
        assert np.isnan(measures.mean_over_labels(measures.auroc, scores, positive | True, weights)).all()
    assert np.isnan(means[0])
    assert means[1] == 1


def test_draws_keep_each_groups_count_and_depend_on_the_seed_alone():
    groups = np.array([0] * 7 + [1] * 3)
    weights = np.concatenate(list(draws(groups, seed=1, count=50)))
    assert weights.shape == (50, 10)
    np.testing.assert_allclose(weights[:, :7].sum(axis=1), 7, rtol=1e-6)
    np.testing.assert_allclose(weights[:, 7:].sum(axis=1), 3, rtol=1e-6)
    assert weights.std(axis=0).min() > 0
    assert np.array_equal(weights, np.concatenate(list(draws(groups, seed=1, count=50))))
    assert not np.array_equal(weights, np.concatenate(list(draws(groups, seed=2, count=50))))


def test_the_interval_of_a_mean_is_that_of_theory(generator):
    values = generator.normal(size=400)
    mean, (low, high) = measured(
        {"mean": lambda weights: weights @ values / weights.sum(axis=1)}, np.zeros(400)
    )["mean"]
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_draws_keep_the_weight_of_a_stratum_and_vary_as_much_as_its_mean_does():
    strata = np.repeat([0, 1], [3, 40])
    values = np.random.default_rng(0).normal(size=43)
    weights = np.concatenate(list(draws(strata, count=20_000)))
    for stratum in (0, 1):
        here = strata == stratum
        np.testing.assert_allclose(weights[:, here].sum(axis=1), here.sum(), rtol=1e-5)
        means = weights[:, here] @ values[here] / here.sum()
        assert means.var() == pytest.approx(values[here].var(ddof=1) / here.sum(), rel=0.05)


def test_groups_are_drawn_whole_and_intervals_of_few_are_wide():
    groups = np.repeat(np.arange(10), 12)
    strata = groups % 2
    weights = next(draws(strata, groups=groups))
    assert all(len(np.unique(weights[:, groups == group], axis=1).T) == 1 for group in range(10))
    assert widening(strata) < 1.02 < 1.1 < widening(strata, groups)
    assert widening(np.zeros(12), np.zeros(12)) == np.inf


def test_a_class_of_one_group_leaves_no_interval_but_where_there_are_many_classes():
    """If a class is one group of four, 95 % intervals without its variance held in 88 % of 559 tables."""
    groups = np.repeat(np.arange(4), 12)
    one_of_two = np.where(groups == 0, 1, 0)
    right = np.random.default_rng(0).random(48) < 0.5
    score = {"accuracy": lambda weights: measures.mean_recall(right, one_of_two, weights)}
    assert measured(score, one_of_two, groups=groups)["accuracy"][1] == (0.0, 1.0)
    many = np.minimum(np.arange(30) // 2, 13)  # fourteen classes; the last has four groups
    many[:1] = 20  # now two classes have one group each
    assert np.isfinite(widening(many, np.arange(30)))
    assert np.isfinite(widening(one_of_two))  # without groups, a class may have few records


def test_intervals_do_not_depend_on_how_many_draws_are_measured_at_once(generator, monkeypatch):
    scores, positive = generator.normal(size=200).round(1), generator.integers(2, size=200).astype(bool)
    parts = {
        "auroc": lambda weights: measures.auroc(scores, positive, weights),
        "auprc": lambda weights: measures.auprc(scores, positive, weights),
    }
    at_once = measured(parts, positive.astype(int))
    monkeypatch.setattr(measures, "AT_ONCE", 1)  # one draw at a time
    assert measured(parts, positive.astype(int)) == at_once


@pytest.mark.parametrize("records", [2, 60])
def test_shares_that_no_draw_changes_are_not_certain(records):
    """If 2 of 2 records are right, this says little; if 60 of 60 are, it says much."""
    right = np.ones(records, dtype=bool)
    value, (low, high) = measured(
        {"balanced_accuracy": lambda weights: measures.accuracy(right, weights)}, np.zeros(records)
    )["balanced_accuracy"]
    assert (value, high) == (1, 1)
    assert low == pytest.approx(0.025 ** (1 / records))
    assert type(low) is type(high) is float  # as a printed result shows them


def test_a_rare_label_that_is_always_predicted_correctly_is_not_certain():
    """By the number of records, intervals of a label that 5 of 300 records have held in 43 %."""
    truth = np.zeros((300, 2), dtype=bool)
    truth[:40, 0] = truth[:5, 1] = True
    for labels, least in ((truth[:, 1:], 0.025**0.2), (truth, (1 + 0.025**0.2) / 2)):
        parts = {"macro_f1": lambda weights, labels=labels: measures.f1(labels, labels, weights, False)}
        value, (low, high) = measured(parts, np.zeros(300), labels=labels)["macro_f1"]
        assert (value, high) == (1, 1)
        assert low == pytest.approx(least)
    nowhere = measures.unseen_errors(np.zeros(80), None, np.zeros((80, 1), dtype=bool))
    assert nowhere == measures.unseen_errors(np.zeros(80), None)


def test_nothing_is_explained_where_nothing_varies():
    """A draw that lacks the only records that differ has no R2, instead of one of minus millions."""
    truth = np.zeros((100, 1))
    truth[:2] = 1
    guess = np.full((100, 1), 0.02)
    guess[5] = 0.3
    _, (low, high) = measured(
        {"r2": lambda weights: measures.r2(guess, truth, weights)[:, 0]}, np.zeros(100)
    )["r2"]
    assert -1 < low < high <= 1
    assert np.isnan(measures.r2(guess, np.ones((100, 1)), measures.equal_weights(100))).all()


def test_pairs_of_a_few_things_are_as_uncertain_as_the_things(generator):
    """For guesses about 40 things, each in about 20 pairs, only intervals over things contain chance."""
    missed = {"pairs": 0, "things": 0}
    for _ in range(40):
        pairs = generator.integers(40, size=(800, 2)).astype(np.uint64)
        right = (generator.random(40) < 0.5)[pairs[:, 0]]
        for name, groups in (("pairs", None), ("things", pairs)):
            measure = {"accuracy": lambda weights, right=right: measures.accuracy(right, weights)}
            low, high = measured(measure, np.zeros(800), groups=groups)["accuracy"][1]
            missed[name] += not low <= 0.5 <= high
    assert missed["pairs"] > 20
    assert missed["things"] <= 5


@pytest.mark.parametrize(
    ("labels", "seeds", "of_labels", "of_seeds", "of_both", "of_rows"),
    [
        (5, 1, 1, 0, 0, 0),
        (1, 3, 0, 1, 0, 0),
        (5, 3, 1, 1, 1, 0),
        (1, 1, 0, 0, 0, 1),
        (5, 3, 0.5, 0.5, 0.5, 1),
    ],
)
def test_intervals_over_draws_of_labels_and_seeds_hold_the_truth_as_often_as_they_say(
    labels, seeds, of_labels, of_seeds, of_both, of_rows, generator
):
    missed = 0
    for _ in range(200):
        values = generator.normal(0, of_labels, (labels, 1, 1)) + generator.normal(0, of_seeds, (1, seeds, 1))
        values = values + generator.normal(0, of_both, (labels, seeds, 1)) + generator.normal(0, of_rows)
        samples = values + generator.normal(0, of_rows, (1, 1, 500))
        low, high = interval_over_repeats(samples, float(values.mean()))
        missed += not low <= 0 <= high
    assert missed <= 20  # of 200; 10 are expected
