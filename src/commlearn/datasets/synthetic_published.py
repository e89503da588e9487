"""Stand-ins for published data sets: files of exactly their format and shape, made from known factors."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PIL

from commlearn.datasets.converted import write_hdf5
from commlearn.datasets.synthetic_tables import COLOURS, FILLERS, MOODS, TOPICS
from commlearn.errors import ConfigurationError, unknown
from commlearn.seeds import numpy_generator

STEPS = 50
UTTERANCES = {  # features of vision, audio and text in the published files; shares of train and valid
    "mosi": ({"vision": 20, "audio": 5, "text": 300}, (0.58, 0.11)),
    "mosei": ({"vision": 35, "audio": 74, "text": 300}, (0.71, 0.08)),
    "ur_funny": ({"vision": 371, "audio": 81, "text": 300}, (0.75, 0.12)),
    "mustard": ({"vision": 371, "audio": 81, "text": 300}, (0.6, 0.2)),
}
DIAGNOSES = {0: "unique_tabular", 1: "unique_series", 2: "synergy", 3: "chance", 7: "shared"}
EPISODE = 50  # steps of an episode
GENRES = {"Drama": "shared", "Comedy": "unique_image", "Romance": "unique_text", "Thriller": "synergy"}
GENRES |= {"Crime": "chance"}


def write_stand_in(
    name: str, out: str | Path, rows: int = 2000, seed: int = 0, label: str = "shared"
) -> Path:
    """Write a synthetic data set in the published format.

    Args:
        name: name of the data set.
        out: file, or folder if the data set is published as a folder.
        rows: records over all parts.
        seed: seed of everything that is drawn; a seed gives the same modalities, whatever the label.
        label: the factor to predict if a record has one label: shared, unique_NAME of a modality,
            synergy, or chance, which cannot be predicted. MIMIC, MM-IMDb and the position of
            Vision&Touch have room for all of them at once.
    """
    if name not in STAND_INS:
        raise ConfigurationError(unknown("data set", name, STAND_INS))
    if rows < 20:
        raise ConfigurationError(f"rows is {rows}; a stand-in with all its parts needs at least 20.")
    out = Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        STAND_INS[name](name, out, rows, seed, label)
    except OSError as problem:
        raise ConfigurationError(f"{out} cannot be written: {problem.strerror or problem}.") from problem
    return out


def _utterances(name: str, out: Path, rows: int, seed: int, label: str) -> None:
    """Write series in which factors show at every step, with zeros in front and some samples without text."""
    widths, (train, valid) = UTTERANCES[name]
    draw = numpy_generator(seed, f"synthetic {name}")
    factors = draw_factors(rows, list(widths), seed)
    spoken = np.arange(STEPS) >= STEPS - draw.integers(5, STEPS + 1, size=rows)[:, None]  # (rows, steps)
    silent = draw.random(rows) < 0.005
    content: dict[str, np.ndarray] = {}
    for modality, width in widths.items():
        values = draw.standard_normal((rows, STEPS, width), dtype=np.float32)
        values += show(factors, modality, width, draw).astype(np.float32)[:, None] / 2
        content[modality] = values * spoken[..., None]
    content["text"][silent] = 0
    content["audio"][draw.random(rows) < 0.01, -1, 0] = -np.inf
    labels = (2.0 * labels_of(factors, label) - 1) * draw.uniform(0.2, 3, size=rows)
    if name in ("ur_funny", "mustard"):
        labels = labels_of(factors, label).astype(np.float64)
    content["labels"] = labels.reshape(-1, 1) if name == "ur_funny" else labels.reshape(-1, 1, 1)
    content["id"] = np.array([f"video{row // 4}[{row % 4}]" for row in range(rows)], dtype=object)
    ends = [0, round(train * rows), round((train + valid) * rows), rows]
    parts = zip(("train", "valid", "test"), ends, ends[1:], strict=False)
    _pickle(out, {part: {key: values[a:b] for key, values in content.items()} for part, a, b in parts})


def _mimic(name: str, out: Path, rows: int, seed: int, label: str) -> None:
    """Write facts with skewed scales and series with gaps; column 7 of the diagnoses is the label."""
    draw = numpy_generator(seed, "synthetic mimic")
    factors = draw_factors(rows, ["tabular", "series"], seed)
    facts = show(factors, "tabular", 5, draw) + draw.normal(size=(rows, 5))
    series = draw.normal(size=(rows, 24, 12)) + show(factors, "series", 12, draw)[:, None] / 2
    scale, level = draw.uniform(0.5, 50, size=(2, 12))
    series = series * scale + level
    series[draw.random(series.shape) < 0.001] = np.nan
    series[0, 0, 0] = np.inf
    diagnoses = draw.integers(2, size=(rows, 20))
    for column, factor in DIAGNOSES.items():
        diagnoses[:, column] = labels_of(factors, label if column == 7 else factor)
    deaths = np.zeros((rows, 6), dtype=np.int64)
    deaths[:, 0] = factors["unique_tabular"]
    died = np.flatnonzero(factors["unique_tabular"])
    first = 1 + 2 * factors["unique_series"][died] + draw.integers(2, size=len(died))
    for column in range(1, 6):
        deaths[died, column] = first <= column
    _pickle(
        out,
        {
            "ep_tdata": series,
            "adm_features_all": facts * np.array([20, 1, 3, 0.1, 7]) + 60,
            "y_icd9": diagnoses,
            "adm_labels_all": deaths,
        },
    )


def _vision_touch(name: str, out: Path, rows: int, seed: int, label: str) -> None:
    """Write episodes of 50 steps; the next position's four numbers follow shared, unique_image,
    unique_force and synergy, and contact follows the label."""
    episodes = max(5, -(-rows // (EPISODE - 1)))
    out.mkdir(parents=True, exist_ok=True)
    draw = numpy_generator(seed, "synthetic vision_touch")
    names = ["image", "force", "proprio"]
    factors = draw_factors(episodes * EPISODE, names, seed)
    forces = show(factors, "force", 6, draw) / 2
    senses = show(factors, "proprio", 8, draw)
    for episode in range(episodes):
        current = np.arange(episode * EPISODE, (episode + 1) * EPISODE)
        previous = np.maximum(current - 1, episode * EPISODE)  # a step shows the targets of the next
        signs = [2.0 * factors[key] - 1 for key in ("shared", "unique_image", "unique_force", "synergy")]
        proprio = (senses[current] + draw.normal(size=(EPISODE, 8))).astype(np.float32)
        proprio[:, :4] = 0.1 * np.stack(signs, axis=1)[previous] + draw.normal(0, 0.01, (EPISODE, 4))
        force = forces[current][:, None] + draw.normal(size=(EPISODE, 50, 6))
        contact = draw.integers(1, 3, size=(EPISODE, 50)) * labels_of(factors, label)[previous][:, None]
        write_hdf5(
            out / f"triangle_real_{episode:04d}.h5",
            {
                "image": _scenes(current, factors, 128, draw),
                "ee_forces_continuous": force.astype(np.float32),
                "proprio": proprio,
                "contact": contact.astype(np.int64),
            },
        )


def _scenes(
    rows: np.ndarray, factors: dict[str, np.ndarray], size: int, draw: np.random.Generator
) -> np.ndarray:
    """Return pictures, (rows, size, size, 3): background by `shared`, a bright square on the left or
    right by `unique_image`, vertical or horizontal stripes by `bit_image`."""
    wave = 40 * np.sign(np.sin(np.arange(size) * 2 * np.pi / 16 + 0.1))
    pictures = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    for index, row in enumerate(rows):
        picture = np.tile(COLOURS[factors["shared"][row]].astype(np.float32), (size, size, 1))
        picture += (wave[:, None] if factors["bit_image"][row] else wave[None])[..., None]
        top = draw.integers(size // 2)
        left = draw.integers(size // 8) + factors["unique_image"][row] * size // 2
        picture[top : top + size // 3, left : left + size // 3] = 240
        picture += draw.standard_normal((size, size, 1), dtype=np.float32) * 10
        pictures[index] = picture.clip(0, 255)
    return pictures


def _texts(row: int, factors: dict[str, np.ndarray], words: int, draw: np.random.Generator) -> str:
    """Return words of a topic by `shared`, of a mood by `unique_text`, and day or night by `bit_text`."""
    words_of_row = [str(word) for word in draw.choice(FILLERS, size=words)]
    words_of_row += [str(word) for word in draw.choice(TOPICS[factors["shared"][row]], size=3)]
    words_of_row += [str(word) for word in draw.choice(MOODS[factors["unique_text"][row]], size=3)]
    words_of_row += 2 * [("day", "night")[factors["bit_text"][row]]]
    return " ".join(words_of_row[index] for index in draw.permutation(len(words_of_row)))


def _mm_imdb(name: str, out: Path, rows: int, seed: int, label: str) -> None:
    """Write posters and one to three plots; the first five genres follow one factor each."""
    draw = numpy_generator(seed, "synthetic mm_imdb")
    factors = draw_factors(rows, ["image", "text"], seed)
    names = [f"{row:07d}" for row in range(rows)]
    (out / "dataset").mkdir(parents=True, exist_ok=True)
    for row, film in enumerate(names):
        genres = [genre for genre, factor in GENRES.items() if factors[factor][row]]
        plots = [_texts(row, factors, 40, draw) for _ in range(1 + draw.integers(3))]
        _json(out / "dataset" / f"{film}.json", {"plot": plots, "genres": genres or ["Short"], "title": film})
        _picture(out / "dataset" / f"{film}.jpeg", row, factors, draw)
    ends = [0, round(0.6 * rows), round(0.7 * rows), rows]
    parts = zip(("train", "dev", "test"), ends, ends[1:], strict=False)
    _json(out / "split.json", {part: names[a:b] for part, a, b in parts})


def _hateful_memes(name: str, out: Path, rows: int, seed: int, label: str) -> None:
    """Write pictures with a line of text and one label."""
    draw = numpy_generator(seed, "synthetic hateful_memes")
    factors = draw_factors(rows, ["image", "text"], seed)
    (out / "img").mkdir(parents=True, exist_ok=True)
    lines = []
    for row in range(rows):
        _picture(out / "img" / f"{row:05d}.png", row, factors, draw)
        line = {"id": row, "img": f"img/{row:05d}.png", "label": int(labels_of(factors, label)[row])}
        lines.append(json.dumps({**line, "text": _texts(row, factors, 6, draw)}))
    ends = {"train": (0, round(0.9 * rows)), "dev": (round(0.9 * rows), rows)}
    for part, (a, b) in ends.items():
        (out / f"{part}.jsonl").write_text("\n".join(lines[a:b]) + "\n", encoding="utf-8")


def _picture(path: Path, row: int, factors: dict[str, np.ndarray], draw: np.random.Generator) -> None:
    """Write a picture in the format of its file's ending; a .jpeg gets the proportions of a poster."""
    picture = PIL.fromarray(_scenes(np.array([row]), factors, 160, draw)[0])
    picture = picture.resize((160, 236)) if path.suffix == ".jpeg" else picture
    content = io.BytesIO()
    picture.save(content, "JPEG" if path.suffix == ".jpeg" else "PNG")
    path.write_bytes(content.getvalue())


