"""Vision&Touch: a robot inserts a peg; camera, force and proprioception, 150 episodes of 50 steps.

Published as one HDF5 file per episode. Targets are those of the next step, so an episode gives one
record fewer than it has steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commlearn.datasets.converted import Content, Standard, existing_path, finite, read_arrays, read_hdf5
from commlearn.errors import ConfigurationError, DataError, unknown
from commlearn.records import Column, Dataset, ImageColumn, Records, Sequences, VectorColumn

MODALITIES = ("image", "force", "proprio")
FILES = {".h5": read_hdf5, ".hdf5": read_hdf5, ".safetensors": read_arrays}
SEED = 42  # seed of the published order of episodes
STEPS = 50  # steps of an episode that are used
READINGS = 32  # readings of force per step, the last ones
SENSES = 8  # values of proprioception that are used
POSITION = 4  # how many of these are predicted


@dataclass(frozen=True)
class VisionTouch:
    """Steps of episodes. Targets: `position`, four numbers, and `contact`, both of the next step."""

    path: str = ""  # folder of .h5 files, or what `commlearn convert` made from it
    modalities: Sequence[str] = ("image", "force")  # any of image, force and proprio
    validation: float = 0.1  # share of the training episodes that are used only for validation

    def read(self) -> Dataset:
        """Read all episodes, split them and standardise by the training episodes only."""
        for name in self.modalities:
            if name not in MODALITIES:
                raise ConfigurationError(f"data.modalities: {unknown('modality', name, MODALITIES)}")
        if not self.modalities or not 0 <= self.validation < 1:
            raise ConfigurationError(
                f"Vision&Touch needs modalities and a validation share from 0 to less than 1; got "
                f"{list(self.modalities)} and {self.validation}."
            )
        names = [name for name in MODALITIES if name in self.modalities]
        episodes = episode_files(self.path)
        members_of = split_episodes(list(episodes), self.validation)
        if not members_of["train"]:
            raise ConfigurationError(
                f"data.validation is {self.validation}, which leaves none of {len(episodes)} episodes to "
                "train on. Give a smaller share."
            )
        contents = {name: read_episode(path, names) for name, path in episodes.items()}
        for number, arrays in enumerate(contents.values()):
            arrays["episode"] = np.full(len(arrays["position"]), number, dtype=np.uint64)
        sizes = {arrays["image"].shape[1:]: name for name, arrays in contents.items() if "image" in names}
        if len(sizes) > 1:
            listing = ", ".join(f"{size} in {name}" for size, name in sizes.items())
            raise DataError(f"{self.path}: pictures of all episodes must have the same size; got {listing}.")
        parts = {
            part: {
                key: np.concatenate([contents[name][key] for name in members])
                for key in next(iter(contents.values()))
            }
            for part, members in members_of.items()
            if members
        }
        sense = Standard.of(parts["train"]["proprio"]) if "proprio" in names else None
        records = {part: records_of(arrays, names, sense) for part, arrays in parts.items()}
        wrong = sum(int(arrays["wrong"].sum()) for arrays in parts.values())
        notes = (f"{wrong} values are not finite and count as 0",) if wrong else ()
        return Dataset(records["train"], records["test"], records.get("validation"), notes=notes)


def episode_files(path: str | Path) -> dict[str, Path]:
    """Return the files of episodes by name; the names are the same in every format."""
    folder = existing_path(path, "vision_touch", "the folder triangle_real_data")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; Vision&Touch needs the folder of all its .h5 files.")
    for suffix in FILES:
        files = {entry.stem: entry for entry in sorted(folder.glob(f"*{suffix}"), key=lambda file: file.name)}
        if files:
            if len(files) < 5:
                raise DataError(
                    f"{folder} holds {len(files)} episodes; at least 5 are needed for a test part."
                )
            return files
    raise DataError(f"{folder} holds no file that ends in {', '.join(FILES)}.")


def split_episodes(names: Sequence[str], validation: float) -> dict[str, list[str]]:
    """Split the episodes; test is the published part, the last fifth of the names sorted and then shuffled.

    Validation takes the last of the others, which the published code trains on.
    """
    order = sorted(names)
    np.random.default_rng(SEED).shuffle(order)
    test_count = int(0.2 * len(order))
    rest, held_out = order[: len(order) - test_count], order[len(order) - test_count :]
    train_count = len(rest) - (max(1, round(validation * len(rest))) if validation else 0)
    return {"train": rest[:train_count], "validation": rest[train_count:], "test": held_out}


def read_episode(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the records of one episode: what is sensed at a step, and the targets of the next."""
    content = Content(FILES[path.suffix](path), str(path))
    proprio = content.numbers("proprio", "steps, senses")
    contact = content.numbers("contact", "steps, readings")
    if proprio.shape[1] < SENSES and proprio.size:
        content.problems.add(f"proprio has {proprio.shape[1]} senses; expected at least {SENSES}.")
    sensors: dict[str, np.ndarray] = {"proprio": proprio, "contact": contact}
    if "image" in names:
        sensors["image"] = _pictures(content)
    if "force" in names:
        sensors["ee_forces_continuous"] = _forces(content)
    content.raise_if_any()
    content.same({key: len(array) for key, array in sensors.items()}, "steps")
    if len(proprio) < 2:
        content.problems.add(f"proprio has {len(proprio)} steps; expected {STEPS}.")
    content.raise_if_any()
    sensed, wrong = finite(proprio[:STEPS, :SENSES])
    records = {
        "position": sensed[1:, :POSITION],
        "contact": (contact[1:STEPS].sum(axis=1) > 0).astype(np.int64),
    }
    if "image" in names:
        records["image"] = sensors["image"][: len(sensed) - 1]
    if "force" in names:
        forces, wrong_forces = finite(sensors["ee_forces_continuous"][: len(sensed) - 1])
        records["force"], wrong = np.tanh(forces), wrong + wrong_forces
    if "proprio" in names:
        records["proprio"] = sensed[:-1]
    return records | {"wrong": np.array([wrong])}


