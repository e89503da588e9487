"""Callbacks: when they are called, how they stop a training, and what trackers receive."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import types

import pytest
from small_runs import assert_same, data, experiment

import commlearn as cl
from commlearn.cli import main
from commlearn.errors import ConfigurationError
from commlearn.trained.run_folder import RunFolder
from commlearn.training.callbacks import TRACKERS
from commlearn.training.train import train

STEPS = 12  # 3 epochs of 4 batches; metrics every second step


class Diary(cl.Callback):
    """Records every call; can ask to stop at a step or an epoch, or send a signal."""

    def __init__(self, step=0, epoch=0, interrupt=0):
        self.calls, self.at_step, self.at_epoch, self.interrupt = [], step, epoch, interrupt

    def start(self, start):
        self.calls.append(("start", start.step, start.total, start.steps_per_epoch))

    def step(self, step, metrics):
        self.calls.append(("step", step, metrics["step"]))
        if step == self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        return step == self.at_step

    def epoch(self, epoch, metrics):
        self.calls.append(("epoch", epoch, metrics["step"]))
        return epoch == self.at_epoch

    def end(self, error):
        self.calls.append(("end", type(error).__name__))
        return True  # must not hide the error

    def of(self, what):
        return [call[1] for call in self.calls if call[0] == what]


def log_of(folder):
    return (folder / "log.txt").read_text(encoding="utf-8")


def test_callbacks_are_called_in_the_order_of_the_training(tmp_path):
    diary = Diary()
    train(experiment(), tmp_path / "run", data(), callbacks=[diary])
    assert diary.calls[0] == ("start", 0, STEPS, 4)
    assert diary.of("step") == [2, 4, 6, 8, 10, 12]
    assert [call for call in diary.calls if call[0] == "epoch"] == [("epoch", n, 4 * n) for n in (1, 2, 3)]
    assert diary.calls[-1] == ("end", "NoneType")


def test_a_single_callback_needs_no_list(tmp_path):
    diary = Diary()
    run = train(experiment(epochs=1), tmp_path / "run", data(), callbacks=diary)
    cl.finetune(run, "half", tmp_path / "tuned", data(), callbacks=diary)
    assert [call[0] for call in diary.calls].count("start") == 2


def test_a_tensorboard_that_cannot_be_imported_is_left_out_with_a_warning(tmp_path, monkeypatch):
    installed = types.ModuleType("tensorboard")
    installed.__spec__ = types.SimpleNamespace(name="tensorboard")
    monkeypatch.setitem(sys.modules, "tensorboard", installed)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.warns(RuntimeWarning, match="TensorBoard cannot be imported"):
        run = train(experiment(), tmp_path / "run", data())
    assert run.step == STEPS
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_metrics_are_those_of_the_folder_and_the_speed(tmp_path):
    entries = []

    class Keep(cl.Callback):
        def step(self, step, metrics):
            assert metrics["samples_per_second"] > 0
            entries.append({key: part for key, part in metrics.items() if key != "samples_per_second"})

    run = train(experiment(), tmp_path / "run", data(), callbacks=[Keep()])
    assert run.folder.metrics() == entries


@pytest.mark.parametrize(("ask", "step"), [({"step": 6}, 6), ({"epoch": 2}, 8)])
def test_one_that_asks_stops_the_training_and_resume_goes_on_to_the_same_weights(ask, step, tmp_path):
    run = train(experiment(), tmp_path / "run", data(), callbacks=[Diary(), Diary(**ask), Diary()])
    assert run.step == step
    assert f"stopped by a callback after step {step}" in log_of(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.csv").exists()
    diary = Diary()
    assert train(experiment(), tmp_path / "run", data(), resume=True, callbacks=[diary]).step == STEPS
    assert diary.calls[0] == ("start", step, STEPS, 4)
    train(experiment(), tmp_path / "whole", data())
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_one_that_asks_at_the_last_step_changes_nothing(tmp_path):
    run = train(experiment(), tmp_path / "run", data(), callbacks=[Diary(step=STEPS)])
    assert run.step == STEPS
    assert "finished after step" in log_of(tmp_path / "run")


def test_a_signal_ends_it_for_all_callbacks_with_the_error(tmp_path):
    diary, other = Diary(interrupt=6, step=6), Diary()
    with pytest.raises(KeyboardInterrupt):
        train(experiment(), tmp_path / "run", data(), callbacks=[diary, other])
    assert diary.calls[-1] == other.calls[-1] == ("end", "KeyboardInterrupt")
    assert "interrupted after step 6" in log_of(tmp_path / "run")


def test_one_that_cannot_start_leaves_the_others_ended(tmp_path):
    class Broken(cl.Callback):
        def start(self, start):
            raise OSError("no disk")

        def end(self, error):
            raise AssertionError("was never started")

    diary = Diary()
    with pytest.raises(OSError, match="no disk"):
        train(experiment(), tmp_path / "run", data(), callbacks=[diary, Broken()])
    assert [call[0] for call in diary.calls] == ["start", "end"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([print], "callbacks contains a builtin_function_or_method.*commlearn.Callback"),
        ([Diary], "callbacks contains a Diary, which is a class"),
        (["mlflo"], "Unknown tracker 'mlflo', did you mean 'mlflow'"),
        ("mlflo", "Unknown tracker 'mlflo', did you mean 'mlflow'"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_written(given, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message):
        train(experiment(), tmp_path / "run", data(), callbacks=given)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_fine_tuning_calls_them_and_stops_after_the_epoch(tmp_path):
    run = train(experiment(epochs=1), tmp_path / "base", data(64))
    diary = Diary(epoch=2)
    cl.finetune(run, "half", tmp_path / "tuned", data(64), callbacks=[diary])
    assert diary.of("epoch") == [1, 2]
    assert diary.calls[-1] == ("end", "NoneType")


# trackers: first stand-ins with the same calls, then the packages themselves if they are installed


class Server:
    """Records what trackers were sent: the settings and values of each run, and how it ended."""

    def __init__(self):
        self.runs, self.active = {}, None

    def begin(self, name, resumed):
        assert resumed == (name in self.runs)
        self.active = self.runs.setdefault(name, {"settings": {}, "values": [], "ended": []})
        return name

    def log(self, values, step=None):
        assert all(isinstance(value, float | int) for value in values.values())
        self.active["values"].append((step, dict(values)))


@pytest.fixture
def server(monkeypatch):
    """Install modules with the calls of the three packages; return a record of what they were sent."""
    server = Server()

    class MlflowException(Exception):
        pass

    def start_run(run_id=None, run_name=None, nested=False):
        name = server.begin(run_id or f"run {len(server.runs)}", run_id is not None)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=name))

    def log_params(pairs):
        assert len(pairs) <= 100
        server.active["settings"] |= pairs

    def client(finish):
        return types.SimpleNamespace(id=None, name=None, log=server.log, finish=finish)

    def wandb_init(project, name, id, resume, config, reinit):
        run = client(lambda exit_code: server.active["ended"].append(exit_code))
        run.id = server.begin(id or f"run {len(server.runs)}", resume == "allow")
        server.active["settings"] |= config
        return run

    def trackio_init(project, name, config, resume, embed):
        assert embed is False
        run = client(lambda: server.active["ended"].append(0))
        run.name = server.begin(name or f"run {len(server.runs)}", resume == "must")
        server.active["settings"] |= config
        print("* a line on standard output")
        return run

    modules = {
        "mlflow": {
            "start_run": start_run,
            "log_params": log_params,
            "log_metrics": server.log,
            "end_run": lambda status: server.active["ended"].append(int(status == "FAILED")),
        },
        "mlflow.exceptions": {"MlflowException": MlflowException},
        "wandb": {"init": wandb_init, "Error": type("Error", (Exception,), {})},
        "trackio": {"init": trackio_init},
    }
    for name, parts in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = types.SimpleNamespace(name=name)
        module.__dict__.update(parts)
        monkeypatch.setitem(sys.modules, name, module)
    server.failure = MlflowException
    return server


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_gets_settings_and_metrics_and_resume_goes_on_with_its_run(
    name, server, tmp_path, capsys, monkeypatch
):
    for other in TRACKERS.keys() - {name}:
        monkeypatch.setitem(sys.modules, other, None)  # a tracker does not need the others
    train(experiment(), tmp_path / "run", data(), callbacks=[name, Diary(step=6)])
    assert capsys.readouterr().out == ""
    train(experiment(), tmp_path / "run", data(), resume=True, callbacks=[name])
    (sent,) = server.runs.values()
    assert sent["settings"]["training.epochs"] == 3
    assert [step for step, _ in sent["values"]] == [2, 4, 6, 8, 10, 12]
    term = "terms/left_right" if name == "mlflow" else "terms/left+right"
    assert {term, "accuracy/left", "learning_rate", "samples_per_second"} <= set(sent["values"][0][1])
    assert sent["ended"] == [0, 0]
    train(experiment(), tmp_path / "run", data(), overwrite=True, callbacks=[name])
    assert len(server.runs) == 2


def test_settings_go_to_a_tracker_without_places(server, tmp_path):
    train(experiment(), tmp_path / "run", data(), callbacks=["wandb"])
    (sent,) = server.runs.values()
    assert str(tmp_path) not in repr(sent["settings"])


def test_a_training_that_fails_ends_as_failed(server, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(experiment(), tmp_path / "run", data(), callbacks=["mlflow", Diary(interrupt=4)])
    (sent,) = server.runs.values()
    assert sent["ended"] == [1]


def test_a_tracker_that_fails_on_the_way_is_left_and_the_training_goes_on(server, tmp_path, monkeypatch):
    def fail(values, step):
        raise server.failure("the server is gone")

    monkeypatch.setattr(sys.modules["mlflow"], "log_metrics", fail)
    with pytest.warns(RuntimeWarning, match=r"'mlflow' failed.*the server is gone") as warned:
        run = train(experiment(), tmp_path / "run", data(), callbacks=["mlflow"])
    assert run.step == STEPS
    assert len([one for one in warned if "mlflow" in str(one.message)]) == 1


def test_a_tracker_that_cannot_begin_is_an_error(server, tmp_path, monkeypatch):
    def fail(**named):
        raise server.failure("no such run")

    monkeypatch.setattr(sys.modules["mlflow"], "start_run", fail)
    with pytest.raises(ConfigurationError, match=r"'mlflow' cannot start: no such run\."):
        train(experiment(), tmp_path / "run", data(), callbacks=["mlflow"])


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_names_the_extra(name, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ConfigurationError, match=rf"'{name}' is not installed.*'commlearn\[trackers\]'"):
        train(experiment(), tmp_path / "run", data(), callbacks=[name])


def test_the_command_line_takes_trackers(server, tmp_path, capsys):
    small = ["--training.epochs", "1", "--data.size", "24", "--data.train_pairs", "64", "--model.width", "16"]
    small += ["--augmentations.image.size", "24", "--training.log_every", "1"]
    words = [
        "train",
        "trifeature-quick",
        "--out",
        str(tmp_path / "run"),
        "--tracker",
        "mlflow,trackio",
        *small,
    ]
    assert main([*words, "--show-python"]) == 0
    assert "callbacks=['mlflow', 'trackio']" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert "standard output" not in capsys.readouterr().out
    assert len(server.runs) == 2
    assert main([*words[:-1], "24", "--tracker", "wndb"]) == 2
    assert "did you mean 'wandb'" in capsys.readouterr().err


def real(name):
    return pytest.importorskip(name, reason=f"SKIPPED LOUDLY: pip install 'commlearn[trackers]' ({name})")


def stopped_and_resumed(name, folder):
    train(experiment(), folder, data(), callbacks=[name, Diary(step=6)])
    run = train(experiment(), folder, data(), resume=True, callbacks=[name])
    return RunFolder(folder).metrics(), run


def test_mlflow_itself_on_its_local_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = real("mlflow")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    try:
        metrics, _ = stopped_and_resumed("mlflow", tmp_path / "run")
        client = mlflow.MlflowClient()
        (stored,) = client.search_runs([client.get_experiment_by_name("Default").experiment_id])
        history = client.get_metric_history(stored.info.run_id, "terms/left_right")
    finally:
        mlflow.set_tracking_uri(None)
    assert stored.info.status == "FINISHED"
    assert stored.data.params["training.epochs"] == "3"
    assert [(one.step, one.value) for one in history] == [
        (entry["step"], entry["terms"]["left+right"]) for entry in metrics
    ]


def test_wandb_itself_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    real("wandb")
    stopped_and_resumed("wandb", tmp_path / "run")
    name = (tmp_path / "run" / "wandb.txt").read_text().strip()
    stored = list(tmp_path.rglob(f"run-{name}.wandb"))
    assert len(stored) == 2  # one file before and one after the resume, of the same run
    assert b"terms/left+right" in stored[0].read_bytes() + stored[1].read_bytes()


def test_trackio_itself_on_its_local_store(tmp_path, monkeypatch):
    trackio = real("trackio")
    for module in list(sys.modules.values()):
        if module.__name__.startswith("trackio") and hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "store")
    assert trackio
    stopped_and_resumed("trackio", tmp_path / "run")
    (store,) = (tmp_path / "store").rglob("commlearn*.db")
    with sqlite3.connect(store) as database:
        steps = [step for (step,) in database.execute("SELECT step FROM metrics ORDER BY step")]
    assert steps == [2, 4, 6, 8, 10, 12]
