"""Pickles that do harm when the standard library reads them do none wherever commlearn reads files."""

from __future__ import annotations

import bz2
import cProfile
import functools
import gzip
import hashlib
import io
import json
import logging
import lzma
import operator
import os
import pickle
import runpy
import shutil
import subprocess
import sys
import tarfile
import timeit
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hostile_models import folders

from commlearn.datasets.converted import read_converted, write_converted
from commlearn.errors import CommlearnError
from commlearn.kinds.vector import Vector
from commlearn.storage.checkpoint import MAGIC, read_checkpoint
from commlearn.storage.pickles import read_pickle
from commlearn.tables.dataset import dataset_of
from commlearn.tables.schema import Schema
from commlearn.tables.table import Table
from commlearn.trained.artifact import load
from commlearn.training.kept_tokens import open_shard

OPENED = "open({!r}, 'w').close()"


class Harm:
    """Object that is pickled as a call."""

    def __init__(self, call: Callable[..., object], *values: object) -> None:
        self.call, self.values = call, values

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.values


def harms(flag: str) -> dict[str, Harm]:
    """Return calls that create the file `flag`, by name."""
    shell, code, path = f"touch {flag}", OPENED.format(flag), Path(flag)
    return {
        "os.system": Harm(os.system, shell),
        "os.popen": Harm(os.popen, f"{shell}; echo"),
        "os.mkdir": Harm(os.mkdir, flag),
        "os.open": Harm(os.open, flag, os.O_CREAT),
        "os.spawnlp": Harm(os.spawnlp, os.P_WAIT, "touch", "touch", flag),
        "subprocess.run": Harm(subprocess.run, ["touch", flag]),
        "subprocess.check_output": Harm(subprocess.check_output, ["touch", flag]),
        "eval": Harm(eval, code),
        "exec": Harm(exec, code),
        "open": Harm(open, flag, "w"),
        "io.FileIO": Harm(io.FileIO, flag, "w"),
        "getattr": Harm(path.touch),  # a bound method is pickled as a look-up by name
        "map": Harm(list, map(os.mkdir, [flag])),
        "operator.call": Harm(operator.call, os.mkdir, flag),
        "functools.reduce": Harm(functools.reduce, os.mkdir, [flag, 0o755]),
        "timeit.timeit": Harm(timeit.timeit, code, "pass", timeit.default_timer, 1),
        "cProfile.run": Harm(cProfile.run, code, os.devnull),
        "runpy.run_path": Harm(runpy.run_path, f"{flag}.py"),
        "shutil.copyfile": Harm(shutil.copyfile, __file__, flag),
        "logging.FileHandler": Harm(logging.FileHandler, flag),
        "zipfile.ZipFile": Harm(zipfile.ZipFile, flag, "w"),
        "tarfile.open": Harm(tarfile.open, flag, "w"),
        "gzip.open": Harm(gzip.open, flag, "w"),
        "bz2.open": Harm(bz2.open, flag, "w"),
        "lzma.open": Harm(lzma.open, flag, "w"),
        "pickle.loads": Harm(pickle.loads, pickle.dumps(Harm(os.mkdir, flag))),
        "numpy.memmap": Harm(np.memmap, flag, "uint8", "w+", 0, (1,)),
        "numpy.savetxt": Harm(np.savetxt, flag, [1.0]),
        "numpy.ndarray.tofile": Harm(np.ones(1).tofile, flag),
        "torch.save": Harm(torch.save, {}, flag),
    }


NAMES = list(harms("flag"))


@pytest.fixture
def flag(tmp_path) -> Path:
    (tmp_path / "flag.py").write_text(OPENED.format(str(tmp_path / "flag")))
    return tmp_path / "flag"


def harm(name: str, flag: Path) -> Harm:
    return harms(str(flag))[name]


def test_every_kind_does_harm_where_the_standard_library_reads_it(tmp_path):
    for name in NAMES:
        flag = tmp_path / name
        flag.with_name(f"{name}.py").write_text(OPENED.format(str(flag)))
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(harm(name, flag)))
    program = "import pathlib, pickle, sys\nfor path in pathlib.Path(sys.argv[1]).glob('*.pkl'):\n"
    program += "    pickle.loads(path.read_bytes())\n"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=300)
    assert [name for name in NAMES if not (tmp_path / name).exists()] == []
    assert len(NAMES) >= 20


def as_a_pickle(content: bytes, harm: Harm, folder: Path) -> None:
    (folder / "x.pkl").write_bytes(content)
    read_pickle(folder / "x.pkl")


def in_a_published_pickle(content: bytes, harm: Harm, folder: Path) -> None:
    (folder / "x.pkl").write_bytes(pickle.dumps({"train": {"x": np.array([harm], dtype=object)}}, 2))
    read_pickle(folder / "x.pkl")


def as_a_checkpoint(content: bytes, harm: Harm, folder: Path) -> None:
    digest = hashlib.sha256(content).hexdigest().encode()
    (folder / "x.ckpt").write_bytes(MAGIC + digest + b"\n" + content)
    read_checkpoint(folder / "x.ckpt")


def in_a_checkpoint(content: bytes, harm: Harm, folder: Path) -> None:
    out = io.BytesIO()
    torch.save({"step": 1, "method": harm}, out)
    as_a_checkpoint(out.getvalue(), harm, folder)


def in_an_array(content: bytes, harm: Harm, folder: Path) -> None:
    for place in range(4):
        np.save(folder / f"{place}.npy", np.array([harm], dtype=object), allow_pickle=True)
    frame = pd.DataFrame({"v": [f"{place}.npy" for place in range(4)]})
    dataset_of(Table(frame, folder), Schema({"v": Vector("v")}), test=0.25)


def as_an_array(content: bytes, harm: Harm, folder: Path) -> None:
    for place in range(4):
        (folder / f"{place}.npy").write_bytes(content)
    frame = pd.DataFrame({"v": [f"{place}.npy" for place in range(4)]})
    dataset_of(Table(frame, folder), Schema({"v": Vector("v")}), test=0.25)


def as_an_artifact(content: bytes, harm: Harm, folder: Path) -> None:
    """Load the content as an artifact's weights, with a matching checksum."""
    here = shutil.copytree(folders()[1], folder / "artifact")
    (here / "model.safetensors").write_bytes(content)
    config = json.loads((here / "config.json").read_text())
    config["sha256"]["model.safetensors"] = hashlib.sha256(content).hexdigest()
    (here / "config.json").write_text(json.dumps(config))
    load(here)


def as_token_states(content: bytes, harm: Harm, folder: Path) -> None:
    (folder / "x.tokens").write_bytes(content)
    open_shard(folder / "x.tokens")


def as_converted_data(content: bytes, harm: Harm, folder: Path) -> None:
    write_converted({"train": {"x": np.ones(3)}}, folder / "out")
    (folder / "out" / "arrays.safetensors").write_bytes(content)
    read_converted(folder / "out")


DOORS = (
    as_a_pickle,
    in_a_published_pickle,
    as_a_checkpoint,
    in_a_checkpoint,
    in_an_array,
    as_an_array,
    as_an_artifact,
    as_token_states,
    as_converted_data,
)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_no_kind_does_harm_at_any_door(door, flag, tmp_path):
    refused = 0
    for name in NAMES:
        folder = tmp_path / "case"
        folder.mkdir()
        made = harm(name, flag)
        with pytest.raises(CommlearnError):
            door(pickle.dumps(made), made, folder)
        refused += 1
        assert not flag.exists(), name
        shutil.rmtree(folder)
    print(f"{door.__name__}: {refused} kinds, 0 executed")
