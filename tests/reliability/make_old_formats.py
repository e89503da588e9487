"""Write the artifact and the checkpoint that every later version must be able to read.

Run this once per format. `format1_stated` has format 1 too, with a configuration that states every option.

python tests/reliability/make_old_formats.py tests/reliability/data/format1
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from hostile_models import folders, frame

from commlearn.trained.artifact import load
from commlearn.trained.embed import embed


def main(folder: Path) -> None:
    run, artifact = folders()
    shutil.copytree(artifact, folder / "artifact")
    shutil.copytree(
        run, folder / "run", ignore=shutil.ignore_patterns("previous.ckpt", "lock", "environment.json")
    )
    table = frame()
    table["v"] = [json.dumps(vector.tolist()) for vector in table["v"]]
    table.to_csv(folder / "table.csv", index=False)
    np.save(folder / "embeddings.npy", embed(load(artifact), folder / "table.csv"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
