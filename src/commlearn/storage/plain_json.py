"""Portable JSON; parsing unusable JSON from others raises a ValueError and nothing else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from commlearn.errors import RunError
from commlearn.storage.plain_files import plain_file

DEEPEST = 50  # most levels of nesting
SIGNS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{\]}]', re.DOTALL)
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(content: str | bytes) -> Any:
    """Return the values of JSON text.

    Raises:
        ValueError: the text is not JSON, is nested deeper than 50 levels, has a number of thousands of
            digits, or holds text that is not valid Unicode.

    Example:
        >>> parse_json('{"a": [1, null]}')
        {'a': [1, None]}
    """
    text = content.decode(json.detect_encoding(content)) if isinstance(content, bytes) else content
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    values = json.loads(text)
    try:
        if SURROGATE.search(text):
            json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise ValueError("it holds a lone surrogate, which is not valid text") from problem
    return values


def json_text(value: Any, indent: int = 2, ascii_only: bool = True) -> str:
    """Return values, dataclasses and arrays as JSON text; NaN and infinity, which JSON lacks, become null.

    Example:
        >>> print(json_text({"low": float("-inf"), "high": 1.0}), end="")
        {
          "low": null,
          "high": 1.0
        }
    """
    return json.dumps(_plain(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def values_of_file(path: Path, remedy: str = "Delete it, or create it again.") -> dict[str, Any]:
    """Return the named values in a file that the library wrote; an error names the file and the way out."""
    try:
        values = parse_json(plain_file(path).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__} instead of named values")
    except (OSError, ValueError) as problem:
        raise RunError(f"{path} is missing or damaged: {problem}. {remedy}") from problem
    return values


def _depth(text: str) -> int:
    return max(accumulate((m[0] in "[{") - (m[0] in "]}") for m in SIGNS.finditer(text)), default=0)
