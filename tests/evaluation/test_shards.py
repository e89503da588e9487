"""Embedding into a folder: the rows of the table in order, by one process or several, stopped or not."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import commlearn as cl
from commlearn.cli import main
from commlearn.data.tables import read_table
from commlearn.errors import ConfigurationError
from commlearn.evaluation import shards
from commlearn.evaluation.shards import write_shards
from commlearn.training.artifact import export

ROWS = 200


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    random = np.random.default_rng(0)
    table = pd.DataFrame({"name": [f"r{row}" for row in range(ROWS)], "a": random.normal(size=ROWS)})
    table["vector"] = list(random.normal(size=(ROWS, 4)).astype("float32"))
    table.to_parquet(path / "table.parquet", row_group_size=30, index=False)
    schema = cl.Schema({"vector": cl.Vector("vector"), "numbers": cl.Tabular(["a"])}, id="name")
    model = cl.Embedder(schema, epochs=1).fit(table[:64]).trained
    return model, path / "table.parquet", cl.embed(model, table), export(model, path / "model")


def same(folder, expected) -> None:
    found = read_table(folder).frame
    assert found["name"].tolist() == [f"r{row}" for row in range(ROWS)]
    np.testing.assert_allclose(np.stack(found["embedding"].tolist()), expected, rtol=1e-4, atol=1e-5)


def test_processes_share_the_files_and_a_stopped_one_goes_on(material, tmp_path, monkeypatch):
    model, table, expected, _ = material
    monkeypatch.setattr(shards, "ROWS", 60)
    second = write_shards(model, table, tmp_path / "z", rank=1, ranks=2)
    first = write_shards(model, table, tmp_path / "z", rank=0, ranks=2)
    assert (first.records, second.records, first.dim) == (120, 80, expected.shape[1])
    same(tmp_path / "z", expected)

    calls = [0]
    embed = shards.embed

    def stopped(*args, **named):
        calls[0] += 1
        if calls[0] == 4:  # in the second file
            raise KeyboardInterrupt
        return embed(*args, **named)

    monkeypatch.setattr(shards, "embed", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_shards(model, table, tmp_path / "y")
    assert sorted(path.name for path in (tmp_path / "y").iterdir()) == ["part-00000.parquet", "plan.json"]
    before = (tmp_path / "y" / "part-00000.parquet").stat().st_mtime_ns
    (tmp_path / "y" / ".part-00001.parquet.1.part").write_text("of a process that was killed")
    assert write_shards(model, table, tmp_path / "y").records == ROWS
    assert (tmp_path / "y" / "part-00000.parquet").stat().st_mtime_ns == before
    assert not list((tmp_path / "y").glob(".*"))
    same(tmp_path / "y", expected)
    with pytest.raises(ConfigurationError, match="another model, table, or choice of modalities"):
        write_shards(model, table, tmp_path / "y", ["vector"])


def test_the_command_writes_a_folder_and_knows_its_rank(material, tmp_path, monkeypatch, capsys):
    _, table, expected, artifact = material
    out = tmp_path / "z"
    assert main(["embed", str(artifact), str(table), "--out", str(out), "--json"]) == 0
    same(out, expected)
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    monkeypatch.setitem(os.environ, "RANK", "1")
    assert main(["embed", str(artifact), str(table), "--out", str(tmp_path / "z.csv")]) == 2
    assert "several processes embed a table into a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_embeds_one_table_in_two_processes(material, tmp_path):
    _, table, expected, artifact = material
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "commlearn", "embed", str(artifact), str(table), "--out", str(tmp_path / "z")]
    subprocess.run([*torchrun, *command], check=True, timeout=600)
    same(tmp_path / "z", expected)
