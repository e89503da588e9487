"""init, check, fit and train point out input columns that reveal a target."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import commlearn as cl
from commlearn.errors import DataWarning
from commlearn.tables.check import check
from commlearn.tables.dataset import dataset_of
from commlearn.tables.infer import infer
from commlearn.tables.leaks import likely_answers
from commlearn.tables.schema import Schema
from commlearn.tables.table import read_table

N = 200
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=N)
CLASSES = np.array(["ill", "well", "dead", "gone"])[RNG.integers(4, size=N)]
CODES = {"ill": 3, "well": 1, "dead": 2, "gone": 9}
NEXT = {"ill": "well", "well": "dead", "dead": "gone", "gone": "ill"}


def reason(target, sort, cells, **forms):
    frame = pd.DataFrame({"x": cells, "goal": target})
    schema = Schema({"t": cl.Tabular(["x"], **forms)}, targets={"goal": sort})
    return likely_answers(frame, schema).get("x", "")


@pytest.mark.parametrize(
    ("target", "sort", "cells", "sentence"),
    [
        (NUMBERS, "number", NUMBERS, "is target goal"),
        (NUMBERS, "number", 2 * NUMBERS + 1, "up to scale and offset"),
        (NUMBERS, "number", [f"{value:.6f}" for value in NUMBERS], "is target goal"),
        (NUMBERS, "number", np.exp(3 * NUMBERS), "has the same order as target goal"),
        (NUMBERS, "number", NUMBERS + 0.5 * RNG.normal(size=N), ""),
        (CLASSES, "class", CLASSES, "is a copy of target goal"),
        (CLASSES, "class", [CODES[name] for name in CLASSES], "is a copy"),
        ([CODES[name] for name in CLASSES], "class", [CODES[NEXT[name]] for name in CLASSES], "is a copy"),
        (CLASSES, "class", [name + "ab"[row % 2] for row, name in enumerate(CLASSES)], "in every row"),
        (CLASSES, "class", [NEXT[CLASSES[0]], *CLASSES[1:]], "199 of 200 rows"),
        (CLASSES, "class", RNG.permutation(CLASSES), ""),
        (CLASSES, "class", [f"name{row}" for row in range(N)], ""),  # all values differ
        (NUMBERS > 0, "class", 100 + 3 * NUMBERS, "separates the two classes of target goal"),
        (NUMBERS > 0, "class", NUMBERS + 0.5 * RNG.normal(size=N), ""),
        ([*[1] * 198, 2, 2], "class", [*[5] * 198, 6, 6], ""),  # two rows may agree by chance
    ],
)  # fmt: skip
def test_a_target_is_recognised_in_another_column(target, sort, cells, sentence):
    given = reason(target, sort, cells)
    assert sentence in given
    assert bool(sentence) == bool(given)


def test_it_is_recognised_in_what_a_form_reads_and_by_name():
    cells = [f"{100 + value:.2f} EUR" for value in NUMBERS]
    assert "up to scale" in reason(NUMBERS, "number", cells, forms={"x": "amount"})
    frame = pd.DataFrame({"final_outcome": NUMBERS, "income": NUMBERS})
    schema = Schema({"t": cl.Tabular(["final_outcome", "income"])})
    assert likely_answers(frame, schema) == {"final_outcome": "has a name that suggests an answer"}


def test_init_check_fit_and_train_say_so():
    frame = pd.DataFrame({"ph": NUMBERS, "score": 2 * RNG.normal(size=N), "goal": NUMBERS * 3 - 1})
    inferred = infer(read_table(frame), ["goal"])
    assert "#   ph is target goal up to scale and offset" in inferred.to_yaml()
    schema = inferred.schema
    report = check(read_table(frame), schema)
    assert any(problem.column == "ph" and "is target goal" in problem.message for problem in report.warnings)
    assert any(note.startswith("ph is target goal") for note in dataset_of(read_table(frame), schema).notes)
    with pytest.warns(DataWarning, match="Some inputs may be answers: ph is target goal up to scale"):
        cl.Embedder(schema, epochs=1).fit(frame)
    with pytest.warns(DataWarning, match="Some inputs may be answers: ph is a target that is also read by"):
        cl.Embedder(Schema({"t": cl.Tabular(["score", "ph"])}), epochs=1, targets=["ph"]).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        cl.Embedder(Schema({"t": cl.Tabular(["score"])}, targets={"goal": "number"}), epochs=1).fit(frame)
