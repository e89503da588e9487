"""MIMIC: the published split, labels and gaps, on a file written in exactly the published format."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest

from commlearn.datasets import check_reader
from commlearn.datasets.converted import convert
from commlearn.datasets.mimic import Mimic
from commlearn.errors import DataError

COUNT = 43


def write(tmp_path, **changes):
    draw = np.random.default_rng(0)
    content = {
        "ep_tdata": draw.normal(5, 2, (COUNT, 24, 12)),
        "adm_features_all": draw.normal(50, 9, (COUNT, 5)),
        "y_icd9": draw.integers(2, size=(COUNT, 20)),
        "adm_labels_all": draw.integers(2, size=(COUNT, 6)),
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    path = tmp_path / "im.pk"
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path, content


def test_the_split_is_that_of_the_published_shuffle(tmp_path):
    """Stays are shuffled as in the published code: first tenth validation, second tenth test, rest train."""
    path, content = write(tmp_path)
    data = Mimic(str(path)).read()
    stays = list(zip(content["adm_features_all"], content["ep_tdata"], content["y_icd9"][:, 7], strict=True))
    random.seed(10)
    random.shuffle(stays)
    parts = {"validation": stays[:4], "test": stays[4:8], "train": stays[8:]}
    facts = np.array([stay[0] for stay in parts["train"]])
    for name, expected in parts.items():
        records = data.parts[name]
        assert records.targets["icd9"].tolist() == [stay[2] for stay in expected]
        shown = records.view(slice(None))["tabular"].values
        scaled = (np.array([stay[0] for stay in expected]) - facts.mean(axis=0)) / facts.std(axis=0)
        np.testing.assert_allclose(shown, scaled, atol=1e-4)


def test_the_task_chooses_the_diagnosis(tmp_path):
    path, content = write(tmp_path)
    order = list(range(COUNT))
    random.Random(10).shuffle(order)
    for task in (0, 19):
        labels = Mimic(str(path), task=task).read().train.targets["icd9"]
        assert labels.tolist() == content["y_icd9"][order[8:], task].tolist()
    with pytest.raises(DataError, match="y_icd9 has 20 labels, but data.task is 20"):
        Mimic(str(path), task=20).read()


def test_mortality_is_the_first_column_from_1_that_is_set(tmp_path):
    labels = np.tile(np.eye(6), (8, 1))[:COUNT]
    labels[:, 5] = 1
    path, _content = write(tmp_path, adm_labels_all=labels)
    classes = np.concatenate([part.targets["mortality"] for part in Mimic(str(path)).read().parts.values()])
    expected = [next((column for column in range(1, 6) if row[column] > 0), 0) for row in labels]
    assert sorted(classes.tolist()) == sorted(expected)


def test_gaps_become_0_before_anything_is_learned(tmp_path):
    _, content = write(tmp_path)
    holed = content["ep_tdata"].copy()
    holed[:, 0, 0], holed[0, 1, 1] = np.nan, np.inf
    filled = np.where(np.isfinite(holed), holed, 0)
    one = Mimic(str(write(tmp_path, ep_tdata=holed)[0])).read()
    other = Mimic(str(write(tmp_path, ep_tdata=filled)[0])).read()
    first, second = (data.train.view(slice(None))["series"].values for data in (one, other))
    np.testing.assert_array_equal(first, second)
    assert f"{COUNT + 1} values of ep_tdata are not finite and count as 0" in one.notes


def test_labels_that_are_no_numbers_are_counted(tmp_path):
    _, content = write(tmp_path)
    diagnoses, deaths = (content[key].astype(float) for key in ("y_icd9", "adm_labels_all"))
    diagnoses[:3, 7], diagnoses[:, 8], deaths[2, 4] = np.nan, np.nan, np.inf
    data = Mimic(str(write(tmp_path, y_icd9=diagnoses, adm_labels_all=deaths)[0])).read()
    assert data.notes == (
        "3 values of y_icd9 are not finite and count as 0",
        "1 values of adm_labels_all are not finite and count as 0",
    )


def test_series_are_24_hours_of_12_measurements_standardised_on_train(tmp_path):
    data = check_reader(Mimic(str(write(tmp_path)[0])))
    taken = data.train.columns["series"].take(np.arange(len(data.train)))
    assert taken.values.shape[1:] == (24, 12)
    assert taken.padding is None
    np.testing.assert_allclose(taken.values.mean(dim=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(taken.values.flatten(0, 1).std(dim=0, correction=0), 1, atol=1e-4)


def test_the_converted_folder_reads_as_the_file(tmp_path):
    path, _ = write(tmp_path)
    convert(path, tmp_path / "open")
    one, other = Mimic(str(path)).read(), Mimic(str(tmp_path / "open")).read()
    first, second = (data.test.view(slice(None))["series"].values for data in (one, other))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(one.test.targets["mortality"], other.test.targets["mortality"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ep_tdata": None}, "Unknown key 'ep_tdata'"),
        (
            {"ep_tdata": np.zeros((COUNT, 24))},
            r"ep_tdata has shape \(43, 24\); expected \(stays, hours, measurements\)",
        ),
        ({"y_icd9": np.zeros((40, 20))}, "y_icd9 40, adm_labels_all 43: the number of stays"),
        ({"adm_features_all": np.full((COUNT, 5), "x")}, "adm_features_all is of type <U1"),
        ({"adm_features_all": np.zeros((COUNT, 0))}, r"adm_features_all has shape \(43, 0\), which holds no"),
        ({"y_icd9": np.zeros((COUNT, 0))}, "y_icd9 has 0 labels, but data.task is 7"),
        ({"adm_labels_all": np.zeros((COUNT, 0))}, r"adm_labels_all has shape \(43, 0\), which holds no"),
        ({"adm_labels_all": np.zeros((COUNT, 1))}, "adm_labels_all has 1 class; expected at least 2"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file_and_key(tmp_path, changes, message):
    path, _ = write(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as raised:
        Mimic(str(path)).read()
    assert "im.pk" in str(raised.value)
