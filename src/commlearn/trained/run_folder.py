"""The folder of one run: configuration, versions, metrics, checkpoints and log."""

from __future__ import annotations

import csv
import io
import json
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

import commlearn
from commlearn.batch import Spec
from commlearn.config.configuration import Experiment, stored_experiment, to_mapping
from commlearn.errors import DAMAGED, CommlearnError, ConfigurationError, RunError
from commlearn.escapes import spreadsheet_text
from commlearn.kinds.base import check_learned
from commlearn.models.features import FeatureBlocks
from commlearn.records import Dataset
from commlearn.storage.checkpoint import (
    CHECKPOINTS,
    last_checkpoint,
    set_aside,
    write_atomically,
    write_checkpoint,
)
from commlearn.storage.file_list import FileList
from commlearn.storage.locks import hold
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import parse_json, values_of_file
from commlearn.storage.plain_yaml import read_yaml, yaml_text
from commlearn.tables.schema import Schema
from commlearn.trained.model import checked_reasons
from commlearn.trained.training_rows import TrainingRows, check_same_data, data_identity, identity_digest

Content = TypeVar("Content")


@contextmanager
def naming_damaged_file(path: Path) -> Iterator[None]:
    """Turn any error in reading a file of the run into one that names the file as missing or damaged."""
    try:
        yield
    except (*DAMAGED, OSError, SafetensorError, ConfigurationError) as problem:
        reason = str(problem) if isinstance(problem, ConfigurationError) else str(problem).partition("\n")[0]
        reason = reason.removesuffix(".")
        raise RunError(f"{path} is missing or damaged: {reason}. Restore it, or train again.") from problem


@contextmanager
def naming_newer_version(where: str, version: object) -> Iterator[None]:
    """Add to an error in reading that a newer commlearn wrote the files, if one did.

    Args:
        where: what is being read.
        version: the stated version of the commlearn that wrote it; anything but a version is ignored.

    Example:
        >>> with naming_newer_version("films", "99.1"):
        ...     raise RunError("Unknown key 'mood'.")
        Traceback (most recent call last):
        ...
        commlearn.errors.RunError: films was written by a newer commlearn (version 99.1, this is 0.1.0), \
which may be why it cannot be read: Unknown key 'mood'. Update commlearn.
    """
    try:
        yield
    except CommlearnError as problem:
        if not isinstance(version, str) or _numbers(version) <= _numbers(commlearn.__version__):
            raise
        raise RunError(
            f"{where} was written by a newer commlearn (version {version:.40}, this is "
            f"{commlearn.__version__}), which may be why it cannot be read: {problem} Update commlearn."
        ) from problem


