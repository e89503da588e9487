"""Training: what a run leaves behind, that it resumes as if never stopped, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from small_runs import assert_same, data, experiment, weights

from commlearn.batch import Spec
from commlearn.config.build import build_method
from commlearn.config.configuration import experiment_from
from commlearn.cores import cores
from commlearn.errors import CheckpointError, ConfigurationError, RunError, TrainingError
from commlearn.methods import METHODS
from commlearn.methods.comm import CoMM
from commlearn.models.build import build_encoders
from commlearn.models.fusion import ConcatFusion
from commlearn.records import Dataset
from commlearn.storage.checkpoint import last_checkpoint, read_checkpoint, write_checkpoint
from commlearn.trained.run import load_run
from commlearn.trained.run_folder import RunFolder
from commlearn.training.descent import adamw, learning_rate_factor
from commlearn.training.loop import _clip
from commlearn.training.train import train
from commlearn.training.watch import Interrupt

STEPS = 12  # 3 epochs of 4 batches


def test_a_run_leaves_its_configuration_versions_metrics_and_checkpoints(tmp_path):
    run = train(experiment(), tmp_path / "run", data())
    assert run.step == STEPS
    folder = tmp_path / "run"
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "metrics.csv", "log.txt"):
        assert (folder / name).stat().st_size > 0
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 4, 6, 8, 10, 12]
    assert set(entries[0]["terms"]) == {"left", "right", "left+right"} == set(entries[0]["accuracy"])
    assert (
        (folder / "metrics.csv").read_text().splitlines()[0].startswith("step,epoch,learning_rate,terms.left")
    )
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}


@pytest.mark.parametrize("name", ["config.yaml", "modalities.json"])
@pytest.mark.parametrize("content", ["", "[1, 2", "[1, 2]", None])
def test_a_damaged_run_folder_names_the_file(tmp_path, name, content):
    folder = RunFolder(tmp_path)
    folder.create(experiment(), data())
    assert folder.specs()["left"] == ("vector", (5,))
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    with pytest.raises(RunError, match=rf"{name} is missing or damaged|not a run folder: it has no {name}"):
        folder.specs() if name == "modalities.json" else folder.experiment()


@pytest.mark.parametrize("part", [0, 3])
def test_records_of_one_group_are_not_contrasted_with_each_other(part, tmp_path):
    records = replace(data().train, groups=np.full(32, 2**63 + 5, dtype=np.uint64))
    training = experiment("crossself", epochs=1, log_every=1, micro_batch=part)
    train(training, tmp_path / "run", Dataset(records, records))
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [value for entry in entries for value in entry["terms"].values()] == pytest.approx(
        [0.0] * 12, abs=1e-5
    )


def test_a_method_that_yields_more_losses_than_it_announces_is_refused(tmp_path, monkeypatch):
    class Twice(CoMM):
        def steps(self, batch):
            yield from super().steps(batch)
            yield from super().steps(batch)

    monkeypatch.setitem(METHODS, "twice", Twice)
    with pytest.raises(ConfigurationError, match=r"Twice.steps yields more .* steps_per_batch \(1\)"):
        train(experiment("twice"), tmp_path / "run", data())


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_weights_and_another_others(method, tmp_path):
    for name in ("one", "two"):
        train(experiment(method), tmp_path / name, data())
    assert_same(tmp_path / "one", tmp_path / "two")
    other = experiment_from({**_mapping(experiment(method)), "seed": 1})
    train(other, tmp_path / "other", data())
    one, two = weights(tmp_path / "one"), weights(tmp_path / "other")
    assert any(not torch.equal(one[key], two[key]) for key in one)


RESUMED = [("comm", 1), ("comm", 5), ("comm", 7), ("comm", 11), ("factorcl", 7), ("infmasking", 6)]
RESUMED += [("coral", 6), ({"name": "comm", "contrast": "sigreg"}, 7)]  # these draw masks, and directions
RESUMED += [({"name": "comm", "prediction": 2.0}, 5)]


@pytest.mark.parametrize(("method", "stop_at"), RESUMED)
def test_a_resumed_run_ends_as_one_never_stopped(method, stop_at, tmp_path, monkeypatch):
    train(experiment(method), tmp_path / "whole", data())
    chosen = METHODS[experiment(method).method["name"]]
    _interrupt_after(monkeypatch, stop_at, chosen)
    with pytest.raises(KeyboardInterrupt):
        train(experiment(method), tmp_path / "stopped", data())
    monkeypatch.undo()
    assert RunFolder(tmp_path / "stopped").state()[0]["step"] == stop_at
    train(experiment(method), tmp_path / "stopped", data(), resume=True)
    assert_same(tmp_path / "whole", tmp_path / "stopped")
    assert len(RunFolder(tmp_path / "stopped").state()[0]["optimizers"]) == chosen.steps_per_batch


@pytest.fixture
def same_threads_after():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("same_threads_after")
def test_a_run_says_its_threads_and_warns_when_it_goes_on_with_others(tmp_path):
    folder = tmp_path / "run"
    train(experiment(threads=2), folder, data())
    assert json.loads((folder / "environment.json").read_text())["threads"] == 2
    previous = folder / "checkpoints" / "previous.ckpt"
    assert read_checkpoint(previous)["threads"] == 2
    for threads in (1, 2):
        shutil.copy(previous, folder / "checkpoints" / "last.ckpt")
        shutil.copy(previous, tmp_path / "earlier.ckpt")
        run = train(experiment(threads=threads), folder, data(), resume=True)
        warned = [warning for warning in run.warnings if "CPU threads" in warning]
        assert len(warned) == (threads == 1)
        if warned:
            assert "had 2 CPU threads, now it has 1" in warned[0]
            assert warned[0] in (folder / "log.txt").read_text()
        shutil.copy(tmp_path / "earlier.ckpt", previous)
    assert not any("CPU" in w for w in train(experiment(threads=1), folder, data(), resume=True).warnings)


@pytest.mark.usefixtures("same_threads_after")
def test_a_run_goes_on_with_the_threads_that_it_had_unless_others_are_stated(tmp_path, monkeypatch):
    folder, several = tmp_path / "run", cores() > 1
    torch.set_num_threads(min(2, cores()))
    train(experiment(), folder, data())
    for stated, threads in (("1", 1), ("", min(2, cores()))):
        shutil.copytree(folder, tmp_path / f"again{stated}")
        previous = tmp_path / f"again{stated}" / "checkpoints" / "previous.ckpt"
        previous.rename(previous.with_name("last.ckpt"))
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
        torch.set_num_threads(1)
        run = train(experiment(), tmp_path / f"again{stated}", data(), resume=True)
        assert torch.get_num_threads() == threads
        assert any("CPU threads" in warning for warning in run.warnings) == (several and threads == 1)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    train(experiment(), tmp_path / "run", data())
    before = weights(tmp_path / "run")
    assert train(experiment(), tmp_path / "run", data(), resume=True).step == STEPS
    assert all(torch.equal(before[key], value) for key, value in weights(tmp_path / "run").items())


def test_what_was_read_off_an_earlier_state_goes_with_further_steps(tmp_path):
    folder = train(experiment(), tmp_path / "run", data()).folder
    folder.write("probes.json", "{}")
    train(experiment(), folder.path, data(), resume=True)
    assert (folder.path / "probes.json").exists()  # no step was added
    (folder.checkpoints / "previous.ckpt").rename(folder.checkpoints / "last.ckpt")
    train(experiment(), folder.path, data(), resume=True)
    assert not (folder.path / "probes.json").exists()


def test_a_loaded_run_embeds_as_the_trained_one(tmp_path):
    run = train(experiment(), tmp_path / "run", data())
    view = data().test.view(slice(0, 4))
    assert torch.equal(load_run(tmp_path / "run").method.embed(view), run.method.embed(view))


def test_a_run_folder_is_not_overwritten_unless_told(tmp_path):
    train(experiment(), tmp_path / "run", data())
    with pytest.raises(RunError, match="resume=True.*overwrite=True.*out="):
        train(experiment(), tmp_path / "run", data())
    train(experiment(epochs=1), tmp_path / "run", data(), overwrite=True)
    assert RunFolder(tmp_path / "run").state()[0]["step"] == 4


def test_resuming_with_other_settings_names_them_and_leaves_the_folder_free(tmp_path):
    train(experiment(), tmp_path / "run", data())
    with pytest.raises(RunError, match=r"training.learning_rate was 0.0003, now 0.1") as refusal:
        train(experiment(learning_rate=0.1), tmp_path / "run", data(), resume=True)
    assert train(experiment(), tmp_path / "run", data(), resume=True).step == STEPS
    assert refusal.tb is not None  # a notebook keeps all that its last error refers to


def test_a_training_of_one_step_learns(tmp_path):
    settings = experiment(epochs=1, batch_size=32, warmup_epochs=0.0)
    run = train(settings, tmp_path / "run", data())
    (entry,) = run.folder.metrics()
    assert (run.step, entry["learning_rate"]) == (1, settings.training.learning_rate)
    first = dict(build_method(settings, data().train.specs).named_parameters())
    assert any(not torch.equal(first[name], value) for name, value in run.method.named_parameters())
    two = train(experiment(epochs=2, batch_size=32, warmup_epochs=0.0), tmp_path / "two", data())
    assert [entry["learning_rate"] for entry in two.folder.metrics()][-1] == 0.0  # the end of a cosine


def test_a_second_run_in_one_folder_is_refused_while_the_first_lives(tmp_path):
    first = RunFolder(tmp_path / "run")
    first.lock()
    with pytest.raises(RunError, match="Another process"):
        train(experiment(), tmp_path / "run", data())
    first.unlock()
    train(experiment(epochs=1), tmp_path / "run", data())


def test_a_batch_larger_than_the_data_is_named(tmp_path):
    with pytest.raises(TrainingError, match="batch_size is 64, but there are only 32 training records"):
        train(experiment(batch_size=64), tmp_path / "run", data())


def test_a_loss_that_is_not_finite_stops_with_step_term_and_last_good_checkpoint(tmp_path, monkeypatch):
    _poison(monkeypatch, step=8)
    with pytest.raises(
        TrainingError, match=r"'right' is nan at step 8.*last good checkpoint is that of step 5"
    ):
        train(experiment(), tmp_path / "run", data())
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    train(experiment(), tmp_path / "run", data())
    whole = weights(tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    for damage in (content[:1000], content[:-1], content[:500] + b"\0" + content[501:], b""):
        last.write_bytes(damage)
        state, warnings = last_checkpoint(last.parent)
        assert state["step"] == 10
        assert "last.ckpt" in warnings[0]
    train(experiment(), tmp_path / "run", data(), resume=True)
    assert all(torch.equal(whole[key], value) for key, value in weights(tmp_path / "run").items())


def test_a_checkpoint_of_another_architecture_is_named(tmp_path):
    train(experiment(), tmp_path / "run", data())
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("width: 16", "width: 32"))
    with pytest.raises(CheckpointError, match=r"does not fit the model.*width 32"):
        load_run(tmp_path / "run")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return (os.system, ("touch harm",))

    path = write_checkpoint(tmp_path, {"step": 1, "method": Harm()})
    with pytest.raises(Exception, match="(?i)weights.only|unsupported"):
        read_checkpoint(path)
    assert not Path("harm").exists()


def test_no_space_to_write_is_a_clear_sentence_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, {"step": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device. Free some space"):
        write_checkpoint(tmp_path, {"step": 2})
    monkeypatch.undo()
    assert last_checkpoint(tmp_path)[0] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("largest", [0.0, 0.1])
def test_gradients_that_are_scaled_are_measured_and_clipped_as_they_are(largest):
    """16-bit mixed precision scales the loss, and with it the gradients, until the optimizer's step."""
    norms, gradients, weights = [], [], []
    for scale in (None, 1024.0):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0)
        plugins = [] if scale is None else [MixedPrecision("16-mixed", "cpu", scaler)]
        fabric = Fabric(accelerator="cpu", plugins=plugins)
        torch.manual_seed(0)
        layer, rows = torch.nn.Linear(4, 1), torch.randn(8, 4)
        player, optimizer = fabric.setup(layer, adamw(layer, layer.parameters(), experiment().training))
        fabric.backward((player.weight * rows).square().mean())
        norms.append(_clip(fabric, optimizer, largest))
        gradients.append(layer.weight.grad / (scale or 1.0))
        optimizer.step()
        weights.append(layer.weight.detach())
    assert norms[0] > 0.1
    for one, other in (norms, gradients, weights):
        torch.testing.assert_close(other, one)


