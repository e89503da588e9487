"""Hostile words: in schema files, recipes, settings and command lines."""

from __future__ import annotations

import contextlib
import io
import random
from pathlib import Path

import mutations
import yaml

from commlearn.cli import COMMANDS, main
from commlearn.config.configuration import read_experiment, recipes
from commlearn.tables.schema import Schema

SCHEMA = """\
version: 1
table: table.csv
modalities:
  poster: {kind: image, column: path, size: 32, outside: false}
  notes: {kind: text, column: note, max_length: 32}
  labs: {kind: tabular, columns: [hb, crp]}
  ecg: {kind: series, column: ecg, max_length: 64}
  sound: {kind: audio, column: sound, rate: 8000}
  vector: {kind: vector, column: vector}
targets: {ill: class, age: number}
id: id
group: patient
split: split
"""
OPTIONS = [
    "--help",
    "--json",
    "--quiet",
    "--method",
    "--training.epochs",
    "--seeds",
    "--split",
    "--modalities",
    "--target",
    "--",
]


def schemas(chance: random.Random, folder: Path) -> None:
    path = folder / "schema.yaml"
    if chance.random() < 0.5:
        path.write_bytes(mutations.text_of(chance, SCHEMA).encode("utf-8", "surrogatepass"))
        Schema.from_yaml(path).to_yaml()
    else:
        Schema.from_mapping(mutations.replaced(chance, yaml.safe_load(SCHEMA))).to_yaml()


def experiments(chance: random.Random, folder: Path) -> None:
    source = recipes()[chance.choice(sorted(recipes()))].read_text()
    path, overrides = folder / "recipe.yaml", {}
    sort = chance.random()
    if sort < 0.4:
        path.write_bytes(mutations.text_of(chance, source).encode("utf-8", "surrogatepass"))
    elif sort < 0.8:
        path.write_text(yaml.safe_dump(mutations.replaced(chance, yaml.safe_load(source))))
    else:
        path.write_text(source)
        keys = (
            "training.epochs",
            "training.batch_size",
            "model.width",
            "data.name",
            "method",
            "seed",
            "..",
            "",
        )
        overrides = {chance.choice(keys): mutations.value(chance) for _ in range(2)}
    read_experiment(path, overrides)


def commands(chance: random.Random, folder: Path) -> None:
    """Run random words as a command: exit code 0 or 2 (1 if a check found problems), never a traceback."""
    path = folder / "schema.yaml"
    path.write_bytes(mutations.text_of(chance, SCHEMA).encode("utf-8", "surrogatepass"))
    (folder / "table.csv").write_text(mutations.text_of(chance, "id,note,hb,crp\n1,a,1,2\n2,b,3,4\n"))
    typed = [*OPTIONS, *mutations.TOKENS, str(path), str(folder / "table.csv"), str(folder)]
    # neither commands that train nor commands that write next to their arguments
    safe = sorted(set(COMMANDS) - {"train", "compare", "tune", "calibrate", "synth", "finetune", "convert"})
    words = [chance.choice(safe), *(chance.choice(typed) for _ in range(chance.randrange(4)))]
    words = [word for word in words if word not in ("--out", "-o")]
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        try:
            code = main(words)
        except SystemExit as left:
            code = left.code
    if code not in (0, 1, 2, None):
        raise AssertionError(f"{words} ended with {code!r}: {sink.getvalue()[-300:]}")


SORTS = {"schemas": schemas, "recipes": experiments, "commands": commands}
