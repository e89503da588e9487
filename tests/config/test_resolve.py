"""A run's folder states every option, so that changed defaults do not affect existing runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from commlearn.augmentations import AUGMENTATIONS, DEFAULT_AUGMENTATION
from commlearn.batch import Spec
from commlearn.config.build import resolved
from commlearn.config.configuration import experiment_from, to_mapping
from commlearn.datasets import READERS
from commlearn.errors import RunError
from commlearn.methods import METHODS
from commlearn.methods.comm import CoMM
from commlearn.models.build import FUSIONS
from commlearn.models.encoders import ENCODERS
from commlearn.models.encoders.tabular import mlp
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.seeds import numpy_generator
from commlearn.trained.artifact import export, load
from commlearn.trained.run import load_run
from commlearn.training.train import train

SPECS = {"left": Spec("vector", (5,)), "poster": Spec("image", (3, 32, 32))}
PARTS = [
    *(("method", name) for name in METHODS),
    *(("fusion", name) for name in FUSIONS),
    *(("encoder", name) for name in ENCODERS),
    *(("augmentation", name) for name in ["none", *AUGMENTATIONS]),
    *(("data", name) for name in READERS),
]


def small(**parts):
    mapping = {
        "name": "small",
        "data": {"name": "trifeature"},
        "model": {"width": 16},
        "training": {"epochs": 1, "batch_size": 8, "diagnose": 0},
    }
    return experiment_from({**mapping, **parts})


def records() -> Dataset:
    values = numpy_generator(0, "test").normal(size=(2, 16, 5)).astype("float32")
    made = Records({"left": VectorColumn(values[0]), "right": VectorColumn(values[1])})
    return Dataset(made, made)


def written(experiment):
    """Return the experiment as it is read back from a run's folder or an artifact."""
    return experiment_from(yaml.safe_load(yaml.safe_dump(plain(experiment))))


def plain(experiment):
    return json.loads(json.dumps(to_mapping(experiment)))


@pytest.mark.parametrize(("sort", "name"), PARTS)
def test_every_part_with_all_its_options_is_read_as_it_was_written(sort, name):
    experiment = small()
    if sort == "fusion":
        experiment = replace(experiment, model=replace(experiment.model, fusion={"name": name}))
    elif sort == "encoder":
        experiment = replace(experiment, model=replace(experiment.model, encoders={"vector": {"name": name}}))
    elif sort == "augmentation":
        experiment = replace(experiment, augmentations={"left": {"name": name}})
    elif sort == "data":
        needed = {"table": "t.csv", "schema": {}} if name == "table" else {}
        experiment = replace(experiment, data={"name": name, **needed})
    else:
        experiment = replace(experiment, method={"name": name})
    whole = resolved(experiment, SPECS)
    assert plain(written(whole)) == plain(whole)
    assert resolved(whole, SPECS) == whole
    assert set(whole.model.encoders) == set(whole.augmentations) == set(SPECS)


def test_what_is_stated_for_a_kind_holds_for_its_modalities_and_the_rest_is_their_default():
    experiment = small(
        method={"name": "comm", "temperature": 0.5}, augmentations={"vector": {"name": "noise"}}
    )
    whole = resolved(experiment, SPECS)
    assert whole.method == {
        "name": "comm",
        "subsets": "each_and_all",
        "temperature": 0.5,
        "weights": None,
        "embedding": "fused",
        "head": (512, 256),
        "contrast": "infonce",
        "prediction": 0.0,
    }
    assert whole.augmentations["left"]["name"] == "noise"
    assert whole.augmentations["poster"]["name"] == DEFAULT_AUGMENTATION["image"]
    assert whole.model.encoders == {
        "left": {"name": "mlp", "hidden": 256, "layers": 2},
        "poster": {"name": "small_cnn", "channels": (24, 48, 128)},
    }


def test_a_modality_that_was_read_for_a_pretrained_encoder_keeps_it():
    learned = {"poster": {"encoder": {"pretrained": "somewhere"}}}
    assert set(resolved(small(), SPECS, learned).model.encoders) == {"left"}
    chosen = small(model={"encoders": {"poster": {"name": "small_cnn"}}})
    assert set(resolved(chosen, SPECS, learned).model.encoders) == {"left", "poster"}


def narrow(shape, width, hidden: int = 8, layers: int = 2):
    return mlp(shape, width, hidden, layers)


def test_a_run_and_its_artifact_outlive_changed_defaults(tmp_path, monkeypatch):
    run = train(small(), tmp_path / "run", records())
    export(run, tmp_path / "artifact")
    view = records().test.view(slice(0, 4))
    before = run.method.embed(view)
    monkeypatch.setitem(ENCODERS, "mlp", narrow)
    changed = (None, "all_subsets", 0.9, None, "fused+tokens", (8, 8), "infonce", 0.0)
    monkeypatch.setattr(CoMM.build.__func__, "__defaults__", changed)
    for folder in ("run", "artifact"):
        again = load(tmp_path / folder)
        assert torch.equal(again.method.embed(view), before)
        assert again.method.temperature() == pytest.approx(0.1)
    with pytest.raises(RunError, match=r"temperature was 0\.1, now 0\.9.*left\.hidden was 256, now 8"):
        train(small(), tmp_path / "run", records(), resume=True)


def test_a_folder_of_old_that_states_less_is_loaded_and_goes_on(tmp_path):
    train(small(), tmp_path / "run", records())
    config = tmp_path / "run" / "config.yaml"
    values = yaml.safe_load(config.read_text())
    values |= {"method": {"name": "comm"}, "augmentations": {}, "data": {"name": "trifeature"}}
    values["model"] = {"width": 16}
    config.write_text(yaml.safe_dump(values))
    view = records().test.view(slice(0, 4))
    loaded = load_run(tmp_path / "run")
    again = train(small(), tmp_path / "run", records(), resume=True)
    assert torch.equal(loaded.method.embed(view), again.method.embed(view))
    stated = json.loads((export(loaded, tmp_path / "artifact") / "config.json").read_text())["experiment"]
    assert stated["model"]["encoders"]["left"]["hidden"] == 256


def test_numbers_do_not_depend_on_whether_they_were_stated(tmp_path):
    one = train(small(), tmp_path / "one", records())
    two = train(resolved(small(), one.specs), tmp_path / "two", records())
    states = [run.method.state_dict() for run in (one, two)]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
