"""The scikit-learn interface: fit on a table, transform any table like it."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._set_output import ADAPTERS_MANAGER, _get_output_config
from sklearn.utils.validation import _check_feature_names, check_is_fitted, validate_data
from torch import nn

from commlearn.config.configuration import Experiment, Training
from commlearn.config.fill import set_dotted
from commlearn.config.own_data import OF_FEATURES, experiment_for
from commlearn.errors import ConfigurationError, DataError, DataWarning, Problems
from commlearn.kinds.rows import column_name
from commlearn.methods import METHODS
from commlearn.models.encoders.own import OWN
from commlearn.models.encoders.tabular import FIXED
from commlearn.storage.hub import on_hub
from commlearn.storage.places import is_remote, nothing_fetched
from commlearn.tables import schema_yaml
from commlearn.tables.dataset import dataset_of, divided
from commlearn.tables.formats.reading import Reading
from commlearn.tables.infer import infer, stated_targets
from commlearn.tables.leaks import warn_of_answers, warn_of_likely_answers
from commlearn.tables.schema import Schema, modules_of_schema, schema_with_modules
from commlearn.tables.table import Table, as_pandas, is_frame, read_table
from commlearn.trained.artifact import TENSORS, export, from_parts, load, push_to_hub, to_parts
from commlearn.trained.embed import Blocks, dimension_names, embed, embedding_dim
from commlearn.trained.model import Trained
from commlearn.trained.run_folder import FEATURES, ROWS, by_dotted_key
from commlearn.trained.stream import embed_table
from commlearn.training.callbacks import Callback, progress_for

ARRAY = "x"  # the column that a 2-D array becomes
LABELS = "y"  # column name for labels without a name
PLAIN = "commlearn schema"  # marks plain values that were a Schema
PARTS = (TENSORS, ROWS, FEATURES)  # files whose contents a pickle holds, in this order
ARGUMENTS = ("epochs", "batch_size", "learning_rate")  # settings of the training that are arguments
MACHINE = ("accelerator", "devices", "nodes", "strategy", "threads")  # those of a machine, not of a model


class Embedder(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Learns one embedding of a table's modalities, without labels unless the method uses them.

    Args:
        schema: which columns make up which modality; a `Schema`, its plain values or a YAML file, of which
            settings of a training are not read. If not given, it is guessed from the table in `fit`.
        method: name of the method, or its name and options.
        epochs: passes over the records; chosen from the data if not given, as are the next two.
        batch_size: records per step.
        learning_rate: peak learning rate.
        random_state: seed of weights, order and augmentation; a RandomState or None draws one, as in
            scikit-learn.
        out: folder to keep the run in, replacing any run that it holds; by default the run is not kept.
        verbose: show progress and the settings that were chosen.
        features: `fixed`: encoders read well-known features of each modality, which also become part of the
            embedding; `learned`: they read its values; `auto` is `fixed`.
        targets: columns that are answers and never inputs: their names, or a mapping from name to `class`,
            `number` or `multilabel`; in addition to those of a schema.
        encoders: by modality, your own torch module that turns values into a vector or tokens; it is trained
            too, except for parameters with `requires_grad=False`. Or the name of one of the library's.
        root: the folder that paths in cells are relative to; by default that of the table's file.
        networks: whether fixed features of pictures and texts include outputs of published networks, if
            `commlearn[encoders]` is installed.
        settings: any other settings, by dotted name ({"training.weight_decay": 1e-3}) or nested; they
            override the arguments above.
        callbacks: instances of `Callback`, which follow the training and may stop it, or names of trackers.

    `fit` stores the columns that it does not use in `unused_`, each with the reason; `save` keeps them.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
        >>> vector = {"kind": "vector"}
        >>> schema = {"modalities": {name: {**vector, "column": name} for name in ("a", "b")}}
        >>> table = {"a": rows[:, :3], "b": rows[:, 2:]}
        >>> Embedder(schema, epochs=1).fit(table).transform(table).shape
        (40, 391)
    """

    _from_folder = False  # whether it was loaded; then files that it names are not fetched

    def __init__(
        self,
        schema: Any = None,
        method: Any = "comm",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        random_state: Any = 0,
        out: str | Path | None = None,
        verbose: bool = False,
        features: str = "auto",
        targets: Mapping[str, str] | Sequence[str] | None = None,
        encoders: Mapping[str, Any] | None = None,
        root: str | Path | None = None,
        networks: bool = True,
        settings: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback | str] = (),
    ) -> None:
        self.schema = schema
        self.method = method
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.out = out
        self.verbose = verbose
        self.features = features
        self.targets = targets
        self.encoders = encoders
        self.root = root
        self.networks = networks
        self.settings = settings
        self.callbacks = callbacks

    def fit(self, X: Any, y: Any = None) -> Embedder:
        """Learn from the rows that the schema's split column marks as train, or from all if it names none.

        Only methods that learn from labels see them (`comm-sup`, `supcon`, `factorcl-sup`).

        Args:
            X: a pandas or Polars DataFrame, a PyArrow table, a Hugging Face Dataset, a list of dicts, a
                dict of arrays, the path of a table, or a 2-D array, which is one vector per row.
            y: a class for each row, None or NaN if unknown, for a method that learns from labels; ignored
                by all others.
        """
        from commlearn.training.train import train

        self._check_arguments()
        passed_schema = self._stated_schema()
        method = {"name": self.method} if isinstance(self.method, str) else dict(self.method)
        needs_targets = method.get("name") in METHODS and METHODS[method["name"]].views.targets
        table = self._table(X, Reading() if passed_schema is None else passed_schema.reading(), fitting=True)
        labels: dict[str, str] = {}
        if needs_targets and y is not None:
            inputs = passed_schema.columns(with_targets=False) if passed_schema else ()
            table, name = _with_labels(table, y, inputs)
            labels = {name: "class"}
        table, schema, reasons = self._with_targets(passed_schema, table, labels)
        read = set(schema.columns())
        unused = [name for name in table.frame.columns if name not in read]
        unread = {name: reasons.get(name, "the schema does not name it") for name in unused}
        warn_of_likely_answers(table.frame, schema, stacklevel=3)
        encoders = {**modules_of_schema(schema), **(self.encoders or {})}
        modules = {name: part for name, part in encoders.items() if isinstance(part, nn.Module)}
        input_schema = replace(schema, targets=schema.targets if needs_targets else {})
        with nothing_fetched() if self._from_folder else nullcontext():
            data = dataset_of(table, input_schema, test=0.0)
        for note in divided(data.parts.values(), schema):
            warnings.warn(DataWarning(note), stacklevel=2)
        data = replace(data, schema=schema.to_mapping(), unused=unread)
        settings: dict[str, Any] = {
            "name": "embedder",
            "data": {"name": "table", "table": _path(X), "schema": schema.to_mapping(), "test": 0.0},
            "method": method,
            "model": {
                "features": self.features,
                "networks": self.networks,
                "encoders": {name: OWN if name in modules else part for name, part in encoders.items()},
            },
            "seed": _seed(self.random_state),
            "training": {key: getattr(self, key) for key in ARGUMENTS if getattr(self, key) is not None},
        }
        if self.root is not None:
            settings["data"]["root"] = _path(self.root)
        for key, value in by_dotted_key(dict(self.settings or {})).items():
            if key.partition(".")[0] == "data":
                raise ConfigurationError(
                    f"settings contain {key}, but an Embedder reads the table passed to fit. Remove it."
                )
            set_dotted(settings, key, value)
        experiment, note = experiment_for(settings, data)
        if self.verbose and note:
            print(note)
        progress = progress_for() if self.verbose else None
        with tempfile.TemporaryDirectory() as folder:
            out = self.out if self.out is not None else Path(folder) / "run"
            run = train(
                experiment, out, data, False, self.out is not None, progress, note, modules, self.callbacks
            )
        self._keep(run)
        return self

    def transform(
        self, X: Any, modalities: Sequence[str] | None = None, blocks: Blocks = "all"
    ) -> np.ndarray:
        """Return embeddings, (records, dim) float32, in the container chosen with `set_output`.

        Args:
            X: anything that `fit` takes, with the columns of the modalities; a file is read chunk by chunk.
            modalities: modalities to embed from; by default whatever a record has.
            blocks: `learned` is what the method embeds, `features` the fixed features of each modality,
                `all` both side by side.
        """
        trained = self.trained
        if isinstance(X, str | Path) and self.root is None:
            parts = embed_table(trained, X, modalities, blocks=blocks)
            vectors = np.concatenate([part for _, part in parts])
        else:
            schema, state = trained.reader()
            vectors = embed(trained, self._table(X, schema.reading(state)), modalities, blocks=blocks)
        container = _get_output_config("transform", self)["dense"]
        if container == "default":
            return vectors
        names = self._names(vectors.shape[1], blocks)  # fewer modalities may make fewer dimensions
        return ADAPTERS_MANAGER.adapters[container].create_container(vectors, X, columns=names)

    def set_output(self, *, transform: str | None = None) -> Embedder:
        """Choose what `transform` returns: "default" is an array, "pandas" or "polars" a frame."""
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return comm0, ... for learned dimensions and NAME_feature0, ... for a modality's fixed features."""
        check_is_fitted(self)
        return self._names(self.dim_)

    def _names(self, count: int, blocks: Blocks = "all") -> np.ndarray:
        return np.array(dimension_names(self.trained, count, blocks), dtype=object)

    @property
    def schema_(self) -> Schema:
        """The schema that tables are read with: the stated one, or the one that was guessed."""
        return self.trained.reader()[0]

    @property
    def trained(self) -> Trained:
        """The trained model, which `embed`, `probe` and `export` also accept; it reads paths below `root`."""
        check_is_fitted(self)
        trained: Trained = self.trained_
        if self.root is None or trained.experiment.data.get("root") == _path(self.root):
            return trained
        data = {**trained.experiment.data, "root": _path(self.root)}  # a pickle or an export names no places
        return replace(trained, experiment=replace(trained.experiment, data=data))

    def save(self, folder: str | Path) -> Path:
        """Export to a folder that `load` reads: tensors, plain values and a model card."""
        return export(self.trained, folder)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        encoders: Mapping[str, nn.Module] | None = None,
        revision: str | None = None,
    ) -> Embedder:
        """Return an Embedder from a run folder, from what `save` or `export` wrote, or from the hub.

        Args:
            folder: folder of the run or the export; or hf://user/name.
            encoders: your own modules that it was trained with, by modality.
            revision: revision of a model on the hub.
        """
        trained = load(folder, encoders=encoders, revision=revision)
        schema, _ = trained.reader()
        training, model = trained.experiment.training, trained.experiment.model
        parts = {name: part for name, part in model.encoders.items() if part["name"] not in (FIXED, OWN)}
        embedder = cls(
            schema,
            dict(trained.experiment.method),
            training.epochs,
            training.batch_size,
            training.learning_rate,
            trained.experiment.seed,
            features=model.features,
            encoders={**parts, **(encoders or {})} or None,
            root=trained.experiment.data.get("root") or None,  # empty: the folder of each table
            networks=model.networks,
            settings=_settings_of(trained.experiment),
        )
        embedder._from_folder = True
        embedder._keep(trained)
        return embedder

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Embedder:
        """Load from a folder, or from the hub's model user/name; `options` are those of `load`."""
        return cls.load(name if on_hub(name) or Path(name).exists() else f"hf://{name}", **options)

    def push_to_hub(self, name: str, **options: Any) -> str:
        """Store it on the Hugging Face hub as user/name; `options` are those of `commlearn.push_to_hub`."""
        return push_to_hub(self, name, **options)

    def _repr_html_inner(self) -> str:
        """Return what a notebook shows: scikit-learn's picture of the settings, then what was trained."""
        return str(super()._repr_html_inner()) + self._trained_html()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = dict(super()._repr_mimebundle_(**kwargs))
        return bundle | {key: bundle[key] + self._trained_html() for key in bundle if key == "text/html"}

    def _trained_html(self) -> str:
        return self.trained_._repr_html_() if hasattr(self, "trained_") else ""

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trained_")

    def __getstate__(self) -> dict[str, Any]:
        """Return plain values and bytes: no object of ours is pickled; the user's modules are, unchanged."""
        state = dict(super().__getstate__())
        if isinstance(self.schema, Schema):
            modules = modules_of_schema(self.schema)
            state["schema"] = {PLAIN: self.schema.to_mapping()} | ({"encoders": modules} if modules else {})
        if "trained_" in state:
            config, files = to_parts(state["trained_"])
            state["trained_"] = (json.dumps(config), *map(files.get, PARTS))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        modules = {}
        if isinstance(state["schema"], dict) and PLAIN in state["schema"]:
            modules = state["schema"].get("encoders", {})
            state["schema"] = schema_with_modules(Schema.from_mapping(state["schema"][PLAIN]), modules)
        if "trained_" in state:
            config, *contents = state["trained_"]
            files = {name: part for name, part in zip(PARTS, contents, strict=False) if part is not None}
            passed = {**modules, **(state.get("encoders") or {})}
            passed = {name: part for name, part in passed.items() if isinstance(part, nn.Module)}
            state["trained_"] = from_parts(json.loads(config), files, "The pickled Embedder", encoders=passed)
        super().__setstate__(state)

    def _keep(self, trained: Trained) -> None:
        self.trained_ = Trained(**{part.name: getattr(trained, part.name) for part in fields(Trained)})
        self.dim_ = embedding_dim(trained)
        self.unused_ = dict(trained.unused or {})

    def _table(self, X: Any, reading: Reading, fitting: bool = False) -> Table:
        """Return the rows, and record what scikit-learn needs to know about them."""
        if is_frame(X):
            X = as_pandas(X)
        elif issparse(X) or not isinstance(X, str | Path | Mapping):
            if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
                X = np.ma.filled(X.astype(np.float64), np.nan)  # which scikit-learn refuses
            fewest = 2 if fitting else 1
            values = validate_data(self, X, dtype=np.float32, ensure_min_samples=fewest, reset=fitting)
            X, reading = {ARRAY: values}, Reading()
        table = read_table(X, reading=reading)
        if fitting and isinstance(X, pd.DataFrame):
            _check_feature_names(self, X, reset=True)
            self.n_features_in_ = X.shape[1]
        return table if self.root is None else replace(table, root=Path(self.root))

    def _with_targets(
        self, passed_schema: Schema | None, table: Table, labels: Mapping[str, str]
    ) -> tuple[Table, Schema, dict[str, str]]:
        """Return the table as the schema reads it, the stated or guessed schema with the named targets, and
        why a guess leaves columns out. A guess empties no labels.
        """
        stated = [self.targets] if isinstance(self.targets, str) else self.targets or ()
        names = list(map(column_name, stated))
        schema, reasons = passed_schema, dict[str, str]()
        if schema is None:
            inputs = replace(table, frame=table.frame.drop(columns=list(labels)))
            schema, reasons = _guessed_schema(inputs, [name for name in names if name not in labels])
            # a guess may find values that mean an empty cell, such as -999
            table = replace(table, frame=schema.reading().emptied(table.frame))
        if isinstance(self.targets, Mapping):
            sorts = {column_name(name): sort for name, sort in self.targets.items()}
        else:
            sorts = {name: str(guess.value) for name, guess in stated_targets(table, names).items()}
        return table, replace(schema, targets={**schema.targets, **sorts, **labels}), reasons

    def _check_arguments(self) -> None:
        """Refuse arguments whose type none of their forms has."""
        problems = Problems("Embedder")
        for name, (types, form) in FORMS.items():
            if not isinstance(value := getattr(self, name), types):
                problems.add(f"{name} is {value!r:.60}; give {form}.")
        problems.raise_if_any(ConfigurationError)

    def _stated_schema(self) -> Schema | None:
        if self.schema is None or isinstance(self.schema, Schema):
            return self.schema
        is_mapping = isinstance(self.schema, Mapping)
        values, where = (self.schema, "schema") if is_mapping else schema_yaml.load(Path(self.schema))
        schema = Schema.from_mapping(values, where)
        if ignored := [key for key in schema_yaml.TRAINING if values.get(key) is not None]:
            alone = "the values without them" if is_mapping else f"cl.Schema.from_yaml({where!r})"
            message = (
                f"{where} states {', '.join(ignored)}, which an Embedder does not read. Pass these as "
                f"arguments (method=, random_state=, settings=; parts as a split column) and schema={alone}, "
                "or use commlearn train, which reads them."
            )
            warnings.warn(DataWarning(message), stacklevel=3)
        return schema


