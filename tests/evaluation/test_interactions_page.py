"""What the page on interactions shows runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from commlearn.cli import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "interactions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SHELL = [line for block in PAGE.split("```")[1::2] for line in block.splitlines()]


@pytest.mark.parametrize("number", range(3))
def test_examples_run(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"interactions.md, example {number}", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out


def test_every_example_is_run_and_every_command_exists():
    assert len(BLOCKS) == 3
    commands = [shlex.split(line, comments=True) for line in SHELL if line.startswith("commlearn ")]
    assert commands
    assert all(words[1] in COMMANDS for words in commands)
