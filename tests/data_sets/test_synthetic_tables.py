"""Synthetic tables: they contain every kind, factors in the stated modalities, and gaps as requested."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PIL
from sklearn.ensemble import RandomForestClassifier

from commlearn.datasets.synthetic_tables import COLUMNS, MODALITIES, TARGETS, SyntheticTable
from commlearn.errors import ConfigurationError
from commlearn.tables.schema import Schema
from commlearn.tables.table import read_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth")
    SyntheticTable(rows=600, size=16).write(folder)
    return folder


def features(folder, frame):
    """Return plain features of each modality, computed without the library's own kinds."""
    series = [np.load(folder / path) for path in frame["series"]]
    words = sorted({word for text in frame["text"] for word in text.split()})
    return {
        "image": np.stack([np.asarray(PIL.open(folder / path)).reshape(-1) for path in frame["image"]]),
        "text": np.array([[word in text.split() for word in words] for text in frame["text"]], dtype=float),
        "table": np.column_stack(
            [frame["height"], frame["weight"], frame["rate"], frame["site"].astype("category").cat.codes]
        ),
        "series": np.array(
            [
                [one[-1, 1], *np.abs(np.fft.rfft(one[:40, 0]))[:8], (one[:, 1] / len(one)).sum()]
                for one in series
            ]
        ),
        "vector": np.stack([json.loads(cell) for cell in frame["vector"]]),
    }


def test_each_factor_is_in_its_modalities_and_in_no_other(folder):
    frame = pd.read_csv(folder / "table.csv")
    views = features(folder, frame)
    half = len(frame) // 2
    for target in TARGETS:
        labels = frame[target].to_numpy()
        for name in MODALITIES:
            forest = RandomForestClassifier(60, random_state=0).fit(views[name][:half], labels[:half])
            score = forest.score(views[name][half:], labels[half:])
            if target == "shared" or target == f"unique_{name}":
                assert score > 0.75, (target, name, score)
            else:
                assert score < (0.6 if target == "synergy" else 0.36), (target, name, score)


def test_the_synergy_is_the_parity_of_two_bits(folder):
    factors = SyntheticTable(rows=600, size=16).factors()
    frame = pd.read_csv(folder / "table.csv")
    assert (frame["synergy"] == (factors["image_bit"] ^ factors["table_bit"])).all()
    assert ((frame["rate"] > 0) == (factors["table_bit"] == 1)).mean() > 0.99


def test_the_schema_beside_it_reads_it(folder):
    schema = Schema.from_yaml(folder / "schema.yaml")
    table = read_table(folder / "table.csv")
    records = schema.read(table, schema.learn(table), with_targets=True)
    assert tuple(records.columns) == MODALITIES
    assert set(records.targets) == set(TARGETS)
    assert set(schema.splits(table)) == {"train", "test"}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_same_seed_gives_the_same_table_and_gaps_never_take_all(form, tmp_path):
    made = [SyntheticTable(60, seed=3, missing=0.4, size=16, format=form).write(tmp_path / n) for n in "ab"]
    frame = read_table(made[0]).frame
    pd.testing.assert_frame_equal(frame, read_table(made[1]).frame)
    there = np.stack([frame[columns].notna().any(axis=1) for columns in COLUMNS.values()], axis=1)
    assert there.any(axis=1).all()
    assert 0.2 < 1 - there.mean() < 0.5
    whole = frame[COLUMNS["table"]].notna()
    assert (whole.all(axis=1) == whole.any(axis=1)).all()


@pytest.mark.parametrize("options", [{"rows": 1}, {"missing": 1.0}, {"size": 4}, {"format": "xls"}])
def test_options_that_cannot_be_are_named(options):
    with pytest.raises(ConfigurationError, match=str(next(iter(options.values())))):
        SyntheticTable(**options)
