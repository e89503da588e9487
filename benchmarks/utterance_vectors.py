"""Convert utterance vectors of CMU-MOSI to a file in the MOSI format, as series of one step.

    python benchmarks/utterance_vectors.py mosi_utt.npz mosi_vectors.pkl
    commlearn compare mosi --methods clip,crossself,comm --seeds 3 --data.path mosi_vectors.pkl

The source contains `text_train`, `audio_train`, `video_train`, `label_train` and the same for the test part.
A tenth of the training utterances becomes the validation part.
"""

from __future__ import annotations

import argparse
import pickle

import numpy as np

NAMES = {"vision": "video", "audio": "audio", "text": "text"}


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("source", help="the .npz file")
    parser.add_argument("out", help="the pickle to write")
    options = parser.parse_args()
    arrays = np.load(options.source, allow_pickle=False)
    count = len(arrays["label_train"])
    held = np.random.default_rng(0).permutation(count) < count // 10
    rows = {"train": ("train", ~held), "valid": ("train", held)}
    rows["test"] = ("test", np.ones(len(arrays["label_test"]), dtype=bool))
    content = {}
    for part, (source, chosen) in rows.items():
        content[part] = {
            name: arrays[f"{key}_{source}"][chosen][:, None].astype(np.float32) for name, key in NAMES.items()
        }
        labels = arrays[f"label_{source}"][chosen].astype(np.float64)
        content[part]["labels"] = labels[:, None, None]
    with open(options.out, "wb") as file:
        pickle.dump(content, file)
    print({part: {name: array.shape for name, array in arrays.items()} for part, arrays in content.items()})


if __name__ == "__main__":
    main()
