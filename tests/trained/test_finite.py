"""Embeddings that are not finite are refused, with the row named; so are artifacts that would give such."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import commlearn as cl
from commlearn.errors import CommlearnError, DivergedError
from commlearn.trained import shards
from commlearn.trained.shards import write_shards
from commlearn.trained.stream import write_embeddings

ROWS, BAD = 1200, [700, 1100]  # in the second and third chunk of 512


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    path = tmp_path_factory.mktemp("finite")
    random = np.random.default_rng(0)
    vectors = random.normal(size=(ROWS, 4)).astype("float32")
    table = pd.DataFrame({"name": [f"r{row}" for row in range(ROWS)], "a": random.normal(size=ROWS)})
    table["vector"] = list(vectors)
    kinds = {"vector": cl.Vector("vector", standardise=False), "numbers": cl.Tabular(["a"])}
    embedder = cl.Embedder(cl.Schema(kinds, id="name"), epochs=1, features="learned").fit(table[:64])
    vectors[BAD] *= 1e30
    extreme = table.assign(vector=list(vectors))
    extreme.to_parquet(path / "extreme.parquet", row_group_size=300, index=False)
    return embedder, extreme, path / "extreme.parquet"


NAMED = r"row 700 \(name r700\).* is not finite"
DOORS = {
    "embed a frame": lambda embedder, frame, path, out: cl.embed(embedder, frame),
    "embed a file": lambda embedder, frame, path, out: cl.embed(embedder, path),
    "transform a frame": lambda embedder, frame, path, out: embedder.transform(frame),
    "transform a file": lambda embedder, frame, path, out: embedder.transform(path),
    "a file": lambda embedder, frame, path, out: write_embeddings(embedder.trained, path, out / "z.parquet"),
    "a csv": lambda embedder, frame, path, out: write_embeddings(embedder.trained, path, out / "z.csv"),
    "a folder": lambda embedder, frame, path, out: write_shards(embedder.trained, path, out / "z"),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_rows_of_embeddings_that_are_not_finite_are_named(material, tmp_path, door, monkeypatch):
    monkeypatch.setattr("commlearn.trained.stream.ROWS", (512, 512))
    monkeypatch.setattr(shards, "ROWS", 600)
    with pytest.raises(DivergedError, match=NAMED):
        DOORS[door](*material, tmp_path)
    assert not list(tmp_path.glob("z.*"))
    assert not list(tmp_path.rglob("*.part"))


def test_records_are_named_by_their_number(material):
    embedder, frame, _ = material
    records = embedder.trained.records(frame[690:].reset_index(drop=True))
    with pytest.raises(DivergedError, match=r"row 10, row 410 is not finite\. Look"):
        cl.embed(embedder, records, batch_size=64)


@pytest.fixture
def exported(tmp_path):
    random = np.random.default_rng(0)
    table = {"v": random.normal(size=(40, 3)).astype("float32"), "s": [random.normal(size=(9, 2))] * 40}
    kinds = {"v": cl.Vector("v"), "s": cl.Series("s")}
    return cl.export(cl.Embedder(cl.Schema(kinds), epochs=1).fit(table).trained, tmp_path / "model")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 0])
@pytest.mark.parametrize("name", ["v", "s"])
def test_an_artifact_whose_scales_divide_by_nothing_is_refused(exported, name, value):
    spoil(exported, "preprocessing.json", lambda state: state[name]["scale"].__setitem__(1, value))
    with pytest.raises(CommlearnError, match=rf"preprocessing\.{name}\.scale\.1 is "):
        cl.load(exported)


def test_an_artifact_whose_means_are_not_finite_is_refused(exported):
    spoil(exported, "preprocessing.json", lambda state: state["v"]["mean"].__setitem__(0, float("nan")))
    with pytest.raises(CommlearnError, match=r"preprocessing\.v\.mean\.0 is nan"):
        cl.load(exported)


def test_an_artifact_whose_weights_are_not_finite_is_refused(exported):
    tensors = load_file(exported / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 2)
    tensors[name][0, 0] = torch.nan
    save_file(tensors, exported / "model.safetensors")
    spoil(exported, "model.safetensors", None)
    with pytest.raises(CommlearnError, match=r"in model\.safetensors is not finite"):
        cl.load(exported)


def spoil(folder, name, change) -> None:
    """Change a file and correct its checksum, as a hostile sender would."""
    import hashlib

    if change is not None:
        values = json.loads((folder / name).read_text())
        change(values)
        (folder / name).write_text(json.dumps(values))
    config = json.loads((folder / "config.json").read_text())
    config["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
