"""Fine-tuning: from a trained representation to a supervised one, stopped early on validation records."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save as save_tensors
from torch import contiguous_format

from commlearn.config.configuration import Experiment, Training
from commlearn.config.resolve import resolved
from commlearn.errors import ConfigurationError, Problems, RunError
from commlearn.models.encoders.own import modules_of
from commlearn.probes import probe, to_json
from commlearn.records import Dataset
from commlearn.storage.places import is_remote
from commlearn.storage.plain_json import values_of_file
from commlearn.tables.table import Source
from commlearn.trained.artifact import load
from commlearn.trained.model import Trained
from commlearn.trained.model_bounds import frozen_tensors
from commlearn.trained.resume import open_folder, threads_as_before
from commlearn.trained.run import Run, load_run
from commlearn.trained.run_folder import FINE_TUNING, FROZEN_WEIGHTS, RunFolder
from commlearn.trained.training_rows import TrainingRows, rows_of_dataset
from commlearn.training.progress import Progress, Silent
from commlearn.training.target_objective import objective_for
from commlearn.training.tuner import Labelled, Tuner, labelled_records

__all__ = ["FineTuning", "finetune"]

RESULT = "finetuned.json"


@dataclass(frozen=True)
class FineTuning:
    """How a trained representation is fine-tuned."""

    target: str
    objective: Literal["head", "supcon"] = "head"  # a linear head, or the supervised contrast
    epochs: int = 30  # at most
    patience: int = 5  # epochs without a better validation loss after which it ends
    validation: float = 0.15  # share of the training records held out, where the data have none
    learning_rate: float = 3e-4  # of AdamW
    batch_size: int = 64  # records a step
    weight_decay: float = 1e-4
    seed: int = 0  # of the head, the order, the augmentation and the records held out

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
    trained: Trained | str | Path,
    target: str | FineTuning,
    out: str | Path,
    data: Dataset | Source | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train all weights of a model for one target, and keep those of the best epoch.

    The folder `out` is a run like any other: embed with it, probe it, export it. Labels are those on which
    probes are fitted; where the data have no validation part, one is taken from them. Test records are not
    looked at before the end, when they are probed.

    Args:
        trained: a run or an export, or its folder.
        target: a target's name, or how to fine-tune in full.
        out: the run folder.
        data: a table, or records with targets; those of the training if not given.
        resume: go on from the folder's last checkpoint.
        overwrite: throw away the run that the folder holds.
        progress: shows how far it is.
    """
    trained = trained if isinstance(trained, Trained) else load(trained)
    settings = target if isinstance(target, FineTuning) else FineTuning(target)
    labelled = labelled_records(trained, settings.target, settings.validation, settings.seed, data)
    labels = labelled.train.targets[settings.target]
    objective = objective_for(settings.objective, labelled.sort, labels)
    experiment = experiment_of(trained.experiment, settings, len(labelled.train))
    if isinstance(data, str | Path):
        experiment = replace(experiment, data={**experiment.data, **_of_table(trained, data)})
    experiment = resolved(experiment, trained.specs, trained.state)
    folder = RunFolder(out)
    state, warnings = open_folder(folder, experiment, resume, overwrite)
    try:
        if state is None:
            folder.create(experiment, labelled.data)
            folder.write(FINE_TUNING, json.dumps(asdict(settings), indent=2) + "\n")
            folder.write_rows(_labelled_rows(trained, labelled, settings.target))
            folder.write_features(trained.features)  # labels do not change them
            if not isinstance(trained, Run) and (tensors := frozen_tensors(trained.method)):
                own = {
                    name: tensor.cpu().clone(memory_format=contiguous_format)
                    for name, tensor in tensors.items()
                }
                folder.write_bytes(FROZEN_WEIGHTS, save_tensors(own))
        else:
            folder.check_data(labelled.data)
        _same(folder, settings)
        tuner = Tuner(
            folder, experiment, trained.method, labelled, objective, settings.target, settings.patience
        )
        if state is not None and not state["finished"]:
            warnings += threads_as_before(state, experiment.training.threads, tuner.fabric.device)
        for warning in warnings:
            folder.log(f"warning: {warning}")
        outcome = tuner.run(state, progress or Silent())
        run = replace(load_run(folder.path, modules_of(trained.method.encoders)), warnings=tuple(warnings))
        if len(labelled.data.test):
            folder.write("probes.json", to_json(probe(run, labelled.data, settings.target)))
        folder.write(RESULT, json.dumps({**objective.about, **outcome}, indent=2) + "\n")
        return run
    finally:
        folder.unlock()


def _labelled_rows(trained: Trained, labelled: Labelled, target: str) -> TrainingRows | None:
    """The rows whose labels the new run will have seen, those that its base saw among them."""
    seen = Dataset(labelled.train, labelled.data.test, labelled.validation)
    rows = rows_of_dataset(seen, [target])
    return rows.joined(trained.rows) if rows is not None and trained.saw_labels else rows


def experiment_of(base: Experiment, settings: FineTuning, records: int) -> Experiment:
    """What the new run's folder states: the base's model and data, and how it was fine-tuned."""
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


def _of_table(trained: Trained, table: str | Path) -> dict[str, Any]:
    """Where the new run finds its records: in the table that it was fine-tuned on."""
    schema, _ = trained.reader()
    place = str(table) if is_remote(table) else str(Path(table).resolve())
    return {"name": "table", "table": place, "schema": schema.to_mapping()}


def _same(folder: RunFolder, settings: FineTuning) -> None:
    """A fine-tuning goes on only with the settings that it began with."""
    path = folder.path / FINE_TUNING
    if not folder.fine_tuned:
        raise RunError(f"{folder.path} holds a run that was not fine-tuned. Give another --out.")
    before, now = values_of_file(path, "Restore it, or give another --out."), asdict(settings)
    changed = [
        f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in now if before.get(key) != now[key]
    ]
    if changed:
        raise RunError(
            f"{folder.path} was fine-tuned with other settings: {'; '.join(changed)}. Resume with the "
            "same, or give another --out."
        )
