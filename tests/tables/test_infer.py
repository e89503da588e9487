"""Guesses: the kind of every column, the role of some, and the written file, which reads back the same."""

from __future__ import annotations

import argparse
import datetime
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PIL

from commlearn.cli.data import init
from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.audio import Audio
from commlearn.kinds.image import Image
from commlearn.kinds.series import Series
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.text import Text
from commlearn.kinds.vector import Vector
from commlearn.tables.infer import infer
from commlearn.tables.leaks import possible_answers, warn_of_answers
from commlearn.tables.schema import Schema
from commlearn.tables.table import Table, read_table

N = 60
RNG = np.random.default_rng(0)
SENTENCES = [
    " ".join(RNG.choice(["a", "dog", "ran", "far", "off", "then"], 9)) + f" {row}" for row in range(N)
]
NUMBERS = RNG.normal(size=N)


def guess(targets=(), **columns):
    return infer(read_table(columns), targets)


def roles(inferred):
    return {guess.name: guess.role for guess in inferred.guesses}


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([f"img/{row}.jpg" for row in range(N)], Image("x")),
        ([f"{row}.PNG" for row in range(N - 3)] + [None] * 3, Image("x")),
        ([PIL.new("L", (4, 4))] * N, Image("x")),
        (RNG.integers(0, 255, (N, 8, 8, 3), dtype=np.uint8), Image("x")),
        (list(RNG.integers(0, 255, (N, 8, 8), dtype=np.uint8)), Image("x")),
        ([b"\x89PNG\r\n"] * N, Image("x")),
        ([{"bytes": b"\xff\xd8\xff", "path": None}] * N, Image("x")),
        ([{"bytes": None, "path": "a.png"}] * N, Image("x")),
        ([f"{row}.wav" for row in range(N)], Audio("x")),
        ([b"RIFF\x24\x00\x00\x00WAVEfmt "] * N, Audio("x")),
        (SENTENCES, Text("x")),
        (
            ["a long question about what is seen?", "what colour is the shape here?"] * 15 + SENTENCES[:30],
            Text("x"),
        ),
        ([f"words {row}" for row in range(N)], Text("x")),
        ([f"{row} rooms" for row in range(N)], Tabular(["x"], forms={"x": "amount"})),
        (NUMBERS, Tabular(["x"])),
        ([True, False] * 30, Tabular(["x"])),
        (["red", "blue", "green"] * 20, Tabular(["x"])),
        (["never worked in her life", "works now and then only"] * 30, Tabular(["x"])),
        (pd.Categorical(["red", "blue", None] * 20), Tabular(["x"])),
        (RNG.normal(size=(N, 16)), Vector("x")),
        ([[1.0, 2.0, 3.0]] * N, Vector("x")),
        (["[1, 2, 3]"] * N, Vector("x")),
        ([[1.0] * (1 + row % 4) for row in range(N)], Series("x")),
        ([str([1.0] * (1 + row % 4)) for row in range(N)], Series("x")),
        ([RNG.normal(size=(5 + row % 3, 2)) for row in range(N)], Series("x")),
    ],
)
def test_cells_tell_the_kind(cells, kind):
    assert list(guess(x=cells).schema.modalities.values()) == [kind]


def test_arrays_in_files_are_opened(tmp_path):
    for row in range(4):
        np.save(tmp_path / f"v{row}.npy", np.zeros(5))
        np.save(tmp_path / f"s{row}.npy", np.zeros((row + 2, 3)))
    table = Table(
        pd.DataFrame({"v": [f"v{r}.npy" for r in range(4)], "s": [f"s{r}.npy" for r in range(4)]}), tmp_path
    )
    assert infer(table).schema.modalities == {"v": Vector("v"), "s": Series("s")}


def test_lists_of_parquet_tell_the_kind(tmp_path):
    frame = pd.DataFrame(
        {"v": [[1.0, 2.0]] * 9, "s": [[1.0] * (1 + r % 3) for r in range(9)], "t": [["a", "b"]] * 9}
    )
    frame["n"] = [[[1.0, 2.0]] * (1 + r % 3) for r in range(9)]
    frame.to_parquet(tmp_path / "t.parquet")
    inferred = infer(read_table(tmp_path / "t.parquet"))
    assert inferred.schema.modalities == {"v": Vector("v"), "s": Series("s"), "n": Series("n")}
    assert roles(inferred)["t"] == "unused"  # the same labels in every cell


