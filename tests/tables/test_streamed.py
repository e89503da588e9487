"""Streamed records: each epoch visits every row once, values equal those in memory, and training resumes."""

from __future__ import annotations

import io
import json
import re
import tarfile

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import commlearn as cl
from commlearn.batch import joined
from commlearn.cli import main
from commlearn.config.configuration import experiment_from
from commlearn.errors import ConfigurationError, DataError
from commlearn.methods import METHODS
from commlearn.methods.comm import CoMM
from commlearn.models.encoders.tabular import fixed, linear
from commlearn.models.features import FeatureBlocks, FeatureValues, Texts
from commlearn.probes.readout_rows import readout_rows
from commlearn.tables.dataset import TableData
from commlearn.tables.formats.parquet_files import ParquetTable
from commlearn.tables.streamed import Lanes
from commlearn.tables.table import iterate_table, read_table
from commlearn.trained.embed import with_encoder_features
from commlearn.trained.run import Run
from commlearn.trained.run_folder import RunFolder
from commlearn.trained.shards import write_shards
from commlearn.training.finetune import FineTuning
from commlearn.training.train import train

ROWS, GROUP = 330, 30
SCHEMA = {
    "modalities": {
        "vector": {"kind": "vector", "column": "vector"},
        "numbers": {"kind": "tabular", "columns": ["a", "b"]},
        "note": {"kind": "text", "column": "note"},
    },
    "targets": {"label": "class"},
}


def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    notes = [" ".join(random.choice(["red", "green", "blue"], 1 + row % 4)) for row in range(ROWS)]
    numbers = {"a": random.normal(size=ROWS), "b": random.integers(0, 9, ROWS)}
    vectors = pd.Series(list(random.normal(size=(ROWS, 4)).astype("float32")))
    where = {"part": random.choice(["train", "test", "val"], ROWS), "patient": random.integers(0, 40, ROWS)}
    table = pd.DataFrame({"vector": vectors, "note": notes, **numbers, "label": np.arange(ROWS) % 3, **where})
    table.loc[::7, "note"] = None
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("table")
    for part, start in enumerate(range(0, ROWS, 110)):
        rows = frame()[start : start + 110]
        rows.to_parquet(path / f"part-{part}.parquet", row_group_size=GROUP, index=False)
    return path


def streamed(source, stream=120, **schema):
    options = {"validation": 0.1, "test": 0.2, "stream": stream}
    return TableData(str(source), SCHEMA | schema, **options).read()


SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


