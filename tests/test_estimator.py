"""The scikit-learn interface: its checks, use in pipelines, searches and pickles, and bad input."""

from __future__ import annotations

import json
import pickle
import pickletools
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import commlearn as cl
from commlearn.config.own_data import read_own
from commlearn.errors import ConfigurationError, DataError, DataWarning, RunError
from commlearn.probes.readout_rows import own_table, rows_to_cross_fit
from commlearn.trained.stream import embed_table

EXCLUDED = {
    "check_transformer_preserve_dtypes": "embeddings are float32, as the weights are, whatever the input is",
    "check_methods_subset_invariance": "sums over a batch of another size round otherwise, within 1e-5",
}


@parametrize_with_checks(
    [cl.Embedder(epochs=1, batch_size=8)],
    expected_failed_checks=lambda estimator: EXCLUDED,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def table(rows=48, seed=0):
    draw = np.random.default_rng(seed)
    label = draw.integers(2, size=rows)
    return pd.DataFrame(
        {
            "emb": list((draw.normal(size=(rows, 5)) + label[:, None]).astype(np.float32)),
            "age": draw.normal(50, 10, rows) + 30 * label,
            "site": np.array(["a", "b", "c"], dtype=object)[draw.integers(3, size=rows)],
            "ill": label,
        },
        index=np.arange(100, 100 + rows),
    )


def schema():
    return cl.Schema({"emb": cl.Vector("emb"), "labs": cl.Tabular(["age", "site"])}, targets={"ill": "class"})


def embedder(**options):
    return cl.Embedder(schema(), **{"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, **options})


def test_settings_of_a_training_in_a_schema_are_not_ignored_without_a_word(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("table: t.csv\nmethod: clip\nseed: 3\ntraining: {epochs: 2}\n" + schema().to_yaml())
    few = {"epochs": 1, "batch_size": 8}
    with pytest.warns(DataWarning, match=r"s\.yaml states seed, method, training, which an Embedder"):
        cl.Embedder(path, **few).fit(table())
    with pytest.warns(DataWarning, match="schema states model, which an Embedder"):
        cl.Embedder({**schema().to_mapping(), "model": {"width": 16}}, **few).fit(table())
    path.write_text("table: t.csv\n" + schema().to_yaml())
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        cl.Embedder(path, **few).fit(table())


@pytest.fixture(scope="module")
def fitted():
    return embedder().fit(table())


def test_a_table_becomes_rows_of_numbers_whole_and_by_any_subset(fitted):
    whole = fitted.transform(table())
    width = 3 * 128 + 5 + 12  # fused, mean token of each modality; emb; age, its 8 parts, 3 sites
    assert whole.shape == (48, width)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert not np.allclose(fitted.transform(table(), modalities=["emb"]), whole)
    assert fitted.transform(table()[["age", "site"]], modalities=["labs"]).shape == (48, width)
    assert np.array_equal(cl.embed(fitted, table()), whole)


def test_the_same_random_state_gives_the_same_embedding_and_another_another():
    rows = table()
    one, again = (embedder(epochs=1).fit_transform(rows) for _ in range(2))
    assert np.array_equal(one, again)
    assert not np.allclose(embedder(epochs=1, random_state=1).fit_transform(rows), one)


def test_it_works_in_a_pipeline_a_search_and_cross_validation():
    rows = table()
    pipeline = make_pipeline(embedder(epochs=1), LogisticRegression(max_iter=500))
    scores = cross_val_score(pipeline, rows, rows["ill"], cv=2, error_score="raise")
    assert scores.mean() > 0.6
    grid = {"embedder__method": ["comm", "clip"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(rows, rows["ill"])
    assert search.best_params_["embedder__method"] in ("comm", "clip")


def test_output_may_be_a_data_frame_with_names_and_index(fitted):
    framed = clone(fitted).set_output(transform="pandas").fit(table()).transform(table())
    assert list(framed.columns[:2]) == ["comm0", "comm1"]
    assert framed.index[0] == 100
    assert len(fitted.get_feature_names_out()) == 3 * 128 + 5 + 12


@pytest.mark.parametrize("method", ["comm", "clip", "crossself"])
def test_a_data_frame_of_some_modalities_has_their_width(method):
    model = embedder(method=method, epochs=1).set_output(transform="pandas").fit(table())
    framed, some = model.transform(table()), model.transform(table(), modalities=["labs"])
    assert list(framed.columns) == list(model.get_feature_names_out())
    assert some.columns[-18] == f"{method}{some.shape[1] - 18}"
    assert some.columns[-1] == "labs_feature11"
    assert some.index.equals(table().index)
    assert np.array_equal(some, model.set_output(transform="default").transform(table(), modalities=["labs"]))


def test_a_clone_is_unfitted_and_has_the_same_settings(fitted):
    copy = clone(fitted)
    assert copy.get_params()["epochs"] == 2
    assert copy.schema == fitted.schema
    with pytest.raises(NotFittedError):
        copy.transform(table())
    assert not hasattr(copy, "score")


def test_a_pickle_holds_plain_state_and_embeds_to_the_same_bits(fitted):
    content = pickle.dumps(fitted)
    names = {argument for opcode, argument, _ in pickletools.genops(content) if isinstance(argument, str)}
    assert not any("torch" in name and "." in name and name.startswith("torch.") for name in names)
    assert "commlearn.tables.schema" not in names
    again = pickle.loads(content)
    assert np.array_equal(again.transform(table()), fitted.transform(table()))
    assert again.schema == fitted.schema


def test_what_is_saved_loads_to_the_same_bits(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = cl.Embedder.load(tmp_path / "model")
    assert np.array_equal(again.transform(table()), fitted.transform(table()))
    assert again.schema == schema()


def test_a_probe_reads_a_table_with_targets(fitted):
    rows = table(200, seed=1)
    rows["ill"] = rows["ill"].astype(float)
    rows.iloc[:10, rows.columns.get_loc("ill")] = np.nan
    result = cl.probe(fitted, rows, "ill")["ill"]
    assert result.balanced_accuracy > 0.7
    assert result.dropped == 10
    assert result.train_records + result.test_records == 190


def test_mistakes_are_named(fitted):
    with pytest.raises(DataError, match=r"no column 'age'.*Did you mean 'agee'"):
        fitted.transform(table().rename(columns={"age": "agee"}))
    with pytest.raises(ConfigurationError, match="'labz', did you mean 'labs'"):
        fitted.transform(table(), modalities=["labz"])
    with pytest.raises(ConfigurationError, match="'com', did you mean 'comm'"):
        embedder(method="com").fit(table())
    with pytest.raises(ConfigurationError, match="training.epochs is 'many'"):
        embedder(epochs="many").fit(table())
    empty = table()
    empty["emb"] = empty["emb"].astype(object)
    empty.iloc[3, :3] = None
    with pytest.raises(DataError, match="row 3: the record has none of emb, labs"):
        fitted.transform(empty)
    with pytest.raises(DataError, match="no rows"):
        fitted.transform(table()[:0])


def test_without_a_schema_it_is_guessed_and_an_unseen_category_embeds():
    rows = table().drop(columns="ill")
    model = cl.Embedder(epochs=1, batch_size=16).fit(rows)
    rows["site"] = "unseen"
    assert np.isfinite(model.transform(rows)).all()


def test_what_a_guess_takes_for_an_empty_cell_is_one_in_training_too():
    rows = table().drop(columns="ill")
    rows.loc[rows.index[::6], "age"] = -999
    with pytest.warns(DataWarning, match="these cells are read as empty: age: .* cells are -999, the others"):
        model = cl.Embedder(epochs=1).fit(rows)
    assert model.schema_.missing == {"age": (-999,)}
    stated = cl.Embedder(model.schema_, epochs=1).fit(rows)
    assert np.array_equal(model.transform(rows), stated.transform(rows))
    assert np.array_equal(model.trained.rows.keys, stated.trained.rows.keys)
    by_name = cl.Embedder(epochs=1, targets=["age"]).fit(rows.assign(age=np.where(rows.age < 0, -999, 0.5)))
    assert by_name.schema_.targets == {"age": "class"}


def test_columns_of_two_values_that_become_inputs_are_named_once():
    rows = table().drop(columns="ill")
    rows["died"] = np.arange(len(rows)) % 2
    rows["old"] = np.arange(len(rows)) % 3 == 0
    with pytest.warns(DataWarning, match="columns with two values became inputs: died, old") as caught:
        cl.Embedder(epochs=1, batch_size=16).fit(rows)
    (warning,) = [one for one in caught if issubclass(one.category, DataWarning)]
    for word in ("table", "targets={'died': 'class'}", "--target died", "leave"):
        assert word in str(warning.message)
    assert warning.filename == __file__


def test_a_schema_that_is_stated_is_not_asked_about():
    rows = table().assign(died=np.arange(len(table())) % 2)
    schema = cl.Schema({"labs": cl.Tabular(["age", "died"]), "emb": cl.Vector("emb")})
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        cl.Embedder(schema, epochs=1, batch_size=16).fit(rows)


def test_a_split_column_that_divides_groups_is_warned_of():
    rows = table().assign(who=np.arange(48) // 4, part=["train"] * 34 + ["test"] * 14)
    stated = {"targets": {"ill": "class"}, "split": "part"}
    schema = cl.Schema({"emb": cl.Vector("emb")}, **stated, group="who")
    with pytest.warns(DataWarning, match="puts 1 of 12 groups of column 'who' in more than one") as caught:
        cl.Embedder(schema, epochs=1, batch_size=16).fit(rows)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        cl.Embedder(cl.Schema({"emb": cl.Vector("emb")}, **stated), epochs=1, batch_size=16).fit(rows)


def test_a_random_state_is_what_scikit_learn_means_by_it():
    rows = {
        "a": np.random.default_rng(0).normal(size=(40, 3)),
        "b": np.random.default_rng(1).normal(size=(40, 4)),
    }
    schema = {"modalities": {name: {"kind": "vector", "column": name} for name in rows}}

    def vectors(state):
        return cl.Embedder(schema, epochs=1, random_state=state).fit(rows).transform(rows)

    drawn = [vectors(np.random.RandomState(3)) for _ in range(2)]
    assert np.array_equal(*drawn)
    assert not np.array_equal(drawn[0], vectors(np.random.RandomState(4)))
    np.random.seed(3)
    assert np.array_equal(vectors(None), drawn[0])
    assert not np.array_equal(vectors(None), drawn[0])


def test_named_targets_are_answers_and_never_inputs_and_the_schema_says_which():
    rows = table().drop(columns="ill").assign(died=np.arange(48) % 2, cost=np.linspace(0, 9, 48))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        model = cl.Embedder(epochs=1, batch_size=16, targets=["died", "cost"]).fit(rows)
    assert model.schema_.targets == {"died": "class", "cost": "number"}
    assert not {"died", "cost"} & {*model.schema_.columns(with_targets=False)}
    assert np.array_equal(model.transform(rows.drop(columns=["died", "cost"])), model.transform(rows))
    stated = embedder(epochs=1, targets={"age": "number"}).fit(table())
    assert stated.schema_.targets == {"ill": "class", "age": "number"}
    assert embedder(epochs=1, targets="site").fit(table()).schema_.targets["site"] == "class"
    assert set(cl.probe(stated, table(200))) == {"ill", "age"}
    with pytest.raises(DataError, match="'dead', did you mean 'died'"):
        cl.Embedder(targets=["dead"]).fit(rows)
    with pytest.raises(ConfigurationError, match="target 'died': Unknown type 'klass'"):
        cl.Embedder(targets={"died": "klass"}).fit(rows)
    assert not hasattr(cl.Embedder(), "schema_")


def test_paths_in_cells_are_relative_to_the_root_that_is_given(tmp_path):
    draw = np.random.default_rng(0)
    names = [f"{row}.png" for row in range(24)]
    for name in names:
        pixels = draw.integers(0, 255, (20, 20, 3)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / name)
    rows = pd.DataFrame({"photo": names, "age": draw.normal(size=24)})
    model = cl.Embedder(epochs=1, batch_size=8, root=tmp_path).fit(rows)
    assert isinstance(model.schema_.modalities["photo"], cl.Image)
    vectors = model.transform(rows)
    (tmp_path / "elsewhere").mkdir()
    rows.to_csv(tmp_path / "elsewhere" / "rows.csv", index=False)
    np.testing.assert_allclose(model.transform(tmp_path / "elsewhere" / "rows.csv"), vectors, atol=1e-5)
    with pytest.raises(DataError, match=r"0\.png"):
        model.set_params(root=None).transform(rows)
    far = tmp_path / "elsewhere" / "rows.csv"
    fitted = cl.Embedder(epochs=1, batch_size=8, root=tmp_path, targets={"age": "number"}).fit(far)
    assert set(cl.probe(fitted)) == set(cl.probe(fitted, far)) == {"age"}
    assert rows_to_cross_fit(fitted).table.root == tmp_path
    np.testing.assert_allclose(cl.embed(fitted, far), fitted.transform(far), atol=1e-5)
    assert next(embed_table(fitted.trained, far))[0].root == tmp_path


def photos(folder):
    """Return a table of pictures, named relative to the folder that they are written to."""
    draw = np.random.default_rng(0)
    names = [f"{row}.png" for row in range(16)]
    for name in names:
        Image.fromarray(draw.integers(0, 255, (16, 16, 3)).astype("uint8")).save(folder / name)
    return pd.DataFrame({"photo": names, "age": draw.normal(size=16)})


def test_every_function_reads_paths_below_the_root_of_a_pickled_or_loaded_embedder(tmp_path):
    rows = photos(tmp_path)
    model = cl.Embedder(epochs=1, batch_size=8, root=tmp_path, networks=False).fit(rows)
    loaded = cl.Embedder.load(model.save(tmp_path / "model")).set_params(root=tmp_path)
    for copy in (pickle.loads(pickle.dumps(model)), loaded):
        assert np.array_equal(cl.embed(copy, rows), model.transform(rows))
        assert len(cl.similar(copy, rows, 0, k=2)) == 2


def test_a_table_at_a_url_is_found_again(tmp_path):
    table().to_parquet(tmp_path / "rows.parquet")
    url = (tmp_path / "rows.parquet").as_uri()
    model = embedder(epochs=1).fit(url)
    assert own_table(model) == url
    assert len(cl.similar(model, None, 0, k=2)) == 2


def test_any_setting_may_be_given_dotted_or_nested_and_wins():
    settings = {"training.weight_decay": 0.5, "training": {"epochs": 1}, "method.temperature": 0.7}
    experiment = embedder(epochs=2, settings=settings).fit(table()).trained.experiment
    assert (experiment.training.weight_decay, experiment.training.epochs) == (0.5, 1)
    assert experiment.method["temperature"] == 0.7
    assert experiment.training.batch_size == 16  # from an argument that no setting overrides


def test_settings_may_be_numbers_and_words_of_numpy_as_searches_give_them(tmp_path):
    method = {"name": np.str_("comm"), "temperature": np.float64(0.5)}
    options = {"epochs": np.int64(1), "networks": np.bool_(False), "features": np.str_("fixed")}
    model = embedder(method=method, **options, settings={"model.width": np.int64(64)}).fit(table())
    plain = cl.Embedder.load(model.save(tmp_path / "model")).trained.experiment
    assert (plain.training.epochs, plain.model.width, plain.model.networks) == (1, 64, False)
    with pytest.raises(ConfigurationError, match="epochs is .*; give a whole number"):
        embedder(epochs=np.float64(1)).fit(table())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.epoch": 1}, r"'training\.epoch', did you mean 'training\.epochs'"),
        ({"training": {"weight_decai": 1}}, r"did you mean 'training\.weight_decay'"),
        ({"data.test": 0.5}, r"settings contain data\.test"),
    ],
)
def test_a_setting_that_says_nothing_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        embedder(settings=settings).fit(table())


def test_columns_that_are_not_used_are_named_with_the_reason():
    rows = table().assign(remark="the same in all rows")
    assert embedder(epochs=1).fit(rows).unused_ == {"remark": "the schema does not name it"}
    with pytest.warns(DataWarning, match="not used") as warned:
        unused = cl.Embedder(epochs=1, targets="ill").fit(rows).unused_
    assert unused.keys() == {"remark"}
    assert any(unused["remark"] in str(one.message) for one in warned)


def test_a_saved_embedder_still_names_the_columns_that_were_not_used(tmp_path):
    rows = table().assign(remark="the same in all rows")
    model = embedder(epochs=1, out=tmp_path / "run").fit(rows)
    exported = cl.export(cl.load(tmp_path / "run"), tmp_path / "again")
    for folder in (tmp_path / "run", model.save(tmp_path / "model"), exported):
        assert cl.Embedder.load(folder).unused_ == model.unused_ == {"remark": "the schema does not name it"}
    assert pickle.loads(pickle.dumps(model)).trained.unused == model.unused_


@pytest.mark.parametrize("stated", [["remark"], {"remark": 3}, "remark"])
def test_what_states_no_unused_columns_is_refused(stated, tmp_path):
    model = embedder(epochs=1, out=tmp_path / "run").fit(table())
    (tmp_path / "run" / "unused.json").write_text(json.dumps(stated))
    with pytest.raises(
        RunError, match=r"unused\.json is missing or damaged: it does not map columns to reasons"
    ):
        cl.Embedder.load(tmp_path / "run")
    config = model.save(tmp_path / "model") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "unused": stated}))
    with pytest.raises(RunError, match="the configuration is damaged.*it does not map columns to reasons"):
        cl.load(tmp_path / "model")


def test_callbacks_follow_and_stop_a_fit():
    class Once(cl.Callback):
        def epoch(self, epoch, metrics):
            epochs.append(epoch)
            return True

    epochs = []
    embedder(epochs=3, callbacks=[Once()]).fit(table())
    assert epochs == [1]


def test_a_loaded_embedder_learns_again_as_before(tmp_path):
    settings = {"model.width": 16, "training.weight_decay": 0.3, "augmentations.emb": {"name": "noise"}}
    rows = table()
    for name, options in {"one": {}, "two": {"features": "learned", "encoders": {"emb": "mlp"}}}.items():
        model = embedder(settings=settings, **options).fit(rows)
        again = clone(cl.Embedder.load(model.save(tmp_path / name))).fit(rows)
        assert np.array_equal(again.transform(rows), model.transform(rows))


def test_a_loaded_run_reads_paths_below_its_root(tmp_path):
    rows = photos(tmp_path)
    model = cl.Embedder(epochs=1, batch_size=8, root=tmp_path, out=tmp_path / "run", networks=False).fit(rows)
    assert np.array_equal(cl.Embedder.load(tmp_path / "run").transform(rows), model.transform(rows))


def test_a_loaded_run_without_a_root_reads_paths_next_to_the_table(tmp_path):
    draw = np.random.default_rng(0)
    names = [f"{row}.png" for row in range(16)]
    for name in names:
        Image.fromarray(draw.integers(0, 255, (16, 16, 3)).astype("uint8")).save(tmp_path / name)
    table_file = tmp_path / "table.csv"
    pd.DataFrame({"photo": names, "age": draw.normal(size=16)}).to_csv(table_file, index=False)
    schema = cl.Schema({"photo": cl.Image("photo"), "age": cl.Tabular(["age"])}).to_yaml()
    (tmp_path / "schema.yaml").write_text(f"table: table.csv\n{schema}")
    settings = {"training.epochs": 1, "training.batch_size": 8, "model.networks": False}
    experiment, data, note = read_own(tmp_path / "schema.yaml", overrides=settings)
    run = cl.train(experiment, tmp_path / "run", data, note=note)
    loaded = cl.Embedder.load(tmp_path / "run")
    assert np.array_equal(loaded.transform(str(table_file)), cl.embed(run, str(table_file)))


def test_arguments_of_no_known_form_are_named_together():
    wrong = {"schema": 5, "method": None, "targets": 3, "encoders": ["mlp"], "root": 1, "settings": "seed=1"}
    with pytest.raises(ConfigurationError, match="Embedder: 6 problems") as caught:
        cl.Embedder(**wrong).fit(table())
    for name, value in wrong.items():
        assert f"{name} is {value!r}; give " in str(caught.value)
    assert embedder(epochs=1, callbacks=None).fit(table()).dim_ > 0


def test_an_embedder_that_is_not_fitted_is_named_by_every_function():
    for use in (cl.embed, cl.probe, lambda model, rows: cl.similar(model, rows, 0)):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            use(embedder(), table())


def test_a_batch_of_a_fraction_is_refused(fitted):
    with pytest.raises(ConfigurationError, match=r"batch_size is 2\.5; give a whole number"):
        cl.embed(fitted, table(), batch_size=2.5)


def test_an_own_encoder_that_passes_on_missing_numbers_is_named():
    schema = cl.Schema({"emb": cl.Vector("emb"), "labs": cl.Tabular(["age", "height"])})
    rows = table().assign(height=np.arange(48.0))
    with pytest.raises(ConfigurationError, match="The encoder Linear returned NaN.*nan_to_num"):
        cl.Embedder(
            schema,
            epochs=1,
            batch_size=16,
            features="learned",
            encoders={"labs": nn.Linear(2, 8)},
        ).fit(rows)
