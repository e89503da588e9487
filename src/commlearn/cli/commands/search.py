"""`commlearn search`: the records of a table that are most like a query, and why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from commlearn.cli.arguments import Call, add_modalities, add_run, given, names
from commlearn.errors import ConfigurationError

HELP = "Find the records of a table that are most like a row, a text or a picture, and say why."
EXAMPLE = """\
Searches by all modalities that the query has, or by those of --by, among the same modalities of the
table's records, or those of --modalities: a text can find posters. `above` is the share of random pairs of
records that are less similar. Vectors of the table are kept in RUN/search for the next search, and made
again when the table or the model has changed. Without a table, that of the training is searched.

Example:
  commlearn search runs/films films.csv --row 12
  commlearn search runs/films films.csv --id tt0111161 --by plot -k 5
  commlearn search runs/films films.csv --text "a boat" --modalities poster
  commlearn search runs/films films.csv --image boat.png --out like-boat.csv
"""
SHORT = 30  # characters of a record's content
SHOWN = 3  # most modalities for which a hint at their own scores is printed; `why` covers them all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_run(parser, "table to search")
    add("--row", type=int, metavar="N", help="find records like this row; the first is 0")
    add("--id", metavar="ID", help="find records like the row with this id")
    add("--text", metavar="WORDS", help="find records like this text")
    add("--image", metavar="FILE", help="find records like this picture")
    add("-k", type=int, default=10, metavar="N", help="number of records; default: 10")
    add("--by", type=names, metavar="NAMES", help="modalities of the query to use")
    add_modalities(parser, "compare with")
    add("--index", metavar="FOLDER", help="folder for vectors; default: RUN/search, or none for an export")
    add("--approximate", action="store_true", help="search through lists of faiss (an extra)")
    add("--out", "-o", metavar="FILE", help="write the records to a .csv or .parquet file")
    add("--json", action="store_true", help="print the records as JSON")


def python(options: argparse.Namespace) -> tuple[Call, str]:
    query = given(options, "row", "id", "text", "image")
    cells = {name: value for name, value in query.items() if name in ("text", "image")}
    if not query or len(query) - len(cells) > (0 if cells else 1):
        raise ConfigurationError(
            "Give what to search for: --row or --id, or --text, --image or both of these."
        )
    call = Call(
        "cl.similar",
        Call("cl.load", options.run_folder),
        options.table,
        cells or next(iter(query.values())),
        **given(options, "k", "modalities", "by", "index", "approximate"),
        assign="hits",
    )
    return call, "print(hits)"


def run(options: argparse.Namespace) -> None:
    import json

    from commlearn.cli.output import print_json, progress_printer

    if options.out and Path(options.out).suffix not in (".csv", ".parquet"):
        raise ConfigurationError(f"--out is {options.out}; give a file that ends in .csv or .parquet.")
    call, _ = python(options)
    if options.out:
        _check_out(Path(options.out))
    with progress_printer(options) as tell:
        hits = call.made(tell=tell)
    if options.out:
        _write(hits, Path(options.out))
    print_json(json.loads(hits.to_json(orient="records"))) if options.json else _print(hits, options)


def _check_out(path: Path) -> None:
    """Refuse a file that cannot be written, or that somebody else wrote, before the table is embedded."""
    if not path.parent.is_dir():
        raise ConfigurationError(f"--out {path}: there is no folder {path.parent}. Make it first.")
    if path.exists() and not _holds_hits(path):
        raise ConfigurationError(
            f"{path} exists and does not hold records that a search found. Give another --out, or move it "
            "away."
        )


def _holds_hits(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path).names[:2] == ["rank", "row"]
        with path.open(encoding="utf-8") as file:
            return file.readline().startswith("rank,row,")
    except (OSError, ValueError, pa.ArrowException):
        return False


def _write(hits: Any, path: Path) -> None:
    from commlearn.escapes import spreadsheet_text
    from commlearn.storage.locks import atomic_file

    with atomic_file(path) as file:
        if path.suffix == ".parquet":
            hits.to_parquet(file.name, index=False)
        else:
            hits.map(spreadsheet_text).to_csv(file.name, index=False)


def _print(hits: Any, options: argparse.Namespace) -> None:
    """Print a table for people: which record, how alike, what it holds and why."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from commlearn.cli.output import print_next
    from commlearn.escapes import one_line, terminal_stream
    from commlearn.storage.hub import on_hub

    if not len(hits):
        print("No other record has these modalities.")
        return
    modalities = [name.removeprefix("above_") for name in hits if name.startswith("above_")]
    columns = ["row", *(name for name in ("id", "group") if name in hits), "score"]
    table = Table(box=None, pad_edge=False)
    for title in ("", *columns):  # the first one is the rank
        table.add_column(title, justify="left" if title in ("id", "group") else "right", no_wrap=True)
    table.add_column("above", justify="right", no_wrap=True)
    table.add_column("record")
    table.add_column("why")
    for hit in hits.to_dict("records"):
        values = [hit[name] for name in ("rank", *columns)]
        cells = [f"{value:.3f}" if isinstance(value, float) else str(value)[:20] for value in values]
        above = "-" if hit["above"] != hit["above"] else f"{100 * hit['above']:.1f} %"
        record = hit["record"] if len(hit["record"]) <= SHORT else hit["record"][: SHORT - 1] + "…"
        table.add_row(*(escape(one_line(cell)) for cell in (*cells, above, record, hit["why"])))
    width = max(80, get_terminal_size((80, 24)).columns)
    console = Console(file=terminal_stream(sys.stdout), highlight=False, width=width)
    console.print(table)
    if options.out:
        print(f"wrote {options.out}")
    if 1 < len(modalities) <= SHOWN:
        print(f"For each modality's own score (score_{modalities[0]} and so on), use --json or --out.")
    searched = [options.run_folder, options.table] if options.table else [options.run_folder]
    # a model on the hub has neither a table nor a folder for its report
    reported = [*searched, "--out", "report"] if on_hub(options.run_folder) else [options.run_folder]
    print_next(options, ("search", *searched, "--row", hits["row"].iloc[0]), ("report", *reported))
