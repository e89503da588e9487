"""`commlearn embed`: the embeddings of a run's records as a file."""

from __future__ import annotations

import argparse

HELP = "Embed the records of a run's data set with its trained model."
EXAMPLE = """\
Writes an .npz file with `embedding` (records, dim) and one array for each target.

Example:
  commlearn embed runs/comm --split test --out test.npz --modalities image1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training")
    parser.add_argument("--out", "-o", required=True, help="file to write, .npz")
    parser.add_argument("--split", default="test", choices=("train", "test"), help="default: test")
    parser.add_argument("--modalities", help="embed these only; names with commas")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> int:
    import io  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    from commlearn.cli.output import print_json  # noqa: PLC0415
    from commlearn.evaluation.embed import embed  # noqa: PLC0415
    from commlearn.training.checkpoint import write_atomically  # noqa: PLC0415
    from commlearn.training.loop import load_run, read_data  # noqa: PLC0415

    loaded = load_run(options.run_folder)
    records = getattr(read_data(loaded.experiment), options.split)
    modalities = options.modalities.split(",") if options.modalities else None
    embedding = embed(loaded, records, modalities)
    content = io.BytesIO()
    np.savez(content, embedding=embedding, **records.targets)
    write_atomically(Path(options.out), content.getvalue())
    told = {"out": options.out, "records": len(embedding), "dim": embedding.shape[1]}
    print_json(told) if options.json else print(f"{told['records']} x {told['dim']} embeddings: {options.out}")
    return 0
