"""Vision&Touch: episodes in HDF5, the published split by file, targets from the next step."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from commlearn.datasets import check_reader
from commlearn.datasets.converted import convert, write_hdf5
from commlearn.datasets.vision_touch import VisionTouch, split_episodes
from commlearn.errors import ConfigurationError, DataError

h5py = pytest.importorskip("h5py", reason="needs commlearn[h5]")

EVERY = ["image", "force", "proprio"]
SIZE = 12  # pixels; 128 in the published files


def episode(number, steps=50, channels_first=False):
    draw = np.random.default_rng(number)
    image = draw.integers(256, size=(steps, SIZE, SIZE, 3), dtype=np.uint8)
    contact = np.zeros((steps, 50), dtype=np.int64)
    contact[::3, number % 50] = 1
    return {
        "image": image.transpose(0, 3, 1, 2) if channels_first else image,
        "ee_forces_continuous": draw.normal(0, 3, (steps, 50, 6)),
        "proprio": draw.normal(4, 2, (steps, 11)),
        "contact": contact,
        "action": draw.normal(size=(steps, 4)),
    }


def write(folder, count=10, **options):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        with h5py.File(folder / f"episode_{number:02d}_1000.h5", "w") as file:
            for name, values in episode(number, **options).items():
                file[name] = values
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("triangle") / "real")


def published_order(count):
    names = sorted(f"episode_{number:02d}_1000.h5" for number in range(count))
    np.random.default_rng(42).shuffle(names)
    return [int(name[8:10]) for name in names]


def test_the_last_fifth_of_the_shuffled_files_is_the_test_part(folder):
    data = VisionTouch(str(folder), EVERY, validation=0.25).read()
    order = published_order(10)
    parts = {"test": order[8:], "validation": order[6:8], "train": order[:6]}
    for part, numbers in parts.items():
        expected = np.concatenate([episode(number)["proprio"][1:50, :4] for number in numbers])
        np.testing.assert_allclose(data.parts[part].targets["position"], expected, rtol=1e-6)


@pytest.mark.parametrize("count", [5, 10, 150])
def test_validation_files_come_out_of_train(count):
    names = [f"{number:03d}" for number in range(count)]
    parts = split_episodes(names[::-1], 0.1)
    assert sorted(name for part in parts.values() for name in part) == names
    assert len(parts["test"]) == count // 5
    assert parts["validation"]
    assert split_episodes(names, 0.0)["test"] == parts["test"]


def test_a_record_is_a_step_and_its_targets_are_of_the_next(folder):
    data = VisionTouch(str(folder), EVERY, validation=0.0).read()
    first = episode(published_order(10)[0])
    assert len(data.train) == 8 * 49
    assert data.train.targets["contact"][:49].tolist() == (first["contact"][1:].sum(axis=1) > 0).tolist()
    image = data.train.columns["image"].take(np.array([7])).values[0]
    np.testing.assert_array_equal(image.permute(1, 2, 0), first["image"][7])


def test_force_is_the_last_32_readings_between_minus_1_and_1(folder):
    data = VisionTouch(str(folder), ["force"], validation=0.0).read()
    first = episode(published_order(10)[0])
    force = data.train.columns["force"].take(np.array([3])).values[0]
    np.testing.assert_allclose(force, np.tanh(first["ee_forces_continuous"][3, -32:]), atol=1e-6)


def test_steps_of_one_episode_are_resampled_together(folder):
    test = VisionTouch(str(folder), EVERY).read().test
    position = test.targets["position"]
    sizes = np.unique(test.resampled, return_counts=True)[1]
    assert len(sizes) > 1
    assert sizes.sum() == len(position)
    assert test.groups is None  # in training, steps of one episode are negatives like any others


def test_proprioception_is_its_first_8_numbers_standardised_on_train(folder):
    data = VisionTouch(str(folder), ["proprio"], validation=0.25).read()
    raw = np.concatenate([episode(number)["proprio"][:49, :8] for number in published_order(10)[:6]])
    expected = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(data.train.columns["proprio"].values, expected, atol=1e-4)


def test_channel_first_images_and_more_than_50_steps_read_as_the_others(folder, tmp_path):
    other = write(tmp_path / "other", channels_first=True)
    one, two = (VisionTouch(str(path), ["image"]).read().test for path in (folder, other))
    np.testing.assert_array_equal(one.columns["image"].images, two.columns["image"].images)
    longer = write(tmp_path / "longer", count=5, steps=53)
    assert len(VisionTouch(str(longer), ["force"], validation=0.0).read().test) == 49


def test_files_that_would_become_one_are_refused(tmp_path):
    for name in ("a.h5", "a.h5.h5", "a.hdf5"):
        write_hdf5(tmp_path / name, {"proprio": np.ones(3)})
    with pytest.raises(DataError, match=r"a.h5 and a.hdf5 would both become a.safetensors. Rename one"):
        convert(tmp_path, tmp_path / "open")
    assert not (tmp_path / "open").exists()


def test_the_converted_folder_reads_as_the_files_and_keeps_the_contract(folder, tmp_path):
    convert(folder, tmp_path / "open")
    one, other = (
        check_reader(VisionTouch(str(folder), EVERY)),
        VisionTouch(str(tmp_path / "open"), EVERY).read(),
    )
    assert one.train.targets["position"].shape == (len(one.train), 4)
    for name in ("image", "force", "proprio"):
        rows = np.arange(len(one.test))
        assert one.test.columns[name].take(rows).values.equal(other.test.columns[name].take(rows).values)


def change(folder, tmp_path, key, values):
    """Write five episodes, with `key` replaced or removed in one of them; return the folder."""
    made = write(tmp_path / "changed", count=5)
    with h5py.File(made / "episode_03_1000.h5", "a") as file:
        del file[key]
        if values is not None:
            file[key] = values
    return made


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("proprio", None, "Unknown key 'proprio'"),
        (
            "image",
            np.zeros((50, 9, 9)),
            r"image has shape \(50, 9, 9\); expected \(steps, height, width, 3\)",
        ),
        ("image", np.zeros((50, 9, 9, 4), np.uint8), r"image has shape \(50, 9, 9, 4\)"),
        ("image", np.full((50, 9, 9, 3), 300.0), "image has values from 300 to 300"),
        (
            "ee_forces_continuous",
            np.zeros((50, 20, 6)),
            r"shape \(50, 20, 6\); expected \(steps, 50, 6\)",
        ),
        ("proprio", np.zeros((50, 4)), "proprio has 4 senses; expected at least 8"),
        ("contact", np.zeros((40, 50)), "contact 40, .*the number of steps"),
        (
            "image",
            np.zeros((50, 9, 8, 3), np.uint8),
            r"must have the same size; got .*\(9, 8, 3\) in episode_03_1000",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_file_and_key(folder, tmp_path, key, values, message):
    with pytest.raises(DataError, match=message) as raised:
        VisionTouch(str(change(folder, tmp_path, key, values)), EVERY).read()
    assert "episode_03_1000" in str(raised.value)


def test_readings_that_are_not_finite_are_counted_where_they_are_used(tmp_path):
    forces = episode(3)["ee_forces_continuous"]
    forces[0, -1], forces[1, 0], forces[49] = np.nan, np.inf, np.nan  # no step reads the last two
    data = VisionTouch(str(change(None, tmp_path, "ee_forces_continuous", forces)), EVERY).read()
    assert data.notes == ("6 values are not finite and count as 0",)


def test_links_to_other_files_are_not_followed(folder, tmp_path):
    made = change(folder, tmp_path, "proprio", None)
    with h5py.File(made / "episode_03_1000.h5", "a") as file:
        file["proprio"] = h5py.ExternalLink(str(folder / "episode_00_1000.h5"), "/proprio")
    with pytest.raises(DataError, match="Unknown key 'proprio'"):
        VisionTouch(str(made), EVERY).read()


def test_damaged_files_and_wrong_folders_are_told(folder, tmp_path):
    made = write(tmp_path / "cut", count=5)
    (made / "episode_02_1000.h5").write_bytes((folder / "episode_02_1000.h5").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"episode_02_1000\.h5 cannot be read as HDF5"):
        VisionTouch(str(made)).read()
    with pytest.raises(DataError, match="holds 1 episodes; a test part needs at least 5|holds 1 episodes"):
        VisionTouch(str(write(tmp_path / "one", count=1))).read()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file that ends in .h5"):
        VisionTouch(str(tmp_path / "empty")).read()
    with pytest.raises(DataError, match="is a file; Vision&Touch needs the folder"):
        VisionTouch(str(folder / "episode_02_1000.h5")).read()


def test_without_h5py_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'commlearn\[h5\]'"):
        VisionTouch(str(folder)).read()


def test_a_share_that_leaves_nothing_to_train_on_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"validation is 0\.9, which leaves none of 5 episodes"):
        VisionTouch(str(write(tmp_path / "few", 5)), ["force"], validation=0.9).read()
