"""Diagnostics of an embedding in training: its rank, its spread, and its sensitivity to each modality.

After every epoch a small batch, held out if possible, is embedded in evaluation mode. This does not
affect the training: it needs no gradient, draws none of a step's random numbers and changes no state.
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
from commlearn.trained.embed import records_per_batch

FEWEST = 32  # the fewest records that a diagnosis needs
SHARE = 32  # at most one in so many training records is used, which hardly makes an epoch longer
IGNORED = 0.02  # sensitivity below which a modality counts as ignored
COLLAPSED_RANK, COLLAPSED_UNIFORMITY = 2.0, -0.05  # collapsed if below the one or above the other


@dataclass(frozen=True)
class Diagnosis:
    """Diagnostics of one epoch, and the warnings that follow from them."""

    values: dict[str, dict[str, float]]
    warnings: tuple[str, ...]


class Diagnostics:
    """Embeds the same few records after each epoch to see how a method is doing.

    These are validation records if there are enough of them, otherwise training records.
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
        sample = records.sample(count, generator)
        self.records = sample.choose(generator.permutation(len(sample)))  # neighbouring rows are alike
        # neighbours of training records would reflect the labels that the method learned from
        saw_labels = method.views.targets and records is data.train
        self.classes = {
            name: torch.from_numpy(codes)
            for name, values in ({} if saw_labels else self.records.targets).items()
            if (codes := class_codes(values)) is not None
        }
        self.groups = self.records.group_numbers(np.arange(len(self.records)))
        self.at_once = records_per_batch(self.records)

    @torch.no_grad()
    def look(self, epoch: int) -> Diagnosis:
        """Embed the records in every way that is needed; return the diagnostics and warnings."""
        with self.around():
            training = self.method.training
            self.method.eval()
            plain, names = self.records.view(slice(None)), self.method.modalities
            view = merge(
                [dict(self.method.encode(part)) for part in self._parts(plain)]
            )  # encoded once, for all embeddings of it
            fused = self._embed(view)
            by_modality = {name: self._embed(view, [name]) for name in names}
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
            | {name: effective_rank(rows) for name, rows in by_modality.items()},
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
    """Return RankMe: the exponential of the entropy of the normalised singular values, exp(-sum p log p).

    The mean is not subtracted: embeddings that are nearly a single point have a rank near 1, whatever the
    noise around it.

    Example:
        >>> round(effective_rank(torch.eye(8)), 3), round(effective_rank(torch.ones(8, 8)), 3)
        (8.0, 1.0)
    """
    rows = embedding.double()
    # R has the same singular values
    square = torch.linalg.qr(rows if len(rows) > rows.shape[1] else rows.T, mode="r").R
    values = torch.linalg.svdvals(square)
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return float(torch.special.entr(shares).sum().exp())


def alignment(first: Tensor, second: Tensor) -> float:
    """Return the mean squared distance of normalised embeddings of two versions of a record; 0 = equal."""
    return float((F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(dim=1).mean())


def uniformity(embedding: Tensor) -> float:
    """Return the logarithm of the mean of exp(-2 d^2) over pairs of normalised embeddings; 0 = all equal.

    Example:
        >>> uniformity(torch.ones(4, 3))
        0.0
    """
    rows = F.normalize(embedding.double(), dim=1)
    return float((-2 * torch.pdist(rows).square()).exp().mean().log())


def sensitivity(embedding: Tensor, shuffled: Tensor) -> float:
    """Return how far embeddings move when one modality is swapped, relative to the distance between records.

    0: the modality changes nothing; 1: it changes as much as the whole other record would. `shuffled` has
    one modality of each record from the record before it.
    """
    scale = (embedding - embedding.roll(1, 0)).square().sum()
    return float((embedding - shuffled).square().sum() / scale.clamp(min=torch.finfo(scale.dtype).tiny))


def neighbours(
    embedding: Tensor, classes: Tensor, count: int = 5, groups: Tensor | None = None
) -> float | None:
    """Return balanced accuracy of a nearest-neighbour vote by cosine; None with too few records or classes.

    Records whose class is below 0 are left out. Records of the same group do not vote on each other.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> neighbours(vectors, torch.tensor([0, 0, 1, 1]), count=1)
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
    correct = (votes.argmax(dim=1) == classes).double()
    recalls = [correct[classes == label].mean() for label in range(len(labels))]
    return float(torch.stack(recalls).mean())


def warnings_for(values: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return warnings for the user about a collapsing embedding and ignored modalities."""
    warnings = []
    rank, uniform = values["rank"]["fused"], values["spread"]["uniformity"]
    if rank < COLLAPSED_RANK or uniform > COLLAPSED_UNIFORMITY:
        warnings.append(
            f"the embedding is collapsing: its effective rank is {rank:.1f}, its uniformity {uniform:.2f} "
            "(0 = all records in one place). Lower training.learning_rate, or strengthen the augmentations."
        )
    sensitivities = values["sensitivity"]
    for name, value in sensitivities.items() if len(sensitivities) > 1 else ():
        if value < IGNORED:
            warnings.append(
                f"modality '{name}' is being ignored: taking it from another record moves the embedding by "
                f"only {100 * value:.1f} % of the distance between records. Check its values, its encoder "
                "and its augmentation: what an augmentation destroys is not learned."
            )
    return tuple(warnings)
