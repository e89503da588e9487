"""Records are stand-ins only for records that are their neighbours in most modalities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

import commlearn as cl
from commlearn.augmentations import VectorAugmentation, plan_batch
from commlearn.batch import Modality
from commlearn.config.configuration import read_experiment
from commlearn.config.own_data import experiment_for
from commlearn.errors import ConfigurationError
from commlearn.models.features import FeatureColumn, fixed, stand_ins
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table


def columns_of(draw, records: int = 60, absent: Mapping[str, int] = {}, shared: float = 3.0):
    """Return three modalities of records that belong to ten clusters."""
    centres = draw.normal(size=(10, 5)) * shared
    columns = {}
    for name in ("a", "b", "c"):
        values = (centres[np.arange(records) % 10] + draw.normal(size=(records, 5))).astype(np.float32)
        present = None
        if name in absent:
            present = draw.random(records) > absent[name] / 10
            values[~present] = 0
        columns[name] = FeatureColumn(values, present, np.arange(records))
    return columns


def slow(columns, nearest: int) -> list[set[int]]:
    """Return the stand-ins of each record, comparing one pair at a time."""
    count = len(next(iter(columns.values())))
    votes = np.zeros((count, count), dtype=int)
    for column in columns.values():
        present = np.ones(count, dtype=bool) if column.present is None else column.present
        for one in np.flatnonzero(present):
            alike = []
            for other in np.flatnonzero(present):
                if one != other:
                    first, second = column.values[one], column.values[other]
                    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
                    alike.append((cosine, other))
            for _, other in sorted(alike, reverse=True)[:nearest]:
                votes[one, other] += 1
    return [set(np.flatnonzero(row >= 2)) for row in votes]


@pytest.mark.parametrize("absent", [{}, {"b": 3}, {"a": 5, "c": 5}])
def test_equal_to_every_pair_compared_by_itself(absent):
    columns = columns_of(np.random.default_rng(0), absent=absent)
    made = stand_ins(columns)
    expected = slow(columns, nearest=int(0.5 * 60**0.5))
    assert [set(row[row >= 0]) for row in made.places] == expected
    assert made.count.tolist() == [len(places) for places in expected]


def test_blocks_of_records_change_nothing(monkeypatch):
    columns = columns_of(np.random.default_rng(1))
    whole = stand_ins(columns)
    monkeypatch.setattr(fixed, "COMPARED", 7)
    np.testing.assert_array_equal(stand_ins(columns).places, whole.places)


def test_modalities_that_share_something_have_many_and_others_none():
    draw = np.random.default_rng(2)
    alike, apart = (stand_ins(columns_of(draw, 400, shared=shared)) for shared in (3.0, 0.0))
    group = np.arange(400) % 10
    right = [
        np.mean(group[row[row >= 0]] == group[one]) for one, row in enumerate(alike.places) if row[0] >= 0
    ]
    assert alike.count.mean() > 1
    assert np.mean(right) > 0.9
    assert apart is None


def test_one_modality_one_record_and_no_agreement_have_none():
    columns = columns_of(np.random.default_rng(3))
    assert stand_ins({"a": columns["a"]}) is None
    one = {name: FeatureColumn(column.values[:1], None, np.zeros(1, int)) for name, column in columns.items()}
    assert stand_ins(one) is None


def test_versions_come_from_stand_ins_and_what_only_one_of_both_has_stays():
    columns = columns_of(np.random.default_rng(4), 200, absent={"b": 4})
    made, rows = stand_ins(columns), np.arange(200)
    view = made.view(rows, np.random.default_rng(0))
    replaced = (view["a"].values.numpy() != columns["a"].values).any(axis=1)
    assert not replaced[made.count == 0].any()
    assert 0.35 < replaced[made.count > 0].mean() < 0.65
    np.testing.assert_array_equal(view["b"].present.numpy(), columns["b"].present)
    for one in np.flatnonzero(replaced):
        givers = made.places[one, : made.count[one]]
        assert any((view["a"].values[one].numpy() == columns["a"].values[other]).all() for other in givers)


def test_a_batch_is_made_from_the_sources_of_its_versions():
    rows = [Modality(torch.full((3, 2), float(value))) for value in range(3)]
    plan = plan_batch(
        {"a": rows[0]}, {}, {}, torch.Generator(), True, 2, None, [{"a": rows[1]}, {"a": rows[2]}]
    )
    batch = plan(slice(0, 2))
    assert batch.plain["a"].values.unique().tolist() == [0.0]
    assert [view["a"].values.unique().tolist() for view in batch.augmented] == [[1.0], [2.0]]


def test_swapped_features_are_those_of_records_that_have_the_modality():
    present = torch.tensor([True, True, False, True] * 50)
    values = torch.arange(1.0, 201.0)[:, None].expand(200, 8) * present[:, None]
    augmented = VectorAugmentation(std=0.0, drop=0.0, swap=0.5)(
        Modality(values, None, present), torch.Generator().manual_seed(0)
    )
    changed = (augmented.values != values)[present]
    assert 0.3 < changed.float().mean() < 0.55
    assert not changed.all(dim=1).any()  # at least one feature is kept
    assert (augmented.values[present] > 0).all()  # never from a record without the modality
    assert torch.isin(augmented.values[present], values[present]).all()


def test_the_log_says_how_many_records_have_stand_ins(tmp_path, monkeypatch):
    draw = np.random.default_rng(5)
    centres = draw.normal(size=(10, 8)) * 3
    table = {
        name: (centres[np.arange(200) % 10] + draw.normal(size=(200, 8))).astype("float32") for name in "ab"
    }
    schema = cl.Schema({name: cl.Vector(name) for name in "ab"})
    model = cl.Embedder(schema, epochs=1, out=tmp_path / "run").fit(table)
    assert model.trained.experiment.training.stand_ins
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "of the training records have stand-ins: neighbours in most modalities" in log
    alone = cl.Embedder(cl.Schema({"a": cl.Vector("a")}), epochs=1).fit({"a": table["a"]})
    assert not alone.trained.experiment.training.stand_ins
    monkeypatch.setattr("commlearn.config.own_data.LARGE", 100)  # larger tables have no stand-ins by default
    data = {"name": "table", "table": "", "schema": schema.to_mapping()}
    for training, wanted in ({}, False), ({"stand_ins": True}, True):
        settings = {"name": "own", "data": data, "model": {"features": "fixed"}, "training": training}
        experiment, _ = experiment_for(settings, dataset_of(read_table(table), schema))
        assert experiment.training.stand_ins is wanted


def test_stand_ins_without_features_to_compare_are_refused(tmp_path):
    small = {"training.epochs": 1, "data.size": 32, "data.train_pairs": 64, "training.stand_ins": True}
    with pytest.raises(ConfigurationError, match="training.stand_ins compares the fixed features"):
        cl.train(read_experiment("trifeature-quick", small), tmp_path / "run")
