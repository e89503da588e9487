"""Arguments that several commands have, and the Python call that a command amounts to."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

from commlearn.errors import ConfigurationError

EXPORTED = "folder of a training or of an export"


def names(text: str) -> list[str]:
    """Split names at commas.

    Example:
        >>> names("image, text")
        ['image', 'text']
    """
    parts = [name.strip() for name in text.split(",") if name.strip()]
    if not parts:
        raise argparse.ArgumentTypeError("give at least one name")
    return parts


def short_name(recipe: str) -> str:
    """Return a folder's default name: that of the recipe or the file, or of the folder of a `schema.yaml`.

    Example:
        >>> short_name("films/schema.yaml"), short_name("mine.yaml"), short_name("trifeature")
        ('films', 'mine', 'trifeature')
    """
    path = Path(recipe)
    return path.resolve().parent.name if path.name == "schema.yaml" else path.stem


def add_run(parser: argparse.ArgumentParser, table: str, run: str = EXPORTED) -> None:
    """Add RUN and, if wanted, TABLE; `table` and `run` say what they are."""
    parser.add_argument("run_folder", metavar="RUN", help=run)
    parser.add_argument("table", metavar="TABLE", nargs="?", help=table)


def add_recipe(parser: argparse.ArgumentParser, done: str) -> None:
    parser.add_argument(
        "recipe", help="name of a recipe (see commlearn info), or a YAML file with a recipe or a schema"
    )
    parser.add_argument("--table", help=f"table that a schema is {done} on; default: the one its file names")
    parser.add_argument("--data", metavar="PATH", help="file or folder of the recipe's data set")


def add_targets(parser: argparse.ArgumentParser, default: str = "all") -> None:
    about = f"comma-separated names; default: {default}"
    parser.add_argument("--targets", "--target", type=names, metavar="NAMES", help=about)


def add_modalities(parser: argparse.ArgumentParser, done: str = "embed") -> None:
    about = f"{done} only these; comma-separated names"
    parser.add_argument("--modalities", type=names, metavar="NAMES", help=about)


def add_trainings(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the last options of commands that train several runs and print a table."""
    parser.add_argument("--out", help=f"folder; default: runs/{command}-RECIPE")
    parser.add_argument(
        "--jobs", type=int, default=0, help="trainings at a time; default: one per core, one on a GPU"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


class Code(str):
    """A name or an expression, in place of a value."""

    __repr__ = str.__str__  # without quotes, so that it can be part of other code


class Call(Code):
    """One call; keyword and trailing positional arguments that are None are left at their defaults.

    Args:
        function: `cl.NAME`, or `module:NAME` for a function that is imported by path.
        values: positional arguments; one that is itself a call is made first.
        assign: name for the result.
        named: keyword arguments.

    Example:
        >>> Call("cl.probe", Code("run"), "table.csv", targets=None, modalities=["a"], assign="results")
        results = cl.probe(run, 'table.csv', modalities=['a'])
        >>> Call("commlearn.cli.arguments:names", "image,text").made()
        ['image', 'text']
    """

    module: str
    name: str
    values: list[Any]
    named: dict[str, Any]

    def __new__(cls, function: str, *values: Any, assign: str = "", **named: Any) -> Call:
        positional = list(values)
        while positional and positional[-1] is None:
            positional.pop()
        keywords = {name: value for name, value in named.items() if value is not None}
        module, _, name = function.rpartition(":")
        arguments = [*map(repr, positional), *(f"{key}={value!r}" for key, value in keywords.items())]
        call = super().__new__(cls, f"{assign} = " * bool(assign) + f"{name}({', '.join(arguments)})")
        call.module, call.name, call.values, call.named = module, name, positional, keywords
        return call

    def made(self, **more: Any) -> Any:
        """Make the call and return its result; `more` are arguments that are not shown, such as `tell`."""
        module: Any = importlib.import_module(self.module or "commlearn")
        function = reduce(getattr, self.name.removeprefix("cl.").split("."), module)
        values = [_evaluate(value) for value in self.values]
        return function(*values, **{name: _evaluate(value) for name, value in self.named.items()}, **more)

    def imports(self) -> list[str]:
        """Return the import lines that must come before the call."""
        inner = [value for value in (*self.values, *self.named.values()) if isinstance(value, Call)]
        own = [f"from {self.module} import {self.name}"] if self.module else []
        return [*(line for call in inner for line in call.imports()), *own]


def _evaluate(value: Any) -> Any:
    return value.made() if isinstance(value, Call) else value


def program(*lines: str) -> str:
    """Return the lines as a program that can be run."""
    imports = dict.fromkeys(line for code in lines if isinstance(code, Call) for line in code.imports())
    blank = [""] if imports or not lines[0].startswith("from ") else []
    return "\n".join(["import commlearn as cl", *imports, *blank, *lines]) + "\n"


def given(options: argparse.Namespace, *chosen: str) -> dict[str, Any]:
    """Return those of the named options that are not at their default."""
    default = options.command_parser.get_default
    values = {name: getattr(options, name) for name in chosen}
    return {name: value for name, value in values.items() if value != default(name)}


def recipe_settings(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return the settings of the command line, with the path of the data set; None if there are none."""
    return options.overrides | ({"data.path": options.data} if options.data else {}) or None


def out_folder(options: argparse.Namespace) -> Path:
    """Return the folder of a command that trains several runs."""
    return Path(options.out or f"runs/{options.command}-{short_name(options.recipe)}")


def made_with_seeds(python: Callable[[argparse.Namespace], Call], options: argparse.Namespace) -> Any:
    """Check and make the call of a command that trains several runs, with its progress as lines."""
    if options.seeds < 1:
        raise ConfigurationError(f"--seeds is {options.seeds}; give 1 or more.")
    if options.data:
        options.data = str(Path(options.data).resolve())
    return python(options).made(
        tell=lambda line: None if options.quiet else print(line, file=sys.stderr, flush=True)
    )