def _pictures(content: Content) -> np.ndarray:
    """Return the pictures, (steps, height, width, 3) uint8, from either order of axes."""
    images = content.numbers("image", "steps, height, width, 3")
    if images.shape[-1] != 3 and images.shape[1] == 3:
        images = images.transpose(0, 2, 3, 1)
    if images.shape[-1] != 3 and images.size:
        content.problems.add(f"image has shape {images.shape}; expected (steps, height, width, 3).")
    if images.dtype != np.uint8:
        if images.size and not (images.min() >= 0 and images.max() <= 255):
            content.problems.add(
                f"image has values from {images.min():g} to {images.max():g}; expected bytes."
            )
        images = np.clip(images, 0, 255).astype(np.uint8)
    return images


def _forces(content: Content) -> np.ndarray:
    """Return the last readings of each step, (steps, 32, 6)."""
    forces = content.numbers("ee_forces_continuous", "steps, readings, 6")
    if forces.size and (forces.shape[1] < READINGS or forces.shape[2] != 6):
        content.problems.add(
            f"ee_forces_continuous has shape {forces.shape}; expected (steps, 50, 6), with at least "
            f"{READINGS} readings."
        )
    return forces[:, -READINGS:]


def records_of(arrays: dict[str, np.ndarray], names: Sequence[str], sense: Standard | None) -> Records:
    """Return the steps of several episodes as records."""
    columns: dict[str, Column] = {}
    for name in names:
        values = arrays[name]
        if name == "image":
            columns[name] = ImageColumn(values, np.arange(len(values)))
        elif name == "force":
            columns[name] = Sequences.cut("series", values, np.ones(values.shape[:2], dtype=bool))
        elif sense is not None:
            columns[name] = VectorColumn(sense(values))
    targets = {name: arrays[name] for name in ("position", "contact")}
    return Records(columns, targets, units=arrays["episode"])
