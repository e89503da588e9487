"""Trifeature with three vectors: all atoms of information are known, up to the third order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from commlearn.errors import ConfigurationError
from commlearn.records import Column, Dataset, Records, VectorColumn
from commlearn.seeds import numpy_generator

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
            values = self.noise * numpy_generator(self.seed, f"noise {purpose} {name}").normal(
                size=(count, self.features)
            )
            for factor in SHOWN[name]:
                levels = directions.normal(size=(self.levels, self.features))
                levels *= 4 / np.linalg.norm(levels, axis=1, keepdims=True)
                values += levels[factors[factor]]
            columns[name] = VectorColumn(values.astype(np.float32))
        return Records(columns, self.targets(factors))
