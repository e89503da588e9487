"""Trifeature: pairs of images or three vectors whose shared, unique and synergistic information is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from commlearn.datasets.trifeature_render import COLOURS, SHAPES, SMALLEST, TEXTURES, render
from commlearn.errors import ConfigurationError
from commlearn.records import Column, Dataset, ImageColumn, Records, VectorColumn
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
        probe = pair_records(train, unbiased, mapping)
        records = probe
        if self.pairs == "mapped":
            generator = numpy_generator(self.seed, "pair mapped")
            mapped = draw_pairs(train, self.train_pairs, generator, mapping)
            records = pair_records(train, mapped, mapping)
        every_pair = np.argwhere(test.shape[:, None] == test.shape[None, :])  # ordered, of the same shape
        return Dataset(train=records, test=pair_records(test, every_pair, mapping), probe=probe)

    def objects(self) -> tuple[Objects, Objects]:
        """Return training and test images, of disjoint combinations of shape, texture and colour."""
        held_out = test_combinations(numpy_generator(self.seed, "split"))
        train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        return self.draw(np.repeat(train, self.views), "render train"), self.draw(test, "render test")

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
    colour = 0 if mapping is None else mapping[objects.texture[first]]
    group = objects.shape[first] * len(COLOURS) + colour
    for key in np.unique(group):
        rows = group == key
        partners = objects.shape == key // len(COLOURS)
        if mapping is not None:
            partners &= objects.colour == key % len(COLOURS)
        candidates = np.flatnonzero(partners)  # never empty: every colour of every shape is in train
        second[rows] = candidates[(chance[rows] * len(candidates)).astype(np.int64)]
    return np.stack([first, second], axis=1)


def pair_records(objects: Objects, pairs: np.ndarray, mapping: np.ndarray) -> Records:
    """Return pairs as records with the four targets."""
    first, second = pairs.T
    return Records(
        columns={"image1": ImageColumn(objects.images, first), "image2": ImageColumn(objects.images, second)},
        targets={
            "shared": objects.shape[first],
            "unique1": objects.texture[first],
            "unique2": objects.texture[second],
            "synergy": (mapping[objects.texture[first]] == objects.colour[second]).astype(np.int64),
        },
        units=pairs.astype(np.uint64),
    )


MODALITIES = ("vector1", "vector2", "vector3")
SHOWN = {  # by modality: the factors that its vector shows
    "vector1": ("shape", "texture1", "colour12"),
    "vector2": ("shape", "texture2", "colour12"),
    "vector3": ("shape", "texture3", "colour3"),
}
FACTORS = ("shape", "texture1", "texture2", "texture3", "colour12", "colour3")

Factors = dict[str, np.ndarray]
"""By factor: its level in each record, (records,)."""


@dataclass(frozen=True)
class TrifeatureThree:
    """The controlled experiment with a third modality, as vectors that one core learns from in minutes.

    A record is three objects of the same shape; the first two also have the same colour. Each vector is the
    sum of one direction for each of its object's shape, texture and colour, and noise. Shared: the shape;
    shared by a pair: the colour of objects 1 and 2; unique: the texture of each object; synergy of a pair:
    whether (texture 1, colour 3) is in a fixed random map; synergy of all three: whether (texture 1,
    texture 2, colour 3) is in a fixed random Latin square, about which any two of them say nothing.
    """

    pairs: Literal["all", "mapped", "square"] = "all"  # training records: any, or those with one synergy
    train_records: int = 4_000
    test_records: int = 4_000
    levels: int = 2  # levels of each factor; with more, synergies take longer to learn
    features: int = 48  # numbers in a vector
    noise: float = 0.5  # standard deviation; the directions of the levels have length 4
    seed: int = 0  # seed of directions, maps and records: the same for all trainings that are compared
    generated: ClassVar[bool] = True  # another seed is another draw of the same experiment

    def read(self) -> Dataset:
        """Draw the factors and the vectors of all records."""
        if min(self.train_records, self.test_records, self.levels, self.features) < 2 or self.noise < 0:
            raise ConfigurationError(
                "TrifeatureThree needs train_records, test_records, levels and features >= 2 and noise >= 0; "
                f"got {self.train_records}, {self.test_records}, {self.levels}, {self.features} and "
                f"{self.noise}."
            )
        fit = self._records("fit", self.train_records, "all")
        train = fit if self.pairs == "all" else self._records("train", self.train_records, self.pairs)
        return Dataset(train=train, test=self._records("test", self.test_records, "all"), probe=fit)

    def factors(self, purpose: str, count: int, pairs: str) -> Factors:
        """Draw independent levels; with `mapped` or `square`, textures determine the colour of object 3."""
        draw = numpy_generator(self.seed, f"factors {purpose} {pairs}")
        factors = dict(zip(FACTORS, draw.integers(self.levels, size=(len(FACTORS), count)), strict=True))
        return factors if pairs == "all" else factors | {"colour3": self._matches(factors)[pairs]}

    def targets(self, factors: Factors) -> Factors:
        """Return the atoms, each of which is a function of the factors."""
        matches = self._matches(factors)
        return {
            "shared": factors["shape"],
            "shared12": factors["colour12"],
            **{f"unique{number}": factors[f"texture{number}"] for number in (1, 2, 3)},
            "synergy13": (factors["colour3"] == matches["mapped"]).astype(np.int64),
            "synergy123": (factors["colour3"] == matches["square"]).astype(np.int64),
        }

    def _matches(self, factors: Factors) -> Factors:
        """Return the colour of object 3 that belongs to texture 1, and the one for textures 1 and 2."""
        mapped, square = (
            numpy_generator(self.seed, f"map {name}").permutation(self.levels) for name in ("pair", "square")
        )
        texture_sum = (factors["texture1"] + factors["texture2"]) % self.levels
        return {"mapped": mapped[factors["texture1"]], "square": square[texture_sum]}

    def _records(self, purpose: str, count: int, pairs: str) -> Records:
        factors = self.factors(purpose, count, pairs)
        columns: dict[str, Column] = {}
        for name in MODALITIES:
            directions = numpy_generator(self.seed, f"directions {name}")
            noise = numpy_generator(self.seed, f"noise {purpose} {name}")
            values = self.noise * noise.normal(size=(count, self.features))
            for factor in SHOWN[name]:
                levels = directions.normal(size=(self.levels, self.features))
                levels *= 4 / np.linalg.norm(levels, axis=1, keepdims=True)
                values += levels[factors[factor]]
            columns[name] = VectorColumn(values.astype(np.float32))
        return Records(columns, self.targets(factors))
