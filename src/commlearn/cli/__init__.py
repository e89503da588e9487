"""The command line: one thin file per command, with heavy imports only when a command runs."""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import commlearn
from commlearn.cli.arguments import program
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
ON_DATA = {"init", "check", "convert", "synth"}  # commands for which no model is trained or read
WITHOUT_TORCH = ON_DATA | {"info", "completion"}
NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")  # torch's words, on CPU or GPU
ERRNO = re.compile(r"\[Errno -?\d+\] ")
ROW = re.compile(r"\brow (\d+)\b(?! has more cells)")
AGAIN = "; run the same command again to continue"
INTERRUPTED = dict.fromkeys(("train", "finetune"), f"{AGAIN}, with --resume")  # or to begin, if need be
INTERRUPTED |= dict.fromkeys(("compare", "tune"), AGAIN)
TYPES = {"invalid int value:": "give a whole number, not", "invalid float value:": "give a number, not"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 if a method failed, 2 for errors, 130 after Ctrl-C."""
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
        options, rest = parser.parse_known_args(_settings_last(arguments))
        if not hasattr(options, "run"):
            parser.print_help()
            return 0
        command = options.command_parser
        options.overrides = _overrides(rest, options)
        if getattr(options, "show_python", False):
            code = options.python(options)
            print(program(*((code,) if isinstance(code, str) else code)), end="")
            return 0
        with _ended_by_sigterm():
            _share_cores(options)
            return options.run(options) or 0
    except CommlearnError as problem:
        return _failed(command_line_message(str(problem), command))
    except BrokenPipeError:  # whatever reads our output has closed it
        sys.stderr.close()
        return 1
    except OSError as problem:
        return _failed(_sentence(problem))
    except (MemoryError, RuntimeError) as problem:
        if isinstance(problem, RuntimeError) and not any(words in str(problem) for words in NO_MEMORY):
            raise
        advice = "Close other programs, or use smaller batches, fewer processes or a smaller model."
        return _failed(f"out of memory. {advice}")
    except KeyboardInterrupt:
        return _failed("interrupted" + INTERRUPTED.get(next(iter(arguments), ""), ""), 130)


def _settings_last(arguments: Sequence[str]) -> list[str]:
    """Move settings behind all other words: argparse would take the value of one for a positional argument.

    Example:
        >>> _settings_last(["train", "--training.epochs", "1", "films.yaml", "--seed=2"])
        ['train', 'films.yaml', '--seed=2', '--training.epochs', '1']
    """
    words, others, settings = list(arguments), [], []
    while words:
        word = words.pop(0)
        key, equals, _ = word.partition("=")
        if key.startswith("--") and "." in key:
            has_value = not equals and words and not words[0].startswith("--")
            settings += [word, words.pop(0)] if has_value else [word]
        else:
            others.append(word)
    return others + settings


def _failed(reason: str, code: int = 2) -> int:
    print(f"commlearn: {reason}", file=sys.stderr)
    return code


def _share_cores(options: argparse.Namespace) -> None:
    """Use a thread for each free core; a resumed run keeps the number of threads that it began with."""
    configured = getattr(options, "resume", False) or options.overrides.get("training.threads")
    if options.command not in WITHOUT_TORCH and "torch" not in sys.modules and not configured:
        line = use_free_cores()
        if line and not options.quiet:
            print(f"commlearn: {line}", file=sys.stderr)


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
        description="Learn one representation from several modalities, and measure what they know together.",
        epilog="Start with a table: commlearn init films.csv -o films.yaml; or make one: commlearn synth "
        "tables --out films. Then: commlearn COMMAND --help",
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
        folder = "data" if name in ON_DATA else "commands"
        module = importlib.import_module(f"commlearn.cli.{folder}.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EXAMPLE,
            formatter_class=_Help,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        python = getattr(module, "python", None)
        _add_common_options(command, python is not None)
        takes_overrides = getattr(module, "TAKES_OVERRIDES", False)
        command.set_defaults(run=module.run, python=python, takes_overrides=takes_overrides)
        command.set_defaults(command_parser=command, command_parsers=commands.choices)
    return parser


def long_options(command: argparse.ArgumentParser) -> list[str]:
    """Return the options of a command that begin with two dashes."""
    return [word for action in command._actions for word in action.option_strings if word.startswith("--")]


def _add_common_options(command: argparse.ArgumentParser, has_python: bool) -> None:
    command.add_argument("--quiet", "-q", action="store_true", help="show no progress")
    command.add_argument(
        "--verbose", "-v", action="store_true", help="show progress as lines, also with --json"
    )
    if has_python:
        about = "print the equivalent Python code, and do nothing else"
        command.add_argument("--show-python", action="store_true", help=about)


def _overrides(rest: Sequence[str], options: argparse.Namespace) -> dict[str, object]:
    """Parse `--training.epochs 20` and `--training.epochs=20` as {"training.epochs": 20}."""
    words, overrides = list(rest), {}
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            raise ConfigurationError(_extra_word_message(word, options))
        key, _, value = word.removeprefix("--").partition("=")
        _refuse_other_options(word.partition("=")[0], key, options)
        if "=" not in word:
            if not words:
                raise ConfigurationError(f"--{key} needs a value.")
            value = words.pop(0)
        overrides[key] = _value(value, key)
    return overrides


def _value(text: str, key: str) -> object:
    from commlearn.storage.plain_yaml import read_yaml

    return read_yaml(text, f"--{key} {text}")


def _refuse_other_options(word: str, key: str, options: argparse.Namespace) -> None:
    """Raise an error for a word that is neither an option nor, if the command takes any, a setting."""
    if options.takes_overrides and word.startswith("--"):
        if "." in key:
            return
        from commlearn.config.configuration import LONE_SETTINGS, setting_like

        if key in LONE_SETTINGS:
            return
        if setting := setting_like(key):
            raise ConfigurationError(f"Unknown option '{word}'; the setting is --{setting} VALUE.")
    long = long_options(options.command_parser)
    names = {option.removeprefix("--"): option for option in long if option != "--help"}
    guess = nearest(key.rpartition(".")[2], names)
    hint = f", did you mean '{names[guess]}'?" if guess else "."
    raise ConfigurationError(f"Unknown option '{word}'{hint} Known: {', '.join(sorted(names.values()))}.")


def command_line_message(message: str, command: argparse.ArgumentParser | None = None) -> str:
    """Return an error or a warning as the command line prints it.

    Args:
        message: message of the library, which names Python arguments.
        command: command whose options correspond to those arguments.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> action = parser.add_argument("--modalities")
        >>> command_line_message("choose at most 5 with modalities=.", parser)
        'choose at most 5 with --modalities.'
        >>> command_line_message("embed only the others with modalities=[...].", parser)
        'embed only the others with --modalities.'
        >>> print(command_line_message("hb row 7: 'x' is not a number"))
        hb row 7: 'x' is not a number
        Rows are counted from 0 below the header: row 7 is line 9 of a text file without line breaks in cells.
    """
    for python, plain in TYPES.items():
        message = message.replace(python, plain)
    message = ERRNO.sub("", message)
    for name, option in _options(command).items():
        message = re.sub(rf"(?<![\w.\-]){name}=(?:True\b|\[\.{{3}}\]|(?![\w'\"=\[]))", option, message)
        message = re.sub(rf"(?<![\w.\-]){name}=(?=\d+\b)", f"{option} ", message)
        if "_" in name:
            message = re.sub(rf"(?<![\w.\-]){name}(?![\w=.])", option, message)
    if match := ROW.search(message):
        row = int(match[1])
        message += f"\nRows are counted from 0 below the header: row {row} is line {row + 2} of a text file "
        message += "without line breaks in cells."
    return message


def _extra_word_message(word: str, options: argparse.Namespace) -> str:
    name, words = options.command, _options(options.command_parser)
    endings = {"schema": (".yaml", ".yml"), "table": (".csv", ".parquet", ".tsv", ".jsonl", ".tar")}
    candidates = [words[key] for key, ends in endings.items() if key in words and word.endswith(ends)]
    hint = f" Did you mean {candidates[0]} {word}?" if candidates else ""
    return f"Unexpected argument '{word}' for {name}.{hint} See: commlearn {name} --help"


def _options(command: argparse.ArgumentParser | None) -> dict[str, str]:
    """Return the option of each argument, by the argument's name."""
    options: dict[str, str] = {}
    for action in command._actions if command else ():
        for word in action.option_strings:
            if word.startswith("--"):
                options.setdefault(action.dest, word)
    return options
