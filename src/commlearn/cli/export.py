"""`commlearn export`: a run as one folder to hand on."""

from __future__ import annotations

import argparse

from commlearn.cli.python_code import call, program

HELP = "Export a run to one folder: weights, settings, schema, preprocessing and a model card."
EXAMPLE = """\
The folder holds JSON, safetensors and Markdown alone; commlearn.load reads it offline.

Example:
  commlearn export runs/films films-model
  commlearn export runs/films films-model --onnx    # and onnx/SUBSET.onnx
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training")
    parser.add_argument("folder", metavar="FOLDER", help="is made")
    parser.add_argument(
        "--onnx", action="store_true", help="also write ONNX graphs: each modality alone, and all of them"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> str:
    lines = [call("cl.export", options.run_folder, options.folder)]
    if options.onnx:
        lines.append(f"cl.export_onnx(cl.load({options.run_folder!r}), {options.folder + '/onnx'!r})")
    return program(*lines)


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, telling
    from commlearn.training.artifact import export

    folder = export(options.run_folder, options.folder)
    if options.onnx:
        from commlearn.training.artifact import load
        from commlearn.training.onnx_export import export_onnx

        with telling(options) as tell:
            tell("tracing")
            export_onnx(load(folder), folder / "onnx")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if options.json:
        print_json({"out": str(folder), "files": files})
    else:
        print(f"wrote {folder}: {', '.join(files)}")
    return 0
