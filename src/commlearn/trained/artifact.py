"""A trained model as a folder to share: tensors, plain values and a model card. No pickle, no code."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

import commlearn
from commlearn.batch import Spec
from commlearn.config.build import resolved
from commlearn.config.configuration import stored_experiment, to_mapping
from commlearn.config.places import data_without_places, file_inside, paths_inside, without_places
from commlearn.errors import DAMAGED, ConfigurationError, RunError
from commlearn.kinds.base import check_learned
from commlearn.models.encoders.own import refuse_unfit
from commlearn.models.features import FeatureBlocks
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.file_list import FileList
from commlearn.storage.hub import Repository, fetch, on_hub, open_repository, store
from commlearn.storage.plain_files import path_hint, plain_file
from commlearn.storage.plain_json import parse_json
from commlearn.tables.schema import Schema
from commlearn.trained.model import Trained, adopt_frozen, checked_reasons, frozen_tensors, stored_method
from commlearn.trained.model_card import hub_card, measured, model_card
from commlearn.trained.run import Run, load_run
from commlearn.trained.run_folder import CONFIG as RUN_CONFIG
from commlearn.trained.run_folder import (
    FEATURES,
    ROWS,
    SCHEMA,
    STATE,
    make_folder,
    naming_damaged_file,
    naming_newer_version,
)
from commlearn.trained.training_rows import TrainingRows

FORMAT = 1
CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
GRAPHS = "set of ONNX graphs"  # in the folder `onnx` of an export
NAMES = {CONFIG, TENSORS, CARD, SCHEMA, STATE, ROWS, FEATURES}


def export(trained: Any, folder: str | Path, rows: bool = True) -> Path:
    """Write a trained model to its own folder.

    Args:
        trained: a run, an Embedder, or the folder of a run or an export.
        folder: made if needed. Other files in it stay; one with the name of a file to write is refused.
        rows: keep the hashes of the training rows, by which readouts recognise them, and the reasons why
            columns were not used. Anyone who can guess an id or a row can tell from the hashes whether it
            was among them; a reason may quote a cell.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:]}
        >>> model = cl.Embedder(epochs=1).fit(table)
        >>> sorted(path.name for path in cl.export(model.trained, "artifact").glob("*.safetensors"))
        ['features.safetensors', 'model.safetensors', 'rows.safetensors']
    """
    if on_hub(folder):
        raise ConfigurationError(
            f"{folder} is an address on the hub. To store a model there, call commlearn.push_to_hub(run, "
            f"'{folder}')."
        )
    trained = trained_model(trained)
    if not rows:
        trained = replace(trained, unused=None)
    path = Path(folder)
    if (path / RUN_CONFIG).exists():
        raise RunError(f"{path} is a run folder. Export to another folder.")
    config, files = to_parts(trained)
    if not rows:
        files.pop(ROWS, None)
    for name, part in ((SCHEMA, config.pop("schema")), (STATE, config.pop("preprocessing"))):
        if part is not None:
            files[name] = _json(part)
    config["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    probes = _probes(trained)
    files |= {CARD: model_card(trained, probes).encode(), CONFIG: _json(config)}
    make_folder(path)
    file_list = FileList(path, _exported_before(path), "model's export")
    _refuse_changed_card(path / CARD, file_list, files[CARD])
    file_list.claim(*files)
    file_list.add(*files)
    if (path / TENSORS).exists() and (path / TENSORS).read_bytes() != files[TENSORS]:
        _remove_graphs(path / "onnx")  # they compute what another model embeds
    for name, content in files.items():  # the configuration last: it completes the folder
        write_atomically(path / name, content)
    file_list.seal(CARD, hashlib.sha256(files[CARD]).hexdigest())
    for name in NAMES - files.keys():
        if name in file_list.names():  # from an earlier export, such as rows that are now left out
            (path / name).unlink(missing_ok=True)
    return path


def _remove_graphs(folder: Path) -> None:
    """Remove the ONNX graphs that an export of another model left."""
    file_list = FileList(folder, kind=GRAPHS)
    with suppress(RunError):  # somebody else's list
        for name in file_list.names() if file_list.exists else ():
            (folder / name).unlink(missing_ok=True)


def _exported_before(path: Path) -> list[str]:
    """Return the files of an export that kept no list of them; empty if the folder holds no export."""
    try:
        config = parse_json(plain_file(path / CONFIG).read_bytes())
    except (OSError, ValueError):
        return []
    if not isinstance(config, dict) or not {"format", "commlearn", "experiment"} <= config.keys():
        return []
    return sorted(NAMES - {CARD})


def _refuse_changed_card(path: Path, file_list: FileList, card: bytes) -> None:
    """Refuse to replace a model card that somebody has edited since it was exported."""
    checksum = file_list.checksums().get(CARD)
    current = path.read_bytes() if checksum and path.exists() else card
    # the old or the new content was written by an export, even if that was killed
    if current != card and hashlib.sha256(current).hexdigest() != checksum:
        raise RunError(f"{path} was changed since it was exported. Move it away, or give another folder.")


def trained_model(model: Any) -> Trained:
    """Return the trained model of a run, an Embedder, or a folder or address that `load` reads."""
    model = load(model) if isinstance(model, str | Path) else getattr(model, "trained", model)
    if not isinstance(model, Trained):
        raise ConfigurationError(
            f"A {type(model).__name__} is not a trained model. Give a run, a fitted Embedder, or a folder."
        )
    return model


def load(
    folder: str | Path,
    outside: bool = False,
    encoders: Mapping[str, nn.Module] | None = None,
    revision: str | None = None,
) -> Trained:
    """Load a trained model from a run folder, an export or the hub; no code in it is run.

    Statements of an export about places are ignored: where its data are stored, and that paths in cells may
    leave the folder of a table. Nothing that a folder names is fetched.

    Args:
        folder: folder of a run or an export; or hf://user/name on the Hugging Face hub, from which only the
            files of an export are fetched.
        outside: let an export's schema allow paths in cells to leave the folder of the table.
        encoders: your own modules with which it was trained, by modality, built as they were then; copies of
            them get its weights.
        revision: branch, tag or commit of a model on the hub, the same as in hf://user/name@revision.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:]}
        >>> model = cl.Embedder(epochs=1).fit(table)
        >>> artifact = cl.load(cl.export(model.trained, "artifact"))
        >>> bool((cl.embed(artifact, table) == model.transform(table)).all())
        True
    """
    if on_hub(folder):
        repository = Repository.of(str(folder), revision)
        path = _fetch_model(repository)
        return _load_artifact(path, str(repository), outside, encoders, path.parents[1])
    if revision:
        raise ConfigurationError(
            f"{folder} has no revision '{revision}': only models on the hub have revisions."
        )
    path = Path(folder)
    if (path / RUN_CONFIG).exists():
        return load_run(path, encoders)
    if not (path / CONFIG).exists():
        raise RunError(
            f"{path} is not a run folder or an artifact: it has neither {RUN_CONFIG} nor {CONFIG}."
            + path_hint(path, "run")
        )
    return _load_artifact(path, str(path), outside, encoders)


def _load_artifact(
    path: Path,
    location: str,
    outside: bool,
    encoders: Mapping[str, nn.Module] | None,
    root: Path | None = None,
) -> Trained:
    config = _config(file_inside(path, CONFIG, root), location)
    contents = {name: _read(file_inside(path, name, root)) for name in (TENSORS, *config["sha256"])}
    for name, digest in config["sha256"].items():
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise RunError(
                f"{location}/{name} is damaged: it does not match its checksum. Export or copy it again."
            )
    parts = {
        key: _values(f"{location}/{name}", contents[name])
        for key, name in (("schema", SCHEMA), ("preprocessing", STATE))
        if name in contents
    }
    return from_parts(
        {"schema": None, "preprocessing": None, **config, **parts}, contents, location, outside, encoders
    )


def _config(path: Path, location: str) -> dict[str, Any]:
    """Check and return the configuration of an artifact, which names its other files."""
    config = _values(f"{location}/{CONFIG}", _read(path))
    if not isinstance(config, dict) or "format" not in config:
        raise RunError(f"{location}/{CONFIG} is not the configuration of an artifact: it has no 'format'.")
    _check_format(config["format"], location)
    checksums = config.get("sha256") or {}
    if not isinstance(checksums, dict):
        raise RunError(
            f"{location}/{CONFIG} is damaged: sha256 should map file names to checksums. Export or copy it "
            "again."
        )
    for name in checksums:
        if Path(name).name != name or name == "..":
            raise RunError(
                f"{location}/{CONFIG} names a file outside its folder: {name!r:.80}. It was not read."
            )
        if name not in NAMES:
            raise RunError(
                f"{location}/{CONFIG} names {name!r:.80}, which is not a file of an artifact. It was not "
                "read. If a newer commlearn wrote it, update commlearn."
            )
    return {**config, "sha256": checksums}


def _fetch_model(repository: Repository) -> Path:
    """Fetch a model from the hub, all files from one commit; return its folder in this machine's cache."""
    try:
        config = fetch(repository, CONFIG)
        pinned = Repository(repository.name, config.parent.name)
        for name in (TENSORS, *_config(config, str(repository))["sha256"]):
            fetch(pinned, name)
    except FileNotFoundError as problem:
        raise RunError(
            f"{repository} is not a commlearn model, or is incomplete: {problem}. Store one with "
            "commlearn export RUN hf://user/name."
        ) from problem
    return config.parent


