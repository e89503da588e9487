"""Watches a run: metrics, diagnostics after each epoch, and a stop at the first loss that is not finite.

The diagnostics are an embedding's rank, its spread, and its sensitivity to each modality. After every epoch a
small batch, held out if possible, is embedded in evaluation mode. This does not affect the training: it needs
no gradient, draws none of a step's random numbers and changes no state.
"""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.augmentations import Augmentation, make_batch
from commlearn.batch import View, merge, to_device
from commlearn.config.configuration import Experiment, Training
from commlearn.cores import OtherWork, cores
from commlearn.errors import CheckpointError, DivergedError
from commlearn.methods.base import Method, Step
from commlearn.probes.nearest import nearest, unit
from commlearn.records import Dataset, class_codes
from commlearn.seeds import numpy_generator, torch_generator
from commlearn.trained.embed import evaluating, records_per_batch
from commlearn.trained.run_folder import METRICS, SPEED, RunFolder
from commlearn.training.callbacks import Callbacks

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CALLBACK = 1  # stands for a callback that asks to stop; below the numbers of the signals handled here


class Interrupt:
    """Turns Ctrl-C and SIGTERM into a checkpoint after the step in progress."""

    def __init__(self) -> None:
        self.signal = 0  # the last signal received; written only by the handler, so that none is lost
        self.wish = 0  # what callbacks and other ranks asked for
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        with suppress(ValueError):  # not the main thread: its owner handles signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        self.signal = number
        if number == signal.SIGINT:  # a second Ctrl-C ends the step in progress
            signal.signal(number, self.before[number])

    @property
    def stop_code(self) -> int:
        return max(self.signal, self.wish)

    def should_stop(self, fabric: Fabric, due: bool, enough: bool = False) -> bool:
        """Return whether to stop: all ranks stop if any of them was asked to.

        Several ranks exchange this only when `due`, which is the same on all of them; a single rank need not.
        A signal that arrives during the exchange ends the run at the next exchange.
        """
        self.wish = max(self.wish, CALLBACK if enough else 0)
        if fabric.world_size == 1:
            return bool(self.stop_code)
        if not due:
            return False
        largest: Any = fabric.all_reduce(torch.tensor(float(self.stop_code)), reduce_op="max")
        self.wish = max(self.wish, int(largest))
        return bool(largest)

    @property
    def signalled(self) -> bool:
        """Whether a signal asked the program to end."""
        return self.stop_code > CALLBACK

    def error(self) -> BaseException:
        return KeyboardInterrupt() if self.stop_code == signal.SIGINT else SystemExit(128 + self.stop_code)


