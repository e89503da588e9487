"""`commlearn synth`: data with known answers, as files and pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from commlearn.cli.arguments import Call
from commlearn.errors import ConfigurationError, unknown

HELP = "Make data with known shared, unique and synergistic information."
EXAMPLE = """\
Example:
  commlearn synth trifeature --gallery shapes.png
  commlearn synth trifeature --size 64 --out trifeature.npz
  commlearn synth tables --out films --rows 1000 --missing 0.3
  commlearn synth mosi --rows 2000 --out mosi_raw.pkl
  commlearn synth mosi --rows 2000 --label synergy --out mosi_synergy.pkl
"""
PUBLISHED = ("hateful_memes", "mimic", "mm_imdb", "mosei", "mosi", "mustard", "ur_funny", "vision_touch")

OPTIONS = {"trifeature": ("gallery", "size"), "tables": ("rows", "size", "missing", "format")}
OPTIONAL = ("gallery", "size", "rows", "label", "missing", "format")  # which not all data have


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("what", metavar="WHAT", help="trifeature, tables, or a published data set: " + ", ".join(PUBLISHED))
    add("--gallery", metavar="PNG", help="write a picture of every shape, texture and colour")
    about = "trifeature: .npz of images, pairs and targets; tables: folder; published: the published form"
    add("--out", "-o", metavar="PATH", help=about)
    add("--size", type=int, help="pixels per side; default: 224, for tables 32")
    add("--rows", type=int, help="number of records; default: 1000")
    about = "what a published data set's label depends on: shared, unique_MODALITY, synergy or chance"
    add("--label", help=f"{about}; default: shared")
    add("--missing", type=float, help="share of a table's modalities left empty; default: 0")
    add("--format", choices=("csv", "parquet"), help="format of a table; default: csv")
    add("--seed", type=int, default=0, help="seed of all that is drawn; default: 0")
    add("--overwrite", action="store_true", help="replace existing files")
    add("--json", action="store_true", help="print what was written as JSON")


def python(options: argparse.Namespace) -> list[str]:
    _check(options)
    call = _call(options)
    if options.what in PUBLISHED:
        return [call]
    code = f"{call}.write({options.out!r})" if options.what == "tables" else f"data = {call}.read()"
    return [*call.imports(), "", code]


def _call(options: argparse.Namespace) -> Call:
    """Return the call that writes a published data set, or that makes what writes or reads another one."""
    rows = 1000 if options.rows is None else options.rows
    if options.what in PUBLISHED:
        label = "shared" if options.label is None else options.label
        values = (options.what, options.out, rows, options.seed, label)
        return Call("commlearn.datasets.synthetic_published:write_stand_in", *values, assign="path")
    if options.what == "tables":
        size = 32 if options.size is None else options.size
        values = (rows, options.seed, options.missing or 0.0, size, options.format or "csv")
        return Call("commlearn.datasets.synthetic_tables:SyntheticTable", *values)
    size = 224 if options.size is None else options.size
    return Call("commlearn.datasets.trifeature:Trifeature", size=size, seed=options.seed)


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, print_next

    _check(options)
    for path in map(Path, filter(None, (options.out, options.gallery))):
        exists = any(path.iterdir()) if path.is_dir() else path.exists()
        if exists and not options.overwrite:
            raise ConfigurationError(f"{path} already exists. Choose another, or add --overwrite.")
    written = _write(options)
    print_json(written) if options.json else print("\n".join(f"wrote {path}" for path in written.values()))
    if options.what == "tables":
        print_next(options, ("check", written["table"], "--schema", written["schema"]))
    elif options.what in PUBLISHED:
        print_next(options, ("train", options.what, "--data", written["out"]))


def _check(options: argparse.Namespace) -> None:
    choices = ("trifeature", "tables", *PUBLISHED)
    if options.what not in choices:
        raise ConfigurationError(unknown("data set", options.what, choices))
    allowed = OPTIONS.get(options.what, ("rows", "label"))
    stated = [name for name in OPTIONAL if getattr(options, name) is not None]
    if unused := [f"--{name}" for name in stated if name not in allowed]:
        listing = ", ".join(f"--{name}" for name in allowed)
        raise ConfigurationError(f"{options.what} has no {', '.join(unused)}; it takes {listing}.")
    if options.what != "trifeature" and not options.out:
        placeholder = "FOLDER" if options.what == "tables" else "PATH"
        raise ConfigurationError(f"Nothing to write: give --out {placeholder}.")
    if not (options.gallery or options.out):
        raise ConfigurationError("Nothing to write: give --gallery FILE.png, --out FILE.npz or both.")


def _write(options: argparse.Namespace) -> dict[str, str]:
    """Write the data and return the paths, by what they hold."""
    if options.what in PUBLISHED:
        return {"out": str(_call(options).made())}
    if options.what == "tables":
        path = _call(options).made().write(options.out)
        return {"table": str(path), "schema": str(path.with_name("schema.yaml"))}
    written = {}
    if options.gallery:
        written["gallery"] = _gallery(options)
    if options.out:
        written["out"] = _records(options)
    return written


def _gallery(options: argparse.Namespace) -> str:
    import io

    from PIL import Image

    from commlearn.datasets.trifeature_render import gallery
    from commlearn.storage.checkpoint import write_atomically

    content = io.BytesIO()
    size = 128 if options.size is None else min(options.size, 128)
    Image.fromarray(gallery(size, options.seed)).save(content, "PNG")
    write_atomically(Path(options.gallery), content.getvalue())
    return options.gallery


def _records(options: argparse.Namespace) -> str:
    import io

    import numpy as np

    from commlearn.storage.checkpoint import write_atomically

    data = _call(options).made().read()
    arrays: dict[str, Any] = {}
    for split, records in (("train", data.fit), ("test", data.test)):
        pictures: list[Any] = list(records.columns.values())
        arrays[f"{split}_images"] = pictures[0].images
        arrays[f"{split}_pairs"] = np.stack([column.index for column in pictures], axis=1)
        arrays |= {f"{split}_{name}": values for name, values in records.targets.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(Path(options.out), content.getvalue())
    return options.out