@given(sizes=SIZES, lanes=st.integers(1, 8), step=st.integers(1, 9), epoch=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_an_epoch_visits_every_row_once_wherever_it_is_gone_back_to(sizes, lanes, step, epoch):
    order, rows = Lanes(3, epoch, sizes, lanes), sum(sizes)
    visited = order.rows(np.arange(rows))
    assert sorted(visited.tolist()) == list(range(rows))
    parts = [order.rows(np.arange(start, min(start + step, rows))) for start in range(0, rows, step)]
    np.testing.assert_array_equal(np.concatenate(parts), visited)


def test_epochs_and_seeds_differ_and_ranks_read_groups_of_their_own():
    sizes, places = [50] * 16, np.arange(800)
    first = Lanes(0, 0, sizes, 4).rows(places)
    assert not np.array_equal(first, Lanes(0, 1, sizes, 4).rows(places))
    assert not np.array_equal(first, Lanes(1, 0, sizes, 4).rows(places))
    batch = first[:20] // 50
    assert len(set(batch)) == 4  # a batch mixes all open groups
    read = [set(first[rank::2] // 50) for rank in range(2)]
    assert not read[0] & read[1]


def whole(source, data) -> dict:
    """Read the table at once with the state of `data`; return the row of each vector, and the records."""
    schema = cl.Schema.from_mapping(data.schema)
    records = schema.read(read_table(source), data.state)
    return {
        tuple(values): row for row, values in enumerate(records.columns["vector"].values.tolist())
    }, records


def test_streamed_rows_are_those_of_the_table_read_whole(folder):
    data = streamed(folder)
    places, records = whole(folder, data)
    seen = []
    for start in range(0, len(data.train), 48):
        rows = data.train.visit(0, 0, slice(start, min(start + 48, len(data.train))))
        view = data.train.view(rows)
        at = np.array([places[tuple(values)] for values in view["vector"].values.tolist()])
        seen += at.tolist()
        for name, expected in records.view(at).items():
            torch.testing.assert_close(view[name].values, expected.values, rtol=0, atol=0)
            for mask in ("padding", "present"):
                ours, theirs = getattr(view[name], mask), getattr(expected, mask)
                assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert len(set(seen)) == len(seen) == len(data.train)
    names = {tuple(values) for part in ("test", "validation") for values in vectors(data.parts[part])}
    assert len(names) + len(seen) == ROWS  # no row is in two parts, and none is lost
    assert not {places[name] for name in names} & set(seen)
    assert len(data.train.row_groups._groups) <= 2 * data.train.row_groups.lanes


def test_fixed_features_of_streamed_rows_are_those_of_the_rows_in_memory(folder):
    data = streamed(folder)
    features = FeatureBlocks(data.train.specs).learn(data.train.sampled, 0).each
    method = CoMM.build({name: fixed(block, 16) for name, block in features.items()}, 16)
    train = with_encoder_features(data.train, method)
    rows = train.visit(0, 0, slice(0, 60))
    view, expected = train.view(rows), data.train.view(rows)
    for name, block in features.items():
        assert isinstance(view[name], FeatureValues)
        torch.testing.assert_close(view[name].values, block(expected[name]))
        assert torch.equal(view[name].presence, expected[name].presence)
    assert not view["note"].presence.all()
    assert [column.spec.shape for column in train.columns.values()] == [
        (block.dim,) for block in features.values()
    ]
    assert all(
        isinstance(part, FeatureValues)
        for part in train.sample(5, np.random.default_rng(0)).view(slice(None)).values()
    )


def vectors(records) -> list:
    return records.view(slice(None))["vector"].values.tolist()


def test_likely_answers_are_looked_for_in_a_sample_of_the_training_rows(folder, tmp_path):
    notes = streamed(folder).notes
    assert "no input looks like an answer (in " in notes[1]
    frame().assign(b=np.arange(ROWS) % 3).to_parquet(tmp_path / "t.parquet", row_group_size=GROUP)
    data = streamed(tmp_path / "t.parquet")
    looked_at = f"(in {len(data.probe)} of {len(data.train)} training rows)"
    assert len(data.probe) < len(data.train)
    assert data.notes[1:] == (f"b is target label and is an input, so the embedding contains it {looked_at}",)


@pytest.mark.parametrize("column", ["part", "patient"])
def test_the_schemas_columns_part_the_rows(folder, column):
    data = streamed(folder, **({"split": "part"} if column == "part" else {"group": "patient"}))
    places, _ = whole(folder, data)
    table = frame()
    places_by_part = {
        name: [places[tuple(v)] for v in vectors(records)] for name, records in data.parts.items()
    }
    if column == "part":
        assert sorted(places_by_part["test"]) == table.index[table["part"] == "test"].tolist()
        assert len(data.train) == (table["part"] == "train").sum()
    else:
        patients = {name: set(table["patient"][rows]) for name, rows in places_by_part.items()}
        assert not patients["train"] & patients["test"]
        assert not patients["train"] & patients["validation"]


def experiment(source, encoder="", **training):
    chosen = {"epochs": 2, "batch_size": 16, "log_every": 2, "checkpoint_every": 5, **training}
    model = {"width": 16}
    if encoder == "fixed":
        model |= {"features": "fixed", "encoders": dict.fromkeys(SCHEMA["modalities"], encoder)}
    data = {"name": "table", "table": str(source), "schema": SCHEMA, "stream": 120}
    return experiment_from({"name": "s", "data": data, "model": model, "training": chosen})


def weights(path) -> dict:
    return RunFolder(path).state()[0]["method"]


@pytest.mark.parametrize("encoder", ["", "fixed"])
def test_a_training_stopped_in_an_epoch_goes_on_to_the_same_weights(encoder, folder, tmp_path, monkeypatch):
    own = experiment(folder, encoder)
    assert isinstance(train(own, tmp_path / "whole"), Run)
    steps, count = CoMM.steps, [0]

    def interrupted(self, batch):
        count[0] += 1
        if count[0] > 7:  # an epoch has 15 steps
            raise KeyboardInterrupt
        yield from steps(self, batch)

    monkeypatch.setattr(CoMM, "steps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(own, tmp_path / "stopped")
    monkeypatch.undo()
    assert RunFolder(tmp_path / "stopped").state()[0]["step"] < 15
    run = train(own, tmp_path / "stopped", resume=True)
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(first[key], second[key]) for key in first)
    held_out = readout_rows(run, folder).test  # split as for training
    assert sorted(map(tuple, vectors(held_out))) == sorted(
        map(tuple, vectors(cl.read_data(run.experiment).test))
    )


def test_tables_are_read_from_any_file_system(folder, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/table", recursive=True)
    url = "memory://bucket/table"
    try:
        pd.testing.assert_frame_equal(read_table(url).frame, read_table(folder).frame)
        assert sum(len(chunk) for chunk in iterate_table(f"{url}/part-1.parquet", 50)) == 110
        far, near = streamed(url), streamed(folder)
        rows = far.train.visit(0, 1, slice(3, 40, 2))
        torch.testing.assert_close(
            far.train.view(rows)["vector"].values, near.train.view(rows)["vector"].values
        )
    finally:
        memory.rm("/bucket", recursive=True)
    with pytest.raises(DataError, match=r"no table memory://nowhere/table"):
        read_table("memory://nowhere/table")
    with pytest.raises(DataError, match="cannot be opened"):
        read_table("nosuch://bucket/table")


def test_groups_are_read_by_the_footer_that_was_read_at_first(folder, monkeypatch):
    """A footer describes every group and column, so rereading it for each group would be quadratic."""
    table = ParquetTable(folder)
    footers, whole = [], pq.ParquetFile

    def opened(path, *, metadata=None, **options):
        footers.append(metadata)
        return whole(path, metadata=metadata, **options)

    monkeypatch.setattr(pq, "ParquetFile", opened)
    read = [table.read(number, None) for number in range(len(table.groups))]
    assert len(footers) == len(read) > 1
    assert None not in footers
    assert [len(rows) for rows in read] == table.sizes


def test_what_has_no_groups_is_told(folder, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    with pytest.raises(
        ConfigurationError,
        match="cannot be read in parts.*Write it as Parquet, or embed it to a single output file",
    ):
        streamed(path)


def test_a_table_without_rows_and_one_without_its_split_are_refused(folder, tmp_path):
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t.parquet has no rows"):
        streamed(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="no column 'parts', which says which split a row is in"):
        streamed(folder, split="parts")


def test_texts_stay_with_their_records():
    ids = torch.arange(4).reshape(2, 2)
    parts = [Texts(ids, texts=("a", "b")), Texts(ids[:1], texts=("c",))]
    whole = joined(parts).apply(lambda tensor: tensor[torch.tensor([2, 0, 1])])
    assert isinstance(whole, Texts)
    assert whole.texts == ("c", "a", "b")


def shard(path, keys, endings=("npy", "txt", "cls", "json")) -> None:
    with tarfile.open(path, "w") as tar:
        for key in keys:
            numbers = io.BytesIO()
            np.save(numbers, np.full(3, key, np.float32))
            cells = {"npy": numbers.getvalue(), "txt": f"record {key}".encode(), "cls": str(key % 2).encode()}
            cells["json"] = json.dumps({"size": key / 2, "place": "here"}).encode()
            for ending, content in ((ending, cells[ending]) for ending in endings):
                member = tarfile.TarInfo(f"{key:04}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def test_shards_of_webdataset_are_a_table_and_can_be_streamed(tmp_path):
    for part in range(4):
        shard(tmp_path / f"{part}.tar", range(10 * part, 10 * part + 10))
    table = read_table(tmp_path).frame
    assert list(table) == ["key", "npy", "txt", "cls", "json.size", "json.place"]
    assert table["txt"].tolist() == [f"record {key}" for key in range(40)]
    assert [len(chunk) for chunk in iterate_table(tmp_path / "1.tar", 4)] == [4, 4, 2]
    modalities = {"v": {"kind": "vector", "column": "npy"}, "t": {"kind": "text", "column": "txt"}}
    data = TableData(str(tmp_path), {"modalities": modalities, "targets": {"cls": "class"}}, stream=20).read()
    assert len(data.train) + len(data.test) == 40
    view = data.train.view(data.train.visit(0, 0, slice(0, 8)))
    assert view["v"].values.shape == (8, 3)
    (tmp_path / "1.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:700])
    with pytest.raises(DataError, match=r"1.tar cannot be read as tar"):
        read_table(tmp_path)


def test_shards_may_lack_cells_that_others_have(tmp_path):
    shard(tmp_path / "0.tar", range(10))
    shard(tmp_path / "1.tar", range(10, 20), ["npy", "cls"])
    with tarfile.open(tmp_path / "1.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("._0010.npy"), io.BytesIO())  # as added by macOS
    modalities = {"v": {"kind": "vector", "column": "npy"}, "t": {"kind": "text", "column": "txt"}}
    modalities["j"] = {"kind": "tabular", "columns": ["json.size"]}
    assert len(read_table(tmp_path)) == 20
    assert [list(part.frame) for part in iterate_table(tmp_path, 10, ["npy", "txt"])] == [["npy", "txt"]] * 2
    keys = []
    for stream in (0, 10):
        data = TableData(str(tmp_path), {"modalities": modalities}, stream=stream).read()
        keys.append(set(data.train.keys.tolist()))
    assert keys[0] == keys[1]
    view = data.train.view(slice(None))
    assert not view["t"].presence.all()
    assert view["t"].presence.any()
    modalities["t"] = {"kind": "text", "column": "text"}
    with pytest.raises(DataError, match="no column 'text'"):
        TableData(str(tmp_path), {"modalities": modalities}, stream=10).read()


def test_a_broken_group_is_told_by_its_row(folder, tmp_path):
    table = frame().drop(columns=["part", "patient"])
    table.at[150, "vector"] = np.array([1.0, np.nan, 0.0, 0.0], dtype=np.float32)
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(arrow, tmp_path / "t.parquet", row_group_size=GROUP)
    data = streamed(tmp_path / "t.parquet", stream=3)  # a sample that misses the row
    with pytest.raises(DataError, match="row 150: feature 1 is nan"):
        data.train.view(slice(None))


def test_a_wrong_cell_of_a_sample_is_named_by_its_row_in_the_table(tmp_path):
    table = frame().assign(label=np.arange(ROWS) / 7)
    table.loc[250, "a"], table.loc[251, "label"] = np.inf, np.inf
    table.to_parquet(tmp_path / "t.parquet", row_group_size=GROUP)
    schema = {**SCHEMA, "targets": {"label": "number"}}
    with pytest.raises(
        DataError, match=r"a row 250: inf is infinite(?s:.*)label row 251: .*inf.* is not a finite"
    ):
        TableData(str(tmp_path / "t.parquet"), schema, stream=1000).read()


def test_a_streamed_table_is_trained_and_embedded_at_a_url(folder, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/far/table", recursive=True)
    try:
        near = train(experiment(folder, epochs=1), tmp_path / "near")
        far = train(experiment("memory://far/table", epochs=1), tmp_path / "far")
        first, second = weights(tmp_path / "near"), weights(tmp_path / "far")
        assert all(torch.equal(first[key], second[key]) for key in first)
        written = write_shards(far, "memory://far/table", tmp_path / "z")
    finally:
        memory.rm("/far", recursive=True)
    assert written.records == ROWS
    embeddings = np.stack(read_table(tmp_path / "z").frame["embedding"].tolist())
    np.testing.assert_allclose(embeddings, cl.embed(near, read_table(folder)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["comm-sup", "supcon", "factorcl-sup"])
def test_methods_that_need_labels_say_that_a_streamed_table_has_none(method, folder):
    data = streamed(folder)
    records = data.train
    two = {name: linear(records.specs[name].shape, 8) for name in ("vector", "numbers")}
    with pytest.raises(ConfigurationError, match=rf"Method {method} learns from labels.*data.stream to 0"):
        METHODS[method].build(two, 8).check_records(records)


def test_fine_tuning_takes_all_rows_of_the_table_and_not_the_sample_in_memory(folder, tmp_path):
    run = train(experiment(folder, epochs=1), tmp_path / "run")
    labelled = FineTuning("label", epochs=1)
    with pytest.raises(DataError, match=r"was streamed, so only a sample of its rows is in memory.*Pass the"):
        cl.finetune(run, labelled, tmp_path / "tuned")
    tuned = cl.finetune(run, labelled, tmp_path / "tuned", folder)
    assert tuned.rows.label_counts["label"] + len(readout_rows(tuned).test) > 0.8 * ROWS
    assert tuned.experiment.data["stream"] == 0


def test_the_command_says_that_it_embeds_a_sample_of_the_test_rows(folder, tmp_path, capsys):
    train(experiment(folder, epochs=1), tmp_path / "run")
    out = tmp_path / "z.npz"
    for split, words in {"train": "^$", "test": r"the test rows in memory .* \d+ of \d+ test rows"}.items():
        assert main(["embed", str(tmp_path / "run"), "--split", split, "-o", str(out), "-q"]) == 0
        assert re.search(words, capsys.readouterr().err)