class Watch:
    """Checks that losses are finite and writes metrics, without a synchronisation at every step."""

    def __init__(
        self,
        folder: RunFolder,
        training: Training,
        callbacks: Callbacks,
        writes: bool,
        diagnostics: Diagnostics | None = None,
        other_work: OtherWork | None = None,  # measures the load on a CPU that torch's threads share
    ) -> None:
        self.folder, self.training, self.callbacks, self.writes = folder, training, callbacks, writes
        self.diagnostics, self.other_work = diagnostics, other_work
        self.warnings: tuple[str, ...] = ()  # warnings of the last epoch
        self.unchecked: list[tuple[int, dict[str, Tensor]]] = []
        self.latest: dict[str, dict[str, Tensor]] = {"terms": {}, "accuracy": {}, "gradient_norm": {}}
        self.enough = False  # whether a callback has asked to stop
        self.since = time.perf_counter()
        self.since_step: int | None = None

    def see(self, step: int, loss: Step, norm: Tensor) -> None:
        """Record one loss after its step of descent."""
        prefix = "" if loss.group == "main" else f"{loss.group}."
        prefixed_terms = {prefix + name: term.detach() for name, term in loss.terms.items()}
        self.unchecked.append((step, prefixed_terms))
        self.latest["terms"] |= prefixed_terms
        self.latest["accuracy"] |= {prefix + name: value for name, value in loss.accuracy.items()}
        self.latest["gradient_norm"] |= {loss.group: norm}

    def step(self, step: int, epoch: float, rate: float) -> bool:
        """End a step: every `log_every` steps and after an epoch, check recent losses and write metrics.

        Returns whether it did so, which is the same on all ranks.
        """
        if self.since_step is None:
            self.since_step = step - 1
        epoch_ended = float(epoch).is_integer()
        if step % self.training.log_every and not epoch_ended:
            return False
        self.check()
        self._look_for_other_work()
        values = {key: {name: float(v) for name, v in part.items()} for key, part in self.latest.items()}
        if epoch_ended and self.diagnostics is not None:
            values |= self._diagnose(self.diagnostics, int(epoch))
        now = time.perf_counter()
        rate_of_samples = (step - self.since_step) * self.training.batch_size / (now - self.since)
        self.since, self.since_step = now, step
        entry = {"step": step, "epoch": round(epoch, 6), "learning_rate": rate, **values}
        speed = {"samples_per_second": round(rate_of_samples, 2)}
        if self.writes:
            self.folder.append(METRICS, entry)
            self.folder.append(SPEED, {"step": step, **speed})
        self.enough |= self.callbacks.step(step, entry | speed)
        if epoch_ended:
            self.enough |= self.callbacks.epoch(int(epoch), entry | speed)
        return True

    def _look_for_other_work(self) -> None:
        """Warn once, at the first metrics, if torch has more threads than there are free cores."""
        if self.other_work is not None and self.writes:
            free_cores, threads = max(1, self.other_work.free()), torch.get_num_threads()
            if threads > free_cores:
                line = (
                    f"other work leaves {free_cores} of {cores()} cores free, and torch's {threads} threads "
                    "wait for each other: this may take several times as long. Call "
                    "commlearn.cores.use_free_cores() first, or set OMP_NUM_THREADS or training.threads."
                )
                self.folder.log(f"warning: {line}")
                warnings.warn(RuntimeWarning(line), stacklevel=2)
        self.other_work = None

    def _diagnose(self, diagnostics: Diagnostics, epoch: int) -> dict[str, dict[str, float]]:
        """Return the diagnostics of the embedding; log warnings that did not apply after the last epoch."""
        values = diagnostics.look(epoch)
        previous = {warning.split(":")[0] for warning in self.warnings}
        self.warnings = warnings_for(values)
        for warning in self.warnings if self.writes else ():
            if warning.split(":")[0] not in previous:
                self.folder.log(f"warning after epoch {epoch}: {warning}")
        return {f"diagnostics.{part}": entries for part, entries in values.items() if entries}

    def check(self) -> None:
        """Raise an error for the first loss that was not finite; no checkpoint was saved after it."""
        for step, terms in self.unchecked:
            for name, term in terms.items():
                if not torch.isfinite(term):
                    raise DivergedError(
                        f"The loss term '{name}' is {float(term)} at step {step}. {self._last_good()} Lower "
                        "training.learning_rate, set training.clip_norm to 1, or look for extreme values in "
                        "the data."
                    )
        self.unchecked.clear()

    def _last_good(self) -> str:
        try:
            state, _ = self.folder.state()
        except CheckpointError:
            return "There is no earlier checkpoint."
        return f"The last good checkpoint is that of step {state['step']}, in {self.folder.checkpoints}."


FEWEST = 32  # the fewest records that a diagnosis needs
SHARE = 32  # at most one in so many training records is used, which hardly makes an epoch longer
IGNORED = 0.02  # sensitivity below which a modality counts as ignored
COLLAPSED_RANK, COLLAPSED_UNIFORMITY = 2.0, -0.05  # collapsed if below the one or above the other


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
    def look(self, epoch: int) -> dict[str, dict[str, float]]:
        """Embed the records in every way that is needed; return the diagnostics by part."""
        with self.around(), evaluating(self.method):
            plain, names = self.records.view(slice(None)), self.method.modalities
            # encoded once, for all embeddings of it
            view = merge([dict(self.method.encode(part)) for part in self._parts(plain)])
            fused = self._embed(view)
            by_modality = {name: self._embed(view, [name]) for name in names}
            shuffled = {
                name: self._embed({**view, name: view[name].apply(lambda rows: rows.roll(1, 0))})
                for name in names
            }
            generator = torch_generator(self.seed, "diagnose", epoch)
            batch = make_batch(plain, {}, self.augmentations, generator, False, 2, self.records.specs)
            first, second = (self._embed(version) for version in batch.augmented)
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
        return {
            part: {name: round(value, 6) for name, value in entries.items()}
            for part, entries in values.items()
        }

    def _embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        return torch.cat([self.method.embed(part, modalities) for part in self._parts(view)]).float().cpu()

    def _parts(self, view: View) -> Iterator[View]:
        device = next(self.method.parameters()).device
        for start in range(0, len(self.records), self.at_once):
            rows = itemgetter(slice(start, start + self.at_once))
            yield to_device({name: modality.apply(rows) for name, modality in view.items()}, device)


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
    lines = []
    rank, uniform = values["rank"]["fused"], values["spread"]["uniformity"]
    if rank < COLLAPSED_RANK or uniform > COLLAPSED_UNIFORMITY:
        lines.append(
            f"the embedding is collapsing: its effective rank is {rank:.1f}, its uniformity {uniform:.2f} "
            "(0 = all records in one place). Lower training.learning_rate, or strengthen the augmentations."
        )
    sensitivities = values["sensitivity"]
    for name, value in sensitivities.items() if len(sensitivities) > 1 else ():
        if value < IGNORED:
            lines.append(
                f"modality '{name}' is being ignored: taking it from another record moves the embedding by "
                f"only {100 * value:.1f} % of the distance between records. Check its values, its encoder "
                "and its augmentation: what an augmentation destroys is not learned."
            )
    return tuple(lines)
