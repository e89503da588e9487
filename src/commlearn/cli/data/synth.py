"""`commlearn synth`: data with known answers, as files and pictures."""

from __future__ import annotations

import argparse
from typing import Any

from commlearn.cli.python_code import Call, program

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="WHAT", help="trifeature, tables, or a published data set: " + ", ".join(PUBLISHED)
    )
    parser.add_argument("--gallery", metavar="PNG", help="write a picture of every shape, texture and colour")
    parser.add_argument(
        "--out",
        "-o",
        metavar="PATH",
        help="trifeature: .npz of images, pairs and targets; tables: folder; published: the published form",
    )
    parser.add_argument("--size", type=int, help="pixels per side; default: 224, for tables 32")
    parser.add_argument("--rows", type=int, default=1000, help="number of records; default: 1000")
    parser.add_argument(
        "--label",
        default="shared",
        help="what a published data set's label depends on: shared, unique_MODALITY, synergy or chance",
    )
    parser.add_argument("--missing", type=float, default=0.0, help="share of a table's modalities left empty")
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv", help="format of a table")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn; default: 0")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def python(options: argparse.Namespace) -> str:
    if options.what in PUBLISHED:
        return program(_stand_in(options))
    if options.what == "tables":
        table = _synthetic_table(options)
        return program(*table.imports(), "", f"{table}.write({options.out!r})")
    source = _trifeature(options)
    return program(*source.imports(), "", f"data = {source}.read()")


def _stand_in(options: argparse.Namespace) -> Call:
    arguments = (options.what, options.out, options.rows, options.seed, options.label)
    return Call("commlearn.datasets.synthetic_published:write_stand_in", *arguments, assign="path")


def _synthetic_table(options: argparse.Namespace) -> Call:
    size = 32 if options.size is None else options.size
    arguments = (options.rows, options.seed, options.missing, size, options.format)
    return Call("commlearn.datasets.synthetic_tables:SyntheticTable", *arguments)


def _trifeature(options: argparse.Namespace) -> Call:
    size = 224 if options.size is None else options.size
    return Call("commlearn.datasets.trifeature:Trifeature", size=size, seed=options.seed)


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, print_next
    from commlearn.errors import ConfigurationError, unknown

    choices = ("trifeature", "tables", *PUBLISHED)
    if options.what not in choices:
        raise ConfigurationError(unknown("data set", options.what, choices))
    _refuse_overwriting(options)
    written = _write(options)
    print_json(written) if options.json else print("\n".join(f"wrote {path}" for path in written.values()))
    if options.what == "tables":
        print_next(options, ("check", written["table"], "--schema", written["schema"]))
    elif options.what in PUBLISHED:
        print_next(options, ("train", options.what, "--data", written["out"]))
    return 0


def _refuse_overwriting(options: argparse.Namespace) -> None:
    """Refuse to overwrite files unless asked to."""
    from pathlib import Path

    from commlearn.errors import ConfigurationError

    for name in filter(None, (options.out, options.gallery)):
        path = Path(name)
        exists = any(path.iterdir()) if path.is_dir() else path.exists()
        if exists and not options.overwrite:
            raise ConfigurationError(f"{path} already exists. Choose another, or add --overwrite.")


def _write(options: argparse.Namespace) -> dict[str, str]:
    """Write the data and return the paths, by what they hold."""
    from commlearn.errors import ConfigurationError

    if options.what in PUBLISHED:
        return _published(options)
    if options.what == "tables":
        return _table(options)
    options.size = 224 if options.size is None else options.size
    if not (options.gallery or options.out):
        raise ConfigurationError("Nothing to write: give --gallery FILE.png, --out FILE.npz or both.")
    written = {}
    if options.gallery:
        written["gallery"] = _gallery(options)
    if options.out:
        written["out"] = _records(options)
    return written


def _published(options: argparse.Namespace) -> dict[str, str]:
    _need_out(options, "PATH")
    return {"out": str(_stand_in(options).made())}


def _table(options: argparse.Namespace) -> dict[str, str]:
    _need_out(options, "FOLDER")
    path = _synthetic_table(options).made().write(options.out)
    return {"table": str(path), "schema": str(path.with_name("schema.yaml"))}


def _need_out(options: argparse.Namespace, placeholder: str) -> None:
    from commlearn.errors import ConfigurationError

    if not options.out:
        raise ConfigurationError(f"Nothing to write: give --out {placeholder}.")


def _gallery(options: argparse.Namespace) -> str:
    import io
    from pathlib import Path

    from PIL import Image

    from commlearn.datasets.trifeature_render import gallery
    from commlearn.storage.checkpoint import write_atomically

    content = io.BytesIO()
    Image.fromarray(gallery(min(options.size, 128), options.seed)).save(content, "PNG")
    write_atomically(Path(options.gallery), content.getvalue())
    return options.gallery


def _records(options: argparse.Namespace) -> str:
    import io
    from pathlib import Path

    import numpy as np

    from commlearn.storage.checkpoint import write_atomically

    data = _trifeature(options).made().read()
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
