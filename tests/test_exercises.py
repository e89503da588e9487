"""The three exercises of CONTRIBUTING, followed to the letter: add a file, register it, checks pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXERCISES = {  # page, file, lines of the page's first block to drop
    "method": (
        "own-method",
        "methods/agree.py",
        ("from commlearn.methods import METHODS\n", 'METHODS["agree"] = Agree\n'),
    ),
    "kind": (
        "own-kind",
        "kinds/angle.py",
        ("from commlearn.kinds import KINDS\n", "KINDS[Angle.name] = Angle\n"),
    ),
    "reader": (
        "own-reader",
        "datasets/waves.py",
        ("from commlearn.datasets import READERS\n", 'READERS.add("waves", Waves)\n'),
    ),
}
NAMED = {  # by file: text to insert -> the text that follows it
    "src/commlearn/methods/__init__.py": {
        "from commlearn.methods.agree import Agree\n": "from commlearn.methods.base",
        '    "agree": Agree,\n': '    "comm": CoMM,',
    },
    "src/commlearn/kinds/__init__.py": {
        "from commlearn.kinds.angle import Angle\n": "from commlearn.kinds.audio",
        "Angle, ": "Image, Text, Tabular",
    },
    "src/commlearn/datasets/registry.py": {
        '        "waves": "commlearn.datasets.waves:Waves",\n': '        "vision_touch":',
    },
    "tests/kinds/test_kind_contract.py": {
        "Angle, ": "Audio, Cells, Image",
        '    "angle": (Angle("x"), DRAW.uniform(0, 360, ROWS).tolist(), "north"),\n': '    "audio": (',
    },
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the project in which the exercises were done."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("src", "tests", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for what, (page, file, behind) in EXERCISES.items():
        text = (ROOT / "docs" / "howto" / f"{page}.md").read_text(encoding="utf-8")
        code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
        for line in behind:
            assert code.count(line) == 1
            code = code.replace(line, "")
        (folder / "src/commlearn" / file).write_text(
            f'"""My own {what}."""\n\n{code.rstrip()}\n', encoding="utf-8"
        )
    for file, lines in NAMED.items():
        text = (folder / file).read_text(encoding="utf-8")
        for line, before in lines.items():
            assert text.count(before) == 1, f"{file}: {before}"
            text = text.replace(before, line + before)
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def run(house, *words):
    environment = {**os.environ, "PYTHONPATH": str(house / "src")}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=house,
        capture_output=True,
        text=True,
        timeout=1200,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


@pytest.mark.slow
def test_the_contracts_hold_for_what_was_added(house):
    files = [
        "kinds/test_kind_contract.py",
        "methods/test_contract.py",
        "data_sets/test_reader_contract.py",
        "test_architecture.py",
    ]
    done = run(
        house,
        "pytest",
        "--override-ini=addopts=",
        "-v",
        "-p",
        "no:cacheprovider",
        "-k",
        "angle or agree or waves or architecture",
        *(f"tests/{f}" for f in files),
    )
    for name in ("angle", "agree", "waves"):
        assert re.search(rf"{name}.* PASSED", done), done[-2000:]


@pytest.mark.slow
def test_ruff_and_mypy_find_nothing_in_it(house):
    pytest.importorskip("mypy", reason="SKIPPED LOUDLY: pip install 'commlearn[test]'")
    files = [f"src/commlearn/{file}" for _, file, _ in EXERCISES.values()]
    run(house, "ruff", "check", *files)
    run(house, "mypy", *files)
