"""Trainings, fine-tunings, comparisons and runs continue only with the table that they started with."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import data, experiment
from test_run_folder import OLD

import commlearn as cl
from commlearn.cli import main
from commlearn.comparison import workers
from commlearn.comparison.compare import compare
from commlearn.errors import RunError
from commlearn.storage.checkpoint import read_checkpoint
from commlearn.storage.fingerprint import fingerprint
from commlearn.training.train import train

SMALL = ["--training.epochs", "2", "--training.batch_size", "16", "--model.width", "16", "--quiet"]


def write_table(path: Path, rows: int = 80, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    table = pd.DataFrame(random.normal(size=(rows, 4)).round(3), columns=["a0", "a1", "b0", "b1"])
    table["y"] = np.where(table["a0"] > 0, "yes", "no")
    table.insert(0, "id", [f"r{row}" for row in range(rows)])
    table.to_parquet(path, index=False) if path.suffix == ".parquet" else table.to_csv(path, index=False)
    return table


@pytest.fixture(params=["table.csv", "table.parquet"])
def schema(tmp_path, request) -> Path:
    write_table(tmp_path / request.param)
    (tmp_path / "own.yaml").write_text(
        textwrap.dedent(f"""\
            version: 1
            table: {request.param}
            modalities:
              a: {{kind: tabular, columns: [a0, a1]}}
              b: {{kind: tabular, columns: [b0, b1]}}
            targets: {{y: class}}
            id: id
            """)
    )
    return tmp_path / "own.yaml"


def table_of(schema: Path) -> Path:
    return next(schema.parent.glob("table.*"))


def change_one_cell(path: Path) -> None:
    """Change one number of one row; the number of rows, the ids and the size stay the same."""
    if path.suffix == ".csv":
        lines = path.read_text().splitlines()
        cells = lines[50].split(",")
        cells[3] = cells[3][:-1] + str((int(cells[3][-1]) + 1) % 10)
        lines[50] = ",".join(cells)
        path.write_text("\n".join(lines) + "\n")
    else:
        table = pd.read_parquet(path)
        table.loc[49, "b0"] += 0.001
        table.to_parquet(path, index=False)


def test_a_training_is_not_resumed_on_a_changed_table(schema, tmp_path, capsys):
    run, table = tmp_path / "run", table_of(schema)
    words = ["train", str(schema), "--out", str(run), *SMALL]
    assert main(words) == 0
    weights, before = (run / "checkpoints" / "last.ckpt").read_bytes(), fingerprint(table)
    assert main([*words, "--resume"]) == 0
    change_one_cell(table)
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    message = capsys.readouterr().err
    for described in (before, fingerprint(table)):
        assert described[table.name].rpartition(" ")[2][:16] in message
    assert "--overwrite" in message
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == weights
    assert main([*words, "--overwrite"]) == 0
    assert main([*words, "--resume"]) == 0


def test_a_training_is_not_resumed_on_fewer_or_other_records_in_memory(tmp_path):
    train(experiment(), tmp_path / "run", data(32))
    with pytest.raises(RunError, match=r"records were .*32.*24.*out="):
        train(experiment(), tmp_path / "run", data(24), resume=True)
    other = data(32)
    other.train.columns["left"].values[3] += 5
    with pytest.raises(RunError, match="mean and deviation of left"):
        train(experiment(), tmp_path / "run", other, resume=True)
    train(experiment(), tmp_path / "run", data(32), resume=True)


def test_a_run_of_before_that_says_nothing_of_its_records_is_not_beyond_its_end(tmp_path):
    run = train(experiment(), tmp_path / "run", data(32))
    (run.folder.path / "data.json").unlink()
    train(experiment(), tmp_path / "run", data(32), resume=True)
    with pytest.raises(RunError, match="at step 12, but .* has only 6 steps"):
        train(experiment(), tmp_path / "run", data(16), resume=True)
    old = shutil.copytree(OLD, tmp_path / "old")
    assert cl.load(old).step > 0


def test_a_checkpoint_says_on_which_records_it_was_made(tmp_path):
    one = train(experiment(), tmp_path / "one", data(32)).folder
    other = train(experiment(), tmp_path / "other", data(40)).folder
    state = read_checkpoint(one.checkpoints / "last.ckpt")
    assert len(state["data"]) == 64
    shutil.copy(other.checkpoints / "last.ckpt", one.checkpoints / "last.ckpt")
    with pytest.raises(RunError, match="checkpoint of a training on data other than"):
        cl.load(one.path)


DAMAGED = ("[]", '{"files": 3}', '{"files": {"table.csv": 3}}', '{"values": [1]}', "{")


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_identity_is_named(schema, tmp_path, content, capsys):
    run = tmp_path / "run"
    words = ["train", str(schema), "--out", str(run), *SMALL]
    assert main(words) == 0
    (run / "data.json").write_text(content)
    assert main([*words, "--resume"]) == 2
    assert main(["embed", str(run), str(table_of(schema)), "-o", str(tmp_path / "z.csv")]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_fine_tuning_is_not_resumed_on_a_changed_table(schema, tmp_path, capsys):
    assert main(["train", str(schema), "--out", str(tmp_path / "run"), *SMALL]) == 0
    words = f"finetune {tmp_path / 'run'} --target y --epochs 1 --out {tmp_path / 'y'}".split()
    assert main(words) == 0
    assert main([*words, "--resume"]) == 0
    change_one_cell(table_of(schema))
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    assert "was started with other data" in capsys.readouterr().err


def test_trainings_go_on_with_a_moved_table_and_refuse_another(schema, tmp_path, capsys):
    base = ["train", str(schema), "--out", str(tmp_path / "run"), *SMALL]
    tuning = f"finetune {tmp_path / 'run'} --target y --epochs 1 --out {tmp_path / 'y'}".split()
    assert main(base) == main(tuning) == 0
    moved = tmp_path / "elsewhere" / table_of(schema).name
    moved.parent.mkdir()
    table_of(schema).rename(moved)
    before = schema.parent / moved.name
    tuning.insert(2, str(moved))
    again = ([*base, "--table", str(moved), "--resume"], [*tuning, "--resume"])
    contents = moved.read_bytes()
    change_one_cell(moved)
    for words, folder in zip(again, ("run", "y"), strict=True):
        assert main(words) == 2
        assert str(moved) not in (tmp_path / folder / "config.yaml").read_text()
    moved.write_bytes(contents)
    for words, folder in zip(again, ("run", "y"), strict=True):
        capsys.readouterr()
        assert main(words) == 0, capsys.readouterr().err
        assert main(words) == 0
        assert (tmp_path / folder / "log.txt").read_text().count(f"moved from {before}") == 1
        assert main(["probe", str(tmp_path / folder), "--targets", "y"]) == 0


def test_the_own_records_of_a_run_are_not_read_from_a_changed_table(schema, tmp_path, capsys):
    words = ["embed", str(tmp_path / "run"), "--split", "test", "-o", str(tmp_path / "z.npz")]
    assert main(["train", str(schema), "--out", str(tmp_path / "run"), *SMALL]) == 0
    assert main(words) == 0
    change_one_cell(table_of(schema))
    capsys.readouterr()
    assert main(words) == 2
    assert "sha256" in capsys.readouterr().err


@pytest.mark.usefixtures("jobs_in_this_process")
def test_a_comparison_does_not_go_on_with_a_changed_table(schema, tmp_path, monkeypatch):
    words = (schema, ["raw"], 1, tmp_path / "c", None, 1, lambda line: None)
    compare(*words)
    compare(*words)
    change_one_cell(table_of(schema))
    with pytest.raises(RunError, match=r"sha256 .* and is .*another out="):
        compare(*words)

    start = workers._start

    def after_a_change(*given):
        change_one_cell(table_of(schema))
        return start(*given)

    monkeypatch.setattr(workers, "_start", after_a_change)
    table = compare(schema, ["raw"], 1, tmp_path / "d", None, 1, lambda line: None)
    (reason,) = table["methods"]["raw"]["errors"].values()
    assert "was started with other data" in reason


def test_tables_of_many_files_have_a_fingerprint_of_each(tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    for number in range(3):
        write_table(tmp_path / "t" / f"{number}.parquet", seed=number)
    (tmp_path / "t" / "note.txt").write_text("mine")
    before = fingerprint(tmp_path / "t")
    assert list(before) == ["0.parquet", "1.parquet", "2.parquet"]
    assert fingerprint(str(tmp_path / "t")) == before == fingerprint(f"file://{tmp_path / 't'}")
    monkeypatch.setattr("commlearn.storage.fingerprint.READ", (1 << 21, 1 << 21))
    big = tmp_path / "big.csv"
    big.write_bytes(bytes(5 << 20))
    ones = fingerprint(big)
    with big.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert fingerprint(big) != ones


def test_identity_is_the_same_for_a_streamed_table(tmp_path, schema):
    if table_of(schema).suffix == ".csv":
        pytest.skip("text files are not streamed")
    words = ["train", str(schema), "--out", str(tmp_path / "run"), *SMALL, "--data.stream", "32"]
    assert main(words) == 0
    assert main([*words, "--resume"]) == 0
    assert json.loads((tmp_path / "run" / "data.json").read_text())["files"] == fingerprint(table_of(schema))
    change_one_cell(table_of(schema))
    assert main([*words, "--resume"]) == 2
