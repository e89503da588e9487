"""Frozen encoders run once: the stored states equal their output, whatever was interrupted or damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from pretrained_folders import save

import commlearn as cl
from commlearn.augmentations import TextAugmentation, TokenDropout
from commlearn.config.build import build_method
from commlearn.config.own_data import experiment_for
from commlearn.errors import ConfigurationError, DataError, RunError
from commlearn.models.encoders.pretrained import IN_MEMORY, frozen_encoders
from commlearn.records import Drawn, Records
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import Table
from commlearn.trained.artifact import export, load
from commlearn.trained.run import load_run
from commlearn.training import kept_tokens
from commlearn.training.finetune import FineTuning
from commlearn.training.kept_tokens import with_kept_tokens
from commlearn.training.train import train


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("secret")
    return {family: save(family, root / family) for family in ("clip", "bert")}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COMMLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_tokens, "SHARD", 8)
    return tmp_path / "cache" / "tokens"


def table(rows=22):
    draw = np.random.default_rng(0)
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat"]
    notes = [" ".join(draw.choice(words, size=draw.integers(2, 9))) for _ in range(rows)]
    images = [draw.integers(0, 256, (40, 36, 3), dtype=np.uint8) for _ in range(rows)]
    frame = pd.DataFrame({"note": pd.Series(notes, dtype=object), "image": pd.Series(images)})
    frame.loc[3, "note"] = None
    return frame


def parts(folders, **choice):
    """Return an experiment and its data."""
    schema = cl.Schema(
        {
            "image": cl.Image("image", encoder={"pretrained": str(folders["clip"]), **choice}),
            "note": cl.Text("note", encoder={"pretrained": str(folders["bert"]), **choice}),
        }
    )
    data = dataset_of(Table(table()), schema, test=0.0)
    settings = {
        "name": "kept",
        "data": {"name": "table", "table": "", "schema": schema.to_mapping()},
        "method": "comm",
        "model": {"width": 16},
        "training": {"epochs": 2, "batch_size": 8},
    }
    return experiment_for(settings, data)[0], data


def with_tokens(folders, log_lines=None, fabric=None, augmentations=None, **choice):
    experiment, data = parts(folders, **choice)
    if augmentations is not None:
        experiment.augmentations.update(augmentations)
    method = build_method(experiment, data.train.specs, data.state)
    tell = log_lines.append if log_lines is not None else lambda line: None
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    encoded, augmentations = with_kept_tokens(data, method, experiment, fabric, tell)
    return method, data.train, encoded.train, augmentations


def assert_same_tokens(method, raw, records, atol=1e-5):
    rows = np.array([21, 3, 0, 8, 7, 15, 16])
    for name in raw.columns:
        with torch.no_grad():
            wanted = method.encoders[name](raw.columns[name].take(rows))
            states = method.encoders[name](records.columns[name].take(rows))
        torch.testing.assert_close(states.values, wanted.values, atol=atol, rtol=0)
        if wanted.padding is None:
            assert states.padding is None or not states.padding.any()
        else:
            assert torch.equal(states.padding, wanted.padding)


def test_kept_states_are_those_of_the_encoder_in_the_loop(folders, cache):
    method, raw, records, augmentations = with_tokens(folders)
    assert_same_tokens(method, raw, records)
    assert len(list(cache.iterdir())) == 6  # 22 records in files of 8, for two encoders
    assert augmentations == {"image": TokenDropout(), "note": TokenDropout()}
    assert records.specs == {"image": ("tokens", (32,)), "note": ("tokens", (32,))}


def test_validation_records_are_kept_too(folders):
    experiment, data = parts(folders)
    halves = data.train.choose(np.arange(12)), data.train.choose(np.arange(12, 22))
    data = replace(data, train=halves[0], validation=halves[1])
    method = build_method(experiment, data.train.specs, data.state)
    encoded, _ = with_kept_tokens(data, method, experiment, Fabric(devices=1), lambda line: None)
    assert encoded.validation.specs["note"] == ("tokens", (32,))
    wanted = cl.embed(method, data.validation)
    np.testing.assert_allclose(cl.embed(method, encoded.validation), wanted, atol=1e-5)


def test_of_a_text_with_several_versions_every_version_is_kept(folders):
    experiment, data = parts(folders)
    first, count = np.array([4, 0, 12]), np.array([3, 2, 1])
    texts = data.train.columns["note"]
    few = data.train.choose(first)
    raw = Records({**few.columns, "note": Drawn(texts, first, count)})
    method = build_method(experiment, raw.specs, data.state)
    encoded, _ = with_kept_tokens(
        replace(data, train=raw), method, experiment, Fabric(devices=1), lambda line: None
    )
    encoded_texts = encoded.train.columns["note"]
    rows, drawn = np.array([2, 0, 1, 0]), set()
    for seed in range(12):
        states, ids = (
            method.encoders["note"](column.draw(rows, np.random.default_rng(seed)))
            for column in (encoded_texts, raw.columns["note"])
        )
        torch.testing.assert_close(states.values, ids.values, atol=1e-5, rtol=0)
        drawn.add(float(states.values[1].detach().sum()))
    assert len(drawn) == 3


def test_half_precision_takes_half_the_room_and_is_near(folders, cache):
    with_tokens(folders)
    full = sum(path.stat().st_size for path in cache.iterdir())
    shutil.rmtree(cache)
    method, raw, records, _ = with_tokens(folders, precision="float16")
    assert sum(path.stat().st_size for path in cache.iterdir()) < 0.56 * full
    assert_same_tokens(method, raw, records, atol=0.02)


def refuse(*_):
    raise AssertionError("the encoder was asked")


def test_a_second_training_asks_no_encoder_and_a_change_of_any_part_does(folders, monkeypatch):
    with_tokens(folders)
    log_lines = []
    with monkeypatch.context() as patch:
        patch.setattr("commlearn.models.encoders.pretrained.feed", refuse)
        with_tokens(folders, log_lines)
        assert not [line for line in log_lines if "encoding" in line]
        for change in ({"precision": "float16"}, {"views": 1}):
            with pytest.raises(AssertionError, match="was asked"):
                with_tokens(folders, **change)
    other = {**folders, "bert": save("bert", folders["bert"].parent / "other")}
    (other["bert"] / "config.json").write_text((other["bert"] / "config.json").read_text() + " ")
    log_lines = []
    with_tokens(other, log_lines)
    assert [line.split(":")[0] for line in log_lines if "encoding" in line] == ["note"] * 3


def test_a_changed_record_is_computed_anew_with_its_file_alone(folders, monkeypatch):
    with_tokens(folders)
    changed = table()
    changed.loc[9, "note"] = "dog dog dog"
    monkeypatch.setitem(globals(), "table", lambda: changed)
    log_lines = []
    method, raw, records, _ = with_tokens(folders, log_lines)
    assert [line for line in log_lines if "encoding" in line] == ["note: encoding records 9 to 16 of 22"]
    assert_same_tokens(method, raw, records)


def test_a_stopped_computation_goes_on_where_it_was(folders, cache, monkeypatch):
    written = []

    def stop_at_third(path, shard):
        if len(written) == 2:
            (path.parent / f".{path.name}.1.part").write_bytes(b"half of it")
            raise KeyboardInterrupt
        written.append(path)
        write_shard(path, shard)

    write_shard = kept_tokens.write_shard
    with monkeypatch.context() as patch:
        patch.setattr(kept_tokens, "write_shard", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            with_tokens(folders)
    log_lines = []
    method, raw, records, _ = with_tokens(folders, log_lines)
    assert len([line for line in log_lines if "encoding" in line]) == 4
    assert not list(cache.glob(".*"))
    assert_same_tokens(method, raw, records)


def test_a_damaged_file_is_told_and_computed_anew(folders, cache):
    with_tokens(folders)
    path = sorted(cache.iterdir())[2]
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"x" + whole[-8:])
    log_lines = []
    method, raw, records, _ = with_tokens(folders, log_lines)
    assert [
        line for line in log_lines if "damaged" in line and str(path) in line and "computed again" in line
    ]
    assert path.read_bytes() == whole
    assert_same_tokens(method, raw, records)


def test_kept_versions_are_augmented_before_the_encoder_and_the_first_is_not(folders):
    log_lines = []
    method, raw, records, augmentations = with_tokens(
        folders, log_lines, views=2, augmentations={"note": {"name": "text", "mask": 0.9}}
    )
    assert_same_tokens(method, raw, records)  # the first version is the unchanged record
    states = records.columns["image"].take(np.arange(22)).values
    assert states.shape == (22, 3, 17, 32)
    assert (states[:, 1] - states[:, 2]).abs().flatten(1).amax(dim=1).min() > 0.01
    view = augmentations["image"](
        records.columns["image"].take(np.arange(22)), torch.Generator().manual_seed(0)
    )
    assert view.values.shape == (22, 17, 32)
    assert any(
        "one of 2 kept versions, each augmented by TextAugmentation(mask=0.9" in line for line in log_lines
    )


def test_the_log_says_that_a_view_is_token_dropout(folders, tmp_path):
    experiment, data = parts(folders)
    run = train(experiment, tmp_path / "run", data)
    log = (run.folder.path / "log.txt").read_text()
    assert "a view is token dropout (up to 0.8 of a record's tokens), in place of ImageAugmentation" in log
    assert run.specs["image"] == ("image", (3, 32, 32))


def test_the_users_own_choice_of_views_is_kept(folders):
    chosen = {"image": {"name": "token_dropout", "most": 0.3}, "text": {"name": "none"}}
    *_, augmentations = with_tokens(folders, augmentations=chosen)
    assert augmentations == {"image": TokenDropout(0.3)}


def test_versions_without_an_augmentation_are_not_kept(folders):
    for chosen in ({"name": "none"}, {"name": "token_dropout"}):
        _, _, records, augmentations = with_tokens(folders, views=3, augmentations={"image": chosen})
        assert records.specs["image"] == ("tokens", (32,))
        assert records.specs["note"] == ("token_versions", (32,))
        assert ("image" in augmentations) == (chosen["name"] == "token_dropout")


def test_not_kept_and_tuned_encoders_run_in_the_loop(folders, cache):
    for choice in ({"cache": False}, {"frozen": False}):
        _, raw, records, augmentations = with_tokens(folders, **choice)
        assert records.specs == raw.specs
        assert augmentations["note"] == TextAugmentation()
    assert not cache.exists()


def test_numbers_beyond_half_precision_are_refused(folders, monkeypatch):
    monkeypatch.setattr(
        "commlearn.models.encoders.pretrained.feed",
        lambda model, ids, padding: torch.full((*ids.shape, 32), 7e4),
    )
    monkeypatch.setattr("commlearn.models.encoders.pretrained.Frozen.reads_images", False)
    with pytest.raises(DataError, match=r"do not fit float16\. Set precision: float32"):
        with_tokens(folders, precision="float16")


@pytest.mark.parametrize("choice", [{}, {"views": 1}, {"cache": False}, {"frozen": False}])
def test_run_and_artifact_embed_raw_tables_to_the_same_bits(choice, folders, tmp_path):
    experiment, data = parts(folders, **choice)
    run = train(experiment, tmp_path / "run", data)
    wanted = cl.embed(run, table())
    assert np.isfinite(wanted).all()
    assert np.array_equal(cl.embed(load_run(tmp_path / "run"), table()), wanted)
    folder = export(run, tmp_path / "artifact")
    assert np.array_equal(cl.embed(load(folder), table()), wanted)
    assert all(b"secret" not in path.read_bytes() for path in folder.iterdir())
    saved = run.folder.state()[0]["method"]
    assert any("backbone" in name for name in saved) == (choice == {"frozen": False})


def test_an_artifact_needs_neither_the_folders_nor_a_network(folders, tmp_path):
    mine = {name: shutil.copytree(folder, tmp_path / name) for name, folder in folders.items()}
    experiment, data = parts(mine)
    run = train(experiment, tmp_path / "run", data)
    rows = table()[["note"]]
    rows.to_parquet(tmp_path / "t.parquet")
    wanted = cl.embed(run, rows[rows.note.notna()].reset_index(drop=True), ["note"])
    export(run, tmp_path / "artifact")
    for folder in mine.values():
        shutil.rmtree(folder)
    code = (
        "import sys, socket, numpy as np, pandas as pd, torch; torch.set_num_threads(1)\n"
        "def no(*a, **k): raise SystemExit('a connection was asked for')\n"
        "socket.socket.connect = no\n"
        "import commlearn as cl; t = pd.read_parquet(sys.argv[2])\n"
        "t = t[t.note.notna()].reset_index(drop=True)\n"
        "np.save(sys.argv[3], cl.embed(cl.load(sys.argv[1]), t, ['note']))\n"
    )
    words = [str(tmp_path / name) for name in ("artifact", "t.parquet", "z.npy")]
    subprocess.run([sys.executable, "-c", code, *words], check=True)
    assert np.array_equal(np.load(tmp_path / "z.npy"), wanted)
    IN_MEMORY.clear()
    with pytest.raises(ConfigurationError, match="no folder"):  # a run folder refers to these folders
        cl.embed(load_run(tmp_path / "run"), table())


def test_an_artifact_that_names_kernels_and_folders_is_fine_tuned_with_the_weights_that_it_carries(
    folders, tmp_path
):
    mine = {name: shutil.copytree(folder, tmp_path / "own" / name) for name, folder in folders.items()}
    experiment, data = parts(mine)
    train(experiment, tmp_path / "run", data)
    artifact = export(tmp_path / "run", tmp_path / "artifact")
    rows = table().assign(ill=np.arange(22) % 2)
    wanted = cl.embed(load(artifact), rows)
    IN_MEMORY.clear()
    place = {"image": str(mine["clip"]), "note": "owner/model"}
    state = json.loads((artifact / "preprocessing.json").read_text())
    schema = json.loads((artifact / "schema.json").read_text())
    for name, learned in state.items():
        learned["encoder"]["pretrained"] = place[name]
        learned["encoder"]["config"] |= {"attn_implementation": "owner/kernel", "use_kernels": True}
        schema["modalities"][name]["encoder"] = place[name]
    schema["targets"] = {"ill": "class"}
    for name, values in (("preprocessing.json", state), ("schema.json", schema)):
        (artifact / name).write_text(json.dumps(values))
    config = json.loads((artifact / "config.json").read_text())
    config["sha256"] = {
        name: hashlib.sha256((artifact / name).read_bytes()).hexdigest() for name in config["sha256"]
    }
    (artifact / "config.json").write_text(json.dumps(config))
    shutil.rmtree(tmp_path / "own")
    hostile = load(artifact)
    assert np.array_equal(cl.embed(hostile, rows), wanted)
    attention = {
        encoder.backbone.config._attn_implementation
        for encoder in frozen_encoders(hostile.method.encoders).values()
    }
    assert attention == {"sdpa"}
    tuned = cl.finetune(artifact, FineTuning("ill", epochs=1, batch_size=8), tmp_path / "tuned", rows)
    assert np.array_equal(cl.embed(load(tmp_path / "tuned"), rows), cl.embed(tuned, rows))
    again = load(export(tmp_path / "tuned", tmp_path / "again"))
    assert np.array_equal(cl.embed(again, rows), cl.embed(tuned, rows))
    twice = cl.finetune(tuned, FineTuning("ill", epochs=1, batch_size=8), tmp_path / "twice", rows)
    assert np.array_equal(cl.embed(load(tmp_path / "twice"), rows), cl.embed(twice, rows))
    (tmp_path / "tuned" / "frozen.safetensors").write_bytes(b"cut")
    with pytest.raises(RunError, match=r"frozen\.safetensors is missing or damaged"):
        load(tmp_path / "tuned")


def test_encoders_with_dropout_are_tuned_in_threads_as_one_after_the_other(folders, tmp_path):
    experiment, data = parts(folders, frozen=False)  # the BERT has a dropout of 0.1

    def weights(name: str) -> dict[str, torch.Tensor]:
        return train(experiment, tmp_path / name, data).method.state_dict()

    alone = weights("alone")
    with ThreadPoolExecutor(2) as pool:
        for together in pool.map(weights, ("first", "second")):
            assert all(torch.equal(together[name], tensor) for name, tensor in alone.items())


@pytest.mark.parametrize("choice", [{"cache": False}, {"frozen": False}])
def test_pretrained_encoders_leave_the_generator_of_the_caller(choice, folders, tmp_path):
    IN_MEMORY.clear()
    before = torch.get_rng_state()
    experiment, data = parts(folders, **choice)
    export(train(experiment, tmp_path / "run", data), tmp_path / "artifact")
    load_run(tmp_path / "run")
    cl.embed(load(tmp_path / "artifact"), table())
    assert torch.equal(torch.get_rng_state(), before)
