"""A trained method, with everything needed to read tables as in its training.

Methods that are built from stored files have a limited size; frozen encoders' weights are stored beside them.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from commlearn.batch import Spec
from commlearn.config.build import build_features, build_method
from commlearn.config.configuration import Experiment, to_mapping
from commlearn.errors import DAMAGED, DataError, DataWarning, RunError
from commlearn.escapes import html_table
from commlearn.kinds.rows import Unreadable, first_names
from commlearn.methods.base import Method
from commlearn.models.encoders.pretrained import frozen_encoders
from commlearn.models.features import FeatureBlocks
from commlearn.records import Records
from commlearn.tables.formats.reading import Reading
from commlearn.tables.schema import Schema
from commlearn.tables.splits import PARTS, RowNames, parts_of_names
from commlearn.tables.table import Source, Table, read_table
from commlearn.trained.training_rows import TrainingRows

TEST_SHARE = 0.2  # share of test rows if the training's settings state none, or 0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A method with its weights and, if it was trained on a table, what is needed to read similar tables."""

    experiment: Experiment
    method: Method
    specs: dict[str, Spec]
    schema: Schema | None = None
    state: dict[str, Any] | None = None  # what each modality learned from the training rows
    warnings: tuple[str, ...] = ()
    fine_tuned: bool = False  # if so, its weights have seen labels, whatever the method
    rows: TrainingRows | None = None  # rows that it was trained on; None if unknown
    features: FeatureBlocks | None = None  # fixed features, in addition to what the method embeds
    unused: Mapping[str, str] | None = None  # columns of the table that were not read, each with the reason

    @property
    def saw_labels(self) -> bool:
        """Whether the training used labels."""
        return self.method.views.targets or self.fine_tuned

    @property
    def labels_seen(self) -> str:
        """How many labels of each target the training used, in words; empty if it used none."""
        if not self.saw_labels:
            return ""
        counts = {} if self.rows is None else self.rows.label_counts
        return ", ".join(f"{count:,} labels of {name}" for name, count in counts.items()) or "labels"

    def _repr_html_(self) -> str:
        return html_table(f"{type(self).__name__} '{self.experiment.name}'", ("", ""), self._summary())

    def _summary(self) -> list[tuple[str, str]]:
        encoders, training = self.experiment.model.encoders, self.experiment.training
        suffixes = {name: f", encoder {part['name']}" for name, part in encoders.items()}
        parameters = sum(parameter.numel() for parameter in self.method.parameters())
        features = {} if self.features is None else self.features.dims
        return [
            ("method", self.experiment.method["name"]),
            *(
                (name, f"{spec.kind} {' x '.join(map(str, spec.shape))}{suffixes.get(name, '')}")
                for name, spec in self.specs.items()
            ),
            ("fixed features", ", ".join(f"{dim} of {name}" for name, dim in features.items()) or "none"),
            ("parameters", f"{parameters:,}"),
            ("training", f"{training.epochs} epochs, {training.batch_size} records per step"),
            ("labels", f"seen: {self.labels_seen}" if self.saw_labels else "not seen"),
            *(("warning", warning) for warning in self.warnings),
        ]

    def records(
        self,
        table: Source | Table,
        with_targets: bool = False,
        modalities: Sequence[str] | None = None,
        empty: bool = False,
        unreadable: Unreadable | None = None,
    ) -> Records:
        """Read a table as records for the method.

        Args:
            table: rows with the columns of the modalities; no others are needed. A modality for which the
                table has no column is absent from every record, and a warning names it.
            with_targets: read the schema's targets too.
            modalities: read only these.
            empty: accept records that have none of the modalities, instead of refusing the table.
            unreadable: collects the cells that cannot be read and count as missing; see `Schema.read`.
        """
        rows = self.table(table, with_targets, modalities)
        schema, state = self.reader()
        if modalities is None:
            rows, absent = schema.with_absent(rows)
            if absent and rows.first_row == 0:  # warn once, however many parts the table is read in
                message = (
                    f"The table has no columns for {', '.join(absent)}; its records are embedded from the "
                    "other modalities."
                )
                warnings.warn(DataWarning(message), stacklevel=3)
        try:
            records = schema.only(modalities).read(rows, state, with_targets, empty, unreadable)
        except (*DAMAGED, MemoryError) as problem:
            raise _preprocessing_error(repr(problem)) from problem
        for name, spec in records.specs.items():
            expected = self.specs.get(name, spec)
            if expected.kind == spec.kind and expected.shape != spec.shape:
                raise _preprocessing_error(
                    f"{name} is read with shape {spec.shape}, but was trained with shape {expected.shape}"
                )
        return records

    def table(
        self, source: Source | Table, with_targets: bool = False, modalities: Sequence[str] | None = None
    ) -> Table:
        """Read the columns that records are made from, and the ids; a `Table` is returned unchanged."""
        columns, reading = self.columns(with_targets, modalities)
        return source if isinstance(source, Table) else self.at_root(read_table(source, columns, reading))

    def at_root(self, table: Table) -> Table:
        """Return the table with paths in cells relative to the training's root, if its settings state one."""
        root = self.experiment.data.get("root")
        return replace(table, root=Path(root)) if root else table

    def columns(
        self, with_targets: bool = False, modalities: Sequence[str] | None = None
    ) -> tuple[list[str], Reading]:
        """Return the columns to read (those of the records and the ids), and how to read their cells."""
        schema, state = self.reader()
        schema = schema.only(modalities)
        ids = [] if schema.id is None else [schema.id]
        return [*schema.columns(with_targets), *ids], schema.reading(state)

    def split(self, table: Table, names: RowNames | None) -> dict[str, np.ndarray]:
        """Return the positions of the train, validation and test rows, which have these names.

        The schema's split column decides if there is one. Otherwise a row that the training had stays in
        its part, and a new row goes where its key or group puts it. If the training kept no rows for testing
        and at least half of the rows are its own, all new rows are test rows.
        """
        schema, _ = self.reader()
        if schema.split is not None:
            return schema.splits(table)
        if names is None:
            inputs = [column for column in schema.columns(with_targets=False) if column not in table.frame]
            missing = first_names(list(map(repr, inputs if schema.id is None else [schema.id])))
            raise DataError(
                f"The table lacks {missing}: without its cells it is unknown which of the records the model "
                "was trained on. Add what is lacking."
            )
        settings = self.experiment.data
        validation, test = float(settings.get("validation", 0.0)), float(settings.get("test", TEST_SHARE))
        part = parts_of_names(names.units, validation, test or TEST_SHARE, int(settings.get("seed", 0)))
        if self.rows is not None:
            previous = self.rows.parts_of(names.keys, names.groups)
            if test == 0 and len(previous) and (previous >= 0).mean() >= 0.5:
                part[:] = PARTS.index("test")
            part = np.where(previous >= 0, previous, part)
        rows = {name: np.flatnonzero(part == code) for code, name in enumerate(PARTS)}
        return {name: positions for name, positions in rows.items() if len(positions)}

    def reader(self) -> tuple[Schema, dict[str, Any]]:
        """Return the schema and what was learned; raise an error for a training that read no table."""
        if self.schema is None or self.state is None:
            if self.experiment.data["name"] == "table":
                raise RunError(
                    f"'{self.experiment.name}' was trained on a table, but schema.json or preprocessing.json "
                    "is missing in its folder. Copy the folder again, or train again."
                )
            raise DataError(
                f"'{self.experiment.name}' was trained on the data set '{self.experiment.data['name']}', "
                "so it cannot read a table. Train from a schema: commlearn train schema.yaml"
            )
        return self.schema, self.state


