"""MOSI, MOSEI, UR-FUNNY and MUsTARD: utterances as aligned series of vision, audio and text features.

Published as one pickle: {train, valid, test} -> {vision, audio, text: (samples, steps, features), labels}.
Steps are padded with zeros in front. Every modality is cut at the first step whose text is not all zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from commlearn.datasets.converted import Content, Standard, finite, open_content
from commlearn.errors import ConfigurationError, DataError, unknown
from commlearn.records import Column, Dataset, Records, Sequences

MODALITIES = ("vision", "audio", "text")
PARTS = {"train": "train", "validation": "valid", "test": "test"}


class Part(NamedTuple):
    """One of the published parts, without samples that have no text."""

    values: dict[str, np.ndarray]  # (samples, steps, features) float32
    from_first_word: np.ndarray  # (samples, steps): True from the first step that has text
    labels: np.ndarray  # (samples,)
    videos: np.ndarray | None  # (samples,) uint64: the video of each utterance, if the file says so
    notes: list[str]


@dataclass(frozen=True)
class Utterances:
    """Utterances with one label each, in the published split."""

    name: ClassVar[str]
    file: ClassVar[str]  # name of the published file
    target: ClassVar[str]  # name of the target, which is 1 if the label is above 0
    features: ClassVar[dict[str, tuple[int, ...]]]  # widths of the published files

    path: str = ""  # path of the pickle, or of the folder that `commlearn convert` made from it
    modalities: Sequence[str] = ("vision", "text")  # any of vision, audio and text
    standardise: bool = True  # whether features get mean 0 and deviation 1 over the training steps

    def read(self) -> Dataset:
        """Read the file and standardise by its training part only."""
        for name in self.modalities:
            if name not in MODALITIES:
                raise ConfigurationError(f"data.modalities: {unknown('modality', name, MODALITIES)}")
        if not self.modalities:
            raise ConfigurationError(f"data.modalities is empty; name some of {', '.join(MODALITIES)}.")
        names = [name for name in MODALITIES if name in self.modalities]
        content = open_content(self.path, self.name, self.file)
        parts = {part: read_part(content, key, names) for part, key in PARTS.items()}
        content.raise_if_any()
        for name in names:
            content.same(
                {f"{PARTS[part]}/{name}": samples.values[name].shape[2] for part, samples in parts.items()},
                "features",
            )
        content.raise_if_any()
        for part, samples in parts.items():
            if not len(samples.labels):
                raise DataError(f"{content.location}: {PARTS[part]} has no sample with text.")
        records = self._records(parts, names)
        notes = [note for samples in parts.values() for note in samples.notes]
        notes = self._widths(parts["train"]) + notes
        return Dataset(records["train"], records["test"], records["validation"], notes=tuple(notes))

    def _records(self, parts: dict[str, Part], names: Sequence[str]) -> dict[str, Records]:
        columns: dict[str, dict[str, Column]] = {part: {} for part in parts}
        for name in names:
            train = parts["train"]
            standard = Standard.of(train.values[name][train.from_first_word]) if self.standardise else None
            for part, samples in parts.items():
                column = Sequences.cut("series", samples.values[name], samples.from_first_word)
                if standard is not None:
                    column.steps[:-1] = standard(column.steps[:-1])
                columns[part][name] = column
        return {
            part: Records(
                columns[part], {self.target: (samples.labels > 0).astype(np.int64)}, units=samples.videos
            )
            for part, samples in parts.items()
        }

    def _widths(self, train: Part) -> list[str]:
        """Return a note for each width that the published file does not have: it may be another file."""
        widths = {name: values.shape[2] for name, values in train.values.items()}
        return [
            f"{name} has {width} features; the published {self.file} has "
            f"{' or '.join(map(str, self.features[name]))}"
            for name, width in widths.items()
            if width not in self.features[name]
        ]


def read_part(content: Content, part: str, names: Sequence[str]) -> Part:
    """Return one part of the file; what is wrong with it is added to the content's problems."""
    axes = "samples, steps, features"
    arrays = {name: content.numbers(f"{part}/{name}", axes) for name in dict.fromkeys((*names, "text"))}
    labels = _labels(content, f"{part}/labels")
    sizes = {f"{part}/{name}": values.shape for name, values in arrays.items() if values.size}
    content.same(
        {**{key: shape[0] for key, shape in sizes.items()}, f"{part}/labels": len(labels)}, "samples"
    )
    content.same({key: shape[1] for key, shape in sizes.items()}, "steps")
    if content.problems.messages:
        empty = np.zeros((0, 0), dtype=bool)
        return Part(
            {name: np.zeros((0, 0, 0), dtype=np.float32) for name in names}, empty, labels[:0], None, []
        )
    notes = []
    values = {}
    for name, raw in arrays.items():
        values[name], wrong = finite(raw)
        if wrong:
            notes.append(f"{part}: {wrong} values of {name} are not finite and count as 0")
    spoken = values["text"].any(axis=2)  # (samples, steps)
    from_first_word = np.logical_or.accumulate(spoken, axis=1)
    videos = _videos(content.leaves.get(f"{part}/id"), len(labels))
    has_text = np.logical_or.reduce(spoken, axis=1)
    if not has_text.all():
        notes.append(
            f"{part}: {int((~has_text).sum())} of {len(has_text)} samples have no text and are left out"
        )
        from_first_word, labels = from_first_word[has_text], labels[has_text]
        values = {name: array[has_text] for name, array in values.items()}
        videos = None if videos is None else videos[has_text]
    return Part({name: values[name] for name in names}, from_first_word, labels, videos, notes)


