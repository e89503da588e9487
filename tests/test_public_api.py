"""The public API is as recorded, and changes to it are noticed."""

from __future__ import annotations

import inspect

import public_api
import pytest

import commlearn as cl


def test_names_signatures_options_and_settings_are_those_recorded():
    recorded = public_api.RECORD.read_text(encoding="utf-8").split("\n")
    now = public_api.public()
    gone = [line for line in recorded if line not in set(now)]
    new = [line for line in now if line not in set(recorded)]
    assert now == recorded, (
        f"\ngone: {gone}\nnew: {new}\nIf this is intended, record it (`make api`), name it in CHANGELOG.md, "
        "and keep the old way working as docs/api-policy.md says."
    )


def test_a_changed_signature_changes_the_record(monkeypatch):
    before = public_api.public()

    def probe(model, data=None, *, targets=None, modalities=None, seed=1, kind="linear"):
        """The same name with another order and another default."""

    monkeypatch.setattr(cl, "probe", probe, raising=False)
    after = public_api.public()
    assert [line for line in after if line not in before] == [f"probe{inspect.signature(probe)}"]


def test_a_name_that_goes_changes_the_record(monkeypatch):
    monkeypatch.setattr(cl, "__all__", [name for name in cl.__all__ if name != "probe"])
    assert not [line for line in public_api.package_names() if line.startswith("probe(")]


@pytest.mark.parametrize("name", sorted({*cl.__all__} - {"METHODS", "READERS", "plot"}))
def test_a_public_name_says_what_it_is(name):
    assert inspect.getdoc(getattr(cl, name))
