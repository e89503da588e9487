"""The user's own modules as encoders: trained too, saved as weights only, loaded by passing them again."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch import nn

import commlearn as cl
from commlearn.cli import main
from commlearn.config.own_data import experiment_for
from commlearn.errors import ConfigurationError, RunError
from commlearn.models.encoders.own import modules_of
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table


class Words(nn.Module):
    """One token per word; the padding of the words applies to the tokens too."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(1000, 10)

    def forward(self, values, padding=None):
        return self.table(values)


class Pieces(nn.Module):
    """One token per four steps of a series; it is padding if the first of them is."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(1, 6, 4, stride=4)

    def forward(self, values, padding=None):
        short = -values.shape[1] % 4
        values = nn.functional.pad(values, (0, 0, 0, short))
        tokens = self.layer(values.transpose(1, 2)).transpose(1, 2)
        return tokens if padding is None else (tokens, padding[:, ::4])


def photo_net(features=12):
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(features)
    )


def modules(features=12):
    torch.manual_seed(0)
    return {"photo": photo_net(features), "note": Words(), "ecg": Pieces()}


def table(rows=48):
    draw = np.random.default_rng(0)
    words = ["red", "old", "oak", "chair", "lamp"]
    frame = pd.DataFrame(
        {
            "photo": list(draw.integers(0, 255, (rows, 16, 16, 3)).astype("uint8")),
            "note": [" ".join(draw.choice(words, draw.integers(1, 6))) for _ in range(rows)],
            "ecg": [draw.normal(size=draw.integers(8, 20)).tolist() for _ in range(rows)],
            "age": draw.normal(size=rows),
            "ill": draw.integers(2, size=rows),
        }
    )
    frame.loc[3, "note"] = None
    return frame


def schema():
    kinds = {"photo": cl.Image("photo"), "note": cl.Text("note"), "ecg": cl.Series("ecg")}
    return cl.Schema({**kinds, "labs": cl.Tabular(["age"])}, targets={"ill": "class"})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    passed = modules()
    out = tmp_path_factory.mktemp("own") / "run"
    return cl.Embedder(schema(), epochs=2, batch_size=16, encoders=passed, out=out).fit(table())


def test_vectors_and_tokens_of_any_module_are_embedded_alone_and_together(fitted):
    vectors = fitted.transform(table())
    assert np.isfinite(vectors).all()
    assert vectors.shape == (48, len(fitted.get_feature_names_out()))
    for name in ("photo", "note", "ecg"):
        rows = table().dropna(subset=["note"])
        assert not np.allclose(fitted.transform(rows, modalities=[name]), vectors[table()["note"].notna()])
    one = fitted.transform(table()[5:6])  # in a batch with longer records its series is padded
    np.testing.assert_allclose(one, vectors[5:6], atol=1e-5)


def test_it_is_trained_along_and_the_module_that_was_passed_stays_as_it_is(fitted):
    first, trained = fitted.encoders["ecg"].state_dict(), modules_of(fitted.trained.method.encoders)
    assert set(trained) == {"photo", "note", "ecg"}
    assert all(torch.equal(part, modules()["ecg"].state_dict()[key]) for key, part in first.items())
    assert not torch.equal(trained["ecg"].layer.weight.cpu(), first["layer.weight"])


def test_what_does_not_ask_for_gradients_stays_as_it_is_with_its_statistics():
    frozen = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 8)).requires_grad_(False)
    before = {key: part.clone() for key, part in frozen.state_dict().items()}
    rows = {name: np.random.default_rng(0).normal(5, 2, (40, 3)) for name in ("a", "b")}
    both = {name: cl.Vector(name) for name in rows}
    model = cl.Embedder(cl.Schema(both), epochs=2, batch_size=8, encoders={"a": frozen, "b": nn.Linear(3, 8)})
    trained = modules_of(model.fit(rows).trained.method.encoders)
    assert all(torch.equal(part.cpu(), before[key]) for key, part in trained["a"].state_dict().items())
    assert not torch.equal(trained["b"].weight.cpu(), model.encoders["b"].weight)


def test_files_hold_its_weights_and_its_place_and_no_code(fitted):
    with_module = cl.Schema({"photo": cl.Image("photo", encoder=photo_net())})
    assert "encoder: own module" in with_module.to_yaml()
    assert cl.Schema.from_yaml(with_module.to_yaml()).modalities["photo"].encoder == "own module"
    config = (fitted.out / "config.yaml").read_text()
    assert config.count("name: own module") == 3
    assert "features: 12" in config
    assert not any(word in config for word in ("Words", "Pieces", "torch", "Conv"))
    assert json.loads((fitted.out / "schema.json").read_text())["modalities"]["photo"]["kind"] == "image"


def test_a_schema_that_names_the_module_is_another_way_to_pass_it(tmp_path):
    torch.manual_seed(0)
    kinds = {"photo": cl.Image("photo", encoder=photo_net()), "labs": cl.Tabular(["age"])}
    model = cl.Embedder(cl.Schema(kinds), epochs=1, batch_size=16, out=tmp_path / "run").fit(table())
    assert json.loads((tmp_path / "run" / "schema.json").read_text())["modalities"]["photo"] == {
        "kind": "image",
        "column": "photo",
        "encoder": "own module",
    }
    again = cl.Embedder.load(tmp_path / "run", encoders={"photo": photo_net()})
    assert np.array_equal(again.transform(table()), model.transform(table()))
    assert again.schema_ == model.schema_
    copy = pickle.loads(pickle.dumps(model))
    assert isinstance(copy.schema.modalities["photo"].encoder, nn.Sequential)
    assert np.array_equal(copy.transform(table()), model.transform(table()))


def test_a_run_and_its_export_load_to_the_same_bits(fitted, tmp_path):
    wanted = fitted.transform(table())
    for folder in (fitted.out, cl.export(fitted.trained, tmp_path / "artifact")):
        passed = modules()
        loaded = cl.load(folder, encoders=passed)
        assert np.array_equal(cl.embed(loaded, table()), wanted)
        assert torch.equal(passed["ecg"].layer.weight, modules()["ecg"].layer.weight)
    assert (
        "pass the modules to `load`, as `encoders`, by modality"
        in (tmp_path / "artifact" / "README.md").read_text()
    )


@pytest.mark.parametrize("exported", [False, True])
def test_what_is_not_passed_or_does_not_fit_is_named(exported, fitted, tmp_path, capsys):
    folder = cl.export(fitted.trained, tmp_path / "artifact") if exported else fitted.out
    with pytest.raises(
        ConfigurationError, match=r"'note' is a module of your own.*encoders={'note': module}"
    ):
        cl.load(folder, encoders={name: part for name, part in modules().items() if name != "note"})
    wrong = photo_net(9)
    wrong(torch.zeros(2, 3, 16, 16))
    with pytest.raises(
        RunError, match=r"does not fit the Sequential .* of 'photo': 4.bias is 12 there and 9"
    ):
        cl.load(folder, encoders={**modules(), "photo": wrong})
    with pytest.raises(RunError, match="does not fit the Linear that was passed as the encoder of 'ecg'"):
        cl.load(folder, encoders={**modules(), "ecg": nn.Linear(1, 6)})
    with pytest.raises(
        ConfigurationError, match="passed as the encoder of 'labs', but only these modalities have"
    ):
        cl.load(folder, encoders={**modules(), "labs": nn.Linear(1, 6)})
    assert main(["info", str(folder)]) == 2
    assert "Pass it in Python: encoders={'photo': module}" in capsys.readouterr().err


def test_a_clone_has_modules_of_its_own_and_trains_to_the_same_bits(fitted):
    copy = clone(fitted)
    assert copy.encoders["ecg"] is not fitted.encoders["ecg"]
    assert copy.get_params()["encoders"].keys() == fitted.get_params()["encoders"].keys()
    copy.set_params(out=None)
    rows = table()
    assert np.array_equal(copy.fit(rows).transform(rows), fitted.transform(rows))
    again = pickle.loads(pickle.dumps(copy))
    assert np.array_equal(again.transform(rows), fitted.transform(rows))


def test_a_training_goes_on_with_the_module_passed_again_and_is_fine_tuned(tmp_path):
    data = dataset_of(read_table(table(80)), schema())
    settings = {"name": "own", "data": {"name": "table", "table": "", "schema": schema().to_mapping()}}
    settings |= {"model": {"encoders": {"ecg": "own module"}}, "training": {"epochs": 1, "batch_size": 16}}
    experiment, _ = experiment_for(settings, data)
    torch.manual_seed(1)
    passed = {"ecg": Pieces()}
    run = cl.train(experiment, tmp_path / "run", data, encoders=passed)
    again = cl.train(experiment, tmp_path / "run", data, resume=True, encoders=passed)
    assert np.array_equal(cl.embed(again, data.test), cl.embed(run, data.test))
    with pytest.raises(ConfigurationError, match="encoder of 'ecg' is a module of your own"):
        cl.train(experiment, tmp_path / "run", data, resume=True)
    tuned = cl.finetune(run, "ill", tmp_path / "tuned", data)
    assert not np.allclose(cl.embed(tuned, data.test), cl.embed(run, data.test))
    loaded = cl.load(tmp_path / "tuned", encoders=passed)
    assert np.array_equal(cl.embed(loaded, data.test), cl.embed(tuned, data.test))


def test_one_module_of_two_modalities_stays_one():
    shared = nn.Linear(3, 8)
    rows = {name: np.random.default_rng(0).normal(size=(40, 3)) for name in ("a", "b")}
    model = cl.Embedder(
        cl.Schema({name: cl.Vector(name) for name in rows}), epochs=1, encoders={"a": shared, "b": shared}
    ).fit(rows)
    trained = modules_of(model.trained.method.encoders)
    assert trained["a"] is trained["b"]
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.transform(rows), model.transform(rows))


def test_mistakes_are_named_before_anything_is_trained(tmp_path):
    def fit(**encoders):
        return cl.Embedder(schema(), epochs=1, encoders=encoders, out=tmp_path / "run").fit(table())

    with pytest.raises(ConfigurationError, match="'phot', did you mean 'photo'"):
        fit(phot=photo_net())
    with pytest.raises(ConfigurationError, match=r"'photo', Linear, fails on values of \(2, 3, 32, 32\)"):
        fit(photo=nn.Linear(3, 4))
    with pytest.raises(ConfigurationError, match="the encoder Linear does not take `padding`"):
        fit(ecg=nn.Linear(1, 4))
    with pytest.raises(ConfigurationError, match=r"Conv2d returned \(2, 4, 28, 28\).*return a vector"):
        fit(photo=nn.Conv2d(3, 4, 5))
    own = cl.Schema.from_mapping(
        {"modalities": {"photo": {"kind": "image", "column": "photo", "encoder": "own module"}}}
    )
    with pytest.raises(ConfigurationError, match="encoder of 'photo' is a module of your own"):
        cl.Embedder(own, epochs=1, batch_size=16).fit(table())
    assert cl.Embedder(schema(), epochs=1, encoders={"photo": "resnet18"}, batch_size=16).fit(table())


def test_it_is_exported_with_any_number_of_records():
    rows = {name: np.random.default_rng(0).normal(size=(40, 3)).astype("float32") for name in ("a", "b")}
    both = cl.Schema({name: cl.Vector(name) for name in rows})
    model = cl.Embedder(both, epochs=1, features="learned", encoders={"a": nn.Linear(3, 8)}).fit(rows)
    program = cl.export_program(model.trained, ["a"]).module()
    for count in (1, 7):
        values = torch.from_numpy(rows["a"][:count])
        torch.testing.assert_close(program(values), model.trained.method.embed({"a": values}, ["a"]))
