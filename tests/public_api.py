"""Lists what users may rely on, one item a line; `make api` writes the list to `public_api.txt`.

The items are names of the package with their signatures, names that the documentation imports by path, names
in registries, options of the command line, and settings. Types are left out because they may become wider.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import resources
from inspect import Parameter
from pathlib import Path
from typing import Any, get_type_hints

import commlearn as cl
from commlearn.cli import _parser
from commlearn.kinds.base import Kind
from commlearn.methods.base import Method

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "tests" / "public_api.txt"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
IMPORT = re.compile(r"from (commlearn\.[\w.]+) import ([\w, ]+)")


def public() -> list[str]:
    """Return every line of the record."""
    parts = [
        ("Names of the package", package_names()),
        ("Names that the documentation imports by path", imported_names()),
        ("Names in registries", registered_names()),
        ("The command line", command_line()),
        ("Settings", settings()),
    ]
    return [line for title, lines in parts for line in (f"# {title}", *lines, "")]


def package_names() -> Iterator[str]:
    for name in sorted(cl.__all__):
        yield from described(name, getattr(cl, name))


def described(name: str, value: Any) -> Iterator[str]:
    if inspect.ismodule(value):
        for part in sorted(value.__all__):
            yield from described(f"{name}.{part}", getattr(value, part))
        return
    yield name + (signature(value) if callable(value) else "")
    if isinstance(value, type):
        yield from members(name, value)


def members(name: str, cls: type) -> Iterator[str]:
    """Yield methods and properties; those that all methods or kinds have are listed once, with the base."""
    base = next((base for base in (Method, Kind) if issubclass(cls, base) and cls is not base), None)
    for part, member in inspect.getmembers_static(cls):
        function = getattr(member, "__func__", getattr(member, "fget", member))
        own = inspect.isfunction(function) and function.__module__.startswith("commlearn")
        if own and not part.startswith("_") and base is None:
            yield f"{name}.{part}" + ("" if isinstance(member, property) else signature(function))


def signature(value: Callable[..., Any]) -> str:
    """Return arguments with order, kind and default; empty for types and exceptions without a signature."""
    try:
        stated = inspect.signature(value).parameters.values()
    except ValueError:
        return ""
    arguments = [
        argument.replace(
            annotation=Parameter.empty,
            default=Parameter.empty if argument.default is Parameter.empty else Shown(argument.default),
        )
        for argument in stated
    ]
    return str(inspect.Signature(arguments))


class Shown:
    """A default as the record shows it: functions by their name, not their address in memory."""

    def __init__(self, value: Any) -> None:
        self.words = (
            f"<{value.__name__}>".replace("<<", "<").replace(">>", ">") if callable(value) else repr(value)
        )

    def __repr__(self) -> str:
        return self.words


def imported_names() -> Iterator[str]:
    imported = {
        (module, name.strip())
        for page in PAGES
        for module, names in IMPORT.findall(page.read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    for module, name in sorted(imported):
        yield from described(f"{module}.{name}", getattr(importlib.import_module(module), name))


def registered_names() -> Iterator[str]:
    yield f"METHODS: {', '.join(sorted(cl.METHODS))}"
    yield f"READERS: {', '.join(sorted(cl.READERS))}"
    recipes = resources.files("commlearn") / "recipes"
    yield f"recipes: {', '.join(sorted(Path(str(entry)).stem for entry in recipes.iterdir()))}"


def command_line() -> Iterator[str]:
    commands = next(
        action for action in _parser([])._actions if isinstance(action, argparse._SubParsersAction)
    )
    for command, parser in sorted(commands.choices.items()):
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            words = " ".join(sorted(action.option_strings)) or action.dest
            choices = f" of {', '.join(map(str, action.choices))}" if action.choices else ""
            default = "" if action.default in (None, False, argparse.SUPPRESS) else f" = {action.default!r}"
            yield f"commlearn {command} {words}{choices}{default}"


def settings() -> Iterator[str]:
    """Yield the keys of a recipe, and the options of every method and every data set."""
    yield from fields_of(type(cl.read_experiment("trifeature-quick")), "")
    for name, method in sorted(cl.METHODS.items()):
        yield f"method {name}{signature(method.build)}"
    for name, reader in sorted(cl.READERS.items()):
        yield f"data {name}{signature(reader)}"


def fields_of(cls: type, before: str) -> Iterator[str]:
    hints = get_type_hints(cls)
    for field in sorted(dataclasses.fields(cls), key=lambda field: field.name):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from fields_of(hints[field.name], f"{before}{field.name}.")
        else:
            stated = field.default is not dataclasses.MISSING
            yield f"{before}{field.name}" + (f" = {field.default!r}" if stated else "")


if __name__ == "__main__":
    RECORD.write_text("\n".join(public()), encoding="utf-8")
