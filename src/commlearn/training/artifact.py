"""A trained model as one folder to hand on: tensors, plain values and a model card. No pickle, no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

import commlearn
from commlearn.data.records import Spec
from commlearn.errors import RunError
from commlearn.kinds.learned import check_learned
from commlearn.kinds.schema import Schema
from commlearn.methods.base import Method
from commlearn.models.encoders.pretrained import frozen_encoders
from commlearn.training.build import build_method
from commlearn.training.checkpoint import write_atomically
from commlearn.training.configuration import stored_experiment, to_mapping
from commlearn.training.file_list import FileList
from commlearn.training.model_card import model_card
from commlearn.training.resolve import resolved
from commlearn.training.run import Run, load_run
from commlearn.training.run_folder import CONFIG as RUN_CONFIG
from commlearn.training.trained import Trained
from commlearn.training.training_rows import TrainingRows
from commlearn.training.versions import newer_is_named

__all__ = ["FORMAT", "export", "from_parts", "load", "to_parts"]

FORMAT = 1
CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
SCHEMA, STATE = "schema.json", "preprocessing.json"
ROWS = "rows.safetensors"  # hashes of the rows that were trained on
NAMES = {CONFIG, TENSORS, CARD, SCHEMA, STATE, ROWS}
FROZEN = "pretrained."  # before the names of tensors that are no part of the method's own state


def export(trained: Trained | str | Path, folder: str | Path, rows: bool = True) -> Path:
    """Write a trained model to a folder of its own.

    Args:
        trained: a run, or its folder.
        folder: is made; what else lies in it stays, and is refused if it has the name of a file to write.
        rows: keep the hashes of the rows that were trained on, by which readouts tell them from others.
            Whoever can guess an id or a row can tell by them whether it was among them.
    """
    if not isinstance(trained, Trained):
        trained = load(trained)
    path = Path(folder)
    if (path / RUN_CONFIG).exists():
        raise RunError(f"{path} is a run folder. Export to another one.")
    config, tensors = to_parts(trained)
    files = {TENSORS: tensors}
    if trained.rows is not None and rows:
        files[ROWS] = trained.rows.to_bytes()
    for name, part in ((SCHEMA, config.pop("schema")), (STATE, config.pop("preprocessing"))):
        if part is not None:
            files[name] = _json(part)
    config["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    probes = _probes(trained)
    files |= {CARD: model_card(trained, probes).encode(), CONFIG: _json(config)}
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"Cannot make the folder {path}: {problem.strerror}.") from problem
    listed = FileList(path, _exported_before(path), "model's export")
    _refuse_changed_card(path / CARD, listed, files[CARD])
    listed.claim(*files)
    listed.add(*files)
    for name, content in files.items():  # the configuration last: with it the folder is whole
        write_atomically(path / name, content)
    listed.seal(CARD, hashlib.sha256(files[CARD]).hexdigest())
    for name in NAMES - files.keys():
        if name in listed.names():  # of an export before, such as rows that are now left out
            (path / name).unlink(missing_ok=True)
    return path


def _exported_before(path: Path) -> list[str]:
    """What an export wrote that kept no list of its files."""
    try:
        config = json.loads((path / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(config, dict) or not {"format", "commlearn", "experiment"} <= config.keys():
        return []
    return sorted(NAMES - {CARD})


def _refuse_changed_card(path: Path, listed: FileList, card: bytes) -> None:
    """A model card that somebody has edited since is theirs."""
    before = listed.checksums().get(CARD)
    now = path.read_bytes() if before and path.exists() else card
    if now != card and hashlib.sha256(now).hexdigest() != before:  # else an export wrote it, killed or not
        raise RunError(f"{path} was changed since it was exported. Move it away, or give another folder.")


def load(folder: str | Path) -> Trained:
    """A trained model from its run folder or from what `export` wrote; no code in the folder is run."""
    path = Path(folder)
    if (path / RUN_CONFIG).exists():
        return load_run(path)
    if not (path / CONFIG).exists():
        raise RunError(
            f"{path} is not a run folder or an artifact: it has neither {RUN_CONFIG} nor {CONFIG}."
        )
    config = _values(path / CONFIG, _read(path / CONFIG))
    if not isinstance(config, dict) or "format" not in config:
        raise RunError(f"{path / CONFIG} is not the configuration of an artifact: it states no format.")
    _check_format(config["format"], str(path))
    sums = config.get("sha256") or {}
    if not isinstance(sums, dict):
        raise RunError(f"{path / CONFIG} is damaged: sha256 should name files. Export or copy it again.")
    for name in sums:
        if Path(name).name != name or name == "..":
            raise RunError(f"{path / CONFIG} names a file outside its folder: {name!r:.80}. It was not read.")
    contents = {name: _read(path / name) for name in (TENSORS, *sums)}
    for name, digest in sums.items():
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise RunError(
                f"{path / name} is damaged: it does not match its checksum. Export or copy it again."
            )
    parts = {
        key: _values(path / name, contents[name])
        for key, name in (("schema", SCHEMA), ("preprocessing", STATE))
        if name in contents
    }
    return from_parts(
        {"schema": None, "preprocessing": None, **config, **parts},
        contents[TENSORS],
        str(path),
        contents.get(ROWS),
    )


def to_parts(trained: Trained) -> tuple[dict[str, Any], bytes]:
    """A trained model as plain values and the bytes of its tensors."""
    tensors, aliases = _distinct({**trained.method.state_dict(), **_frozen(trained.method)})
    experiment = to_mapping(resolved(trained.experiment, trained.specs, trained.state))
    if "table" in experiment["data"]:
        experiment["data"]["table"] = Path(
            experiment["data"]["table"]
        ).name  # where it lay is no one's business
    config = {
        "format": FORMAT,
        "commlearn": commlearn.__version__,
        "experiment": experiment,
        "modalities": {name: [spec.kind, *spec.shape] for name, spec in trained.specs.items()},
        "aliases": aliases,
        "schema": None if trained.schema is None else trained.schema.to_mapping(),
        "preprocessing": trained.state,
        "fine_tuned": trained.fine_tuned,
    }
    return _without_places(json.loads(json.dumps(config))), save_tensors(tensors)


def from_parts(config: Mapping[str, Any], tensors: bytes, where: str, rows: bytes | None = None) -> Trained:
    """What `to_parts` took apart, and the rows that were trained on."""
    _check_format(config["format"], where)
    with newer_is_named(where, config.get("commlearn")):
        check_learned(config["preprocessing"], f"{where}, preprocessing")
        return _trained(config, tensors, where, rows)


def _trained(config: Mapping[str, Any], tensors: bytes, where: str, rows: bytes | None) -> Trained:
    try:
        trained_on = None if rows is None else TrainingRows.from_bytes(rows)
        experiment = stored_experiment(config["experiment"])
        specs = {name: Spec(kind, tuple(shape)) for name, (kind, *shape) in config["modalities"].items()}
        schema = None if config["schema"] is None else Schema.from_mapping(config["schema"], where)
        method = build_method(experiment, specs, config["preprocessing"], fresh=False)
        values = load_tensors(tensors)
        values |= {name: values[kept] for name, kept in config["aliases"].items()}
        for name, encoder in frozen_encoders(method.encoders).items():
            first = f"{FROZEN}{name}."
            encoder.adopt(
                {key.removeprefix(first): values.pop(key) for key in [*values] if key.startswith(first)}
            )
        for name, tensor in values.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise RunError(f"{where}: {name} in {TENSORS} is not finite. Train and export it again.")
        method.load_state_dict(values)
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        raise RunError(f"{where}: the configuration is damaged ({problem!r}). Export it again.") from problem
    except (RuntimeError, SafetensorError) as problem:
        told = str(problem).splitlines()[-1].strip()
        raise RunError(f"{where}: {TENSORS} does not fit the configuration: {told}") from problem
    method.to("cuda" if torch.cuda.is_available() else "cpu")
    return Trained(
        experiment=experiment,
        method=method.eval(),
        specs=specs,
        schema=schema,
        state=config["preprocessing"],
        fine_tuned=bool(config.get("fine_tuned", False)),
        rows=trained_on,
    )


def _distinct(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor once, and which names stand for one of another name: the format holds no shared memory."""
    kept: dict[Any, str] = {}
    tensors, aliases = {}, {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and key in kept:
            aliases[name] = kept[key]
            continue
        kept[key] = name
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, aliases


def _frozen(method: Method) -> dict[str, Tensor]:
    """The weights of frozen encoders: with them the folder is whole, wherever theirs went."""
    return {
        f"{FROZEN}{name}.{key}": tensor
        for name, encoder in frozen_encoders(method.encoders).items()
        for key, tensor in encoder.backbone.state_dict().items()
    }


def _without_places(value: Any) -> Any:
    """The same values; of a pretrained encoder's folder the name alone: where it lay is no one's business."""
    if isinstance(value, list):
        return [_without_places(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    named = {
        key: Path(entry).name
        for key, entry in value.items()
        if key in ("pretrained", "encoder") and isinstance(entry, str) and Path(entry).is_absolute()
    }
    return {key: named.get(key, _without_places(entry)) for key, entry in value.items()}


def _check_format(stated: object, where: str) -> None:
    if not isinstance(stated, int) or stated > FORMAT:
        raise RunError(
            f"{where} is of format {stated}; this commlearn {commlearn.__version__} reads up to {FORMAT}. "
            "Update commlearn."
        )


def _probes(trained: Trained) -> dict[str, Any]:
    """What was measured on the run, if anything was."""
    if not isinstance(trained, Run) or not (trained.folder.path / "probes.json").exists():
        return {}
    return _values(trained.folder.path / "probes.json", _read(trained.folder.path / "probes.json"))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise RunError(f"{path} is missing or cannot be read: {problem.strerror}.") from problem


def _values(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as problem:
        raise RunError(f"{path} is damaged: it is not JSON ({problem}).") from problem
