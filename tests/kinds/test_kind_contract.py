"""The contract of every kind of modality. A new kind only needs an entry in EXAMPLES."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as PIL

from commlearn.augmentations import AUGMENTATIONS, DEFAULT_AUGMENTATION
from commlearn.batch import blank_values
from commlearn.errors import DataError
from commlearn.kinds import KINDS, Audio, Cells, Image, Series, Tabular, Text, Vector
from commlearn.kinds.base import plain
from commlearn.models.encoders import ENCODERS, default_encoder
from commlearn.tables.schema import Schema

ROWS = 12
DRAW = np.random.default_rng(0)
PICTURES = [PIL.fromarray(DRAW.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(ROWS)]
WORDS = np.array(["calm", "sea", "storm", "and", "light"])
# For each kind: a modality, its cells, and a cell that cannot be read (None if every cell can).
EXAMPLES = {
    "image": (Image("x", size=32), PICTURES, "nowhere.png"),
    "text": (Text("x"), [" ".join(DRAW.choice(WORDS, 4)) for _ in range(ROWS)], None),
    "tabular": (Tabular(["x"]), DRAW.normal(size=ROWS).tolist(), float("inf")),
    "series": (Series("x"), [DRAW.normal(size=(5 + row, 2)) for row in range(ROWS)], "nowhere.npy"),
    "vector": (Vector("x"), [DRAW.normal(size=3) for _ in range(ROWS)], [1.0]),
    "audio": (Audio("x", rate=8000), [DRAW.normal(size=4000) for _ in range(ROWS)], "nowhere.wav"),
}


@pytest.fixture(params=sorted(KINDS))
def example(request):
    return EXAMPLES[request.param]


def cells_of(values):
    return Cells(pd.DataFrame({"x": pd.Series(values, dtype=object)}))


def same(one, other):
    assert torch.equal(one.values, other.values)
    for name in ("padding", "present"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None and right is None) or torch.equal(left, right)


def test_what_it_learns_is_plain_and_is_all_that_reading_needs(example):
    kind, values, _ = example
    state = kind.learn(cells_of(values))
    again = json.loads(json.dumps(state, allow_nan=False))
    rows = np.arange(ROWS)
    same(kind.read(cells_of(values), state).take(rows), kind.read(cells_of(values), again).take(rows))


def test_records_come_in_the_order_that_is_asked_for_and_two_looks_are_alike(example):
    kind, values, _ = example
    column = kind.read(cells_of(values), kind.learn(cells_of(values)))
    order = np.array([7, 0, 7, 3])
    seen, again = column.take(order), column.take(order)
    same(seen, again)
    for place, row in enumerate(order):
        alone = column.take(np.array([row]))
        length = alone.values.shape[1] if alone.padding is not None else None
        assert torch.equal(seen.values[place][:length], alone.values[0])
    assert len(column) == ROWS


def test_an_empty_cell_is_an_absent_modality_and_moves_no_other(example):
    kind, values, _ = example
    state = kind.learn(cells_of(values))
    gaps = [None if row == 4 else value for row, value in enumerate(values)]
    whole, rest = kind.read(cells_of(values), state), kind.read(cells_of(gaps), state)
    seen = rest.take(np.arange(ROWS))
    assert seen.present is not None
    assert seen.present.tolist() == [row != 4 for row in range(ROWS)]
    others = np.array([row for row in range(ROWS) if row != 4])
    assert torch.equal(rest.take(others).values, whole.take(others).values)
    assert not [problem for problem in kind.check(cells_of(gaps)) if problem.level == "error"]


def test_a_cell_that_cannot_be_read_is_told_with_its_row(example):
    kind, values, bad = example
    if bad is None:
        pytest.skip("any cell is a text")
    state = kind.learn(cells_of(values))
    wrong = [bad if row == 4 else value for row, value in enumerate(values)]
    problems = [problem for problem in kind.check(cells_of(wrong)) if problem.row == 4]
    assert problems
    assert problems[0].column == "x"
    with pytest.raises(DataError, match="row 4"):
        kind.read(cells_of(wrong), state)


def test_encoder_and_augmentation_take_what_it_reads(example):
    kind, values, _ = example
    column = kind.read(cells_of(values), kind.learn(cells_of(values)))
    seen = column.take(np.arange(4))
    made = AUGMENTATIONS[DEFAULT_AUGMENTATION[column.spec.kind]]()
    changed = made(seen, torch.Generator().manual_seed(0), column.spec)
    assert changed.values.shape[0] == 4
    encoder = ENCODERS[default_encoder(column.spec)](column.spec.shape, 16).eval()
    for modality in (seen, changed):
        assert encoder(modality).values.shape[::2] == (4, 16)
    assert blank_values(column.spec, 2, 3).shape[2:] == seen.values.shape[2:]


def test_a_schema_keeps_it(example):
    kind, *_ = example
    schema = Schema({"m": kind})
    assert Schema.from_mapping(json.loads(json.dumps(schema.to_mapping()))) == schema


def test_every_kind_is_tried():
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        (Image("x", size=np.int64(32)), np.zeros((4, 4), np.uint8)),
        (Text("x", max_length=np.int64(1), vocabulary=np.int64(5)), "a cat a cat"),
        (Audio("x", rate=np.int64(8000), max_length=np.int64(9)), np.zeros(800)),
        (Series("x", max_length=np.int64(9)), [1.0, 2.0]),
        (Tabular("x", max_categories=np.int64(9)), "red"),
    ],
)
def test_settings_may_be_whole_numbers_of_numpy(kind, cell):
    state = kind.learn(cells_of([cell, cell]))
    assert plain(state) == state
    plain({entry.name: getattr(kind, entry.name) for entry in fields(kind)})
