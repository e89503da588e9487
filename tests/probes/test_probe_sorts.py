"""Probes of labels and of numbers with several outputs, nearest-neighbour probes, and retrieval."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from commlearn.batch import Spec
from commlearn.comparison.answers.task import task_of
from commlearn.errors import ConfigurationError, DataError, DivergedError
from commlearn.methods import METHODS
from commlearn.models.build import build_encoders
from commlearn.probes.linear import best_threshold, read_labels, read_numbers
from commlearn.probes.nearest import nearest, neighbour_classes, neighbour_numbers
from commlearn.probes.probe import Vectors, probe_vectors, sort_of
from commlearn.probes.retrieval import ranks, retrieval
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.storage.plain_json import json_text


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(600, 6)).astype(np.float32)


def half(*arrays):
    return [part for array in arrays for part in (array[:300], array[300:])]


def arranged(rows, labels):
    train, test, train_labels, test_labels = half(rows, labels)
    return train, train_labels, test, test_labels


def test_labels_are_read_each_with_a_threshold_of_its_own(rows):
    truth = np.stack([rows[:, 0] > 0, rows[:, 1] > 1.2, rows[:, 2] > -1], axis=1)
    outcome = read_labels(*arranged(rows, truth))
    result = outcome.result
    assert result.weighted_f1 > 0.9
    assert result.interval[0] <= result.weighted_f1 <= result.interval[1]
    assert result.weighted_f1 == pytest.approx(f1_score(outcome.truth, outcome.predicted, average="weighted"))
    assert result.macro_f1 == pytest.approx(f1_score(outcome.truth, outcome.predicted, average="macro"))
    assert (result.train_records, result.validation_records) == (240, 60)
    everything = np.ones_like(outcome.truth)
    assert result.chance == pytest.approx(f1_score(outcome.truth, everything, average="weighted"))
    assert json.loads(json_text({"tags": result}))["tags"]["chance"] == result.chance


def set_probe(rows, sets, test_sets):
    fit, test = (
        Vectors(
            rows[: len(each)],
            Records({"x": VectorColumn(rows[: len(each)])}, {"tags": np.empty(len(each), object)}),
        )
        for each in (sets, test_sets)
    )
    for part, each in ((fit, sets), (test, test_sets)):
        part.records.targets["tags"][:] = each
    return probe_vectors(Dataset(fit.records, test.records), fit, test)


@pytest.mark.parametrize(
    ("sets", "test_sets", "expected"),
    [
        ([("a",)], [("a",), ("b",)], "only one training record has it"),
        ([("a",), ("b",)] * 9, [(), (), ()], "all 3 test records that have it are without any label"),
        ([("a",), ("b",)] * 9, [("a", "b"), ("b", "a")], "all 2 test records that have it are a, b"),
    ],
)
def test_sets_that_cannot_be_fitted_or_scored_are_refused(rows, sets, test_sets, expected):
    with pytest.raises(DataError, match=expected):
        set_probe(rows, sets, test_sets)


def test_labels_of_a_single_group_are_divided_after_all(rows):
    truth = np.stack([rows[:, 0] > 0, rows[:, 1] > 1.2], axis=1)
    one = np.zeros(300, dtype=np.uint64)
    whole = read_labels(*arranged(rows, truth), groups=(one, None)).result
    assert whole == read_labels(*arranged(rows, truth)).result


def test_labels_as_tuples_give_what_labels_as_a_matrix_give(rows):
    truth = np.stack([rows[:, 0] > 0, rows[:, 1] > 0.5], axis=1)
    named = np.empty(len(rows), dtype=object)
    named[:] = [tuple(name for name, has in zip("ab", record, strict=True) if has) for record in truth]
    one, other = read_labels(*arranged(rows, truth)).result, read_labels(*arranged(rows, named)).result
    assert other.labels == ("a", "b")
    assert one.weighted_f1 == other.weighted_f1


def test_thresholds_follow_the_validation_records_and_never_the_test(rows):
    truth = np.stack([rows[:, 0] > 0, rows[:, 1] > 0], axis=1)
    train, test, train_truth, test_truth = half(rows, truth)
    held = (rows[:100], truth[:100])
    one = read_labels(train, train_truth, test, test_truth, validation=held).result
    other = read_labels(train, train_truth, test[::-1] * 2, ~test_truth, validation=held).result
    assert one.thresholds == other.thresholds
    assert one.strength == other.strength
    assert (one.train_records, one.validation_records) == (300, 100)


def test_the_best_threshold_is_that_of_a_search_over_all():
    generator = np.random.default_rng(0)
    for _ in range(50):
        shares, truth = generator.integers(6, size=12) / 5, generator.random(12) < 0.4
        score = f1_score(truth, shares >= best_threshold(shares, truth), zero_division=0)
        best = max(f1_score(truth, shares >= cut, zero_division=0) for cut in np.unique(shares))
        assert not truth.any() or score == pytest.approx(best)


def test_a_label_that_only_test_records_have_is_left_out(rows):
    train, test = half(rows)
    labels, more = np.empty(300, dtype=object), np.empty(300, dtype=object)
    labels[:] = [("a",) if row[0] > 0 else () for row in train]
    more[:] = [("a", "new") if row[0] > 0 else () for row in test]
    assert read_labels(train, labels, test, more).result.weighted_f1 > 0.9


def test_several_outputs_are_told_one_by_one(rows):
    values = np.stack([rows[:, 0], np.random.default_rng(1).normal(size=600)], axis=1)
    result = read_numbers(*arranged(rows, values)).result
    assert len(result.outputs) == 2
    assert result.outputs[0]["r2"] > 0.99
    assert abs(result.outputs[1]["r2"]) < 0.1
    assert result.r2 == pytest.approx(np.mean([output["r2"] for output in result.outputs]))
    assert result.intervals["mse"][0] <= result.mse <= result.intervals["mse"][1]


def test_an_output_that_is_constant_in_the_test_records_leaves_the_others_a_score(rows):
    values = np.stack([rows[:, 0], rows[:, 1]], axis=1)
    values[300:, 1] = 0.5
    result = read_numbers(*arranged(rows, values)).result
    assert result.r2 == pytest.approx(result.outputs[0]["r2"])
    assert result.r2 > 0.99
    assert np.isfinite(result.interval).all()
    parts = [
        Records({"a": VectorColumn(part)}, {"place": place})
        for part, place in zip(half(rows), half(values), strict=True)
    ]
    task = task_of(Dataset(*parts), "place", "number")
    score = task.scores(task.test, np.zeros_like(task.test), task.train.mean(axis=0))
    assert score == pytest.approx(0, abs=0.05)


def test_neighbours_are_those_of_a_search_one_by_one(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    neighbours, _ = nearest(unit[:20], unit, 3, apart=(np.arange(20), np.arange(600)))
    for row in range(20):
        similar = [(-float(unit[row] @ unit[other]), other) for other in range(600) if other != row]
        assert neighbours[row].tolist() == [other for _, other in sorted(similar)[:3]]


def test_neighbours_read_what_is_curved_and_agree_with_scikit_learn(rows):
    labels = ((rows[:, 0] > 0) ^ (rows[:, 1] > 0)).astype(int)
    result = neighbour_classes(*arranged(rows[:, :2], labels)).result
    assert result.balanced_accuracy > 0.9
    train, test, train_labels, test_labels = half(rows[:, :2], labels)
    mean, scale = train.mean(axis=0), train.std(axis=0)
    reference = KNeighborsClassifier(int(result.strength), metric="cosine")
    reference.fit((train - mean) / scale, train_labels)
    assert result.accuracy == pytest.approx(reference.score((test - mean) / scale, test_labels), abs=0.01)
    assert neighbour_numbers(*arranged(rows[:, :2], rows[:, 0] ** 2)).result.r2 < 0.9


def data_of(rows, targets):
    records = Records({"v": VectorColumn(rows)}, targets)
    return Dataset(records.choose(np.arange(300)), records.choose(np.arange(300, 600)))


def test_every_sort_of_target_is_probed_and_written_as_json(rows):
    targets = {
        "kind": (rows[:, 0] > 0).astype(int),
        "tags": np.stack([rows[:, 0] > 0, rows[:, 1] > 0], axis=1),
        "size": rows[:, 2].astype(np.float64),
    }
    assert {name: sort_of(values) for name, values in targets.items()} == {
        "kind": "class",
        "tags": "multilabel",
        "size": "number",
    }
    data = data_of(rows, targets)
    vectors = [Vectors(rows[:300], data.train), Vectors(rows[300:], data.test)]
    outcomes = probe_vectors(data, *vectors)
    assert all(getattr(out.result, out.result.measure) > 0.9 for out in outcomes.values())
    assert set(json.loads(json_text({name: out.result for name, out in outcomes.items()}))) == set(targets)
    assert set(probe_vectors(data, *vectors, kind="neighbours")) == {"kind", "size"}
    with pytest.raises(DataError, match="'tags' is multilabel"):
        probe_vectors(data, *vectors, targets="tags", kind="neighbours")
    with pytest.raises(ConfigurationError, match="did you mean 'linear'"):
        probe_vectors(data, *vectors, kind="liner")


def test_what_is_not_finite_is_null():
    values = {"a": (np.float32("nan"), float("inf"), 1), "b": np.array([1.5, -np.inf]), "c": Vectors}
    text = json_text(values)
    assert json.loads(text, parse_constant=pytest.fail)["a"] == [None, None, 1]
    assert json.loads(text)["b"] == [1.5, None]


def test_ranks_are_those_of_sorting():
    generator = np.random.default_rng(0)
    queries, gallery = generator.normal(size=(2, 30, 4))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery)]
    for row, rank in enumerate(ranks(queries, gallery)):
        similar = unit[1] @ unit[0][row]
        assert rank == 1 + sorted(-similar).index(-similar[row])
    assert ranks(np.ones((4, 2)), np.ones((4, 2))).tolist() == [2.5] * 4  # ties share the middle rank


@pytest.mark.parametrize("name", ["clip", "cmc", "crossself", "comm"])
def test_retrieval_finds_records_whose_modalities_are_the_same(name):
    torch.manual_seed(0)
    specs = {"a": Spec("vector", (4,)), "b": Spec("vector", (4,))}
    encoders = build_encoders(specs, 16, {"vector": {"name": "linear"}})
    method = METHODS[name].build(encoders, 16)
    for part in ("projectors", "heads"):
        if hasattr(method, part):
            getattr(method, part)["b"].load_state_dict(getattr(method, part)["a"].state_dict())
    encoders["b"].load_state_dict(encoders["a"].state_dict())
    values = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    same = Records({"a": VectorColumn(values), "b": VectorColumn(values)})
    scores = retrieval(method, same, ["a"], ["b"])
    assert scores.recall[1] == 1
    with pytest.raises(ConfigurationError, match="'bb', did you mean 'b'"):
        retrieval(method, same, ["a"], ["bb"])
    with pytest.raises(ConfigurationError, match="'a' is named twice"):
        retrieval(method, same, ["a", "b"], ["a"])
    for sides in (([], ["b"]), (["a"], [])):
        with pytest.raises(ConfigurationError, match="has no modality"):
            retrieval(method, same, *sides)
    broken = values.copy()
    broken[3] = np.nan  # comparisons with NaN are False, so it would rank first
    with pytest.raises(DivergedError, match="not finite"):
        retrieval(method, Records({"a": VectorColumn(broken), "b": VectorColumn(values)}), ["a"], ["b"])
    mixed = Records({"a": VectorColumn(values), "b": VectorColumn(values[::-1].copy())})
    assert retrieval(method, mixed, ["a"], ["b"]).recall[1] < 0.5
