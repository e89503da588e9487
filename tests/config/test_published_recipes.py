"""Every recipe for a published data set trains on its stand-in; probes read what it contains and no more."""

from __future__ import annotations

import numpy as np
import pytest

import commlearn as cl
from commlearn.config.configuration import read_experiment, recipes
from commlearn.datasets.synthetic_published import write_stand_in
from commlearn.methods import METHODS
from commlearn.probes.linear import read_classes
from commlearn.trained.embed import embed

RECIPES = {
    "mimic": "mimic",
    "mosi": "mosi",
    "mosi_3": "mosi",
    "mosei": "mosei",
    "mosei_3": "mosei",
    "ur_funny": "ur_funny",
    "ur_funny_3": "ur_funny",
    "mustard": "mustard",
    "vision_touch_regression": "vision_touch",
    "vision_touch_contact": "vision_touch",
    "vision_touch_contact_3": "vision_touch",
    "mm_imdb": "mm_imdb",
    "hateful_memes": "hateful_memes",
}
IMAGES = ("vision_touch", "mm_imdb", "hateful_memes")
TINY = {
    "training.epochs": 1,
    "training.batch_size": 24,
    "training.threads": 1,
    "training.accelerator": "cpu",
    "model.width": 16,
}
OWN_METHODS = set(METHODS) - {"simclr"}  # simclr learns each modality separately


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    pytest.importorskip("h5py", reason="needs commlearn[h5]")
    folder, made = tmp_path_factory.mktemp("stand-ins"), {}

    def path(name, label="shared", rows=None):
        key = f"{name}-{label}"
        if key not in made:
            made[key] = write_stand_in(
                name, folder / key, rows or (245 if name in IMAGES else 160), label=label
            )
        return str(made[key])

    return path


def tiny(recipe, path, **changes):
    small = {"data.image": {"size": 32}} if RECIPES[recipe] in ("mm_imdb", "hateful_memes") else {}
    return {**TINY, **small, "data.path": path, **changes}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_whole_and_says_how_it_is_run(recipe):
    experiment = read_experiment(recipe)
    assert experiment.data["name"] == RECIPES[recipe]
    assert experiment.scores
    head = recipes()[recipe].read_text(encoding="utf-8").split("\nabout:")[0]
    for word in (f"commlearn train {recipe} --data", "commlearn synth", "Expected time", "ublished"):
        assert word in head


@pytest.mark.parametrize("recipe", [name for name in RECIPES if RECIPES[name] not in IMAGES])
def test_a_recipe_trains_on_its_stand_in(recipe, stand_in, tmp_path):
    run = cl.train(read_experiment(recipe, tiny(recipe, stand_in(RECIPES[recipe]))), tmp_path)
    data = cl.read_data(run.experiment)
    target = next(iter(run.experiment.scores))
    result = cl.probe(run, data, [target])[target]
    assert result.interval[0] > 0.5  # every modality contains the shared factor


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in RECIPES if RECIPES[name] in IMAGES])
def test_a_recipe_of_images_trains_on_its_stand_in(recipe, stand_in, tmp_path):
    experiment = read_experiment(recipe, tiny(recipe, stand_in(RECIPES[recipe])))
    run = cl.train(experiment, tmp_path)
    assert run.step == len(cl.read_data(experiment).train) // TINY["training.batch_size"]


def test_memes_train_on_their_stand_in(stand_in, tmp_path):
    """The only recipe with images among the quick tests."""
    path = stand_in("hateful_memes", rows=60)
    run = cl.train(read_experiment("hateful_memes", tiny("hateful_memes", path)), tmp_path)
    assert run.step == 2


def test_probes_read_what_is_there_and_not_what_is_not(stand_in, tmp_path):
    """Train once, then probe with the labels of five files that differ in nothing else."""
    run = cl.train(read_experiment("mosi", tiny("mosi", stand_in("mosi", rows=600))), tmp_path)

    def read(label, modalities=None):
        data = cl.read_data(read_experiment("mosi", tiny("mosi", stand_in("mosi", label, rows=600))))
        fit, test = (embed(run, part, modalities) for part in (data.train, data.test))
        labels = (part.targets["sentiment"] for part in (data.train, data.test))
        return read_classes(fit, next(labels), test, next(labels)).result

    for label in ("shared", "unique_vision", "unique_text"):
        assert read(label).interval[0] > 0.55
    assert read("unique_text", ["text"]).interval[0] > 0.55
    for label, modalities in (("chance", None), ("unique_text", ["vision"]), ("synergy", ["text"])):
        low, high = read(label, modalities).interval
        assert low < 0.5 + 0.02
        assert high < 0.62


@pytest.mark.parametrize("method", sorted(OWN_METHODS))
def test_each_method_can_run_on_a_recipe(method, stand_in, tmp_path):
    path = stand_in("mimic")
    labels = {"method.target": "icd9"} if METHODS[method].views.targets else {}
    run = cl.train(read_experiment("mimic", tiny("mimic", path, **labels), method=method), tmp_path)
    assert np.isfinite(embed(run, cl.read_data(run.experiment).test)).all()
