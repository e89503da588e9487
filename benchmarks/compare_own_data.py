"""Compare all methods and baselines on two public data sets: six feature sets of digits, and film reviews.

    python benchmarks/compare_own_data.py mfeat FOLDER/mfeat.npz runs/mfeat --seeds 3
    python benchmarks/compare_own_data.py mosi FOLDER/mosi_utt.npz runs/mosi --seeds 3

`mfeat.npz` contains the UCI data set "Multiple Features" as arrays fac, fou, kar, mor, pix, zer and label;
`mosi_utt.npz` contains CMU-MOSI by utterance: audio_train, transcript_train, label_train, utt_train, and the
same for test. The script writes each as a Parquet table with a schema and runs `commlearn compare` on it.
Further settings (--training.epochs 30) apply to every method. docs/reproduction.md has the table of mfeat.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.model_selection import train_test_split

from commlearn.cli import main as commlearn

DIGITS = ("fac", "fou", "kar", "mor", "pix", "zer")


def mfeat(arrays: dict[str, np.ndarray]) -> tuple[pd.DataFrame, dict]:
    """Return 2 000 digits (1 400 of them for training, stratified by class) and their schema."""
    rows = np.arange(len(arrays["label"]))
    train, _ = train_test_split(rows, train_size=0.7, stratify=arrays["label"], random_state=0)
    frame = pd.DataFrame({name: list(arrays[name]) for name in DIGITS})
    frame["digit"] = arrays["label"]
    frame["split"] = np.where(np.isin(rows, train), "train", "test")
    modalities = {name: {"kind": "vector", "column": name} for name in DIGITS}
    return frame, {"modalities": modalities, "targets": {"digit": "class"}, "split": "split"}


def mosi(arrays: dict[str, np.ndarray]) -> tuple[pd.DataFrame, dict]:
    """Return utterances of film reviews (words, 73 acoustic features, positive or not) and their schema."""
    parts = [
        pd.DataFrame(
            {
                "words": arrays[f"transcript_{split}"],
                "audio": list(arrays[f"audio_{split}"]),
                "positive": arrays[f"label_{split}"].astype(int),
                "split": split,
            }
        )
        for split in ("train", "test")
    ]
    modalities = {
        "words": {"kind": "text", "column": "words"},
        "audio": {"kind": "vector", "column": "audio"},
    }
    schema = {"modalities": modalities, "targets": {"positive": "class"}, "split": "split"}
    return pd.concat(parts, ignore_index=True), schema


SETS: dict[str, Callable[[dict[str, np.ndarray]], tuple[pd.DataFrame, dict]]] = {"mfeat": mfeat, "mosi": mosi}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=SETS)
    parser.add_argument("arrays", type=Path, help=".npz")
    parser.add_argument("out", type=Path, help="folder")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--seeds", default="3")
    options, settings = parser.parse_known_args()
    with np.load(options.arrays, allow_pickle=False) as file:
        frame, schema = SETS[options.name]({name: file[name] for name in file.files})
    options.out.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(options.out / "table.parquet")
    path = options.out / f"{options.name}.yaml"
    path.write_text(yaml.safe_dump({"table": "table.parquet", **schema}, sort_keys=False))
    words = ["compare", str(path), "--methods", options.methods, "--seeds", options.seeds]
    return commlearn([*words, "--out", str(options.out / "comparison"), *settings])


if __name__ == "__main__":
    raise SystemExit(main())
