"""Fine-tuning: from a trained representation to a supervised one, stopped early on validation records."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save as save_tensors
from torch import Tensor, contiguous_format, nn

from commlearn.augmentations import make_batch
from commlearn.batch import View, to_device
from commlearn.config.build import build_augmentations, resolved
from commlearn.config.configuration import Experiment, Training, experiment_from, to_mapping
from commlearn.errors import ConfigurationError, DataError, DivergedError, Problems, RunError
from commlearn.methods.base import Step
from commlearn.models.encoders.own import modules_of
from commlearn.models.heads import projection_head
from commlearn.objectives import supcon
from commlearn.probes.probe import chosen_targets, has_label, probe
from commlearn.probes.readout_rows import held_out, readout_rows
from commlearn.records import Dataset, Records
from commlearn.seeds import SeededDraws, numpy_generator, torch_generator, torch_seed
from commlearn.storage.fingerprint import fingerprint
from commlearn.storage.places import is_remote
from commlearn.storage.plain_json import json_text, values_of_file
from commlearn.tables.table import Source
from commlearn.trained.artifact import trained_model
from commlearn.trained.embed import embedding_dim, with_features
from commlearn.trained.model import Trained, frozen_tensors
from commlearn.trained.run import (
    Run,
    changes,
    fitting,
    load_run,
    open_folder,
    restore,
    restore_optimizers,
    threads_as_before,
)
from commlearn.trained.run_folder import FINE_TUNING, FROZEN_WEIGHTS, VALIDATION, RunFolder
from commlearn.trained.shards import weights_digest
from commlearn.trained.training_rows import TrainingRows, rows_of_dataset
from commlearn.training.callbacks import Callback, Callbacks, Start, usual
from commlearn.training.descent import Descent, Player, adamw
from commlearn.training.watch import Watch

RESULT = "finetuned.json"
BASE = "base"  # key of the digest of the base's weights, next to the settings
NONE = -1  # the code of a class that no training record has


@dataclass(frozen=True)
class TargetObjective:
    """One target's encoding, head and loss."""

    name: str  # cross-entropy, binary cross-entropy, squared error or supcon
    views: int  # augmented versions of a record that the loss compares
    outputs: int  # number of outputs of the head
    encode: Callable[[np.ndarray], Tensor]  # turns labels into what the loss takes
    loss: Callable[[list[Tensor], Tensor], Tensor]  # takes outputs of the head for each view, encoded labels
    about: dict[str, Any]  # plain values that describe what an output means

    def head(self, dim: int) -> nn.Module:
        return projection_head(dim) if self.name == "supcon" else nn.Linear(dim, self.outputs)


def cross_entropy(labels: np.ndarray) -> TargetObjective:
    """Return the objective of a linear head with one output per class."""
    classes, codes = _classes(labels)

    def loss(outputs: list[Tensor], codes: Tensor) -> Tensor:
        labelled = codes != NONE
        if not labelled.any():
            return 0.0 * outputs[0].sum()
        return F.cross_entropy(outputs[0][labelled], codes[labelled])

    return TargetObjective("cross-entropy", 1, len(classes), codes, loss, {"classes": classes.tolist()})


def supervised_contrast(labels: np.ndarray) -> TargetObjective:
    """Return the objective of SupCon, by which records of one class agree; a probe reads the result."""
    classes, codes = _classes(labels)
    about = {"classes": classes.tolist()}
    return TargetObjective("supcon", 2, 0, codes, lambda pair, codes: supcon(pair[0], pair[1], codes), about)


def binary_cross_entropy(labels: np.ndarray) -> TargetObjective:
    """Return the objective of a linear head with one output per label, for sets of labels."""
    is_matrix = labels.ndim == 2
    names = (
        [str(column) for column in range(labels.shape[1])]
        if is_matrix
        else sorted({str(label) for record in labels for label in record})
    )
    if not names:
        raise DataError("None of the training records has a label; there is nothing to learn.")

    def encode(labels: np.ndarray) -> Tensor:
        rows = labels if is_matrix else [[name in map(str, record) for name in names] for record in labels]
        return torch.as_tensor(np.asarray(rows, dtype=np.float32))

    def loss(outputs: list[Tensor], truth: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs[0], truth)

    return TargetObjective("binary cross-entropy", 1, len(names), encode, loss, {"labels": names})


