"""Vectors: every form of a cell reads alike, and errors name cells that are not vectors of one length."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds import vector as module
from commlearn.kinds.arrays import array_of, file_of
from commlearn.kinds.base import Cells
from commlearn.kinds.numbers import LIMIT
from commlearn.kinds.vector import Vector

ROWS = [[1.0, 2.0, 3.0], None, [4.0, 5.0, 9.0], [7.0, 2.0, 3.0]]


def objects(values) -> pd.Series:
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return pd.Series(column)


def cells(values, root=".", first_row=0) -> Cells:
    values = values if isinstance(values, pd.Series) else objects(values)
    return Cells(pd.DataFrame({"emb": values}), root, first_row)


def arrow(kind, number=float) -> pd.Series:
    rows = [None if row is None else [number(value) for value in row] for row in ROWS]
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(rows, type=kind)])))


def read(kind, train, test=None):
    state = json.loads(json.dumps(kind.learn(train), allow_nan=False))
    return kind.read(train if test is None else test, state)


def taken(column):
    return column.take(np.arange(len(column)))


FORMS = {
    "lists": objects(ROWS),
    "tuples": objects([None if row is None else tuple(row) for row in ROWS]),
    "arrays": objects([None if row is None else np.array(row) for row in ROWS]),
    "float32 arrays": objects([None if row is None else np.float32(row) for row in ROWS]),
    "tensors": objects([None if row is None else torch.tensor(row) for row in ROWS]),
    "mixed": objects([ROWS[0], None, np.array(ROWS[2]), tuple(ROWS[3])]),
    "one row": objects([None if row is None else np.array([row]) for row in ROWS]),
    "empty list": objects([ROWS[0], [], *ROWS[2:]]),
    "JSON text": objects(["" if row is None else json.dumps(row) for row in ROWS]),
    "list": arrow(pa.list_(pa.float32())),
    "fixed-size list": arrow(pa.list_(pa.float64(), 3)),
    "half large list": arrow(pa.large_list(pa.float16()), np.float16),
    "list of whole numbers": arrow(pa.list_(pa.int64()), int),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_alike(form):
    column = read(Vector("emb"), cells(FORMS[form]))
    assert column.spec == ("vector", (3,))
    modality = taken(column)
    there = np.array([row for row in ROWS if row is not None])
    expected = (there - there.mean(axis=0)) / there.std(axis=0)
    assert modality.values.dtype == torch.float32
    assert modality.present.tolist() == [True, False, True, True]
    np.testing.assert_allclose(modality.values[[0, 2, 3]], expected, rtol=1e-5, atol=1e-6)
    assert modality.values[1].tolist() == [0, 0, 0]


def test_sliced_and_chunked_arrow_columns_keep_their_rows():
    kind = pa.list_(pa.float32(), 3)
    chunks = pa.chunked_array([pa.array(ROWS, kind).slice(2), pa.array(ROWS[:2], kind)])
    column = pd.Series(pd.arrays.ArrowExtensionArray(chunks))
    values = taken(read(Vector("emb", standardise=False), cells(column))).values
    assert values.tolist() == [ROWS[2], ROWS[3], ROWS[0], [0, 0, 0]]


def test_reading_leaves_the_users_arrays_as_they_are():
    flat = pa.array(np.arange(6, dtype=np.float32))
    lists = pa.FixedSizeListArray.from_arrays(flat, 3)
    read(Vector("emb"), cells(pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([lists])))))
    own = [np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32)]
    read(Vector("emb"), cells(own))
    assert flat.to_pylist() == [0, 1, 2, 3, 4, 5]
    assert own[0].tolist() == [1, 2]


def test_numpy_files_are_read_inside_the_folder_only(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "a.npy", np.array([1.0, 2.0]))
    np.save(folder / "b.npy", np.array([3.0, 5.0]))
    np.save(tmp_path / "secret.npy", np.array([3.0, 5.0]))
    values = taken(read(Vector("emb", standardise=False), cells(["a.npy", "x/../b.npy"], folder))).values
    assert values.tolist() == [[1, 2], [3, 5]]
    for path in ("../secret.npy", str(tmp_path / "secret.npy"), "x/../../secret.npy"):
        with pytest.raises(DataError, match=r"secret.npy' is outside the table's folder"):
            Vector("emb").learn(cells(["a.npy", path], folder))
        column = read(Vector("emb", outside=True, standardise=False), cells(["a.npy", path], folder))
        assert taken(column).values[1].tolist() == [3, 5]


def test_several_columns_are_the_features_of_one_vector():
    frame = pd.DataFrame({"b": [1, 2, None], "a": pd.Series([5, 7, None], dtype="Int64")})
    column = read(Vector(["a", "b"]), Cells(frame))
    modality = taken(column)
    assert modality.values.tolist() == [[-1, -1], [1, 1], [0, 0]]
    assert modality.present.tolist() == [True, True, False]
    with pytest.raises(DataError, match="b row 6: is empty, but other features of the row are not"):
        Vector(["a", "b"]).learn(Cells(pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, None]}), first_row=5))
    with pytest.raises(DataError, match="b row 1: 'high' is not a number"):
        Vector(["a", "b"]).learn(Cells(pd.DataFrame({"a": [1.0, 2.0], "b": ["1", "high"]})))


def test_complete_columns_have_no_presence():
    assert taken(read(Vector("emb"), cells([[1.0], [2.0]]))).present is None


def test_only_training_rows_decide_scale_and_length():
    kind, train = Vector("emb"), cells([[0.0, 1.0], [2.0, 1.0]])
    values = taken(read(kind, train, cells([[4.0, 3.0]]))).values
    assert values.tolist() == [[3, 2]]  # a constant feature keeps its scale
    with pytest.raises(DataError, match="row 0: holds a vector of 3 numbers, but 2 are expected"):
        read(kind, train, cells([[4.0, 3.0, 1.0]]))


@pytest.mark.parametrize("chunk", [2, 65_536])
def test_every_bad_row_is_named(chunk, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CHUNK", chunk)
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    bad = {
        1: ([1.0, 2.0, 3.0], "a vector of 3 numbers, but 2"),
        2: ("lost.npy", "'lost.npy': there is no such file"),
        3: ("short.npy", "'short.npy' cannot be read"),
        4: ("pickle.npy", "'pickle.npy' cannot be read"),
        5: (7.0, "a single number"),
        6: ({"a": 1}, "not an array of numbers"),
        7: ([[1.0, 2.0], [3.0, 4.0]], "an array of 2 x 2; a vector has one axis"),
        8: (["low", "high"], "not an array of numbers"),
        9: (np.array([1j, 2j]), "not an array of numbers"),
    }
    column = cells([[1.0, 2.0], *(value for value, _ in bad.values()), [2.0, 2.0]], tmp_path, first_row=100)
    with pytest.raises(DataError) as caught:
        Vector("emb").learn(column)
    assert "emb: 9 rows cannot be read" in str(caught.value)
    for row, (_, reason) in bad.items():
        line = next(line for line in str(caught.value).splitlines() if f"row {row + 100}:" in line)
        assert reason in line
    assert len(Vector("emb").check(column)) == 9


@pytest.mark.parametrize("form", ["list", "arrow", "columns"])
def test_numbers_that_are_not_finite_are_named(form):
    rows = [[1.0, 2.0], [1.0, float("inf")], [float("nan"), 2.0]]
    if form == "columns":
        frame, kind = pd.DataFrame(rows, columns=["a", "b"]), Vector(["a", "b"])
    else:
        dtype = pd.ArrowDtype(pa.list_(pa.float64(), 2)) if form == "arrow" else object
        frame, kind = pd.DataFrame({"emb": pd.Series(rows, dtype=dtype)}), Vector("emb")
    with pytest.raises(DataError, match=r"row 1: .*inf"):
        kind.learn(Cells(frame))
    if form != "columns":
        with pytest.raises(DataError, match="row 2: feature 0 is nan.*as a Series"):
            kind.learn(Cells(frame))


def test_the_usual_length_is_right_though_the_first_row_is_not():
    for column in (
        cells([[1.0], *[[1.0, 2.0]] * 5]),
        cells(pd.Series([[1.0], *[[1.0, 2.0]] * 5], dtype=pd.ArrowDtype(pa.list_(pa.float64())))),
    ):
        with pytest.raises(DataError, match="emb row 0: holds a vector of 1 numbers, but 2 are expected"):
            Vector("emb").learn(column)


def test_check_tells_of_constant_features_and_of_nothing_at_all():
    problems = Vector("emb").check(cells([[1.0, 5.0], [2.0, 5.0]]))
    assert [str(problem) for problem in problems] == [
        "emb: 1 of 2 features are constant and carry no information: 1"
    ]
    assert problems[0].level == "warning"
    assert "no row has a vector" in str(Vector("emb").check(cells([None, None]))[0])
    assert Vector("emb").check(cells([[1.0, 5.0], [2.0, 6.0]])) == []
    with pytest.raises(DataError, match="none of the training rows has a vector"):
        Vector("emb").learn(cells([None, None]))


def test_large_offsets_do_not_spoil_the_deviation():
    rng = np.random.default_rng(0)
    values = (1e4 + rng.normal(size=(2000, 2))).astype(np.float32)
    column = read(Vector("emb"), cells(list(values)))
    assert taken(column).values.std(dim=0, correction=0).numpy() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("outlier", [1e6, -1e6, 1e30, -3e38])
def test_an_outlier_is_clipped_and_leaves_all_else_as_it_is(outlier):
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    spoilt = rows.copy()
    spoilt[7, 1] = outlier
    clean = taken(read(Vector("emb"), cells(list(rows)))).values.numpy()
    bound = np.float32(np.sign(outlier) * LIMIT)

    met_later = taken(read(Vector("emb"), cells(list(rows)), cells(list(spoilt)))).values.numpy()
    assert met_later[7, 1] == bound
    met_later[7, 1] = clean[7, 1]
    np.testing.assert_array_equal(met_later, clean)

    met_in_training = taken(read(Vector("emb"), cells(list(spoilt)))).values.numpy()
    assert met_in_training[7, 1] == bound
    met_in_training[7, 1] = clean[7, 1]
    np.testing.assert_allclose(met_in_training, clean, atol=0.05)


def test_features_that_are_mostly_zero_or_have_heavy_tails_keep_their_scale():
    rng = np.random.default_rng(0)
    values = np.zeros((1000, 3), dtype=np.float32)
    values[::100, 0] = 1.0  # one row in a hundred: the feature's information, not outliers
    values[:300, 1] = rng.normal(size=300)
    values[:, 2] = np.exp(2 * rng.normal(size=1000))
    column = taken(read(Vector("emb"), cells(list(values)))).values.numpy()
    exact = values.astype(np.float64)
    expected = ((exact - exact.mean(axis=0)) / exact.std(axis=0)).clip(-LIMIT, LIMIT)
    np.testing.assert_allclose(column, expected, atol=1e-5)


def test_values_that_are_not_standardised_pass_as_they_are():
    rows = [[1.0, 2.0], [1e6, 3.0]]
    assert taken(read(Vector("emb", standardise=False), cells(rows))).values.tolist() == rows


def test_paths_with_strange_bytes_and_folders_are_refused(tmp_path):
    for path in ("a\0.npy", ".", "", "missing.npy"):
        with pytest.raises(DataError, match="outside the table's folder|no such file"):
            file_of(path, tmp_path)
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(DataError, match="not an array; give numbers, or the path"):
        array_of("a.txt", tmp_path)
    with pytest.raises(DataError, match="not a JSON list of numbers"):
        array_of("[1, 2", tmp_path)


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(ConfigurationError, match="at least one column"):
        Vector([])
    assert Vector(["a", "b"]).columns() == ("a", "b")


def test_an_array_of_one_thing_that_is_no_number_is_named(tmp_path):
    with pytest.raises(DataError, match="not an array of numbers"):
        array_of(np.array({"a": 1}, dtype=object), tmp_path)


def test_tensors_of_bfloat16_are_read_as_others_are(tmp_path):
    tensor = torch.tensor([1.0, 2.5, -3.0])
    assert array_of(tensor.bfloat16(), tmp_path).tolist() == array_of(tensor, tmp_path).tolist()
