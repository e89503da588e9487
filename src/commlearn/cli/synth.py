"""`commlearn synth`: data with known answers, as files and pictures."""

from __future__ import annotations

import argparse
from typing import Any

HELP = "Make data with known shared, unique and synergistic information."
EXAMPLE = """\
Example:
  commlearn synth trifeature --gallery shapes.png
  commlearn synth trifeature --size 64 --out trifeature.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("trifeature",), help="which data")
    parser.add_argument("--gallery", metavar="PNG", help="write a picture of every shape, texture and colour")
    parser.add_argument("--out", "-o", metavar="NPZ", help="write images, pairs and targets")
    parser.add_argument("--size", type=int, default=224, help="pixels a side; default: 224")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json
    from commlearn.errors import ConfigurationError

    if not (options.gallery or options.out):
        raise ConfigurationError("Nothing to write: give --gallery FILE.png, --out FILE.npz or both.")
    written = {}
    if options.gallery:
        written["gallery"] = _gallery(options)
    if options.out:
        written["out"] = _records(options)
    print_json(written) if options.json else print("\n".join(f"wrote {path}" for path in written.values()))
    return 0


def _gallery(options: argparse.Namespace) -> str:
    import io
    from pathlib import Path

    from PIL import Image

    from commlearn.data.trifeature_render import gallery
    from commlearn.training.checkpoint import write_atomically

    content = io.BytesIO()
    Image.fromarray(gallery(min(options.size, 128), options.seed)).save(content, "PNG")
    write_atomically(Path(options.gallery), content.getvalue())
    return options.gallery


def _records(options: argparse.Namespace) -> str:
    import io
    from pathlib import Path

    import numpy as np

    from commlearn.data.trifeature import Trifeature
    from commlearn.training.checkpoint import write_atomically

    data = Trifeature(size=options.size, seed=options.seed).read()
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
