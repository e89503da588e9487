"""Paths and addresses in someone else's artifact are never read, fetched or followed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import commlearn as cl
from commlearn.config.configuration import experiment_from
from commlearn.errors import CommlearnError, DataError, RunError
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import Table, read_table
from commlearn.trained.artifact import export, load
from commlearn.trained.run import load_run
from commlearn.training.train import train

SCHEMA = cl.Schema(
    {"labs": cl.Tabular(["a", "b"]), "wave": cl.Vector("wave"), "photo": cl.Image("photo", size=16)},
    {"ill": "class"},
    id="case",
)
_MADE: list[tempfile.TemporaryDirectory] = []


def rows(count: int = 80) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    ill = draw.integers(2, size=count)
    return pd.DataFrame(
        {
            "case": np.arange(count),
            "a": draw.normal(size=count) + ill,
            "b": draw.normal(size=count),
            "wave": list(draw.normal(size=(count, 4)).astype("float32")),
            "photo": [draw.integers(255, size=(8, 8, 3)).astype("uint8").tolist() for _ in range(count)],
            "ill": ill,
        }
    )


@cache
def made() -> tuple[Path, Path, Path]:
    """Return a run, its artifact, and the table that the run was trained on; made once."""
    _MADE.append(tempfile.TemporaryDirectory())
    folder = Path(_MADE[-1].name)
    table = folder / "own" / "table.parquet"
    table.parent.mkdir()
    rows().to_parquet(table)
    experiment = experiment_from(
        {
            "name": "small",
            "data": {"name": "table", "table": str(table), "schema": SCHEMA.to_mapping()},
            "method": "comm",
            "model": {"width": 8, "fusion": {"name": "attention", "heads": 2}},
            "training": {"epochs": 1, "batch_size": 16, "diagnose": 0},
        }
    )
    train(experiment, folder / "run", dataset_of(read_table(table), SCHEMA))
    return folder / "run", export(folder / "run", folder / "artifact"), table


def changed(folder: Path, name: str, change) -> None:
    """Change a file of an artifact and correct the checksums, as a hostile sender would."""
    values = json.loads((folder / name).read_text())
    change(values)
    (folder / name).write_text(json.dumps(values))
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = {
        key: hashlib.sha256((folder / key).read_bytes()).hexdigest() for key in config["sha256"]
    }
    (folder / "config.json").write_text(json.dumps(config))


def with_places(folder: Path, place: str | Path, secret: Path) -> Path:
    """Return a copy of the artifact that names a path or address wherever it can."""
    here = shutil.copytree(made()[1], folder / "hostile")
    schema = SCHEMA.to_mapping()
    schema["modalities"]["photo"]["outside"] = True
    data = {"name": "table", "table": str(place), "schema": {**schema, "table": str(place)}, "test": 0.2}

    def name_places(config) -> None:
        config["experiment"]["data"] = data

    def leave(stated) -> None:
        for name in ("photo", "wave"):
            stated["modalities"][name]["outside"] = True
        stated["table"] = str(place)

    changed(here, "config.json", name_places)
    changed(here, "schema.json", leave)
    for name in ("environment.json", "interactions.json", "probes.json", "table.json"):
        (here / name).symlink_to(secret)
    return here


class Listener(socketserver.ThreadingTCPServer):
    """Server that counts connections."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.calls = 0

    def process_request(self, request, client_address) -> None:
        self.calls += 1
        self.shutdown_request(request)


@pytest.fixture
def listener():
    with Listener() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_hostile_artifacts_open_nothing_outside_and_call_nobody(tmp_path, listener):
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"methods": "secret-content", "started": "secret-content"}))
    address = f"http://127.0.0.1:{listener.server_address[1]}/t.parquet"
    artifacts = [
        with_places(tmp_path / sort, place, secret) for sort, place in (("a", address), ("b", made()[2]))
    ]
    table, out = tmp_path / "passed" / "table.parquet", tmp_path / "out"
    table.parent.mkdir()
    out.mkdir()
    rows().to_parquet(table)
    program = Path(__file__).with_name("watched_program.py")
    done = subprocess.run(
        [sys.executable, *map(str, (program, table, out, *artifacts))],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["opened"] == []
    assert record["called"] == []
    assert listener.calls == 0
    for refused in record["refused"]:
        assert refused.pop("embed --split") == "2"
        assert all("Pass a table" in problem for problem in refused.values()), refused
    for path in out.rglob("*"):
        assert not path.is_file() or b"secret-content" not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "schema.json", "rows.safetensors"])
