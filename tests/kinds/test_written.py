"""Cells as people write them become numbers and categories, by rules learned from training rows."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from commlearn.errors import ConfigurationError, DataError, DataWarning
from commlearn.kinds.base import Cells, check_learned
from commlearn.kinds.rows import is_empty
from commlearn.kinds.series import Series
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.written import FORMS, amount_of, moment_of


def parts_of(form, cells, later=None):
    """Learn a form from `cells`; return what it reads from them, or from `later` if given."""
    learned = json.loads(json.dumps(FORMS[form].learn(pd.Series(cells))))
    return FORMS[form].read(pd.Series(cells if later is None else later), learned)


@pytest.mark.parametrize(
    ("cell", "order", "moment"),
    [
        ("2024-03-01", "", datetime(2024, 3, 1)),
        ("2024-03-01T08:15:30.5Z", "", datetime(2024, 3, 1, 8, 15)),
        ("31.12.2023", "", datetime(2023, 12, 31)),
        ("12/31/99 11:05 PM", "", datetime(1999, 12, 31, 23, 5)),
        ("5/6/2024", "day first", datetime(2024, 6, 5)),
        ("5/6/2024", "month first", datetime(2024, 5, 6)),
        ("5/6/2024", "", None),
        ("3. März 2024", "", datetime(2024, 3, 3)),
        ("March 3rd, 2024", "", datetime(2024, 3, 3)),
        ("5th March 2024", "", datetime(2024, 3, 5)),
        (pd.Timestamp("2024-01-02 03:00", tz="Europe/Berlin"), "", datetime(2024, 1, 2, 3)),
        ("30.2.2024", "day first", None),
        ("3 of 2024", "", None),
        (20240301, "", None),
    ],
)
def test_dates_are_read_as_people_write_them(cell, order, moment):
    assert moment_of(cell, order) == moment


def test_dates_become_age_year_and_places_on_circles():
    days = pd.date_range("2022-12-30", periods=40, freq="31D")
    parts = parts_of("date", [str(day.date()) for day in days])
    assert list(parts.numbers) == ["age", "year", "month sin", "month cos", "weekday sin", "weekday cos"]
    assert parts.numbers["age"][0] == (days[-1] - days[0]).days
    angles = np.arctan2(parts.numbers["month sin"], parts.numbers["month cos"]) / (2 * np.pi)
    assert np.allclose((angles * 12).round() % 12, days.month - 1)
    later = parts_of("date", [str(day.date()) for day in days], ["2030-01-01", None, "x"])
    assert later.numbers["age"][0] < 0  # newer than any training row
    assert np.isnan(later.numbers["age"][1:]).all()
    assert list(later.wrong) == [2]


def test_one_moment_in_two_time_zones_has_two_local_times():
    berlin = pd.date_range("2024-03-01 06:00", periods=8, freq="31h", tz="Europe/Berlin")
    zoned = [moment for start in berlin for moment in (start, start.tz_convert("America/New_York"))]
    local = [moment.tz_localize(None) for moment in zoned]
    numbers, expected = parts_of("date", zoned).numbers, parts_of("date", local).numbers
    assert "hour sin" in expected
    for name, values in expected.items():
        np.testing.assert_array_equal(numbers[name], values)


def test_the_order_of_day_and_month_is_that_of_all_cells():
    cells = ["1/2/2024", "3/4/2024", "3/25/2024"]
    assert FORMS["date"].learn(pd.Series(cells))["order"] == "month first"
    later = parts_of("date", cells, ["2/1/2024"])
    assert later.numbers["age"][0] == (datetime(2024, 3, 25) - datetime(2024, 2, 1)).days


def test_training_rows_that_show_no_order_of_day_and_month_decide_none():
    for cells in (["2024-01-31", "2024-05-03"], list(pd.date_range("2024-01-31", periods=3))):
        later = parts_of("date", cells, ["3/4/2024", "31/1/2024", "3.4.2024", "4/4/2024"])
        assert "is ambiguous" in later.wrong.pop(0)
        assert not later.wrong
        march, april = (parts_of("date", cells, [day]).numbers["age"] for day in ("2024-03-04", "2024-04-03"))
        assert later.numbers["age"][2] == april != march


@pytest.mark.parametrize(
    ("cell", "number", "unit"),
    [
        ("12.50 EUR", 12.5, "EUR"),
        ("€12,50", 12.5, "EUR"),
        ("EUR 1.299,00", 1299, "EUR"),
        ("$1,299.00", 1299, "USD"),
        ("1'299 CHF", 1299, "CHF"),
        ("1.299.000 €", 1_299_000, "EUR"),
        ("₹1,25,000.50", 125_000.5, "INR"),
        ("3kg", 3, "kg"),
        ("-4.5 °C", -4.5, "°C"),
        ("45%", 45, "%"),
        ("7", 7, ""),
        (7.5, 7.5, ""),
        ("1e-05", 1e-05, ""),
        ("-1,5E3", -1500, ""),
        ("1.5e+20", 1.5e20, ""),
    ],
)
def test_amounts_are_read_with_their_unit(cell, number, unit):
    amount = amount_of(cell)
    assert (amount.number("."), amount.unit) == (number, unit)


@pytest.mark.parametrize(
    "cell",
    [
        *("A12", "3 of 4", "12 / 5", "ab 12", "", "1e5 m", True, "12 kg net"),
        *("192.168.0.1", "2.10.3", "1,2,3", "31.4.2024", "1..2", "1,234.567,8"),  # not groups of thousands
    ],
)
def test_what_is_no_amount_is_none(cell):
    assert amount_of(cell) is None


@pytest.mark.parametrize(
    ("form", "cells"), [("amount", [1e-05, 2.5, None, 1.5e20]), ("yes-no", [1.0, None, 0.0])]
)
def test_numbers_are_read_as_text_files_write_them(form, cells):
    numbers = pd.Series(cells, dtype=float)
    for texts in (numbers.astype(str), numbers.astype(str).str.replace(".", ",")):
        written = parts_of(form, texts.mask(numbers.isna(), None).tolist())
        assert not written.wrong
        (as_text,), (as_numbers,) = (
            part.numbers.values() for part in (written, parts_of(form, numbers.tolist()))
        )
        np.testing.assert_array_equal(as_text, as_numbers)


def test_different_currencies_are_never_in_one_column_of_numbers():
    parts = parts_of("amount", ["10 EUR", "€ 20", "10 $", "40 USD", "30 USD", "30 €", None])
    assert parts.numbers["EUR"].tolist()[:2] == [10, 20]
    assert np.isnan(parts.numbers["EUR"][2:5]).all()
    assert parts.numbers["USD"][2:5].tolist() == [10, 40, 30]


def test_units_of_one_quantity_are_converted_and_the_sign_of_fractions_follows_the_currency():
    dear = parts_of("amount", ["999 €", "1.299 €", "2,450 €"])  # no price has three decimals
    assert dear.numbers["EUR"].tolist() == [999, 1299, 2450]
    weights = parts_of("amount", ["500 g", "2 kg", "3 kg", "1 kg", "750 g", "50 g"])
    assert np.allclose(
        weights.numbers["g"] if "g" in weights.numbers else weights.numbers["kg"] * 1000,
        [500, 2000, 3000, 1000, 750, 50],
    )
    prices = ["€ 1.250", "€ 12,50", "€ 8,00", "$1,250", "$12.50", "$8.00"]
    parts = parts_of("amount", prices)
    assert parts.numbers["EUR"][:3].tolist() == [1250, 12.5, 8]
    assert parts.numbers["USD"][3:].tolist() == [1250, 12.5, 8]


def test_a_unit_that_training_rows_have_not_is_empty_and_said():
    parts = parts_of("amount", ["10 EUR", "20 EUR", "5 EUR"], ["7 EUR", "7 CHF", "7"])
    assert parts.numbers["EUR"][0] == 7
    assert np.isnan(parts.numbers["EUR"][1:]).all()
    assert set(parts.other) == {1, 2}
    assert not parts.wrong


def test_answers_ratings_labels_and_objects():
    answers = parts_of("yes-no", ["Yes", "no", " NEIN", "✓", None, "maybe"])
    assert answers.numbers[""][:4].tolist() == [1, 0, 0, 1]
    assert list(answers.wrong) == [5]
    assert parts_of("rating", ["5/5", "1 / 4", "4,5 of 5"]).numbers[""].tolist() == [1, 0.25, 0.9]
    labels = parts_of(
        "labels", ["red;blue", "red", ["blue", "red"], None, "blue ; red"] * 2, ["red", "pink", []]
    )
    assert {name: part.tolist() for name, part in labels.numbers.items()} == {
        "blue": [0, 0, 0],
        "red": [1, 0, 0],
    }
    assert list(labels.other) == [1]
    written = parts_of("labels", ["['red', 'sea blue']", "['sea blue' 'red']", '["red"]'] * 3)
    assert [*written.numbers] == ["red", "sea blue"]
    objects = parts_of("json", [{"w": 4, "c": {"d": "x"}}, '{"w": 5}', {"w": 6.5, "c": {"d": "y"}}] * 3)
    assert objects.numbers["w"][:3].tolist() == [4, 5, 6.5]
    assert objects.categories["c.d"][:3].tolist() == ["x", None, "y"]
    assert parts_of("json", ['{"w": 1}'] * 3, ['{"w": "big"}']).wrong[0].startswith("w is 'big'")


CELLS = {
    "bought": ["2024-01-31", "2024-03-05 10:00:00", "2023-07-01", None] * 5,
    "price": ["1.200 EUR", "15,50 EUR", "9,00 EUR", "$ 12.75"] * 5,
    "tags": ["a;b", "a", "b;c", "c"] * 5,
    "sold": ["yes", "no", "NO", None] * 5,
}
FORMED = Tabular([*CELLS], forms={"bought": "date", "price": "amount", "tags": "labels", "sold": "yes-no"})


def test_a_table_of_forms_is_learned_from_training_rows_and_read_alike_later():
    cells = Cells(pd.DataFrame(CELLS))
    state = json.loads(json.dumps(FORMED.learn(cells.take(np.arange(8)))))
    column = FORMED.read(cells, state)
    assert column.spec.shape == (len(state["numbers"]),)
    one = Cells(pd.DataFrame(CELLS)[1:2].reset_index(drop=True))
    assert np.array_equal(FORMED.read(one, state).values, column.values[1:2], equal_nan=True)
    changed = pd.DataFrame(CELLS)
    changed.loc[8:, "price"] = "3 CHF"  # not training rows
    changed.loc[8:, "bought"] = "2031-12-12"
    assert json.loads(json.dumps(FORMED.learn(Cells(changed).take(np.arange(8))))) == state


def test_cells_that_a_form_cannot_read_are_named_with_their_row():
    state = FORMED.learn(Cells(pd.DataFrame(CELLS)))
    wrong = pd.DataFrame(CELLS)
    wrong.loc[3, "bought"], wrong.loc[5, "sold"] = "tomorrow", "perhaps"
    with pytest.raises(DataError, match="(?s)bought row 3: 'tomorrow' is not a date.*sold row 5: 'perhaps'"):
        FORMED.read(Cells(wrong), state)
    assert {problem.row for problem in FORMED.check(Cells(wrong))} == {3, 5}
    strange = pd.DataFrame(CELLS).assign(price="4 GBP")
    with pytest.warns(
        DataWarning, match="'4 GBP' has a unit that too few training rows have; read as empty, as are 19 more"
    ):
        FORMED.read(Cells(strange), state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"forms": {"prize": "amount"}}, "did you mean 'price'"),
        ({"forms": {"price": "amounts"}}, "did you mean 'amount'"),
        ({"forms": {"price": ["amount"]}}, "Unknown form"),
        ({"forms": {"price": "amount"}, "categorical": "price"}, "in categorical and in forms"),
        ({"forms": ["price"]}, "column: form"),
    ],
)
def test_forms_that_there_are_none_of_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=f"(?i){message}"):
        Tabular(["price"], **settings)


def test_steps_with_times_are_a_series_in_their_order():
    cells = ['[{"t": 2, "v": 0.5}, {"t": 1, "v": 1.5}]', [{"t": 0, "v": 3.0}], None]
    kind = Series("x")
    frame = Cells(pd.DataFrame({"x": cells}))
    state = kind.learn(frame)
    assert state["channels"] == 1
    plain = kind.read(Cells(pd.DataFrame({"x": [[1.5, 0.5], [3.0], None]})), state)
    assert np.allclose(kind.read(frame, state).steps, plain.steps)
    with pytest.raises(DataError, match="step 1 has no time 't'"):
        kind.learn(Cells(pd.DataFrame({"x": [[{"t": 1, "v": 2}, {"v": 3}]]})))


def test_several_numbers_in_a_cell_are_a_column_each():
    parts = parts_of("numbers", ["139/85", "120 / 80", None, "12", "1/2/3", "n/a"])
    assert list(parts.numbers) == ["1", "2"]
    assert parts.numbers["2"][:2].tolist() == [85, 80]
    assert np.isnan(parts.numbers["1"][2:]).all()
    assert sorted(parts.wrong) == [3, 4, 5]
    assert "row of 2 numbers such as 12/12" in parts.wrong[3]
    places = parts_of("numbers", ["(48.137, 11.5)", "-52.52,13.4"])
    assert places.numbers["1"].tolist() == [48.137, -52.52]


HUGE = 10**400


@pytest.mark.parametrize(
    ("form", "usual", "bad"),
    [
        ("amount", ["5 EUR", "7 EUR"], f"{HUGE} EUR"),
        ("amount", [5.0, 7.5], float("inf")),
        ("amount", [5, 7], HUGE),
        ("amount", ["5", "7"], "9" * 5000),
        ("json", ['{"a": 1}', '{"a": 2}'], '{"a": 1e999}'),
        ("json", ['{"a": 1}', '{"a": 2}'], f'{{"a": {"9" * 5000}}}'),
        ("json", [{"a": 1}, {"a": 2}], {"a": HUGE}),
        ("numbers", ["1/2", "3/4"], f"1/{HUGE}"),
        ("rating", ["1/5", "2/5"], f"1/{HUGE}"),
        ("rating", ["1/5", "2/5"], f"1/{'9' * 5000}"),
        ("yes-no", ["yes", "no"], float("inf")),
        ("yes-no", ["yes", "no"], 10**5000),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_infinite_and_huge_numbers_are_named_and_never_learned(form, usual, bad):
    column = pd.Series(usual * 5, dtype=object)
    kind = Tabular("x", forms={"x": form})
    state = kind.learn(Cells(pd.DataFrame({"x": column})))
    check_learned(state)
    column = column.copy()
    column[3] = bad
    cells = Cells(pd.DataFrame({"x": column}))
    for attempt in (kind.learn, lambda spoilt: kind.read(spoilt, state)):
        with pytest.raises(DataError, match="x row 3: "):
            attempt(cells)
    assert [problem.row for problem in kind.check(cells)] == [3]


def test_an_ambiguous_date_says_what_to_state():
    cells = Cells(pd.DataFrame({"d": ["1/2/2024", "3/4/2024", "tomorrow"]}))
    messages = [problem.message for problem in Tabular("d", forms={"d": "date"}).check(cells)]
    assert messages[0] == ("'1/2/2024' is ambiguous; set its form to date-dmy or date-mdy")
    assert messages[2].startswith("'tomorrow' is not a date")
    assert Tabular("d", forms={"d": "date-dmy"}).check(cells)[0].row == 2


@pytest.mark.parametrize("cell", [1.125, 2.5, 1299, 1e-05, 1.5e20, np.float32(1.125), np.int64(1125)])
def test_numbers_among_amounts_with_a_comma_stay_what_they_are(cell):
    parts = parts_of("amount", ["1,50", "2,25", "3,75"] * 3, [cell])
    assert parts.numbers["without unit"].tolist() == [float(cell)]
    mixed = parts_of("amount", [*["1,50", "2,25", "3,75"] * 3, cell])
    assert mixed.numbers["without unit"][-1] == float(cell)


def test_numbers_of_any_type_are_read_in_objects():
    cells = [{"w": np.int64(4), "oak": np.bool_(True), "x": np.float32(0.5)}] * 3
    parts = FORMS["json"].read(pd.Series(cells), FORMS["json"].learn(pd.Series(cells)))
    assert {name: part.tolist() for name, part in parts.numbers.items()} == {
        "w": [4] * 3,
        "oak": [1] * 3,
        "x": [0.5] * 3,
    }


@pytest.mark.parametrize("cell", [np.float32("nan"), np.float64("nan"), np.datetime64("NaT"), pd.NaT, None])
def test_what_is_empty_of_any_type_is_empty(cell):
    assert is_empty(cell)


def test_a_form_that_yields_nothing_is_named():
    cells = Cells(pd.DataFrame({"n": np.arange(9.0), "tags": [f"tag{row}" for row in range(9)]}))
    kind = Tabular(["n", "tags"], forms={"tags": "labels"})
    (problem,) = kind.check(cells)
    assert (problem.column, problem.level) == ("tags", "warning")
    assert "no label or key occurs in 3 training rows" in problem.message
    assert kind.notes(kind.learn(cells)) == [f"tags {problem.message}"]
    fine = Cells(cells.frame.assign(tags=["a", "b", "a;b"] * 3))
    assert kind.notes(kind.learn(fine)) == []
    assert kind.check(fine) == []


def test_dates_outside_of_the_years_of_python_are_named():
    dates = np.array(["2024-01-01", "2023-05-01", "12024-10-14", "-0044-03-15"], "datetime64[s]")
    wrong = parts_of("date", dates).wrong
    assert sorted(wrong) == [2, 3]
    assert all("is not a date that can be read" in message for message in wrong.values())


def test_decimals_are_amounts():
    assert amount_of(Decimal("1.299")) == amount_of(1.299)
