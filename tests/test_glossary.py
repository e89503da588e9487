"""The glossary holds 30 terms, each once, and what it points at exists."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([a-z][^|]*) \| ([A-Z][^|]*) \| `([\w.]+)` \|$", PAGE, flags=re.MULTILINE)


def test_there_are_thirty_terms_each_defined_once():
    terms = [term for term, _, _ in ROWS]
    assert len(terms) == len(set(terms)) == 30


@pytest.mark.parametrize(("term", "meaning"), [row[:2] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_meaning_is_one_or_two_sentences(term, meaning):
    assert re.fullmatch(r"([^.]+\.){1,2} ?", meaning)


@pytest.mark.parametrize("place", [row[2] for row in ROWS])
def test_what_a_term_points_at_exists(place):
    assert exists(place)


def test_what_does_not_exist_is_seen():
    assert not exists("commlearn.methods.base.Methode")
    assert not exists("commlearn.batch.Modality.mask")


def exists(place: str) -> bool:
    """Whether a module has this name, or a class of it this field."""
    *modules, name = place.split(".")
    try:
        owner = importlib.import_module(".".join(modules))
    except ModuleNotFoundError:
        *modules, owner_name = modules
        owner = getattr(importlib.import_module(".".join(modules)), owner_name)
    fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    return hasattr(owner, name) or name in fields
