"""What the network sees of one modality: clean and augmented versions of some records, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from commlearn.augmentations.sequence import MASK
from commlearn.batch import Modality
from commlearn.config.build import build_augmentations
from commlearn.errors import ConfigurationError, unknown
from commlearn.kinds.rows import evenly_spaced
from commlearn.kinds.text import RESERVED
from commlearn.plot.style import Panels, Picture, styled
from commlearn.records import Dataset, Records, presence
from commlearn.trained.embed import method_owner, with_encoder_features

OTHERS = 32  # records of the same batch, from which an augmentation may take values
WORDS = 16  # words of a text that fit on a small picture


@styled
def gallery(
    model: Any, data: Any, modality: str, records: int = 3, versions: int = 4, seed: int = 0
) -> np.ndarray:
    """Draw what the network sees: records as they are (left) and augmented, one row each.

    Judge by eye whether you could still tell the target from the augmented versions. If an encoder reads
    fixed features, those are drawn, one bar per feature.

    Args:
        model: a training, an artifact or an Embedder.
        data: a Dataset, Records, or a table.
        modality: the modality to draw.
        records: number of records, evenly spread over the data.
        versions: number of augmented versions of each record.
        seed: seed of the augmentation.
    """
    trained = method_owner(model)
    if modality not in trained.specs:
        raise ConfigurationError(unknown("modality", modality, trained.specs))
    pages = versions_of(trained, data, modality, records, versions, seed)
    figure = Picture(figsize=(0.95 * (versions + 1), 1.0 * len(pages) + 0.1), layout="constrained")
    grid = figure.subplots(len(pages), versions + 1, squeeze=False).view(Panels)
    for number, page in enumerate(pages):
        for column, (cell, version) in enumerate(zip(grid[number], page, strict=True)):
            version.draw(cell)
            if not number:
                cell.set_title("clean" if not column else f"version {column}", fontsize=8)
        drawn = [cell for cell in grid[number] if cell.lines or cell.containers]
        limits = [cell.get_ylim() for cell in drawn]
        for cell in drawn:  # one record's versions have the same scale, so that they can be compared
            cell.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    return grid


@dataclass(frozen=True)
class ModalityVersion:
    """One version of one record's modality."""

    kind: str
    values: np.ndarray
    words: tuple[str, ...] = ()

    def draw(self, axes: Axes) -> None:
        """Draw the version in a way that suits its kind."""
        axes.grid(visible=False)
        if self.kind == "image":
            pixels = np.moveaxis(self.values, 0, -1)
            axes.imshow(pixels.astype(float).clip(0, 255) / (255 if pixels.dtype == np.uint8 else 1))
        elif self.kind == "text":
            lines = wrap(" ".join(self.words[:WORDS]), 15, break_long_words=False)
            text = "\n".join([*lines, "..."] if len(self.words) > WORDS else lines)
            axes.text(0, 1, text, va="top", fontsize=7, transform=axes.transAxes)
            axes.set_axis_off()
        elif self.values.ndim == 2:
            axes.plot(self.values[:, :4], lw=0.8)
        else:
            axes.bar(range(len(self.values)), np.nan_to_num(self.values), width=1.0)
        axes.set_xticks([])
        axes.set_yticks([])


def versions_of(
    trained: Any, data: Any, modality: str, records: int, versions: int, seed: int
) -> list[list[ModalityVersion]]:
    """Return for each of some records its clean version, followed by augmented ones.

    Args:
        trained: the trained model, whose settings define the augmentations.
        data: a Dataset (its training records), Records, or a table.
        modality: the modality to return.
        records: number of records, evenly spread over those that have the modality.
        versions: number of augmented versions of each record.
        seed: seed of the augmentation.
    """
    if isinstance(data, Dataset):
        data = data.train
    if not isinstance(data, Records):
        data = trained.records(data)
    present = np.flatnonzero(presence(data.columns[modality]))
    rows = present[np.asarray(list(evenly_spaced(len(present), records)), dtype=np.int64)]
    others = np.setdiff1d(present, rows)[:OTHERS]
    rows, count = np.concatenate([rows, others]), len(rows)
    sample = with_encoder_features(Records({modality: data.columns[modality]}).choose(rows), trained.method)
    clean, spec = sample.view(slice(None))[modality], sample.specs[modality]
    augmentation = build_augmentations(trained.experiment, trained.specs).get(modality)
    generator = torch.Generator().manual_seed(seed)
    variants = [clean]
    for _ in range(versions):
        variants.append(clean if augmentation is None else augmentation(clean, generator, spec))
    words = (trained.state or {}).get(modality, {}).get("words", ())
    return [[_make_version(version, row, spec.kind, words) for version in variants] for row in range(count)]


def _make_version(modality: Modality, row: int, kind: str, words: Any) -> ModalityVersion:
    values = modality.values[row]
    if modality.padding is not None:
        values = values[~modality.padding[row]]
    array = values.detach().cpu().numpy()
    return ModalityVersion(kind, array, _words_of(array, words) if kind == "text" else ())


def _words_of(ids: np.ndarray, words: Any) -> tuple[str, ...]:
    """Return the words of the training's vocabulary, with a block for masked tokens and a dot for others."""
    return tuple(
        "▮" if token == MASK else words[token - RESERVED] if 0 <= token - RESERVED < len(words) else "·"
        for token in ids.tolist()
    )
