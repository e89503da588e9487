"""Errors that a user can cause and fix: they name the thing, show the value and say what to do."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class CommlearnError(Exception):
    """Anything that the user can fix. The command line prints it and exits with code 2."""


class ConfigurationError(CommlearnError):
    """A recipe, an option or a name that is not valid."""


class DataError(CommlearnError):
    """A record, a column or a file that is not valid."""


class DataWarning(UserWarning):
    """A flaw in a table that does not stop the work, but that the user should know about."""


class CheckpointError(CommlearnError):
    """A checkpoint that is damaged or belongs to another model."""


class RunError(CommlearnError):
    """A run folder that exists, is missing, is in use or cannot be written."""


class TrainingError(CommlearnError):
    """Training that cannot continue."""


class DivergedError(TrainingError):
    """A loss or an embedding that is not finite."""


DAMAGED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RecursionError)
"""Errors raised by reading damaged content, in addition to those of a format, of the disk and of memory."""


MISSPELT = 0.8  # likeness from which a name may be another one misspelt; a hint in a message needs less
LOOKED_UP = 20  # missing names, at most, for which a similar one is looked for; more would take hours


def nearest(name: str, names: Iterable[str], likeness: float = 0.5) -> str | None:
    """Return the known name closest to `name`, or None; one that differs only in case or outer spaces wins.

    Example:
        >>> nearest("modalitys", ["modalities", "targets"]), nearest("b1", ["b3", "B1"])
        ('modalities', 'B1')
    """
    names = list(names)
    for candidate in names:
        if str(candidate).strip().casefold() == str(name).strip().casefold():
            return candidate
    matches = difflib.get_close_matches(str(name), names, n=1, cutoff=likeness)
    return matches[0] if matches else None


def unknown(what: str, name: object, valid: Iterable[str]) -> str:
    """Return a message that names an unknown thing, the nearest known one and all valid ones.

    Example:
        >>> unknown("method", "com", ["comm", "clip"])
        "Unknown method 'com', did you mean 'comm'? Known: clip, comm."
    """
    names = sorted(valid)
    guess = nearest(str(name), names)
    hint = f", did you mean '{guess}'?" if guess else "."
    return f"Unknown {what} '{name}'{hint} Known: {', '.join(names)}."


def renamed_argument(old: str, new: str, gone_in: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that still accepts a keyword argument by its old name, with a warning.

    Args:
        old: the previous name.
        new: the current name.
        gone_in: the version in which the old name is removed.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def wrapper(*args: P.args, **named: P.kwargs) -> R:
            if old in named:
                message = (
                    f"{function.__name__}({old}=) is now {new}=; the old name will be removed in {gone_in}."
                )
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                named.setdefault(new, named.pop(old))
            return function(*args, **named)

        return wrapper

    return decorate


class Problems:
    """Collects every problem of one input, so that the user can fix them all at once.

    Example:
        >>> problems = Problems("recipe")
        >>> problems.add("epochs is -1; give a positive number")
        >>> problems.raise_if_any(ConfigurationError)
        Traceback (most recent call last):
        ...
        commlearn.errors.ConfigurationError: recipe: epochs is -1; give a positive number
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.messages: list[str] = []

    def add(self, problem: str) -> None:
        self.messages.append(problem)

    def raise_if_any(self, error: type[CommlearnError]) -> None:
        if len(self.messages) == 1:
            raise error(f"{self.subject}: {self.messages[0]}")
        if self.messages:
            lines = "\n".join("  - " + problem.replace("\n", "\n  ") for problem in self.messages)
            raise error(f"{self.subject}: {len(self.messages)} problems\n{lines}")
