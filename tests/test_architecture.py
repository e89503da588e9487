"""Imports go one way: a layer knows only what stands below it."""

from __future__ import annotations

import ast
from pathlib import Path

import commlearn

SOURCE = Path(commlearn.__file__).parent
LAYERS = [
    {"errors", "escapes", "own_draws", "seeds"},
    {"objectives", "data"},
    {"augmentations"},
    {"models"},
    {"kinds", "methods"},
    {"training", "evaluation", "plot"},
    {"estimator"},
    {"cli", "__main__"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
VAGUE = {"utils", "misc", "helpers", "common"}


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The parts of the package that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found |= {name.split(".")[1] for name in names if name.startswith("commlearn.")}
    return found


def files() -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


def test_every_file_has_a_layer():
    assert {layer_of(path) for path in files()} <= set(HEIGHT)


def test_no_file_imports_from_a_layer_above():
    wrong = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in files()
        for name in imports(path)
        if HEIGHT[name] > HEIGHT[layer_of(path)]
    ]
    assert not wrong


def test_data_never_sees_a_method_and_objectives_see_nothing_but_themselves():
    for path in files():
        if layer_of(path) == "objectives":
            assert imports(path) <= {"objectives", "errors"}
        if layer_of(path) == "data":
            assert imports(path) <= {"data", "errors", "seeds"}


def test_the_parser_sees_imports_inside_functions():
    assert "training" in imports(SOURCE / "cli" / "train.py")


def test_names_say_what_is_inside():
    assert not [path for path in SOURCE.rglob("*") if path.stem in VAGUE]


def test_files_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    assert not {str(path.relative_to(SOURCE)): length for path, length in lengths.items() if length > 350}
