"""Hostile models: damaged artifacts, run folders and checkpoints, with wrong or corrected checksums."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

import mutations
import numpy as np
import pandas as pd
import torch
import yaml

from commlearn.config.configuration import experiment_from
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.vector import Vector
from commlearn.storage.checkpoint import MAGIC, read_checkpoint, write_checkpoint
from commlearn.tables.dataset import dataset_of
from commlearn.tables.schema import Schema
from commlearn.tables.table import read_table
from commlearn.trained.artifact import export, load
from commlearn.trained.embed import embed
from commlearn.training.train import train


def frame() -> pd.DataFrame:
    noise = np.random.default_rng(0)
    vectors = list(noise.random((24, 3)).round(3))
    return pd.DataFrame({"a": noise.random(24), "b": noise.random(24), "v": vectors})


@cache
def folders() -> tuple[Path, Path]:
    """Return a run and its artifact, made once."""
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    schema = Schema({"table": Tabular(["a", "b"]), "vector": Vector("v")})
    experiment = experiment_from(
        {
            "name": "small",
            "data": {"name": "table", "table": "", "schema": schema.to_mapping()},
            "method": "clip",  # its files are small
            "model": {"width": 8},
            "training": {"epochs": 1, "batch_size": 8},
        }
    )
    run = Path(folder.name) / "run"
    train(experiment, run, dataset_of(read_table(frame()), schema))
    return run, export(run, Path(folder.name) / "artifact")


_FOLDERS: list[tempfile.TemporaryDirectory] = []


def spoil(chance: random.Random, path: Path) -> None:
    """Damage bytes of a file, or replace one value in JSON or YAML, so that the file can still be parsed."""
    content = path.read_bytes()
    if path.suffix == ".json" and chance.random() < 0.6:
        values = mutations.replaced(chance, json.loads(content))
        path.write_text(json.dumps(values, default=str, skipkeys=True))
    elif path.suffix == ".yaml" and chance.random() < 0.6:
        path.write_text(yaml.safe_dump(mutations.replaced(chance, yaml.safe_load(content))))
    else:
        path.write_bytes(mutations.bytes_of(chance, content))


def artifacts(chance: random.Random, folder: Path) -> None:
    here = shutil.copytree(folders()[1], folder / "artifact")
    spoil(chance, chance.choice(sorted(here.glob("*"))))
    if chance.random() < 0.7:  # a hostile sender would send matching checksums
        try:
            config = json.loads((here / "config.json").read_text())
            names = [name for name in config["sha256"] if isinstance(name, str) and (here / name).is_file()]
            sums = {name: hashlib.sha256((here / name).read_bytes()).hexdigest() for name in names}
            config["sha256"] = sums
            (here / "config.json").write_text(json.dumps(config))
        except (ValueError, KeyError, TypeError, OSError):
            pass
    embed(load(here), frame())


def runs(chance: random.Random, folder: Path) -> None:
    here = shutil.copytree(folders()[0], folder / "run")
    spoil(chance, chance.choice([path for path in sorted(here.rglob("*")) if path.is_file()]))
    embed(load(here), frame())


def checkpoints(chance: random.Random, folder: Path) -> None:
    """Damaged checkpoints, and hostile payloads with the right checksum, which are read only as data."""
    path = write_checkpoint(folder, {"step": 1, "method": {"w": torch.ones(3)}, "told": "text"})
    content = path.read_bytes()
    head = len(MAGIC) + 65
    sort = chance.random()
    if sort < 0.4:
        path.write_bytes(mutations.bytes_of(chance, content))
    else:
        out = io.BytesIO()
        torch.save(chance.choice((object, print, len, {"step": mutations.value(chance)}, [1], 2)), out)
        inner = mutations.bytes_of(chance, content[head:]) if sort < 0.8 else out.getvalue()
        path.write_bytes(MAGIC + hashlib.sha256(inner).hexdigest().encode() + b"\n" + inner)
    read_checkpoint(path)


SORTS = {"artifacts": artifacts, "runs": runs, "checkpoints": checkpoints}
