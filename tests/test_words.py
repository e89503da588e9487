"""Names say what a thing is. Words that only say where it came from are no names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import commlearn

SOURCE = Path(commlearn.__file__).parent
EMPTY = {"told", "found", "its", "known", "kept", "said"}
STILL_TO_RENAME = (
    "information",
    "models/features/fixed.py",  # a buffer, which files of features name
)


def names(tree: ast.AST) -> set[str]:
    """Variables, arguments, attributes, functions and classes of a file."""
    nodes = [node for node in ast.walk(tree) if not isinstance(node, ast.keyword | ast.alias)]
    return {getattr(node, field, None) for node in nodes for field in ("id", "arg", "attr", "name")}


def files() -> list[Path]:
    every = [path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*.py"))]
    return [path for path in every if not path.as_posix().startswith(STILL_TO_RENAME)]


@pytest.mark.parametrize("path", files(), ids=str)
def test_no_name_is_an_empty_word(path):
    empty = names(ast.parse((SOURCE / path).read_text(encoding="utf-8"))) & EMPTY
    assert not empty, f"{path} calls something {', '.join(sorted(empty))}; name it by what it holds"


@pytest.mark.parametrize("place", STILL_TO_RENAME)
def test_what_is_still_to_be_renamed_is_not_done(place):
    """A place that is done leaves the list above."""
    path = SOURCE / place
    some = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert any(names(ast.parse(file.read_text(encoding="utf-8"))) & EMPTY for file in some)


def test_names_are_seen_wherever_they_stand():
    for code in ("told = 1", "def f(told): ...", "x.told = 1", "def told(): ...", "[told for told in x]"):
        assert "told" in names(ast.parse(code))
    assert "told" not in names(ast.parse("f(told=1)"))
