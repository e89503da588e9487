"""`commlearn export`: a run as one folder to hand on."""

from __future__ import annotations

import argparse

from commlearn.cli.names import names
from commlearn.cli.python_code import Call, program
from commlearn.errors import ConfigurationError

HELP = "Export a run to one folder: weights, settings, schema, preprocessing and a model card."
EXAMPLE = """\
The folder holds JSON, safetensors and Markdown alone; commlearn.load reads it offline.

Example:
  commlearn export runs/films films-model
  commlearn export runs/films films-model --onnx    # and onnx/SUBSET.onnx
  commlearn export runs/films films-model --onnx --subsets poster+plot,plot
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training")
    parser.add_argument("folder", metavar="FOLDER", help="is made")
    parser.add_argument(
        "--onnx", action="store_true", help="also write ONNX graphs: each modality alone, and all of them"
    )
    parser.add_argument(
        "--subsets", type=names, metavar="NAMES", help="graphs of these instead: image+text,image"
    )
    parser.add_argument(
        "--without-rows", action="store_true", help="leave out the hashes of the rows that were trained on"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> str:
    loaded = Call("cl.load", options.run_folder)
    graphs = Call("cl.export_onnx", loaded, f"{options.folder}/onnx", _subsets(options))
    return program(_call(options), *([graphs] if options.onnx else []))


def _call(options: argparse.Namespace) -> Call:
    rows = False if options.without_rows else None
    return Call("cl.export", options.run_folder, options.folder, rows=rows)


def _subsets(options: argparse.Namespace) -> list[list[str]] | None:
    return [subset.split("+") for subset in options.subsets] if options.subsets else None


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, print_next, telling

    if options.subsets and not options.onnx:
        raise ConfigurationError("--subsets chooses ONNX graphs; add --onnx.")
    folder = _call(options).made()
    if options.onnx:
        from commlearn.trained.artifact import load
        from commlearn.trained.onnx_export import export_onnx

        with telling(options) as tell:
            tell("tracing")
            export_onnx(load(folder), folder / "onnx", _subsets(options))
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if options.json:
        print_json({"out": str(folder), "files": files})
    else:
        print(f"wrote {folder}: {', '.join(files)}")
    print_next(options, ("info", folder), ("embed", folder, "TABLE", "-o", "z.parquet"))
    return 0
