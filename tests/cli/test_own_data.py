"""From a table to embeddings on the command line, and the messages when something does not fit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import commlearn as cl
from commlearn.cli import main
from commlearn.config.own_data import suggest
from commlearn.datasets.synthetic_tables import COLUMNS, SyntheticTable
from commlearn.records import Records, VectorColumn
from commlearn.trained.run_folder import RunFolder

SMALL = ["--training.epochs", "1", "--model.width", "16", "--quiet"]
DIM = 16 * 6  # learned part: the fused vector and the mean token of each of five modalities


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    SyntheticTable(rows=80, size=16, missing=0.2).write(folder)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    assert main(["train", str(folder / "schema.yaml"), "--out", str(folder / "run"), *SMALL]) == 0
    return folder / "run"


def output_of(capsys, *words, code=0):
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def width_of(run):
    return DIM + cl.load(run).features.dim


def test_three_commands_lead_from_a_table_to_embeddings(folder, tmp_path, capsys):
    table = folder / "table.csv"
    printed = output_of(
        capsys, "init", table, "-o", tmp_path / "s.yaml", "--target", ",".join(["shared", "synergy"])
    )
    assert "table: " in printed
    words = ["train", tmp_path / "s.yaml", "--out", tmp_path / "run", *SMALL[:-1]]
    assert "chosen for" in output_of(capsys, *words)
    assert "chosen for" in (tmp_path / "run" / "log.txt").read_text()
    printed = output_of(capsys, "embed", tmp_path / "run", table, "-o", tmp_path / "z.parquet", "--json")
    assert json.loads(printed) == {
        "out": str(tmp_path / "z.parquet"),
        "records": 80,
        "dim": width_of(tmp_path / "run"),
    }


def test_stated_settings_win_over_chosen_ones(run):
    experiment = RunFolder(run).experiment()
    assert experiment.training.epochs == 1
    assert experiment.training.batch_size == 16
    assert experiment.training.warmup_epochs == 0.05
    assert experiment.model.width == 16
    assert experiment.data["table"].endswith("table.csv")


@pytest.mark.parametrize(("rows", "batch", "width"), [(20, 16, 128), (1000, 64, 128), (50_000, 128, 128)])
def test_defaults_follow_the_number_of_records(rows, batch, width):
    made = suggest(Records({"v": VectorColumn(np.zeros((rows, 1), np.float32))}))
    steps = made["training"]["epochs"] * (rows // batch)
    assert made["training"]["batch_size"] == batch
    assert made["model"]["width"] == width
    assert 280 <= steps <= 2050


def test_embeddings_keep_ids_and_are_the_same_in_every_format(run, folder, tmp_path, capsys):
    for name in ("z.parquet", "z.npz", "z.csv"):
        output_of(capsys, "embed", run, folder / "table.csv", "-o", tmp_path / name)
    table = pq.read_table(tmp_path / "z.parquet")
    assert (
        str(table.schema.field("embedding").type)
        == f"fixed_size_list<element: float not null>[{width_of(run)}]"
    )
    stacked = np.stack(table["embedding"].to_numpy())
    assert table["id"].to_pylist() == pd.read_csv(folder / "table.csv")["id"].tolist()
    with np.load(tmp_path / "z.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["embedding"], stacked)
        assert arrays["id"][0] == "r000000"
    written = pd.read_csv(tmp_path / "z.csv").drop(columns="id")
    np.testing.assert_allclose(written.to_numpy(), stacked, rtol=1e-5)
    assert np.array_equal(cl.embed(cl.load(run), folder / "table.csv"), stacked)
    assert {path.name for path in tmp_path.iterdir()} == {"z.parquet", "z.npz", "z.csv"}


def test_columns_of_csv_are_called_by_the_method_as_an_embedder_calls_them(folder, tmp_path, capsys):
    table, schema = folder / "table.csv", folder / "schema.yaml"
    output_of(capsys, "train", schema, "--out", tmp_path / "run", "--method", "clip", *SMALL)
    names = cl.Embedder.load(tmp_path / "run").get_feature_names_out().tolist()
    output_of(capsys, "embed", tmp_path / "run", table, "-o", tmp_path / "z.csv")
    assert pd.read_csv(tmp_path / "z.csv").columns.tolist() == ["id", *names]
    output_of(capsys, "embed", tmp_path / "run", "-o", tmp_path / "own.csv")
    assert names[0] == "clip0"
    assert pd.read_csv(tmp_path / "own.csv").columns[-len(names) :].tolist() == names


def test_chunks_give_what_the_whole_table_gives(run, folder, monkeypatch):
    from commlearn.trained import stream

    loaded = cl.load(run)
    whole = cl.embed(loaded, folder / "table.csv")
    monkeypatch.setattr(stream, "ROWS", (7, 7))
    parts = [vectors for _, vectors in stream.embed_table(loaded, folder / "table.csv")]
    assert len(parts) == 12
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_a_run_embeds_and_probes_its_own_split_and_a_table(run, folder, tmp_path, capsys):
    output_of(capsys, "embed", run, "-o", tmp_path / "own.npz")
    with np.load(tmp_path / "own.npz", allow_pickle=False) as arrays:
        assert len(arrays["embedding"]) == len(arrays["shared"]) < 80
        own = dict(arrays)
    rows = pd.read_csv(folder / "table.csv")
    chosen = rows.set_index("id").loc[own["id"]].reset_index()
    assert chosen["shared"].tolist() == own["shared"].tolist()
    chosen.to_csv(folder / "chosen.csv", index=False)
    np.testing.assert_allclose(cl.embed(cl.load(run), folder / "chosen.csv"), own["embedding"], atol=1e-5)
    rows["shared"] = rows["shared"].astype(float)
    rows.loc[:4, "shared"] = np.nan
    rows.to_csv(folder / "gaps.csv", index=False)
    words = ["probe", run, folder / "gaps.csv", "--target", "shared"]
    scores = json.loads(output_of(capsys, *words, "--json"))["shared"]
    assert scores["dropped"] == 5
    assert scores["train_records"] + scores["test_records"] == 75
    assert "5 records without it were left out" in output_of(capsys, *words)
    assert "synergy" in output_of(capsys, "probe", run)


@pytest.mark.parametrize("ending", ["parquet", "csv", "npz"])
def test_own_records_without_the_modalities_are_left_out(run, tmp_path, capsys, ending):
    out = tmp_path / f"own.{ending}"
    output_of(capsys, "embed", run, "--split", "train", "-o", tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        labels = dict(zip(arrays["id"].tolist(), arrays["shared"].tolist(), strict=True))
    output_of(capsys, "embed", run, "--split", "train", "--modalities", "text", "-o", out)
    rows = dict(np.load(out)) if ending == "npz" else getattr(pd, f"read_{ending}")(out)
    vectors = rows.iloc[:, -DIM:] if ending == "csv" else np.stack(list(rows["embedding"]))
    assert not np.isnan(np.asarray(vectors)).any()
    assert 0 < len(vectors) < len(labels)
    assert list(rows["shared"]) == [labels[key] for key in rows["id"]]


def test_targets_to_probe_are_checked_before_the_training(folder, tmp_path, capsys):
    words = ["train", folder / "schema.yaml", "--out", tmp_path / "run", *SMALL, "--probe"]
    assert "did you mean 'shared'" in output_of(capsys, *words, "shard", code=2)
    assert "--probe: give at least one name" in output_of(capsys, *words, ",", code=2)
    assert not (tmp_path / "run").exists()


def test_settings_may_come_before_the_other_words(folder, tmp_path, capsys):
    out = output_of(capsys, "train", *SMALL, folder / "schema.yaml", "--out", tmp_path / "run")
    assert "Trained to step" in out
    assert cl.load(tmp_path / "run").experiment.training.epochs == 1


def test_a_run_on_a_table_retrieves_on_its_own_rows_and_on_a_table_without_labels(
    run, folder, tmp_path, capsys
):
    scores = json.loads(output_of(capsys, "probe", run, "--retrieve", "text:table+series", "--json"))
    assert set(scores) == {"text -> table+series", "table+series -> text"}
    rows = pd.read_csv(folder / "table.csv")
    bare = folder / "bare.csv"
    rows[["id", "split", *(name for names in COLUMNS.values() for name in names)]].to_csv(bare, index=False)
    words = ["probe", run, bare, "--retrieve", "text:table+series"]
    assert json.loads(output_of(capsys, *words, "--json")) == scores
    code = output_of(capsys, *words, "--show-python")
    exec(compile(code, "shown", "exec"), {})
    assert capsys.readouterr().out.startswith("recall@1 ")


def test_an_export_takes_the_place_of_its_run(run, folder, tmp_path, capsys):
    assert "model.safetensors" in output_of(capsys, "export", run, tmp_path / "m")
    assert "exported" in output_of(capsys, "info", tmp_path / "m")
    rows = folder / "table.csv"
    assert np.array_equal(cl.embed(cl.load(tmp_path / "m"), rows), cl.embed(cl.load(run), rows))
    assert "is a run folder" in output_of(capsys, "export", run, run, code=2)


def changed(folder, name, **cells):
    """Write the table with some cells of row 3 replaced; return its path."""
    rows = pd.read_csv(folder / "table.csv").astype(object)
    for column, cell in cells.items():
        rows.loc[3, column] = cell
    rows.to_csv(folder / name, index=False)
    return folder / name


def test_bad_cells_are_refused_with_row_and_column_and_no_file_is_left(run, folder, tmp_path, capsys):
    np.save(folder / "series" / "empty.npy", np.zeros((0, 2), np.float32))
    np.save(folder / "series" / "wide.npy", np.zeros((5, 3), np.float32))
    picture = next((folder / "images").glob("*.png")).read_bytes()
    (folder / "images" / "cut.png").write_bytes(picture[: len(picture) // 2])
    for cells, words in (
        ({"image": "images/none.png"}, ("row 3", "images/none.png")),
        ({"image": "images/cut.png"}, ("row 3", "cut.png", "cut off")),
        ({"series": "series/empty.npy"}, ("row 3", "no steps")),
        ({"series": "series/wide.npy"}, ("row 3", "3 channels, but 2 are expected")),
        ({"height": "inf"}, ("row 3", "inf")),
        ({"id": "r000000"}, ("rows 0 and 3",)),
        ({"image": None, "text": None, "height": None, "weight": None, "rate": None, "site": None,
          "series": None, "vector": None}, ("row 3", "has none of")),
    ):  # fmt: skip
        table = changed(folder, "bad.csv", **cells)
        printed = output_of(capsys, "embed", run, table, "-o", tmp_path / "z.parquet", code=2)
        for word in words:
            assert word in printed, (cells, printed)
        assert not list(tmp_path.iterdir())
    words = ["embed", run, changed(folder, "fine.csv", site="unseen"), "-o", tmp_path / "z.parquet"]
    assert main([str(word) for word in words]) == 0
    assert "commlearn: warning: site row 3: 'unseen': not among the learned" in capsys.readouterr().err


def test_other_mistakes_are_one_sentence_that_helps(run, folder, tmp_path, capsys):
    table, schema = folder / "table.csv", folder / "schema.yaml"
    plain = yaml.safe_load(schema.read_text())
    written = tmp_path / "s.yaml"
    for change, word in (
        ({"table": None}, "does not say where its table is"),
        ({"table": "gone.csv"}, "There is no table"),
        ({"version": 2, "table": str(table)}, "has version 2, but this commlearn reads versions up to 1"),
        ({"trainin": {}, "table": str(table)}, "did you mean 'training'?"),
        ({"training": {"epoch": 2}, "table": str(table)}, "did you mean 'training.epochs'?"),
    ):
        written.write_text(yaml.safe_dump({**plain, **change}))
        assert word in output_of(capsys, "train", written, "--out", tmp_path / "r", code=2)
    (tmp_path / "latin.csv").write_bytes("id,text\n1,caf\x81\n".encode("latin-1"))
    (tmp_path / "none.csv").write_text("id,text\n")
    for words, word in (
        (["embed", run, table, "-o", tmp_path / "z.txt"], "ends in .parquet, .csv, .npz"),
        (["embed", run, table, "-o", tmp_path / "no" / "z.csv"], "there is no folder"),
        (["embed", run, table, "-o", tmp_path / "z.csv", "--modalities", "txt"], "did you mean 'text'?"),
        (
            ["embed", run, tmp_path / "latin.csv", "-o", tmp_path / "z.csv", "--modalities", "text"],
            "not UTF-8",
        ),
        (["embed", run, tmp_path / "none.csv", "-o", tmp_path / "z.csv", "--modalities", "text"], "no rows"),
        (["probe", run, table, "--target", "sharde"], "did you mean 'shared'?"),
        (["train", "trifeature-quick", "--table", table], "is a recipe, not a schema"),
        (["synth", "tables"], "give --out FOLDER"),
        (["export", tmp_path, tmp_path / "m"], "not a run folder or an artifact"),
    ):
        assert word in output_of(capsys, *words, code=2)