def _videos(ids: Any, samples: int) -> np.ndarray | None:
    """Return the number of each utterance's video, from ids such as `video[3]` or (video, start, end)."""
    if not (isinstance(ids, list) or (isinstance(ids, np.ndarray) and ids.ndim)) or len(ids) != samples:
        return None
    names = [entry if isinstance(entry, str) else next(iter(np.ravel(entry)), "") for entry in ids]
    videos = np.unique([str(entry).partition("[")[0] for entry in names], return_inverse=True)[1]
    return videos.astype(np.uint64) if len(np.unique(videos)) < samples else None


def _labels(content: Content, key: str) -> np.ndarray:
    """Return the labels, (samples,), from (samples, 1, 1), (samples, 1) or (samples,)."""
    axes = {1: "samples", 2: "samples, 1", 3: "samples, 1, 1"}
    labels = content.numbers(key, axes.get(np.ndim(content.leaves.get(key, ())), axes[3]))
    if labels.size != len(labels):
        content.problems.add(f"{key} has shape {labels.shape}; expected one label per sample.")
    labels = labels.reshape(-1)[: len(labels)]
    wrong = int((~np.isfinite(labels)).sum())
    if wrong:
        content.problems.add(f"{key} has {wrong} labels that are not numbers.")
    return labels


class Mosi(Utterances):
    """CMU-MOSI: sentiment of film reviews; 1 = positive."""

    name = "mosi"
    file = "mosi_raw.pkl"
    target = "sentiment"
    features: ClassVar = {"vision": (20, 35), "audio": (5, 74), "text": (300,)}


class Mosei(Utterances):
    """CMU-MOSEI: sentiment of talks; 1 = positive."""

    name = "mosei"
    file = "mosei_senti_data.pkl"
    target = "sentiment"
    features: ClassVar = {"vision": (35,), "audio": (74,), "text": (300,)}


class UrFunny(Utterances):
    """UR-FUNNY: whether a talk's punchline is funny; 1 = funny."""

    name = "ur_funny"
    file = "humor.pkl"
    target = "humor"
    features: ClassVar = {"vision": (371,), "audio": (81,), "text": (300,)}


class Mustard(Utterances):
    """MUsTARD: sarcasm in television scenes; 1 = sarcastic."""

    name = "mustard"
    file = "sarcasm.pkl"
    target = "sarcasm"
    features: ClassVar = {"vision": (371,), "audio": (81,), "text": (300,)}
