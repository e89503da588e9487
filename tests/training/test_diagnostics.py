"""Diagnostics: each figure equals a plain computation, and computing them changes nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from small_runs import assert_same, data, experiment

from commlearn.config.build import build_method
from commlearn.methods import METHODS
from commlearn.methods.comm import CoMM
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.training.train import train
from commlearn.training.watch import (
    Diagnostics,
    alignment,
    effective_rank,
    neighbours,
    sensitivity,
    uniformity,
    warnings_for,
)

RNG = torch.Generator().manual_seed(0)


def test_rank_of_known_spectra():
    assert effective_rank(torch.eye(6)) == pytest.approx(6)
    assert effective_rank(torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0]))) == pytest.approx(2)
    shares = torch.tensor([3.0, 1.0]) / 4
    expected = math.exp(-sum(float(p) * math.log(p) for p in shares))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected)


def test_rank_counts_directions_and_sees_embeddings_that_are_all_but_one_point():
    cloud = torch.randn(4000, 8, generator=RNG)
    assert effective_rank(cloud) == pytest.approx(8, abs=0.05)
    assert effective_rank(cloud[:, :1] @ cloud[:1]) == pytest.approx(1, abs=1e-3)
    assert effective_rank(1 + 1e-3 * cloud) == pytest.approx(1, abs=0.1)


def test_the_report_and_the_training_mean_the_same_rank():
    from commlearn.reports import findings

    assert findings.effective_rank is effective_rank


def test_alignment_and_uniformity_equal_loops():
    first, second = torch.randn(2, 7, 3, generator=RNG, dtype=torch.float64)
    a, b = ([row / row.norm() for row in rows] for rows in (first, second))
    distances = [float((x - y) @ (x - y)) for x, y in zip(a, b, strict=True)]
    assert alignment(first, second) == pytest.approx(sum(distances) / 7)
    pairs = [math.exp(-2 * float((a[i] - a[j]) @ (a[i] - a[j]))) for i in range(7) for j in range(i)]
    assert uniformity(first) == pytest.approx(math.log(sum(pairs) / len(pairs)))


def test_neighbours_equal_a_loop_and_leave_out_what_has_no_class():
    rows, classes = torch.randn(24, 3, generator=RNG), torch.arange(24) % 3
    classes[5] = -1
    labelled = [i for i in range(24) if classes[i] >= 0]
    right = {0: [], 1: [], 2: []}
    for i in labelled:
        cosine = {k: float(torch.cosine_similarity(rows[i], rows[k], dim=0)) for k in labelled if k != i}
        nearest = sorted(cosine, key=cosine.get, reverse=True)[:5]
        votes = [sum(int(classes[k]) == label for k in nearest) for label in range(3)]
        right[int(classes[i])].append(votes.index(max(votes)) == int(classes[i]))
    expected = np.mean([np.mean(hits) for hits in right.values()])
    assert neighbours(rows, classes) == pytest.approx(expected)
    assert neighbours(rows, torch.arange(24)) is None
    assert neighbours(rows, torch.zeros(24, dtype=torch.long)) is None


def test_sensitivity_of_what_is_ignored_is_zero_and_of_all_that_counts_one():
    one, other = torch.randn(2, 50, 4, generator=RNG)
    assert sensitivity(one, one) == 0
    assert sensitivity(one, one.roll(1, 0)) == pytest.approx(1)
    both = torch.cat([one, other], dim=1)
    halves = [
        sensitivity(both, torch.cat([one.roll(1, 0), other], dim=1)),
        sensitivity(both, torch.cat([one, other.roll(1, 0)], dim=1)),
    ]
    assert sum(halves) == pytest.approx(1)


def test_warnings_name_the_modality_and_the_collapse():
    quiet = {"rank": {"fused": 20.0}, "spread": {"uniformity": -2.0}, "sensitivity": {"a": 0.6, "b": 0.4}}
    assert warnings_for(quiet) == ()
    (warning,) = warnings_for({**quiet, "sensitivity": {"a": 1.0, "b": 0.001}})
    assert warning.startswith("modality 'b' is being ignored")
    for change in ({"rank": {"fused": 1.2}}, {"spread": {"uniformity": -0.001}}):
        (warning,) = warnings_for({**quiet, **change})
        assert warning.startswith("the embedding is collapsing")
    assert warnings_for({**quiet, "sensitivity": {"a": 0.0}}) == ()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_looked_at_and_left_as_it_was(method):
    settings = experiment(method)
    method = build_method(settings, data().train.specs).train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    state = torch.get_rng_state()
    values = Diagnostics(settings, data(), method, {}).look(1)
    assert method.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())
    assert list(values["rank"]) == ["fused", "left", "right"]
    assert list(values["sensitivity"]) == ["left", "right"]
    assert list(values["neighbours"]) == ([] if method.views.targets else ["half"])
    assert values["spread"]["alignment"] == 0  # no augmentation
    assert all(math.isfinite(value) for part in values.values() for value in part.values())


def test_the_order_of_a_table_does_not_matter_to_what_is_heard():
    """Tables are often sorted by one modality, for example with the same image in many successive rows."""
    draw = np.random.default_rng(0)
    site = np.repeat(draw.normal(size=(2, 5)), 32, axis=0).astype("float32")
    columns = {
        "left": VectorColumn(site),
        "right": VectorColumn(draw.normal(size=(64, 5)).astype("float32")),
    }
    sorted_ones = Records(columns)
    settings = experiment()
    method = build_method(settings, sorted_ones.specs)
    heard = Diagnostics(settings, Dataset(sorted_ones, sorted_ones), method, {}).look(1)["sensitivity"]
    mixed = sorted_ones.choose(draw.permutation(64))
    other = Diagnostics(settings, Dataset(mixed, mixed), method, {}).look(1)["sensitivity"]
    assert heard["left"] > 0.5 * other["left"] > 0


def test_a_modality_that_never_changes_is_told_as_ignored(tmp_path):
    columns = {
        "left": VectorColumn(np.random.default_rng(0).normal(size=(64, 5)).astype("float32")),
        "right": VectorColumn(np.ones((64, 5), np.float32)),
    }
    records = Records(columns)
    run = train(experiment(epochs=1), tmp_path / "run", Dataset(records, records))
    assert [warning.split(":")[0] for warning in run.warnings] == ["modality 'right' is being ignored"]
    assert "warning after epoch 1: modality 'right'" in (tmp_path / "run" / "log.txt").read_text()


def test_a_collapsed_embedding_is_told(tmp_path, monkeypatch):
    original = CoMM.embed
    monkeypatch.setattr(CoMM, "embed", lambda *given: 1.0 + 1e-6 * original(*given))
    run = train(experiment(epochs=1), tmp_path / "run", data())
    assert any(warning.startswith("the embedding is collapsing") for warning in run.warnings)


def test_metrics_hold_diagnostics_after_every_epoch_and_looking_changes_no_weight(tmp_path):
    train(experiment(log_every=3), tmp_path / "one", data())
    train(experiment(log_every=3), tmp_path / "two", data())
    assert_same(tmp_path / "one", tmp_path / "two")
    entries = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [3, 4, 6, 8, 9, 12]
    looked = [entry["step"] for entry in entries if "diagnostics.rank" in entry]
    assert looked == [4, 8, 12]
    assert "diagnostics.sensitivity.left" in (tmp_path / "one" / "metrics.csv").read_text().splitlines()[0]
    blind = train(experiment(log_every=3, diagnose=0), tmp_path / "blind", data())
    one = train(experiment(log_every=3), tmp_path / "one", data(), resume=True)
    for key, value in blind.method.state_dict().items():
        assert torch.equal(value, one.method.state_dict()[key])


def test_a_record_is_not_voted_on_by_its_own_group():
    """Each of ten groups holds copies of one record: recognising a group says nothing about the label."""
    draw = np.random.default_rng(0)
    rows = torch.from_numpy(draw.normal(size=(10, 4)).repeat(6, axis=0))
    groups, classes = torch.arange(10).repeat_interleave(6), torch.tensor([0, 1] * 5).repeat_interleave(6)
    assert neighbours(rows, classes) == 1.0
    assert neighbours(rows, classes, groups=groups) < 0.8
    assert neighbours(rows, classes, groups=torch.zeros(60)) is None


def test_methods_with_labels_are_not_looked_at_through_the_rows_they_learned_from():
    settings = experiment(method={"name": "supcon", "target": "half"})
    own = data()
    method = build_method(settings, own.train.specs)
    assert Diagnostics(settings, own, method, {}).classes == {}
    validated = Dataset(own.train, own.test, own.test)
    assert "half" in Diagnostics(settings, validated, method, {}).classes


def test_of_few_validation_records_nothing_is_said():
    """Two embeddings have a rank of at most 2, which would be reported as a collapse."""
    few = Dataset(data(64).train, data().test, data().test.choose(np.arange(2)))
    settings = experiment()
    looked_at = Diagnostics(settings, few, build_method(settings, few.train.specs), {})
    assert len(looked_at.records) >= 32
    assert warnings_for(looked_at.look(1)) == ()
