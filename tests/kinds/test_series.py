"""Series: any length, channels and gaps; padding, averaging, and errors that name what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.base import Cells
from commlearn.kinds.series import STEP_LIMIT, Series

ROWS = [[1.0, 3.0, 2.0], None, [5.0], [2.0, 2.0]]


def objects(values) -> pd.Series:
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return pd.Series(column)


def cells(values, root=".", first_row=0) -> Cells:
    values = values if isinstance(values, pd.Series) else objects(values)
    return Cells(pd.DataFrame({"ecg": values}), root, first_row)


def learned(kind, train):
    return json.loads(json.dumps(kind.learn(train), allow_nan=False))


def taken(kind, train, test=None, rows=None):
    column = kind.read(train if test is None else test, learned(kind, train))
    return column.take(np.arange(len(column)) if rows is None else np.array(rows))


def nested(form):
    """Return each row of ROWS as `form` of its values in one channel, (length, 1)."""
    return [None if row is None else form([[value] for value in row]) for row in ROWS]


FORMS = {
    "lists": objects(ROWS),
    "arrays": objects([None if row is None else np.array(row) for row in ROWS]),
    "nested lists": objects(nested(list)),
    "matrices": objects(nested(np.array)),
    "arrays of arrays": objects(nested(lambda row: objects([np.array(step) for step in row]).to_numpy())),
    "arrow": pd.Series(ROWS, dtype=pd.ArrowDtype(pa.list_(pa.float32()))),
    "nested arrow": pd.Series(nested(list), dtype=pd.ArrowDtype(pa.list_(pa.list_(pa.float64())))),
    "JSON text": objects(["" if row is None else json.dumps(row) for row in ROWS]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_alike_and_is_padded_at_the_end(form):
    modality = taken(Series("ecg"), cells(FORMS[form]))
    all_steps = np.array([1, 3, 2, 5, 2, 2])
    expected = (np.array([[1, 3, 2], [5, 0, 0], [2, 2, 0]]) - all_steps.mean()) / all_steps.std()
    padding = np.array([[0, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=bool)
    expected[padding] = 0
    there = [0, 2, 3]
    assert modality.values.dtype == torch.float32
    np.testing.assert_allclose(modality.values[there, :, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(modality.padding[there], padding)
    assert modality.padding[1].all()
    assert modality.values[1].abs().sum() == 0
    assert modality.present.tolist() == [True, False, True, True]


def test_a_batch_is_as_long_as_its_longest_series():
    assert taken(Series("ecg"), cells(ROWS), rows=[2, 3]).values.shape == (2, 2, 1)
    assert taken(Series("ecg"), cells(ROWS), rows=[1]).values.shape == (1, 1, 1)
    assert taken(Series("ecg"), cells(ROWS), rows=[2]).padding.tolist() == [[False]]


def test_series_of_one_length_need_no_padding():
    modality = taken(Series("ecg"), cells([[1.0, 2.0], None, [3.0, 4.0]]), rows=[1, 2])
    assert modality.padding is None
    assert modality.values.shape == (2, 2, 1)
    assert taken(Series("ecg"), cells([[1.0, 2.0], [3.0, 4.0]])).present is None


def test_columns_are_channels_side_by_side():
    frame = pd.DataFrame({"x": objects([[1.0, 2.0], [3.0], None]), "y": objects([[5.0, 5.0], None, None])})
    modality = taken(Series(["x", "y"]), Cells(frame))
    assert modality.values.shape == (3, 2, 4)  # the gap of row 1 adds a flag to each channel
    assert modality.values[1, 0].tolist()[1:] == [0, 1, 0]
    assert modality.present.tolist() == [True, True, False]
    frame = pd.DataFrame({"x": objects([[1.0, 2.0]]), "y": objects([[5.0]])})
    with pytest.raises(
        DataError, match="x to y row 0: the columns, including x, hold arrays of 2 x 1, 1 x 1"
    ):
        Series(["x", "y"]).learn(Cells(frame))


def test_gaps_are_zero_and_flagged_if_training_rows_have_some():
    train = cells([[1.0, np.nan, 3.0], [None, 3.0, 1.0]])
    values = taken(Series("ecg"), train).values
    assert values[0].tolist() == [[-1, 1], [0, 0], [1, 1]]
    without = cells([[1.0, 3.0, 1.0], [3.0, 3.0, 1.0]])
    assert taken(Series("ecg"), without, train).values[0].tolist() == [[-1], [0], [1]]
    assert Series("ecg").read(train, learned(Series("ecg"), train)).spec == ("series", (2,))


def test_a_series_without_any_observation_is_absent():
    modality = taken(Series("ecg"), cells([[1.0, 2.0], [np.nan, np.nan]]))
    assert modality.present.tolist() == [True, False]


def test_only_training_rows_decide_the_scale_channel_by_channel():
    train = cells([np.array([[0.0, 7.0], [2.0, 7.0]])])
    values = taken(Series("ecg"), train, cells([np.array([[4.0, 9.0]])])).values
    assert values.tolist() == [[[3, 2]]]  # a constant channel keeps its scale


def test_long_series_are_averaged_by_the_same_number_of_steps():
    kind = Series("ecg", max_length=4)
    train = cells([np.arange(8.0), np.arange(6.0)])
    state = learned(kind, train)
    assert state["stride"] == 2
    state |= {"mean": [0.0], "scale": [1.0]}
    column = kind.read(cells([np.arange(8.0), [1.0, np.nan, 5.0], np.arange(17.0)]), state)
    modality = column.take(np.array([0, 1, 2]))
    assert modality.values[0, :, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert modality.values[1, :2, 0].tolist() == [1, 5]  # means leave out gaps
    assert modality.values[2, :, 0].tolist() == [2.5, 8.5, 14, 0]  # longer than in training: averaged by 6


def test_a_few_long_series_do_not_shorten_all_others():
    state = learned(Series("ecg", max_length=10), cells([np.arange(10.0)] * 19 + [np.arange(1000.0)]))
    assert state["stride"] == 1


def test_files_are_read_inside_the_folder_only(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "a.npy", np.array([[1.0, 2.0], [3.0, 4.0]], np.float16))
    (folder / "named.csv").write_text("x, y\n1, 2\n3,\n")
    (folder / "plain.csv").write_text("1,2\n3,4\n5,6\n")
    (tmp_path / "secret.csv").write_text("1,2\n")
    arrays, problems = Series("ecg")._rows(cells(["a.npy", "named.csv", "plain.csv"], folder))
    assert problems == []
    assert arrays[0].tolist() == [[1, 2], [3, 4]]
    np.testing.assert_array_equal(arrays[1], [[1, 2], [3, np.nan]])
    assert arrays[2].tolist() == [[1, 2], [3, 4], [5, 6]]
    for path in ("../secret.csv", str(tmp_path / "secret.csv")):
        with pytest.raises(DataError, match="is outside the table's folder"):
            Series("ecg").learn(cells([path], folder))
        Series("ecg", outside=True).learn(cells([path], folder))


@pytest.mark.parametrize("channels", [1, 2, 3, 12])
@pytest.mark.parametrize("values", [np.float64, np.int64])
def test_the_numbered_names_of_pandas_are_no_step(tmp_path, channels, values):
    frame = pd.DataFrame(np.arange(5 * channels).reshape(5, channels)[::-1].astype(values))
    for name, options in {
        "indexed": {},
        "named": {"index": False},
        "plain": {"index": False, "header": False},
        "upright": {"index": False, "header": False},
    }.items():
        content = frame[::-1] if name == "upright" else frame  # begins with 0.0, 1.0, ... of its own
        content.to_csv(tmp_path / f"{name}.csv", **options)
    names = ["indexed.csv", "plain.csv"]
    names += ["named.csv"] if channels > 2 else []  # one or two names may as well be numbers
    names += ["upright.csv"] if values is np.float64 else []
    arrays, problems = Series("ecg")._rows(cells(names, tmp_path))
    assert not problems
    assert [array.shape for array in arrays] == [(5, channels + 1), *[(5, channels)] * (len(names) - 1)]
    np.testing.assert_array_equal(arrays[0][:, 1:], frame)
    (tmp_path / "row.csv").write_text("0,1,2\n")
    assert Series("ecg")._rows(cells(["row.csv"], tmp_path))[0][0].tolist() == [[0, 1, 2]]


def test_every_bad_row_is_named(tmp_path):
    (tmp_path / "text.csv").write_text("1,2\n3,much\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00")
    fine = [[1.0, 2.0], [3.0, 4.0]]
    bad = [
        ([[1.0, 2.0], [3.0]], "has rows of 1 and 2 numbers"),
        ([[]], "has no steps"),
        ([[1.0, np.inf]], "infinite"),
        ([[1.0], [2.0]], "has 1 channels, but 2 are expected"),
        (np.zeros((2, 2, 2)), "2 x 2 x 2; give (length,) or (length, channels)"),
        (5.0, "a single number"),
        (["a"], "not an array of numbers"),
        ("text.csv", "'text.csv' cannot be read"),
        ("empty.csv", "'empty.csv' cannot be read"),
        ("cut.npy", "'cut.npy' cannot be read"),
    ]
    column = cells([fine, *(value for value, _ in bad), fine], tmp_path, first_row=50)
    for attempt in (
        Series("ecg").learn,
        lambda rows: Series("ecg").read(rows, learned(Series("ecg"), cells([fine]))),
    ):
        with pytest.raises(DataError) as caught:
            attempt(column)
        message = str(caught.value)
        assert f"ecg: {len(bad)} rows cannot be read" in message
        for row, (_, why) in enumerate(bad, start=51):
            assert why in next(line for line in message.splitlines() if f"row {row}:" in line)
    assert len(Series("ecg").check(column)) == len(bad)


@pytest.mark.parametrize("value", [np.array([1.0, np.inf], np.float32), [1.0, -1e200], [np.nan, -np.inf]])
def test_infinite_numbers_of_any_width_are_refused(value):
    with pytest.raises(DataError, match="row 0: holds an infinite or too large number"):
        Series("ecg").learn(cells([value]))


def test_only_ten_bad_rows_are_told_one_by_one():
    with pytest.raises(DataError) as caught:
        Series("ecg").learn(cells([[1.0]] + [[[]]] * 25))
    assert "25 rows" in str(caught.value)
    assert str(caught.value).count("has no steps") == 10
    assert "and 15 more" in str(caught.value)


def test_check_warns_of_constant_channels_and_of_swapped_axes():
    messages = [str(problem) for problem in Series("ecg").check(cells([np.array([[1.0, 5.0], [2.0, 5.0]])]))]
    assert messages == ["ecg: channels [1] of 2 are constant or empty in every row and carry no information"]
    swapped = Series("ecg").check(cells([np.random.default_rng(0).normal(size=(2, 90))] * 2))
    assert any("transpose" in problem.message and problem.level == "warning" for problem in swapped)
    assert Series("ecg").check(cells(ROWS)) == []
    assert "no row has a series" in str(Series("ecg").check(cells([None]))[0])
    with pytest.raises(DataError, match="none of the training rows has a series"):
        Series("ecg").learn(cells([None, None]))


def test_times_as_large_as_nanoseconds_keep_their_steps():
    start = 1.7e18
    values = taken(Series("ecg"), cells([start + 1e9 * np.arange(4)])).values[0, :, 0].numpy()
    np.testing.assert_allclose(values, (np.arange(4) - 1.5) / np.arange(4).std(), atol=1e-3)


rows = st.lists(
    st.none() | st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=12),
    min_size=1,
    max_size=8,
).filter(lambda rows: any(row is not None and not np.isnan(row).all() for row in rows))


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 6))
def test_whatever_the_rows_values_are_finite_and_a_row_reads_alike_alone(values, max_length):
    kind = Series("ecg", max_length=max_length)
    whole = cells(values)
    modality = taken(kind, whole)
    assert modality.values.isfinite().all()
    for row in range(len(values)):
        alone = taken(kind, whole, rows=[row])
        real = slice(None) if alone.padding is None else ~alone.padding[0]
        observed = modality.values[row][: alone.values.shape[1]]
        torch.testing.assert_close(observed[real], alone.values[0][real])
        if modality.padding is not None:
            assert (~modality.padding[row]).sum() <= max_length
            assert modality.values[row][modality.padding[row]].abs().sum() == 0


def test_settings_that_do_not_fit_are_named():
    for length in (0, 2.5, "64", True):
        with pytest.raises(ConfigurationError, match=f"max_length is {length!r}; give at least 1 step"):
            Series("ecg", max_length=length)
    with pytest.raises(ConfigurationError, match="'x' more than once"):
        Series(["x", "x"])


def even(train, test=None):
    """Return unscaled values, (rows, steps, channels), NaN in gaps and padding, and the learned state."""
    kind, rows = Series("ecg"), cells(train)
    state = learned(kind, rows)
    modality = taken(kind, rows, None if test is None else cells(test))
    values = modality.values.numpy().astype(np.float64)
    channels = state["channels"]
    scaled = values[..., :channels] * state["scale"] + state["mean"]
    absent = values[..., channels:] == 0 if state["gaps"] else np.zeros_like(scaled, dtype=bool)
    if modality.padding is not None:
        absent = absent | modality.padding.numpy()[..., None]
    return np.where(absent, np.nan, scaled), state


def timed(*pairs, key="t"):
    return [{key: when, "v": value} for when, value in pairs]


def test_steps_are_sorted_by_time_and_even_ones_are_read_as_a_plain_list_is():
    values, state = even([timed((20, 3), (0, 1), (10, 2)), timed((105, 4), (95, 5))])
    np.testing.assert_allclose(values[..., 0], [[1, 2, 3], [5, 4, np.nan]], rtol=1e-6)
    plain, _ = even([[1, 2, 3], [5, 4]])
    np.testing.assert_allclose(values, plain, rtol=1e-6)
    assert Series("ecg").notes(state) == []


@pytest.mark.parametrize("key", ["t", "time", "Time"])
def test_a_temperature_is_no_time(key):
    rows = [[{key: 0, "T": 37.5}, {key: 1, "T": 36.0}, {key: 2, "T": 36.5}]]
    np.testing.assert_allclose(even(rows)[0][0, :, 0], [37.5, 36, 36.5], rtol=1e-6)
    only = [[{"T": 1, "v": 5}, {"T": 0, "v": 4}]]
    np.testing.assert_allclose(even(only)[0][0, :, 0], [4, 5], rtol=1e-6)


@pytest.mark.parametrize("form", ["objects", "JSON text", "arrow", "dates"])
def test_uneven_times_are_laid_on_even_steps_with_gaps(form):
    rows = [timed((0, 1), (1, 2), (2, 3), (5, 4)), timed((0.2, 5), (1.1, 6), (3.4, 7))]
    if form == "dates":
        first = pd.Timestamp("2024-01-31T06:00")
        rows = [timed(*((str(first + pd.Timedelta(s["t"], "D")), s["v"]) for s in row)) for row in rows]
    values = objects([json.dumps(row) for row in rows]) if form == "JSON text" else rows
    if form == "arrow":
        step = pa.struct([("t", pa.float64()), ("v", pa.float64())])
        values = pd.Series(rows, dtype=pd.ArrowDtype(pa.list_(step)))
    read, state = even(values)
    nan = np.nan
    np.testing.assert_allclose(read[..., 0], [[1, 2, 3, nan, nan, 4], [5, 6, nan, 7, nan, nan]], rtol=1e-6)
    (note,) = Series("ecg").notes(state)
    assert "times are uneven (" in note
    assert "values are read every 1" in note
    assert note in [problem.message for problem in Series("ecg").check(cells(values))]


def test_steps_at_one_time_are_averaged_and_counted():
    rows = [timed((0, 1), (1, 2), (1, 4)), timed((0, 5), (1, 6))]
    np.testing.assert_allclose(even(rows)[0][..., 0], [[1, 3], [5, 6]], rtol=1e-6)
    messages = [problem.message for problem in Series("ecg").check(cells(rows))]
    assert messages == ["several steps have the same time (rows 0): their mean is used"]


def test_channels_of_steps_keep_their_names_from_row_to_row():
    rows = [
        [{"t": 0, "hr": 70, "bp": 120}, {"t": 1, "hr": 72}],
        [{"t": 0, "hr": 60}, {"t": 1, "bp": 110, "hr": 61}],
    ]
    nan = np.nan
    expected = [[[120, 70], [nan, 72]], [[nan, 60], [110, 61]]]
    np.testing.assert_allclose(even(rows)[0], expected, rtol=1e-6)
    alone, _ = even(rows, [[{"t": 3, "bp": 100}]])
    np.testing.assert_allclose(alone, [[[100, nan]]], rtol=1e-6)
    with pytest.raises(
        DataError, match=r"row 0: has channels pulse that no training row has \(they have bp, hr\)"
    ):
        even(rows, [[{"t": 3, "pulse": 100}]])
    with pytest.raises(DataError, match="row 2: holds numbers without names, where other rows have bp, hr"):
        even([*rows, [1.0, 2.0]])


def test_columns_with_times_of_their_own_are_channels_of_one_series():
    frame = pd.DataFrame(
        {"hr": objects([timed((0, 1), (1, 2), (2, 3))] * 2), "bp": objects([timed((1, 9)), None])}
    )
    kind, rows = Series(["hr", "bp"]), Cells(frame)
    modality = kind.read(rows, learned(kind, rows)).take(np.arange(2))
    assert modality.values.shape == (2, 3, 4)
    assert modality.values[0, :, 2:].tolist() == [[0, 1], [1, 1], [0, 1]]  # flags of bp and hr
    assert modality.values[1, :, 2].sum() == 0
    assert not [problem for problem in kind.check(rows) if "their mean" in problem.message]


def test_a_row_that_lasts_for_years_takes_no_more_memory_than_others():
    usual = [timed(*((float(step), 1.0 * row) for step in range(20))) for row in range(9)]
    values, _ = even([*usual, timed((0, 1), (1, 2), (3e9, 3))])
    assert values.shape[1] <= 512
    assert np.nanmax(values[-1]) == pytest.approx(3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([{"t": 0, "v": 1}, {"v": 2}], r"row 1: step 1 has no time 't'; give every step one"),
        ([{"t": 0, "v": 1}, {"t": None, "v": 2}], "step 1 has no time 't'"),
        (
            timed((0, 1), ("3/4/2024", 2)),
            r"time 't' '3/4/2024', which is neither a number nor a date",
        ),
        (timed((0, 1), ("2024-01-31", 2)), "numbers and dates as times 't'"),
        (timed(("2024-01-30", 1), ("2024-01-31", 2)), "has dates as times, unlike training rows"),
        (timed((0, 1), (1, "high")), "a step has v 'high', which is not a number"),
        ([{"v": 1}, {"v": 2}], "has no time in its steps"),
        ([{"t": 0, "v": 1}, 3], "mixes objects with other values"),
        (timed((0, 1), (1e40, 2)), "spans 1e\\+40 times the usual gap"),
    ],
)
def test_times_that_cannot_be_read_are_named(row, message):
    rows = [timed((0, 1), (1, 2)), row, *[timed((0, 1), (1, 2), (2, 3))] * 6]
    with pytest.raises(DataError, match=message):
        Series("ecg").learn(cells(rows))
    assert any(problem.row == 1 for problem in Series("ecg").check(cells(rows)))


@pytest.mark.parametrize("empty", [[], np.zeros((0, 2)), torch.zeros(0), "[]", " [] "])
def test_a_list_of_nothing_is_absent(empty):
    column = FORMS["lists"].copy()
    column[1] = empty
    assert taken(Series("ecg"), cells(column)).present.tolist() == [True, False, True, True]


@pytest.mark.parametrize("outlier", [9.97e36, -9999.0])
def test_a_bad_step_is_clipped_named_and_leaves_all_else_as_it_is(outlier):
    rows = np.random.default_rng(0).normal(size=(500, 50, 2))
    rows[3, 9] = 15.0  # a peak
    spoilt = rows.copy()
    spoilt[7, 20, 1] = outlier
    clean, kind = learned(Series("ecg"), cells(list(rows))), Series("ecg")
    flat = rows.reshape(-1, 2)
    assert (clean["mean"], clean["scale"]) == (flat.mean(axis=0).tolist(), flat.std(axis=0).tolist())
    state = learned(kind, cells(list(spoilt)))
    assert state["scale"] == pytest.approx(clean["scale"], rel=1e-3)
    values = kind.read(cells(list(spoilt)), state).take(np.arange(500)).values.numpy()
    assert values[7, 20, 1] == np.sign(outlier) * STEP_LIMIT
    assert values[3, 9] == pytest.approx(15.0, abs=0.5)
    spoilt[7, 20, 1] = rows[7, 20, 1]
    usual = kind.read(cells(list(spoilt)), clean).take(np.arange(500)).values.numpy()
    values[7, 20, 1] = usual[7, 20, 1]
    np.testing.assert_allclose(values, usual, atol=0.01)
    spoilt[7, 20, 1] = outlier
    problems = kind.check(cells(list(spoilt), first_row=100))
    assert [(problem.row, problem.level) for problem in problems] == [(107, "warning")]
    assert f"has the value {outlier:g}, far from all others" in problems[0].message


def test_any_number_that_is_read_stays_finite():
    values = taken(Series("ecg"), cells(ROWS), cells([[1e60, 1.0, 2.0]])).values
    assert values[0, 0] == STEP_LIMIT
    assert values.isfinite().all()


def test_steps_that_many_rows_have_are_no_outliers():
    rows = np.random.default_rng(0).normal(size=(100, 50))
    rows[:, 10] = 500.0
    state = learned(Series("ecg"), cells(list(rows)))
    assert state["scale"] == pytest.approx([rows.std()])
    assert Series("ecg").check(cells(list(rows))) == []


def test_rows_of_different_lengths_are_named_in_arrays_too():
    rows = [np.array([1.0, 2.0]), np.array([3.0])]  # as Parquet stores nested lists
    with pytest.raises(DataError, match="has rows of 1 and 2 numbers; give rows of equal length"):
        Series("ecg").learn(cells([objects(rows).to_numpy()]))
