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
SHELL = [line for block in README.split("```")[1::2] for line in block.splitlines()]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_examples_run(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON[number], f"README example {number}", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_there_are_examples():
    assert len(PYTHON) >= 2


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
