"""The loop of fine-tuning, and the labelled records that it trains and validates on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from commlearn.augmentations import make_batch
from commlearn.batch import View, to_device
from commlearn.config.build import build_augmentations
from commlearn.config.configuration import Experiment
from commlearn.errors import DataError, DivergedError
from commlearn.methods.base import Method
from commlearn.own_draws import OwnDraws
from commlearn.probes import chosen_targets, known_labels
from commlearn.probes.readout_rows import held_out, readout_rows
from commlearn.records import Dataset, Records
from commlearn.seeds import numpy_generator, torch_generator, torch_seed
from commlearn.storage.fingerprint import fingerprint
from commlearn.tables.table import Source
from commlearn.trained.feature_columns import with_features
from commlearn.trained.model import Trained
from commlearn.trained.resume import fitting, restore, restore_optimizers
from commlearn.trained.run_folder import VALIDATION, RunFolder
from commlearn.training.interrupt import Interrupt
from commlearn.training.optimization import adamw
from commlearn.training.progress import Progress
from commlearn.training.target_objective import TargetObjective
from commlearn.training.watch import Watch

__all__ = ["Labelled", "Tuned", "Tuner", "labelled_records"]


class Labelled(NamedTuple):
    """Records that have the target."""

    data: Dataset  # as it was read
    sort: str  # of the target: class, number or multilabel
    train: Records
    validation: Records


def labelled_records(
    trained: Trained, target: str, share: float, seed: int, data: Dataset | Source | None = None
) -> Labelled:
    """The records on which probes are fitted, without those that have no label.

    Args:
        trained: what was trained.
        target: whose labels are learned.
        share: of the training records that are held out, where the data have no validation part.
        seed: of the records held out.
        data: its parts, or a table; the training's own data, in the parts that it had them in, if not given.
    """
    data = data if isinstance(data, Dataset) else _read(trained, data)
    sort = chosen_targets(data, target, "linear")[target]
    train, validation = data.fit, data.validation
    if validation is None or not len(validation):
        generator = numpy_generator(seed, "fine-tuning validation")
        held = held_out(len(train), train.groups, share, generator)
        train, validation = train.choose(np.flatnonzero(~held)), train.choose(np.flatnonzero(held))
    return Labelled(data, sort, *(_known(part, target) for part in (train, validation)))


def _read(trained: Trained, source: Source | None) -> Dataset:
    """The table, or the data of the training, in the parts that it had them in."""
    data = readout_rows(trained, source)
    table = trained.experiment.data.get("table") if source is None else source
    if data.files is not None or not isinstance(table, str | Path) or not table:
        return data
    return replace(data, files=fingerprint(str(table)))


def _known(records: Records, target: str) -> Records:
    rows = np.flatnonzero(known_labels(records.targets[target]))
    if not len(rows):
        raise DataError(f"target '{target}': no record of a part has it; fill it, or split otherwise.")
    return records.choose(rows)


class Tuned(nn.Module):
    """A method's embedding and the head that reads it."""

    def __init__(self, method: Method, head: nn.Module) -> None:
        super().__init__()
        self.method = method
        self.head = head

    def forward(self, views: Iterator[View]) -> list[Tensor]:  # an iterator, which the engine lets alone
        return [self.head(self.method.embed(view)) for view in views]  # each (batch, outputs)


