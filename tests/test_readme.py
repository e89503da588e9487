"""What the README shows runs, and what it names exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import commlearn
from commlearn.cli import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
OWN_DATA = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
SHELL = [line for block in README.split("```")[1::2] for line in block.splitlines()]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_examples_run(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON[number], f"README example {number}", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_there_are_examples():
    assert len(PYTHON) >= 2


@pytest.mark.slow
def test_the_digits_of_the_page_on_own_data_run_and_the_whole_knows_most(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", OWN_DATA, flags=re.DOTALL)
    exec(compile(example, "own-data.md", "exec"), {"__name__": "own data"})
    whole, *parts = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines())
    assert whole > max(parts)
    assert whole > 0.9


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("commlearn ")])
def test_commands_exist(line):
    words = shlex.split(line, comments=True)
    assert words[1] in COMMANDS


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", commlearn.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(commlearn, name)
    assert isinstance(value, dict) or (value.__doc__ or "").strip()
