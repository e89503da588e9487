"""The folder that holds pretrained weights: locating it, reading its metadata, refusing unsafe contents.

Weights are read from safetensors only. Files of other formats can run code when they are opened, so a
folder without safetensors is refused with an error that names the files it holds instead.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from commlearn.errors import CommlearnError, ConfigurationError
from commlearn.storage.hub import Repository, fetch_matching
from commlearn.storage.places import may_fetch
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import parse_json

CONFIG = "config.json"
ADAPTER = "adapter_config.json"  # names another model, which transformers would load
MODULES = "modules.json"  # present in sentence-transformers folders: a transformer, then pooling etc.
WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]  # files to fetch from a hub repository
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")
READ = 1 << 22  # bytes read at a time


def locate(name: str) -> Path:
    """Return the folder whose `config.json` describes the transformer.

    Args:
        name: a folder, or the name of a model on the Hugging Face hub, `owner/model` or
            `owner/model@revision`. The hub is queried only if there is no such folder.
    """
    path = Path(name).expanduser()
    if path.is_file():
        raise ConfigurationError(f"{name} is a file. Give the folder that holds {CONFIG} and the weights.")
    if not path.is_dir():
        if not HUB_NAME.fullmatch(name) or name.startswith("."):
            raise ConfigurationError(f"There is no folder {name} to read a pretrained encoder from.")
        path = _from_hub(name)
    folder = _transformer(path.resolve())
    if not (folder / CONFIG).is_file():
        raise ConfigurationError(
            f"{folder} has no {CONFIG}, so it is not a pretrained encoder. Give the folder that "
            "save_pretrained wrote."
        )
    if (folder / ADAPTER).exists():
        raise ConfigurationError(
            f"{folder} holds an adapter for another model, which its {ADAPTER} names. If you trust both, "
            "merge them (merge_and_unload, then save_pretrained), and give the folder of the result."
        )
    _refuse_pickles(folder)
    return folder


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 of what determines the encoder's output: configuration, preparation and weights."""
    files = [folder / CONFIG, folder / "preprocessor_config.json", folder / "processor_config.json"]
    files = [path for path in files if path.is_file()] + sorted(folder.glob("*.safetensors"))
    return _digest(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


def longest_text(folder: Path) -> int | None:
    """Return the longest text, in tokens, that a sentence-transformers folder states, if it does."""
    path = folder / "sentence_bert_config.json"
    return read_json(path).get("max_seq_length") if path.is_file() else None


def read_json(path: Path) -> Any:
    try:
        return parse_json(plain_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ConfigurationError(f"{path} is missing or damaged: {problem}.") from problem


def missing_extra(package: str) -> ConfigurationError:
    return ConfigurationError(
        f"Pretrained encoders need the package {package}, which is not installed. Install the extra: "
        "pip install 'commlearn[hf]'"
    )


@lru_cache(maxsize=16)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Return the SHA-256 of the files, which are read again only if a size or modification time changes."""
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            while part := file.read(READ):
                digest.update(part)
    return digest.hexdigest()


def _transformer(path: Path) -> Path:
    """Return the transformer's folder: the given one, or that of the first module if there are several."""
    if not (path / MODULES).is_file():
        return path
    modules = read_json(path / MODULES)
    first = modules[0] if isinstance(modules, list) and modules else None
    if not isinstance(first, dict) or not isinstance(first.get("path"), str):
        raise ConfigurationError(f"{path / MODULES} does not name a first module. Copy the folder again.")
    kind = str(first.get("type", ""))
    if not kind.startswith("sentence_transformers.") or kind.rsplit(".")[-1] not in (
        "Transformer",
        "CLIPModel",
    ):
        raise ConfigurationError(
            f"{path / MODULES}: the first module is a '{kind}', which is not a transformer that returns "
            "token states. Choose a model whose first module is a Transformer."
        )
    folder = (path / first["path"]).resolve()
    if not folder.is_relative_to(path):
        raise ConfigurationError(f"{path / MODULES} points outside its folder, to {folder}. Do not trust it.")
    return folder


def _refuse_pickles(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise ConfigurationError(
            f"{folder} has its weights only in {', '.join(pickles)}, and opening such a file can run code. "
            "Give a folder with model.safetensors: on the hub another revision may have it "
            "(owner/model@revision); or, if you trust the model, load it and save it again."
        )
    raise ConfigurationError(f"{folder} has no weights: there is no model.safetensors next to {CONFIG}.")


def _from_hub(name: str) -> Path:
    """Download the hub's model of this name, or find an earlier download of it."""
    repository, _, revision = name.partition("@")
    try:
        return fetch_matching(Repository(repository, revision or None), WANTED)
    except CommlearnError as problem:
        if not may_fetch():
            raise ConfigurationError(
                f"The pretrained encoder {name} is not on this machine, and a loaded model never starts a "
                f"download. Download it yourself: hf download {repository}"
                + (f" --revision {revision}" if revision else "")
            ) from problem
        raise ConfigurationError(
            f"There is no folder {name}, and no model of this name could be downloaded from the hub: "
            f"{problem} You can also give the path of a folder."
        ) from problem