def push_to_hub(
    trained: Any,
    address: str,
    private: bool = True,
    rows: bool = False,
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> str:
    """Store a trained model on the Hugging Face hub, in one commit. Needs `commlearn[hf]` and a token.

    What is stored is an export with its model card: weights, settings, column names, and what was learned
    from the training cells in order to read others (words, categories, scales). It contains no rows and no
    labels. If you edited the card of an export, your version is stored.

    Args:
        trained: a run, an Embedder, or the folder of a run or an export.
        address: user/name, with or without hf:// before it.
        private: whether only its owner can see it. An existing repository must already match this.
        rows: also store what `export` keeps by default: row hashes, and why columns were not used.
        license: licence of the weights, by its name on the hub, such as "mit".
        datasets: data sets on the hub that the model learned from.

    Returns:
        The address of the stored model with its commit, which `load` accepts.

    Example:
        >>> push_to_hub("runs/films", "films")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        commlearn.errors.ConfigurationError: hf://films is not the address of a model... Write hf://user/name...
    """
    repository = Repository.of(address if on_hub(address) else f"hf://{address}")
    if repository.revision:
        raise ConfigurationError(
            f"{repository} names a revision, but storing a model creates a new one. Leave it out."
        )
    folder = Path(trained) if isinstance(trained, str | Path) else None
    model = trained_model(trained)
    with tempfile.TemporaryDirectory() as temporary:
        exported = export(model, Path(temporary), rows)
        files = {path.name: path.read_bytes() for path in exported.iterdir() if path.name in NAMES}
    if folder is not None and (folder / CONFIG).exists() and (folder / CARD).exists():
        files[CARD] = _read(file_inside(folder, CARD))
    fields = {"license": license, "datasets": list(datasets)}
    metadata = {key: value for key, value in fields.items() if value}
    try:
        files[CARD] = hub_card(files[CARD].decode(), str(repository), metadata).encode()
    except UnicodeDecodeError as problem:
        raise RunError(f"{CARD} in {folder} is not UTF-8 ({problem}). Save it as UTF-8.") from problem
    existing = open_repository(repository, private)
    if existing & {CONFIG, TENSORS}:
        files_of_model: list[str] = []
        with suppress(FileNotFoundError):
            files_of_model = _exported_before(fetch(repository, CONFIG).parent)
        if not files_of_model:
            raise RunError(
                f"{repository} holds something other than a commlearn model, which would be replaced. "
                "Nothing was stored. Give another name."
            )
    message = f"Model of commlearn {commlearn.__version__}"
    commit = store(repository, files, sorted(existing & NAMES - files.keys()), message)
    return str(Repository(repository.name, commit))


def to_parts(trained: Trained) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a trained model as plain values, and the content of its files of tensors by name."""
    tensors, aliases = _distinct({**trained.method.state_dict(), **frozen_tensors(trained.method)})
    experiment = to_mapping(resolved(trained.experiment, trained.specs, trained.state))
    experiment["data"] = data_without_places(experiment["data"])
    config = {
        "format": FORMAT,
        "commlearn": commlearn.__version__,
        "experiment": experiment,
        "modalities": {name: [spec.kind, *spec.shape] for name, spec in trained.specs.items()},
        "aliases": aliases,
        "schema": None if trained.schema is None else trained.schema.to_mapping(),
        "preprocessing": trained.state,
        "fine_tuned": trained.fine_tuned,
        **({} if trained.unused is None else {"unused": dict(trained.unused)}),
    }
    files = {TENSORS: save_tensors(tensors)}
    if trained.rows is not None:
        files[ROWS] = trained.rows.to_bytes()
    if trained.features is not None:
        files[FEATURES] = trained.features.to_bytes()
    return without_places(json.loads(json.dumps(config))), files


def from_parts(
    config: Mapping[str, Any],
    files: Mapping[str, bytes],
    where: str,
    outside: bool = True,
    encoders: Mapping[str, nn.Module] | None = None,
) -> Trained:
    """Rebuild what `to_parts` took apart; ignore places of data."""
    _check_format(config["format"], where)
    with naming_newer_version(where, config.get("commlearn")):
        check_learned(config["preprocessing"], f"{where}, preprocessing")
        try:
            rows = TrainingRows.from_bytes(files[ROWS]) if ROWS in files else None
            settings = dict(config["experiment"])
            experiment = stored_experiment({**settings, "data": data_without_places(settings.get("data"))})
            specs = {name: Spec(kind, tuple(shape)) for name, (kind, *shape) in config["modalities"].items()}
            for name in specs:  # files such as ONNX graphs are named after modalities
                if Path(name).name != name or "\\" in name:
                    raise ValueError(f"a modality has the name {name!r:.60}, which is a path")
            schema_values = config["schema"] if outside else paths_inside(config["schema"])
            schema = None if schema_values is None else Schema.from_mapping(schema_values, where)
            state = without_places(config["preprocessing"])
            unused = None if config.get("unused") is None else checked_reasons(config["unused"])
            values = load_tensors(files[TENSORS])

            def stored_features(built: FeatureBlocks) -> FeatureBlocks | None:
                return built.from_bytes(files[FEATURES]) if FEATURES in files else None

            method, blocks = stored_method(
                experiment, specs, state, values.values(), where, stored_features, encoders
            )
            values |= {name: values[original] for name, original in config["aliases"].items()}
            refuse_unfit(method.encoders, values, where)
            values = adopt_frozen(method, values, where)
            for name, tensor in values.items():
                if tensor.is_floating_point() and not tensor.isfinite().all():
                    raise RunError(f"{where}: {name} in {TENSORS} is not finite. Train and export it again.")
            method.load_state_dict(values)
        except DAMAGED as problem:
            raise RunError(
                f"{where}: the configuration is damaged ({problem!r}). Export it again."
            ) from problem
        except (RuntimeError, SafetensorError, MemoryError) as problem:
            reason = (str(problem).splitlines() or [type(problem).__name__])[-1].strip()
            raise RunError(f"{where}: {TENSORS} does not fit the configuration: {reason}") from problem
        method.to("cuda" if torch.cuda.is_available() else "cpu")
        return Trained(
            experiment=experiment,
            method=method.eval(),
            specs=specs,
            schema=schema,
            state=state,
            fine_tuned=bool(config.get("fine_tuned", False)),
            unused=unused,
            rows=rows,
            features=blocks,
        )


def _distinct(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return each tensor once, and aliases for other names of it: the format cannot hold shared memory."""
    first_name: dict[Any, str] = {}
    tensors, aliases = {}, {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and key in first_name:
            aliases[name] = first_name[key]
            continue
        first_name[key] = name
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, aliases


def _check_format(number: object, location: str) -> None:
    if not isinstance(number, int) or number > FORMAT:
        raise RunError(
            f"{location} has format {number}, but this commlearn {commlearn.__version__} reads formats up to "
            f"{FORMAT}. Update commlearn."
        )


def _probes(trained: Trained) -> dict[str, Any]:
    """Return the probe results of the run; empty if there are none."""
    if not isinstance(trained, Run) or not (path := trained.folder.path / "probes.json").exists():
        return {}
    with naming_damaged_file(path):
        probes: dict[str, Any] = parse_json(plain_file(path).read_bytes())
        measured(probes)  # fails unless these are probe results
    return probes


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _read(path: Path) -> bytes:
    try:
        return plain_file(path).read_bytes()
    except OSError as problem:
        raise RunError(f"{path} is missing or cannot be read: {problem.strerror}.") from problem


def _values(path: str | Path, content: bytes) -> Any:
    try:
        return parse_json(content)
    except ValueError as problem:
        raise RunError(f"{path} is damaged: it is not JSON ({problem}).") from problem
