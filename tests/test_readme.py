"""What README and docs show runs, and what they name exists."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

import commlearn
from commlearn.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
OWN_BLOCKS = {"README.md"}  # pages whose Python blocks each stand alone


@dataclass(frozen=True)
class Block:
    """Code between fences."""

    language: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found.group(1), found.group(2), text[: found.start()].count("\n") + 2)
        for found in FENCE.finditer(text)
    ]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run_python(block: Block, page: Path, names: dict) -> None:
    code = "\n" * (block.line - 1) + block.code  # errors show the page's own lines
    exec(compile(code, name_of(page), "exec"), names)


def run_shell(block: Block, page: Path) -> None:
    """The `commlearn` commands of a block, in this process."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "commlearn", f"{name_of(page)}: a block that is run holds commlearn commands alone"
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            code = main(words[1:])
        assert code == 0, f"{name_of(page)}: {line}\n{told.getvalue()}"


SLOW = {"docs/own-data.md"}
RUN = [
    pytest.param(page, marks=pytest.mark.slow if name_of(page) in SLOW else ())
    for page in PAGES
    if any(block.language in ("python", "sh") for block in blocks(page))
]


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kept = {registry: dict(value) for registry, value in registries().items()}
    names: dict = {"__name__": "__main__"}
    try:
        for block in blocks(page):
            if block.language == "python":
                run_python(block, page, {"__name__": "__main__"} if page.name in OWN_BLOCKS else names)
            elif block.language == "sh":
                run_shell(block, page)
    finally:
        for registry, value in registries().items():
            value.clear()
            value.update(kept[registry])
    assert capsys.readouterr().out


@pytest.mark.slow
def test_the_digits_of_the_page_on_own_data_run_and_the_whole_knows_most(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = (b.code for b in blocks(ROOT / "docs" / "own-data.md") if b.language == "python")
    exec(compile(example, "own-data.md", "exec"), {"__name__": "own data"})
    whole, *parts = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines())
    assert whole > max(parts)
    assert whole > 0.9


def registries() -> dict:
    from commlearn.models.encoders import ENCODERS

    return {"encoders": ENCODERS, "methods": commlearn.METHODS, "readers": commlearn.READERS.places}


def test_there_are_examples():
    assert sum(block.language == "python" for block in blocks(ROOT / "README.md")) >= 2
    assert len(RUN) >= 8


COMMAND_LINES = [
    (page, line)
    for page in PAGES
    for block in blocks(page)
    for line in block.code.splitlines()
    if line.startswith("commlearn ")
]


@pytest.mark.parametrize(
    ("page", "line"), COMMAND_LINES, ids=lambda value: name_of(value) if isinstance(value, Path) else value
)
def test_commands_and_their_options_exist(page, line):
    words = shlex.split(line.rstrip("\\"), comments=True)
    assert words[1] in COMMANDS
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        main([words[1], "--help"])
    for word in words[2:]:
        option = word.partition("=")[0]
        if option.startswith("--") and "." not in option:
            assert option in told.getvalue(), f"{name_of(page)}: {line}"


def links(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"\]\((?!http|#)([^)#]+)", text)


@pytest.mark.parametrize(("page", "link"), [(page, link) for page in PAGES for link in links(page)], ids=str)
def test_links_lead_somewhere(page, link):
    assert (page.parent / link).exists()


@pytest.mark.parametrize("name", commlearn.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(commlearn, name)
    assert isinstance(value, dict) or (value.__doc__ or "").strip()


def test_the_site_is_built_without_a_warning(tmp_path):
    """`mkdocs build --strict`, where mkdocs is installed."""
    pytest.importorskip("mkdocs", reason="SKIPPED LOUDLY: pip install 'commlearn[docs]'")
    import subprocess
    import sys

    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(ROOT / "mkdocs.yml")]
    done = subprocess.run(
        [*command, "-d", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(commlearn.__file__).parent.parent)},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Embedder" in (tmp_path / "api.html").read_text(encoding="utf-8")
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r'(src|href)="https?://(fonts|unpkg|cdn)', page.read_text(encoding="utf-8"))
