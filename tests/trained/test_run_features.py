"""Fixed features next to the learned embedding: kept with the model, of one width, chosen by `blocks`."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load, save
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl
from commlearn.cli import main
from commlearn.comparison.plan import ComparisonSource
from commlearn.config.build import build_features
from commlearn.config.configuration import experiment_from
from commlearn.config.own_data import read_own, suggest
from commlearn.errors import ConfigurationError, RunError
from commlearn.models.features import FeatureBlocks
from commlearn.records import Records, VectorColumn
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table
from commlearn.trained import stream
from commlearn.trained.run import load_run
from commlearn.trained.stream import write_embeddings
from commlearn.training.finetune import FineTuning, finetune

SCHEMA = {
    "modalities": {
        "labs": {"kind": "tabular", "columns": ["age", "site"]},
        "note": {"kind": "text", "column": "note"},
        "ecg": {"kind": "series", "column": "ecg"},
    },
    "targets": {"ill": "class"},
    "id": "case",
}
LEARNED = 4 * 128  # the fused vector, and the mean token of each of three modalities


def table(rows=80):
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "case": [f"c{row}" for row in range(rows)],
            "age": draw.normal(50, 10, rows),
            "site": np.array(["a", "b"], dtype=object)[draw.integers(2, size=rows)],
            "note": [f"word{word} and more" for word in draw.integers(9, size=rows)],
            "ecg": [draw.normal(size=20).tolist() for _ in range(rows)],
            "ill": draw.integers(2, size=rows),
        }
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    out = tmp_path_factory.mktemp("fitted") / "run"
    return cl.Embedder(SCHEMA, epochs=1, batch_size=16, out=out).fit(table())


def test_blocks_choose_the_learned_part_the_features_or_both(fitted):
    whole, learned, features = (
        fitted.transform(table(), blocks=name) for name in ("all", "learned", "features")
    )
    assert learned.shape == (80, LEARNED)
    assert features.shape == (80, fitted.trained.features.dim)
    assert np.array_equal(whole, np.concatenate([learned, features], axis=1))
    assert np.isfinite(whole).all()
    with pytest.raises(ConfigurationError, match="blocks 'feature'"):
        fitted.transform(table(), blocks="feature")


def test_a_model_without_features_has_the_learned_part_alone(fitted):
    method = fitted.trained.method
    records = fitted.trained.records(table())
    assert np.array_equal(cl.embed(method, records), fitted.transform(table(), blocks="learned"))
    with pytest.raises(ConfigurationError, match="no fixed features"):
        cl.embed(method, records, blocks="features")


def test_names_say_what_a_dimension_is(fitted, tmp_path):
    names = list(fitted.get_feature_names_out())
    assert len(names) == len(set(names)) == fitted.dim_ == fitted.transform(table()).shape[1]
    assert names[:2] == ["comm0", "comm1"]
    assert names[LEARNED] == "labs_feature0"
    assert names[-1] == f"ecg_feature{fitted.trained.features.dims['ecg'] - 1}"
    write_embeddings(fitted.trained, table(), tmp_path / "z.csv")
    assert list(pd.read_csv(tmp_path / "z.csv").columns) == ["case", *names]
    write_embeddings(fitted.trained, table(), tmp_path / "f.csv", blocks="features")
    assert list(pd.read_csv(tmp_path / "f.csv").columns) == ["case", *names[LEARNED:]]


def test_a_modality_that_is_absent_or_not_asked_for_is_what_the_others_let_expect(fitted):
    dims, rows = fitted.trained.features.dims, table()
    whole = fitted.transform(rows, blocks="features")
    note = slice(dims["labs"], dims["labs"] + dims["note"])
    rows["note"] = pd.Series([None, *rows["note"][1:]], dtype=object)
    without = fitted.transform(rows)
    assert np.isfinite(without).all()
    features = without[:, LEARNED:]
    assert not np.allclose(features[0, note], whole[0, note], atol=1e-3)
    np.testing.assert_allclose(features[1:], whole[1:], atol=1e-5)
    np.testing.assert_allclose(np.delete(features, note, axis=1), np.delete(whole, note, axis=1), atol=1e-5)
    others = fitted.transform(rows.drop(columns="note"), modalities=["labs", "ecg"], blocks="features")
    np.testing.assert_allclose(others[0], features[0], atol=1e-5)
    some = fitted.transform(rows[["case", "note"]][1:], modalities=["note"], blocks="features")
    assert some.shape == (79, fitted.trained.features.dim)
    np.testing.assert_allclose(some[:, note], whole[1:, note], atol=1e-5)


def test_every_way_to_keep_a_model_keeps_its_features_to_the_bit(fitted, tmp_path):
    expected = fitted.transform(table())
    fitted.save(tmp_path / "model")
    for again in (
        cl.Embedder.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(fitted)),
        cl.Embedder.load(fitted.out),
    ):
        assert np.array_equal(again.transform(table()), expected)
        assert list(again.get_feature_names_out()) == list(fitted.get_feature_names_out())
    assert "learned part" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_chunks_of_a_file_are_embedded_as_the_whole(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "chunk_rows", lambda model, modalities: 17)
    table().to_parquet(tmp_path / "t.parquet")
    np.testing.assert_allclose(
        fitted.transform(tmp_path / "t.parquet"), fitted.transform(table()), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("damage", ["cut", "another", "not finite", "gone", "pipe"])
def test_damage_in_a_run_is_named(fitted, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(fitted.out, folder)
    file = folder / "features.safetensors"
    content = file.read_bytes()
    tensors = load(content)
    if damage in ("gone", "pipe"):
        file.unlink()
        if damage == "pipe":
            os.mkfifo(file)  # whoever opens it waits for a writer
    elif damage == "cut":
        file.write_bytes(content[:-9])
    elif damage == "another":
        file.write_bytes(save({name: tensor for name, tensor in tensors.items() if "ecg" not in name}))
    else:
        tensors["blocks.labs.turn"].fill_(float("nan"))
        file.write_bytes(save(tensors))
    with pytest.raises(RunError, match=r"features\.safetensors is missing or damaged"):
        load_run(folder)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damage_in_an_export_is_named(fitted, tmp_path, damage):
    fitted.save(tmp_path / "model")
    file = tmp_path / "model" / "features.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        file.unlink()
    with pytest.raises(RunError, match=r"features\.safetensors is (damaged|missing)"):
        cl.load(tmp_path / "model")


@pytest.fixture
def schema_file(tmp_path):
    table().drop(columns=["note"]).to_parquet(tmp_path / "t.parquet")
    path = tmp_path / "schema.yaml"
    path.write_text(
        "table: t.parquet\nmodalities:\n  labs: {kind: tabular, columns: [age, site]}\n"
        "  ecg: {kind: series, column: ecg}\ntargets: {ill: class}\nid: case\n"
        "training: {epochs: 1, batch_size: 16}\n",
        encoding="utf-8",
    )
    return path


def test_own_tables_and_comparisons_have_features_where_nothing_else_is_stated(schema_file):
    experiment, _, note = read_own(schema_file)
    assert experiment.model.features == "fixed"
    assert "model.features fixed" in note
    experiment, _, note = read_own(schema_file, overrides={"model.features": "learned"})
    assert experiment.model.features == "learned"
    assert "features" not in note
    compared = ComparisonSource(str(schema_file))
    assert compared.read()[0].model.features == "fixed"
    text = schema_file.read_text(encoding="utf-8")
    for open_one in ("model:\n", "model: {features: auto}\n"):
        schema_file.write_text(text + open_one, encoding="utf-8")
        assert compared.read()[0].model.features == "fixed"
    schema_file.write_text(text, encoding="utf-8")
    stated = ComparisonSource(str(schema_file), overrides={"model.features": "learned"})
    assert stated.read()[0].model.features == "learned"
    schema_file.write_text(text + "model: {features: learned}\n", encoding="utf-8")
    assert compared.read()[0].model.features == "learned"


def test_streamed_records_get_none_unless_stated_however_many_there_are_in_memory(schema_file):
    many = Records({"v": VectorColumn(np.zeros((20_001, 1), np.float32))})
    for features, width in (("auto", 128), ("fixed", 128), ("learned", 256)):
        model = suggest(many, features=features)["model"]
        assert (model["features"], model["width"]) == (features.replace("auto", "fixed"), width)
    frame = read_table(schema_file.parent / "t.parquet").frame
    frame.to_parquet(schema_file.parent / "t.parquet", row_group_size=10)
    assert read_own(schema_file, overrides={"data.stream": 40})[0].model.features == "learned"


def test_the_command_line_chooses_blocks_and_a_resumed_run_has_the_same_features(
    schema_file, tmp_path, capsys
):
    run, source = str(tmp_path / "run"), str(tmp_path / "t.parquet")
    assert main(["train", str(schema_file), "--out", run, "--quiet"]) == 0
    before = (tmp_path / "run" / "features.safetensors").read_bytes()
    dims = {}
    for blocks in ("all", "learned", "features"):
        out = tmp_path / f"{blocks}.npz"
        assert main(["embed", run, source, "-o", str(out), "--blocks", blocks, "--quiet"]) == 0
        with np.load(out) as arrays:
            dims[blocks] = arrays["embedding"].shape[1]
    assert dims["all"] == dims["learned"] + dims["features"]
    assert dims["learned"] == 3 * 128
    assert main(["embed", run, source, "-o", str(tmp_path / "z"), "--blocks", "features", "--quiet"]) == 0
    assert (
        np.stack(pd.read_parquet(tmp_path / "z" / "part-00000.parquet")["embedding"]).shape[1]
        == dims["features"]
    )
    assert main(["embed", run, source, "-o", str(tmp_path / "z"), "--quiet"]) == 2
    assert "blocks" in capsys.readouterr().err
    assert main(["train", str(schema_file), "--out", run, "--quiet", "--resume"]) == 0
    assert (tmp_path / "run" / "features.safetensors").read_bytes() == before


def test_a_streamed_training_that_asks_for_features_learns_them_from_its_sample(schema_file, tmp_path):
    frame = read_table(tmp_path / "t.parquet").frame
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=10)
    settings = ["--data.stream", "40", "--model.features", "fixed", "--quiet"]
    assert main(["train", str(schema_file), "--out", str(tmp_path / "run"), *settings]) == 0
    run = load_run(tmp_path / "run")
    assert cl.embed(run, frame).shape == (80, 3 * 128 + run.features.dim)


def test_a_fine_tuned_run_keeps_them_as_they_are(fitted, tmp_path):
    data = dataset_of(read_table(table()), cl.Schema.from_mapping(SCHEMA), test=0.0)
    base = load_run(fitted.out)
    run = finetune(base, FineTuning("ill", epochs=1), tmp_path / "tuned", data)
    before, after = (cl.embed(model, table(), blocks="features") for model in (base, run))
    assert np.array_equal(before, after)
    before, after = (cl.embed(model, table(), blocks="learned") for model in (base, run))
    assert not np.allclose(before, after)


def test_modalities_of_a_pretrained_encoder_have_no_features(fitted):
    experiment, specs = fitted.trained.experiment, fitted.trained.specs
    state = {**fitted.trained.state, "note": {"encoder": {"pretrained": "some"}}}
    assert list(build_features(experiment, specs, state).blocks) == ["labs", "ecg"]
    assert build_features(experiment_from({"name": "x", "data": "trifeature"}), specs) is None


def test_a_modality_of_a_pretrained_encoder_embeds_without_the_others(tmp_path):
    folders = pytest.importorskip("pretrained_folders")
    words = cl.Text("note", encoder=str(folders.save("bert", tmp_path / "bert")))
    rows = table(24).assign(note=["the cat sat", "a dog ran on"] * 12)
    schema = cl.Schema({"note": words, "labs": cl.Tabular(["age", "site"])}, {"ill": "class"})
    model = cl.Embedder(schema, epochs=1, features="fixed").fit(rows)
    dim = model.trained.features.dim
    alone = model.transform(rows, modalities=["note"])
    assert alone.shape == model.transform(rows).shape
    assert not alone[:, -dim:].any()  # nothing is expected of the other modality
    assert np.array_equal(model.transform(rows, modalities=["note"], blocks="features"), alone[:, -dim:])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    np.testing.assert_allclose(model.transform(tmp_path / "rows.csv", ["note"]), alone, atol=1e-5)


def test_features_of_other_modalities_are_refused():
    draw = np.random.default_rng(0)
    columns = {name: VectorColumn(draw.normal(size=(20, 3)).astype(np.float32)) for name in "ab"}
    blocks = FeatureBlocks(Records(columns).specs).learn(Records(columns), 0)
    other = FeatureBlocks({"a": columns["a"].spec})
    with pytest.raises(ValueError, match="does not contain features of these modalities"):
        other.from_bytes(blocks.to_bytes())


def test_a_probe_reads_what_training_made_the_fused_vector_forget():
    """Only one of many columns determines the label, and the other modality shares only other columns."""
    draw = np.random.default_rng(0)
    latents = draw.normal(size=(800, 3))
    wide = draw.normal(size=(800, 40))
    wide[:, :8] = 0.1 * wide[:, :8] + latents @ draw.normal(size=(3, 8))
    other = 0.1 * draw.normal(size=(800, 6)) + latents @ draw.normal(size=(3, 6))
    label = wide[:, -1] > 0
    material = {"a": wide.astype(np.float32), "b": other.astype(np.float32)}
    schema = {"modalities": {name: {"kind": "vector", "column": name} for name in material}}
    method = {"name": "comm", "embedding": "fused"}
    model = cl.Embedder(schema, method, epochs=4).fit({name: rows[:500] for name, rows in material.items()})
    scores = {}
    for blocks in ("all", "learned"):
        vectors = model.transform(material, blocks=blocks)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        scores[blocks] = probe.fit(vectors[:500], label[:500]).score(vectors[500:], label[500:])
    assert scores["all"] > 0.88
    assert scores["all"] > scores["learned"] + 0.08