FORMS = {
    "schema": (
        (Schema, Mapping, str, PathLike, NoneType),
        "a Schema, its plain values or the path of a YAML file",
    ),
    "method": ((str, Mapping), "the name of a method, or a dict of its name and options"),
    "targets": ((Iterable, NoneType), "the names of columns, or a dict from name to type"),
    "encoders": ((Mapping, NoneType), "a dict from modality to a module or to the name of an encoder"),
    "root": ((str, PathLike, NoneType), "the path of a folder"),
    "settings": ((Mapping, NoneType), "a dict of settings by dotted name"),
}
"""Types of arguments that `fit` would otherwise fail to read, and how to say what to give."""


def _with_labels(table: Table, y: Any, inputs: Sequence[str]) -> tuple[Table, str]:
    """Return the table with the labels as a column, replacing one of the same name, and the column's name.

    Args:
        table: the rows.
        y: a label for each row, in the order of the rows.
        inputs: columns that a stated schema uses for modalities.
    """
    labels = pd.Series(list(y) if isinstance(y, list | tuple) else _flat_labels(y))
    if len(labels) != len(table):
        raise DataError(f"y has {len(labels)} labels, but X has {len(table)} rows; give one label per row.")
    columns = getattr(y, "column_names", getattr(y, "columns", None))  # of a frame with one column
    name = getattr(y, "name", None) if columns is None else columns[0]
    if name is not None and (columns is not None or not isinstance(name, str)):
        name = str(name) if str(name) in table.frame else None  # a table's names are text
    if not isinstance(name, str) or not name or name == ARRAY:
        name = LABELS
        while name in table.frame or name in inputs:
            name += "_"
    if name in inputs:
        raise DataError(
            f"y has the name '{name}', which the schema uses as an input. If that column is the answer, "
            "remove it from the modalities; otherwise rename y."
        )
    return replace(table, frame=table.frame.assign(**{name: labels.to_numpy()})), name


