"""`commlearn convert`: a published file in open formats."""

from __future__ import annotations

import argparse
from pathlib import Path

from commlearn.cli.arguments import Call
from commlearn.errors import ConfigurationError

HELP = "Write a published pickle or HDF5 file as safetensors and Parquet, which load quickly and run no code."
EXAMPLE = """\
The readers take the folder in place of the file: commlearn train mosi --data mosi

Example:
  commlearn convert mosi_raw.pkl --out mosi
  commlearn convert triangle_real_data --out vision_touch
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", help="pickle, .h5 file, or folder of .h5 files")
    add("--out", "-o", metavar="FOLDER", help="folder to create; default: FILE without its ending")
    add("--json", action="store_true", help="print what was written as JSON")


def python(options: argparse.Namespace) -> tuple[Call, str]:
    call = Call("commlearn.datasets.converted:convert", options.file, str(_out(options)), assign="files")
    return call, "print(*files, sep='\\n')"


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, print_next

    path, out = Path(options.file), _out(options)
    if out.resolve() == path.resolve() or (out.is_dir() and any(out.iterdir())):
        raise ConfigurationError(f"{out} already exists; name a new folder with --out.")
    written = [str(file) for file in python(options)[0].made()]
    if options.json:
        print_json({"out": str(out), "files": written})
        return
    for file in written[:10]:
        print(f"wrote {file}")
    if len(written) > 10:
        print(f"and {len(written) - 10} more in {out}")
    print_next(options, ("train", "RECIPE", "--data", out))


def _out(options: argparse.Namespace) -> Path:
    return Path(options.out) if options.out else Path(options.file).resolve().with_suffix("")
