"""A file of somebody else is not replaced by embeddings; one that held embeddings is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from commlearn.errors import ConfigurationError
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
        with pytest.raises(ConfigurationError, match=r"does not hold embeddings that commlearn wrote"):
            write(path, parts(1.0), names)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["z.parquet", "z.csv", "z.npz"])
def test_embeddings_are_replaced_by_newer_ones(tmp_path, name):
    path = tmp_path / name
    write(path, parts(1.0), names)
    before = path.read_bytes()
    write(path, parts(2.0), names)
    assert path.read_bytes() != before
