"""The choice of a pretrained encoder in a schema, what a kind learns from it, and its tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from torch import nn

from commlearn.errors import ConfigurationError, Problems, unknown
from commlearn.models.encoders.own import OWN
from commlearn.models.encoders.pretrained_model import (
    architecture_of,
    fingerprint,
    image_preparation,
    locate,
    missing_extra,
    subwords,
)


@dataclass(frozen=True)
class Pretrained:
    """A transformer whose weights are stored in a folder or on the Hugging Face hub.

    In a schema: `encoder: FOLDER`, or `encoder: {pretrained: FOLDER, frozen: false}`.

    Example:
        >>> Pretrained.of("models/clip")
        Pretrained(pretrained='models/clip', frozen=True, cache=True, views=0, precision='float32')
    """

    pretrained: str  # a folder, or `owner/model` or `owner/model@revision` on the hub
    frozen: bool = True  # False = it is fine-tuned with the rest of the model
    cache: bool = True  # if frozen, token states of training records are computed once and kept on disk
    views: int = 0  # augmented versions kept of each record; 0 = the record alone, with token dropout
    precision: Literal["float32", "float16"] = "float32"  # type of the token states that are kept

    def __post_init__(self) -> None:
        problems = Problems("encoder")
        for name, hint in get_type_hints(type(self)).items():
            value, choices = getattr(self, name), get_args(hint)
            wrong = value not in choices if choices else type(value) is not hint
            if wrong:
                expected = f"one of {', '.join(choices)}" if choices else f"a value of type {hint.__name__}"
                problems.add(f"{name} is {value!r:.60}; give {expected}.")
        if type(self.views) is int and self.views < 0:
            problems.add(f"views is {self.views}; give 0 or more.")
        if not self.pretrained:
            problems.add("pretrained is empty; name a folder.")
        problems.raise_if_any(ConfigurationError)

    @classmethod
    def of(cls, value: Any) -> Pretrained | nn.Module | str | None:
        """Build the choice from its written form: a folder's name, named settings, or nothing.

        The user's own torch module is returned unchanged, and so is `own module`, its name in files.
        """
        if value is None or value == OWN or isinstance(value, cls | nn.Module):
            return value
        if isinstance(value, str):
            return cls(value)
        keys = [entry.name for entry in dataclasses.fields(cls)]
        if not isinstance(value, Mapping) or "pretrained" not in value:
            raise ConfigurationError(
                f"encoder is {value!r:.60}; give a folder, or settings such as "
                "{pretrained: FOLDER, frozen: true}, or in Python a torch module."
            )
        problems = Problems("encoder")
        for key in value:
            if key not in keys:
                problems.add(unknown("key", key, keys))
        problems.raise_if_any(ConfigurationError)
        return cls(**value)

    def to_plain(self) -> Any:
        """Return the form that `of` reads; settings at their defaults are left out."""
        entries = dataclasses.fields(self)
        changed = {e.name: getattr(self, e.name) for e in entries if getattr(self, e.name) != e.default}
        return self.pretrained if len(changed) == 1 else changed

    def for_images(self) -> dict[str, Any]:
        """Return how images are prepared for the encoder, and the encoder's description."""
        folder = locate(self.pretrained)
        description = self._describe(folder, "image")
        preparation = image_preparation(folder)
        description |= {name: preparation.pop(name) for name in ("mean", "std")}
        return {**preparation, "encoder": description}

    def for_texts(self, max_length: int) -> dict[str, Any]:
        """Return the encoder's tokenizer and the encoder's description."""
        folder = locate(self.pretrained)
        description = self._describe(folder, "text")
        learned = subwords(folder, description["architecture"], description["config"])
        special_tokens = _tokenizer(learned["tokenizer"]).num_special_tokens_to_add(is_pair=False)
        if max_length <= special_tokens:
            raise ConfigurationError(
                f"Text max_length is {max_length}, and the tokenizer of {self.pretrained} adds "
                f"{special_tokens} tokens to each text; give at least {special_tokens + 1}."
            )
        learned["max_length"] = min(max_length, learned["max_length"])
        description["padding"] = learned.pop("padding")
        return {**learned, "encoder": description}

    def _describe(self, folder: Path, kind: str) -> dict[str, Any]:
        architecture, config, features = architecture_of(folder, kind)
        location = str(folder) if Path(self.pretrained).expanduser().is_dir() else self.pretrained
        return {
            **dataclasses.asdict(self),
            "pretrained": location,
            "architecture": architecture,
            "config": config,
            "features": features,
            "sha256": fingerprint(folder),
        }


AT_ONCE = 4096  # texts encoded at once: an encoding takes far more memory than its ids


def ids_of(texts: Sequence[str], tokenizer: str, max_length: int) -> list[list[int]]:
    """Return the token ids of each text, with the special tokens at its ends; empty texts have none.

    Args:
        texts: texts in any language that the tokenizer covers.
        tokenizer: the tokenizer as JSON.
        max_length: most tokens of a text that are read, including the special ones at its ends.
    """
    loaded_tokenizer = _tokenizer(tokenizer)
    loaded_tokenizer.enable_truncation(max_length)
    lists: list[list[int]] = []
    for start in range(0, len(texts), AT_ONCE):
        part = list(texts[start : start + AT_ONCE])
        encodings = loaded_tokenizer.encode_batch(part, add_special_tokens=True)
        lists += [encoding.ids if text else [] for text, encoding in zip(part, encodings, strict=True)]
    return lists


@lru_cache(maxsize=2)
def _tokenizer(text: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as problem:
        raise missing_extra("tokenizers") from problem
    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    return tokenizer
