"""Files that a user loads run no code and read nothing outside their folder; exports name no path."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hostile_models import folders, frame
from PIL import Image as PIL

from commlearn.config.configuration import read_experiment
from commlearn.errors import CommlearnError, ConfigurationError, DataError
from commlearn.kinds import KINDS
from commlearn.kinds.arrays import file_of
from commlearn.kinds.base import Cells
from commlearn.kinds.image import LARGEST, Decoder, Image
from commlearn.storage.plain_yaml import read_yaml
from commlearn.trained.artifact import load

SOURCE = Path(load.__code__.co_filename).parents[1]


@pytest.fixture
def table(tmp_path) -> Path:
    """Return a table's folder, next to a secret file."""
    (tmp_path / "secret.npy").write_bytes(b"secret")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "mine.npy").write_bytes(b"mine")
    (tmp_path / "table" / "link.npy").symlink_to(tmp_path / "secret.npy")
    (tmp_path / "table" / "inner.npy").symlink_to(tmp_path / "table" / "mine.npy")
    return tmp_path / "table"


def test_paths_in_cells_cannot_leave_the_folder_of_the_table(table):
    secret = str(table.parent / "secret.npy")
    for cell in ("../secret.npy", secret, "./x/../../secret.npy", "link.npy", f"{table}/../secret.npy"):
        with pytest.raises(DataError, match="is outside the table's folder.*outside: true"):
            file_of(cell, table)
        assert file_of(cell, table, outside=True).read_bytes() == b"secret"
    for cell in ("mine.npy", "inner.npy", f"{table}/mine.npy"):
        assert file_of(cell, table).read_bytes() == b"mine"


def test_a_table_folder_that_is_reached_by_a_link_is_a_folder_like_others(table):
    (table.parent / "other").symlink_to(table)
    assert file_of("mine.npy", table.parent / "other").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_that_reads_files_has_the_switch_off(kind):
    made = KINDS[kind]("a") if kind != "tabular" else KINDS[kind](["a"])
    assert getattr(made, "outside", False) is False


@pytest.mark.parametrize("kind", ["image", "series", "vector", "audio"])
def test_kinds_refuse_a_path_that_leaves(kind, table):
    cells = Cells(pd.DataFrame({"a": ["../secret.npy"] * 4}), table)
    problems = KINDS[kind]("a").check(cells)
    assert any("is outside the table's folder" in problem.message for problem in problems)


def test_a_picture_that_claims_more_pixels_than_are_read_is_refused_before_it_is_decoded():
    import io
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
        )

    for side in (9_500, 60_000, 2**31 - 1):
        header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        assert side**2 > LARGEST
        with pytest.raises(DataError, match="pixels|decompression bomb|cannot be decoded"):
            Decoder(Path()).pixels(bomb, 16)
    small = io.BytesIO()
    PIL.new("RGB", (9, 9)).save(small, "PNG")
    assert Decoder(Path()).pixels(small.getvalue(), 16).shape == (3, 16, 16)


def test_a_picture_that_is_a_program_is_not_run():
    harm = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(harm) (w) file\n%%EOF\n"
    with pytest.raises(DataError, match="EPS format, which is a program and is not run"):
        Decoder(Path()).pixels(harm, 16)
    assert Image("a").check(Cells(pd.DataFrame({"a": [harm]})))


@pytest.mark.parametrize(
    "call",
    [
        "!!python/object/apply:os.system ['exit 3']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object/new:os.system ['exit 3']",
        "!!python/tuple [1]",
    ],
)
def test_yaml_calls_nothing(call, tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read as YAML"):
        read_yaml(f"a: {call}", "settings")
    (tmp_path / "recipe.yaml").write_text(f"name: {call}\n")
    with pytest.raises(ConfigurationError, match="cannot be read as YAML"):
        read_experiment(tmp_path / "recipe.yaml")


class Harm:
    def __reduce__(self):
        return (os.system, ("touch harm",))


def test_no_file_of_an_artifact_is_read_as_a_program(tmp_path, monkeypatch):
    import shutil

    monkeypatch.chdir(tmp_path)
    for path in sorted(folders()[1].glob("*")):
        here = shutil.copytree(folders()[1], tmp_path / f"with {path.name}")
        (here / path.name).write_bytes(pickle.dumps(Harm()))
        if path.name in ("README.md", "files.json"):  # loading does not read these
            load(here)
        else:
            with pytest.raises(CommlearnError):
                load(here)
    (here / "setup.py").write_text("raise SystemExit(7)")
    (here / "modeling.py").write_text("raise SystemExit(7)")
    assert not Path("harm").exists()


def test_an_artifact_cannot_name_files_outside_its_folder(tmp_path):
    import shutil

    here = shutil.copytree(folders()[1], tmp_path / "artifact")
    config = json.loads((here / "config.json").read_text())
    for name in ("../secret", "/etc/hostname", "a/../../secret", ".."):
        config["sha256"] = {**config["sha256"], name: "0" * 64}
        (here / "config.json").write_text(json.dumps(config))
        with pytest.raises(CommlearnError, match="names a file outside its folder"):
            load(here)
        del config["sha256"][name]


def test_what_is_handed_on_names_no_place_and_no_user():
    run, artifact = folders()
    for path in artifact.glob("*"):
        content = path.read_bytes()
        for secret in (str(run), str(run.parent), str(Path.home()), os.environ.get("HOSTNAME", "no host")):
            assert secret == "/" or secret.encode() not in content, f"{path.name} holds {secret}"


def test_nothing_in_the_package_loads_programs():
    """No module contains calls or options that would run the content of a file as a program."""
    words = (
        "pickle.load",
        "joblib",
        "allow_pickle=True",
        "weights_only=False",
        "yaml.unsafe",
        "yaml.full_load",
    )
    words += (
        "trust_remote_code=True",
        "eval(",
        "exec(",
        "os.system",
        "shell=True",
        "torch.hub",
        "__import__(",
    )
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace(".eval(", ".evaluating(").replace("_exec(", "")
        words_inside = [word for word in words if re.search(rf"\b{re.escape(word)}", text)]
        assert not words_inside, f"{path.relative_to(SOURCE)}: {words_inside}"


def test_nothing_is_fetched_unless_a_model_of_a_hub_is_named(tmp_path):
    """Train and embed with every connection refused."""
    program = f"""
import socket
def refused(*_, **__):
    raise SystemExit("something connects")
socket.socket.connect = socket.create_connection = refused
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from hostile_models import folders, frame
import commlearn
print(commlearn.embed(commlearn.load(folders()[1]), frame()).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "(24, " in done.stdout


def test_a_loaded_artifact_embeds_as_the_run(tmp_path):
    from commlearn.trained.embed import embed

    one, two = (embed(load(folder), frame()) for folder in folders())
    np.testing.assert_array_equal(one, two)
