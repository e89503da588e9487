"""JSON that others wrote: what cannot be read, or could not be used, raises a ValueError and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from commlearn.errors import RunError
from commlearn.storage.plain_files import plain_file

DEEPEST = 50  # levels
SIGNS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{\]}]', re.DOTALL)
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(content: str | bytes) -> Any:
    """The values of JSON text.

    Raises:
        ValueError: it is no JSON, is nested deeper than 50 levels, has a number of thousands of digits, or
            text that is no Unicode.

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
        raise ValueError("it holds half of a pair of surrogates, which is no text") from problem
    return values


def values_of_file(path: Path, way_out: str = "Delete it, or make it again.") -> dict[str, Any]:
    """The named values in a file that the library wrote, or an error that names it and the way out."""
    try:
        values = parse_json(plain_file(path).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__} in place of named values")
    except (OSError, ValueError) as problem:
        raise RunError(f"{path} is missing or damaged: {problem}. {way_out}") from problem
    return values


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in SIGNS.finditer(text):
        sign = match[0]
        if sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    return deepest
