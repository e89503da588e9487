"""Folders of the first format can always be read, and give the embeddings that were recorded with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from commlearn.errors import CommlearnError
from commlearn.storage.checkpoint import MAGIC, read_checkpoint
from commlearn.trained.artifact import load
from commlearn.trained.embed import embed

FORMATS = sorted((Path(__file__).parent / "data").glob("format*"))


@pytest.mark.parametrize("folder", FORMATS, ids=[folder.name for folder in FORMATS])
@pytest.mark.parametrize("model", ["artifact", "run"])
def test_what_was_written_then_embeds_as_then(folder, model, tmp_path):
    here = shutil.copytree(folder / model, tmp_path / model)
    recorded = np.load(folder / "embeddings.npy")
    now = embed(load(here), folder / "table.csv")
    assert recorded.std() > 0
    np.testing.assert_allclose(now, recorded, rtol=1e-4, atol=1e-5)  # kernels differ between machines


@pytest.mark.parametrize("folder", FORMATS, ids=[folder.name for folder in FORMATS])
def test_a_checkpoint_of_then_is_read(folder):
    state = read_checkpoint(folder / "run" / "checkpoints" / "last.ckpt")
    assert state["step"] == state["total"] > 0
    assert state["optimizers"]


def test_there_is_a_first_format():
    assert [folder.name for folder in FORMATS][:1] == ["format1"]
    assert sum(path.stat().st_size for path in FORMATS[0].rglob("*") if path.is_file()) < 200 * 1024


def test_formats_that_are_newer_are_refused_by_name(tmp_path):
    here = shutil.copytree(FORMATS[0] / "artifact", tmp_path / "artifact")
    config = json.loads((here / "config.json").read_text())
    (here / "config.json").write_text(json.dumps({**config, "format": 9}))
    with pytest.raises(CommlearnError, match=r"(?s)format 9.*Update commlearn"):
        load(here)
    run = shutil.copytree(FORMATS[0] / "run", tmp_path / "run")
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes().replace(MAGIC, b"commlearn checkpoint 9\n", 1))
    with pytest.raises(CommlearnError, match=r"has format 9.*Update commlearn"):
        load(run)
