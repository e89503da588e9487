"""Tabular data: numbers and categories with gaps, skewed scales, and errors that name what is refused."""

from __future__ import annotations

import datetime
import decimal
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.errors import ConfigurationError, DataError, DataWarning
from commlearn.kinds.base import Cells
from commlearn.kinds.numbers import LIMIT, learn_curve
from commlearn.kinds.tabular import Tabular
from commlearn.tables.table import read_table


def table(**columns) -> Cells:
    return Cells(pd.DataFrame({name: pd.Series(values) for name, values in columns.items()}))


def learned(kind: Tabular, cells: Cells) -> dict:
    return json.loads(json.dumps(kind.learn(cells), allow_nan=False))


def read(kind: Tabular, train: Cells, cells: Cells | None = None):
    return kind.read(train if cells is None else cells, learned(kind, train))


def values_of(column) -> np.ndarray:
    return column.take(np.arange(len(column))).values.numpy()


def test_numbers_come_first_and_categories_follow_as_codes():
    train = table(sex=["f", "m", None, "f"], hb=[1.0, 2.0, 3.0, np.nan], old=[True, False, None, True])
    column = read(Tabular(["sex", "hb", "old"]), train)
    assert column.spec == ("tabular", (1, 4, 4))
    values = values_of(column)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[:3, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    assert np.isnan(values[3, 0])
    assert values[:, 1].tolist() == [2, 3, 0, 2]  # 0 is missing
    assert values[:, 2].tolist() == [3, 2, 0, 3]


def test_unseen_categories_share_the_code_of_other():
    kind, train = Tabular("city"), table(city=["Oslo", "Rome"])
    with pytest.warns(DataWarning, match="city row 1: 'Bern' and 1 more rows: not among the learned"):
        values = values_of(read(kind, train, table(city=["Rome", "Bern", "Lima", "", None])))
    assert values[:, 0].tolist() == [3, 1, 1, 0, 0]


def test_rare_categories_count_as_other_beyond_the_most():
    kind = Tabular("city", max_categories=1)
    column = read(kind, table(city=["Oslo", "Rome", "Rome"]))
    assert column.spec.shape == (0, 3)
    assert values_of(column)[:, 0].tolist() == [1, 2, 2]


def test_a_record_is_absent_only_if_all_of_its_cells_are_missing():
    column = read(Tabular(["hb", "sex"]), table(hb=[1.0, None, None, 2.0], sex=["f", "m", None, None]))
    assert column.take(np.array([2, 0, 1])).present.tolist() == [False, True, True]
    assert column.take(np.array([0])).present.tolist() == [True]
    assert read(Tabular("hb"), table(hb=[1.0, 2.0])).take(np.array([0])).present is None


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 3], dtype="int64[pyarrow]"),
        pd.Series([1, None, 3], dtype=object),
        pd.Series([decimal.Decimal(1), None, decimal.Decimal(3)]),
        pd.Series([1, None, 3], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
    ],
)
def test_every_type_of_number_reads_alike(values):
    column = values_of(read(Tabular("x"), Cells(pd.DataFrame({"x": values}))))[:, 0]
    np.testing.assert_allclose(column, [-1, np.nan, 1])


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(["a", None, "b"]),
        pd.Series(["a", None, "b"], dtype=object),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series(["a", None, "b"], dtype="string"),
        pd.Series(["a", None, "b"]).astype(pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
    ],
)
def test_every_type_of_category_reads_alike(values):
    column = read(Tabular("x"), Cells(pd.DataFrame({"x": values})))
    assert column.spec.shape == (0, 4)
    assert values_of(column)[:, 0].tolist() == [2, 0, 3]


def test_numbers_can_be_named_categories_and_keep_their_name_across_types():
    kind = Tabular(["ward"], categorical=["ward"])
    state = learned(kind, table(ward=[3, 7]))
    for cells in (table(ward=[7.0, 3.0, None]), table(ward=["7", "3", None])):
        assert values_of(kind.read(cells, state))[:, 0].tolist() == [3, 2, 0]


WHOLE = {  # one column of categories, in every type it may have
    "integers": [1, 2, None],
    "floats": [1.0, 2.0, np.nan],
    "integers as text": ["1", "2", None],
    "floats as text": ["1.0", "2.0", ""],
    "decimals": [decimal.Decimal("1.0"), decimal.Decimal("2"), None],
    "booleans and text": [True, "2", None],
}


@pytest.mark.parametrize("learned_from", WHOLE)
@pytest.mark.parametrize("met_as", WHOLE)
@pytest.mark.filterwarnings("error")
def test_whole_numbers_are_one_category_in_every_type(learned_from, met_as):
    kind = Tabular("ward", categorical="ward")
    column = read(kind, table(ward=WHOLE[learned_from]), table(ward=WHOLE[met_as]))
    assert column.spec.shape == (0, 4)
    assert values_of(column)[:, 0].tolist() == [2, 3, 0]


