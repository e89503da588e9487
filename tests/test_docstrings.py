"""The examples of the docstrings are run, all of them, and give what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import commlearn as cl

SOURCE = Path(cl.__file__).parent
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]

LONG = {
    "compare",
    "tune",
    "export_onnx",
    "export_program",
    "finetune",
    "report",
}  # seconds; pages of the documentation run them
REGISTRIES = {"METHODS", "READERS", "plot"}


def module_name(path: Path) -> str:
    return ".".join(["commlearn", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=map(module_name, FILES))
def test_examples_give_what_they_show(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tests = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module_name(path)))
    lines: list[str] = []
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test, out=lines.append)
    assert not runner.failures, "".join(lines)
    written = path.read_text(encoding="utf-8").count(">>> ")
    assert runner.tries == written, f"{written - runner.tries} examples of {path.name} are not run"


def test_an_example_that_is_wrong_is_seen():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner().run(test, out=lambda line: None).failed == 1


@pytest.mark.parametrize("name", sorted({*cl.__all__} - LONG - REGISTRIES))
def test_a_public_name_has_an_example(name):
    assert ">>>" in getattr(cl, name).__doc__


def test_there_are_examples():
    assert len(FILES) > 50