def _json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def _pickle(path: Path, content: dict[str, Any]) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=4)


STAND_INS: dict[str, Callable[[str, Path, int, int, str], None]] = {
    **dict.fromkeys(UTTERANCES, _utterances),
    "mimic": _mimic,
    "vision_touch": _vision_touch,
    "mm_imdb": _mm_imdb,
    "hateful_memes": _hateful_memes,
}


def draw_factors(rows: int, modalities: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Draw independent bits for each record, (rows,) of 0 and 1.

    `shared` shows in every modality and `unique_NAME` in that one. `synergy` is whether the bits that
    the first two modalities additionally show differ, so that neither alone carries information about
    it. `chance` shows nowhere.

    Example:
        >>> sorted(draw_factors(4, ["image", "text"], 0))
        ['bit_image', 'bit_text', 'chance', 'shared', 'synergy', 'unique_image', 'unique_text']
    """
    draw = numpy_generator(seed, "synthetic factors")
    names = ["shared", "chance", *(f"unique_{name}" for name in modalities)]
    names += [f"bit_{name}" for name in modalities[:2]]
    factors = {name: draw.integers(2, size=rows) for name in names}
    first, second = (factors[f"bit_{name}"] for name in modalities[:2])
    return {**factors, "synergy": first ^ second}


def labels_of(factors: dict[str, np.ndarray], label: str) -> np.ndarray:
    """Return the factor that is a data set's label."""
    predictable = [name for name in factors if not name.startswith("bit_")]
    if label not in predictable:
        raise ConfigurationError(unknown("label", label, predictable))
    return factors[label]


def show(
    factors: dict[str, np.ndarray], modality: str, features: int, draw: np.random.Generator
) -> np.ndarray:
    """Return what a modality shows of its factors, (rows, features): a direction for each, no noise."""
    names = [name for name in ("shared", f"unique_{modality}", f"bit_{modality}") if name in factors]
    directions = np.linalg.qr(draw.normal(size=(max(features, len(names)), len(names))))[0][:features]
    signs = np.stack([2.0 * factors[name] - 1 for name in names], axis=1)  # (rows, factors)
    return signs @ directions.T * np.sqrt(features)