def test_texts_that_no_number_is_written_as_stay_their_own_categories():
    texts = ["01", "1", "1.00", "1.5", "1.50", "-0", "1.0.0", "1e0", "01.0"]
    column = read(Tabular("code"), table(code=texts))
    assert column.spec.shape == (0, len(texts) + 2)
    assert len(set(values_of(column)[:, 0])) == len(texts)


@pytest.mark.filterwarnings("error")
def test_categories_of_a_file_are_those_of_a_frame(tmp_path):
    """A frame holds 1.0 as text or number; its CSV gives floats, or texts if one cell is not a number."""
    kind = Tabular(["ward", "bed"], categorical=["ward", "bed"])
    frames = {
        "texts": pd.DataFrame({"ward": ["1.0", "2.0", None], "bed": ["1", "2", "x"]}),
        "numbers": pd.DataFrame({"ward": [1.0, 2.0, None], "bed": [1.0, 2.0, "x"]}),
        "integers": pd.DataFrame({"ward": pd.array([1, 2, None], dtype="Int64"), "bed": [1, 2, "x"]}),
    }
    for name, frame in frames.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    tables = [Cells(frame) for frame in frames.values()]
    tables += [Cells(read_table(tmp_path / f"{name}.csv").frame) for name in frames]
    for train in tables:
        state = learned(kind, train)
        for cells in tables:
            assert values_of(kind.read(cells, state)).tolist() == [[2, 2], [3, 3], [0, 4]]


@pytest.mark.parametrize("cells", [[1, 2], [1.0, 2.0], ["1", "2"], ["1.0", "2.0"]])
@pytest.mark.filterwarnings("error")
def test_names_that_older_models_saved_are_met_in_every_type(cells):
    for names in (["1.0", "2.0"], ["1", "2"]):
        saved = {"numbers": [], "categories": [{"column": "ward", "names": names}]}
        column = Tabular("ward", categorical="ward").read(table(ward=cells), saved)
        assert values_of(column)[:, 0].tolist() == [2, 3]


def test_only_training_rows_decide_the_scale():
    kind, train = Tabular("x"), table(x=[0.0, 2.0])
    column = read(kind, train, table(x=[0.0, 2.0, 3.0, 1e9]))
    np.testing.assert_allclose(values_of(column)[:, 0], [-1, 1, 2, LIMIT])


def test_a_constant_column_gives_zero_and_never_nan():
    values = values_of(read(Tabular("x"), table(x=[1e9] * 5), table(x=[1e9, 1e9 + 1e7, -1e12, None])))[:, 0]
    assert values[0] == 0
    assert 0 < values[1] < LIMIT
    assert values[2] == -LIMIT
    assert np.isnan(values[3])


def test_a_skewed_column_follows_its_quantiles():
    rng = np.random.default_rng(0)
    skewed = np.exp(3 * rng.normal(size=2000))
    values = values_of(read(Tabular("x"), table(x=skewed)))[:, 0]
    assert abs((values**3).mean()) < 0.2  # no skew left
    assert abs(values.mean()) < 1e-3
    assert values.std() == pytest.approx(1, abs=1e-3)
    order = np.argsort(skewed)
    assert (np.diff(values[order]) >= 0).all()


def test_an_outlier_does_not_flatten_the_rest():
    values = values_of(read(Tabular("x"), table(x=[*np.linspace(0, 1, 200), 1e12])))[:, 0]
    assert np.ptp(values[:200]) > 2
    assert values.max() <= LIMIT


numbers = st.lists(
    st.floats(-1e150, 1e150) | st.just(float("nan")) | st.integers(-3, 3).map(float), min_size=1, max_size=60
)


@settings(max_examples=100, deadline=None)
@given(numbers, st.lists(st.floats(-1e150, 1e150), min_size=2, max_size=20))
def test_any_column_learns_a_finite_monotone_curve(train, test):
    knots, scores = learn_curve(np.array(train))
    if np.isnan(train).all():
        assert knots == []
        return
    assert (np.diff(knots) > 0).all()
    values = np.interp(np.sort(test), knots, scores)
    assert np.isfinite(values).all()
    assert (np.diff(values) >= -1e-12).all()  # except for rounding
    assert np.abs(values).max() <= LIMIT
    json.dumps([knots, scores], allow_nan=False)


def test_a_column_without_training_values_stays_missing():
    column = read(Tabular(["x", "y"]), table(x=[None, None], y=[1.0, 2.0]), table(x=[5.0], y=[1.0]))
    assert np.isnan(values_of(column)[0, 0])
    with pytest.raises(DataError, match="x: none of the training rows has a value"):
        Tabular("x").learn(table(x=[None, None]))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1.0, np.inf], "x row 11: inf is infinite"),
        ([1.0, 1e200], "too large"),
        ([1.0, "<5"], "mixes numbers with text such as '<5'"),
        ([[1.0], [2.0]], "holds lists; read them as a Series or a Vector"),
        ([1j, 2j], "complex"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "state forms"),
        ([datetime.date(2020, 1, 1)] * 2, "holds date cells such as '2020-01-01'; state forms"),
        ([datetime.time(1, 30)] * 2, "convert them to numbers, such as hours"),
        (pd.Series([[1.0], [2.0]], dtype=pd.ArrowDtype(pa.list_(pa.float64()))), "holds lists"),
    ],
)
def test_what_is_neither_number_nor_category_is_refused_and_checked(cells, message):
    frame = Cells(pd.DataFrame({"x": pd.Series(cells)}), first_row=10)
    with pytest.raises(DataError, match=message):
        Tabular("x").learn(frame)
    problems = Tabular("x").check(frame)
    assert [problem.level for problem in problems] == ["error"]
    assert message.split("row 11: ")[-1] in str(problems[0])


