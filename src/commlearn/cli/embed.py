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
    import io
    from pathlib import Path

    import numpy as np

    from commlearn.cli.output import print_json
    from commlearn.evaluation.embed import embed
    from commlearn.training.build import read_data
    from commlearn.training.checkpoint import write_atomically
    from commlearn.training.loop import load_run

    loaded = load_run(options.run_folder)
    records = getattr(read_data(loaded.experiment), options.split)
    modalities = options.modalities.split(",") if options.modalities else None
    embedding = embed(loaded, records, modalities)
    content = io.BytesIO()
    np.savez(content, embedding=embedding, **records.targets)
    write_atomically(Path(options.out), content.getvalue())
    told = {"out": options.out, "records": len(embedding), "dim": embedding.shape[1]}
    print_json(told) if options.json else print(
        f"{told['records']} x {told['dim']} embeddings: {options.out}"
    )
    return 0
