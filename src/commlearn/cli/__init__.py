"""The command line: one thin file per command, with heavy imports only when a command runs."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import commlearn
from commlearn.cli.completion import commands_of, long_options
from commlearn.cli.python_code import program
from commlearn.cli.shell_words import command_line_message, extra_word_message
from commlearn.cores import use_free_cores
from commlearn.errors import CommlearnError, ConfigurationError, DataWarning, nearest, unknown
from commlearn.escapes import escaped_output

__all__ = ["main"]

COMMANDS = (
    "init",
    "check",
    "train",
    "probe",
    "interactions",
    "calibrate",
    "embed",
    "search",
    "finetune",
    "compare",
    "tune",
    "report",
    "export",
    "convert",
    "synth",
    "info",
    "completion",
)
PACKAGE = Path(commlearn.__file__).parent
FOLDERS = {"completion": "", **dict.fromkeys(("init", "check", "convert", "synth"), "data.")}
WITHOUT_TORCH = {"init", "check", "convert", "synth", "info", "completion"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for what the user can fix, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with escaped_output(), warnings.catch_warnings():
        warnings.showwarning = partial(_warn, bool({"--verbose", "-v"} & set(arguments)))
        return _main(arguments)


def _warn(
    verbose: bool, message: Warning | str, category: type[Warning], file: str, *location: Any, **options: Any
) -> None:
    """Print our own warnings without their place in the code, and those of other libraries if verbose."""
    is_ours = issubclass(category, DataWarning) or PACKAGE in Path(file).parents
    if is_ours or verbose:
        origin = "" if is_ours else f" (from another library, {category.__name__})"
        print(f"commlearn: warning{origin}: {command_line_message(str(message))}", file=sys.stderr)


def _main(arguments: Sequence[str]) -> int:
    command = None
    try:
        parser = _parser(arguments)
        options, rest = parser.parse_known_args(arguments)
        if not hasattr(options, "run"):
            parser.print_help()
            return 0
        command = commands_of(parser)[options.command]
        options.overrides = _overrides(rest, options, command)
        options.parser = parser
        if getattr(options, "show_python", False):
            print(options.python(options), end="")
            return 0
        with _ended_by_sigterm():
            _share_cores(options)
            return options.run(options) or 0
    except CommlearnError as problem:
        print(f"commlearn: {command_line_message(str(problem), command)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whatever reads our output has closed it
        sys.stderr.close()
        return 1
    except OSError as problem:
        print(f"commlearn: {_sentence(problem)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as problem:
        if not _lacks_memory(problem):
            raise
        print(
            "commlearn: out of memory. Close other programs, or use smaller batches, fewer processes or a "
            "smaller model.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("commlearn: interrupted", file=sys.stderr)
        return 130


def _share_cores(options: argparse.Namespace) -> None:
    """Use a thread for each free core; a resumed run keeps the number of threads that it began with."""
    configured = getattr(options, "resume", False) or options.overrides.get("training.threads")
    if options.command not in WITHOUT_TORCH and "torch" not in sys.modules and not configured:
        line = use_free_cores()
        if line and not options.quiet:
            print(f"commlearn: {line}", file=sys.stderr)


def _lacks_memory(problem: BaseException) -> bool:
    """Return whether it is Python's or torch's out-of-memory error, on CPU or GPU."""
    return isinstance(problem, MemoryError) or any(
        words in str(problem) for words in ("not enough memory", "can't allocate memory", "out of memory")
    )


def _sentence(problem: OSError) -> str:
    """Return the system's reason, with the file that it names if it names one."""
    reason = " ".join(str(problem.strerror or problem).split()) or type(problem).__name__
    file = "" if problem.filename is None else f"{str(problem.filename)[:200]}: "
    return f"{file}{reason.removesuffix('.')}."


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as an error would, so that what it started ends with it."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        previous = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: its owner handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Help(argparse.HelpFormatter):
    """Wraps prose to the width of the terminal, and keeps examples as lines that can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        prose, mark, examples = text.partition("Example:\n")
        paragraphs = [
            super(_Help, self)._fill_text(part, width, indent) for part in prose.split("\n\n") if part.strip()
        ]
        return "\n\n".join([*paragraphs, mark + examples] if mark else paragraphs)


class _Parser(argparse.ArgumentParser):
    """Raises its errors as ours: one sentence, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigurationError(f"{message[0].upper()}{message[1:]}. See: {self.prog} --help")


