"""Exported models: they load offline to the same bits and run no code, and damage is named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import commlearn as cl
from commlearn.config.own_data import experiment_for
from commlearn.errors import CommlearnError, ConfigurationError, DataWarning, RunError
from commlearn.methods import METHODS
from commlearn.storage.checkpoint import write_atomically
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import Table
from commlearn.trained.artifact import _distinct, export, load
from commlearn.trained.run import load_run
from commlearn.training.finetune import FineTuning
from commlearn.training.train import train

SCHEMA = cl.Schema(
    {"labs": cl.Tabular(["age", "site"]), "note": cl.Text("note"), "emb": cl.Vector("emb")},
    {"ill": "class"},
    id="case",
)


def table(rows=60, missing=0.0):
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "case": np.arange(rows),
            "age": draw.normal(50, 10, rows),
            "site": np.array(["a", "b"], dtype=object)[draw.integers(2, size=rows)],
            "note": [f"word{word} and more" for word in draw.integers(9, size=rows)],
            "emb": list(draw.normal(size=(rows, 4)).astype("float32")),
            "ill": draw.integers(2, size=rows),
        }
    ).astype({"note": object})
    gone = draw.random((rows, 3)) < missing
    gone[np.arange(rows), draw.integers(3, size=rows)] = False
    for place, columns in enumerate((["age", "site"], ["note"], ["emb"])):
        for column in columns:
            frame.loc[gone[:, place], column] = None
    return frame


def run_in(folder, method="comm", missing=0.0):
    data = dataset_of(Table(table(missing=missing)), SCHEMA)
    settings = {
        "name": "small",
        "data": {"name": "table", "table": "/secret/place/t.csv", "schema": SCHEMA.to_mapping()},
        "method": method,
        "model": {"width": 16},
        "training": {"epochs": 2, "batch_size": 16},
    }
    return train(experiment_for(settings, data)[0], folder, data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_in(tmp_path_factory.mktemp("artifact") / "run")


@pytest.fixture
def exported(run, tmp_path):
    return export(run, tmp_path / "model")


def test_a_run_folder_holds_schema_and_preprocessing_and_loads(run):
    again = load_run(run.folder.path)
    assert again.schema == run.schema == SCHEMA
    assert again.state == run.state
    assert np.array_equal(cl.embed(again, table()), cl.embed(run, table()))


def test_the_folder_holds_plain_files_and_no_path_of_the_table(exported):
    names = {path.name for path in exported.iterdir()}
    tensors = {"model.safetensors", "rows.safetensors", "features.safetensors"}
    texts = {"config.json", "schema.json", "preprocessing.json", "README.md", "files.json"}
    assert names == tensors | texts
    assert all(b"secret" not in path.read_bytes() for path in exported.iterdir())
    card = (exported / "README.md").read_text()
    for phrase in (
        "Trained with commlearn (method comm), without labels",
        "labs",
        "`age`",
        "epochs: 2",
        "Nothing was measured",
        "The weights you train are yours",
    ):
        assert phrase in card


def test_the_card_holds_the_probes_with_their_intervals(run, tmp_path):
    scores = {"ill": {"balanced_accuracy": 0.75, "interval": [0.7, 0.8], "chance": 0.5, "test_records": 12}}
    scores["days"] = {"r2": 0.1, "interval": [None, 1.0], "test_records": 9}  # of a single group
    scores["age"] = {"r2": None, "interval": [None, None], "test_records": 3}  # of one value
    run.folder.write("probes.json", json.dumps(scores))
    try:
        card = (export(run, tmp_path / "m") / "README.md").read_text()
    finally:
        (run.folder.path / "probes.json").unlink()
    assert "| ill | balanced accuracy | 0.750 | 0.700 to 0.800 | 0.500 | 12 |" in card
    assert "| days | R2 | 0.100 | none | 0.000 | 9 |" in card
    assert "| age | R2 | none | none | 0.000 | 3 |" in card


@pytest.mark.parametrize(
    "content",
    [
        "[1]",
        '{"ill": 3}',
        '{"ill": {}}',
        '{"ill": {"balanced_accuracy": "x", "interval": [1], "test_records": 3}}',
    ],
)
def test_probes_that_are_damaged_are_named(run, tmp_path, content):
    run.folder.write("probes.json", content)
    try:
        with pytest.raises(RunError, match=r"probes\.json is missing or damaged"):
            export(run, tmp_path / "m")
    finally:
        (run.folder.path / "probes.json").unlink()
    assert not (tmp_path / "m").exists()


def test_an_embedder_is_exported_and_fine_tuned_as_its_model(tmp_path):
    frame = table().drop(columns="case")
    embedder = cl.Embedder(
        cl.Schema({"labs": cl.Tabular(["age"]), "emb": cl.Vector("emb")}, {"ill": "class"})
    )
    for not_fitted in (embedder, 3):
        with pytest.raises(ConfigurationError, match="is not a trained model. Give a run, a fitted Embedder"):
            export(not_fitted, tmp_path / "none")
    embedder.set_params(epochs=1).fit(frame[:40])
    again = load(export(embedder, tmp_path / "m"))
    assert np.array_equal(cl.embed(again, frame), embedder.transform(frame))
    settings = FineTuning("ill", epochs=1, validation=0.3)
    assert cl.finetune(embedder, settings, tmp_path / "tuned", frame).step == 1


def test_a_fresh_process_embeds_to_the_same_bits(run, exported, tmp_path):
    table().to_parquet(tmp_path / "t.parquet")
    code = (
        "import sys, numpy as np, commlearn as cl, torch; torch.set_num_threads(1);"
        "np.save(sys.argv[3], cl.embed(cl.load(sys.argv[1]), sys.argv[2]))"
    )
    words = [str(exported), str(tmp_path / "t.parquet"), str(tmp_path / "z.npy")]
    subprocess.run([sys.executable, "-c", code, *words], check=True)
    assert np.array_equal(np.load(tmp_path / "z.npy"), cl.embed(run, table()))


@pytest.mark.parametrize("method", [name for name in METHODS if (METHODS[name].modality_count[1] or 3) >= 3])
def test_training_with_missing_modalities_embeds_any_subset(method, tmp_path):
    trained = run_in(tmp_path / "run", method, missing=0.3)
    rows = table(missing=0.3)
    whole = cl.embed(trained, rows)
    assert np.isfinite(whole).all()
    again = load(export(trained, tmp_path / "m"))
    assert np.array_equal(cl.embed(again, rows), whole)
    for names in (["note"], ["emb", "labs"]):
        columns = [column for name in names for column in SCHEMA.modalities[name].columns()]
        some = rows[rows[columns].notna().any(axis=1)]
        assert np.isfinite(cl.embed(trained, some[columns], names)).all()
    with pytest.warns(DataWarning, match="note"):
        part = cl.embed(trained, rows, ["note"])
    absent = rows["note"].isna()
    assert absent.any()
    assert np.array_equal(np.isnan(part), np.repeat(absent.to_numpy()[:, None], part.shape[1], axis=1))


@pytest.mark.parametrize("name", ["model.safetensors", "schema.json", "preprocessing.json", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damage_is_named(exported, name, damage):
    path, content = exported / name, (exported / name).read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + (b"\x00" + content[middle + 1 :] if damage == "flipped" else b""))
    with pytest.raises(CommlearnError, match=name):
        load(exported)


def test_a_newer_format_and_other_folders_are_refused_by_name(exported, tmp_path):
    config = json.loads((exported / "config.json").read_text())
    (exported / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(RunError, match="has format 2, but this commlearn .* reads formats up to 1"):
        load(exported)
    with pytest.raises(RunError, match="not a run folder or an artifact"):
        load(tmp_path)


def test_code_in_the_folder_is_not_run(exported):
    (exported / "harm.py").write_text("raise SystemExit('harm')")
    (exported / "__init__.py").write_text("raise SystemExit('harm')")
    config = json.loads((exported / "config.json").read_text())
    config["experiment"]["method"]["name"] = "harm.Harm"
    (exported / "config.json").write_text(json.dumps(config))
    with pytest.raises(CommlearnError, match=r"Unknown method 'harm.Harm'"):
        load(exported)


def test_shared_tensors_are_stored_once(tmp_path):
    layer = nn.Linear(3, 3)
    both = nn.ModuleDict({"one": layer, "two": layer})
    tensors, aliases = _distinct(both.state_dict())
    assert set(tensors) == {"one.weight", "one.bias"}
    assert aliases == {"two.weight": "one.weight", "two.bias": "one.bias"}


def test_stored_tensors_are_the_weights(run, exported):
    stored, held = load_file(exported / "model.safetensors"), run.method.state_dict()
    assert all(torch.equal(value, held[name].cpu()) for name, value in stored.items())


def test_an_export_may_leave_out_what_was_trained_on(exported, tmp_path):
    from commlearn.trained.artifact import export, load

    assert load(exported).rows is not None
    assert load(export(load(exported), tmp_path / "without", rows=False)).rows is None
    assert not (tmp_path / "without" / "rows.safetensors").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors", "rows.safetensors"])
def test_an_export_replaces_no_file_of_somebody_else(run, tmp_path, name):
    (tmp_path / name).write_text('{"format": 1}')
    with pytest.raises(RunError, match=rf"did not write and would replace: {re.escape(name)}\. Move it away"):
        export(run, tmp_path)
    assert contents(tmp_path) == {name: b'{"format": 1}'}


def test_an_export_replaces_what_it_wrote_and_a_card_that_was_edited_stays(run, exported):
    before = contents(exported)
    (exported / "notes.txt").write_text("mine")
    export(run, exported)
    assert contents(exported) == {**before, "notes.txt": b"mine"}
    export(run, exported, rows=False)
    assert "rows.safetensors" not in contents(exported)
    assert load(exported).rows is None
    (exported / "README.md").write_text("# My model")
    with pytest.raises(RunError, match=r"README\.md was changed since it was exported"):
        export(run, exported)
    assert (exported / "README.md").read_text() == "# My model"


def test_an_export_that_was_killed_is_done_again(run, tmp_path, monkeypatch):
    """It is killed before each of its files in turn; the next call gives the same as an undisturbed one."""

    class Killed(BaseException):
        pass

    whole = contents(export(run, tmp_path / "whole"))
    for kill_at in range(10):
        calls: list[Path] = []

        def dying(path, content, kill_at=kill_at, calls=calls):
            if len(calls) == kill_at:
                raise Killed
            calls.append(path)
            write_atomically(path, content)

        folder = tmp_path / str(kill_at)
        monkeypatch.setattr("commlearn.trained.artifact.write_atomically", dying)
        try:
            export(run, folder)
        except Killed:
            monkeypatch.setattr("commlearn.trained.artifact.write_atomically", write_atomically)
            export(run, folder)
        assert contents(folder) == whole
    assert len(calls) == 7


def test_an_export_of_before_its_files_were_listed_is_replaced_but_for_its_card(run, exported):
    (exported / "files.json").unlink()
    with pytest.raises(RunError, match=r"would replace: README\.md\."):
        export(run, exported)
    (exported / "README.md").unlink()
    export(run, exported)
    assert load(exported).rows is not None
