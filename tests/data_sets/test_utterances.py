"""MOSI and related data sets: every quirk of the published format, on files written in that format."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from commlearn.datasets import READERS, check_reader
from commlearn.datasets.converted import convert, read_converted, write_converted
from commlearn.errors import ConfigurationError, DataError

STEPS = 6
SETS = ("mosi", "mosei", "ur_funny", "mustard")


def part(count, seed, labels=(1, 1)):
    """Return samples whose text starts at step row % 3, with labels of shape (count, *labels)."""
    draw = np.random.default_rng(seed)
    widths = {"vision": 4, "audio": 3, "text": 5}
    content = {name: draw.normal(2, 3, (count, STEPS, width)) for name, width in widths.items()}
    for row in range(count):
        content["text"][row, : row % 3] = 0
    content["labels"] = draw.normal(size=(count, *labels))
    content["id"] = np.array([f"film{row // 2}[{row}]" for row in range(count)], dtype=object)
    return content


def write(tmp_path, **changes):
    """Write the file with some arrays replaced, such as {"train/text": array}; None removes one."""
    content = {"train": part(9, 0), "valid": part(4, 1, (1,)), "test": part(5, 2)}
    for key, value in changes.items():
        name, _, array = key.partition("/")
        if value is None:
            content[name].pop(array) if array else content.pop(name)
        else:
            content[name][array] = value
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(content))
    return path, content


def read(path, name="mosi", **options):
    return READERS[name](path=str(path), **options).read()


def values_of(records, name, row):
    taken = records.columns[name].take(np.array([row]))
    return taken.values[0].numpy()


def test_every_modality_is_cut_at_the_first_step_that_has_text(tmp_path):
    path, content = write(tmp_path)
    data = read(path, standardise=False, modalities=["vision", "audio", "text"])
    for row in range(9):
        for name in ("vision", "audio", "text"):
            expected = content["train"][name][row, row % 3 :].astype(np.float32)
            np.testing.assert_array_equal(values_of(data.train, name, row), expected)


def test_a_silent_step_in_the_middle_stays(tmp_path):
    text = part(9, 0)["text"]
    text[0, 3] = 0
    path, _content = write(tmp_path, **{"train/text": text})
    data = read(path, standardise=False)
    assert len(values_of(data.train, "vision", 0)) == STEPS
    assert not values_of(data.train, "text", 0)[3].any()


def test_padding_of_a_batch_lies_at_the_end(tmp_path):
    data = read(write(tmp_path)[0])
    taken = data.train.columns["text"].take(np.arange(3))
    assert taken.padding.sum(dim=1).tolist() == [0, 1, 2]
    assert taken.padding[2].tolist() == [False] * 4 + [True] * 2


def test_what_is_not_finite_becomes_0_and_is_told(tmp_path):
    audio = part(9, 0)["audio"]
    audio[2, 4, 1] = -np.inf
    path, _ = write(tmp_path, **{"train/audio": audio})
    data = read(path, modalities=["audio", "text"], standardise=False)
    assert values_of(data.train, "audio", 2)[4 - 2, 1] == 0
    assert "train: 1 values of audio are not finite and count as 0" in data.notes
    assert all(np.isfinite(read(path, modalities=["audio"]).train.columns["audio"].steps).ravel())


def test_samples_without_text_are_left_out_and_counted(tmp_path):
    text = part(9, 0)["text"]
    text[[1, 7]] = 0
    path, content = write(tmp_path, **{"train/text": text})
    data = read(path, standardise=False, modalities=["vision"])
    assert "train: 2 of 9 samples have no text and are left out" in data.notes
    usable = [0, 2, 3, 4, 5, 6, 8]
    assert len(data.train) == 7
    assert data.train.targets["sentiment"].tolist() == [
        int(content["train"]["labels"][row, 0, 0] > 0) for row in usable
    ]
    np.testing.assert_array_equal(
        values_of(data.train, "vision", 1), content["train"]["vision"][2, 2:].astype(np.float32)
    )


@pytest.mark.parametrize("shape", [(9, 1, 1), (9, 1), (9,)])
@pytest.mark.parametrize(
    ("name", "target"), [("mosi", "sentiment"), ("ur_funny", "humor"), ("mustard", "sarcasm")]
)
def test_the_class_is_whether_the_label_is_above_0(tmp_path, shape, name, target):
    labels = np.array([-3.0, -1, 0, 0.2, 1, 3, -0.1, 0, 2]).reshape(shape)
    path, _ = write(tmp_path, **{"train/labels": labels})
    assert read(path, name).train.targets[target].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1]


def test_statistics_come_from_the_training_part_alone(tmp_path):
    before = read(write(tmp_path)[0])
    changed = {
        f"{name}/{key}": 100 * part(count, seed)[key]
        for name, count, seed in (("valid", 4, 1), ("test", 5, 2))
        for key in ("vision", "text")
    }
    after = read(write(tmp_path, **changed)[0])
    steps = before.train.columns["vision"].steps[:-1]
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(steps, after.train.columns["vision"].steps[:-1])


def test_the_published_parts_stay_apart(tmp_path):
    data = read(write(tmp_path)[0])
    assert [len(data.train), len(data.validation), len(data.test)] == [9, 4, 5]


def test_modalities_come_in_one_order_whatever_is_asked(tmp_path):
    path, _ = write(tmp_path)
    assert list(read(path).train.columns) == ["vision", "text"]
    assert list(read(path, modalities=["text", "audio"]).train.columns) == ["audio", "text"]
    with pytest.raises(ConfigurationError, match="'vison', did you mean 'vision'"):
        read(path, modalities=["vison"])


def test_a_width_that_is_not_the_published_one_is_told(tmp_path):
    assert any(
        "vision has 4 features; the published mosi_raw.pkl has 20 or 35" in note
        for note in read(write(tmp_path)[0]).notes
    )


@pytest.mark.parametrize("name", SETS)
def test_the_converted_folder_reads_as_the_file(tmp_path, name):
    path, _ = write(tmp_path)
    convert(path, tmp_path / "open")
    assert {file.suffix for file in (tmp_path / "open").iterdir()} == {".safetensors", ".parquet"}
    one, other = check_reader(READERS[name](path=str(path))), read(tmp_path / "open", name)
    for key in one.parts:
        for modality in one.train.columns:
            first, second = (data.parts[key].columns[modality] for data in (one, other))
            np.testing.assert_array_equal(first.steps, second.steps)
            np.testing.assert_array_equal(first.starts, second.starts)
        for target, values in one.parts[key].targets.items():
            np.testing.assert_array_equal(values, other.parts[key].targets[target])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": None}, r"data\.pkl: 3 problems\n.*Unknown key 'valid/vision'"),
        ({"train/labels": None}, r"Unknown key 'train/labels', did you mean"),
        (
            {"train/text": np.zeros((9, 5))},
            r"train/text has shape \(9, 5\); expected \(samples, steps, features\)",
        ),
        ({"train/text": np.zeros((8, STEPS, 5))}, r"train/vision 9, train/text 8, .*number of samples"),
        ({"train/text": np.ones((9, 3, 5))}, r"train/vision 6, train/text 3: the number of steps"),
        ({"test/vision": np.ones((5, STEPS, 9))}, r"test/vision 9: the number of features"),
        ({"train/vision": np.full((9, STEPS, 4), "x")}, r"train/vision is of type <U1"),
        ({"train/vision": np.full((9, STEPS, 4), "x", object)}, "holds something other than numbers"),
        (
            {"train/labels": np.ones((9, 2))},
            r"train/labels has shape \(9, 2\); expected one label per sample",
        ),
        ({"train/labels": np.full((9, 1), np.nan)}, r"train/labels has 9 labels that are not numbers"),
        ({"test/text": np.zeros((5, STEPS, 5))}, r"test has no sample with text"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file_and_key(tmp_path, changes, message):
    path, _ = write(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as raised:
        read(path)
    assert "data.pkl" in str(raised.value)


def test_files_that_are_not_there_or_something_else_are_told(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match=r"dat\.pkl does not exist.*Did you mean .*data\.pkl"):
        read(tmp_path / "dat.pkl")
    with pytest.raises(
        DataError, match="mosi needs its data: set data.path .*--data.* to the path of mosi_raw.pkl"
    ):
        read("")
    with pytest.raises(DataError, match="is a folder with data.pkl; mosi needs the file"):
        read(tmp_path)
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match="holds a list; expected a dict of arrays"):
        read(tmp_path / "list.pkl")


@pytest.mark.parametrize(
    ("ids", "videos"),
    [
        (["a[0]", "a[1]", "b[0]", "b[1]", "b[2]"], [0, 0, 1, 1, 1]),
        (
            np.array([["a", 0, 1], ["b", 0, 1], ["a", 1, 2], ["c", 0, 1], ["a", 2, 3]], dtype=object),
            [0, 1, 0, 2, 0],
        ),
        (["a", "b", "c", "d", "e"], None),
        (["a[0]"], None),
        (7, None),
        ([[], [], "a", "a", None], [0, 0, 2, 2, 1]),
    ],
)
def test_utterances_of_one_video_are_resampled_together(ids, videos, tmp_path):
    path, _ = write(tmp_path, **{"test/id": ids})
    units = read(path).test.resampled
    assert (None if units is None else units.tolist()) == videos


def test_converted_ids_stay_texts(tmp_path):
    ids = np.array(["1_60", "16_0", "007"], dtype=object)  # Python reads them as 160, 160 and 7
    numbers = {
        "labels": np.array([1, None], dtype=object),
        "score": np.array(["1.5", b"-2e-3"], dtype=object),
    }
    write_converted({"train": {"id": ids, **numbers}}, tmp_path / "open")
    content = read_converted(tmp_path / "open")["train"]
    assert content["id"].tolist() == ids.tolist()
    assert content["labels"].dtype == np.float64
    assert content["score"].tolist() == [1.5, -0.002]
