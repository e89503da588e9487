"""Tables with five kinds of modality and known factors: shared, unique and synergistic.

Eight independent factors are drawn for each record. `shared` shows in every modality, `unique_image`
only in the image, and so on. `synergy` is the parity of a bit that only the image shows and a bit that
only the table shows, so that neither of them alone carries information about it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image as PIL

from commlearn.errors import ConfigurationError
from commlearn.seeds import numpy_generator

LEVELS = 4  # values of each factor except the bits
MODALITIES = ("image", "text", "table", "series", "vector")
TARGETS = ("shared", *(f"unique_{name}" for name in MODALITIES), "synergy")
COLUMNS = {
    "image": ["image"],
    "text": ["text"],
    "table": ["height", "weight", "rate", "site"],
    "series": ["series"],
    "vector": ["vector"],
}
SCHEMA = """\
version: 1
table: {table}
modalities:
  image: {{kind: image, column: image}}
  text: {{kind: text, column: text}}
  table: {{kind: tabular, columns: [height, weight, rate, site]}}
  series: {{kind: series, column: series}}
  vector: {{kind: vector, column: vector}}
targets: {{{targets}}}
id: id
split: split
"""

TOPICS = (
    ("harbour", "boat", "tide", "sail"),
    ("forest", "oak", "moss", "trail"),
    ("kitchen", "oven", "bread", "salt"),
    ("station", "train", "platform", "ticket"),
)
MOODS = (("calm", "quiet"), ("angry", "loud"), ("happy", "bright"), ("tired", "slow"))
FILLERS = [
    *("the", "a", "of", "and", "in", "near", "it", "was"),
    *("there", "very", "one", "some", "with", "old", "new", "again"),
]
SITES = ("north", "east", "south", "west")
COLOURS = np.array([[210, 60, 60], [60, 170, 70], [60, 90, 210], [210, 180, 60]])


@dataclass(frozen=True)
class SyntheticTable:
    """A table with one or more columns for each modality, and targets that are known factors.

    Example:
        >>> import tempfile
        >>> path = SyntheticTable(rows=20).write(tempfile.mkdtemp())
        >>> pd.read_csv(path).shape
        (20, 17)
    """

    rows: int = 1000
    seed: int = 0
    missing: float = 0.0  # probability that a record lacks a modality; each record keeps at least one
    size: int = 32  # pixels per side
    format: Literal["csv", "parquet"] = "csv"

    def __post_init__(self) -> None:
        if self.rows < 2 or not 0 <= self.missing < 1 or not 16 <= self.size <= 256:
            raise ConfigurationError(
                f"A synthetic table needs at least 2 rows, missing from 0 to less than 1 and size from 16 to "
                f"256; got {self.rows}, {self.missing} and {self.size}."
            )
        if self.format not in ("csv", "parquet"):
            raise ConfigurationError(f"format is '{self.format}'; give csv or parquet.")

    def write(self, folder: str | Path) -> Path:
        """Write the table, its files and its schema; return the table's path."""
        root = Path(folder)
        factors = self.factors()
        frame = pd.DataFrame({"id": [f"r{row:06d}" for row in range(self.rows)]})
        frame["image"] = self._images(root, factors)
        frame["text"] = self._texts(factors)
        frame = frame.assign(**self._cells(factors))
        frame["series"] = self._series(root, factors)
        frame["vector"] = list(self._vectors(factors))
        frame = self._blank(frame)
        if self.format == "csv":
            frame["vector"] = [None if cell is None else _as_text(cell) for cell in frame["vector"]]
        for name in TARGETS:
            frame[name] = factors[name]
        chance = numpy_generator(self.seed, "table split").random(self.rows)
        frame["split"] = np.where(chance < 0.75, "train", "test")
        path = root / f"table.{self.format}"
        frame.to_csv(path, index=False) if self.format == "csv" else frame.to_parquet(path, index=False)
        targets = ", ".join(f"{name}: class" for name in TARGETS)
        (root / "schema.yaml").write_text(SCHEMA.format(table=path.name, targets=targets), encoding="utf-8")
        return path

    def factors(self) -> dict[str, np.ndarray]:
        """Draw what each record is made from: the targets, and the two bits of the synergy."""
        draw = numpy_generator(self.seed, "table factors")
        names = ("shared", *(f"unique_{name}" for name in MODALITIES))
        factors = {name: draw.integers(LEVELS, size=self.rows) for name in names}
        factors |= {name: draw.integers(2, size=self.rows) for name in ("image_bit", "table_bit")}
        return {**factors, "synergy": factors["image_bit"] ^ factors["table_bit"]}

    def _images(self, root: Path, factors: dict[str, np.ndarray]) -> list[str]:
        """Write images. Background: shared. Quarter with a square: unique. Direction of stripes: the bit."""
        (root / "images").mkdir(parents=True, exist_ok=True)
        draw = numpy_generator(self.seed, "table images")
        half = self.size // 2
        wave = np.sign(np.sin(np.arange(self.size) * 2 * np.pi / 8 + 0.1)) * 25
        paths = []
        for row in range(self.rows):
            picture = np.tile(COLOURS[factors["shared"][row]].astype(float), (self.size, self.size, 1))
            picture += (wave[:, None] if factors["image_bit"][row] else wave[None, :])[..., None]
            vertical, horizontal = divmod(int(factors["unique_image"][row]), 2)
            top, left = (side * half + draw.integers(1, half // 2) for side in (vertical, horizontal))
            picture[top : top + half // 2, left : left + half // 2] = 240
            picture += draw.normal(0, 10, picture.shape)
            paths.append(f"images/{row:06d}.png")
            PIL.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / paths[-1])
        return paths

    def _texts(self, factors: dict[str, np.ndarray]) -> list[str]:
        """Return texts. Words of a topic: shared. Words of a mood: unique."""
        draw = numpy_generator(self.seed, "table texts")
        texts = []
        for topic, mood in zip(factors["shared"], factors["unique_text"], strict=True):
            words = [str(word) for word in draw.choice(FILLERS, size=draw.integers(4, 12))]
            words += [str(draw.choice(TOPICS[topic])), str(draw.choice(MOODS[mood]))]
            texts.append(" ".join(words[index] for index in draw.permutation(len(words))))
        return texts

    def _cells(self, factors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return cells. Height: shared. Site: unique. Sign of the rate: the bit. Skewed weight: nothing."""
        draw = numpy_generator(self.seed, "table cells")
        noise = draw.normal(size=(3, self.rows))
        return {
            "height": (150 + 12 * factors["shared"] + 2 * noise[0]).round(2),
            "weight": np.exp(4 + noise[1]).round(2),
            "rate": ((2 * factors["table_bit"] - 1) * (1 + 0.2 * noise[2])).round(4),
            "site": np.array(SITES, dtype=object)[factors["unique_table"]],
        }

    def _series(self, root: Path, factors: dict[str, np.ndarray]) -> list[str]:
        """Write series of 40 to 80 steps. Frequency: shared. Trend of the second channel: unique."""
        (root / "series").mkdir(parents=True, exist_ok=True)
        draw = numpy_generator(self.seed, "table series")
        paths = []
        for row in range(self.rows):
            steps = np.arange(draw.integers(40, 81))
            phase = steps * 2 * np.pi * (1 + factors["shared"][row]) / 40 + draw.uniform(0, 2 * np.pi)
            trend = (factors["unique_series"][row] - 1.5) * steps / 40
            channels = np.stack([np.sin(phase), trend], axis=1) + draw.normal(0, 0.2, (len(steps), 2))
            paths.append(f"series/{row:06d}.npy")
            np.save(root / paths[-1], channels.astype(np.float32))
        return paths

    def _vectors(self, factors: dict[str, np.ndarray]) -> np.ndarray:
        """Return vectors, (rows, 16): a direction for each level of two factors, plus noise."""
        draw = numpy_generator(self.seed, "table vectors")
        shared, unique = draw.normal(size=(2, LEVELS, 16))
        values = shared[factors["shared"]] + unique[factors["unique_vector"]]
        return (values + draw.normal(0, 0.5, values.shape)).round(4).astype(np.float32)

    def _blank(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Remove some modalities from some records, but never all."""
        draw = numpy_generator(self.seed, "table missing").random((self.rows, len(MODALITIES)))
        missing = draw < self.missing
        missing[np.arange(self.rows), draw.argmax(axis=1)] = False
        for index, name in enumerate(MODALITIES):
            for column in COLUMNS[name]:
                cells = frame[column] if frame[column].dtype.kind == "f" else frame[column].astype(object)
                frame[column] = cells.mask(missing[:, index], None)
        return frame


def _as_text(vector: np.ndarray) -> str:
    return json.dumps([round(value, 4) for value in vector.tolist()])
