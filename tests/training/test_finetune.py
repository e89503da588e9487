"""Fine-tuning: every sort of target, early stopping by validation only, and resuming to the same weights."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from commlearn.config.configuration import experiment_from
from commlearn.errors import ConfigurationError, DataError, DivergedError, RunError
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.trained.artifact import export, load
from commlearn.trained.embed import embed
from commlearn.trained.model_card import model_card
from commlearn.trained.run_folder import RunFolder
from commlearn.training.finetune import FineTuning, Tuner, finetune, objective_for
from commlearn.training.train import train


def records(count=240, seed=0):
    generator = np.random.default_rng(seed)
    signs = generator.choice([-1.0, 1.0], size=(count, 2))
    values = (signs + 0.2 * generator.normal(size=(count, 2))).astype("float32")
    parity = np.where(signs.prod(axis=1) > 0, "same", "other").astype(object)
    parity[:5] = None
    targets = {
        "parity": parity,
        "product": signs.prod(axis=1) + 0.01 * generator.normal(size=count),
        "signs": np.concatenate([signs > 0, signs.prod(axis=1, keepdims=True) > 0], axis=1),
        "blind": generator.integers(2, size=count),
    }
    return Records({"a": VectorColumn(values[:, :1]), "b": VectorColumn(values[:, 1:])}, targets)


@pytest.fixture(scope="module")
def data():
    return Dataset(records(), records(120, seed=1))


@pytest.fixture(scope="module")
def base(data, tmp_path_factory):
    settings = {"epochs": 1, "batch_size": 32, "log_every": 2, "threads": 1, "accelerator": "cpu"}
    experiment = experiment_from(
        {"name": "small", "data": "trifeature", "model": {"width": 16}, "training": settings}
    )
    return train(experiment, tmp_path_factory.mktemp("base") / "run", data)


def quick(target, **options):
    return FineTuning(target, **{"epochs": 30, "batch_size": 32, "learning_rate": 3e-3, **options})


@pytest.mark.parametrize(
    ("target", "objective", "measure"),
    [
        ("parity", "head", "balanced_accuracy"),
        ("parity", "supcon", "balanced_accuracy"),
        ("product", "head", "r2"),
        ("signs", "head", "weighted_f1"),
    ],
)
def test_every_sort_of_target_is_learned_and_probed(base, data, tmp_path, target, objective, measure):
    run = finetune(base, quick(target, objective=objective), tmp_path / "run", data)
    probes = json.loads((tmp_path / "run" / "probes.json").read_text())
    assert probes[target][measure] > 0.85
    summary = json.loads((tmp_path / "run" / "finetuned.json").read_text())
    assert summary["best_epoch"] <= summary["epochs"] <= 30
    assert summary["train_records"] + summary["validation_records"] == (235 if target == "parity" else 240)
    np.testing.assert_array_equal(embed(run, data.test), embed(load(tmp_path / "run"), data.test))
    assert not np.allclose(embed(run, data.test), embed(base, data.test))


def test_the_base_stays_as_it_is(base, data, tmp_path):
    before = embed(base, data.test)
    tuned = finetune(base, quick("parity", epochs=2), tmp_path / "run", data)
    np.testing.assert_array_equal(before, embed(base, data.test))
    assert (base.saw_labels, tuned.saw_labels, load(tmp_path / "run").saw_labels) == (False, True, True)
    exported = [load(export(run, tmp_path / name)).saw_labels for run, name in ((base, "a"), (tuned, "b"))]
    assert exported == [False, True]
    seen = tuned.rows.label_counts["parity"]
    assert 0 < seen <= len(data.train)
    assert f"with {seen} labels of parity" in model_card(tuned, {})


def test_classes_that_json_has_no_type_for_are_written_as_text(base, tmp_path):
    days = np.array(["2026-11-29", "2026-11-30"], dtype="datetime64[D]")
    parts = [
        replace(part, targets={"day": days[np.arange(len(part)) % 2]})
        for part in (records(64), records(32, 1))
    ]
    finetune(base, quick("day", epochs=1), tmp_path / "run", Dataset(*parts))
    summary = json.loads((tmp_path / "run" / "finetuned.json").read_text())
    assert summary["classes"] == ["2026-11-29", "2026-11-30"]


def test_it_ends_early_and_keeps_the_weights_of_the_best_epoch(base, data, tmp_path):
    run = finetune(base, quick("blind", patience=2), tmp_path / "run", data)
    summary = json.loads((tmp_path / "run" / "finetuned.json").read_text())
    looks = [json.loads(line) for line in (tmp_path / "run" / "validation.jsonl").read_text().splitlines()]
    assert summary["epochs"] == summary["best_epoch"] + 2 < 30
    best = min(looks, key=lambda look: look["loss"])
    assert (best["epoch"], best["loss"]) == (summary["best_epoch"], summary["validation_loss"])
    state, _ = run.folder.state()
    weights = state["best"]["weights"]
    for name, tensor in run.method.state_dict().items():
        assert torch.equal(tensor, weights[f"method.{name}"])


def test_test_records_have_no_influence(base, data, tmp_path):
    other = Dataset(data.train, records(60, seed=5))
    one, two = (
        finetune(base, quick("parity", epochs=3), tmp_path / str(i), part)
        for i, part in enumerate((data, other))
    )
    np.testing.assert_array_equal(embed(one, data.test), embed(two, data.test))


def test_a_validation_part_is_used_where_there_is_one(base, data, tmp_path):
    given = Dataset(data.train, data.test, validation=records(50, seed=3))
    finetune(base, quick("blind", epochs=1), tmp_path / "run", given)
    summary = json.loads((tmp_path / "run" / "finetuned.json").read_text())
    assert (summary["train_records"], summary["validation_records"]) == (240, 50)


def test_a_run_killed_between_validation_and_checkpoint_states_no_epoch_twice(
    base, data, tmp_path, monkeypatch
):
    finetune(base, quick("parity", epochs=3), tmp_path / "whole", data)
    save, saved = RunFolder.save, []

    def killed(self, state):
        if saved:
            raise InterruptedError
        saved.append(state["step"])
        save(self, state)

    monkeypatch.setattr(RunFolder, "save", killed)
    with pytest.raises(InterruptedError):
        finetune(base, quick("parity", epochs=3), tmp_path / "cut", data)
    monkeypatch.undo()
    finetune(base, quick("parity", epochs=3), tmp_path / "cut", data, resume=True)
    whole, cut = (tmp_path / name / "validation.jsonl" for name in ("whole", "cut"))
    assert cut.read_text() == whole.read_text()


def test_an_interrupted_run_goes_on_to_the_same_weights(base, data, tmp_path, monkeypatch):
    whole = finetune(base, quick("parity", epochs=4), tmp_path / "whole", data)
    losses, calls = Tuner._losses, []

    def stops(self, *words):
        calls.append(1)
        if len(calls) == 9:
            signal_self()
        return losses(self, *words)

    monkeypatch.setattr(Tuner, "_losses", stops)
    with pytest.raises(SystemExit):
        finetune(base, quick("parity", epochs=4), tmp_path / "cut", data)
    monkeypatch.undo()
    resumed = finetune(base, quick("parity", epochs=4), tmp_path / "cut", data, resume=True)
    for name, tensor in whole.method.state_dict().items():
        assert torch.equal(tensor, resumed.method.state_dict()[name])
    assert whole.folder.metrics() == resumed.folder.metrics()
    steps = resumed.step
    assert finetune(base, quick("parity", epochs=4), tmp_path / "cut", data, resume=True).step == steps


def signal_self():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGTERM)


def test_mistakes_are_told_before_anything_is_trained(base, data, tmp_path):
    with pytest.raises(ConfigurationError, match="2 problems"):
        FineTuning("parity", epochs=0, validation=1.0)
    with pytest.raises(DataError, match="'parrity', did you mean 'parity'"):
        finetune(base, "parrity", tmp_path / "run", data)
    with pytest.raises(DataError, match="does not accept targets of sort number"):
        finetune(base, quick("product", objective="supcon"), tmp_path / "run", data)
    assert not (tmp_path / "run").exists()
    finetune(base, quick("parity", epochs=1), tmp_path / "run", data)
    with pytest.raises(RunError, match="already holds a run"):
        finetune(base, quick("parity", epochs=1), tmp_path / "run", data)
    with pytest.raises(RunError, match="patience was 5, now 9"):
        finetune(base, quick("parity", epochs=1, patience=9), tmp_path / "run", data, resume=True)
    with pytest.raises(RunError, match=r"learning_rate was 0\.003, now 0\.1") as refusal:
        finetune(base, quick("parity", epochs=1, learning_rate=0.1), tmp_path / "run", data, resume=True)
    finetune(base, quick("parity", epochs=1), tmp_path / "run", data, resume=True)
    assert refusal.tb is not None  # the folder is free although the error is still held


def test_a_fine_tuning_is_not_resumed_from_another_base(base, data, tmp_path):
    finetune(base, quick("parity", epochs=1), tmp_path / "run", data)
    other = replace(base, method=copy.deepcopy(base.method))
    with torch.no_grad():
        next(other.method.parameters()).add_(1)
    with pytest.raises(RunError, match="from another base"):
        finetune(other, quick("parity", epochs=1), tmp_path / "run", data, resume=True)
    finetune(base, quick("parity", epochs=1), tmp_path / "run", data, resume=True)
    stored = json.loads((tmp_path / "run" / "finetune.json").read_text())
    (tmp_path / "run" / "finetune.json").write_text(json.dumps({**stored, "base": 1}))
    with pytest.raises(RunError, match="from another base"):
        finetune(base, quick("parity", epochs=1), tmp_path / "run", data, resume=True)
    del stored["base"]  # as earlier versions wrote it
    (tmp_path / "run" / "finetune.json").write_text(json.dumps(stored))
    finetune(other, quick("parity", epochs=1), tmp_path / "run", data, resume=True)


def test_a_refused_fine_tuning_leaves_the_run_that_it_would_have_replaced(base, data, tmp_path):
    folder = tmp_path / "run"
    finetune(base, quick("parity", epochs=1), folder, data)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    training = replace(base.experiment.training, accelerator="mps" if torch.cuda.is_available() else "cuda")
    elsewhere = replace(base, experiment=replace(base.experiment, training=training))
    with pytest.raises(ConfigurationError, match="do not fit this machine"):
        finetune(elsewhere, quick("parity", epochs=1), folder, data, overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    finetune(base, quick("blind", epochs=1), folder, data, overwrite=True)
    assert "started at step 0" in (folder / "log.txt").read_text().splitlines()[0]
    assert json.loads((folder / "finetune.json").read_text())["target"] == "blind"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"epochs": 1.5}, "epochs"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_the_first_step(base, data, tmp_path, options, message):
    with pytest.raises(ConfigurationError, match=message):
        finetune(base, quick("parity", **options), tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("objective", "rows", "labels"), [("supcon", 1, "same"), ("head", 4, "new"), ("supcon", 4, "new")]
)
def test_validation_records_without_a_loss_are_refused(base, data, tmp_path, objective, rows, labels):
    validation = data.test.choose(np.arange(10, 10 + rows))
    validation.targets["parity"][:] = labels
    few = Dataset(data.train, data.test, validation)
    with pytest.raises(DataError, match="labelled validation records are too few"):
        finetune(base, quick("parity", objective=objective, epochs=1), tmp_path / "run", few)
    assert not (tmp_path / "run").exists()


def test_what_diverges_is_told_and_never_kept(base, data, tmp_path, monkeypatch):
    """Neither as the best epoch by a validation loss, nor in the checkpoint of an interruption."""
    losses, calls = Tuner._losses, []

    def breaks(self, *words):
        yield from losses(self, *words)
        calls.append(1)
        with torch.no_grad():
            next(self.tuned.parameters()).fill_(float("nan"))
        if len(calls) == 2:
            signal_self()

    monkeypatch.setattr(Tuner, "_losses", breaks)
    with pytest.raises(DivergedError, match="loss term 'parity' is nan at step 2"):
        finetune(base, quick("parity"), tmp_path / "cut", data)
    assert not list((tmp_path / "cut" / "checkpoints").glob("*.ckpt"))
    calls.append(1)
    with pytest.raises(DivergedError, match="validation loss is nan after epoch 1"):
        finetune(base, quick("parity", epochs=1, batch_size=240), tmp_path / "whole", data)


def test_labels_of_several_types_are_classes_by_what_they_say():
    mixed = np.array([1, "two", 1, True], dtype=object)
    objective = objective_for("head", "class", mixed)
    assert objective.about["classes"] == ["1", "True", "two"]
    assert objective.encode(mixed).tolist() == [0, 2, 0, 1]


def test_a_class_that_no_training_record_has_is_passed_over():
    objective = objective_for("head", "class", np.array(["a", "b", "a"]))
    codes = objective.encode(np.array(["b", "new"]))
    assert codes.tolist() == [1, -1]
    outputs = torch.tensor([[0.0, 5.0], [9.0, 0.0]])
    assert objective.loss([outputs], codes).item() == pytest.approx(np.log1p(np.exp(-5.0)), abs=1e-4)


def test_numbers_are_learned_in_units_of_their_spread():
    objective = objective_for("head", "number", np.array([1000.0, 3000.0]))
    assert objective.encode(np.array([1000.0, 2000.0])).flatten().tolist() == [-1.0, 0.0]
