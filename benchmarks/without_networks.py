"""Measure what letters add to words, and patches and textures to pixels, if no network reads the data.

    python benchmarks/without_networks.py [--data FOLDER] [--networks]

The data are the texts and pictures of `component_sizes.py`, and objects of Trifeature (the classes are ten
shapes or ten textures). A logistic regression (C = 1) reads the fixed features. Scores are balanced
accuracies in percent: for 5 and 20 labels per class the mean of ten draws, for all labels the mean of five
folds. `--networks` measures what textures add to pictures that EfficientNet-lite0 reads.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from component_sizes import Case, case_of, cases, features, png, scores
from PIL import Image as PIL

import commlearn as cl
from commlearn.datasets.trifeature_render import render
from commlearn.models.features.pictures import Pixels
from commlearn.models.features.raw import Raw, Sample, Words

OBJECTS = 1500


def objects() -> Iterator[Case]:
    """Yield pictures of 64 pixels of objects with ten independent shapes, textures and colours."""
    generator = np.random.default_rng(0)
    shapes, textures, colours = generator.integers(0, 10, size=(3, OBJECTS))
    images = np.asarray(render(shapes, textures, colours, size=64, rng=generator), dtype=np.uint8)
    pixels = images.transpose(0, 2, 3, 1) if images.shape[1] == 3 else images
    pictures = np.array([png(PIL.fromarray(one), 64) for one in pixels], dtype=object)
    schema = cl.Schema({"image": cl.Image("image")})
    for name, labels in (("shapes", shapes), ("textures", textures)):
        yield case_of(f"Trifeature: {name}", schema, {"image": pictures}, labels, None)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--networks", action="store_true", help="only pictures, with features of the network")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(
        "| features | words, or pixels, edges and colours | with letters, or with patches "
        "| with textures too |"
    )
    print("| --- | --- | --- | --- |")
    learn, most = Pixels.learn, Words.most_letters

    def without_textures(pixels: Pixels, sample: Sample, seed: int) -> None:
        learn(pixels, sample, seed)
        del pixels.patterns

    for source in (cases(options.data), objects()):
        for case in source:
            if not ({"image"} if options.networks else {"image", "text"}) & case.columns.keys():
                continue
            reached = []
            ways = (Raw.learn, without_textures, learn) if "image" in case.columns else (Raw.learn, learn)
            for way in ways:
                Pixels.learn = way  # type: ignore[method-assign]
                Words.most_letters = 0 if way is Raw.learn else most
                three = scores(case, features(case, networks=options.networks))
                reached.append(" / ".join(f"{value:.1f}" for value in three))
            print(f"| {case.name} | {' | '.join([*reached, ''][:3])} |", flush=True)


if __name__ == "__main__":
    main()
