"""Files of a run as they are read back: what is damaged is named, what a kill cut off is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from commlearn.data.plain_files import plain_file
from commlearn.data.plain_json import parse_json
from commlearn.errors import ConfigurationError, RunError

__all__ = ["damage_named", "flat", "json_lines"]


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """A file of the run that is missing or no longer what was written is named."""
    try:
        yield
    except (
        OSError,
        SafetensorError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
        RecursionError,
        ConfigurationError,
    ) as problem:
        told = str(problem) if isinstance(problem, ConfigurationError) else str(problem).partition("\n")[0]
        raise RunError(f"{path} is missing or damaged: {told}. Restore it, or train again.") from problem


def json_lines(path: Path) -> Iterable[dict[str, Any]]:
    """Every whole line; a last line that a kill cut off is no line."""
    if not path.exists():
        return
    with damage_named(path):
        lines = plain_file(path).read_text(encoding="utf-8").splitlines()
    for line in lines:
        try:
            entry = parse_json(line)
        except ValueError:
            return
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            raise RunError(f"{path} is damaged: {line[:60]!r} states no step. Restore it, or train again.")
        yield entry


def flat(entry: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names.

    Example:
        >>> flat({"step": 1, "terms": {"image": 0.5}})
        {'step': 1, 'terms.image': 0.5}
    """
    values: dict[str, Any] = {}
    for key, value in entry.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values
