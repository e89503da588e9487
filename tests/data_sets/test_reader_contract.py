"""The contract that every reader keeps, and the violations that `check_reader` reports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import commlearn as cl
from commlearn.batch import Modality, Spec
from commlearn.datasets import READERS, check_reader
from commlearn.datasets.synthetic_published import STAND_INS, write_stand_in
from commlearn.errors import DataError
from commlearn.records import Dataset, Records, VectorColumn

OPTIONS = {name: {"image": {"size": 32}} for name in ("mm_imdb", "hateful_memes")}
OPTIONS["trifeature"] = {"size": 24, "train_pairs": 50}


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """Function that returns the path of a small synthetic data set, which it writes on first use."""
    pytest.importorskip("h5py", reason="needs commlearn[h5]")
    folder, made = tmp_path_factory.mktemp("published"), {}

    def path(name):
        if name not in made:
            made[name] = write_stand_in(name, folder / name, rows=245 if name == "vision_touch" else 60)
        return str(made[name])

    return path


def test_all_names_reach_one_registry():
    assert cl.READERS is READERS
    assert cl.check_reader is check_reader
    assert all(hasattr(READERS[name], "read") for name in READERS)


@pytest.mark.parametrize("name", sorted(set(STAND_INS)))
def test_every_published_data_set_keeps_the_contract(name, stand_in):
    data = check_reader(READERS[name](path=stand_in(name), **OPTIONS.get(name, {})))
    assert data.validation is not None


@pytest.mark.parametrize("name", sorted(set(READERS) - set(STAND_INS) - {"table"}))
def test_every_data_set_that_needs_no_files_keeps_it_too(name):
    check_reader(READERS[name](**OPTIONS.get(name, {})))


@dataclass(frozen=True)
class Odd:
    """A column with at most one fault."""

    values: np.ndarray
    wrong: str = ""

    @property
    def spec(self) -> Spec:
        return Spec("series", (2,))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Modality:
        values = torch.from_numpy(self.values[rows]).float()
        padding = torch.zeros(values.shape[:2], dtype=torch.bool)
        if self.wrong == "padding in front":
            padding[:, 0] = True
        if self.wrong == "all padding":
            padding[:] = True
        if self.wrong == "not finite":
            values[0, 0, 0] = float("inf")
        if self.wrong == "random":
            values = values + torch.rand(1)
        if self.wrong == "its own order":
            values = torch.from_numpy(self.values[np.sort(rows)]).float()
        return Modality(values[..., :1] if self.wrong == "narrow" else values, padding)


def dataset(wrong="", **changes):
    values = np.random.default_rng(0).normal(size=(40, 5, 2))
    targets = {"label": np.arange(20) % 2}
    parts = {"train": Records({"s": Odd(values[:20], wrong)}, targets)}
    parts["test"] = Records({"s": Odd(values[20:])}, targets)
    return Dataset(**{**parts, **changes})


def test_a_data_set_that_keeps_the_contract_is_handed_back():
    data = dataset()
    assert check_reader(data) is data


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("padding in front", "train, s: padding precedes a step"),
        ("all padding", "train, s: a record is all padding, but not marked absent"),
        ("not finite", "train, s: values are not finite"),
        ("random", "train, s: reading the same records twice gives different values"),
        ("its own order", "train, s: records are not returned in the requested order"),
        ("narrow", "train, s: values have 1 channels, but the spec says 2"),
    ],
)
def test_what_breaks_the_contract_is_named(wrong, message):
    with pytest.raises(DataError, match=message):
        check_reader(dataset(wrong))


def test_parts_that_do_not_match_are_named():
    other = Records({"v": VectorColumn(np.zeros((20, 3), np.float32))}, {"label": np.zeros(20)})
    with pytest.raises(DataError, match=r"test has the modalities \['v'\], but train has \['s'\]"):
        check_reader(dataset(test=other))
    data = dataset()
    with pytest.raises(DataError, match="records checked are both in train and in test"):
        check_reader(dataset(test=data.train))
    with pytest.raises(DataError, match="are both in validation and in test"):
        check_reader(dataset(validation=data.test))
    with pytest.raises(DataError, match="must return a Dataset; dict returned a dict"):
        check_reader({})
