"""Names say what a thing is; messages of the library name arguments of Python, not flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import commlearn

SOURCE = Path(commlearn.__file__).parent
EMPTY = {"told", "found", "its", "known", "kept", "said"}


def names(tree: ast.AST) -> set[str]:
    """Return the names of variables, arguments, attributes, functions and classes of a file."""
    nodes = [node for node in ast.walk(tree) if not isinstance(node, ast.keyword | ast.alias)]
    return {getattr(node, field, None) for node in nodes for field in ("id", "arg", "attr", "name")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_name_is_an_empty_word(path):
    empty = names(ast.parse(path.read_text(encoding="utf-8"))) & EMPTY
    assert not empty, f"{path} calls something {', '.join(sorted(empty))}; name it by what it holds"


def test_names_are_seen_wherever_they_stand():
    for code in ("told = 1", "def f(told): ...", "x.told = 1", "def told(): ...", "[told for told in x]"):
        assert "told" in names(ast.parse(code))
    assert "told" not in names(ast.parse("f(told=1)"))


COMMANDS = (
    "(on the command line",
    "commlearn ",
    " --out PATH`",
    " --revision ",
    " --public)",
    "without --sparse",
)
"""Parts of messages in which a flag is right: commands, also of other programs."""
FACES = ("cli", "reports")  # folders that speak to the shell, and in CSS


def flags_in_messages(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a file, apart from docstrings and commands, that name a flag of a command."""
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            is_command = any(words in node.value for words in COMMANDS)
            if re.search(r"(?<![\w-])--[a-z]", node.value) and not is_command:
                yield node.value


def test_messages_of_the_library_name_no_flags():
    flags = {
        str(path.relative_to(SOURCE)): texts
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).parts[0] not in FACES
        and (texts := list(flags_in_messages(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert not flags, "name arguments (out=, resume=True); the command line turns them into its flags"


def test_flags_are_seen_in_messages_only():
    code = 'def f(a):\n    """Like --out."""\n    g(f"{a}: give another --out", "see `commlearn x --help`")'
    assert list(flags_in_messages(ast.parse(code))) == [": give another --out"]
