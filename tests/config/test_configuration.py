"""Recipes and overrides: all mistakes are named at once."""

from __future__ import annotations

import pytest
import yaml

from commlearn.config.configuration import (
    experiment_from,
    read_experiment,
    recipes,
    stored_experiment,
    to_mapping,
)
from commlearn.config.fill import set_dotted
from commlearn.errors import ConfigurationError


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_reads_and_survives_being_written(name):
    experiment = read_experiment(name)
    written = yaml.safe_dump(yaml.safe_load(yaml.safe_dump(_plain(to_mapping(experiment)))))
    assert to_mapping(experiment_from(yaml.safe_load(written))) == to_mapping(experiment)


@pytest.mark.parametrize("name", recipes())
def test_every_score_names_a_variant_of_its_recipe(name):
    experiment = read_experiment(name)
    for score in experiment.scores.values():
        assert score.variant in (experiment.variants or {"": None})


def test_the_papers_settings_are_in_the_trifeature_recipe():
    experiment = read_experiment("trifeature")
    assert experiment.data == {"name": "trifeature", "size": 224, "pairs": "all"}
    training = experiment.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (100, 64, 3e-4)
    assert (training.weight_decay, training.schedule, experiment.model.width) == (1e-4, "constant", 512)
    assert experiment.model.encoders == {"image": {"name": "alexnet"}}
    assert read_experiment("trifeature", variant="biased").data["pairs"] == "mapped"


def test_overrides_win_over_the_variant_and_the_recipe():
    experiment = read_experiment(
        "trifeature-quick", {"data.pairs": "all", "training.epochs": 2, "method.temperature": 0.2}, "biased"
    )
    assert experiment.data["pairs"] == "all"
    assert experiment.training.epochs == 2
    assert experiment.method == {"name": "comm", "temperature": 0.2}


def test_a_variant_among_the_overrides_brings_its_settings():
    biased = {"variant": "biased"}
    assert read_experiment("trifeature-quick", biased).data["pairs"] == "mapped"
    assert read_experiment("trifeature-quick", biased, "unbiased").data["pairs"] == "all"
    with pytest.raises(ConfigurationError, match="did you mean 'biased'"):
        read_experiment("trifeature-quick", {"variant": "biasd"})


def test_another_method_does_not_inherit_options():
    experiment = read_experiment("trifeature-quick", method="clip")
    assert experiment.method == {"name": "clip"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.epochz": 1}, "'training.epochz', did you mean 'training.epochs'"),
        ({"training.epochs": "many"}, "training.epochs is 'many'; give a whole number"),
        ({"training.epochs": 0}, "training.epochs is 0; give a number above 0"),
        ({"training.batch_size": 1}, "at least 2 records"),
        ({"model.width": 0}, "model.width is 0; give a number above 0"),
        ({"seed": -1}, "seed is -1; give 0 or more"),
        ({"data.seed": -1}, "data.seed is -1; give 0 or more"),
        ({"training.precision": "bf16"}, "one of 32-true, bf16-mixed"),
        ({"training.learning_rate": "1e-3x"}, "give a number"),
        ({"method.name": "com"}, "Unknown method 'com', did you mean 'comm'"),
        ({"method.temprature": 1.0}, "did you mean 'method.temperature'"),
        ({"data.sise": 64}, "did you mean 'data.size'"),
        ({"data.pairs": "mappd"}, "one of all, mapped"),
        ({"data.name": "trifeatur"}, "Unknown reader 'trifeatur', did you mean 'trifeature'"),
        ({"model.encoders": {"image": {"name": None}}}, "model.encoders.image needs a name: one of alexnet"),
        ({"model.encoders": {"image": "alexnett"}}, "Unknown encoder 'alexnett', did you mean 'alexnet'"),
        ({"augmentations.image.flips": 1}, "did you mean 'augmentations.image.flip'"),
        ({"augmentations.image.scale": [0.1]}, "give 2 values"),
        ({"model": 3}, "model should be a mapping of settings, got 3"),
        ({"seed": 1, "training.devices.x": 3}, "training.devices is"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ConfigurationError, match=message):
        read_experiment("trifeature-quick", overrides)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        read_experiment("trifeature-quick", {"training.epochs": "x", "model.widht": 3, "method.name": "klip"})
    for part in ("3 problems", "training.epochs", "'model.width'", "'clip'"):
        assert part in str(caught.value)


def test_unknown_recipes_and_variants_are_named():
    with pytest.raises(ConfigurationError, match="did you mean 'trifeature-quick'"):
        read_experiment("trifeature-quik")
    with pytest.raises(ConfigurationError, match="did you mean 'biased'"):
        read_experiment("trifeature-quick", variant="biasd")


def test_files_that_are_no_recipe_are_refused(tmp_path):
    for text, message in [
        ("[1, 2]", "should hold settings"),
        ("a: [", "cannot be read as YAML"),
        ("seed: 1", "data is missing"),
        ("data: table", "data.table is missing"),
        ("data: {name: table, table: t.csv}", "data.schema is missing"),
        ("data: trifeature\nvariant: [a]", r"variant is \['a'\]; give text"),
    ]:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=message):
            read_experiment(path)


