"""Bimodal Trifeature: pairs of images whose shared, unique and synergistic information is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from commlearn.datasets.trifeature_render import COLOURS, SHAPES, SMALLEST, TEXTURES, render
from commlearn.errors import ConfigurationError
from commlearn.records import Dataset, ImageColumn, Records
from commlearn.seeds import numpy_generator


@dataclass(frozen=True)
class Objects:
    """Images of single objects and what they show."""

    images: np.ndarray  # (n, size, size, 3) uint8
    shape: np.ndarray  # (n,) index into SHAPES
    texture: np.ndarray  # (n,) index into TEXTURES
    colour: np.ndarray  # (n,) index into COLOURS

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Trifeature:
    """The paper's controlled experiment.

    A record is a pair of images of the same shape. Shared: the shape; unique: the texture of each
    image; synergy: whether (texture of image 1, colour of image 2) is in the fixed random map M.
    """

    size: int = 224  # pixels per side
    pairs: Literal["all", "mapped"] = "all"  # training pairs: any, or only those whose synergy is 1
    train_pairs: int = 10_000
    views: int = 3  # how many times each training combination is drawn
    seed: int = 0  # seed of split, images, pairs and M: the same for all trainings that are compared
    generated: ClassVar[bool] = True  # another seed is another draw of the same experiment

    def read(self) -> Dataset:
        """Render all images and pair them."""
        if self.size < SMALLEST or self.train_pairs < 2 or self.views < 1:
            raise ConfigurationError(
                f"Trifeature needs size >= {SMALLEST}, train_pairs >= 2 and views >= 1; got {self.size}, "
                f"{self.train_pairs} and {self.views}."
            )
        train, test = self.objects()
        mapping = self.mapping()
        unbiased = draw_pairs(train, self.train_pairs, numpy_generator(self.seed, "pair"))
        records = pair_records(train, unbiased, mapping)
        train_records = records
        if self.pairs == "mapped":
            generator = numpy_generator(self.seed, "pair mapped")
            train_records = pair_records(
                train, draw_pairs(train, self.train_pairs, generator, mapping), mapping
            )
        return Dataset(train=train_records, test=pair_records(test, all_pairs(test), mapping), probe=records)

    def objects(self) -> tuple[Objects, Objects]:
        """Return training and test images, of disjoint combinations of shape, texture and colour."""
        held_out = test_combinations(numpy_generator(self.seed, "split"))
        train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        return (
            self.draw(np.repeat(train, self.views), "render train"),
            self.draw(test, "render test"),
        )

    def draw(self, combinations: np.ndarray, purpose: str) -> Objects:
        shape, texture, colour = np.unravel_index(combinations, (len(SHAPES), len(TEXTURES), len(COLOURS)))
        images = render(shape, texture, colour, self.size, numpy_generator(self.seed, purpose))
        return Objects(images, shape, texture, colour)

    def mapping(self) -> np.ndarray:
        """Return M: the colour index that belongs to each texture index, one to one."""
        return numpy_generator(self.seed, "map").permutation(len(TEXTURES))


def test_combinations(generator: np.random.Generator) -> np.ndarray:
    """Return which of the 1 000 combinations are for testing: True for 200 of them.

    20 are taken of each shape, with every texture and every colour twice. With a plain random fifth,
    what is frequent in testing would be rare in training: a probe that learned only these frequencies
    would be wrong more often than right on synergy, and chance would not be 50 %.
    """
    held_out = np.zeros((len(SHAPES), len(TEXTURES), len(COLOURS)), dtype=bool)
    textures = np.arange(len(TEXTURES))
    for shape in range(len(SHAPES)):
        colours = generator.permutation(len(COLOURS))
        shift = generator.integers(1, len(COLOURS))
        held_out[shape, textures, colours] = True
        held_out[shape, textures, np.roll(colours, shift)] = True
    return held_out.ravel()


def draw_pairs(
    objects: Objects, count: int, generator: np.random.Generator, mapping: np.ndarray | None = None
) -> np.ndarray:
    """Draw random pairs of images of the same shape, (count, 2); with a mapping, only pairs in it."""
    first = generator.integers(len(objects), size=count)
    chance = generator.random(count)
    second = np.empty(count, dtype=np.int64)
    colour = None if mapping is None else mapping[objects.texture[first]]
    group = objects.shape[first] * len(COLOURS) + (0 if colour is None else colour)
    for key in np.unique(group):
        rows = group == key
        partners = objects.shape == key // len(COLOURS)
        if mapping is not None:
            partners &= objects.colour == key % len(COLOURS)
        candidates = np.flatnonzero(partners)  # never empty: every colour of every shape is in train
        second[rows] = candidates[(chance[rows] * len(candidates)).astype(np.int64)]
    return np.stack([first, second], axis=1)


def all_pairs(objects: Objects) -> np.ndarray:
    """Return every ordered pair of images of the same shape, (pairs, 2)."""
    return np.argwhere(objects.shape[:, None] == objects.shape[None, :])


def pair_records(objects: Objects, pairs: np.ndarray, mapping: np.ndarray) -> Records:
    """Return pairs as records with the four targets."""
    first, second = pairs.T
    return Records(
        columns={
            "image1": ImageColumn(objects.images, first),
            "image2": ImageColumn(objects.images, second),
        },
        targets={
            "shared": objects.shape[first],
            "unique1": objects.texture[first],
            "unique2": objects.texture[second],
            "synergy": (mapping[objects.texture[first]] == objects.colour[second]).astype(np.int64),
        },
        units=pairs.astype(np.uint64),
    )