@pytest.mark.parametrize("dtype", [object, pd.ArrowDtype(pa.list_(pa.float64()))])
def test_lists_are_no_categories(dtype):
    cells = Cells(pd.DataFrame({"x": pd.Series([[1.0], [2.0]], dtype=dtype)}))
    with pytest.raises(DataError, match="a list is not a category"):
        Tabular("x", categorical="x").learn(cells)


def test_all_bad_rows_are_told_at_once_ten_by_name():
    kind, train = Tabular(["x", "y"]), table(x=[1.0, 2.0], y=[1.0, 2.0])
    bad = table(x=["low"] * 11 + ["3"], y=[np.inf] + [1.0] * 11)
    with pytest.raises(DataError) as caught:
        read(kind, train, bad)
    assert str(caught.value).startswith("x, y: 12 rows cannot be read")
    assert "x row 9: 'low' is not a number" in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert [str(problem) for problem in kind.check(table(x=[1.0, np.inf], y=[1.0, 2.0]))] == [
        "x row 1: inf is infinite or too large; give a number, or leave the cell empty"
    ]


def test_times_where_numbers_were_learned_are_refused():
    with pytest.raises(DataError, match="2020-01-01"):
        read(Tabular("x"), table(x=[1.0, 2.0]), table(x=pd.to_datetime(["2020-01-01"])))


@pytest.mark.parametrize("dtype", ["datetime64[ns]", "timedelta64[ns]", "datetime64[ns, UTC]", "period[D]"])
def test_a_column_of_no_time_at_all_is_empty(dtype):
    cells = table(x=[1.0, 2.0], seen=pd.Series([pd.NaT, pd.NaT], dtype=dtype))
    kind = Tabular(["x", "seen"])
    assert np.isnan(values_of(read(kind, cells))[:, 1]).all()
    assert [problem.message for problem in kind.check(cells)] == ["is empty in every row; leave it out"]


def test_check_warns_of_columns_that_tell_nothing():
    cells = table(
        same=[1.0] * 30,
        word=["a"] * 30,
        none=[None] * 30,
        fine=[0.0, 1.0] * 15,
        zip=[f"{row % 7:05}" for row in range(30)],  # codes
        size=[f"{row % 7}.5" for row in range(30)],
        name=[f"person {row}" for row in range(30)],
    )
    problems = Tabular(list(cells.frame.columns)).check(cells)
    assert {problem.level for problem in problems} == {"warning"}
    messages = {problem.column: problem.message for problem in problems}
    assert set(messages) == {"same", "word", "none", "size", "name"}
    assert "constant" in messages["same"]
    assert "constant" in messages["word"]
    assert "empty in every row" in messages["none"]
    assert "numbers as text" in messages["size"]
    assert "like an identifier" in messages["name"]


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(ConfigurationError, match="'crq', did you mean 'crp'"):
        Tabular(["hb", "crp"], categorical=["crq"])
    with pytest.raises(ConfigurationError, match="'hb' more than once"):
        Tabular(["hb", "hb"])
    with pytest.raises(ConfigurationError, match="at least one column"):
        Tabular([])
    with pytest.raises(ConfigurationError, match="max_categories is 2.5; give at least 1"):
        Tabular(["hb"], max_categories=2.5)
    assert Tabular(["hb"]) == Tabular("hb")
    assert hash(Tabular(["hb"])) == hash(Tabular("hb"))


def test_truth_values_are_the_same_as_text():
    train = table(old=["TRUE", "FALSE", None, "TRUE"])  # as read from a CSV with gaps
    texts = values_of(read(Tabular("old"), train, table(old=["true", "FALSE"])))
    truths = values_of(read(Tabular("old"), train, table(old=[True, False])))
    np.testing.assert_array_equal(texts, truths)
    assert len(np.unique(truths)) == 2
    saved = {"numbers": [], "categories": [{"column": "old", "names": ["FALSE", "TRUE"]}]}
    np.testing.assert_array_equal(values_of(Tabular("old").read(train, saved)).ravel(), [3, 2, 0, 3])


def test_check_warns_of_numbers_that_a_mark_makes_categories():
    (problem,) = Tabular("age").check(table(age=[*(str(row % 40) for row in range(90)), "n.a."]))
    assert "numbers except for 'n.a.'" in problem.message
    assert Tabular("stage").check(table(stage=["1", "2", "3", "unknown"] * 9)) == []