def test_numbers_and_categories_become_one_table_and_numbered_columns_a_vector():
    runs = {f"e{number}": RNG.normal(size=N) for number in reversed(range(12))}
    few = {f"q{number}": RNG.normal(size=N) for number in range(3)}
    modalities = guess(hb=NUMBERS, sex=["f", "m"] * 30, **runs, **few).schema.modalities
    assert modalities["e"] == Vector([f"e{number}" for number in range(12)])
    assert modalities["table"] == Tabular(["hb", "sex", "q0", "q1", "q2"])


@pytest.mark.parametrize(
    ("name", "cells", "role"),
    [
        ("case_id", [f"c{row}" for row in range(N)], "id"),
        ("Unnamed: 0", list(range(N)), "id"),
        ("userId", RNG.permutation(10**6)[:N].tolist(), "id"),
        ("patient", [f"p{row // 3}" for row in range(N)], "group"),
        ("subject_id", [row // 3 for row in range(N)], "group"),
        ("userAge", [row // 3 for row in range(N)], "modality"),
        ("split", ["train", "test"] * 30, "split"),
        ("part", ["Train", "dev", "TEST"] * 20, "split"),
        ("phase", ["train", "test"] * 30, "split"),
        ("way", ["train", "training"] * 30, "modality"),
        ("split", ["left", "right"] * 30, "modality"),
        ("label", ["x", "y"] * 30, "target"),
        ("y", [0, 1, 2] * 20, "target"),
        ("targetValue", NUMBERS, "target"),
        ("class", [["a"], ["a", "b"]] * 30, "target"),
        ("label", SENTENCES, "modality"),
        ("city", ["Rome", "Oslo"] * 30, "modality"),
        ("code", [f"Q{row}" for row in range(N - 1)] + ["Q0"], "unused"),
        ("constant", [1.0] * N, "unused"),
        ("same", ["x"] * N, "unused"),
        ("empty", [None] * N, "unused"),
        ("when", [pd.Timestamp("2020")] * N, "unused"),
        ("blob", [b"??"] * N, "unused"),
        ("paths", [f"{row}.npy" for row in range(N)], "unused"),
    ],
)
def test_names_and_values_tell_the_role(name, cells, role):
    inferred = guess(**{"emb": RNG.normal(size=(N, 3)), name: cells})
    guesses = [entry for entry in inferred.guesses if entry.name == name or name in str(entry.value)]
    assert [entry.role for entry in guesses] == [role]
    assert guesses[0].reason


def test_one_id_one_group_one_split():
    columns = {"id": [f"a{r}" for r in range(N)], "key": [f"b{r}" for r in range(N)], "x": NUMBERS}
    inferred = guess(**columns)
    assert inferred.schema.id == "id"
    assert roles(inferred)["key"] == "unused"


def test_a_named_target_is_one_whatever_it_looks_like():
    columns = {"note": SENTENCES, "age": NUMBERS, "city": ["Rome", "Oslo"] * 30, "tags": [["a"]] * N}
    assert guess(("age", "city", "tags"), **columns).schema.targets == {
        "age": "number",
        "city": "class",
        "tags": "multilabel",
    }
    with pytest.raises(DataError, match="'aeg', did you mean 'age'"):
        guess(("aeg",), **columns)


def test_names_that_a_schema_refuses_are_mended():
    columns = {"type": SENTENCES, "my text!": SENTENCES, "my text?": SENTENCES, "§": SENTENCES}
    modalities = guess(**columns).schema.modalities
    assert list(modalities) == ["type_text", "my_text", "my_text_text", "text"]
    assert [kind.column for kind in modalities.values()] == list(columns)


def test_a_table_without_any_modality_is_refused_with_reasons():
    with pytest.raises(DataError, match=r"No column looks like a modality \(same: every cell is 'x'\)"):
        guess(same=["x"] * 5)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=10).filter(
            lambda name: name != "targets"  # a parameter of `guess`
        ),
        st.sampled_from(
            [SENTENCES, NUMBERS.tolist(), ["a", "b"] * 30, list(range(N)), [[1.0, 2.0]] * N, ["x"] * N]
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=80, deadline=None)
def test_what_is_written_reads_back_as_the_schema(columns):
    try:
        inferred = guess(**columns)
    except DataError as problem:
        assert "No column looks like a modality" in str(problem)  # noqa: PT017
        return
    text = inferred.to_yaml("films.csv")
    assert Schema.from_yaml(text) == inferred.schema
    assert all(" ".join(entry.reason.split()) in text for entry in inferred.guesses)


def run(table, *arguments):
    parser = argparse.ArgumentParser()
    init.add_arguments(parser)
    return init.run(parser.parse_args([str(table), *arguments]))


def test_the_command_writes_a_schema_with_reasons(tmp_path, capsys):
    table = tmp_path / "films.csv"
    pd.DataFrame({"note": SENTENCES, "age": NUMBERS, "label": ["x", "y"] * 30}).to_csv(table, index=False)
    out = tmp_path / "deep" / "films.yaml"
    assert run(table, "-o", str(out)) == 0
    text = out.read_text()
    assert "# Guessed from films.csv" in text
    assert "words on average" in text
    assert "Only one modality" not in text
    assert Schema.from_yaml(out).targets == {"label": "class"}
    assert "commlearn check" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match="--overwrite"):
        run(table, "-o", str(out))
    assert run(table, "-o", str(out), "--overwrite", "--json", "--target", "age,label") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["schema"]["targets"] == {"age": "number", "label": "class"}
    assert {entry["role"] for entry in values["guesses"]} == {"modality", "target"}


def test_the_schema_of_a_table_at_a_url_or_with_an_odd_name_can_be_read(tmp_path):
    frame, out = pd.DataFrame({"age": NUMBERS, "label": ["x", "y"] * 30}), tmp_path / "s.yaml"
    frame.to_parquet(tmp_path / "t.parquet")
    url = (tmp_path / "t.parquet").as_uri()
    assert run(url, "-o", str(out)) == 0
    assert f"table: {url}\n" in out.read_text()
    assert "# Only one modality: " in out.read_text()
    text = infer(read_table(frame)).to_yaml("two\nlines.csv")
    assert Schema.from_yaml(text).targets == {"label": "class"}


@pytest.mark.parametrize("ids", [[*range(39), 4], [*(f"case{row}" for row in range(39)), "case4"]])
def test_a_column_named_id_with_a_mistake_is_still_the_id(ids):
    table = pd.DataFrame({"id": ids, "v": np.linspace(0, 1, 40)})
    inferred = infer(read_table(table))
    assert inferred.schema.id == "id"
    assert any("1 of 40 rows repeat an id" in guess.reason for guess in inferred.guesses)
    table["id"] = np.repeat(np.arange(20), 2)
    assert infer(read_table(table)).schema.id is None


@pytest.mark.parametrize(
    ("cells", "way_out"),
    [
        ([f"{1 + row % 12}/{1 + row % 11}/2024" for row in range(N)], "date-dmy or date-mdy"),
        (
            [f"{1 + row % 12}/{1 + row % 11}/{2000 + row % 20}" for row in range(N)] * 2,
            "date-dmy or date-mdy",
        ),
        (
            [f"2024-02-{1 + row % 28:02d}" for row in range(N - 5)] + ["soon", "later"] * 2 + ["soon"],
            "mostly dates, except cells such as 'soon', 'later'; correct or empty these",
        ),
        ([*(f"{row}.5" for row in range(N)), *["low"] * 7], "mostly numbers, except cells such as 'low'"),
        ([*(f"{row} kg" for row in range(N)), *["low"] * 7], "mostly numbers, except cells such as 'low'"),
        ([datetime.date(2024, 1, 1)] * N, "do not vary"),
        ([datetime.timedelta(hours=row) for row in range(N)], "times without a date"),
        ([f"sounds/{row}.mp3" for row in range(N)], "convert them"),
        ([f"https://example.org/{row}.jpg?w=9" for row in range(N)], "an image"),
        ([f"https://example.org/{row}" for row in range(N)], "are not downloaded"),
        ([5 if row % 2 else "abc" for row in range(N)], "mixes numbers with text such as 'abc'"),
        ([[row, "a"] if row % 2 else 5 for row in range(N)], "lists of labels"),
        ([np.array([f"a{row}", f"b{row}"], dtype=object) for row in range(N)], "lists of labels"),
        ([f"[0.{row} None]" for row in range(N)], "written as JSON"),
        (RNG.normal(size=(N, 3, 8, 8)), "channels last"),
        ([{"x": 1}] * N, "cells of type dict"),
        (NUMBERS + 1j, "real and imaginary"),
    ],
)
def test_what_is_not_read_says_why(cells, way_out):
    inferred = guess(emb=RNG.normal(size=(len(cells), 3)), when=cells)
    (of_when,) = [entry for entry in inferred.guesses if entry.name == "when"]
    if way_out == "an image":
        assert of_when.value == Image("when")
        return
    assert of_when.role == "unused"
    assert way_out in of_when.reason


@pytest.mark.parametrize("name", ["x", "split"])
@pytest.mark.parametrize("cells", [["a red chair", "an old table"], [1, 2.5]])
def test_a_cell_that_nothing_can_hash_stops_no_guess(name, cells):
    mixed = pd.Series([cells[0], [1], *cells * 500], dtype=object)  # row 1 is not in the sample
    inferred = infer(read_table(pd.DataFrame({"emb": list(RNG.normal(size=(1002, 3))), name: mixed})))
    assert name in [guess.name for guess in inferred.guesses] + [*inferred.schema.columns()]


def test_what_only_names_a_row_or_a_thing_is_no_number():
    columns = {
        "case_id": [f"c{row}" for row in range(N)],
        "invoice_no": [9000 + row * 7 for row in range(N)],
        "order_id": [400 + row // 2 for row in range(N)],
        "store_id": [row % 4 for row in range(N)],
        "fold": [row % 5 for row in range(N)],
        "split": ["train", "holdout"] * 30,
        "number_of_rooms": [1 + row % 7 for row in range(N)],
        "weight": NUMBERS,
    }
    inferred = guess(**columns)
    expected = Tabular(["store_id", "number_of_rooms", "weight"], categorical=["store_id"])
    assert inferred.schema.modalities == {"table": expected}
    assert Schema.from_yaml(inferred.to_yaml()) == inferred.schema
    assert inferred.schema.id == "case_id"
    reasons = {entry.name: entry.reason for entry in inferred.guesses if entry.role == "unused"}
    assert reasons.keys() == {"invoice_no", "order_id", "fold", "split"}
    assert "holdout" in reasons["split"]


def test_the_type_of_a_named_target_follows_its_values():
    columns = {
        "tags": ["drama; action", "comedy", "comedy | drama"] * 20,
        "listed": ['["drama"]', '["comedy", "drama"]'] * 30,
        "price": (np.arange(N) % 12 + 0.5).tolist(),
        "stars": [1.0, 2.5, 4.0] * 20,
        "text": [f"{value:.3f}" for value in NUMBERS],
        "rent": [f"{1000 + row:,} €" for row in range(N)],
        "load": ["1 kg", "2 kg", "3 kg"] * 20,
    }
    assert guess([*columns], x=NUMBERS, **columns).schema.targets == {
        "tags": "multilabel",
        "listed": "multilabel",
        "price": "number",
        "stars": "class",
        "text": "number",
        "rent": "number",
        "load": "class",
    }


def test_columns_with_gaps_are_no_vector_and_lists_with_gaps_are_series():
    runs = {f"q{number}": NUMBERS.copy() for number in range(9)}
    runs["q3"][5] = np.nan
    lists = [[1.0, np.nan if row % 4 == 0 else 2.0, float(row)] for row in range(N)]
    modalities = guess(ecg=lists, **runs).schema.modalities
    assert modalities == {"ecg": Series("ecg"), "table": Tabular(list(runs))}


def test_decimals_and_structs_of_arrow_are_read():
    path = pa.array([{"bytes": None, "path": f"{row}.png"} for row in range(N)])
    columns = {
        "price": [Decimal(f"{row}.5") for row in range(N)],
        "image": pd.Series(pd.arrays.ArrowExtensionArray(path)),
        "first_empty": [{"bytes": b"\xff\xd8\xff" if row else None, "path": None} for row in range(N)],
    }
    kinds = {name: kind.name for name, kind in guess(**columns).schema.modalities.items()}
    assert kinds == {"table": "tabular", "image": "image", "first_empty": "image"}


def test_columns_of_two_values_among_the_inputs_are_named():
    columns = {
        "died": np.arange(N) % 2,
        "alive": np.arange(N) % 2 == 0,
        "relapse": ["yes", "no", "yes", None, "no", "yes"] * (N // 6),
        "treated": ["TRUE", None, "FALSE"] * (N // 3),
        "dose": [1.0, 2.5, np.nan] * (N // 3),
    }
    others = {
        "hb": NUMBERS,
        "stage": np.arange(N) % 3,
        "sex": ["f", "m"] * (N // 2),
        "label": np.arange(N) % 2,
        "constant": np.ones(N),
    }
    inferred = guess(**columns, **others)
    assert possible_answers(pd.DataFrame(columns | others)) == [*columns, "label"]
    (reason,) = [guess.reason for guess in inferred.guesses if guess.name == "table"]
    assert reason.endswith(
        "; with two values: died, alive, relapse, treated, dose (name those that are answers as targets)"
    )
    assert "died" in guess(died=columns["died"], hb=NUMBERS).to_yaml()


@pytest.mark.filterwarnings("error")
def test_targets_and_vectors_are_not_asked_about():
    bits = {f"bit{place}": RNG.integers(0, 2, N) for place in range(8)}
    columns = {"died": np.arange(N) % 2, "hb": NUMBERS, **bits}
    inferred = guess(targets=["died"], **columns)
    warn_of_answers(pd.DataFrame(columns), inferred.schema)
    assert "with two values" not in inferred.to_yaml()


def test_many_columns_of_two_values_are_counted(recwarn):
    columns = {f"{name}_seen": RNG.integers(0, 2, N) for name in "abcdefghijkl"}
    warn_of_answers(pd.DataFrame(columns), guess(**columns).schema)
    (warning,) = recwarn
    assert "inputs: a_seen, b_seen" in str(warning.message)
    assert "j_seen and 2 more. If" in str(warning.message)


def test_ids_with_copies_are_named_as_such_and_long_reasons_wrap():
    names = [f"V-{row:04d}" for row in range(N - 2)] + ["V-0000", "V-0001"]
    dates = {f"day{row}": [f"2024-0{1 + row}-{1 + day % 28:02d}" for day in range(N)] for row in range(4)}
    inferred = guess(x=NUMBERS, visit=names, **dates)
    (unused,) = inferred.of("unused")
    assert unused.reason.startswith("58 different short values, like ids; but 2 rows repeat one")
    written = inferred.to_yaml()
    assert max(len(line) for line in written.splitlines() if line.startswith("  #")) <= 120
    assert Schema.from_yaml(written) == inferred.schema


def test_columns_whose_names_have_several_lines_are_written_and_read_back(tmp_path):
    columns = {
        "Blood\npressure": NUMBERS.round(1),
        "Sex\n(m/f)": ["m", "f"] * (N // 2),
        "Died\nor not": RNG.integers(2, size=N),
        "Case\nid": [f"c{row}" for row in range(N)],
        "Hb\n\n(g/dl)": [-999, -999, *np.abs(NUMBERS[2:])],
        "Age\n": [-999, -999, *(np.abs(NUMBERS[2:]) + 20)],
    }
    inferred = guess(["Died\nor not"], **columns)
    assert Schema.from_yaml(inferred.to_yaml()) == inferred.schema
    assert {*inferred.schema.targets, *inferred.schema.missing} == {"Died\nor not", "Hb\n\n(g/dl)", "Age\n"}


def test_the_number_of_a_group_is_no_code_of_an_empty_cell():
    patients = [*np.arange(1, 11).repeat(5), *[99] * 10]
    schema = guess(age=NUMBERS, patient=patients).schema
    assert schema.group == "patient"
    assert not schema.missing
    words = [*[f"p{row}" for row in range(10)] * 5, *["n/a"] * 10]
    assert guess(age=NUMBERS, patient=words).schema.missing == {"patient": ("n/a",)}