def json_lines(path: Path) -> Iterable[dict[str, Any]]:
    """Yield the entry of each complete line; a last line that was cut off by a kill is skipped."""
    if not path.exists():
        return
    with naming_damaged_file(path):
        lines = plain_file(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = parse_json(line)
        except ValueError as problem:
            if number == len(lines):
                return
            raise RunError(
                f"{path} is damaged: line {number} {problem}. Restore it, or train again."
            ) from problem
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            raise RunError(f"{path} is damaged: {line[:60]!r} has no step. Restore it, or train again.")
        yield entry


def by_dotted_key(value: Any, where: str = "") -> dict[str, Any]:
    """Flatten nested values into one dict with dotted keys.

    Example:
        >>> by_dotted_key({"seed": 1, "training": {"epochs": 2, "betas": (0.9, 0.99)}})
        {'seed': 1, 'training.epochs': 2, 'training.betas': [0.9, 0.99]}
    """
    if not isinstance(value, dict):
        return {where: list(value) if isinstance(value, tuple) else value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= by_dotted_key(inner, f"{where}.{key}" if where else key)
    return leaves


ENVIRONMENT = "environment.json"  # versions and seed
CONFIG, METRICS, TABLE, SPEED, LOG = "config.yaml", "metrics.jsonl", "metrics.csv", "speed.jsonl", "log.txt"
SCHEMA, STATE, MODALITIES = "schema.json", "preprocessing.json", "modalities.json"
UNUSED = "unused.json"  # columns that were not read, each with the reason
UNREADABLE = "unreadable.json"  # cells that could not be read and counted as missing
ROWS = "rows.safetensors"  # keys of the rows that were trained on
FEATURES = "features.safetensors"  # what fixed features learned from the training rows
DATA = "data.json"  # identifies the records of the training
VALIDATION = "validation.jsonl"  # validation loss after each epoch of fine-tuning
FINE_TUNING = "finetune.json"  # how the run was fine-tuned, if it was
FROZEN_WEIGHTS = "frozen.safetensors"  # weights of frozen encoders, if the run began with an artifact
READOUTS = ("probes.json", "interactions.json")  # read off the last state
OF_JOB = JOB, OUTPUT, COST = "job.json", "output.txt", "cost.json"  # of the comparison that trains the run
USUAL = (
    *(CONFIG, METRICS, TABLE, SPEED, LOG, SCHEMA, STATE, MODALITIES, ENVIRONMENT),
    *(ROWS, FEATURES, FINE_TUNING, DATA, FROZEN_WEIGHTS, UNUSED, UNREADABLE),
    *("finetuned.json", VALIDATION, *READOUTS),
)


class RunFolder:
    """Reads and writes the files of one run.

    Metrics hold only what the seed determines. Wall-clock figures are in a separate file, so that the
    metrics of a resumed run equal those of an uninterrupted one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.files = FileList(self.path, USUAL)
        self._lock: TextIO | None = None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def exists(self) -> bool:
        return (self.path / CONFIG).exists()

    def reading(self) -> AbstractContextManager[None]:
        """Add to an error in reading this folder that a newer commlearn wrote it, if one did."""
        try:
            version = values_of_file(self.path / ENVIRONMENT).get("commlearn")
        except RunError:
            version = None
        return naming_newer_version(str(self.path), version)

    @property
    def fine_tuned(self) -> bool:
        return (self.path / FINE_TUNING).exists()

    def write_probes(self, text: str) -> str:
        """Write results of probes; return a note if they cannot be saved or would replace a comparison's."""
        if (self.path / JOB).exists():
            return f"This was not saved: probes.json in {self.path} is for the results of the comparison."
        return self.write_if_possible("probes.json", text)

    def create(self, experiment: Experiment, data: Dataset, resume: bool = False) -> None:
        """Make the folder and store what defines the run, in place of one that it holds.

        Files of a comparison stay if it resumes the run, which had no checkpoint yet.
        """
        if self.exists:
            self.clear(OF_JOB if resume else ())
        make_folder(self.checkpoints)
        self.lock()
        environment = {
            "commlearn": commlearn.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "system": platform.platform(),
            "seed": experiment.seed,
            "threads": torch.get_num_threads(),  # on a CPU, they determine the order of sums
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        modalities = {name: [spec.kind, *spec.shape] for name, spec in data.train.specs.items()}
        self.write(ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
        self.write(MODALITIES, json.dumps(modalities, indent=2) + "\n")
        self.write(DATA, json.dumps(data_identity(data), indent=1) + "\n")
        for name, values in ((SCHEMA, data.schema), (STATE, data.state), (UNUSED, data.unused)):
            if values is not None:
                self.write(name, json.dumps(values, indent=1) + "\n")
        self.write_unreadable(data)
        self.write(CONFIG, yaml_text(to_mapping(experiment), allow_unicode=True))

    def write_unreadable(self, data: Dataset) -> None:
        """Store which cells of the table counted as missing because they could not be read, if any."""
        if data.unreadable:
            cells = [dict(entry) for entry in data.unreadable]
            self.write(UNREADABLE, json.dumps(cells, indent=1, ensure_ascii=False) + "\n")

    def clear(self, stay: Sequence[str] = ()) -> None:
        """Remove what an earlier run left here; refuse if anything here may be somebody else's."""
        self.files.check_removable()  # before locking creates a file
        self.lock()
        self.files.remove(last=CONFIG, stay=stay)

    def claim(self) -> None:
        """Take over a folder that holds no run; refuse if a run's files would replace somebody else's."""
        self.lock()
        self.files.claim(*USUAL)

    def lock(self) -> None:
        """Lock the folder, so that no second run uses it meanwhile; a dead process holds no lock."""
        if self._lock is not None:
            return
        self._lock = hold(self.path, "training")
        self.files.remove_leftovers()

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def experiment(self) -> Experiment:
        """Read the experiment that was run here."""
        if not self.exists:
            raise RunError(f"{self.path} is not a run folder: it has no {CONFIG}.")
        with naming_damaged_file(self.path / CONFIG):
            values = read_yaml(self._text(CONFIG), str(self.path / CONFIG))
            return stored_experiment(dict(values))

    def specs(self) -> dict[str, Spec]:
        """Read the kind and shape of each modality that was trained."""
        with naming_damaged_file(self.path / MODALITIES):
            stored = parse_json(self._text(MODALITIES))
            specs = {name: Spec(str(kind), tuple(map(int, shape))) for name, (kind, *shape) in stored.items()}
            if not specs or not all(spec.shape for spec in specs.values()):
                raise ValueError("it lists no modalities, or no shapes")
            return specs

    def reader(self) -> tuple[Schema | None, dict[str, Any] | None]:
        """Read the schema of the training's table and what was learned; None for each that does not exist."""
        mapping, learned = self._optional(SCHEMA, parse_json), None
        with naming_damaged_file(self.path / STATE):
            if mapping is not None or (self.path / STATE).exists():
                learned = parse_json(self._text(STATE))
            check_learned(learned)
        schema = None if mapping is None else Schema.from_mapping(mapping, str(self.path / SCHEMA))
        return schema, learned

    def unused(self) -> dict[str, str] | None:
        """Read the columns of the table that were not used, each with the reason; None if unknown."""
        return self._optional(UNUSED, lambda content: checked_reasons(parse_json(content)))

    def check_data(self, data: Dataset) -> None:
        """Refuse to continue with records other than those the training began with."""
        remedy = "Restore the original data, or train again with overwrite=True or another out=."
        self._check(data_identity(data), remedy)

    def check_table(self, files: Mapping[str, str] | None) -> None:
        """Refuse a table at the training's path whose files are not those of the training."""
        self._check({"files": files}, "Restore the original table, or give the table that you mean.")

    def follow_table(self, table: str | None) -> None:
        """Store where the training's table is, if it was moved since the training began."""
        if (before := self.experiment().data.get("table")) == table:
            return
        values = dict(read_yaml(self._text(CONFIG), str(self.path / CONFIG)))
        values["data"] = {**values["data"], "table": table}
        self.write(CONFIG, yaml_text(values, allow_unicode=True))
        self.log(f"the table was moved from {before} to {table}; its content is the same")

    def _check(self, current: Mapping[str, Any], remedy: str) -> None:
        previous = self._identity()
        if previous is not None:  # folders of earlier versions do not store it
            with naming_damaged_file(self.path / DATA):
                check_same_data(self.path, previous, current, remedy)

    def has_files(self, files: Mapping[str, str] | None) -> bool:
        """Return whether these are the files of the training's table."""
        return bool(files) and dict(files or {}) == (self._identity() or {}).get("files")

    def _identity(self) -> dict[str, Any] | None:
        return self._optional(DATA, lambda content: dict(parse_json(content)))

    def _optional(self, name: str, parse: Callable[[bytes], Content]) -> Content | None:
        """Read and parse a file; return None if the folder does not have it."""
        if not (self.path / name).exists():
            return None
        with naming_damaged_file(self.path / name):
            return parse(plain_file(self.path / name).read_bytes())

    def _text(self, name: str) -> str:
        return plain_file(self.path / name).read_text(encoding="utf-8")

    def write_rows(self, rows: TrainingRows | None) -> None:
        """Store which rows the run was trained on."""
        if rows is not None:
            self.write_bytes(ROWS, rows.to_bytes())

    def rows(self) -> TrainingRows | None:
        """Read which rows the run was trained on; None in folders of versions that did not store it."""
        return self._optional(ROWS, TrainingRows.from_bytes)

    def write_features(self, features: FeatureBlocks | None) -> None:
        """Store what the run's fixed features have learned."""
        if features is not None:
            self.write_bytes(FEATURES, features.to_bytes())

    @property
    def has_features(self) -> bool:
        return (self.path / FEATURES).exists()

    def features(self, built: FeatureBlocks | None) -> FeatureBlocks | None:
        """Read what the run's fixed features learned into newly built ones; None if the run has none."""
        if built is None:
            return None
        with naming_damaged_file(self.path / FEATURES):
            return built.from_bytes(plain_file(self.path / FEATURES).read_bytes())

    def frozen(self) -> dict[str, Tensor] | None:
        """Read the weights of frozen encoders; None if the folder does not hold them."""
        return self._optional(FROZEN_WEIGHTS, load_tensors)

    def state(self) -> tuple[dict[str, Any], list[str]]:
        """Read the newest intact checkpoint; also return warnings about damaged ones."""
        state, warnings = last_checkpoint(self.checkpoints)
        identity = self._identity()
        if identity is not None and state.get("data", identity_digest(identity)) != identity_digest(identity):
            raise RunError(
                f"{self.checkpoints} holds a checkpoint of a training on data other than {DATA} describes. "
                "Copy the folder again, or train again."
            )
        return state, warnings

    def write(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode())

    def write_if_possible(self, name: str, text: str) -> str:
        """Write a file whose content the user sees anyway; return a note if it cannot be written."""
        try:
            self.write(name, text)
        except RunError as problem:
            return f"This could not be saved in the run's folder. {problem}"
        return ""

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file completely or not at all; replace an existing one only if a run wrote it."""
        self.writes(name)
        write_atomically(self.path / name, content)

    def writes(self, *names: str) -> None:
        """List files as the run's; has to be called before they are written by other means."""
        for parent in {(self.path / name).parent for name in names} - {self.path}:
            make_folder(parent)
        self.files.add(*names)

    def save(self, state: dict[str, Any]) -> None:
        self.writes(*CHECKPOINTS)
        identity = self._identity()
        data = {} if identity is None else {"data": identity_digest(identity)}
        write_checkpoint(self.checkpoints, {**state, **data})

    def set_aside(self) -> None:
        self.writes(*CHECKPOINTS)
        set_aside(self.checkpoints)

    def append(self, name: str, entry: dict[str, Any]) -> None:
        self._add(name, json.dumps(entry))

    def log(self, line: str) -> None:
        self._add(LOG, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")

    def _add(self, name: str, line: str) -> None:
        self.writes(name)
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as problem:
            raise RunError(
                f"Cannot write to {self.path / name}: {problem.strerror}. Free some space, then continue "
                "with resume=True."
            ) from problem

    def metrics(self) -> list[dict[str, Any]]:
        return list(json_lines(self.path / METRICS))

    def truncate_metrics(self, step: int) -> None:
        """Delete what was measured after `step`, since a resumed run measures it again."""
        for name in (METRICS, SPEED, *([VALIDATION] if (self.path / VALIDATION).exists() else ())):
            entries = [entry for entry in json_lines(self.path / name) if entry["step"] <= step]
            self.write(name, "".join(json.dumps(entry) + "\n" for entry in entries))

    def remove_readouts(self) -> None:
        """Remove what was read off an earlier state, which further steps change."""
        for name in READOUTS:
            (self.path / name).unlink(missing_ok=True)

    def write_metrics_table(self) -> None:
        """Write the metrics as CSV, with one column per value."""
        rows = [by_dotted_key(entry) for entry in self.metrics()]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.writer(text)
        for cells in (columns, *([row.get(name, "") for name in columns] for row in rows)):
            writer.writerow(map(spreadsheet_text, cells))
        self.write(TABLE, text.getvalue())


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with."""
    match = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def make_folder(folder: Path) -> None:
    """Make a folder if it does not exist yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"Cannot make the folder {folder}: {problem.strerror}.") from problem
