"""The glossary defines 30 terms once each, and the code that it points to exists."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([a-z][^|]*) \| ([A-Z][^|]*) \| `([\w.]+)` \|$", PAGE, flags=re.MULTILINE)


def test_there_are_thirty_terms_each_defined_once():
    terms = [term for term, _, _ in ROWS]
    assert len(terms) == len(set(terms)) == 30


@pytest.mark.parametrize(("term", "meaning"), [row[:2] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_meaning_is_one_or_two_sentences(term, meaning):
    assert re.fullmatch(r"([^.]+\.){1,2} ?", meaning)


@pytest.mark.parametrize("term", [row[0] for row in ROWS])
def test_pages_use_a_term(term):
    words = "|".join(map(re.escape, term.split(", ")))  # one row defines three terms
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md") if page.name != "glossary.md"]
    count = sum(bool(re.search(rf"\b({words})", text, flags=re.IGNORECASE)) for text in pages)
    assert count > 1, f"'{term}' stands on {count} pages; use it there, or leave it out of the glossary"


def test_an_artifact_is_called_nothing_else():
    pages = {page: page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")}
    assert not [page for page, text in pages.items() if re.search(r"\b[Aa]n export(ed model)?\b", text)]


@pytest.mark.parametrize("place", [row[2] for row in ROWS])
def test_what_a_term_points_at_exists(place):
    assert exists(place)


def test_what_does_not_exist_is_seen():
    assert not exists("commlearn.methods.base.Methode")
    assert not exists("commlearn.batch.Modality.mask")


def exists(place: str) -> bool:
    """Return whether a module has this name, or a class in it has this field."""
    *modules, name = place.split(".")
    try:
        owner = importlib.import_module(".".join(modules))
    except ModuleNotFoundError:
        *modules, owner_name = modules
        owner = getattr(importlib.import_module(".".join(modules)), owner_name)
    fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    return hasattr(owner, name) or name in fields
