"""What an embedding looks like while it is learned: its rank, its spread, and what it listens to.

After every epoch a small held-out batch is embedded, clean and in evaluation mode. Nothing here
touches the training: no gradient, no random number that a step draws, no state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.augmentations import Augmentation, make_batch
from commlearn.batch import View, merge, to_device
from commlearn.config.configuration import Experiment
from commlearn.methods.base import Method
from commlearn.probes.nearest import nearest, unit
from commlearn.records import Dataset, class_codes
from commlearn.seeds import numpy_generator, torch_generator
from commlearn.trained.embed import records_at_once

FEWEST = 32  # the fewest records that a diagnosis needs
SHARE = 32  # of the training records one in so many: an epoch is hardly longer for it
IGNORED = 0.02  # a modality below this sensitivity
COLLAPSED_RANK, COLLAPSED_UNIFORMITY = 2.0, -0.05  # an embedding below the one, or above the other


@dataclass(frozen=True)
class Diagnosis:
    """What was seen after an epoch."""

    values: dict[str, dict[str, float]]
    warnings: tuple[str, ...]


class Diagnostics:
    """Looks at a method through the same few records, again and again.

    Validation records are looked at if there are enough, else training records.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: Dataset,
        method: Method,
        augmentations: Mapping[str, Augmentation],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.around = around
        self.seed, self.method, self.augmentations = experiment.seed, method, augmentations
        held_out = data.validation
        records = held_out if held_out is not None and len(held_out) >= FEWEST else data.train
        count = min(experiment.training.diagnose, max(FEWEST, len(data.train) // SHARE), len(records))
        generator = numpy_generator(self.seed, "diagnose")
        chosen = records.sample(count, generator)
        self.records = chosen.choose(generator.permutation(len(chosen)))  # neighbours in a table are alike
        seen = method.views.targets and records is data.train  # their neighbours would be read off the labels
        self.classes = {
            name: torch.from_numpy(codes)
            for name, values in ({} if seen else self.records.targets).items()
            if (codes := class_codes(values)) is not None
        }
        self.groups = self.records.group_numbers(np.arange(len(self.records)))
        self.at_once = records_at_once(self.records)

    @torch.no_grad()
    def look(self, epoch: int) -> Diagnosis:
        """Embed the records in every way that is needed, and say what it shows."""
        with self.around():
            training = self.method.training
            self.method.eval()
            plain, names = self.records.view(slice(None)), self.method.modalities
            view = merge(
                [dict(self.method.encode(part)) for part in self._parts(plain)]
            )  # once, for all that is asked of it
            fused = self._embed(view)
            alone = {name: self._embed(view, [name]) for name in names}
            shuffled = {
                name: self._embed({**view, name: view[name].apply(lambda rows: rows.roll(1, 0))})
                for name in names
            }
            generator = torch_generator(self.seed, "diagnose", epoch)
            batch = make_batch(plain, {}, self.augmentations, generator, False, 2, self.records.specs)
            first, second = (self._embed(version) for version in batch.augmented)
            self.method.train(training)
        values = {
            "rank": {"fused": effective_rank(fused)}
            | {name: effective_rank(rows) for name, rows in alone.items()},
            "spread": {"alignment": alignment(first, second), "uniformity": uniformity(fused)},
            "sensitivity": {name: sensitivity(fused, rows) for name, rows in shuffled.items()},
            "neighbours": {
                name: accuracy
                for name, classes in self.classes.items()
                if (accuracy := neighbours(fused, classes, groups=self.groups)) is not None
            },
        }
        rounded = {
            part: {name: round(value, 6) for name, value in entries.items()}
            for part, entries in values.items()
        }
        return Diagnosis(rounded, warnings_for(rounded))

    def _embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        return torch.cat([self.method.embed(part, modalities) for part in self._parts(view)]).float().cpu()

    def _parts(self, view: View) -> Iterator[View]:
        device = next(self.method.parameters()).device
        for start in range(0, len(self.records), self.at_once):
            yield to_device(_rows(view, start, start + self.at_once), device)


def _rows(view: View, start: int, stop: int) -> View:
    return {name: modality.apply(lambda rows: rows[start:stop]) for name, modality in view.items()}


def effective_rank(embedding: Tensor) -> float:
    """RankMe: the exponential of the entropy of the normalised singular values, exp(-sum p log p).

    The mean is not taken off: embeddings that are all but one point have a rank near 1, whatever the noise
    around it.

    Example:
        >>> round(effective_rank(torch.eye(8)), 3), round(effective_rank(torch.ones(8, 8)), 3)
        (8.0, 1.0)
    """
    rows = embedding.double()
    square = torch.linalg.qr(rows if len(rows) > rows.shape[1] else rows.T, mode="r").R  # has the same values
    values = torch.linalg.svdvals(square)
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return float(torch.special.entr(shares).sum().exp())


def alignment(first: Tensor, second: Tensor) -> float:
    """The mean squared distance between normalised embeddings of two versions of a record; 0 = equal."""
    return float((F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(dim=1).mean())


def uniformity(embedding: Tensor) -> float:
    """The logarithm of the mean of exp(-2 d^2) over pairs of normalised embeddings; 0 = all in one place.

    Example:
        >>> uniformity(torch.ones(4, 3))
        0.0
    """
    rows = F.normalize(embedding.double(), dim=1)
    return float((-2 * torch.pdist(rows).square()).exp().mean().log())


def sensitivity(embedding: Tensor, shuffled: Tensor) -> float:
    """How far embeddings move if one modality comes from the next record, by how far records are apart.

    0: the modality changes nothing; 1: as much as if the whole record were the next one. `shuffled` has one
    modality of each record from the record before it.
    """
    apart = (embedding - embedding.roll(1, 0)).square().sum()
    return float((embedding - shuffled).square().sum() / apart.clamp(min=torch.finfo(apart.dtype).tiny))


def neighbours(
    embedding: Tensor, classes: Tensor, count: int = 5, groups: Tensor | None = None
) -> float | None:
    """Balanced accuracy of a vote of the nearest others by cosine; None if there is nothing to tell.

    Records whose class is below 0 are left out; none is voted on by others of its group.

    Example:
        >>> near = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> neighbours(near, torch.tensor([0, 0, 1, 1]), count=1)
        1.0
    """
    labelled = classes >= 0
    rows, classes = unit(embedding[labelled].double().cpu().numpy()), classes[labelled]
    labels, classes = classes.unique(return_inverse=True)
    if not 2 <= len(labels) <= len(classes) / 2:
        return None
    units = np.arange(len(rows)) if groups is None else groups[labelled].cpu().numpy()
    others, _ = nearest(rows, rows, count, apart=(units, units))  # (N, count)
    if not others.shape[1]:
        return None
    votes = F.one_hot(classes[torch.from_numpy(others)], len(labels)).sum(dim=1)  # (N, classes)
    right = (votes.argmax(dim=1) == classes).double()
    recalls = [right[classes == label].mean() for label in range(len(labels))]
    return float(torch.stack(recalls).mean())


def warnings_for(values: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What a user should know, in plain words."""
    warnings = []
    rank, uniform = values["rank"]["fused"], values["spread"]["uniformity"]
    if rank < COLLAPSED_RANK or uniform > COLLAPSED_UNIFORMITY:
        warnings.append(
            f"the embedding is collapsing: its effective rank is {rank:.1f}, its uniformity {uniform:.2f} "
            "(0 = all records in one place). Lower training.learning_rate, or strengthen the augmentations."
        )
    heard = values["sensitivity"]
    for name, value in heard.items() if len(heard) > 1 else ():
        if value < IGNORED:
            warnings.append(
                f"modality '{name}' is being ignored: taking it from another record moves the embedding by "
                f"{100 * value:.1f} % of the distance between records. Look at its values, its encoder and "
                "its augmentation: what an augmentation destroys is not learned."
            )
    return tuple(warnings)
