"""`commlearn export`: a run as one folder to hand on."""

from __future__ import annotations

import argparse

HELP = "Export a run to one folder: weights, settings, schema, preprocessing and a model card."
EXAMPLE = """\
The folder holds JSON, safetensors and Markdown alone; commlearn.load reads it offline.

Example:
  commlearn export runs/films-comm-seed0 films-model
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training")
    parser.add_argument("folder", metavar="FOLDER", help="is made")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json
    from commlearn.training.artifact import export

    folder = export(options.run_folder, options.folder)
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if options.json:
        print_json({"out": str(folder), "files": files})
    else:
        print(f"wrote {folder}: {', '.join(files)}")
    return 0
