"""The command line as a user sees it: real processes, exit codes, messages and the streams they go to."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from commlearn.cli import main

SMALL = {
    "data.size": 24,
    "data.train_pairs": 128,
    "augmentations.image.size": 24,
    "training.epochs": 1,
    "training.batch_size": 32,
    "training.log_every": 2,
    "training.threads": 1,
    "model.width": 16,
}
SETTINGS = [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]


def commlearn(*words, code=0):
    """Run a command in this process, because a new one takes seconds to start (see `in_a_process`)."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            ended = main([str(word) for word in words])
        except SystemExit as end:  # raised by --help
            ended = end.code
    assert ended == code, errors.getvalue() + out.getvalue()
    return subprocess.CompletedProcess(words, ended, out.getvalue(), errors.getvalue())


def in_a_process(*words, code=0):
    command = [sys.executable, "-m", "commlearn", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    printed = in_a_process("train", "trifeature-quick", "--out", folder, *SETTINGS).stdout
    assert f"Trained to step 4: {folder}\nNext: commlearn report {folder}" in printed
    return folder


def test_help_names_every_command_with_an_example():
    text = commlearn("--help").stdout
    for command in ("train", "probe", "embed", "compare", "synth", "info"):
        assert command in text
        assert "Example" in commlearn(command, "--help").stdout


def test_probe_prints_a_table_and_json(run):
    assert "shared" in commlearn("probe", run, "--target", "shared").stdout
    scores = json.loads(
        commlearn("probe", run, "--targets", "shared", "--modalities", "image1", "--json").stdout
    )
    assert list(scores) == ["shared"]
    assert 0 <= scores["shared"]["balanced_accuracy"] <= 1


def test_embed_writes_embeddings_with_targets(run, tmp_path):
    summary = json.loads(commlearn("embed", run, "-o", tmp_path / "z.npz", "--json").stdout)
    with np.load(tmp_path / "z.npz", allow_pickle=False) as file:
        assert file["embedding"].shape == (summary["records"], 16)
        assert len(file["synergy"]) == summary["records"]


def test_info_tells_what_there_is_and_what_a_run_is(run):
    assert "comm" in json.loads(commlearn("info", "--json").stdout)["methods"]
    assert json.loads(commlearn("info", run, "--json").stdout)["step"] == 4


def test_train_refuses_an_existing_run_and_resumes_it(run):
    refused = commlearn("train", "trifeature-quick", "--out", run, *SETTINGS, code=2)
    assert "already holds a run" in refused.stderr
    commlearn("train", "trifeature-quick", "--out", run, *SETTINGS, "--resume")


def test_synth_draws_a_gallery_and_writes_records(tmp_path):
    words = ["synth", "trifeature", "--size", 24, "--gallery", tmp_path / "g.png", "-o", tmp_path / "d.npz"]
    commlearn(*words)
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "d.npz", allow_pickle=False) as file:
        assert file["train_images"].shape == (2400, 24, 24, 3)
        assert file["test_pairs"].shape[1] == 2


