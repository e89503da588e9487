"""About two hundred hostile inputs on every test run; `make chaos` sets COMMLEARN_HOSTILE for many more."""

from __future__ import annotations

import os
import random
from contextlib import suppress

import hostile
import mutations
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.errors import CommlearnError, ConfigurationError
from commlearn.storage.plain_yaml import read_yaml

CASES = int(os.environ.get("COMMLEARN_HOSTILE", str(8 * len(hostile.SORTS))))
MENDED = [  # failures that the long form found, fixed since
    *("recipes:61", "recipes:445", "recipes:661", "recipes:669"),
    *("states:44", "states:354", "parquets:113", "packed:100", "packed:102", "models:225"),
    *("parquets:386", "table files:768", "states:660", "cells:609"),
    *("cells:426", "cells:746", "cells:976", "artifacts:756", "runs:797", "converted:1634"),
]
TEN_TIMES = [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in ["ab", "bc", "cd", "de", "ef"]]
BILLIONS = "\n".join(["a: &a [x, x]", *TEN_TIMES])


def test_hostile_input_gives_a_result_or_an_error_of_ours():
    report = hostile.run(CASES)
    print("\n".join(report.lines()))
    assert not report.unnamed, report.unnamed[0]
    assert report.results.total() + report.errors.total() == CASES
    assert (
        min(report.results.total(), report.errors.total()) > CASES // 10
    )  # inputs are damaged, but not all of them beyond use


@pytest.mark.parametrize("case", MENDED)
def test_what_once_failed_does_not_fail_again(case):
    assert not hostile.run(1, only=case).unnamed


def spins(chance, folder):
    while True:
        pass


def waits(chance, folder):
    os.mkfifo(folder / "pipe")
    (folder / "pipe").read_bytes()


def holds(chance, folder):
    b"x" * (2 * hostile.MEMORY)


@pytest.mark.parametrize("case", [spins, waits, holds], ids=lambda case: case.__name__)
def test_what_never_ends_or_holds_too_much_counts_as_a_failure(case, monkeypatch):
    monkeypatch.setattr(hostile, "SECONDS", 1)
    monkeypatch.setattr(hostile, "WAIT", 2)
    monkeypatch.setattr(hostile, "MEMORY", 64 << 20)
    monkeypatch.setitem(hostile.SORTS, "bad", case)
    assert len(hostile.run(1, only="bad:1").unnamed) == 1


def test_the_same_case_is_drawn_again():
    one, two = (mutations.bytes_of(random.Random("a 1"), bytes(range(99))) for _ in range(2))
    assert one == two


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_is_yaml_or_an_error_of_ours(text):
    with suppress(CommlearnError):
        read_yaml(text, "settings")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
            for old, new in zip("bcdef", "cdefg", strict=True)
        ),
        "a: &a [*a]",
        "[" * 60 + "]" * 60,
        "[" * 5000,
        "day: 2020-13-45",
        "a: !!bool maybe",
        "a: !!int ''",
        "a: !!timestamp x",
        "a: 1\na: 2",
        "!!python/object/apply:os.system ['exit 3']",
    ],
)
def test_yaml_that_grows_nests_or_calls_is_refused(text):
    with pytest.raises(ConfigurationError, match="cannot be read as YAML"):
        read_yaml(text, "settings")


def test_references_that_people_write_are_read():
    assert read_yaml("a: &a {x: 1}\nb: *a", "settings") == {"a": {"x": 1}, "b": {"x": 1}}
