"""Names say what a thing is; words that only say where it came from are not allowed."""

from __future__ import annotations

import ast
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
