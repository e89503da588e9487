"""Texts as the ids of a pretrained tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from commlearn.models.encoders.pretrained_folder import missing_extra

__all__ = ["ids_of"]

AT_ONCE = 4096  # texts: an encoding holds far more than its ids


def ids_of(texts: Sequence[str], tokenizer: str, max_length: int) -> list[list[int]]:
    """The ids of each text, with what the model expects at its ends; empty texts have none.

    Args:
        texts: in any language that the tokenizer knows.
        tokenizer: as JSON.
        max_length: tokens of a text that are read, its ends included.
    """
    made = _tokenizer(tokenizer)
    made.enable_truncation(max_length)
    lists: list[list[int]] = []
    for start in range(0, len(texts), AT_ONCE):
        part = list(texts[start : start + AT_ONCE])
        found = made.encode_batch(part, add_special_tokens=True)
        lists += [encoding.ids if text else [] for text, encoding in zip(part, found, strict=True)]
    return lists


@lru_cache(maxsize=2)
def _tokenizer(plain: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as problem:
        raise missing_extra("tokenizers") from problem
    made = Tokenizer.from_str(plain)
    made.no_padding()
    return made
