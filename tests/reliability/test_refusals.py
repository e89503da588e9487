"""Files written by others are read, or refused with a message that names them: no traceback, no hang."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import tarfile
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hostile_models import folders

from commlearn.comparison.plan import arrays_of as predictions
from commlearn.config.configuration import experiment_from
from commlearn.datasets.converted import read_converted, read_hdf5, write_arrays, write_converted
from commlearn.errors import CheckpointError, CommlearnError, DataError, RunError
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.vector import Vector
from commlearn.storage.checkpoint import MAGIC, read_checkpoint, write_checkpoint
from commlearn.storage.pickles import read_pickle
from commlearn.storage.plain_files import ALLOWED
from commlearn.storage.plain_json import parse_json
from commlearn.tables.dataset import dataset_of
from commlearn.tables.schema import Schema
from commlearn.tables.table import Table, read_table
from commlearn.trained.artifact import load
from commlearn.training.finetune import FineTuning, finetune
from commlearn.training.kept_tokens import open_shard
from commlearn.training.train import train

DEEP = "[" * 600 + "]" * 600
BAD_JSON = {
    "deep": f'{{"a": {DEEP}}}',
    "deeper": '{"a": ' + "[" * 200_000,
    "digits": '{"a": ' + "7" * 5000 + "}",
    "surrogate key": '{"\\ud800": 1}',
    "surrogate": '{"a": "\\udfff"}',
    "cut": '{"a": ',
}


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_json_is_read_or_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_pairs_of_surrogates_and_long_flat_lists_are_read():
    assert parse_json('{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert len(parse_json(json.dumps([[0, 1]] * 1000))) == 1000


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_json_lines_name_file_and_line(tmp_path, text):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n' + text)
    with pytest.raises(DataError, match=r"t.jsonl, line 2 is not JSON"):
        read_table(path)


def test_numbers_beyond_any_float_are_infinite_and_said_by_check(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1e400, "b": 1}\n{"a": ' + "9" * 400 + ', "b": null}\n')
    assert np.isposinf(read_table(tmp_path / "t.jsonl").frame["a"]).all()


def test_whole_numbers_with_gaps_keep_their_digits_in_json_lines(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"id": 9007199254740993, "n": 1}\n{"id": null, "n": 2}\n')
    assert int(read_table(tmp_path / "t.jsonl").frame["id"][0]) == 2**53 + 1


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def lying_npy(shape):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return out.getvalue() + bytes(64)


NPY = {
    "huge": lying_npy((10**12,)),
    "large": lying_npy((10**9,)),
    "negative": lying_npy((-1, 3)),
    "overflow": lying_npy((2**62, 2**62)),
    "no python": b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((((\n",
    "cut": b"\x93NUMPY\x01",
    "zip": b"PK\x03\x04" + bytes(30),
    "empty": b"",
}


@pytest.mark.parametrize("content", NPY.values(), ids=NPY)
def test_arrays_that_lie_are_named_in_tar_and_in_cells(tmp_path, content):
    tar_of(tmp_path / "t.tar", {"1.npy": content})
    with pytest.raises(DataError, match=r"t.tar, 1.npy"):
        read_table(tmp_path / "t.tar")
    for row in range(4):
        (tmp_path / f"{row}.npy").write_bytes(content)
    frame = pd.DataFrame({"v": [f"{row}.npy" for row in range(4)]})
    with pytest.raises(DataError, match=r"0.npy"):
        dataset_of(Table(frame, tmp_path), Schema({"v": Vector("v")}), test=0.25)


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_json_in_tar_is_named(tmp_path, text):
    with pytest.raises(DataError, match=r"t.tar, 1.json"):
        read_table(tar_of(tmp_path / "t.tar", {"1.json": text.encode()}))


def test_members_of_tar_that_are_sparse_or_longer_than_the_file_are_refused(tmp_path):
    content = bytearray(tar_of(tmp_path / "t.tar", {"1.txt": b"word"}).read_bytes())
    info = tarfile.TarInfo("1.txt")
    info.size = 1 << 40
    content[:512] = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "t.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"1.txt: its header says 1,099,511,627,776 bytes"):
        read_table(tmp_path / "t.tar")
    (tmp_path / "s.tar").write_bytes(sparse_tar(1 << 40))
    with pytest.raises(DataError, match=r"1.txt is sparse: it unpacks to 1,099,511,627,776 bytes"):
        read_table(tmp_path / "s.tar")


def sparse_tar(size):
    info = tarfile.TarInfo("1.txt")
    info.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for place in range(386, 386 + 24 * 4 + 1):
        head[place] = 0
    head[483:495] = b"%011o\0" % 0 if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(1024)


def not_files(folder):
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(folder / "socket"))
    os.symlink("/dev/zero", folder / "zero")
    return [folder / "pipe", folder / "socket", folder / "zero"]


def as_a_table(path, folder):
    for ending in (".csv", ".tsv", ".jsonl", ".parquet", ".tar", ".csv.gz"):
        os.symlink(path, folder / f"t{ending}")
        with pytest.raises(DataError, match="is not a table|not a file"):
            read_table(folder / f"t{ending}")
        os.unlink(folder / f"t{ending}")
    os.symlink(path, folder / "t.csv")
    read_table(folder / "t.csv")


def as_a_schema(path, folder):
    os.symlink(path, folder / "s.yaml")
    Schema.from_yaml(folder / "s.yaml")


def as_a_pickle(path, folder):
    read_pickle(path)


def as_hdf5(path, folder):
    read_hdf5(path)


def as_converted(path, folder):
    write_converted({"train": {"x": np.ones(3)}}, folder / "out")
    (folder / "out" / "arrays.safetensors").unlink()
    os.symlink(path, folder / "out" / "arrays.safetensors")
    read_converted(folder / "out")


def as_token_states(path, folder):
    open_shard(path)


def as_a_checkpoint(path, folder):
    read_checkpoint(path)


def as_a_cell(path, folder):
    os.symlink(path, folder / "x.npy")
    dataset_of(Table(pd.DataFrame({"v": ["x.npy"] * 9}), folder), Schema({"v": Vector("v", outside=True)}))


def in_a_run(path, folder):
    for name in ("config.yaml", "schema.json", "preprocessing.json", "modalities.json", "rows.safetensors"):
        here = shutil.copytree(folders()[0], folder / name)
        (here / name).unlink()
        os.symlink(path, here / name)
        with pytest.raises(RunError, match=name):
            load(here)
    load(here)


def in_an_artifact(path, folder):
    for name in ("config.json", "schema.json", "preprocessing.json", "model.safetensors"):
        here = shutil.copytree(folders()[1], folder / name)
        (here / name).unlink()
        os.symlink(path, here / name)
        with pytest.raises(RunError, match=name):
            load(here)
    load(here)


FILE_DOORS = [
    *(as_a_table, as_a_schema, as_a_pickle, as_hdf5, as_converted, as_token_states, as_a_checkpoint),
    *(as_a_cell, in_a_run, in_an_artifact),
]


@pytest.mark.parametrize("door", FILE_DOORS, ids=lambda door: door.__name__)
def test_pipes_sockets_and_devices_are_no_files(door, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in not_files(tmp_path):
        folder = tmp_path / f"with {path.name}"
        folder.mkdir()
        with pytest.raises(CommlearnError):
            door(path, folder)


def test_what_unpacks_out_of_proportion_is_refused_unless_allowed(tmp_path, monkeypatch):
    for name, line in (("t.csv.gz", b"1\n"), ("t.jsonl.gz", b'{"a": 1}\n')):
        with gzip.open(tmp_path / name, "wb") as file:
            file.write(b"a\n" if "csv" in name else b"")
            for _ in range(70):
                file.write(line * ((1 << 20) // len(line)))
        with pytest.raises(DataError, match=rf"{name} unpacks to .* at most .* are read.*{ALLOWED}=2"):
            read_table(tmp_path / name)
    monkeypatch.setenv(ALLOWED, "1")
    assert len(read_table(tmp_path / "t.csv.gz")) == 70 << 19
    monkeypatch.setenv(ALLOWED, "much")
    with pytest.raises(DataError, match=f"{ALLOWED} is 'much'; give a number of GiB"):
        read_table(tmp_path / "t.csv.gz")


def test_hdf5_that_draws_on_others_or_holds_nothing_is_refused(tmp_path):
    np.full(4, 7.0).tofile(tmp_path / "secret.bin")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.full(4, 7.0)
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (4,))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("x", (4,), "f8", external=[(str(tmp_path / "secret.bin"), 0, 32)])
    with h5py.File(tmp_path / "null.h5", "w") as file:
        file["x"] = h5py.Empty("f8")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("x", (1 << 34,), "f8", chunks=(1 << 20,), compression="gzip")
    for name, message in (
        ("virtual", "x refers to other files"),
        ("external", "x refers to other files"),
        ("null", "x is empty"),
        ("bomb", "x unpacks to 137,438,953,472 bytes"),
    ):
        with pytest.raises(DataError, match=rf"{name}.h5, {message}"):
            read_hdf5(tmp_path / f"{name}.h5")


@pytest.mark.parametrize("keys", [("train", "train/text"), ("a/b/c", "a/b"), ("a/b", "a/b/c/d")])
def test_arrays_of_which_one_is_named_like_a_part_of_others_are_refused(tmp_path, keys):
    write_arrays(tmp_path / "arrays.safetensors", dict.fromkeys(keys, np.ones(2)))
    with pytest.raises(DataError, match="clashes with another array"):
        read_converted(tmp_path)


def test_predictions_of_a_comparison_that_are_damaged_or_too_much_are_named(tmp_path):
    path = tmp_path / "predictions.npz"
    np.savez_compressed(path, truth=np.zeros(3 << 24), predicted=np.zeros(1))
    with pytest.raises(DataError, match="unpacks to"):
        predictions(path)
    for content in (b"", b"PK\x03\x04", path.read_bytes()[:-90]):
        path.write_bytes(content)
        with pytest.raises(RunError, match="predictions.npz is damaged"):
            predictions(path)


def artifact_with(tmp_path, change):
    """Return a copy of the artifact with a changed configuration; its checksums still match."""
    here = shutil.copytree(folders()[1], tmp_path / "artifact")
    config = json.loads((here / "config.json").read_text())
    change(config)
    (here / "config.json").write_text(json.dumps(config))
    return here


SIZES = {
    "layers": {"vector": {"name": "mlp", "layers": 1_000_000, "hidden": 1}},
    "more layers": {"vector": {"name": "mlp", "layers": 10**12, "hidden": 1}},
    "hidden": {"vector": {"name": "mlp", "layers": 4, "hidden": 1_000_000}},
}


@pytest.mark.parametrize("encoders", SIZES.values(), ids=SIZES)
def test_models_larger_than_their_weights_are_not_built(tmp_path, encoders):
    def change(config):
        config["experiment"]["model"]["encoders"] = encoders

    with pytest.raises(RunError, match="describes a model"):
        load(artifact_with(tmp_path, change))
    run = shutil.copytree(folders()[0], tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(json.dumps({**config, "model": {"width": 8, "encoders": encoders}}))
    with pytest.raises(RunError, match="describes a model"):
        load(run)


def test_widths_larger_than_the_weights_are_not_built(tmp_path):
    def change(config):
        config["experiment"]["model"]["width"] = 400_000

    with pytest.raises(RunError, match="describes a model"):
        load(artifact_with(tmp_path, change))


@pytest.mark.parametrize("name", ["config.json", "schema.json", "preprocessing.json"])
@pytest.mark.parametrize("text", [*BAD_JSON.values(), DEEP, "[]", "3", '"x"'])
def test_damaged_json_in_an_artifact_is_named(tmp_path, name, text):
    def change(config):
        if name in config["sha256"]:
            config["sha256"][name] = hashlib.sha256(text.encode()).hexdigest()

    here = artifact_with(tmp_path, change)
    (here / name).write_text(text)
    with pytest.raises(CommlearnError, match=r"artifact|schema|preprocessing.json"):
        load(here).records(pd.DataFrame({"a": [1.0], "b": [1.0], "v": [[1.0, 2.0, 3.0]]}))


@pytest.mark.parametrize(
    "name", ["modalities.json", "schema.json", "preprocessing.json", "files.json", "metrics.jsonl"]
)
@pytest.mark.parametrize("text", [*BAD_JSON.values(), DEEP, "[]", "3", '{"step": "x"}'])
def test_damaged_json_in_a_run_is_named(tmp_path, name, text):
    here = shutil.copytree(folders()[0], tmp_path / "run")
    (here / name).write_text(text)
    try:
        run = load(here)
        run.folder.metrics()
        run.folder.truncate_metrics(0)
        run.records(pd.DataFrame({"a": [1.0], "b": [1.0], "v": [[1.0, 2.0, 3.0]]}))
    except CommlearnError as problem:
        assert name in str(problem) or "run is damaged: its files do not describe a model" in str(problem)  # noqa: PT017


def test_a_checkpoint_that_unpacks_to_more_than_its_size_is_refused(tmp_path):
    path = write_checkpoint(tmp_path, {"step": 1, "w": torch.zeros(1 << 20)})
    payload = path.read_bytes()[len(MAGIC) + 65 :]
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    packed = out.getvalue()
    assert len(packed) < 10_000
    path.write_bytes(MAGIC + hashlib.sha256(packed).hexdigest().encode() + b"\n" + packed)
    with pytest.raises(CheckpointError, match="unpacks to"):
        read_checkpoint(path)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Return a folder with a run (`run`) and what was fine-tuned from it (`out`), and their data."""
    noise = np.random.default_rng(0)
    frame = pd.DataFrame({"a": noise.random(40), "v": list(noise.random((40, 3))), "y": ["n", "y"] * 20})
    schema = Schema({"table": Tabular("a"), "vector": Vector("v")}, targets={"y": "class"})
    experiment = experiment_from(
        {
            "name": "small",
            "data": {"name": "table", "table": "", "schema": schema.to_mapping()},
            "method": "clip",
            "model": {"width": 8},
            "training": {"epochs": 1, "batch_size": 8, "diagnose": 0},
        }
    )
    data = dataset_of(read_table(frame), schema)
    folder = tmp_path_factory.mktemp("tuned")
    train(experiment, folder / "run", data)
    finetune(folder / "run", FineTuning("y", epochs=2), folder / "out", data)
    return folder, data