def _flat_labels(y: Any) -> np.ndarray:
    """Return the labels as a one-dimensional array."""
    empty = np.array(None, dtype=object)
    is_masked = isinstance(y, np.ma.MaskedArray) and np.ma.is_masked(y)  # pandas' arrays have other masks
    values = np.where(y.mask, empty, y.data) if is_masked else np.asarray(y)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim != 1:
        raise DataError(f"y has the shape {values.shape}; give one label per row.")
    return values


def _guessed_schema(table: Table, targets: Sequence[str]) -> tuple[Schema, dict[str, str]]:
    inferred = infer(table, targets)
    warn_of_answers(table.frame, inferred.schema, stacklevel=5)
    reasons = {guess.name: guess.reason for guess in inferred.of("unused")}
    if reasons:
        unused = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        line = f"No schema was given, and these columns are not used: {unused}. To use them, pass a schema."
        warnings.warn(DataWarning(line), stacklevel=5)
    if empty := [f"{guess.name}: {guess.reason}" for guess in inferred.of("missing")]:
        line = f"No schema was given, and these cells are read as empty: {'; '.join(empty)}."
        warnings.warn(DataWarning(f"{line} If they are values, pass a schema."), stacklevel=5)
    return inferred.schema, reasons


def _settings_of(experiment: Experiment) -> dict[str, Any]:
    """Return the settings of a training that no argument states and that are not those chosen by default."""
    model, training = experiment.model, experiment.training
    chosen = {
        "schedule": "cosine",
        "warmup_epochs": round(0.05 * training.epochs, 3),
        "stand_ins": model.features == "fixed",
    }
    defaults = {**asdict(Training()), **chosen}
    stated = {
        f"training.{key}": value
        for key, value in asdict(training).items()
        if key not in (*ARGUMENTS, *MACHINE) and value != defaults[key]
    }
    on_features = {name for name, part in model.encoders.items() if part["name"] == FIXED}
    augmentations = {
        f"augmentations.{name}": dict(part)
        for name, part in experiment.augmentations.items()
        if not (name in on_features and part == OF_FEATURES)
    }
    return {"model.width": model.width, "model.fusion": dict(model.fusion), **stated, **augmentations}


def _seed(random_state: Any) -> int:
    """Return a whole number unchanged; otherwise draw one from the generator, or from numpy's own."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _path(X: Any) -> str:
    if is_remote(X):
        return str(X)
    return str(Path(X).resolve()) if isinstance(X, str | Path) else ""
