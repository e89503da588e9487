"""Code in the README and the docs runs, and what they name exists."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import commlearn
from commlearn.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
OWN_BLOCKS = {"README.md"}  # pages whose Python blocks do not share names


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    language: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(block.group(1), block.group(2), text[: block.start()].count("\n") + 2)
        for block in FENCE.finditer(text)
    ]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run_python(block: Block, page: Path, names: dict) -> None:
    code = "\n" * (block.line - 1) + block.code  # so that errors show the page's line numbers
    exec(compile(code, name_of(page), "exec", dont_inherit=True), names)  # without this file's __future__


def run_shell(block: Block, page: Path) -> None:
    """Run the `commlearn` commands of a block in this process, at a small size."""
    for words in commands_of(block):
        assert words[0] == "commlearn", f"{name_of(page)}: a block that is run holds commlearn commands alone"
        printed = io.StringIO()
        with contextlib.redirect_stderr(printed):
            code = main(in_small(words[1:]))
        assert code == 0, f"{name_of(page)}: {shlex.join(words)}\n{printed.getvalue()}"


def commands_of(block: Block) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for line in block.code.replace("\\\n", " ").splitlines()]
    own = [[word for word in words if not re.match(r"[A-Z_]+=", word)] for words in lines]  # drop variables
    return [words for words in own if words]


SMALL_TRIFEATURE = {"data.train_pairs": 256, "data.size": 24, "augmentations.image.size": 24}


def in_small(words: list[str]) -> list[str]:
    """Return the command with fewer rows, epochs, seeds, resamplings and rivals, and a smaller model."""
    for option, most in (("--rows", 120), ("--seeds", 1)):
        if option in words:
            place = words.index(option) + 1
            words = [*words[:place], str(min(int(words[place]), most)), *words[place + 1 :]]
    command, *_ = words
    if command in ("train", "compare", "tune"):
        small = {"training.epochs": 1, "training.threads": 1, "model.width": 16}
        small |= SMALL_TRIFEATURE if words[1].startswith("trifeature") else {}
        words = [*words, *(word for key, value in small.items() for word in (f"--{key}", str(value)))]
    if command == "compare" and words[1].endswith(".yaml"):
        words = [*words, "--rivals", "single,features", "--labels", "all"]
    more = {"finetune": ["--epochs", "1"], "interactions": ["--quick"], "calibrate": ["--repeats", "1"]}
    return [*words, *more.get(command, [])]


SLOW_SHELL = {"README.md", "docs/interactions.md"}  # only the Python blocks of these run by default
SLOW = {"docs/own-data.md", "docs/compare.md"}
LANGUAGES = ("python", "sh")
OPTIONAL = re.compile(r"^import (lightning)$", flags=re.MULTILINE)  # packages that a block may also need
RUN = [
    *(
        pytest.param(page, LANGUAGES, marks=pytest.mark.slow if name_of(page) in SLOW | SLOW_SHELL else ())
        for page in PAGES
        if any(block.language in LANGUAGES for block in blocks(page))
    ),
    *(pytest.param(page, LANGUAGES[:1]) for page in PAGES if name_of(page) in SLOW_SHELL),
]


@pytest.mark.parametrize(
    ("page", "languages"), RUN, ids=lambda v: name_of(v) if isinstance(v, Path) else "+".join(v)
)
def test_code_of_a_page_runs_from_top_to_bottom(
    page, languages, tmp_path, monkeypatch, capsys, jobs_in_this_process
):
    monkeypatch.chdir(tmp_path)
    if "hf://" in page.read_text(encoding="utf-8"):
        reason = f"SKIPPED LOUDLY: pip install 'commlearn[hf]', which {page.name} shows"
        pytest.importorskip("huggingface_hub", reason=reason)
        from hub_stand_in import HubStandIn

        HubStandIn(tmp_path / "hub").install(monkeypatch)
    run_page(page, [block for block in blocks(page) if not OPTIONAL.search(block.code)], languages)
    assert capsys.readouterr().out


NEEDS_MORE = [page for page in PAGES if any(OPTIONAL.search(block.code) for block in blocks(page))]


@pytest.mark.parametrize("page", NEEDS_MORE, ids=name_of)
def test_code_that_needs_another_package_runs_where_it_is(page, tmp_path, monkeypatch):
    for package in {name for block in blocks(page) for name in OPTIONAL.findall(block.code)}:
        pytest.importorskip(package, reason=f"SKIPPED LOUDLY: pip install {package}, which {page.name} shows")
    monkeypatch.chdir(tmp_path)
    run_page(page, blocks(page), ("python",))


def run_page(page: Path, chosen: list[Block], languages: tuple[str, ...]) -> None:
    """Run blocks of a page one after the other, and undo afterwards what they register."""
    registered = {registry: dict(value) for registry, value in registries().items()}
    names: dict = {"__name__": "__main__"}
    try:
        for block in chosen:
            if block.language == "python":
                run_python(block, page, {"__name__": "__main__"} if page.name in OWN_BLOCKS else names)
            elif block.language in languages:
                run_shell(block, page)
    finally:
        for registry, value in registries().items():
            value.clear()
            value.update(registered[registry])


CANNOT_RUN_HERE = {  # commands that need an installation, machines or hours, with a check of what they name
    "pip": lambda words: words[1] == "install",
    "make": lambda words: re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE),
    "pytest": lambda words: (ROOT / words[-1]).is_file(),
    "python": lambda words: (ROOT / words[1]).is_file(),
    "torchrun": lambda words: "commlearn" in words,
    "srun": lambda words: "commlearn" in words,
    "commlearn": lambda words: (
        {"--training.devices", "--onnx", "--tracker", "--approximate", "completion"} & set(words)
    ),
    "hf": lambda words: words[1:] == ["auth", "login"],
    "source": lambda words: words[1:3] == ["<(commlearn", "completion"],
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_or_cannot_be_run_here(page):
    for block in blocks(page):
        where = f"{name_of(page)}, line {block.line}"
        assert block.language in ("python", "sh", "console", "yaml"), f"{where}: no such sort of block"
        if block.language == "yaml":
            stated = yaml.safe_load(block.code)
            assert commlearn.Schema.from_mapping({k: v for k, v in stated.items() if k != "training"}), where
        for words in commands_of(block) if block.language == "console" else ():
            assert words[0] in CANNOT_RUN_HERE, f"{where}: {words[0]} could be run; make it a block of sh"
            assert CANNOT_RUN_HERE[words[0]](words), where


@pytest.mark.slow
def test_the_digits_of_the_page_on_own_data_run_and_the_whole_knows_most(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    examples = [b.code for b in blocks(ROOT / "docs" / "own-data.md") if b.language == "python"]
    (example,) = (code for code in examples if "load_digits" in code)
    exec(compile(example, "own-data.md", "exec", dont_inherit=True), {"__name__": "own data"})
    whole, *parts = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines())
    assert whole > max(parts)
    assert whole > 0.9


def registries() -> dict:
    from commlearn.kinds import KINDS
    from commlearn.models.encoders import ENCODERS

    readers = commlearn.READERS.data
    return {"encoders": ENCODERS, "kinds": KINDS, "methods": commlearn.METHODS, "readers": readers}


def test_there_are_examples():
    assert sum(block.language == "python" for block in blocks(ROOT / "README.md")) >= 2
    assert len(RUN) >= 8


COMMAND_LINES = [
    (page, line)
    for page in PAGES
    for block in blocks(page)
    for line in block.code.replace("\\\n", " ").splitlines()
    if "commlearn " in line and block.language in ("sh", "console")
]


@pytest.mark.parametrize(
    ("page", "line"), COMMAND_LINES, ids=lambda value: name_of(value) if isinstance(value, Path) else value
)
def test_commands_and_their_options_exist(page, line):
    words = shlex.split(line, comments=True)
    words = words[words.index("commlearn") :] if "commlearn" in words else []
    if not words:  # the command is in a comment
        return
    assert words[1] in COMMANDS
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([words[1], "--help"])
    for word in words[2:]:
        option = word.partition("=")[0]
        if option.startswith("--") and "." not in option:
            assert option in printed.getvalue(), f"{name_of(page)}: {line}"


SETTING = re.compile(r"(?:^|--)(training|model|method)\.(\w+)(?:\.(\w+))?")


def settings_by_section() -> dict[str, set[str]]:
    """Return the keys that a configuration can have, by section."""
    from commlearn.config.configuration import Model, Training
    from commlearn.models.build import FUSIONS

    methods = [inspect.signature(method.build).parameters for method in commlearn.METHODS.values()]
    fusions = [inspect.signature(build).parameters for build in FUSIONS.values()]
    return {
        "training": {one.name for one in dataclasses.fields(Training)},
        "model": {one.name for one in dataclasses.fields(Model)},
        "method": {"name", *(option for options in methods for option in options)},
        "fusion": {"name", *(option for options in fusions for option in options)},
    }


def test_settings_that_are_named_exist():
    settings = settings_by_section()
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for word in re.findall(r"[^`\s]+", " ".join(re.findall(r"`[^`]+`", text))):
            for section, key, part in SETTING.findall(word):
                assert key in {*settings[section], "OPTION", "safetensors"}, (
                    f"{name_of(page)}: {section}.{key}"
                )
                assert key != "fusion" or part in settings["fusion"] | {""}, f"{name_of(page)}: {word}"


def links(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [
        *re.findall(r"\]\((?!http|#)([^)#]+)", text),
        *re.findall(r'src(?:set)?="(?!http)([^"]+)"', text),
    ]


@pytest.mark.parametrize(("page", "link"), [(page, link) for page in PAGES for link in links(page)], ids=str)
def test_links_lead_somewhere(page, link):
    assert (page.parent / link).exists()


@pytest.mark.parametrize("name", commlearn.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(commlearn, name)
    if isinstance(value, Mapping):
        return
    assert (value.__doc__ or "").strip()
    parts = {part: getattr(value, part) for part in getattr(value, "__all__", ())}  # if it is a module
    if inspect.isclass(value):
        parts |= dict(inspect.getmembers(value, lambda part: isinstance(part, property)))
        parts |= dict(inspect.getmembers(value, callable))
    ours = {part: public for part, public in parts.items() if not part.startswith("_") and is_ours(public)}
    assert not [part for part, public in ours.items() if not (inspect.getdoc(public) or "").strip()]


def is_ours(part: object) -> bool:
    function = part.fget if isinstance(part, property) else part
    return str(getattr(function, "__module__", "")).startswith("commlearn")


REFERENCE = [
    line.removeprefix("::: ")
    for page in sorted((ROOT / "docs" / "reference").glob("*.md"))
    for line in page.read_text(encoding="utf-8").splitlines()
    if line.startswith("::: ")
]


def place_of(name: str, value: object) -> str:
    """Return where a public name is defined, as pages of the reference state it."""
    if inspect.ismodule(value):
        return value.__name__
    if isinstance(value, type) or inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}"
    return {"METHODS": "commlearn.methods.METHODS", "READERS": "commlearn.datasets.registry.READERS"}[name]


def test_every_public_name_is_in_the_reference_once():
    names = {place_of(name, getattr(commlearn, name)) for name in commlearn.__all__}
    pictures = {place_of(name, getattr(commlearn.plot, name)) for name in commlearn.plot.__all__}
    assert sorted(REFERENCE) == sorted(names | pictures | {"commlearn.errors"})


def test_the_site_is_built_without_a_warning(tmp_path):
    """Runs `mkdocs build --strict`, if mkdocs is installed; docstrings are read from the source."""
    pytest.importorskip("mkdocstrings", reason="SKIPPED LOUDLY: pip install 'commlearn[docs]'")
    import subprocess
    import sys

    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(ROOT / "mkdocs.yml")]
    done = subprocess.run(
        [*command, "-d", str(tmp_path)], capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr + done.stdout
    pages = {page: page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")}
    shown = {anchor for text in pages.values() for anchor in re.findall(r'id="(commlearn\.[\w.]+)"', text)}
    assert set(REFERENCE) <= shown
    assert not [page for page, text in pages.items() if 'class="example"' in text], "docs/docstrings.py"
    for text in pages.values():
        assert not re.search(r'(src|href)="https?://(fonts|unpkg|cdn)', text)
