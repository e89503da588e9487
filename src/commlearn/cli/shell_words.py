"""The library's messages in terms of the shell: options in place of arguments, and how rows are counted."""

from __future__ import annotations

import argparse
import re

ERRNO = re.compile(r"\[Errno -?\d+\] ")
ROW = re.compile(r"\brow (\d+)\b(?! has more cells)")
TYPES = {"invalid int value:": "give a whole number, not", "invalid float value:": "give a number, not"}


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
        >>> print(command_line_message("hb row 7: 'x' is not a number"))
        hb row 7: 'x' is not a number
        Rows are counted from 0 below the header: row 7 is line 9 of a text file without line breaks in cells.
    """
    for python, plain in TYPES.items():
        message = message.replace(python, plain)
    message = ERRNO.sub("", message)
    for name, option in _options(command).items():
        message = re.sub(rf"(?<![\w.\-]){name}=(?![\w'\"=])", option, message)
        if "_" in name:
            message = re.sub(rf"(?<![\w.\-]){name}(?![\w=.])", option, message)
    match = ROW.search(message)
    return f"{message}\n{_how_rows_count(int(match[1]))}" if match else message


def extra_word_message(word: str, name: str, command: argparse.ArgumentParser) -> str:
    """Return a message about a word that a command does not take."""
    options = _options(command)
    endings = {"schema": (".yaml", ".yml"), "table": (".csv", ".parquet", ".tsv", ".jsonl", ".tar")}
    candidates = [options[key] for key, ends in endings.items() if key in options and word.endswith(ends)]
    hint = f" Did you mean {candidates[0]} {word}?" if candidates else ""
    return f"Unexpected argument '{word}' for {name}.{hint} See: commlearn {name} --help"


def _how_rows_count(row: int) -> str:
    return (
        f"Rows are counted from 0 below the header: row {row} is line {row + 2} of a text file without line "
        "breaks in cells."
    )


def _options(command: argparse.ArgumentParser | None) -> dict[str, str]:
    """Return the option of each argument, by the argument's name."""
    actions = [] if command is None else command._actions
    return {
        action.dest: next(word for word in action.option_strings if word.startswith("--"))
        for action in actions
        if any(word.startswith("--") for word in action.option_strings)
    }
