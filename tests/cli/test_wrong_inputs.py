"""Typical wrong inputs: each ends in a message that names the problem, and nothing is written."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import commlearn as cl
from commlearn.cli import main
from commlearn.errors import CommlearnError

ROWS = 60
FOREIGN = re.compile(
    r"Traceback|\w+Error\b|\[Errno|NoneType|<class|object at 0x|\bNone\b|\bTrue\b|\bFalse\b|<unicode string>"
)
"""Python terms, which do not belong in messages of the command line."""
SCHEMA = """\
version: 1
table: table.csv
modalities:
  left: {kind: tabular, columns: [a, b, c]}
  right: {kind: vector, column: v}
targets: {y: class, n: number}
id: id
split: split
"""
OTHER = "modalities: {left: {kind: tabular, columns: [a, b]}, right: {kind: %s}}\ntargets: {%s}\n"


def frame(rows: int = ROWS) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(rows, 3)).round(3)
    return pd.DataFrame(
        {
            "id": [f"r{row:03}" for row in range(rows)],
            "a": numbers[:, 0],
            "b": numbers[:, 1],
            "c": numbers[:, 2],
            "v": [str(draw.normal(size=3).round(3).tolist()) for _ in range(rows)],
            "text": [f"word{row % 7} and {row % 5}" for row in range(rows)],
            "y": [f"k{row % 3}" for row in range(rows)],
            "n": numbers.sum(axis=1).round(3),
            "split": ["test" if row % 5 == 0 else "train" for row in range(rows)],
        }
    )


def csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False)


def parquet(table: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    table.to_parquet(content)
    return content.getvalue()


def sound() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return content.getvalue()


def files() -> dict[str, bytes | str]:
    whole = frame()
    picture = io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "PNG")
    dead = whole.assign(photo=[f"media/{row % 3}.png" for row in range(ROWS)])
    loud = whole.assign(sound=["media/cut.wav"] * ROWS)
    huge = whole.assign(a=[1e308, -1e308] * (ROWS // 2))
    mixed = whole.assign(a=["tall", *whole["a"].astype(str)[1:]])
    return {
        "table.csv": csv(whole),
        "schema.yaml": SCHEMA,
        "empty.csv": "",
        "header.csv": "a,b\n",
        "one.csv": csv(whole.head(1)),
        "twice.csv": "a,a,b\n1,2,3\n4,5,6\n",
        "ragged.csv": "a,b\n1,2\n3,4,5\n",
        "binary.csv": bytes(range(256)) * 9,
        "cut.parquet": parquet(whole)[:900],
        "cut.csv.gz": b"\x1f\x8b\x08\x00broken",
        "broken.jsonl": '{"a": 1}\n{"a":\n',
        "list.jsonl": "[1, 2]\n",
        "paper.pdf": "%PDF",
        "alike.csv": csv(whole.assign(y="k0")),
        "nolabels.csv": csv(whole.assign(y="", n="")),
        "infinite.csv": csv(whole.assign(a="inf")),
        "empties.csv": csv(whole.assign(a="", b="", c="")),
        "huge.csv": csv(huge),
        "mixed.csv": csv(mixed),
        "other.csv": csv(whole[["text", "y"]]),
        "ids.csv": csv(whole.assign(id="r000")),
        "splits.csv": csv(whole.assign(split="tarin")),
        "dead.csv": csv(dead),
        "loud.csv": csv(loud),
        "Übung 🙂 1.csv": "a,b\n",
        "media/0.png": picture.getvalue()[:40],
        "media/1.png": b"no picture",
        "media/cut.wav": sound()[:20],
        "yaml.yaml": "modalities: [",
        "kind.yaml": OTHER % ("vidoe, column: v", "y: class"),
        "sort.yaml": OTHER % ("vector, column: v", "y: clas"),
        "key.yaml": "modality: {}\n",
        "column.yaml": OTHER % ("vector, column: vv", "y: class"),
        "photo.yaml": OTHER % ("image, column: photo", "y: class"),
        "sound.yaml": OTHER % ("audio, column: sound", "y: class"),
        "vector.yaml": OTHER % ("vector, column: text", "y: class"),
        "series.yaml": OTHER % ("series, column: text", "y: class"),
        "number.yaml": OTHER % ("vector, column: v", "text: number"),
        "newer.yaml": SCHEMA.replace("version: 1", "version: 99"),
        "single.yaml": "modalities: {left: {kind: tabular, columns: [a, b]}}\ntargets: {y: class}\n",
    }


SMALL = ["--training.epochs", "1", "--model.width", "16"]
NEW = ["--out", "new"]

# command line -> phrases that the message must contain
COMMANDS: list[tuple[str, list[str]]] = [
    # the command line itself
    ("trian schema.yaml", ["'trian'", "did you mean 'train'?"]),
    ("--epochs 3", ["--epochs", "needs a command before it: commlearn COMMAND"]),
    ("train", ["recipe", "commlearn train --help"]),
    ("check table.csv schema.yaml", ["Unexpected argument 'schema.yaml'", "--schema schema.yaml"]),
    ("probe run --colour red", ["'--colour'", "Known: --json"]),
    ("train schema.yaml --epochs 3 --out new", ["'--epochs'", "--training.epochs"]),
    ("train schema.yaml --temperature 1 --out new", ["'--temperature'", "--method.temperature"]),
    ("train schema.yaml --batch-size=8 --out new", ["'--batch-size'", "--training.batch_size"]),
    ("train schema.yaml --lr 1 --out new", ["'--lr'", "--training.learning_rate"]),
    ("train schema.yaml --seed one --out new", ["--seed", "a whole number, not 'one'"]),
    ("finetune run --target y --training.epochs 3", ["--training.epochs", "did you mean '--epochs'?"]),
    # tables
    ("init none.csv -o new.yaml", ["There is no table none.csv", "Did you mean one.csv?"]),
    ("init media -o new.yaml", ["The folder media holds no .parquet file", "Give a file"]),
    (
        "init run -o new.yaml",
        ["run holds no .parquet file", "It is the folder of a run, but a table is expected here"],
    ),
    ("init schema.yaml -o new.yaml", ["schema.yaml", "a schema or a recipe, but a table is expected here"]),
    ("init paper.pdf -o new.yaml", ["paper.pdf", "'.pdf'", "Give a file that ends in"]),
    ("init empty.csv -o new.yaml", ["empty.csv has no rows", "Give a table"]),
    ("init header.csv -o new.yaml", ["header.csv has no rows", "Give a table"]),
    ("init 'Übung 🙂 1.csv' -o new.yaml", ["Übung 🙂 1.csv has no rows", "Give a table"]),
    ("init twice.csv -o new.yaml", ["twice.csv", "a.", "Rename"]),
    ("init ragged.csv -o new.yaml", ["ragged.csv", "row 1 has more cells", "without quotes?"]),
    ("init binary.csv -o new.yaml", ["binary.csv, line 2", "UTF-8"]),
    ("init cut.parquet -o new.yaml", ["cut.parquet", "Is it cut off?"]),
    ("init cut.csv.gz -o new.yaml", ["cut.csv.gz", "Is it cut off?"]),
    ("init broken.jsonl -o new.yaml", ["broken.jsonl, line 2", "not JSON"]),
    ("init list.jsonl -o new.yaml", ["list.jsonl, line 1", "[1, 2]", "object"]),
    ("init table.csv --target z -o new.yaml", ["'z'", "Known: a, b, c"]),
    ("init table.csv -o schema.yaml", ["schema.yaml already exists", "--overwrite"]),
    ("init table.csv -o table.csv/new.yaml", ["table.csv"]),
    # schemas
    ("check table.csv --schema none.yaml", ["There is no schema none.yaml", "commlearn init"]),
    ("check table.csv --schema run", ["run", "a folder, not a file"]),
    ("check table.csv --schema table.csv", ["table.csv", "needs modalities"]),
    ("check table.csv --schema yaml.yaml", ["yaml.yaml cannot be read as YAML", "line 1"]),
    ("check table.csv --schema kind.yaml", ["kind.yaml", "'vidoe'", "Known: audio"]),
    ("check table.csv --schema sort.yaml", ["target 'y'", "'clas'", "did you mean 'class'?"]),
    ("check table.csv --schema key.yaml", ["'modality'", "did you mean 'modalities'?"]),
    ("check table.csv --schema newer.yaml", ["version 99", "Update commlearn"]),
    ("check table.csv --schema column.yaml", ["'vv'", "Did you mean 'v'?"]),
    ("check table.csv --schema number.yaml", ["text row 0", "'word0 and 0'", "row 0 is line 2"]),
    ("check table.csv --schema vector.yaml", ["text row 0", "leave the cell empty"]),
    ("check table.csv --schema series.yaml", ["text row 0", "'word0 and 0'", "leave the cell empty"]),
    ("check dead.csv --schema photo.yaml", ["photo row 0", "media/0.png"]),
    ("check loud.csv --schema sound.yaml", ["sound row 0", "media/cut.wav"]),
    ("check ids.csv --schema schema.yaml", ["'r000'", "give each record its own"]),
    ("check splits.csv --schema schema.yaml", ["'tarin'", "give train, validation or test"]),
    ("check infinite.csv --schema schema.yaml", ["a row 0 (id r000)", "inf", "row 0 is line 2"]),
    ("check one.csv --schema schema.yaml", ["rows", "give at least"]),
    # trainings
    ("train table.csv", ["table.csv", "It is a table", "commlearn init table.csv -o table.yaml"]),
    ("train run", ["run is not a recipe or schema file", "It is the folder of a run"]),
    ("train none.yaml", ["none.yaml", "did you mean"]),
    ("train trifeature-quik", ["'trifeature-quik'", "did you mean 'trifeature-quick'?"]),
    ("train mosi --data none.pkl --out new", ["none.pkl"]),
    ("train schema.yaml --table none.csv --out new", ["There is no table", "none.csv"]),
    ("train schema.yaml --table other.csv --out new", ["There is no column 'a'", "The table has"]),
    ("train photo.yaml --table dead.csv --out new", ["photo row 0", "media/0.png"]),
    ("train sound.yaml --table loud.csv --out new", ["sound row 0", "media/cut.wav"]),
    ("train schema.yaml --table infinite.csv --out new", ["a row 0 (id r000)", "inf"]),
    ("train schema.yaml --table one.csv --out new", ["row"]),
    ("train schema.yaml --data table.csv --out new", ["--data is for recipes", "--table"]),
    ("train schema.yaml --method com --out new", ["'com'", "did you mean 'comm'?"]),
    ("train schema.yaml --method.temprature 1 --out new", ["did you mean 'method.temperature'?"]),
    ("train schema.yaml --training.epochs -3 --out new", ["training.epochs is -3", "above 0"]),
    ("train schema.yaml --training.epochs three --out new", ["'three'", "a whole number"]),
    ("train schema.yaml --training.epochs null --out new", ["training.epochs", "a whole number"]),
    ("train schema.yaml --training.epochs true --out new", ["training.epochs", "a whole number"]),
    ("train schema.yaml --training.epochs --out new", ["--training.epochs needs a value"]),
    ("train schema.yaml --training.epochs [1 --out new", ["--training.epochs [1", "YAML"]),
    ("train schema.yaml --training.learning_rate nan --out new", ["nan", "above 0"]),
    ("train schema.yaml --training.batch_size 999 --out new", ["999", "at most 48"]),
    ("train schema.yaml --training.precision 8 --out new", ["training.precision is 8", "32-true"]),
    ("train schema.yaml --training.accelerator tpuu --out new", ["'tpuu'", "cpu"]),
    ("train schema.yaml --training.devices 999 --out new", ["training.devices is 999", "Give at most"]),
    ("train schema.yaml --augmentations.left blur --out new", ["'blur'", "Known:"]),
    ("train schema.yaml --augmentations.photo none --out new", ["'photo'", "Known:"]),
    ("train schema.yaml --model.encoders.left cnn --out new", ["'cnn'", "Known:"]),
    ("train schema.yaml --out run", ["run already holds a run", "--resume", "--overwrite"]),
    ("train schema.yaml --out table.csv", ["table.csv"]),
    # commands that read a run
    ("probe none", ["none is not a run folder"]),
    ("probe table.csv", ["table.csv", "It is a table", "commlearn train table.yaml"]),
    ("probe schema.yaml", ["schema.yaml", "a run is expected here", "commlearn train schema.yaml"]),
    ("probe run/config.yaml", ["the run's folder is run"]),
    ("probe run --target z", ["'z'", "Known: n, y"]),
    ("probe run --modalities lefft", ["'lefft'", "did you mean 'left'?"]),
    ("probe run --with knn", ["'knn'", "Known: linear, neighbours"]),
    ("probe run --retrieve left", ["--retrieve left", "separated by a colon"]),
    ("probe run other.csv", ["There is no column 'a'", "The table has"]),
    ("probe run run", ["It is the folder of a run, but a table is expected here"]),
    ("probe art", ["Pass a table"]),
    ("probe run nolabels.csv", ["y"]),
    ("embed run table.csv -o z.xlsx", ["z.xlsx", "give a file that ends in"]),
    ("embed run table.csv -o table.csv", ["table.csv is the table", "another --out"]),
    ("embed run table.csv -o none/z.npz", ["no folder none", "Make it first"]),
    ("embed run other.csv -o z.npz", ["other.csv", "'a'", "Known: text, y"]),
    ("embed run table.csv -o z.npz --modalities up", ["'up'", "Known: left, right"]),
    ("embed run mixed.csv -o z.npz", ["a row 0", "'tall'"]),
    ("embed run infinite.csv -o z.npz", ["a row 0", "inf"]),
    ("interactions run --target z", ["'z'", "Known:"]),
    ("interactions run --target y --modalities left", ["at least two modalities", "left"]),
    ("interactions single.yaml table.csv", ["at least two modalities", "left"]),
    ("interactions run --target y --bins 1", ["bins is 1", "at least 2"]),
    ("interactions run --target y --plot z.bmp", ["--plot z.bmp", ".png"]),
    ("interactions schema.yaml --target y", ["needs a table", "commlearn interactions schema.yaml TABLE"]),
    ("interactions schema.yaml table.csv --target id --quick", ["such as 'r000'", "Merge classes"]),
    ("interactions schema.yaml alike.csv --target y --quick", ["y"]),
    ("report run --target z", ["'z'", "Known: n, y"]),
    ("finetune run --target z", ["'z'", "Known: n, y"]),
    ("finetune run --target y --epochs -1", ["epochs is -1", "above 0"]),
    ("finetune run --target y --batch-size 0", ["--batch-size is 0", "at least 2"]),
    ("finetune run --target y --validation 2", ["validation is 2.0", "a share"]),
    ("finetune run --target y --objective foo", ["'foo'", "head or supcon"]),
    ("export run run", ["run is a run folder", "another"]),
    ("export run art --subsets left", ["--subsets", "add --onnx"]),
    ("info none", ["none is not a run folder"]),
    # other commands
    ("compare none.yaml", ["none.yaml", "did you mean"]),
    ("compare schema.yaml --methods foo --out new", ["'foo'", "Known: all"]),
    ("compare schema.yaml --rivals foo --out new", ["'foo'", "Known: all"]),
    ("compare schema.yaml --labels 200% --out new", ["'200%'", "such as 5%"]),
    ("compare schema.yaml --seeds 0 --out new", ["--seeds is 0", "1 or more"]),
    ("calibrate --like table.csv --target z", ["'z'", "Known:"]),
    ("calibrate --like table.csv --target y --schema table.csv", ["table.csv", "needs modalities"]),
    ("calibrate --like none.csv --target y", ["There is no table none.csv"]),
    ("convert none.pkl", ["none.pkl"]),
    ("convert table.csv --out new", ["table.csv"]),
    ("synth tabels --out new", ["'tabels'", "did you mean 'tables'?"]),
    ("synth tables --out media", ["media already exists", "--overwrite"]),
    ("synth mosi --out table.csv", ["table.csv already exists", "--overwrite"]),
    ("synth tables --rows -1 --out new", ["-1"]),
    ("synth trifeature --rows 9 --missing .1 --out new", ["no --rows, --missing", "--gallery, --size"]),
    ("synth mosi --format csv --out new", ["mosi has no --format", "--rows, --label"]),
    ("embed run table.csv --split test --out new.npz", ["--split test", "all rows", "Leave out one"]),
    ("train schema.yaml --test .3 --out new", ["'--test'", "--data.test VALUE"]),
    ("train schema.yaml --stream 9 --out new", ["'--stream'", "--data.stream VALUE"]),
    ("completion csh", ["'csh'", "bash"]),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    for name, content in files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "schema.yaml", "--out", "run", *SMALL, "-q"]) == 0
        assert main(["export", "run", "art", "-q"]) == 0
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    yield place
    shutil.rmtree(place / "new", ignore_errors=True)


BEGUN = {"new/lock", "new/log.txt", "new/files.json"}
"""Files that a training may leave if it fails before its first step: no model, no results."""


def contents(folder: Path) -> dict[str, int]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.stat().st_mtime_ns for name, path in files.items() if name not in BEGUN}


def words_of(line: str) -> list[str]:
    return shlex.split(line)


def check_message(code: object, message: str, phrases: list[str]) -> None:
    assert code == 2, message
    missing = [phrase for phrase in phrases if phrase not in message]
    assert not missing, f"{missing} not in:\n{message}"
    errors = message[message.index("commlearn: ") :] if "commlearn: " in message else message
    assert not FOREIGN.search(errors), errors


@pytest.mark.parametrize(("line", "phrases"), COMMANDS, ids=[line for line, _ in COMMANDS])
def test_a_wrong_command_says_what_is_wrong_and_leaves_nothing(line, phrases, here, capsys):
    before = contents(here)
    code = main(words_of(line))
    captured = capsys.readouterr()
    check_message(code, captured.out + captured.err, phrases)
    assert contents(here) == before, "something was written"


@pytest.mark.parametrize(
    "line",
    ["train table.csv", "probe run --target z"],
)
def test_a_process_ends_with_exit_code_2_and_no_traceback(line, here):
    command = [sys.executable, "-m", "commlearn", *words_of(line)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    check_message(done.returncode, done.stdout + done.stderr, dict(COMMANDS)[line])


def test_a_folder_that_cannot_be_written_is_named(here, capsys):
    if os.geteuid() == 0:
        target = Path("/proc/none")  # where even root cannot write
    else:
        target = here / "locked"
        target.mkdir(mode=0o500)
    for line in (f"train schema.yaml --out {target}/x", f"embed run table.csv -o {target}/z.npz"):
        code = main(words_of(line))
        captured = capsys.readouterr()
        check_message(code, captured.err, [str(target)])


# ------------------------------------------------------------------------------------------- damaged runs
SPARE = {
    "checkpoints/last": {"deleted", "cut"},
    "data.json": {"deleted"},
    "environment.json": {"deleted", "cut"},
    "files.json": {"deleted", "cut"},
    "lock": {"deleted", "cut"},
    "log.txt": {"deleted", "cut"},
    "rows.safetensors": {"deleted"},  # older runs have none
    "metrics.csv": {"deleted", "cut"},
    "metrics.jsonl": {"deleted", "cut"},
    "speed.jsonl": {"deleted", "cut"},
}
"""Harm that a probe survives, by file."""
PARTS = (
    "config.yaml",
    "data.json",
    "environment.json",
    "features.safetensors",
    "files.json",
    "lock",
    "log.txt",
    "metrics.csv",
    "metrics.jsonl",
    "modalities.json",
    "preprocessing.json",
    "rows.safetensors",
    "schema.json",
    "speed.jsonl",
    "checkpoints",
)


@pytest.mark.parametrize("harm", ["deleted", "cut"])
@pytest.mark.parametrize("name", PARTS)
def test_a_damaged_run_is_refused_by_name_or_not_needed(name, harm, here, tmp_path, capsys):
    shutil.copytree("run", tmp_path / "run")
    harmed = tmp_path / "run" / name
    for file in sorted(harmed.rglob("*")) if harmed.is_dir() else [harmed]:
        if file.is_file():
            file.unlink() if harm == "deleted" else file.write_bytes(
                file.read_bytes()[: file.stat().st_size // 2]
            )
    code = main(["probe", str(tmp_path / "run"), "--target", "y", "--quiet"])
    message = capsys.readouterr().err
    if harm in SPARE.get(name, set()):
        assert code == 0, message
    else:
        phrase = {
            "checkpoints": "checkpoint",
            "config.yaml": "config"
            if harm == "deleted"
            else "model.",  # cut in half, the file lacks a setting
        }
        check_message(code, message, [phrase.get(name, name)])


# ------------------------------------------------------------------------------------------------- Python
HALVES = {"left": cl.Tabular(["a", "b", "c"]), "right": cl.Tabular(["n"])}


def fitted(table: object, schema: cl.Schema | None = None, **options: object) -> object:
    stated = schema or cl.Schema(HALVES, targets={"y": "class"})
    return cl.Embedder(stated, epochs=1, **options).fit(table)


CALLS = {
    "a path that is none": (lambda: cl.load("none"), ["none is not a run folder"]),
    "a table in place of a run": (lambda: cl.load("table.csv"), ["It is a table", "commlearn train"]),
    "an empty frame": (lambda: fitted(frame().head(0)), ["no rows", "Give a table"]),
    "one row": (lambda: fitted(frame().head(1)), ["only 1 training records. At least 2 are needed"]),
    "a frame without the columns": (lambda: fitted(frame()[["a"]]), ["'b'", "The table has a"]),
    "columns of one name": (lambda: fitted(pd.concat([frame(), frame()[["a"]]], axis=1)), ["a", "Rename"]),
    "arrays of two lengths": (
        lambda: fitted({"a": [1, 2], "b": [1, 2], "c": [1, 2], "n": [1], "y": ["k", "l"]}),
        ["the same length", "n 1"],
    ),
    "infinite cells": (lambda: fitted(frame().assign(a=np.inf)), ["a row 0", "inf"]),
    "words among numbers": (
        lambda: fitted(frame().assign(a=["tall", *range(ROWS - 1)])),
        ["a: mixes numbers with text such as 'tall'", "correct these cells"],
    ),
    "a method that is none": (lambda: fitted(frame(), method="com"), ["'com'", "did you mean 'comm'?"]),
    "no epochs": (
        lambda: cl.Embedder(cl.Schema(HALVES), epochs=0).fit(frame()),
        ["epochs is 0", "above 0"],
    ),
    "a kind of target that is none": (
        lambda: cl.Schema(HALVES, targets={"y": "clas"}),
        ["'clas'", "did you mean 'class'?"],
    ),
    "no modalities": (lambda: cl.Schema({}), ["modalities"]),
    "a kind that is none": (lambda: cl.Schema({"left": "tabular"}), ["left"]),
    "a modality without columns": (lambda: cl.Tabular([]), ["at least one column"]),
    "a modality that is none": (
        lambda: cl.embed(cl.load("run"), "table.csv", modalities=["lefft"]),
        ["'lefft'", "did you mean 'left'?"],
    ),
    "no records at a time": (
        lambda: cl.embed(cl.load("run"), "table.csv", batch_size=0),
        ["batch_size is 0", "at least 1"],
    ),
    "less than no records at a time": (
        lambda: cl.embed(cl.load("run"), "table.csv", batch_size=-1),
        ["batch_size is -1", "at least 1"],
    ),
    "a probe of a target that is none": (
        lambda: cl.probe(cl.load("run"), targets=["z"]),
        ["'z'", "Known: n, y"],
    ),
    "interactions of one modality": (
        lambda: cl.interactions({"left": np.zeros((60, 2))}, target=np.arange(60) % 2),
        ["at least two modalities", "left"],
    ),
    "interactions with labels all alike": (
        lambda: cl.interactions({"left": np.eye(60), "right": np.eye(60)}, target=np.zeros(60, dtype=int)),
        ["target"],
    ),
    "interactions with labels that are missing": (
        lambda: cl.interactions({"left": np.eye(60), "right": np.eye(60)}, target=np.full(60, np.nan)),
        ["target"],
    ),
    "modalities of two lengths": (
        lambda: cl.interactions({"left": np.eye(60), "right": np.eye(50)}, target=np.arange(60) % 2),
        ["60", "50"],
    ),
    "a comparison of no method": (lambda: cl.compare("schema.yaml", ["foo"], out="new"), ["'foo'", "Known"]),
    "an export over a run": (lambda: cl.export("run", "run"), ["run is a run folder", "another"]),
    "settings that are none": (
        lambda: cl.read_experiment("trifeature-quick", {"training.epoch": 1}),
        ["'training.epoch'", "did you mean 'training.epochs'?"],
    ),
}


@pytest.mark.filterwarnings("ignore::commlearn.errors.DataWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_raises_an_error_of_commlearn(name, here):
    call, phrases = CALLS[name]
    before = contents(here)
    with pytest.raises(CommlearnError) as raised:
        call()
    missing = [phrase for phrase in phrases if phrase not in str(raised.value)]
    assert not missing, f"{missing} not in:\n{raised.value}"
    assert contents(here) == before, "something was written"


def test_the_table_of_wrong_inputs_is_long_enough():
    assert len(COMMANDS) + len(CALLS) + 2 * len(PARTS) >= 60
    assert {words_of(line)[0] for line, _ in COMMANDS} >= {
        *("init", "check", "train", "probe", "embed", "interactions", "report", "finetune"),
        *("export", "info", "compare", "calibrate", "convert", "synth", "completion"),
    }
