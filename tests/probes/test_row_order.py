"""Rows that follow one another like a series over time are named by every door that scores a random split."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import commlearn as cl
from commlearn.comparison.answers.forecast import forecast
from commlearn.comparison.plan import ComparisonSource
from commlearn.errors import DataWarning
from commlearn.probes.readout_rows import readout_rows
from commlearn.probes.row_order import split_signs
from commlearn.reports.cards import warnings_of
from commlearn.reports.source import source
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import Table

WORDS = "Rows that follow one another are alike in 'a' and in '{}', as in a series over time"


def walks(rows=600, seed=1):
    """Return unrelated random walks: two modalities, a number, and classes cut from it."""
    walk = np.random.default_rng(seed).normal(size=(rows, 5)).cumsum(axis=0)
    frame = pd.DataFrame(walk, columns=["a0", "a1", "b0", "b1", "number"])
    above = frame["number"] > frame["number"].median()
    frame["tags"] = np.where(above, "up;far", "down")
    frame["day"], frame["part"] = np.arange(rows) // 60, np.where(np.arange(rows) < 450, "train", "test")
    return frame.assign(kind=np.where(above, "up", "down"))


def schema(targets, **named):
    return cl.Schema({"a": cl.Tabular(["a0", "a1"]), "b": cl.Tabular(["b0", "b1"])}, targets, **named)


def signs_of(frame, targets=None, **named):
    targets = targets or {"kind": "class", "number": "number", "tags": "multilabel"}
    data = dataset_of(Table(frame.reset_index(drop=True)), schema(targets, **named))
    return split_signs(data, data.fit.keys)


@pytest.mark.parametrize("rows", [600, 20_000])
def test_a_series_is_named_for_targets_of_every_sort(rows):
    (sign,) = signs_of(walks(rows))
    assert sign.startswith(WORDS.format("kind', 'number', 'tags"))
    assert "give the schema a group column" in sign


def cells_of(kind, level):
    """Return cells of a kind that follow a level from 0 to 1; every twentieth is empty."""
    tone = np.sin(np.arange(2000))
    cell_of = {
        cl.Vector: lambda share: np.full(3, share),
        cl.Series: lambda share: share * np.array([[1.0, 2], [3, 1], [2, 5], [4, 4]]),
        cl.Text: lambda share: " ".join(["calm"] * int(20 * share) + ["sea"]),
        cl.Image: lambda share: np.full((32, 32, 3), int(255 * share), dtype=np.uint8),
        cl.Audio: lambda share: share * tone,
    }[kind]
    shares = (level - level.min()) / np.ptp(level)
    return pd.Series([None if row % 20 == 7 else cell_of(share) for row, share in enumerate(shares)])


@pytest.mark.parametrize("kind", [cl.Vector, cl.Series, cl.Text, cl.Image, cl.Audio])
def test_modalities_of_every_kind_are_read(kind):
    draw, frame = np.random.default_rng(0), walks()
    options = {cl.Image: {"size": 32}, cl.Audio: {"rate": 8000}}.get(kind, {})
    read = cl.Schema({"a": kind("cell", **options), "b": cl.Vector("noise")}, {"kind": "class"})
    frame["noise"] = list(draw.normal(size=(600, 3)))
    level = frame["a0"].to_numpy()
    serial, mixed = (
        dataset_of(Table(frame.assign(cell=cells_of(kind, values))), read)
        for values in (level, draw.permutation(level))
    )
    assert not split_signs(mixed, mixed.fit.keys)
    signs = split_signs(serial, serial.fit.keys)
    if kind is not cl.Audio:  # statistics of a tone are mostly of its frequency, which stays
        assert signs[0].startswith(WORDS.format("kind"))


@pytest.mark.parametrize("named", [{"group": "day"}, {"split": "part"}])
def test_groups_and_a_split_by_time_are_the_way_out(named):
    assert signs_of(walks(), **named) == ()


def test_rows_that_come_after_all_those_to_fit_on_are_split_by_time():
    frame, stated = walks(), schema({"kind": "class"})
    model = cl.Embedder(stated, epochs=1).fit(frame[:420])
    data = readout_rows(model, frame)
    assert (len(data.fit), len(data.test), data.signs) == (420, 180, ())


def test_a_shuffled_series_and_copies_that_follow_one_another_are_no_series():
    assert signs_of(walks().sample(frac=1, random_state=0)) == ()
    draw = np.random.default_rng(0)
    noise = walks().assign(**{name: draw.normal(size=600) for name in ("a0", "a1", "b0", "b1")})
    kind = draw.choice(["up", "down"], 600)
    twice = noise.assign(kind=kind, number=draw.normal(size=600), tags=kind).iloc[np.arange(600) // 2 * 2]
    assert signs_of(twice) == ()


@pytest.mark.parametrize("by", [["kind"], ["a0"], ["kind", "a0"], ["site", "a0"], ["number"], ["id"], ["b0"]])
@pytest.mark.parametrize("seed", range(3))
def test_a_sorted_table_is_no_series(by, seed):
    draw = np.random.default_rng(seed)
    cause, noise = draw.normal(size=600), draw.normal(size=(600, 3))
    cells = {"a0": cause, "a1": 0.5 * cause + noise[:, 0], "b0": noise[:, 1], "b1": noise[:, 2]}
    frame = pd.DataFrame(cells | {"number": cause + 0.5 * draw.normal(size=600)})
    frame["kind"] = frame["tags"] = np.where(frame["number"] + draw.normal(size=600) > 0, "up", "down")
    frame = frame.assign(site=draw.integers(0, 5, 600), id=draw.permutation(600))
    assert signs_of(frame.sort_values(by, kind="stable"), id="id") == ()
    assert signs_of(frame) == ()


def test_probe_forecast_comparison_and_report_name_a_series(tmp_path):
    frame = walks()
    frame.to_csv(tmp_path / "table.csv", index=False)
    stated = schema({"kind": "class"})
    (tmp_path / "schema.yaml").write_text(stated.to_yaml())
    words, table = WORDS.format("kind"), str(tmp_path / "table.csv")
    model = cl.Embedder(stated, epochs=1).fit(frame)
    with pytest.warns(DataWarning, match=words):
        cl.probe(model, frame)
    with pytest.warns(DataWarning, match=words):
        forecast(tmp_path / "schema.yaml", table)
    with pytest.warns(DataWarning, match=words):
        ComparisonSource(str(tmp_path / "schema.yaml"), table).read()
    with pytest.warns(DataWarning, match=words):
        read = source(model, table, None)
    (sign,) = read.data.signs
    empty = {"ranks": {}, "ladder": {}, "metrics": [], "interactions": {}, "present": {}}
    findings = SimpleNamespace(source=read, counts={"test": 100}, audit=None, alike=None, **empty)
    shown = warnings_of(findings)[0]
    assert shown.text.startswith(words)
    assert shown.remedy.startswith("If the table is such a series, give the schema a group column")
    assert sign == f"{shown.text} {shown.remedy}"