def checked_reasons(stated: Any) -> dict[str, str]:
    """Check that a file's content states columns that were not used, each with the reason, and return it.

    Raises:
        ValueError: the content is something else.
    """
    if not isinstance(stated, dict) or not all(isinstance(reason, str) for reason in stated.values()):
        raise ValueError("it does not map columns to reasons")
    return stated


def _preprocessing_error(problem: str) -> DataError:
    return DataError(
        f"The table cannot be read with the model's preprocessing ({problem}). Is the model's "
        "preprocessing.json intact?"
    )


TIMES, SPARE = 2, 1_000_000  # most numbers to build: TIMES as many as stored, plus SPARE
MORE = 1_000  # most tensors to build: TIMES as many as stored, plus MORE
MOST = 10_000_000  # largest value of any single size in a configuration
FROZEN = "pretrained."  # prefix of names of tensors that are not part of the method's own state


def stored_method(
    experiment: Experiment,
    specs: Mapping[str, Spec],
    state: Mapping[str, Any] | None,
    stored: Iterable[Tensor],
    where: str,
    read_features: Callable[[FeatureBlocks], FeatureBlocks | None],
    modules: Mapping[str, nn.Module] | None,
) -> tuple[Method, FeatureBlocks | None]:
    """Build the method that files describe and its fixed features; stored weights replace its own later.

    `read_features` reads what newly built fixed features have learned.
    """
    mapping = to_mapping(experiment)
    shapes = [spec.shape for spec in specs.values()]
    learned = [  # without pretrained encoders, which have their own configurations
        {name: value for name, value in part.items() if name != "encoder"}
        for part in (state or {}).values()
        if isinstance(part, Mapping)
    ]
    for value in _whole_numbers([mapping["model"], mapping["method"], shapes, learned]):
        if value > MOST:
            raise RunError(
                f"{where} describes a model with a size of {Decimal(value):.1e}; the limit is {MOST:,}. "
                "It is damaged, or not what it claims to be."
            )
    built = build_features(experiment, specs, state)
    blocks = None if built is None else read_features(built)
    with no_larger_than(stored, where):
        method = build_method(experiment, specs, state, fresh=False, features=blocks, modules=modules)
    return method, blocks