class Tuner:
    """Descends one target's loss; keeps the weights of the epoch with the lowest validation loss.

    Args:
        folder: of the run, locked.
        experiment: data, model and training settings.
        method: where it starts; it stays as it is.
        labelled: training and validation records.
        objective: head and loss.
        target: its name.
        patience: epochs without a better validation loss after which it ends.
    """

    def __init__(
        self,
        folder: RunFolder,
        experiment: Experiment,
        method: Method,
        labelled: Labelled,
        objective: TargetObjective,
        target: str,
        patience: int,
    ) -> None:
        self.folder, self.experiment = folder, experiment
        self.objective, self.target, self.patience = objective, target, patience
        training = experiment.training
        if training.threads:
            torch.set_num_threads(training.threads)
        from lightning_fabric import Fabric

        self.fabric = Fabric(accelerator=training.accelerator, devices=1, precision=training.precision)
        self.fabric.launch()
        method = copy.deepcopy(method).requires_grad_(True)
        parts = Dataset(labelled.train, labelled.data.test, labelled.validation)
        parts = with_features(parts, method, self.fabric.device, folder.log)
        self.train, self.validation = parts.train, cast(Records, parts.validation)
        self.augmentations = build_augmentations(experiment, labelled.train.specs)
        self.steps_per_epoch = max(1, len(self.train) // training.batch_size)
        with OwnDraws(torch_seed(experiment.seed, "fine-tuning head")):
            self.tuned = Tuned(method, objective.head(_dim(method, self.train)))
        self.best: dict[str, Any] = {"loss": float("inf"), "epoch": 0}

    def run(self, state: dict[str, Any] | None, progress: Progress) -> dict[str, Any]:
        """Train until validation stops improving; returns a summary."""
        training = self.experiment.training
        trained = [parameter for parameter in self.tuned.parameters() if parameter.requires_grad]
        optimizer = adamw(self.tuned, trained, training)
        step, finished = self._restore(state, optimizer) if state is not None else (0, False)
        player, engine = self.fabric.setup(self.tuned, optimizer)
        watch = Watch(self.folder, training, progress, writes=True)
        total = training.epochs * self.steps_per_epoch
        self.folder.log(f"{'started' if state is None else 'resumed'} at step {step} of at most {total}")
        progress.start(self.experiment, step, total, self.steps_per_epoch)
        with Interrupt() as stop:
            while not (finished or stop.asked):
                loss, norm = self._descend(player, engine, step)
                step += 1
                watch.see(step, {self.target: loss}, {}, "main", norm)
                watch.step(step, step / self.steps_per_epoch, training.learning_rate)
                ended = step % self.steps_per_epoch == 0
                if ended or stop.asked:
                    watch.check()
                    finished = ended and self._look(player, step)
                    self._save(step, engine, finished)
        progress.stop()
        if not finished:
            self.folder.log(f"interrupted after step {step}; a checkpoint was written")
            raise stop.error()
        self.folder.write_metrics_table()
        epochs = step // self.steps_per_epoch
        self.folder.log(f"finished after epoch {epochs}; the best was {self.best['epoch']}")
        return {
            "objective": self.objective.name,
            "epochs": epochs,
            "best_epoch": self.best["epoch"],
            "validation_loss": self.best["loss"],
            "train_records": len(self.train),
            "validation_records": len(self.validation),
        }

    def _descend(self, player: Any, engine: Any, step: int) -> tuple[Tensor, Any]:
        training = self.experiment.training
        epoch, place = divmod(step, self.steps_per_epoch)
        records, size = self.train, training.batch_size
        rows = records.visit(self.experiment.seed, epoch, slice(place * size, (place + 1) * size))
        player.train()
        views, labels = self._views(records, rows, "augment", step)
        with OwnDraws(torch_seed(self.experiment.seed, "dropout", step)):
            loss = self.objective.loss(player(iter(views)), labels)
        engine.zero_grad()
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            player, engine, max_norm=training.clip_norm, error_if_nonfinite=False
        )
        engine.step()
        return loss, norm

    @torch.no_grad()
    def _look(self, player: Any, step: int) -> bool:
        """Whether to stop: validation has not improved for `patience` epochs."""
        player.eval()
        records, size = self.validation, max(self.experiment.training.batch_size, 256)
        losses = []
        for start in range(0, len(records), size):
            rows = np.arange(start, min(start + size, len(records)))
            if len(rows) < self.objective.views:  # a contrast needs company
                continue
            views, labels = self._views(records, rows, "validation augment", start)
            losses += [float(self.objective.loss(player(iter(views)), labels))] * len(rows)
        reached = float(np.mean(losses)) if losses else float("nan")
        epoch = step // self.steps_per_epoch
        if losses and not np.isfinite(reached):
            raise DivergedError(
                f"The validation loss is {reached} after epoch {epoch}. Give a smaller learning rate, or "
                "look for extreme values in the data."
            )
        self.folder.append(VALIDATION, {"step": step, "epoch": epoch, "loss": reached})
        if reached < self.best["loss"] or self.best["epoch"] == 0:
            self.best = {"loss": reached, "epoch": epoch, "weights": self._weights()}
        return epoch >= self.experiment.training.epochs or epoch - self.best["epoch"] >= self.patience

    def _views(
        self, records: Records, rows: np.ndarray, purpose: str, counter: int
    ) -> tuple[list[View], Tensor]:
        """As many augmented versions as the loss compares; validation sees the clean record if it is one."""
        view = to_device(records.view(rows), self.fabric.device)
        labels = self.objective.encode(records.targets[self.target][rows]).to(self.fabric.device)
        if purpose != "augment" and self.objective.views == 1:
            return [view], labels
        generator = torch_generator(self.experiment.seed, purpose, counter)
        batch = make_batch(
            view, {}, self.augmentations, generator, False, self.objective.views, records.specs
        )
        return list(batch.augmented), labels

    def _weights(self) -> dict[str, Any]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.tuned.state_dict().items()}

    def _save(self, step: int, engine: Any, finished: bool) -> None:
        """The last weights to go on from; at the end, the best ones."""
        weights = self.best["weights"] if finished else self._weights()
        parts = {
            part: {
                name.removeprefix(f"{part}."): tensor
                for name, tensor in weights.items()
                if name.startswith(f"{part}.")
            }
            for part in ("method", "head")
        }
        state = {
            "step": step,
            "total": self.experiment.training.epochs * self.steps_per_epoch,
            "threads": torch.get_num_threads(),
            "finished": finished,
            "best": self.best,
            "optimizers": {"main": engine.state_dict()},
            **parts,
        }
        self.folder.save(state)

    def _restore(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> tuple[int, bool]:
        step = restore(state, self.tuned.method, self.experiment)
        restore_optimizers(state, {"main": optimizer}, self.experiment)
        with fitting(self.experiment):
            self.tuned.head.load_state_dict(state["head"])
            best, weights = state["best"], self.tuned.state_dict()
            self.best = {"loss": float(best["loss"]), "epoch": int(best["epoch"])}
            if self.best["epoch"]:
                stored = best["weights"]
                self.best["weights"] = {name: stored[name].reshape(weights[name].shape) for name in weights}
            finished = bool(state["finished"])
        self.folder.truncate_metrics(step)
        return step, finished


@torch.no_grad()
def _dim(method: Method, records: Records) -> int:
    """Numbers in an embedding."""
    method.eval()
    device = next(method.parameters()).device
    return method.embed(to_device(records.view(np.arange(1)), device)).shape[1]
