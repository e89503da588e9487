"""Hostile files: JSON, tar, Parquet, HDF5, compressed text, paths that are not files, and saved states."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import socket
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import mutations
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from hostile_models import folders, frame, spoil

from commlearn.cli import main
from commlearn.config.configuration import experiment_from
from commlearn.datasets.converted import read_converted, read_hdf5
from commlearn.errors import CommlearnError
from commlearn.kinds.series import Series
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.text import Text
from commlearn.kinds.vector import Vector
from commlearn.records import Dataset
from commlearn.storage.checkpoint import read_checkpoint, write_checkpoint
from commlearn.storage.pickles import read_pickle
from commlearn.tables.check import check
from commlearn.tables.dataset import dataset_of, streamed_dataset
from commlearn.tables.infer import infer
from commlearn.tables.schema import Schema
from commlearn.tables.table import iterate_table, read_table
from commlearn.trained.artifact import load
from commlearn.trained.embed import embed
from commlearn.training.finetune import FineTuning, finetune
from commlearn.training.kept_tokens import open_shard
from commlearn.training.train import train

ROWS = 12
WORDS = ["NA", "None", "nan", "null", "", " ", "007", "7", "1e5", "-", "inf", "1,5", "1.234,5", "TRUE", "x"]
NUMBERS = [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**31, 10**9, 86_399_999_999_999, 1_001]


def use(path: Path, schema: Schema) -> None:
    """Use a table in every way: infer its schema, check it, learn from it, read it whole and in chunks."""
    table = read_table(path, reading=schema.reading())
    with contextlib.suppress(CommlearnError):  # no column looks like a modality
        infer(table)
    check(table, schema)
    at_once = max(5, len(table) // 3)
    for part in iterate_table(path, at_once, reading=schema.reading()):
        assert len(part) <= at_once
    dataset_of(table, schema, test=0.25).train.view(slice(0, 4))


def schema_of(chance: random.Random) -> Schema:
    kinds: dict[str, Any] = {
        "a": chance.choice(
            (Text("a"), Tabular("a"), Tabular("a", categorical="a"), *[Series("a"), Vector("a")] * 3)
        ),
        "b": Tabular(["b", "c"]),
    }
    named = {role: chance.choice((None, None, "id", "c")) for role in ("id", "group")}
    targets = {"c": chance.choice(("class", "number", "multilabel"))} if chance.random() < 0.4 else {}
    return Schema(kinds, targets=targets, **named, missing=chance.choice(((), ("NA", "-"))))


def json_text(chance: random.Random) -> str:
    """Return a value as JSON that usually no person would write."""
    sort = chance.randrange(7)
    if sort == 0:
        depth = chance.choice((5, 49, 60, 900, 1100, 100_000))
        return "[" * depth + "]" * chance.choice((depth, depth, 0))
    if sort == 1:
        return chance.choice(("", "-")) + "9" * chance.choice((19, 20, 400, 4299, 4301, 50_000))
    if sort == 2:
        return chance.choice(('"\\ud800"', '{"\\udc00": 1}', '["\\ud83d\\ude00"]', '"\\u0000"', '"\ufffe"'))
    if sort == 3:
        return chance.choice(("NaN", "-Infinity", "1e999", "-0", "0e0", "1E400", "true", "null"))
    if sort == 4:
        return json.dumps([chance.choice((0, 1.5, None, "x", [1], {})) for _ in range(chance.randrange(6))])
    if sort == 5:
        return json.dumps(mutations.value(chance), default=str, skipkeys=True)
    return json.dumps(chance.choice((1, 2.5, "some words", [1.0, 2.0, 3.0])))


def json_lines(chance: random.Random, folder: Path) -> None:
    share = chance.choice((0.01, 0.02, 0.1, 0.5))
    lines = []
    for row in range(ROWS):
        cells = {"a": "[1.0, 2.0]", "b": str(row * 1.5), "c": str(row % 3), "id": str(row)}
        parts = [
            f'"{name}": {json_text(chance) if chance.random() < share else cell}'
            for name, cell in cells.items()
        ]
        if chance.random() < share / 4:
            parts.append(chance.choice(('"\\ud800"', '""', '"a"', '"b.c"')) + ": 1")
        lines.append("{" + ", ".join(parts) + "}")
    text = "\n".join(lines)
    if chance.random() < 0.2:
        text = mutations.text_of(chance, text)
    path = folder / "t.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    use(path, schema_of(chance))


def words(chance: random.Random, folder: Path) -> None:
    """CSV whose words are easily mistaken for something else, such as numbers or missing values."""
    separator = chance.choice((",", ";", "\t"))
    columns = {
        name: [chance.choice(chance.choice(([str(row)], WORDS))) for row in range(ROWS)]
        for name in ("id", "a", "b", "c")
    }
    path = folder / "t.csv"
    pd.DataFrame(columns).to_csv(path, index=False, sep=separator)
    if chance.random() < 0.3:
        text = mutations.text_of(chance, path.read_text())
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    use(path, schema_of(chance))


def packed(chance: random.Random, folder: Path) -> None:
    """Compressed text that is damaged, or much larger once unpacked."""
    ending = chance.choice((".csv", ".tsv", ".jsonl"))
    head, line = {
        ".csv": ("a,b,c,id\n", "1,2,3,4\n"),
        ".tsv": ("a\tb\tc\tid\n", "1\t2\t3\t4\n"),
        ".jsonl": ("", '{"a": 1, "b": 2, "c": 3, "id": 4}\n'),
    }[ending]
    content = head.encode() + line.encode() * chance.choice((9, 9, 9, 900, 90_000))
    if chance.random() < 0.01:
        content = bomb()
    else:
        content = gzip.compress(content, 1, mtime=0)
    if chance.random() < 0.7:
        content = mutations.bytes_of(chance, content)
    path = folder / f"t{ending}.gz"
    path.write_bytes(content)
    use(path, schema_of(chance))


@cache
def bomb() -> bytes:
    """Return 1 MB of gzip that unpacks to 1 GiB."""
    out = io.BytesIO()
    with gzip.open(out, "wb", 9) as file:
        file.write(b"a,b,c,id\n")
        for _ in range(1024):
            file.write(b"1,2,3,4\n" * 131_072)
    return out.getvalue()


def npy(chance: random.Random) -> bytes:
    out = io.BytesIO()
    if chance.random() < 0.4:
        np.save(out, np.arange(4.0) if chance.random() < 0.8 else np.array([{}], dtype=object))
        return out.getvalue()
    sizes = (0, 1, -1, 3, 10**5, 2**31, 10**12, 2**62)
    shape = tuple(chance.choice(sizes) for _ in range(chance.randrange(4)))
    descr = chance.choice(("<f8", "|O", "<U9999999", "<c16", "<M8[ns]", "|V7"))
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue() + bytes(64)


def tars(chance: random.Random, folder: Path) -> None:
    path, share = folder / "t.tar", chance.choice((0.0, 0.02, 0.2))
    with tarfile.open(path, "w", format=chance.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))) as tar:
        for row in range(ROWS):
            hostile = chance.random() < share
            cells = {
                "a.npy": npy(chance) if hostile else npy(random.Random("good 2")),
                "b.cls": mutations.bytes_of(chance, b"7") if hostile else b"7",
                "c.txt": mutations.bytes_of(chance, b"word") if hostile else b"word",
                "d.json": f'{{"x": {json_text(chance) if hostile else 1}}}'.encode("utf-8", "surrogatepass"),
            }
            for ending, content in cells.items():
                name = f"{row}.{ending}"
                if chance.random() < 0.01:
                    name = chance.choice(("\udcff.txt", "x" * 300, ".", "../../x.txt", "a/b.c.d", "0.json.x"))
                member = tarfile.TarInfo(name)
                member.size = len(content)
                if chance.random() < 0.01:
                    member.type = chance.choice(
                        (tarfile.GNUTYPE_SPARSE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
                    )
                    member.linkname = "/etc/passwd"
                tar.addfile(member, io.BytesIO(content))
    if chance.random() < 0.3:
        path.write_bytes(mutations.bytes_of(chance, path.read_bytes()))
    schema = Schema({"v": Vector("a.npy"), "t": Text("c.txt")}, targets={"d.json.x": "class"}, id="key")
    use(path, schema)


def arrow(chance: random.Random) -> pa.Array:
    """Return a column of any Parquet type, with extreme values and gaps."""
    numbers = [chance.choice((*NUMBERS, None, None)) for _ in range(ROWS)]
    kind = chance.choice(
        (pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(),
         pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.time64("us"), pa.timestamp("s"),
         pa.timestamp("us", "Europe/Berlin"), pa.timestamp("ns", "Nowhere/Else"), pa.duration("s"),
         pa.decimal128(38, 2), pa.string(), pa.large_string(), pa.binary(), pa.null())
    )  # fmt: skip
    if pa.types.is_null(kind):
        return pa.nulls(ROWS)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array = pa.array([None if one is None else chance.choice(WORDS) for one in numbers], kind)
    elif pa.types.is_binary(kind):
        array = pa.array([None if one is None else b"\xff\x00" for one in numbers])
    elif pa.types.is_decimal(kind):
        array = pa.array([None if one is None else one % 1000 for one in numbers]).cast(kind)
    elif pa.types.is_float16(kind):
        array = pa.array([None if one is None else np.float16(one % 100) for one in numbers], kind)
    elif pa.types.is_boolean(kind):
        array = pa.array([None if one is None else one > 0 for one in numbers])
    else:
        width = 32 if pa.types.is_date32(kind) or pa.types.is_time32(kind) else 64
        half = 2 ** (width - 1)
        limited = [None if one is None else (one + half) % (2 * half) - half for one in numbers]
        array = pa.array(limited, pa.int32() if width == 32 else pa.int64()).cast(kind, safe=False)
    if chance.random() < 0.25:
        offsets = np.arange(ROWS + 1, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), array)
    if chance.random() < 0.1:
        return pa.StructArray.from_arrays([array], ["x"])
    return array.dictionary_encode() if chance.random() < 0.1 else array


def parquets(chance: random.Random, folder: Path) -> None:
    good = {"a": pa.array([[1.0, 2.0]] * ROWS), "b": pa.array(np.arange(ROWS) / 3), "c": pa.array([1, 2] * 6)}
    columns = {name: arrow(chance) if chance.random() < 0.5 else column for name, column in good.items()}
    columns["id"] = pa.array(range(ROWS))
    if chance.random() < 0.2:
        columns["unused"] = arrow(chance)
    path = folder / "t.parquet"
    try:
        pq.write_table(
            pa.table(columns),
            path,
            row_group_size=chance.choice((3, 5, ROWS)),
            write_statistics=chance.random() < 0.8,
        )
    except pa.ArrowException:  # a file that cannot be written cannot be sent either
        return
    if chance.random() < 0.3:
        path.write_bytes(mutations.bytes_of(chance, path.read_bytes()))
    schema = schema_of(chance)
    if chance.random() < 0.2:
        streamed_dataset(str(path), schema, rows=6, test=0.25).train.view(np.arange(4))
    use(path, schema)


def hdf5(chance: random.Random, folder: Path) -> None:
    path = folder / "x.h5"
    np.ones(4).tofile(folder / "other.bin")
    with h5py.File(path, "w") as file:
        for place in range(3):
            name, sort = f"x{place}", chance.randrange(9)
            if sort == 0:
                file[name] = h5py.Empty(chance.choice(("f8", "S3", "i1")))
            elif sort == 1:
                file.create_dataset(name, (4,), "f8", external=[(str(folder / "other.bin"), 0, 32)])
            elif sort == 2:
                layout = h5py.VirtualLayout((4,), "f8")
                layout[:] = h5py.VirtualSource(chance.choice((str(path), "/dev/zero", ".")), "x1", (4,))
                file.create_virtual_dataset(name, layout)
            elif sort == 3:
                file[name] = h5py.ExternalLink(str(path), "x0")
            elif sort == 4:
                shape = chance.choice(((1 << 40,), (10**6, 10**6), (0, 10**9), (1 << 28,)))
                file.create_dataset(name, shape, "f8", chunks=True, compression="gzip")
            elif sort == 5:
                file[name] = np.zeros(3, dtype=[("a", "f8"), ("b", "S3")])
            elif sort == 6:
                file.create_group(name)
            else:
                file.create_dataset(name, data=np.arange(1000.0), compression="gzip")
    if chance.random() < 0.6:
        path.write_bytes(mutations.bytes_of(chance, path.read_bytes()))
    read_hdf5(path)


def no_files(chance: random.Random, folder: Path) -> None:
    """Pipes, sockets, devices, folders and circular or dangling links where a file is expected."""
    sort = chance.choice(("pipe", "socket", "/dev/zero", "/dev/full", "/dev/tty", "folder", "circle", "gone"))
    path = folder / "x"
    if sort == "pipe":
        os.mkfifo(path)
    elif sort == "socket":
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket must be short
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind("x")
        finally:
            os.chdir(here)
    elif sort == "folder":
        path.mkdir()
    else:
        os.symlink({"circle": "x", "gone": "nowhere"}.get(sort, sort), path)
    which = chance.randrange(10)
    if which == 0:
        for ending in (".csv", ".jsonl", ".parquet", ".tar", ".csv.gz"):
            os.symlink(path, folder / f"t{ending}")
        read_table(folder / f"t{chance.choice(('.csv', '.jsonl', '.parquet', '.tar', '.csv.gz'))}")
    elif which == 1:
        os.symlink(path, folder / "s.yaml")
        Schema.from_yaml(folder / "s.yaml")
    elif which == 2:
        chance.choice((read_pickle, read_hdf5, open_shard, read_checkpoint, read_converted))(path)
    elif which == 3:
        os.symlink(path, folder / "x.npy")
        table = read_table(pd.DataFrame({"a": ["x.npy"] * ROWS, "b": range(ROWS)}))
        dataset_of(type(table)(table.frame, folder), Schema({"a": Vector("a"), "b": Tabular("b")}), test=0.25)
    else:
        origin = folders()[which % 2]
        here_too = shutil.copytree(origin, folder / "model")
        name = chance.choice([one.relative_to(origin) for one in sorted(origin.rglob("*")) if one.is_file()])
        (here_too / name).unlink()
        os.symlink(path, here_too / name)
        load(here_too).records(frame())


@cache
def tuned() -> tuple[Path, Path, Dataset]:
    """Return a run with labels, the run fine-tuned from it, and their data; made once."""
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    noise = np.random.default_rng(0)
    rows = pd.DataFrame({"a": noise.random(24), "v": list(noise.random((24, 3))), "y": ["n", "y"] * 12})
    schema = Schema({"table": Tabular("a"), "vector": Vector("v")}, targets={"y": "class"})
    settings = {
        "name": "small",
        "data": {"name": "table", "table": "", "schema": schema.to_mapping()},
        "method": "clip",
        "model": {"width": 8},
        "training": {"epochs": 2, "batch_size": 8, "diagnose": 0},
    }
    data = dataset_of(read_table(rows), schema)
    run, out = Path(folder.name) / "run", Path(folder.name) / "out"
    train(experiment_from(settings), run, data)
    finetune(run, FineTuning("y", epochs=2), out, data)
    return run, out, data


_FOLDERS: list[tempfile.TemporaryDirectory] = []


def states(chance: random.Random, folder: Path) -> None:
    """Resume training or fine-tuning from a state that somebody changed, with a matching checksum."""
    run, out, data = tuned()
    tuning = chance.random() < 0.5
    here = shutil.copytree(out if tuning else run, folder / "here")
    last = here / "checkpoints" / "last.ckpt"
    state = read_checkpoint(last)
    state |= {"step": chance.choice((1, 2, state["step"])), **({"finished": False} if tuning else {})}
    for path in last.parent.glob("*.ckpt"):
        path.unlink()
    write_checkpoint(last.parent, changed(chance, state))
    if chance.random() < 0.2:
        spoil(chance, chance.choice([path for path in sorted(here.glob("*")) if path.is_file()]))
    if tuning:
        finetune(run, FineTuning("y", epochs=2), here, data, resume=True)
    else:
        train(load(run).experiment, here, data, resume=True)


def changed(chance: random.Random, tree: Any) -> Any:
    """Return the state with one value or tensor replaced, reshaped or left out."""
    if isinstance(tree, torch.Tensor) and chance.random() < 0.7:
        shape = [chance.choice((0, 1, 3, 8)) for _ in range(chance.randrange(4))]
        return chance.choice(
            (torch.zeros(shape), tree.to(torch.int8), tree.reshape(-1), torch.full_like(tree, float("nan")))
        )
    if not isinstance(tree, dict | list) or not tree or chance.random() < 0.05:
        return chance.choice((None, 0, -1, 2**40, 1.5, float("nan"), "x", [], {}, [1], {"a": 1}, True, b"x"))
    key = chance.choice(list(tree if isinstance(tree, dict) else range(len(tree))))
    entries = tree if isinstance(tree, dict) else dict(enumerate(tree))
    remaining = {name: changed(chance, one) if name == key else one for name, one in entries.items()}
    if chance.random() < 0.1:
        del remaining[key]
    return remaining if isinstance(tree, dict) else list(remaining.values())


STRANGE = [
    *("[" * 900 + "]" * 900, '{"a": ' * 60 + "1" + "}" * 60, "[" * 100_000),
    *('{"a": ' + "9" * 5000 + "}", '{"\\ud800": "\\udfff"}', "[]", "3", "null", '{"step": 1}', ""),
]
SIZES = (-1, 0, 1, 2, 63, 10**4, 10**5, 10**6, 10**9, 10**12, 2**63, "9" * 5000)


def spoil_more(chance: random.Random, path: Path) -> None:
    """Damage a file as `spoil` does, or replace it with strange JSON, or change sizes that it states."""
    sort = chance.random()
    if path.suffix == ".json" and sort < 0.15:
        path.write_text(chance.choice(STRANGE))
    elif path.suffix in (".json", ".yaml") and sort < 0.7:
        values = resized(chance, yaml.safe_load(path.read_text()))
        path.write_text(json.dumps(values, default=str))
    else:
        spoil(chance, path)


def resized(chance: random.Random, tree: Any) -> Any:
    """Return the values with one number replaced, if a random path ends at one, or with a model resized."""
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        return chance.choice(SIZES)
    if not isinstance(tree, dict | list) or not tree:
        return tree
    entries = tree if isinstance(tree, dict) else dict(enumerate(tree))
    key = chance.choice(list(entries))
    made = {name: resized(chance, one) if name == key else one for name, one in entries.items()}
    if key in ("model", "encoders", "method") and chance.random() < 0.5:
        made[key] = chance.choice(
            (
                {"encoders": {"vector": {"name": "mlp", "layers": chance.choice(SIZES), "hidden": 8}}},
                {"vector": {"name": "mlp", "layers": 4, "hidden": chance.choice(SIZES)}},
                {"fusion": {"name": "attention", "layers": chance.choice(SIZES)}},
                {"width": chance.choice(SIZES)},
            )
        )
    return made if isinstance(tree, dict) else list(made.values())


def models(chance: random.Random, folder: Path) -> None:
    origin = folders()[chance.randrange(2)]
    here = shutil.copytree(origin, folder / "model")
    spoil_more(chance, chance.choice([path for path in sorted(here.rglob("*")) if path.is_file()]))
    if (here / "config.json").exists() and chance.random() < 0.9:
        fit_checksums(here)
    embed(load(here), frame())


def commands_on_models(chance: random.Random, folder: Path) -> None:
    """Run a command on a damaged run or artifact: it ends with exit code 0, 1 or 2, not with a traceback."""
    origin = folders()[chance.randrange(2)]
    here = shutil.copytree(origin, folder / "model")
    spoil_more(chance, chance.choice([path for path in sorted(here.rglob("*")) if path.is_file()]))
    if (here / "config.json").exists() and chance.random() < 0.8:
        fit_checksums(here)
    frame().to_parquet(folder / "t.parquet")
    table = str(folder / "t.parquet")
    words = chance.choice(
        (
            ["info", str(here)],
            ["export", str(here), "--out", str(folder / "exported")],
            ["embed", str(here), table, "-o", str(folder / "out.parquet")],
            ["embed", str(here), table, "-o", str(folder / "parts")],
            ["probe", str(here), "--target", "a", "--table", table],
            ["finetune", str(here), "--target", "a", "--out", str(folder / "tuned"), "--epochs", "1"],
        )
    )
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        try:
            code: Any = main(words)
        except SystemExit as left:
            code = left.code
    if code not in (0, 1, 2, None):
        raise AssertionError(f"{words} ended with {code!r}: {sink.getvalue()[-300:]}")


def fit_checksums(here: Path) -> None:
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError, RecursionError):
        config = json.loads((here / "config.json").read_text())
        names = [name for name in config["sha256"] if isinstance(name, str) and (here / name).is_file()]
        config["sha256"] = {name: hashlib.sha256((here / name).read_bytes()).hexdigest() for name in names}
        (here / "config.json").write_text(json.dumps(config))


SORTS = {
    "json lines": json_lines,
    "words": words,
    "packed": packed,
    "tars": tars,
    "parquets": parquets,
    "hdf5": hdf5,
    "no files": no_files,
    "states": states,
    "models": models,
    "models typed": commands_on_models,
}
