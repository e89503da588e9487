"""Encoders that read fixed features: when they are chosen, and that features are computed only once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import commlearn as cl
from commlearn.config.own_data import experiment_for
from commlearn.errors import ConfigurationError
from commlearn.models.build import build_encoders
from commlearn.models.encoders.tabular import FeatureEncoder
from commlearn.models.features import FeatureBlocks, FeatureValues, FixedFeatures, feature_column
from commlearn.records import Chosen, Drawn, ImageColumn, Records, VectorColumn
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table
from commlearn.training.finetune import FineTuning, finetune
from commlearn.training.train import train

MODALITIES = {
    "labs": {"kind": "tabular", "columns": ["age", "site"]},
    "ecg": {"kind": "series", "column": "ecg"},
}


def table(rows=80):
    draw = np.random.default_rng(0)
    ecg = [draw.normal(size=20).tolist() for _ in range(rows)]
    return pd.DataFrame(
        {
            "age": draw.normal(50, 10, rows),
            "site": np.array(["a", "b"], dtype=object)[draw.integers(2, size=rows)],
            "ecg": pd.Series([*ecg[:-3], None, None, None], dtype=object),
            "ill": draw.integers(2, size=rows),
        }
    )


def chosen(modalities=MODALITIES, rows=80, **settings):
    schema = cl.Schema.from_mapping({"modalities": modalities, "targets": {"ill": "class"}})
    data = dataset_of(read_table(table(rows)), schema)
    stated = {"name": "own", "data": {"name": "table", "table": "", "schema": schema.to_mapping()}}
    experiment, note = experiment_for({"method": {"name": "comm"}, **stated, **settings}, data)
    return experiment, note, data


def read_by(experiment):
    return {name: part["name"] for name, part in experiment.model.encoders.items()}


def test_encoders_of_own_tables_read_fixed_features_and_the_log_says_so():
    experiment, note, _ = chosen()
    assert read_by(experiment) == {"labs": "fixed", "ecg": "fixed"}
    assert experiment.method["temperature"] == 0.3
    assert {part["name"] for part in experiment.augmentations.values()} == {"vector"}
    for words in ("model.encoders.{labs,ecg} fixed", "temperature 0.3", "augmentations.{labs,ecg} vector"):
        assert words in note


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"encoders": {"ecg": {"name": "gru"}}}},
        {"model": {"encoders": {"series": {"name": "gru"}}}},
        {"augmentations": {"ecg": {"name": "sequence"}}},
        {"augmentations": {"series": {"crop": 0.5}}},
    ],
)
def test_what_is_stated_for_the_values_of_a_modality_leaves_it_to_a_learned_encoder(settings):
    experiment, _, _ = chosen(**settings)
    assert read_by(experiment).get("labs") == "fixed"
    assert read_by(experiment).get("ecg") != "fixed"


@pytest.mark.parametrize("stated", [{"name": "none"}, {"name": "noise", "std": 0.2}, {"name": "vector"}])
def test_an_augmentation_of_vectors_is_one_of_features(stated):
    experiment, _, _ = chosen(augmentations={"ecg": stated})
    assert read_by(experiment) == {"labs": "fixed", "ecg": "fixed"}
    assert experiment.augmentations["ecg"] == stated


def test_without_features_everything_is_learned_as_before():
    experiment, _, _ = chosen(model={"features": "learned"})
    assert "fixed" not in read_by(experiment).values()
    assert "temperature" not in experiment.method
    stated, _, _ = chosen(method={"name": "comm", "temperature": 0.07})
    assert stated.method["temperature"] == 0.07


def test_an_encoder_that_reads_features_needs_some(tmp_path):
    with pytest.raises(ConfigurationError, match=r"fixed of 'ecg'.*model\.features=fixed"):
        build_encoders(chosen()[2].train.specs, 8, {"ecg": {"name": "fixed"}})
    experiment, _, data = chosen(model={"features": "learned", "encoders": {"ecg": {"name": "fixed"}}})
    with pytest.raises(ConfigurationError, match=r"fixed of 'ecg'"):
        train(experiment, tmp_path / "run", data)


def test_training_and_fine_tuning_compute_features_once(tmp_path, monkeypatch):
    rows_seen = []
    forward = FixedFeatures.forward

    def counted(self, modality):
        rows_seen.append(len(modality))
        return forward(self, modality)

    experiment, _, data = chosen(training={"epochs": 3, "batch_size": 16, "diagnose": 0})
    monkeypatch.setattr(FixedFeatures, "forward", counted)
    run = train(experiment, tmp_path / "run", data)
    # for two modalities: once to learn what to expect of absent ones, once for training; not every epoch
    assert sum(rows_seen) == 2 * 2 * len(data.train)
    rows_seen.clear()
    monkeypatch.setattr("commlearn.training.finetune.probe", lambda *_: {})
    monkeypatch.setattr("commlearn.training.finetune.json_text", lambda _: "{}")
    finetune(run, FineTuning("ill", epochs=3), tmp_path / "tuned", data)
    blank = 4  # at most: blank records that test the features when the tuned run is loaded
    assert sum(rows_seen) <= 2 * (len(data.train)) + blank


def test_features_that_were_computed_embed_as_the_values_do(tmp_path):
    experiment, _, data = chosen(training={"epochs": 1, "batch_size": 16})
    run = train(experiment, tmp_path / "run", data)
    records = data.train
    values = records.view(np.arange(len(records)))
    computed = {
        name: feature_column(features, records.columns[name]).take(np.arange(len(records)))
        for name, features in run.features.each.items()
    }
    with torch.inference_mode():
        expected = run.method.embed(values)
        torch.testing.assert_close(run.method.embed(computed), expected)
    assert all(isinstance(part, FeatureValues) for part in computed.values())
    np.testing.assert_allclose(
        cl.embed(run, records, blocks="learned"), expected.numpy(), atol=1e-5, rtol=1e-5
    )
    assert not any(name.startswith("encoders") and "rocket" in name for name in run.method.state_dict())


def test_a_record_without_the_modality_contributes_no_token():
    column = VectorColumn(np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32))
    blocks = FeatureBlocks({"v": column.spec}).learn(Records({"v": column}), 0)
    encoder = build_encoders({"v": column.spec}, 8, {"v": {"name": "fixed"}}, features=blocks)["v"]
    assert isinstance(encoder, FeatureEncoder)
    modality = column.take(np.arange(4))
    absent = type(modality)(modality.values, None, torch.tensor([True, False, True, True]))
    tokens = encoder.eval()(absent)
    assert tokens.padding.tolist() == [[False], [True], [False], [False]]


def test_records_that_show_one_image_share_its_features_and_versions_stay_versions():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, size=(6, 8, 8, 3)).astype(np.uint8)
    column = ImageColumn(images, draw.integers(6, size=50))
    features = FixedFeatures(column.spec).learn(column, 0)
    shared = feature_column(features, column)
    assert shared.values.shape == (len(np.unique(column.index)), features.dim)
    torch.testing.assert_close(shared.take(np.arange(50)).values, features(column.take(np.arange(50))))
    some = feature_column(features, Chosen(column, np.array([7, 3])))
    torch.testing.assert_close(some.take(np.array([1])).values, features(column.take(np.array([3]))))
    several = feature_column(features, Drawn(column, np.array([0, 20]), np.array([2, 3])))
    assert isinstance(several, Drawn)
    torch.testing.assert_close(several.take(np.array([1])).values, features(column.take(np.array([20]))))
    versions = features(column.take(np.array([0, 1])))
    for _ in range(20):
        drawn = several.draw(np.array([0]), draw).values
        assert torch.isclose(drawn, versions, atol=1e-5).all(dim=1).any()


def test_a_head_of_no_features_is_refused(tmp_path):
    experiment, _, data = chosen(method={"name": "comm", "head": [0, 8]})
    with pytest.raises(ConfigurationError, match="head is"):
        train(experiment, tmp_path / "run", data)