def test_a_link_out_of_an_artifact_is_refused(name, tmp_path):
    here = shutil.copytree(made()[1], tmp_path / "artifact")
    (here / name).rename(tmp_path / name)
    (here / name).symlink_to(tmp_path / name)
    with pytest.raises(RunError, match=r"is a link that leads out of its folder.*cp -rL"):
        load(here)
    (tmp_path / name).rename(here / f"inner {name}")
    (here / name).unlink()
    (here / name).symlink_to(here / f"inner {name}")
    (tmp_path / "other").symlink_to(here)
    assert (
        load(tmp_path / "other").schema == SCHEMA
    )  # links within the folder, and to the folder itself, are allowed


def test_a_report_does_not_follow_a_link_out_of_an_artifact(tmp_path):
    here = shutil.copytree(made()[1], tmp_path / "artifact")
    (tmp_path / "elsewhere").mkdir()
    (here / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link that leads out of its folder"):
        cl.report(here, made()[2])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_artifact_cannot_allow_paths_to_leave_the_folder_of_a_table(tmp_path):
    here = shutil.copytree(made()[1], tmp_path / "artifact")
    np.save(tmp_path / "secret.npy", np.zeros(4, dtype="float32"))

    def leave(stated) -> None:
        stated["modalities"]["wave"]["outside"] = True

    changed(here, "schema.json", leave)
    table = Table(rows(8).assign(wave="../secret.npy"), tmp_path / "own")
    assert not load(here).schema.modalities["wave"].outside
    with pytest.raises(DataError, match=r"is outside the table's folder.*load\(folder, outside=True\)"):
        load(here).records(table)
    assert len(load(here, outside=True).records(table)) == 8  # the user's own code allows it


def test_what_an_artifact_says_of_its_data_does_not_count(tmp_path):
    """Artifacts of earlier versions hold the name of the table, or the path of published data."""
    here = shutil.copytree(made()[1], tmp_path / "artifact")
    experiment = json.loads((here / "config.json").read_text())["experiment"]
    assert experiment["data"] == {
        **{"name": "table", "table": "", "schema": {}},
        **{"validation": 0.0, "test": 0.2, "seed": 0, "stream": 0},
    }
    before = {
        "name": "table",
        "table": "table.parquet",
        "schema": SCHEMA.to_mapping(),
        "test": 0.3,
        "seed": 5,
    }
    changed(here, "config.json", lambda config: config["experiment"].update(data=before))
    loaded = load(here)
    assert loaded.experiment.data == {"name": "table", "table": "", "schema": {}, "test": 0.3, "seed": 5}
    assert np.array_equal(cl.embed(loaded, made()[2]), cl.embed(load_run(made()[0]), made()[2]))
    published = {"name": "mimic", "path": "/data/im.pk"}
    changed(here, "config.json", lambda config: config["experiment"].update(data=published))
    assert load(here).experiment.data == {"name": "mimic"}


def test_a_modality_whose_name_leads_out_is_refused(tmp_path):
    here = shutil.copytree(made()[1], tmp_path / "artifact")
    changed(here, "config.json", lambda config: config["modalities"].update({"/tmp/x": ["vector", 3]}))
    with pytest.raises(RunError, match="a modality has the name '/tmp/x'"):
        load(here)


def test_a_run_folder_cannot_have_a_table_fetched(tmp_path, listener):
    here = shutil.copytree(made()[0], tmp_path / "run")
    address = f"http://127.0.0.1:{listener.server_address[1]}/t.parquet"
    config = (here / "config.yaml").read_text()
    assert str(made()[2]) in config
    assert len(cl.read_data(load(here).experiment).train)  # the user's own table on this machine is read
    for stream in (0, 16):
        stated = config.replace(str(made()[2]), address).replace("stream: 0", f"stream: {stream}")
        (here / "config.yaml").write_text(stated)
        run = load(here)
        for asked in (
            lambda run=run: cl.probe(run),
            lambda run=run: cl.report(run, out=tmp_path / "report"),
            lambda run=run: cl.read_data(run.experiment),
            lambda run=run: cl.finetune(run, "ill", tmp_path / "tuned"),
        ):
            with pytest.raises(
                DataError, match="a loaded folder never starts a download. Pass the table yourself"
            ):
                asked()
    assert listener.calls == 0
    named = replace(run.experiment, stored=False)  # the user's own code names the address
    with pytest.raises((CommlearnError, OSError)):
        cl.read_data(named)
    assert listener.calls > 0


def test_a_fine_tuned_artifact_finds_the_table_that_it_was_given(tmp_path):
    from commlearn.training.finetune import FineTuning

    tuned = cl.finetune(made()[1], FineTuning("ill", epochs=1), tmp_path / "tuned", made()[2])
    assert tuned.experiment.data["table"] == str(made()[2])
    assert cl.probe(load(tmp_path / "tuned"))["ill"].test_records