def test_compare_trains_what_is_missing_and_skips_what_is_done(tmp_path, request):
    """The first comparison trains in two processes at a time, the second one in this process."""
    words = ["compare", "trifeature-quick", "--methods", "clip", "--out", tmp_path / "c", "--jobs", 2]
    first = commlearn(*words, *SETTINGS)
    assert first.stderr.count("started:") == 2
    assert max(len(line) for line in first.stdout.splitlines()[:-1]) <= 80
    table = json.loads((tmp_path / "c" / "table.json").read_text())
    assert set(table["methods"]) == {"clip"}
    for row in table["methods"].values():
        assert set(row["scores"]) == {"R", "U", "S"}
        assert all(0 <= cell["mean"] <= 100 for cell in row["scores"].values())
    assert (tmp_path / "c" / "table.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "c" / "clip" / "seed0" / "biased" / "probes.json").unlink()
    request.getfixturevalue("jobs_in_this_process")
    again = commlearn(*words, *SETTINGS)
    assert again.stderr.count("done before:") == 1
    assert again.stderr.count("started:") == 1
    made = json.loads((tmp_path / "c" / "table.json").read_text())
    assert [row["probes"] for row in made["methods"].values()] == [
        row["probes"] for row in table["methods"].values()
    ]
    other = commlearn(*words, *SETTINGS, "--training.learning_rate", "0.1", code=2)
    assert "other settings" in other.stderr


def test_a_method_that_fails_is_reported_and_does_not_take_the_others_down(tmp_path, jobs_in_this_process):
    words = ["compare", "trifeature-quick", "--methods", "clip,raw:image1", "--out", tmp_path, *SETTINGS]
    done = commlearn(*words, "--target", "shared", "--training.learning_rate", "1e30", code=1)
    assert "diverged" in done.stdout
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["methods"]["clip"]["scores"]["shared"]["mean"] is None
    assert table["methods"]["raw:image1"]["scores"]["shared"]["mean"] is not None


def test_a_run_is_finetuned_and_the_result_is_a_run(run, tmp_path):
    words = ["finetune", run, "--target", "shared", "--epochs", 1, "--out", tmp_path / "tuned", "--json"]
    summary = json.loads(commlearn(*words).stdout)
    assert 0 <= summary["probes"]["shared"]["balanced_accuracy"] <= 1
    assert json.loads(commlearn("info", tmp_path / "tuned", "--json").stdout)["recipe"].endswith("shared")


def test_probes_by_neighbours_and_retrieval(run):
    scores = json.loads(
        commlearn("probe", run, "--target", "shared", "--with", "neighbours", "--json").stdout
    )
    assert 0 <= scores["shared"]["auroc"] <= 1
    assert "recall@1" in commlearn("probe", run, "--retrieve", "image1:image2").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "Unknown command 'trian', did you mean 'train'?"),
        (["train", "trifeature-quik"], "did you mean 'trifeature-quick'?"),
        (["train", "trifeature", "--training.epochz", "3"], "did you mean 'training.epochs'?"),
        (
            ["train", "trifeature", "--training.epochs", "some"],
            "training.epochs is 'some'; give a whole number",
        ),
        (["train", "trifeature", "--method", "com"], "did you mean 'comm'?"),
        (["train", "trifeature", "--resumee"], "--resumee"),
        (["train", "trifeature", "--training.epochs"], "needs a value"),
        (["train"], "required: recipe"),
        (["compare", "trifeature-quick", *SETTINGS, "--methods", "clap"], "did you mean 'clip'?"),
        (["compare", "trifeature", "--seeds", "0"], "--seeds is 0"),
        (["finetune", "nowhere", "--target", "y", "--epochs", "0"], "epochs is 0"),
        (["probe", "nowhere"], "nowhere is not a run folder"),
        (["probe", "nowhere", "--tragets", "y"], "did you mean '--targets'?"),
        (["synth", "trifeature"], "Nothing to write"),
        (["synth", "trifeature", "--size", "2", "--gallery", "x.png"], "size is 2"),
    ],
)
def test_mistakes_end_with_code_2_and_one_sentence_that_helps(words, sentence, tmp_path):
    done = commlearn(*words, code=2)
    assert done.stderr.startswith("commlearn: ")
    assert sentence in done.stderr
    assert not done.stdout


def test_a_process_ends_with_the_same_code_and_no_traceback():
    done = in_a_process("trian", code=2)
    assert done.stderr.startswith("commlearn: ")
    assert "did you mean 'train'?" in done.stderr
    assert not done.stdout


def test_a_folder_that_cannot_be_written_is_named():
    done = commlearn("train", "trifeature-quick", *SETTINGS, "--out", "/proc/nowhere", code=2)
    assert "/proc/nowhere" in done.stderr


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path):
    flags = ["--training.accelerator", "cpu", "--training.devices", 2, "--training.strategy", "ddp"]
    done = in_a_process("train", "trifeature-quick", "--out", tmp_path / "run", *SETTINGS, *flags)
    assert done.stdout.count("Trained to step 4") == 1
    assert json.loads(commlearn("info", tmp_path / "run", "--json").stdout)["step"] == 4
