"""Exports, graphs, programs, model cards and reports name no path of the machine that wrote them."""

from __future__ import annotations

import os
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PIL

import commlearn as cl
from commlearn.config.configuration import experiment_from
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table
from commlearn.trained.artifact import export, load
from commlearn.trained.onnx_export import export_onnx, export_program
from commlearn.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run on a table with pictures, in folders whose names should not be revealed."""
    folder = tmp_path_factory.mktemp("private_place")
    draw = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for row in range(60):
        PIL.fromarray(draw.integers(255, size=(9, 9, 3)).astype("uint8")).save(folder / f"pictures/{row}.png")
    frame = pd.DataFrame(
        {
            "a": draw.normal(size=60),
            "photo": [str(folder / "pictures" / f"{row}.png") for row in range(60)],
            "note": ["cat dog" if row % 3 else "dog" for row in range(60)],
            "ill": draw.integers(2, size=60),
        }
    )
    table = folder / "table.parquet"
    frame.to_parquet(table)
    modalities = {"labs": cl.Tabular(["a"]), "photo": cl.Image("photo", size=16), "note": cl.Text("note")}
    schema = cl.Schema(modalities, {"ill": "class"})
    experiment = experiment_from(
        {
            "name": "small",
            "data": {"name": "table", "table": str(table), "schema": schema.to_mapping()},
            "method": "comm",
            "model": {"width": 16, "fusion": {"name": "attention", "heads": 2}},
            "training": {"epochs": 1, "batch_size": 16, "diagnose": 0},
        }
    )
    train(experiment, folder / "run", dataset_of(read_table(table), schema))
    return folder / "run"


def places(run: Path) -> list[bytes]:
    """Return strings that would reveal a path, a user or the installation."""
    named = {str(run.parent), run.parent.name, str(Path.home()), sysconfig.get_paths()["purelib"]}
    named |= {str(Path(cl.__file__).parent), os.path.realpath(sysconfig.get_paths()["stdlib"])}
    return [name.encode() for name in named if name != "/"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(contents: dict[str, bytes], run: Path) -> None:
    assert contents
    for name, content in contents.items():
        assert not [place for place in places(run) if place in content], name


def test_an_export_names_no_place(run, tmp_path):
    check(files(export(run, tmp_path / "artifact")), run)


def test_a_report_names_no_place(run, tmp_path):
    cl.report(run, out=tmp_path / "report")
    contents = files(tmp_path / "report")
    check(contents, run)
    assert b"table: table.parquet" in contents["report.html"]  # only the file name of the table
    cl.report(export(run, tmp_path / "artifact"), run.parent / "table.parquet", tmp_path / "again")
    check(files(tmp_path / "again"), run)


def test_graphs_name_no_place(run, tmp_path):
    pytest.importorskip("onnx", reason="NOT RUN: graphs need onnx")
    pytest.importorskip("onnxscript", reason="NOT RUN: graphs need onnxscript")
    export_onnx(load(run), tmp_path / "onnx", [["labs", "note"]])
    contents = files(tmp_path / "onnx")
    check(contents, run)
    assert not any(b"stack_trace" in content for content in contents.values())


def test_a_torch_program_names_no_place(run, tmp_path):
    import torch

    torch.export.save(export_program(load(run), ["labs", "note"]), tmp_path / "p.pt2")
    with zipfile.ZipFile(tmp_path / "p.pt2") as archive:
        check({name: archive.read(name) for name in archive.namelist()}, run)


def test_encoders_and_settings_are_named_without_their_folders():
    from commlearn.config.places import settings_without_places

    settings = {
        "data": {
            "table": "/elsewhere/secret/t.csv",
            "path": "s3://bucket/secret/t.parquet?key=secret",
            "other": ["C:\\Users\\secret\\t.csv", "~/secret/x.npy", "../secret/y.npy", 3, None],
            "schema": {
                "modalities": {"note": {"encoder": {"pretrained": "/secret/clip"}, "column": "a/b c"}}
            },
        },
        "method": {"name": "comm"},
    }
    shown = settings_without_places(settings)
    assert "secret" not in repr(shown)
    assert shown["data"]["other"] == ["t.csv", "x.npy", "y.npy", 3, None]
    assert shown["data"]["table"] == "t.csv"
    assert shown["data"]["schema"]["modalities"]["note"] == {
        "encoder": {"pretrained": "clip"},
        "column": "a/b c",
    }
