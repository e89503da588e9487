"""Embedding into a folder: rows in the table's order, by one or several processes, interrupted or not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import commlearn as cl
from commlearn.cli import main
from commlearn.errors import ConfigurationError, DataError, RunError
from commlearn.storage.fingerprint import fingerprint
from commlearn.tables.table import read_table
from commlearn.trained import shards, stream
from commlearn.trained.artifact import export
from commlearn.trained.shards import write_shards
from commlearn.trained.stream import write_embeddings

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
    frame = read_table(folder).frame
    assert frame["name"].tolist() == [f"r{row}" for row in range(ROWS)]
    np.testing.assert_allclose(np.stack(frame["embedding"].tolist()), expected, rtol=1e-4, atol=1e-5)


def test_processes_share_the_files_and_a_stopped_one_goes_on(material, tmp_path, monkeypatch):
    model, table, expected, _ = material
    monkeypatch.setattr(shards, "ROWS", 60)
    second = write_shards(model, table, tmp_path / "z", rank=1, ranks=2)
    first = write_shards(model, table, tmp_path / "z", rank=0, ranks=2)
    assert (first.records, second.records, first.dim) == (120, 80, expected.shape[1])
    same(tmp_path / "z", expected)

    calls = [0]
    embed = stream.embed_with_gaps

    def stopped(*args, **named):
        calls[0] += 1
        if calls[0] == 4:  # in the second file
            raise KeyboardInterrupt
        return embed(*args, **named)

    monkeypatch.setattr(stream, "embed_with_gaps", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_shards(model, table, tmp_path / "y")
    there = sorted(path.name for path in (tmp_path / "y").iterdir())
    assert there == ["files.json", "lock", "part-00000.parquet", "plan.json"]
    before = (tmp_path / "y" / "part-00000.parquet").stat().st_mtime_ns
    (tmp_path / "y" / ".part-00001.parquet.1.part").write_text("of a process that was killed")
    assert write_shards(model, table, tmp_path / "y").records == ROWS
    assert (tmp_path / "y" / "part-00000.parquet").stat().st_mtime_ns == before
    assert not list((tmp_path / "y").glob(".*"))
    same(tmp_path / "y", expected)
    with pytest.raises(ConfigurationError, match="another model, table or choice of modalities"):
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


def replaced(table: Path, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """Write a changed copy of the table into a folder; return its path."""
    folder.mkdir(exist_ok=True)
    change(pd.read_parquet(table)).to_parquet(folder / "table.parquet", row_group_size=30, index=False)
    return folder / "table.parquet"


def after(calls: int, monkeypatch, error: type[BaseException] = KeyboardInterrupt):
    """Make embedding stop at this call of the method."""
    embed, count = stream.embed_with_gaps, [0]

    def stopped(*args, **named):
        count[0] += 1
        if count[0] == calls:
            raise error
        return embed(*args, **named)

    monkeypatch.setattr(stream, "embed_with_gaps", stopped)


def test_a_folder_is_not_continued_with_another_table_at_the_same_path(material, tmp_path, monkeypatch):
    model, original, *_ = material
    monkeypatch.setattr(shards, "ROWS", 60)
    table = replaced(original, tmp_path / "t", lambda frame: frame)
    whole = tmp_path / "whole"
    write_shards(model, table, whole)
    with monkeypatch.context() as stopping:
        after(4, stopping)
        with pytest.raises(KeyboardInterrupt):
            write_shards(model, table, tmp_path / "begun")
    before = fingerprint(table)["table.parquet"].rpartition(" ")[2]
    replaced(original, tmp_path / "t", lambda frame: frame.assign(a=frame["a"] + 1))
    now = fingerprint(table)["table.parquet"].rpartition(" ")[2]
    for folder in (whole, tmp_path / "begun"):
        with pytest.raises(ConfigurationError, match=f"{before[:16]}.*{now[:16]}.*another folder"):
            write_shards(model, table, folder)
    moved = replaced(original, tmp_path / "elsewhere", lambda frame: frame)
    shutil.copy(original, moved)
    shutil.copy(original, table)
    write_shards(model, moved, tmp_path / "copy")
    assert write_shards(model, original, tmp_path / "copy").records == ROWS  # the same table at another path


def test_a_folder_of_a_version_without_fingerprints_is_not_continued(material, tmp_path):
    model, table, *_ = material
    write_shards(model, table, tmp_path / "z")
    plan = json.loads((tmp_path / "z" / "plan.json").read_text())
    for content in (json.dumps({**plan, "format": 1}), "[]", "{"):
        (tmp_path / "z" / "plan.json").write_text(content)
        with pytest.raises((ConfigurationError, DataError), match="another folder"):
            write_shards(model, table, tmp_path / "z")


@pytest.mark.parametrize("damage", ["flipped", "cut", "unknown"])
def test_a_damaged_part_is_refused_when_it_is_continued_and_when_it_is_read(
    material, tmp_path, monkeypatch, damage
):
    model, table, *_ = material
    monkeypatch.setattr(shards, "ROWS", 60)
    write_shards(model, table, tmp_path / "z")
    part = tmp_path / "z" / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        content = content[:-1]
    else:
        listed = json.loads((tmp_path / "z" / "files.json").read_text())
        del listed["sha256"][part.name]
        (tmp_path / "z" / "files.json").write_text(json.dumps(listed))
    part.write_bytes(content)
    for door in (
        lambda: write_shards(model, table, tmp_path / "z"),
        lambda: read_table(tmp_path / "z"),
        lambda: read_table(part),
    ):
        with pytest.raises(DataError, match=r"part-00001\.parquet.*checksum"):
            door()
    assert len(read_table(tmp_path / "z" / "part-00000.parquet")) == 60
    part.unlink()
    with pytest.raises(DataError, match=r"1 of 4 parts are missing, such as part-00001\.parquet"):
        read_table(tmp_path / "z")
    write_shards(model, table, tmp_path / "z")
    assert len(read_table(tmp_path / "z")) == ROWS


def test_an_embedding_has_its_name_when_it_is_on_the_disk_and_not_before(material, tmp_path, monkeypatch):
    model, table, *_ = material
    synced: list[int] = []
    fsync, replace = os.fsync, os.replace

    def watched(handle):
        synced.append(os.fstat(handle).st_ino)
        fsync(handle)

    def named(source, target):
        assert os.stat(source).st_ino in synced, f"{target} is not on the disk"
        replace(source, target)
        synced.clear()

    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr(os, "replace", named)
    write_shards(model, table, tmp_path / "z")
    for ending in ("parquet", "csv", "npz"):
        write_embeddings(model, table, tmp_path / f"z.{ending}")
        assert tmp_path.stat().st_ino in synced  # the folder, which holds the file's name


def test_ids_that_are_given_twice_in_other_row_groups_are_refused_into_a_folder(material, tmp_path):
    model, original, *_ = material
    double = replaced(original, tmp_path / "t", lambda frame: frame.assign(name=["r3", *frame["name"][1:]]))
    for write, out in ((write_embeddings, "z.parquet"), (write_shards, "z")):
        with pytest.raises(DataError, match="name: 1 ids occur more than once .rows 0 and 3"):
            write(model, double, tmp_path / out)
        assert not (tmp_path / out).exists()
    far = replaced(original, tmp_path / "t", lambda frame: frame.assign(name=[*frame["name"][:-1], "r3"]))
    with pytest.raises(DataError, match=r"rows 3 and 199 \(r3\)"):
        write_shards(model, far, tmp_path / "z")


def test_a_second_call_waits_for_the_first_and_touches_nothing_of_it(material, tmp_path, monkeypatch):
    model, table, expected, _ = material
    embed, refusals = stream.embed_with_gaps, []

    def meanwhile(*args, **named):
        if not refusals:
            (part,) = (tmp_path / "z").glob(".*.part")
            for rank, ranks in ((0, 1), (1, 2)):
                with pytest.raises(RunError, match="Another process is embedding") as refusal:
                    write_shards(model, table, tmp_path / "z", rank=rank, ranks=ranks)
                refusals.append(refusal)
            assert part.exists()
        return embed(*args, **named)

    monkeypatch.setattr(stream, "embed_with_gaps", meanwhile)
    write_shards(model, table, tmp_path / "z")
    assert len(refusals) == 2
    same(tmp_path / "z", expected)


def test_what_a_living_process_writes_is_no_leftover(material, tmp_path, monkeypatch):
    model, table, expected, _ = material
    monkeypatch.setattr(shards, "ROWS", 60)
    embed, others = stream.embed_with_gaps, []

    def meanwhile(*args, **named):
        if not others:
            others.append(1)
            (part,) = (tmp_path / "z").glob(".*.part")
            write_shards(model, table, tmp_path / "z", rank=1, ranks=2)
            assert part.exists()
        return embed(*args, **named)

    monkeypatch.setattr(stream, "embed_with_gaps", meanwhile)
    write_shards(model, table, tmp_path / "z", rank=0, ranks=2)
    assert others
    same(tmp_path / "z", expected)


def test_files_of_others_in_the_folder_are_left_or_refused(material, tmp_path):
    model, table, *_ = material
    folder = tmp_path / "z"
    folder.mkdir()
    (folder / ".part-00000.parquet.film.part").write_text("mine")
    (folder / ".film.mkv.7.part").write_text("mine")
    write_shards(model, table, folder)
    assert {path.read_text() for path in folder.glob(".*")} == {"mine"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "part-00000.parquet").write_text("mine")
    with pytest.raises(RunError, match=r"part-00000\.parquet"):
        write_shards(model, table, other)
    assert (other / "part-00000.parquet").read_text() == "mine"
    run = tmp_path / "run"
    run.mkdir()
    (run / "files.json").write_text('{"commlearn": "run folder", "format": 1, "files": []}')
    with pytest.raises(RunError, match=r"files\.json"):
        write_shards(model, table, run)


def test_a_table_is_not_replaced_by_its_embeddings(material, tmp_path):
    model, original, *_ = material
    table = replaced(original, tmp_path / "t", lambda frame: frame)
    content = table.read_bytes()
    (tmp_path / "link.parquet").symlink_to(table)
    outs = [table, tmp_path / "t" / ".." / "t" / "table.parquet", tmp_path / "link.parquet"]
    for out in outs:
        with pytest.raises(ConfigurationError, match="is the table to embed"):
            write_embeddings(model, table, out)
    for write, out in ((write_embeddings, tmp_path / "t" / "z.parquet"), (write_shards, tmp_path / "t")):
        with pytest.raises(ConfigurationError, match="among the files of the table"):
            write(model, tmp_path / "t", out)
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["table.parquet"]
    assert table.read_bytes() == content


def test_a_folder_and_a_file_hold_the_same_embeddings_of_paths_below_the_root(tmp_path):
    draw = np.random.default_rng(0)
    for folder in ("pictures", "elsewhere"):
        (tmp_path / folder).mkdir()
        for row in range(16):
            pixels = draw.integers(0, 255, (16, 16, 3)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / folder / f"{row}.png")
    rows = pd.DataFrame({"photo": [f"{row}.png" for row in range(16)], "age": draw.normal(size=16)})
    model = cl.Embedder(epochs=1, root=tmp_path / "pictures", networks=False).fit(rows)
    rows.to_parquet(tmp_path / "elsewhere" / "table.parquet")
    write_shards(model.trained, tmp_path / "elsewhere" / "table.parquet", tmp_path / "z")
    vectors = np.stack(read_table(tmp_path / "z").frame["embedding"].tolist())
    np.testing.assert_allclose(vectors, model.transform(rows), atol=1e-5)


@pytest.mark.slow
def test_torchrun_embeds_one_table_in_two_processes(material, tmp_path):
    _, table, expected, artifact = material
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "commlearn", "embed", str(artifact), str(table), "--out", str(tmp_path / "z")]
    subprocess.run([*torchrun, *command], check=True, timeout=600)
    same(tmp_path / "z", expected)