def squared_error(values: np.ndarray) -> TargetObjective:
    """Return the objective of a linear head with one output per number, standardised by training records."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-12)

    def encode(values: np.ndarray) -> Tensor:
        return torch.as_tensor((values.reshape(len(values), -1) - mean) / scale, dtype=torch.float32)

    about = {"mean": mean.tolist(), "scale": scale.tolist()}
    return TargetObjective(
        "squared error", 1, rows.shape[1], encode, lambda outputs, truth: F.mse_loss(outputs[0], truth), about
    )


OBJECTIVES: dict[str, dict[str, Callable[[np.ndarray], TargetObjective]]] = {
    "head": {"class": cross_entropy, "multilabel": binary_cross_entropy, "number": squared_error},
    "supcon": {"class": supervised_contrast},
}
"""Builders of objectives, by name of the objective and sort of the target."""


def objective_for(name: str, sort: str, labels: np.ndarray) -> TargetObjective:
    """Return the objective for a target, with classes or scales from the labels of training records."""
    if sort not in OBJECTIVES[name]:
        raise DataError(f"The objective '{name}' does not accept targets of sort {sort}; use 'head'.")
    return OBJECTIVES[name][sort](labels)


def _classes(labels: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], Tensor]]:
    """Return the classes of training records, and a function that turns labels into codes."""
    classes = np.unique(_sortable(labels))
    if len(classes) < 2:
        raise DataError(
            "Fine-tuning needs at least two classes to tell apart, but the training records have only "
            f"{', '.join(map(str, classes))}. Choose another target, or change the split."
        )

    def codes(labels: np.ndarray) -> Tensor:
        labels = _sortable(labels)
        index = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        return torch.as_tensor(np.where(classes[index] == labels, index, NONE).astype(np.int64))

    return classes, codes


def _sortable(labels: np.ndarray) -> np.ndarray:
    """Return labels that can be sorted, even if a column mixes types."""
    return labels.astype(str) if labels.dtype == object else labels


@dataclass(frozen=True)
class FineTuning:
    """Settings of a fine-tuning."""

    target: str
    objective: Literal["head", "supcon"] = "head"  # a linear head, or the supervised contrast
    epochs: int = 30  # most epochs
    patience: int = 5  # epochs without a better validation loss after which it ends
    validation: float = 0.15  # share of the training records to hold out if there is no validation part
    learning_rate: float = 3e-4  # learning rate of AdamW
    batch_size: int = 64  # records per step
    weight_decay: float = 1e-4
    seed: int = 0  # for the head, the order, the augmentation and the records held out

    def __post_init__(self) -> None:
        problems = Problems("fine-tuning")
        if self.objective not in ("head", "supcon"):
            problems.add(f"objective is '{self.objective}'; give head or supcon")
        for name in ("epochs", "patience", "learning_rate"):
            if not getattr(self, name) > 0:
                problems.add(f"{name} is {getattr(self, name)}; give a number above 0")
        if self.batch_size < 2:
            problems.add(f"batch_size is {self.batch_size}; give at least 2")
        if not 0 < self.validation < 1:
            problems.add(f"validation is {self.validation}; give a share above 0 and below 1")
        problems.raise_if_any(ConfigurationError)


def finetune(
    trained: Any,
    target: str | FineTuning,
    out: str | Path,
    data: Dataset | Source | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callback | None = None,
    callbacks: Sequence[Callback | str] = (),
) -> Run:
    """Train all weights of a model for one target, and keep those of the best epoch.

    The folder `out` is a run like any other: embed with it, probe it, export it. The labels are those on
    which probes are fitted; if the data have no validation part, one is held out from them. Test records are
    not used before the end, when they are probed.

    Args:
        trained: a run or an export, or its folder; or an Embedder.
        target: a target's name, or all settings of the fine-tuning.
        out: the run folder.
        data: a table, or records with targets; those of the training if not given.
        resume: continue from the folder's last checkpoint.
        overwrite: throw away the run that the folder holds.
        progress: shows the progress; silent if not given.
        callbacks: as in `train`; one that asks to stop ends the fine-tuning after the epoch.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:], "sign": rows[:, 0] > 0}
        >>> halves = {"left": cl.Vector("left"), "right": cl.Vector("right")}
        >>> schema = cl.Schema(halves, targets={"sign": "class"})
        >>> model = cl.Embedder(schema, epochs=1).fit({name: cells[:60] for name, cells in table.items()})
        >>> tuned = finetune(model.trained, "sign", "runs/tuned", table)
        >>> cl.embed(tuned, table).shape[0]
        90
    """
    trained = trained_model(trained)
    settings = target if isinstance(target, FineTuning) else FineTuning(target)
    planned = experiment_of(trained.experiment, settings, settings.batch_size)
    experiment_from(to_mapping(planned))  # refuses bad settings before anything is read
    labelled = labelled_records(trained, settings, data)
    objective = objective_for(settings.objective, labelled.sort, labelled.train.targets[settings.target])
    _check_validation(objective, labelled.validation.targets[settings.target], settings.target)
    experiment = experiment_of(trained.experiment, settings, len(labelled.train))
    if isinstance(data, str | Path):
        experiment = replace(experiment, data={**experiment.data, **_table_settings(trained, data)})
    experiment = resolved(experiment, trained.specs, trained.state)
    folder, all_callbacks = RunFolder(out), Callbacks(callbacks, *usual(progress))
    try:
        state, warnings = open_folder(folder, experiment, resume, overwrite)
        if state is not None:
            folder.check_data(labelled.data)
            _check_settings(folder, settings, trained)
        lines: list[str] = []  # of the log; written, like all files, once nothing is refused any more
        tuner = Tuner(folder, experiment, trained, labelled, objective, settings, lines.append)
        if state is None:
            folder.create(experiment, labelled.data)
            described = {**asdict(settings), BASE: weights_digest(trained.method)}
            folder.write(FINE_TUNING, json_text(described))
            folder.write_rows(_labelled_rows(trained, labelled, settings.target))
            folder.write_features(trained.features)  # labels do not change them
            holds_frozen = not isinstance(trained, Run) or (trained.folder.path / FROZEN_WEIGHTS).exists()
            if holds_frozen and (tensors := frozen_tensors(trained.method)):
                copies = {
                    name: tensor.cpu().clone(memory_format=contiguous_format)
                    for name, tensor in tensors.items()
                }
                folder.write_bytes(FROZEN_WEIGHTS, save_tensors(copies))
        folder.follow_table(experiment.data.get("table"))
        if state is not None and not state["finished"]:
            warnings += threads_as_before(state, experiment.training.threads, tuner.fabric.device)
        for line in (*lines, *(f"warning: {warning}" for warning in warnings)):
            folder.log(line)
        outcome = tuner.run(state, all_callbacks)
        run = replace(load_run(folder.path, modules_of(trained.method.encoders)), warnings=tuple(warnings))
        if len(labelled.data.test):
            folder.write("probes.json", json_text(probe(run, labelled.data, settings.target)))
        folder.write(RESULT, json_text({**objective.about, **outcome}))
        return run
    finally:
        folder.unlock()


def _check_validation(objective: TargetObjective, labels: np.ndarray, target: str) -> None:
    """Refuse validation records without a loss, since the best epoch is chosen by it."""
    only_new_classes = "classes" in objective.about and bool((objective.encode(labels) == NONE).all())
    if only_new_classes or len(labels) < objective.views:
        raise DataError(
            f"target '{target}': {len(labels)} labelled validation records are too few: {objective.name} "
            f"needs at least {objective.views}, including one of a class that the training records have. "
            "Add more, or change the split."
        )


def _labelled_rows(trained: Trained, labelled: Labelled, target: str) -> TrainingRows | None:
    """Return the rows of the new run and of its base, each with what was seen of it."""
    rows = rows_of_dataset(labelled.parts(), [target])
    if rows is None:
        return None
    return rows.joined(trained.rows) if trained.saw_labels else rows.after(trained.rows)


def experiment_of(base: Experiment, settings: FineTuning, records: int) -> Experiment:
    """Return the experiment of the new run: the base's model and data, and the fine-tuning's settings."""
    training = Training(
        epochs=settings.epochs,
        batch_size=min(settings.batch_size, max(records, 2)),
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        clip_norm=1.0,
        precision=base.training.precision,
        accelerator=base.training.accelerator,
        threads=base.training.threads,
        log_every=base.training.log_every,
    )
    name = f"{base.name}-{settings.target}"
    return replace(base, name=name, seed=settings.seed, training=training, scores={}, published={})


def _table_settings(trained: Trained, table: str | Path) -> dict[str, Any]:
    """Return the data settings of the new run, which name the table that it was fine-tuned on."""
    schema, _ = trained.reader()
    path = str(table) if is_remote(table) else str(Path(table).resolve())
    return {"name": "table", "table": path, "schema": schema.to_mapping(), "stream": 0}


def _check_settings(folder: RunFolder, settings: FineTuning, trained: Trained) -> None:
    """Refuse to continue a fine-tuning with settings or a base other than those it began with."""
    if not folder.fine_tuned:
        raise RunError(f"{folder.path} holds a run that was not fine-tuned. Give another out=.")
    previous = values_of_file(folder.path / FINE_TUNING, "Restore it, or give another out=.")
    current = asdict(settings)
    if differences := changes({key: previous.get(key) for key in current}, current):
        raise RunError(
            f"{folder.path} was fine-tuned with other settings: {'; '.join(differences)}. Resume with the "
            "same settings, or give another out=."
        )
    if previous.get(BASE, digest := weights_digest(trained.method)) != digest:  # older folders lack it
        raise RunError(
            f"{folder.path} was fine-tuned from another base: the weights of the given model are not those "
            "that it began with. Resume with the model that it began with, or give another out=."
        )


class Labelled(NamedTuple):
    """Data for one target, with the labelled records of the train and validation parts."""

    data: Dataset  # as it was read
    sort: str  # sort of the target: class, number or multilabel
    train: Records
    validation: Records

    def parts(self) -> Dataset:
        return Dataset(self.train, self.data.test, self.validation)


def labelled_records(trained: Trained, settings: FineTuning, data: Dataset | Source | None) -> Labelled:
    """Return the labelled records on which probes are fitted, divided into training and validation.

    If no records are given, they are those of the table or of the training's data, divided into the parts
    that the training had.
    """
    if not isinstance(data, Dataset):
        table = trained.experiment.data.get("table") if data is None else data
        rows = readout_rows(trained, data)
        if data is None and trained.experiment.data.get("stream"):
            raise DataError(
                "The training's table was streamed, so only a sample of its rows is in memory, and "
                "fine-tuning needs all of them. Pass the table: it is an argument of every command and "
                "function that reads rows."
            )
        data = rows
        if data.files is None and isinstance(table, str | Path) and table:
            data = replace(data, files=fingerprint(str(table)))
    target = settings.target
    sort = chosen_targets(data, target, "linear")[target]
    train, validation = data.fit, data.validation
    if validation is None or not len(validation):
        generator = numpy_generator(settings.seed, "fine-tuning validation")
        reserved = held_out(len(train), train.groups, settings.validation, generator)
        train, validation = train.choose(np.flatnonzero(~reserved)), train.choose(np.flatnonzero(reserved))
    return Labelled(data, sort, *(_with_target(part, target) for part in (train, validation)))


def _with_target(records: Records, target: str) -> Records:
    rows = np.flatnonzero(has_label(records.targets[target]))
    if not len(rows):
        raise DataError(
            f"target '{target}': the training or the validation part has no labelled record; add labels or "
            "change the split."
        )
    return records.choose(rows)


class Tuner:
    """Minimises one target's loss, and keeps the weights of the epoch with the lowest validation loss."""

    def __init__(
        self,
        folder: RunFolder,
        experiment: Experiment,
        trained: Trained,
        labelled: Labelled,
        objective: TargetObjective,
        settings: FineTuning,
        tell: Callable[[str], None],
    ) -> None:
        self.folder, self.experiment = folder, experiment
        self.objective, self.target, self.patience = objective, settings.target, settings.patience
        from commlearn.training.train import fabric_of  # imports the engine, which takes a second

        self.fabric = fabric_of(experiment.training)
        self.method = copy.deepcopy(trained.method).requires_grad_(True)
        parts = with_features(labelled.parts(), self.method, self.fabric.device, tell)
        self.train, self.validation = parts.train, cast(Records, parts.validation)
        self.augmentations = build_augmentations(experiment, labelled.train.specs)
        self.steps_per_epoch = max(1, len(self.train) // experiment.training.batch_size)
        with SeededDraws(torch_seed(experiment.seed, "fine-tuning head")):
            self.head = objective.head(embedding_dim(trained, blocks="learned"))
        self.tuned = nn.ModuleDict({"method": self.method, "head": self.head})
        self.best: dict[str, Any] = {"loss": float("inf"), "epoch": 0}
        self.finished = False

    def run(self, state: dict[str, Any] | None, callbacks: Callbacks) -> dict[str, Any]:
        """Train until the validation loss stops improving; return a summary."""
        from commlearn.training.loop import descend

        training = self.experiment.training
        parameters = [parameter for parameter in self.tuned.parameters() if parameter.requires_grad]
        optimizer = adamw(self.tuned, parameters, training)
        step = 0 if state is None else self._restore(state, optimizer)
        player, wrapped_optimizer = self.fabric.setup(Player(self.tuned), optimizer)
        watch = Watch(self.folder, training, callbacks, writes=True)
        total = training.epochs * self.steps_per_epoch
        if not self.finished:
            self.folder.remove_readouts()
        self.folder.log(f"{'started' if state is None else 'resumed'} at step {step} of at most {total}")

        def enough(step: int) -> bool:
            if step % self.steps_per_epoch == 0:
                self.finished = self._validate(player, step) or watch.enough
            return self.finished

        step = descend(
            self.fabric,
            {"main": wrapped_optimizer},
            watch,
            Start(self.experiment, self.folder.path, step, total, self.steps_per_epoch),
            lambda step: self._losses(player, step),
            self.steps_per_epoch,
            self._state,
            enough,
            stopped=self.finished,
        )
        self.folder.write_metrics_table()
        epochs = step // self.steps_per_epoch
        self.folder.log(f"finished after epoch {epochs}; the best was epoch {self.best['epoch']}")
        return {
            "objective": self.objective.name,
            "epochs": epochs,
            "best_epoch": self.best["epoch"],
            "validation_loss": self.best["loss"],
            "train_records": len(self.train),
            "validation_records": len(self.validation),
        }

    def _losses(self, player: Any, step: int) -> Iterator[Descent]:
        epoch, index = divmod(step, self.steps_per_epoch)
        records, size = self.train, self.experiment.training.batch_size
        rows = records.visit(self.experiment.seed, epoch, slice(index * size, (index + 1) * size))
        player.train()
        views, labels = self._views(records, rows, "augment", step)
        with SeededDraws(torch_seed(self.experiment.seed, "dropout", step)):
            loss = self._loss(player, views, labels)
        yield Descent(Step(loss, {self.target: loss}), partial(self.fabric.backward, loss))

    @torch.no_grad()
    def _validate(self, player: Any, step: int) -> bool:
        """Validate; return whether to stop, after the last epoch or `patience` epochs without improvement."""
        player.eval()
        records, size = self.validation, max(self.experiment.training.batch_size, 256)
        losses = []
        for start in range(0, len(records), size):
            rows = np.arange(start, min(start + size, len(records)))
            if len(rows) < self.objective.views:  # a contrast needs other records
                continue
            views, labels = self._views(records, rows, "validation augment", start)
            losses += [float(self._loss(player, views, labels))] * len(rows)
        mean_loss, epoch = float(np.mean(losses)), step // self.steps_per_epoch
        if not np.isfinite(mean_loss):
            raise DivergedError(
                f"The validation loss is {mean_loss} after epoch {epoch}. Give a smaller learning rate, or "
                "look for extreme values in the data."
            )
        self.folder.append(VALIDATION, {"step": step, "epoch": epoch, "loss": mean_loss})
        if mean_loss < self.best["loss"]:
            self.best = {"loss": mean_loss, "epoch": epoch, "weights": self._weights()}
        return epoch >= self.experiment.training.epochs or epoch - self.best["epoch"] >= self.patience

    def _loss(self, player: Any, views: list[View], labels: Tensor) -> Tensor:
        outputs = player(lambda: [self.head(self.method.embed(view)) for view in views])  # (batch, outputs)
        return self.objective.loss(outputs, labels)

    def _views(
        self, records: Records, rows: np.ndarray, purpose: str, counter: int
    ) -> tuple[list[View], Tensor]:
        """Return augmented views for the loss to compare; if only one, validation uses the clean record."""
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

    def _state(self) -> dict[str, Any]:
        """Return the state of a checkpoint: the last weights to resume from; at the end, the best ones."""
        weights = self.best["weights"] if self.finished else self._weights()
        parts: dict[str, dict[str, Tensor]] = {"method": {}, "head": {}}
        for name, tensor in weights.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        return {"finished": self.finished, "best": self.best, **parts}

    def _restore(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> int:
        step = restore(state, self.method, self.experiment)
        restore_optimizers(state, {"main": optimizer}, self.experiment)
        with fitting(self.experiment):
            self.head.load_state_dict(state["head"])
            best, weights = state["best"], self.tuned.state_dict()
            self.best = {"loss": float(best["loss"]), "epoch": int(best["epoch"])}
            if self.best["epoch"]:
                stored = best["weights"]
                self.best["weights"] = {name: stored[name].reshape(weights[name].shape) for name in weights}
            self.finished = bool(state["finished"])
        self.folder.truncate_metrics(step)
        return step
