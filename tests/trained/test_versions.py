"""Folders of a later version are called newer; read-only folders still show what they hold."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

import commlearn as cl
from commlearn.cli import main
from commlearn.errors import CommlearnError, RunError
from commlearn.trained.artifact import export, load
from commlearn.trained.run import load_run
from commlearn.trained.run_folder import _numbers
from commlearn.training.train import train

SMALL = {"training.epochs": 1, "data.size": 32, "data.train_pairs": 64, "model.width": 16}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    experiment = cl.read_experiment("trifeature-quick", {**SMALL, "augmentations.image.size": 32})
    return train(experiment, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained.folder.path, tmp_path / "run")


def of_version(path: Path, version: str) -> None:
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "commlearn": version}))


def with_a_later_key(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["training"]["mood"] = "calm"
    (run / "config.yaml").write_text(yaml.safe_dump(config))


NEWER = r"run was written by a newer commlearn \(version 9\.0\.1rc1, .*training\.mood.* Update commlearn\."


def test_a_run_of_a_later_version_with_a_key_that_is_new_is_called_newer(run, trained):
    with_a_later_key(run)
    for read in (load, load_run):
        with pytest.raises(RunError, match=r"damaged: .*training\.mood"):
            read(run)
    of_version(run / "environment.json", "9.0.1rc1")
    for read in (load, load_run, lambda path: train(trained.experiment, path, resume=True)):
        with pytest.raises(RunError, match=NEWER):
            read(run)


def test_an_artifact_of_a_later_version_with_a_key_that_is_new_is_called_newer(trained, tmp_path):
    folder = export(trained, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["experiment"]["training"]["mood"] = "calm"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CommlearnError, match=r"training\.mood") as caught:
        load(folder)
    assert "newer" not in str(caught.value)
    of_version(folder / "config.json", "9.0.1rc1")
    with pytest.raises(RunError, match=NEWER):
        load(folder)


def test_what_a_later_version_wrote_and_this_one_understands_is_read(run):
    of_version(run / "environment.json", "9.0.1rc1")
    assert load(run).step == 1


@pytest.mark.parametrize("content", ["[]", "{", '{"commlearn": 7}', '{"commlearn": "' + "9" * 5000 + '"}'])
def test_a_version_that_is_none_changes_no_error(content, run):
    with_a_later_key(run)
    (run / "environment.json").write_text(content)
    with pytest.raises(RunError, match=r"damaged: .*training\.mood"):
        load(run)


def test_versions_are_compared_by_their_numbers():
    assert _numbers("0.10.0") > _numbers("0.9.3") > _numbers("0.9") > _numbers("dev")


@pytest.fixture
def read_only(monkeypatch):
    """Return a function that makes a folder read-only, as if its disk were mounted that way."""
    opened = Path.open

    def mount(folder: Path) -> None:
        def open_(path, mode="r", *words, **options):
            if path.is_relative_to(folder) and set(mode) & set("wax+"):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return opened(path, mode, *words, **options)

        monkeypatch.setattr(Path, "open", open_)

    return mount


@pytest.mark.parametrize("json_wanted", [False, True])
def test_a_run_that_cannot_be_written_still_shows_its_probe(json_wanted, run, read_only, capsys):
    read_only(run)
    assert main(["probe", str(run), "--quiet", *(["--json"] if json_wanted else [])]) == 0
    shown = capsys.readouterr()
    assert "could not be saved in the run's folder." in shown.err
    assert "Read-only file system" in shown.err
    assert "shared" in (json.loads(shown.out) if json_wanted else shown.out)
    assert not (run / "probes.json").exists()
