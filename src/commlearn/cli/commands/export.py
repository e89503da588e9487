"""`commlearn export`: a run as one folder to hand on."""

from __future__ import annotations

import argparse

from commlearn.cli.arguments import EXPORTED, Call, names
from commlearn.errors import ConfigurationError

HELP = "Export a run to one folder or to the hub: weights, settings, schema, preprocessing and a model card."
EXAMPLE = """\
The folder holds only JSON, safetensors and Markdown; commlearn.load reads it offline. On the Hugging Face
hub (commlearn[hf]) a model is private without --public, and has no hashes of rows without --with-rows.

Example:
  commlearn export runs/films films-model
  commlearn export runs/films films-model --onnx    # and onnx/SUBSET.onnx
  commlearn export runs/films films-model --onnx --subsets poster+plot,plot
  commlearn export runs/films hf://ana/films --license mit
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_folder", metavar="RUN", help=EXPORTED)
    add("folder", metavar="FOLDER", help="folder to create, or hf://user/name")
    about = "also write ONNX graphs: one per modality, and one of all of them"
    add("--onnx", action="store_true", help=about)
    about = "write graphs of these subsets instead: image+text,image"
    add("--subsets", type=names, metavar="NAMES", help=about)
    add("--without-rows", action="store_true", help="leave out the hashes of the rows that were trained on")
    add("--with-rows", action="store_true", help="on the hub: store these hashes as well")
    add("--public", action="store_true", help="on the hub: visible to everybody")
    add("--license", metavar="NAME", help="on the hub: licence of the weights, such as mit")
    add("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> list[Call]:
    _check(options)
    loaded = Call("cl.load", options.run_folder)
    graphs = Call("cl.export_onnx", loaded, f"{options.folder}/onnx", _subsets(options))
    return [_call(options), *([graphs] if options.onnx else [])]


def _call(options: argparse.Namespace) -> Call:
    from commlearn.storage.hub import on_hub

    if on_hub(options.folder):
        return Call(
            "cl.push_to_hub",
            options.run_folder,
            options.folder,
            private=False if options.public else None,
            rows=options.with_rows or None,
            license=options.license,
        )
    rows = False if options.without_rows else None
    return Call("cl.export", options.run_folder, options.folder, rows=rows)


def _subsets(options: argparse.Namespace) -> list[list[str]] | None:
    return [subset.split("+") for subset in options.subsets] if options.subsets else None


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, print_next, progress_printer
    from commlearn.storage.hub import on_hub

    _check(options)
    if on_hub(options.folder):
        _push(options)
        return
    folder = _call(options).made()
    if options.onnx:
        from commlearn.trained.artifact import load
        from commlearn.trained.onnx_export import export_onnx

        with progress_printer(options) as tell:
            tell("tracing")
            export_onnx(load(folder), folder / "onnx", _subsets(options))
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if options.json:
        print_json({"out": str(folder), "files": files})
    else:
        print(f"wrote {folder}: {', '.join(files)}")
    print_next(options, ("info", folder), ("embed", folder, "TABLE", "-o", "z.parquet"))


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not fit each other or where the model goes."""
    from commlearn.storage.hub import on_hub

    if options.subsets and not options.onnx:
        raise ConfigurationError("--subsets chooses ONNX graphs; add --onnx.")
    if on_hub(options.folder):
        if options.onnx or options.without_rows:
            raise ConfigurationError(
                "The hub stores no ONNX graphs, and hashes of rows only with --with-rows. Leave out --onnx "
                "and --without-rows, or export to a folder."
            )
    elif options.public or options.license or options.with_rows:
        raise ConfigurationError("--public, --license and --with-rows are for the hub: hf://user/name.")


def _push(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, print_next

    address = _call(options).made()
    rows = "" if options.with_rows else "; no hashes of rows"
    if options.json:
        print_json({"out": address, "public": options.public})
    else:
        sort = "public" if options.public else "private"
        print(f"stored {address}, {sort}: weights, settings, names of columns, words and scales{rows}")
    print_next(options, ("info", address), ("embed", address, "TABLE", "-o", "z.parquet"))
