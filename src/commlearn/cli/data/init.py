"""`commlearn init`: a first schema for a table, with a reason for each guess."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from commlearn.cli.arguments import Call, Code, names
from commlearn.errors import ConfigurationError

HELP = "Guess a schema for a table and write it to a file, with a comment for each guess."
EXAMPLE = """\
Example:
  commlearn init films.csv --target genre
  commlearn init films.parquet -o films.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("table", metavar="TABLE", help="Parquet, tar, Feather, .xlsx, CSV, TSV, JSON lines; .zip")
    add("--out", "-o", metavar="YAML", default="schema.yaml", help="file to write; default: schema.yaml")
    add("--target", type=names, default=[], metavar="NAMES", help="columns to predict; comma-separated names")
    about = "encoding of text, such as cp1252; default: UTF-8, or guessed"
    add("--encoding", default="", metavar="NAME", help=about)
    add("--overwrite", action="store_true", help="replace an existing schema")
    add("--json", action="store_true", help="print the guesses as JSON")


def python(options: argparse.Namespace) -> list[str]:
    encoding = options.encoding or None
    reading = Call("Reading", encoding=encoding) if encoding else None
    mode, comment = ("w", "") if options.overwrite else ("x", "  # x: not in place of another file")
    text = Call("inferred.to_yaml", Path(options.table).name, _path_from(Path(options.out), options.table))
    return [
        "from pathlib import Path",
        *(["from commlearn.tables.formats.reading import Reading"] if encoding else []),
        "from commlearn.tables.table import read_table",
        "from commlearn.tables.infer import infer",
        "",
        Call("read_table", options.table, reading=reading, assign="table"),
        Call("infer", Code("table"), options.target, encoding, assign="inferred"),
        f"Path({options.out!r}).parent.mkdir(parents=True, exist_ok=True)",
        f"with open({options.out!r}, {mode!r}, encoding='utf-8') as file:{comment}",
        f"    file.write({text})",
    ]


def _path_from(out: Path, table: str) -> str:
    """Return the table's path as seen from the schema's folder; a URL stays as it is."""
    from commlearn.storage.places import is_remote

    if is_remote(table):
        return table
    return Path(os.path.relpath(Path(table).resolve(), out.parent.resolve())).as_posix()


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, print_next
    from commlearn.storage.checkpoint import write_atomically
    from commlearn.tables.formats.reading import Reading
    from commlearn.tables.infer import infer
    from commlearn.tables.table import iterate_table

    out = Path(options.out)
    if out.exists() and not options.overwrite:
        raise ConfigurationError(f"{out} already exists. Replace it with --overwrite, or choose another -o.")
    reading = Reading(encoding=options.encoding)
    table = next(iterate_table(options.table, 100_000, reading=reading))  # enough to tell what a column is
    inferred = infer(table, options.target, options.encoding)
    out.parent.mkdir(parents=True, exist_ok=True)
    text = inferred.to_yaml(Path(options.table).name, _path_from(out, options.table))
    write_atomically(out, text.encode())
    if options.json:
        guesses = [{"role": g.role, "name": g.name, "reason": g.reason} for g in inferred.guesses]
        print_json({"out": str(out), "schema": inferred.schema.to_mapping(), "guesses": guesses})
        return 0
    print(out.read_text(encoding="utf-8"), end="")
    print(f"\nwrote {out}")
    print_next(options, ("check", options.table, "--schema", out), ("train", out))
    return 0
