"""Baselines: the contract of all, on every kind of modality, and what each of them should find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from commlearn.comparison.baselines import (
    BASELINES,
    BaselineInputs,
    common_directions,
    find_baseline,
    raw_parts,
    single_names,
)
from commlearn.config.configuration import experiment_from
from commlearn.datasets.synthetic_tables import SyntheticTable
from commlearn.errors import ConfigurationError
from commlearn.probes.probe import Vectors, probe_vectors
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.tables.dataset import dataset_of
from commlearn.tables.schema import Schema
from commlearn.tables.table import read_table
from commlearn.training.callbacks import Callback


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images, texts, tables, series and vectors, some of them missing."""
    folder = tmp_path_factory.mktemp("table")
    path = SyntheticTable(rows=60, size=16, missing=0.2).write(folder)
    return dataset_of(read_table(path), Schema.from_yaml(folder / "schema.yaml"))


def given(data, folder, seed=0, targets=("shared",)):
    settings = {"epochs": 2, "batch_size": 16, "threads": 1}
    experiment = experiment_from(
        {"name": "e", "data": "trifeature", "seed": seed, "model": {"width": 16}, "training": settings}
    )
    return BaselineInputs(experiment, data, targets, folder, Callback())


@pytest.mark.parametrize("name", [*BASELINES, "single"])
def test_vectors_are_finite_one_a_record_and_learned_from_the_first_part_alone(name, data, tmp_path):
    for one in single_names(list(data.train.specs)) if name == "single" else [name]:
        baseline = find_baseline(one, list(data.train.specs))
        train, test = baseline.make(given(data, tmp_path / "a"), [data.train, data.test])
        assert (len(train), len(test)) == (len(data.train), len(data.test))
        assert train.shape[1] == test.shape[1]
        assert np.isfinite(train).all()
        assert np.isfinite(test).all()
        few = data.test.choose(np.arange(3))
        again, rest = baseline.make(given(data, tmp_path / "b"), [data.train, few])
        np.testing.assert_allclose(again, train, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(rest, test[:3], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_the_seed_matters_where_it_is_said_to(name, data, tmp_path):
    baseline = BASELINES[name]
    one, other = (baseline.make(given(data, tmp_path / str(seed), seed), [data.train])[0] for seed in (0, 1))
    assert np.allclose(one, other) is not baseline.drawn


def test_fixed_features_are_raw_ones_if_pretrained_encoders_read_everything(data, tmp_path):
    pretrained = replace(data, state={name: {"encoder": {}} for name in data.train.specs})
    fixed, raw = (
        BASELINES[name].make(given(pretrained, tmp_path), [data.train]) for name in ("fixed", "raw")
    )
    np.testing.assert_array_equal(fixed, raw)


def test_labels_are_seen_by_none_but_those_that_say_so(data, tmp_path):
    blank = replace(data, train=Records(data.train.columns), test=Records(data.test.columns))
    for name, baseline in BASELINES.items():
        if not baseline.labels:
            seen, unseen = (
                baseline.make(given(part, tmp_path / name), [part.train])[0] for part in (data, blank)
            )
            np.testing.assert_array_equal(seen, unseen)


def test_a_record_without_a_modality_has_zeros_and_says_so(data):
    for name, (rows, *_) in raw_parts([data.train], list(data.train.specs)).items():
        there = data.train.view(slice(None), [name])[name].present.numpy()
        assert not there.all()
        assert (rows[~there, :-1] == 0).all()
        np.testing.assert_array_equal(rows[:, -1], ~there)


def test_raw_series_statistics_equal_those_of_each_record_alone(data):
    (rows,) = raw_parts([data.train], ["series"])["series"]
    for row in range(10):
        modality = data.train.view(np.array([row]), ["series"])["series"]
        values = modality.values[0].numpy()
        if modality.present is not None and not modality.present[0]:
            continue
        if modality.padding is not None:
            values = values[~modality.padding[0].numpy()]
        expected = [values.mean(0), values.std(0), values.min(0), values.max(0)]
        expected.append(np.abs(np.diff(values, axis=0)).mean(0))
        np.testing.assert_allclose(rows[row, :-1], np.concatenate(expected), rtol=1e-3, atol=1e-4)


def correlated(records=400, seed=0):
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(records, 2))
    noise = [generator.normal(size=(records, 5)) for _ in range(3)]
    mixes = [generator.normal(size=(2, 5)) for _ in range(3)]
    rows = [shared @ mix + 0.5 * part for mix, part in zip(mixes, noise, strict=True)]
    return shared, [(part - part.mean(0)) / part.std(0) for part in rows]


def test_two_modalities_without_ridge_are_those_of_scikit_learn():
    _, (first, second, _) = correlated()
    maps, reached = common_directions([first, second], 2, ridge=0.0)
    ours = [rows @ matrix for rows, matrix in zip((first, second), maps, strict=True)]
    theirs = CCA(2, max_iter=5000, tol=1e-10).fit(first, second).transform(first, second)
    for place in range(2):
        expected = np.corrcoef(theirs[0][:, place], theirs[1][:, place])[0, 1]
        assert np.corrcoef(ours[0][:, place], ours[1][:, place])[0, 1] == pytest.approx(expected, abs=1e-3)
        assert 2 * reached[place] - 1 == pytest.approx(expected, abs=1e-3)


def test_three_modalities_find_what_they_share():
    shared, rows = correlated()
    maps, reached = common_directions(rows, 5)
    assert reached[1] > reached[2] + 0.2  # two shared directions, no third
    for part, matrix in zip(rows, maps, strict=True):
        component = part @ matrix[:, :2]
        residual = shared - component @ np.linalg.lstsq(component, shared, rcond=None)[0]
        assert (residual**2).mean() < 0.25 * (shared**2).mean()


def test_directions_are_those_of_the_slow_definition():
    _, rows = correlated(records=60)
    maps, reached = common_directions(rows, 3, ridge=0.2)
    projectors = [part @ np.linalg.solve(part.T @ part + 60 * 0.2 * np.eye(5), part.T) for part in rows]
    values, vectors = np.linalg.eigh(sum(projectors) / 3)
    np.testing.assert_allclose(reached, values[::-1][:3], rtol=1e-6)
    for place in range(3):
        direction = vectors[:, -1 - place]
        for part, matrix, projector in zip(rows, maps, projectors, strict=True):
            expected = projector @ direction * np.sqrt(60)
            component = part @ matrix[:, place]
            np.testing.assert_allclose(component * np.sign(component @ expected), expected, atol=1e-6)


def test_the_ceiling_reads_what_linear_baselines_cannot(tmp_path):
    generator = np.random.default_rng(0)
    rows = generator.choice([-1.0, 1.0], size=(600, 2)) + 0.2 * generator.normal(size=(600, 2))
    labels = ((rows[:, 0] > 0) ^ (rows[:, 1] > 0)).astype(int)
    columns = {"a": VectorColumn(rows[:, :1].astype("f4")), "b": VectorColumn(rows[:, 1:].astype("f4"))}
    records = Records(columns, {"parity": labels})
    data = Dataset(records.choose(np.arange(400)), records.choose(np.arange(400, 600)))
    base = given(data, tmp_path, targets=("parity",))
    training = replace(base.experiment.training, epochs=25, batch_size=32, learning_rate=3e-3)
    base = replace(base, experiment=replace(base.experiment, training=training))
    reached = {}
    for name in ("raw", "supervised"):
        parts = [data.train, data.test]
        vectors = zip(BASELINES[name].make(base, parts), parts, strict=True)
        outcome = probe_vectors(data, *(Vectors(*pair) for pair in vectors))["parity"]
        reached[name] = outcome.result.balanced_accuracy
    assert reached["raw"] < 0.65
    assert reached["supervised"] > 0.9


def test_an_unknown_single_modality_is_named():
    with pytest.raises(ConfigurationError, match="did you mean 'raw:image'"):
        find_baseline("raw:imag", ["image", "text"])
    assert find_baseline("comm", ["image"]) is None
