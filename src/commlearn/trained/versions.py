"""What a later version wrote is called newer, not damaged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import commlearn
from commlearn.errors import CommlearnError, RunError
from commlearn.storage.plain_json import values_of_file

ENVIRONMENT = "environment.json"  # of a run folder


@contextmanager
def newer_is_named(where: str, version: object) -> Iterator[None]:
    """Say of an error in reading that a later commlearn wrote this, if one did.

    Args:
        where: what is read.
        version: of the commlearn that wrote it, as it states; anything else counts as none.

    Example:
        >>> with newer_is_named("films", "99.1"):
        ...     raise RunError("Unknown key 'mood'.")
        Traceback (most recent call last):
        ...
        commlearn.errors.RunError: films was written by a newer commlearn (version 99.1, this is 0.1.0), \
which may be why it cannot be read: Unknown key 'mood'. Update commlearn.
    """
    try:
        yield
    except CommlearnError as problem:
        if not isinstance(version, str) or _numbers(version) <= _numbers(commlearn.__version__):
            raise
        raise RunError(
            f"{where} was written by a newer commlearn (version {version:.40}, this is "
            f"{commlearn.__version__}), which may be why it cannot be read: {problem} Update commlearn."
        ) from problem


def version_of_run(folder: Path) -> object:
    """The version that a run folder states, if it does."""
    try:
        return values_of_file(folder / ENVIRONMENT).get("commlearn")
    except RunError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with."""
    start = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(int(number) for number in start[0].split(".")) if start else ()
