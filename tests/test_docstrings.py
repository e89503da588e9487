"""All examples in docstrings are run, and give the output that they show."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import commlearn as cl

SOURCE = Path(cl.__file__).parent
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]

LONG = {  # modules whose examples take seconds
    "commlearn.comparison.compare",
    "commlearn.comparison.tune",
    "commlearn.reports.build",
    "commlearn.trained.onnx_export",
}
PLACES = {
    "METHODS": "commlearn.methods",
    "READERS": "commlearn.datasets.registry",
}  # modules that document names without a docstring


def module_name(path: Path) -> str:
    return ".".join(["commlearn", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.slow if module_name(path) in LONG else (), id=module_name(path))
        for path in FILES
    ],
)
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


@pytest.mark.parametrize("name", sorted(cl.__all__))
def test_a_public_name_has_an_example(name):
    documented = importlib.import_module(PLACES[name]) if name in PLACES else getattr(cl, name)
    lines = doctest.DocTestParser().get_examples(documented.__doc__)
    used = cl.plot.__all__ if name == "plot" else [name]
    assert any(re.search(rf"\b{word}\b", line.source) for line in lines for word in used)


def test_there_are_examples():
    assert len(FILES) > 50
