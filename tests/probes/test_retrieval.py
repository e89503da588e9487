"""Retrieval across modalities, by models trained on a table with the settings chosen for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import commlearn as cl
from commlearn.config.own_data import experiment_for
from commlearn.errors import ConfigurationError
from commlearn.probes.retrieval import comparable, comparable_vectors, retrieval
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.training.train import train


def data(rows: int = 40) -> Dataset:
    """Return data with two identical modalities."""
    values = np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)
    records = Records({"left": VectorColumn(values), "right": VectorColumn(values)})
    return Dataset(records, records)


@pytest.mark.parametrize("method", ["comm", "infmasking"])
def test_a_run_on_a_table_retrieves_by_what_its_head_was_trained_on(method, tmp_path):
    schema = cl.Schema({name: cl.Vector(name) for name in ("left", "right")}).to_mapping()
    settings = {"name": "own", "data": {"name": "table", "table": "", "schema": schema}, "method": method}
    experiment, _ = experiment_for({**settings, "training": {"epochs": 2, "batch_size": 20}}, data())
    assert experiment.method["embedding"] == "fused+tokens"
    run = train(experiment, tmp_path / "run", data())
    result = retrieval(run, data().test, ["left"], ["right"])
    assert result.records == 40
    assert 0 < result.recall[10] <= 1
    view = data().test.view(slice(None))
    fused = run.method.embed(view, ["left"])[:, : experiment.model.width]
    with torch.no_grad():
        torch.testing.assert_close(comparable(run.method, view, ("left",)), run.method.head(fused))


@pytest.fixture(scope="module")
def halves():
    """A default Embedder trained on the halves of digits, and other digits to test it on."""
    images = load_digits().images.astype("float32") / 16
    table = {"left": images[:, :, :4].reshape(-1, 32), "right": images[:, :, 4:].reshape(-1, 32)}
    schema = cl.Schema({name: cl.Vector(name) for name in table})
    first = {name: rows[:500] for name, rows in table.items()}
    return cl.Embedder(schema, epochs=2).fit(first), {name: rows[-300:] for name, rows in table.items()}


def test_fixed_features_help_to_find_the_other_half(halves):
    model, table = halves
    records = model.trained.records(table)
    recall = {
        blocks: retrieval(model, records, ["left"], ["right"], blocks=blocks).recall[10]
        for blocks in ("all", "learned", "features")
    }
    assert recall["learned"] > 0.1  # chance is 0.033
    assert recall["all"] > recall["learned"]


@pytest.mark.parametrize("method", ["SimCLR", "COrAL"])
def test_of_what_was_not_brought_together_the_features_alone_compare(method, halves):
    model, table = halves
    schema = cl.Schema({name: cl.Vector(name) for name in table})
    model = cl.Embedder(schema, method=method.lower(), epochs=1).fit(table)
    records = model.trained.records(table)
    with pytest.raises(ConfigurationError, match=f"{method} does not embed .* blocks='features'"):
        retrieval(model, records, ["left"], ["right"])
    assert retrieval(model, records, ["left"], ["right"], blocks="features").recall[10] > 0.2


def test_the_supervised_contrast_brings_no_subsets_together():
    method = cl.SupCon.build({"left": torch.nn.Linear(3, 8), "right": torch.nn.Linear(5, 8)}, width=8)
    with pytest.raises(
        ConfigurationError,
        match=r"SupCon does not embed.* comm, comm-crossself, comm-sup, (?!.*(coral|supcon|simclr))",
    ):
        comparable(method, {}, ("left",))


@pytest.mark.parametrize("method", ["clip", "cmc", "crossself"])
def test_an_absent_modality_has_no_say(method):
    draw = np.random.default_rng(0)
    table = {name: list(draw.normal(size=(40, 3)).astype("float32")) for name in ("a", "b", "c")}
    schema = cl.Schema({name: cl.Vector(name) for name in table})
    model = cl.Embedder(schema, method=method, epochs=1, features="learned").fit(table).trained
    records = model.records({**table, "b": [None, *table["b"][1:]]})
    both, alone = (comparable_vectors(model, records, names) for names in (["a", "b"], ["a"]))
    np.testing.assert_allclose(both[0], alone[0], atol=1e-6)
    assert not np.allclose(both[1], alone[1], atol=1e-2)