def _whole_numbers(values: Any) -> Iterator[int]:
    if isinstance(values, int):
        yield values
    elif isinstance(values, Mapping | list | tuple):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from _whole_numbers(value)


@contextmanager
def no_larger_than(stored: Iterable[Tensor], where: str) -> Iterator[None]:
    """Refuse to build far more than was stored: a million layers would take hours, or all memory."""
    sizes = [tensor.numel() for tensor in stored if isinstance(tensor, Tensor)]
    number_limit, tensor_limit = TIMES * sum(sizes) + SPARE, TIMES * len(sizes) + MORE
    thread, numbers, tensors = threading.get_ident(), 0, 0

    def check(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        nonlocal numbers, tensors
        if parameter is None or threading.get_ident() != thread:
            return
        numbers, tensors = numbers + parameter.numel(), tensors + 1
        if numbers > number_limit or tensors > tensor_limit:  # its memory is allocated, but not used yet
            raise RunError(
                f"{where} describes a model of more than {min(numbers, number_limit):,} numbers in "
                f"{tensors:,} tensors, but holds {sum(sizes):,} in {len(sizes):,}. It is damaged, or not "
                "what it claims to be."
            )

    hook = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        hook.remove()


def frozen_tensors(method: Method) -> dict[str, Tensor]:
    """Return the weights of every frozen encoder, under names that no other tensor has."""
    return {
        f"{FROZEN}{name}.{key}": tensor
        for name, encoder in frozen_encoders(method.encoders).items()
        for key, tensor in encoder.backbone.state_dict().items()
    }


def adopt_frozen(method: Method, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Load the weights that `frozen_tensors` named into frozen encoders; return the other tensors."""
    remaining = dict(tensors)
    for name, encoder in frozen_encoders(method.encoders).items():
        prefix = f"{FROZEN}{name}."
        adopted = {
            key.removeprefix(prefix): remaining.pop(key) for key in [*remaining] if key.startswith(prefix)
        }
        with no_larger_than(adopted.values(), where):
            encoder.adopt(adopted)
    return remaining
