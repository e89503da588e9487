"""On the command line, a stand-in for a published data set is made, converted and trained on."""

from __future__ import annotations

import json
import pickle

import pytest

from commlearn.cli import main


def test_synth_convert_train(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["synth", "mosi", "--rows", "60", "--out", "mosi_raw.pkl"]) == 0
    capsys.readouterr()
    assert main(["convert", "mosi_raw.pkl", "--out", "open", "--json"]) == 0
    assert "open/arrays.safetensors" in json.loads(capsys.readouterr().out)["files"]
    small = [
        "--training.epochs",
        "1",
        "--training.log_every",
        "1",
        "--training.batch_size",
        "16",
        "--training.accelerator",
        "cpu",
    ]
    for path in ("mosi_raw.pkl", "open"):
        assert main(["train", "mosi", "--data", path, "--out", f"run-{path}", *small, "--json"]) == 0
    log = (tmp_path / "run-open" / "log.txt").read_text()
    assert "finished after step" in log
    one, other = (
        (tmp_path / f"run-{path}" / "metrics.jsonl").read_text() for path in ("mosi_raw.pkl", "open")
    )
    assert one == other
    assert main(["probe", "run-open", "--json"]) == 0  # the run stores the path of its data


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "mosi", "--out", "r"], "(on the command line: --data) to the path of mosi_raw.pkl"),
        (["train", "mosi", "--data", "none.pkl", "--out", "r"], "none.pkl does not exist"),
        (["train", "mosi", "--data", "bad.pkl", "--out", "r"], "'os.system'"),
        (["train", "trifeature-quick", "--data", "bad.pkl", "--out", "r"], "data.path"),
        (["convert", "bad.pkl"], "'os.system'"),
        (["convert", "none.pkl"], "none.pkl cannot be read"),
        (["convert", "list.pkl"], "holds a list; expected a dict of arrays"),
        (["convert", "."], "already exists; name a new folder"),
        (["synth", "mosy", "--out", "x"], "'mosy', did you mean 'mosi'"),
        (["synth", "mosi"], "Nothing to write: give --out PATH"),
        (["synth", "mosi", "--out", "x", "--rows", "3"], "rows is 3"),
        (["synth", "mosi", "--out", "x", "--label", "share"], "did you mean 'shared'"),
    ],
)
def test_what_is_wrong_ends_with_2_and_says_the_way_out(tmp_path, capsys, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch FLAG'\ntR.")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1]))
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "FLAG").exists()
