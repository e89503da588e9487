"""Rooms, the top-level parts of the package, import only from lower layers, and no folder is too full."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import commlearn

SOURCE = Path(commlearn.__file__).parent
LAYERS = [
    {"cores", "errors", "escapes"},
    {"seeds"},
    {"batch", "storage"},
    {"objectives", "records"},
    {"augmentations"},
    {"models"},
    {"kinds"},
    {"tables"},
    {"datasets", "methods"},
    {"config"},
    {"trained"},
    {"probes"},
    {"search"},
    {"training"},
    {"plot"},
    {"comparison", "information"},
    {"reports"},
    {"estimator"},
    {"cli"},
    {"__main__"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
VAGUE = {"utils", "misc", "helpers", "common"}
MOST_FILES, MOST_LINES = 15, 4000  # per folder; its __init__.py is not counted as a file


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def rooms_named(path: Path) -> set[str]:
    """Return the rooms that a file imports, anywhere in the file, or names in a string."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= set(re.findall(r"\bcommlearn\.\w+", node.value))
    rooms = {name.split(".")[1] for name in names if name.startswith("commlearn.")}
    return rooms & set(HEIGHT)


def files() -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


def test_every_file_has_a_room():
    assert {room_of(path) for path in files()} <= set(HEIGHT)


def test_no_file_names_a_room_beside_or_above_its_own():
    wrong = [
        f"{path.relative_to(SOURCE)} names {room}"
        for path in files()
        for room in rooms_named(path) - {room_of(path)}
        if HEIGHT[room] >= HEIGHT[room_of(path)]
    ]
    assert not wrong


def test_tables_and_data_sets_never_see_a_method_and_objectives_see_nothing_but_batches():
    for path in files():
        if room_of(path) == "objectives":
            assert rooms_named(path) <= {"objectives", "errors", "batch"}
        if room_of(path) in ("tables", "datasets"):
            assert "methods" not in rooms_named(path)


def test_the_parser_sees_imports_inside_functions_and_names_in_strings():
    assert "training" in rooms_named(SOURCE / "cli" / "commands" / "train.py")
    assert "tables" in rooms_named(SOURCE / "datasets" / "registry.py")


def test_names_say_what_is_inside():
    assert not [path for path in SOURCE.rglob("*") if path.stem in VAGUE]


def test_no_folder_is_too_full():
    folders: dict[str, list[int]] = {}
    for path in files():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        own = folders.setdefault(str(path.parent.relative_to(SOURCE)), [0, 0])
        own[0] += path.name != "__init__.py"
        own[1] += lines
    full = {name: own for name, own in folders.items() if own[0] > MOST_FILES or own[1] > MOST_LINES}
    assert not full