def with_head(state):
    state["head"] = 3


def without_head(state):
    del state["head"]


def with_best(state):
    state["best"] = [1]


def with_loss(state):
    state["best"]["loss"] = "x"


def with_weights(state):
    state["best"]["weights"] = {name: torch.zeros(1) for name in state["best"]["weights"]}


def with_optimizers(state):
    state["optimizers"] = {"main": [3]}


def with_moments(state):
    for moments in state["optimizers"]["main"]["state"].values():
        moments["exp_avg"] = torch.zeros(1, 2, 3)


def with_groups(state):
    state["optimizers"]["main"]["param_groups"][0]["params"] = None


def with_method(state):
    state["method"] = None


def with_step(state):
    state["step"] = -8


DAMAGES = [
    *(with_head, without_head, with_best, with_loss, with_weights, with_optimizers, with_moments),
    *(with_groups, with_method, with_step),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_fine_tuning_goes_on_or_names_the_damaged_state(tuned, tmp_path, damage):
    folder, data = tuned
    out = shutil.copytree(folder / "out", tmp_path / "out")
    state = read_checkpoint(out / "checkpoints" / "last.ckpt")
    state |= {"finished": False, "step": 1}
    damage(state)
    for path in (out / "checkpoints").glob("*.ckpt"):
        path.unlink()
    write_checkpoint(out / "checkpoints", state)
    with pytest.raises(CheckpointError):
        finetune(folder / "run", FineTuning("y", epochs=2), out, data, resume=True)


@pytest.mark.parametrize("text", [*BAD_JSON.values(), DEEP, "[]", "3"])
def test_fine_tuning_names_a_damaged_record_of_its_settings(tuned, tmp_path, text):
    folder, data = tuned
    out = shutil.copytree(folder / "out", tmp_path / "out")
    (out / "finetune.json").write_text(text)
    with pytest.raises(RunError, match=r"finetune.json is missing or damaged.*give another out="):
        finetune(folder / "run", FineTuning("y", epochs=2), out, data, resume=True)