def _parser(arguments: Sequence[str]) -> _Parser:
    parser = _Parser(
        prog="commlearn",
        description="Learn one representation from several modalities, and what they know together.",
        epilog="Example: commlearn compare trifeature-quick --methods clip,crossself,comm --seeds 1",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    parser.add_argument("--version", action="version", version=f"commlearn {commlearn.__version__}")
    first = next(iter(arguments), "-")
    if first.startswith("-") and first not in ("-h", "--help", "--version", "-"):
        raise ConfigurationError(f"{first} needs a command before it: commlearn COMMAND {first} ...")
    if not first.startswith("-") and first not in COMMANDS:
        raise ConfigurationError(unknown("command", first, COMMANDS))
    for name in COMMANDS:
        module = importlib.import_module(f"commlearn.cli.{FOLDERS.get(name, 'commands.')}{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EXAMPLE,
            formatter_class=_Help,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        python = getattr(module, "python", _call_alone(module))
        _add_common_options(command, python is not None)
        command.set_defaults(
            run=module.run,
            python=python,
            takes_overrides=getattr(module, "TAKES_OVERRIDES", False),
        )
    return parser


def _call_alone(module: ModuleType) -> Callable[[argparse.Namespace], str] | None:
    """Return a function that writes the Python code of a command that is one call; None for others."""
    return (lambda options: program(module.call(options))) if hasattr(module, "call") else None


def _add_common_options(command: argparse.ArgumentParser, has_python: bool) -> None:
    """Add the options of every command."""
    existing = {option for action in command._actions for option in action.option_strings}
    if "--quiet" not in existing:
        command.add_argument("--quiet", "-q", action="store_true", help="show no progress")
    command.add_argument(
        "--verbose", "-v", action="store_true", help="show progress as lines, also with --json"
    )
    if has_python:
        about = "print the equivalent Python code, and do nothing else"
        command.add_argument("--show-python", action="store_true", help=about)


def _overrides(
    rest: Sequence[str], options: argparse.Namespace, command: argparse.ArgumentParser
) -> dict[str, object]:
    """Parse `--training.epochs 20` and `--training.epochs=20` as {"training.epochs": 20}."""
    words, overrides = list(rest), {}
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            raise ConfigurationError(extra_word_message(word, options.command, command))
        key, _, value = word.removeprefix("--").partition("=")
        _refuse_other_options(word.partition("=")[0], key, options, command)
        if "=" not in word:
            if not words:
                raise ConfigurationError(f"--{key} needs a value.")
            value = words.pop(0)
        overrides[key] = _value(value, key)
    return overrides


def _refuse_other_options(
    word: str, key: str, options: argparse.Namespace, command: argparse.ArgumentParser
) -> None:
    """Raise an error for a word that is neither an option nor, if the command takes any, a setting."""
    if options.takes_overrides and word.startswith("--"):
        if "." in key:
            return
        from commlearn.config.setting_names import LONE_SETTINGS, setting_like

        if key in LONE_SETTINGS:
            return
        if setting := setting_like(key):
            raise ConfigurationError(f"Unknown option '{word}'; the setting is --{setting} VALUE.")
    names = {option.removeprefix("--"): option for option in long_options(command) if option != "--help"}
    guess = nearest(key.rpartition(".")[2], names)
    hint = f", did you mean '{names[guess]}'?" if guess else "."
    raise ConfigurationError(f"Unknown option '{word}'{hint} Known: {', '.join(sorted(names.values()))}.")


def _value(text: str, key: str) -> object:
    from commlearn.storage.plain_yaml import read_yaml

    return read_yaml(text, f"--{key} {text}")