@pytest.mark.parametrize("method", ["", "[comm]", "3", "comm", "{temperature: 0.3}"])
def test_a_method_that_is_given_takes_the_place_of_whatever_the_recipe_has(tmp_path, method):
    path = tmp_path / "mine.yaml"
    path.write_text(f"data: trifeature\nmethod: {method}\n")
    assert read_experiment(path, method="clip").method == {"name": "clip"}


def test_what_a_folder_names_in_place_of_a_method_is_refused():
    with pytest.raises(ConfigurationError, match="Unknown method"):
        stored_experiment({"name": "old", "data": {"name": "trifeature"}, "method": {"name": ["comm"]}})


def test_numbers_that_yaml_reads_as_text_are_numbers():
    assert (
        read_experiment("trifeature-quick", {"training.learning_rate": "1e-3"}).training.learning_rate == 1e-3
    )


def test_a_dotted_key_opens_the_short_form_of_a_part():
    settings = {"method": "comm"}
    set_dotted(settings, "method.temperature", 0.2)
    assert settings == {"method": {"name": "comm", "temperature": 0.2}}


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def test_a_recipe_says_what_differs_from_its_base(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: trifeature-quick\ntraining: {epochs: 3}\nmethod: {name: comm, subsets: all}\n")
    mine, base = read_experiment(path), read_experiment("trifeature-quick")
    assert (mine.name, mine.training.epochs, mine.method["subsets"]) == ("mine", 3, "all")
    assert mine.training.batch_size == base.training.batch_size
    assert (mine.model, mine.augmentations) == (base.model, base.augmentations)
    assert not mine.variants
    assert not mine.scores
    path.write_text("base: trifeature-quik\n")
    with pytest.raises(ConfigurationError, match="did you mean 'trifeature-quick'"):
        read_experiment(path)


def test_a_base_lies_beside_its_recipe_and_keeps_what_is_left_empty(tmp_path, monkeypatch):
    folder, here = tmp_path / "recipes", tmp_path / "here"
    for place in (folder, here):
        place.mkdir()
    monkeypatch.chdir(here)
    (folder / "base.yaml").write_text("data: trifeature\ntraining: {epochs: 3}\nmethod: cmc\n")
    (here / "base.yaml").write_text("data: trifeature\ntraining: {epochs: 5}\n")
    path = folder / "mine.yaml"
    path.write_text("base: base.yaml\ntraining:\ndata: {size: 64}\nmethod: {temperature: 0.2}\n")
    mine = read_experiment(path)
    assert mine.training.epochs == 3
    assert mine.data == {"name": "trifeature", "size": 64}
    assert mine.method == {"name": "cmc", "temperature": 0.2}
    (folder / "base.yaml").unlink()  # then relative to the working directory, like other paths
    assert read_experiment(path, method="comm").training.epochs == 5


@pytest.mark.parametrize("name", [name for name in recipes() if name.startswith("ablation-")])
def test_an_ablation_trains_every_arm_on_both_sorts_of_pairs(name):
    experiment = read_experiment(name)
    arms = {key.rsplit("-", 1)[0] for key in experiment.variants}
    assert set(experiment.variants) == {f"{arm}-{pairs}" for arm in arms for pairs in ("unbiased", "biased")}
    assert set(experiment.scores) == {f"{score} {arm}" for arm in arms for score in "RUS"}
    settings = [read_experiment(name, variant=f"{arm}-unbiased") for arm in sorted(arms)]
    changed = {str((one.method, one.model, one.augmentations)) for one in settings}
    assert len(changed) == len(arms)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("variants: {a: {set: [1]}}", "variants.a.set"),
        ("variants: {a: {set: high}}", "variants.a.set"),
        ("variants: {a: 3}", "variants.a"),
        ("variants: 2001-01-01", "variants"),
        ("variants: {on: {set: {}}}", "True"),
        ("scores: {R: {targets: [y], variant: b}}\nvariants: {on: {}, a: {}}", "True"),
        (f"training: {{learning_rate: 1{'0' * 400}}}", "training.learning_rate"),
    ],
)
def test_what_yaml_makes_of_a_recipe_is_refused_by_name(tmp_path, text, named):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"data: {{name: trifeature}}\nmethod: comm\n{text}\n")
    with pytest.raises(ConfigurationError, match=named):
        read_experiment(str(path))
