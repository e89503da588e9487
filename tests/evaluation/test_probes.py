"""Probes find what a linear map can read, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from commlearn.errors import DataError
from commlearn.evaluation.embed import embed
from commlearn.evaluation.probes import balanced_accuracy, linear_probe, probe


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(1200, 6))


def split(rows, labels):
    return rows[:600], labels[:600], rows[600:], labels[600:]


def test_a_linear_target_is_read(rows):
    result = linear_probe(*split(rows, (rows[:, 0] + rows[:, 1] > 0).astype(int)))
    assert result.balanced_accuracy > 0.95
    assert result.interval[0] <= result.balanced_accuracy <= result.interval[1]
    assert result.chance == 0.5


def test_a_parity_is_not_linear(rows):
    result = linear_probe(*split(rows, ((rows[:, 0] > 0) ^ (rows[:, 1] > 0)).astype(int)))
    assert abs(result.balanced_accuracy - 0.5) < 0.06


def test_noise_is_at_chance_and_the_interval_says_so(rows):
    labels = np.random.default_rng(1).integers(4, size=1200)
    result = linear_probe(*split(rows, labels))
    assert result.interval[0] < 0.25 < result.interval[1]


def test_a_rare_class_counts_as_much_as_a_frequent_one(rows):
    labels = (rows[:, 0] > 1.3).astype(int)  # about 10 %
    assert labels.mean() < 0.15
    assert linear_probe(*split(rows, labels)).balanced_accuracy > 0.9


def test_scale_and_shift_of_a_feature_do_not_matter(rows):
    labels = (rows[:, 0] > 0).astype(int)
    stretched = rows * np.array([1e4, 1, 1e-4, 1, 1, 1]) + 7
    one, other = (linear_probe(*split(x, labels)).balanced_accuracy for x in (rows, stretched))
    assert one == pytest.approx(other, abs=0.01)


def test_the_strength_of_the_penalty_is_found_on_training_records_alone(rows):
    labels = (rows[:, 0] > 0).astype(int)
    train, train_labels, test, test_labels = split(rows, labels)
    one = linear_probe(train, train_labels, test, test_labels)
    other = linear_probe(train, train_labels, test[::-1] * 3, 1 - test_labels)
    assert one.strength == other.strength


def test_the_interval_covers_the_truth(rows):
    """Of many test samples from one population, about 95 % of the intervals hold its accuracy."""
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        labels = generator.integers(2, size=400)
        features = (labels[:, None] * 2 - 1) * 0.8 + generator.normal(size=(400, 1))
        low, high = linear_probe(features[:200], labels[:200], features[200:], labels[200:], seed).interval
        covered += low <= 0.788 <= high
    assert covered >= 51


def test_one_class_is_refused(rows):
    with pytest.raises(DataError, match="at least two classes"):
        linear_probe(*split(rows, np.zeros(1200, dtype=int)))


def test_balanced_accuracy_is_the_mean_recall():
    right = np.array([True, True, False, True, False, False])
    assert balanced_accuracy(right, np.array([0, 0, 0, 1, 1, 2])) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_embedding_does_not_depend_on_the_batch_size_and_leaves_the_mode_alone(trained):
    run, data = trained
    run.method.train()
    one, other = embed(run, data.test, batch_size=7), embed(run, data.test, batch_size=32)
    assert run.method.training
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_probes_name_an_unknown_target(trained):
    run, data = trained
    with pytest.raises(DataError, match="'labell', did you mean 'label'"):
        probe(run, data, ["labell"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from commlearn.data.records import Dataset, Records, VectorColumn
    from commlearn.training.configuration import experiment_from
    from commlearn.training.loop import train

    values = np.random.default_rng(0).normal(size=(2, 32, 5)).astype("float32")
    columns = {"left": VectorColumn(values[0]), "right": VectorColumn(values[1])}
    records = Records(columns, {"label": (values[0][:, 0] > 0).astype(int)})
    settings = {"epochs": 1, "batch_size": 8, "log_every": 2}
    experiment = experiment_from(
        {"name": "small", "data": "trifeature", "model": {"width": 16}, "training": settings}
    )
    data = Dataset(records, records)
    return train(experiment, tmp_path_factory.mktemp("run") / "run", data), data