def test_biases_norms_and_vectors_are_not_decayed():
    method = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Conv2d(1, 2, 3))
    training = experiment(weight_decay=0.5).training
    decayed, free = adamw(method, method.parameters(), training).param_groups
    assert [p.shape for p in decayed["params"]] == [(4, 3), (2, 1, 3, 3)]
    assert decayed["weight_decay"] == 0.5
    assert len(free["params"]) == 4
    assert free["weight_decay"] == 0


def test_of_comm_on_tables_no_bias_is_decayed_whatever_its_shape():
    specs = {name: Spec("tabular", (3, 4)) for name in ("labs", "bias")}  # 3 numbers and a category
    fusion = ConcatFusion(list(specs), 16)
    method = CoMM.build(build_encoders(specs, 16, {}), 16, fusion=fusion, embedding="fused+tokens")
    training = experiment(weight_decay=0.5).training
    decayed, free = adamw(method, method.parameters(), training).param_groups
    names = {parameter: name for name, parameter in method.named_parameters()}
    tokenizer = "encoders.labs.adapter.numbers"
    assert {f"{tokenizer}.weight", "fusion.maps.bias"} <= {names[p] for p in decayed["params"]}
    biases = {name for name in names.values() if name.endswith(".bias") and ".maps." not in name}
    assert f"{tokenizer}.bias" in biases
    assert biases <= {names[p] for p in free["params"]}
    assert all(p.ndim > 1 for p in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_the_rate_warms_up_then_falls_to_its_end():
    training = experiment(
        epochs=10, learning_rate=1.0, warmup_epochs=2, schedule="cosine", final_learning_rate=0.1
    ).training
    rates = [learning_rate_factor(training, epoch) for epoch in (0, 1, 2, 6, 10)]
    assert rates == pytest.approx([0, 0.5, 1.0, 0.55, 0.1])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_leaves_a_checkpoint_that_continues_to_the_same_weights(number, code, tmp_path):
    command = [sys.executable, "-m", "commlearn", "train", "trifeature-quick", "--quiet"]
    command += ["--data.size", "24", "--data.train_pairs", "320", "--training.epochs", "4"]
    command += ["--training.threads", "1", "--training.log_every", "1", "--augmentations.image.size", "24"]
    command += ["--training.batch_size", "16"]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "stopped")])
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == code
    step = RunFolder(tmp_path / "stopped").state()[0]["step"]
    assert 3 <= step < 80
    assert subprocess.run([*command, "--out", str(tmp_path / "stopped"), "--resume"]).returncode == 0
    assert subprocess.run([*command, "--out", str(tmp_path / "whole")]).returncode == 0
    assert_same(tmp_path / "stopped", tmp_path / "whole")


@pytest.fixture
def usual_ctrl_c():
    """Handle Ctrl-C as on a terminal; processes in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_second_ctrl_c_ends_the_step_in_progress():
    with Interrupt() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signalled
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with Interrupt() as stop:  # its first Ctrl-C only asks to stop, as before
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signalled


def _interrupt_after(monkeypatch, steps: int, method: type = CoMM) -> None:
    """Send Ctrl-C while step number `steps` is computed."""
    count, original = 0, method.steps

    def counting(self, batch):
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGINT)
        yield from original(self, batch)

    monkeypatch.setattr(method, "steps", counting)


def _poison(monkeypatch, step: int) -> None:
    count, original = 0, CoMM.steps

    def poisoned(self, batch):
        nonlocal count
        count += 1
        for made in original(self, batch):
            if count == step:
                made.terms["right"] = made.terms["right"] * float("nan")
            yield made

    monkeypatch.setattr(CoMM, "steps", poisoned)


def _mapping(experiment):
    from commlearn.config.configuration import to_mapping

    return to_mapping(experiment)
