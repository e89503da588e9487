"""Watches a run: metrics, diagnostics after each epoch, and a stop at the first loss that is not finite."""

from __future__ import annotations

import signal
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from commlearn.config.configuration import Training
from commlearn.cores import OtherWork, cores
from commlearn.errors import CheckpointError, DivergedError
from commlearn.trained.run_folder import METRICS, SPEED, RunFolder
from commlearn.training.callbacks import Callbacks
from commlearn.training.diagnostics import Diagnostics

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
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._ask)
        except ValueError:  # not the main thread: its owner handles signals
            pass
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

    def see(
        self,
        step: int,
        terms: dict[str, Tensor],
        accuracy: dict[str, Tensor],
        group: str,
        norm: Tensor,
    ) -> None:
        """Record one loss after its step of descent."""
        prefix = "" if group == "main" else f"{group}."
        prefixed_terms = {prefix + name: term.detach() for name, term in terms.items()}
        self.unchecked.append((step, prefixed_terms))
        self.latest["terms"] |= prefixed_terms
        self.latest["accuracy"] |= {prefix + name: value for name, value in accuracy.items()}
        self.latest["gradient_norm"] |= {group: norm}

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
        diagnosis = diagnostics.look(epoch)
        for warning in diagnosis.warnings if self.writes else ():
            if warning.split(":")[0] not in {previous.split(":")[0] for previous in self.warnings}:
                self.folder.log(f"warning after epoch {epoch}: {warning}")
        self.warnings = diagnosis.warnings
        return {f"diagnostics.{part}": entries for part, entries in diagnosis.values.items() if entries}

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
