"""Folders of pretrained weights, and the models, tokenizers and image preparations in them.

Only this file imports transformers. Nothing in a folder is executed: classes are those of the installed
library. Weights are read from safetensors only; files of other formats can run code when they are opened, so
a folder without safetensors is refused with an error that names the files it holds instead. A configuration
may come from somebody else's folder or artifact, and transformers lets it name more: attention kernels that
are downloaded and run, code, quantisers, other models as parts. None of that is passed on. Only sizes and
switches of the model's own class are, and names of functions.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from commlearn.errors import CommlearnError, ConfigurationError
from commlearn.seeds import SeededDraws
from commlearn.storage.hub import Repository, fetch_matching
from commlearn.storage.places import may_fetch
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import parse_json

CONFIG = "config.json"
ADAPTER = "adapter_config.json"  # names another model, which transformers would load
MODULES = "modules.json"  # present in sentence-transformers folders: a transformer, then pooling etc.
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")


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
    if any(folder.glob("*.safetensors")):
        return folder
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise ConfigurationError(
            f"{folder} has its weights only in {', '.join(pickles)}, and opening such a file can run code. "
            "Give a folder with model.safetensors: on the hub another revision may have it "
            "(owner/model@revision); or, if you trust the model, load it and save it again."
        )
    raise ConfigurationError(f"{folder} has no weights: there is no model.safetensors next to {CONFIG}.")


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 of what determines the encoder's output: configuration, preparation and weights."""
    files = [folder / CONFIG, folder / "preprocessor_config.json", folder / "processor_config.json"]
    files = [path for path in files if path.is_file()] + sorted(folder.glob("*.safetensors"))
    return _digest(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


def _read_json(path: Path) -> Any:
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
            while part := file.read(1 << 22):
                digest.update(part)
    return digest.hexdigest()


def _transformer(path: Path) -> Path:
    """Return the transformer's folder: the given one, or that of the first module if there are several."""
    if not (path / MODULES).is_file():
        return path
    modules = _read_json(path / MODULES)
    first = modules[0] if isinstance(modules, list) and modules else None
    if not isinstance(first, dict) or not isinstance(first.get("path"), str):
        raise ConfigurationError(f"{path / MODULES} does not name a first module. Copy the folder again.")
    kind = str(first.get("type", ""))
    returns_states = kind.rsplit(".")[-1] in ("Transformer", "CLIPModel")
    if not kind.startswith("sentence_transformers.") or not returns_states:
        raise ConfigurationError(
            f"{path / MODULES}: the first module is a '{kind}', which is not a transformer that returns "
            "token states. Choose a model whose first module is a Transformer."
        )
    folder = (path / first["path"]).resolve()
    if not folder.is_relative_to(path):
        raise ConfigurationError(f"{path / MODULES} points outside its folder, to {folder}. Do not trust it.")
    return folder


def _from_hub(name: str) -> Path:
    """Download the hub's model of this name, or find an earlier download of it."""
    repository, _, revision = name.partition("@")
    try:
        wanted = ["*.json", "*.safetensors", "*.txt", "*.model"]
        return fetch_matching(Repository(repository, revision or None), wanted)
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


WORDS = frozenset(
    {
        *("hidden_act", "hidden_activation", "activation", "activation_function", "pooler_act"),
        *("pooler_hidden_act", "projection_hidden_act", "summary_activation", "classifier_activation"),
        *("feed_forward_proj", "position_embedding_type", "attention_type", "layer_type", "layer_types"),
        *("summary_type", "classifier_pooling", "rope_parameters", "pos_att_type", "norm_rel_ebd"),
    }
)
"""Options whose values may be words: each chooses among things that the library itself implements."""
WORD = re.compile(r"[\w-]*")  # does not match hub names and paths, which have slashes or dots
KERNELS = ("get_kernel", "is_kernels_available", "lazy_load_kernel")  # in modules that run downloaded code


def safe_config(model: Any, stated: Mapping[str, Any]) -> Any:
    """Return the configuration of a transformers model, with attention computed by torch.

    Raises:
        ConfigurationError: an option holds something other than numbers or names of the library's functions,
            or the model is one that loads other models or kernels.
    """
    if any(hasattr(sys.modules[model.__module__], name) for name in KERNELS):
        raise ConfigurationError(
            f"{model.__name__} runs downloaded kernels, which is not allowed here. Choose another model."
        )
    config = model.config_class(**admitted(model, stated))
    parts = [name for name in _options(model) if _is_unsafe(name, _plain(getattr(config, name, None)))]
    if parts:
        raise ConfigurationError(
            f"{model.__name__} is composed of other models ({', '.join(parts)}), which are not loaded here. "
            "Choose a model that is a single transformer."
        )
    config._attn_implementation = "sdpa" if model._supports_sdpa else "eager"
    return config


def admitted(model: Any, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stated options of the model's own class; refuse values that could name code or a model."""
    options = {name: stated[name] for name in _options(model) if name in stated}
    for name, value in options.items():
        if _is_unsafe(name, value):
            raise ConfigurationError(
                f"The configuration of {model.__name__} sets {name}: {value!r:.60}, which could name code or "
                "another model. Only numbers and names of functions are accepted. If you trust the model, "
                "remove this option from its configuration; the default is then used."
            )
    return options


def _options(model: Any) -> list[str]:
    """Return the options of the model's own configuration, without those that all configurations have."""
    base = _transformers().PreTrainedConfig
    general = {*inspect.signature(base.__init__).parameters, "args", "kwargs"}
    parameters = inspect.signature(model.config_class.__init__).parameters
    return [name for name in parameters if name not in general and not name.startswith("_")]


def _is_unsafe(name: str, value: Any) -> bool:  # numbers are safe, and words if the option allows them
    if value is None or isinstance(value, int | float):
        return False
    if isinstance(value, list | tuple):
        return any(_is_unsafe(name, entry) for entry in value)
    if name not in WORDS:
        return True
    if isinstance(value, Mapping):
        return any(_is_unsafe(name, entry) for pair in value.items() for entry in pair)
    return not isinstance(value, str) or not WORD.fullmatch(value)


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


SENSIBLE = 100_000  # limit in tokens if the model has none; tokenizers without one state an absurd number


def architecture_of(folder: Path, kind: str) -> tuple[str, dict[str, Any], int]:
    """Return the class whose output is token states of images or texts, its configuration and their width."""
    transformers = _transformers()
    raw = _read_json(folder / CONFIG)
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError) as problem:
        model_type = raw.get("model_type") if isinstance(raw, Mapping) else None
        reason = str(problem).splitlines()[0][:200]
        raise ConfigurationError(
            f"{folder} has model type {model_type!r}, which the installed transformers "
            f"{transformers.__version__} cannot load without running the folder's own code: {reason}"
        ) from problem
    tower = getattr(config, {"image": "vision_config", "text": "text_config"}[kind], config)
    if kind == "image" and not hasattr(tower, "image_size"):
        raise ConfigurationError(f"{folder} holds a '{config.model_type}', which does not take images.")
    if kind == "text" and not getattr(tower, "vocab_size", None):
        raise ConfigurationError(f"{folder} holds a '{config.model_type}', which does not take text.")
    suffix = "EncoderModel" if getattr(tower, "is_encoder_decoder", False) else "Model"
    name = type(tower).__name__.removesuffix("Config") + suffix
    if not _is_model(transformers, name):
        raise ConfigurationError(
            f"{folder} holds a '{config.model_type}', which has no token states for {kind}s: transformers "
            f"has no class {name}."
        )
    cls = getattr(transformers, name)
    options = admitted(cls, tower.to_dict())
    safe_config(cls, options)
    return name, {"model_type": tower.model_type, **options}, int(tower.hidden_size)


def build(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Build the model with random weights that are always the same."""
    transformers = _transformers()
    if not _is_model(transformers, architecture):
        raise ConfigurationError(f"transformers {transformers.__version__} has no model {architecture}.")
    cls = getattr(transformers, architecture)
    with SeededDraws(0):
        return cls(safe_config(cls, config), **_without_pooling(cls))


def load(folder: Path, architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Load the model with the folder's weights, in float32; refuse weights that do not fit."""
    transformers = _transformers()
    cls = getattr(transformers, architecture)
    try:
        with _quiet(transformers):
            model, loading = cls.from_pretrained(
                folder,
                config=safe_config(cls, config),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **_without_pooling(cls),
            )
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise ConfigurationError(
            f"The weights in {folder} are damaged or do not fit its {CONFIG}: {reason} Copy or download the "
            "folder again."
        ) from problem
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise ConfigurationError(
            f"The weights in {folder} lack {len(missing)} tensors of {architecture}, such as {missing[0]}. "
            "Give a folder with all weights of this model."
        )
    return model


def subwords(folder: Path, architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokenizer in a model's folder, its limit and its special tokens, as plain values."""
    transformers = _transformers()
    if (folder / "tokenizer.json").is_file():
        _read_json(folder / "tokenizer.json")  # if the file is truncated, this error names it
    try:
        with _quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_fast=True
            )
        plain = tokenizer.backend_tokenizer.to_str()
    except (OSError, ValueError, KeyError, AttributeError, ImportError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ConfigurationError(f"{folder} has no readable tokenizer: {reason}") from problem
    # maps the different names that models have for a setting
    settings = safe_config(getattr(transformers, architecture), config)
    positions = getattr(settings, "max_position_embeddings", None) or SENSIBLE
    if "roberta" in settings.model_type:  # numbers its positions from the padding id + 1
        positions -= (settings.pad_token_id or 0) + 1
    stated = folder / "sentence_bert_config.json"  # only in folders of sentence-transformers
    longest = _read_json(stated).get("max_seq_length") if stated.is_file() else None
    limits = [positions, longest, tokenizer.model_max_length]
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else settings.pad_token_id
    return {
        "tokenizer": plain,  # JSON, as the package tokenizers reads it
        "ids": int(settings.vocab_size),
        "max_length": int(min(limit for limit in limits if limit)),
        "mask": -1 if tokenizer.mask_token_id is None else int(tokenizer.mask_token_id),  # -1: there is none
        "special": sorted({int(token) for token in tokenizer.all_special_ids}),  # not part of the text
        "padding": int(padding or 0),
    }


def image_preparation(folder: Path) -> dict[str, Any]:
    """Return how images are resized, cropped and normalised for the folder's model, as plain values."""
    transformers = _transformers()
    try:
        with _quiet(transformers):
            processor = transformers.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ConfigurationError(
            f"{folder} does not say how images are prepared (preprocessor_config.json): {reason}"
        ) from problem
    size, crop = dict(processor.size or {}), dict(getattr(processor, "crop_size", None) or {})
    output_size = resize = size.get("shortest_edge") or [size.get("height"), size.get("width")]
    if getattr(processor, "do_center_crop", False):
        output_size = [crop.get("height"), crop.get("width")]
    if not processor.do_resize or output_size in ([None, None], None) or size.get("longest_edge"):
        raise ConfigurationError(f"{folder}: images are not resized to one size ({size}), as is required.")
    if not isinstance(output_size, list) or output_size[0] != output_size[1]:
        raise ConfigurationError(
            f"{folder}: images are not cropped to squares ({size}, {crop}), as is required."
        )
    scale = 255 * float(processor.rescale_factor) if processor.do_rescale else 255.0
    mean, std = [0.0] * 3, [1.0] * 3
    if processor.do_normalize:
        mean, std = processor.image_mean, processor.image_std
    if not math.isfinite(scale) or len(mean) != 3 or len(std) != 3:
        raise ConfigurationError(f"{folder}: images are normalised by {mean} and {std}; 3 values are needed.")
    return {
        "size": int(output_size[0]),
        "resize": resize,
        "resample": int(processor.resample),
        "mean": [float(value) / scale for value in mean],
        "std": [float(value) / scale for value in std],
    }


def feed(model: nn.Module, values: Tensor, padding: Tensor | None) -> Tensor:
    """Return the token states of prepared pixels, or of ids and their padding, (batch, length, features)."""
    if values.is_floating_point():
        options = {}
        if "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
            trained_size = getattr(model.config, "image_size", None)
            options["interpolate_pos_encoding"] = values.shape[-1] != trained_size
        return model(pixel_values=values, **options).last_hidden_state
    attended = None if padding is None else (~padding).long()
    return model(input_ids=values, attention_mask=attended).last_hidden_state


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Suppress progress bars and remarks on towers that are not loaded; real problems are still raised."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as problem:
        raise missing_extra("transformers") from problem
    return transformers


def _is_model(transformers: Any, name: str) -> bool:
    cls = getattr(transformers, name, None)
    return inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel)


def _without_pooling(cls: type) -> dict[str, bool]:
    """Return the option that omits a model's pooling layer, if it has one: pooled vectors are not used."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls).parameters else {}
