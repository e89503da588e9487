"""Embeddings replace an older file of embeddings, but never a file that commlearn did not write."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from commlearn.errors import ConfigurationError, DataError
from commlearn.trained.stream import write


def names(dim: int) -> list[str]:
    return [f"comm{place}" for place in range(dim)]


def parts(value: float):
    return iter([({"id": np.arange(4)}, np.full((4, 12), value, dtype=np.float32))])


def foreign(path) -> None:
    frame = pd.DataFrame({"id": [1, 2], "price": [3.0, 4.0]})
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        np.savez(path, price=frame["price"])


@pytest.mark.parametrize("name", ["z.parquet", "z.csv", "z.npz"])
def test_a_file_of_somebody_else_stays(tmp_path, name):
    path = tmp_path / name
    for content in (lambda: foreign(path), lambda: path.write_bytes(b"notes"), lambda: path.write_bytes(b"")):
        content()
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match=r"does not hold embeddings written by commlearn"):
            write(path, parts(1.0), names)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_numbered_columns_of_somebody_else_are_no_embeddings(tmp_path):
    path = tmp_path / "z.csv"
    path.write_text("name,x0\na,1\n")
    with pytest.raises(ConfigurationError, match=r"does not hold embeddings written by commlearn"):
        write(path, parts(1.0), names)


@pytest.mark.parametrize("named", ["comm", "left_feature"])
@pytest.mark.parametrize("name", ["z.parquet", "z.csv", "z.npz"])
def test_embeddings_are_replaced_by_newer_ones(tmp_path, name, named):
    path = tmp_path / name
    write(path, parts(1.0), lambda dim: [f"{named}{place}" for place in range(dim)])
    before = path.read_bytes()
    write(path, parts(2.0), names)
    assert path.read_bytes() != before


def chunks(*ids):
    for some in ids:
        yield {"id": np.array(some)}, np.zeros((len(some), 3), dtype=np.float32)


def test_ids_that_mix_types_are_text(tmp_path):
    mixed = np.array([1, None, "3a"], dtype=object)
    write(tmp_path / "z.parquet", chunks(mixed, np.array([4, 5])), names)
    ids = pq.read_table(tmp_path / "z.parquet")["id"]
    assert ids.to_pylist() == ["1", None, "3a", "4", "5"]


def test_ids_that_turn_into_text_on_the_way_are_a_named_error(tmp_path):
    with pytest.raises(DataError, match=r"z\.parquet: the cells of a column are of several types"):
        write(tmp_path / "z.parquet", chunks([1, 2], np.array([3, "4a"], dtype=object)), names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["z.parquet", "z.csv"])
def test_a_target_of_several_numbers_is_a_list_in_each_row(tmp_path, name):
    positions = [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]
    halves = ({"position": np.array(part)} for part in (positions[:2], positions[2:]))
    path = tmp_path / name
    write(path, ((columns, np.zeros((2, 3), dtype=np.float32)) for columns in halves), names)
    frame = pd.read_csv(path) if name == "z.csv" else pd.read_parquet(path)
    cells = [json.loads(cell) if isinstance(cell, str) else cell.tolist() for cell in frame["position"]]
    assert cells == positions
