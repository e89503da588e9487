"""The list of the files written into a run folder: no other file is ever removed or replaced."""

from __future__ import annotations

import errno
import json
import os
import shutil
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import data, experiment

import commlearn as cl
from commlearn.cli import main
from commlearn.errors import CommlearnError, RunError
from commlearn.storage import locks
from commlearn.storage.file_list import FileList
from commlearn.storage.locks import PART, atomic_file
from commlearn.trained.run import open_folder
from commlearn.trained.run_folder import RunFolder
from commlearn.training.train import train

OLD = Path(__file__).parents[1] / "reliability" / "data" / "format1" / "run"
ROWS = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
TABLE = {"a": ROWS[:, :3], "b": ROWS[:, 2:]}
SCHEMA = {"modalities": {name: {"kind": "vector", "column": name} for name in ("a", "b")}}


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def listed(folder: Path) -> set[str]:
    return set(json.loads((folder / "files.json").read_text())["files"])


def written(folder: Path, **files: str) -> Path:
    """Write another program's files into a folder; in names, `__` stands for `/` and `_` for `.`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_of_another_program_is_never_overwritten(tmp_path):
    folder = written(tmp_path / "x", config_yaml="port: 80", holiday_jpg="photo", checkpoints__a_ckpt="work")
    before = contents(folder)
    with pytest.raises(RunError, match=r"no list of what commlearn wrote.*Nothing was removed.*out="):
        train(experiment(), folder, data(), overwrite=True)
    assert contents(folder) == before
    with pytest.raises(RunError, match=r"Nothing was removed.*out="):
        cl.Embedder(SCHEMA, epochs=1, out=folder).fit(TABLE)
    assert contents(folder) == before


def test_a_training_does_not_replace_files_of_another_program(tmp_path):
    folder = written(tmp_path / "x", schema_json="{}", log_txt="mine\n", notes_md="mine")
    before = contents(folder)
    with pytest.raises(RunError, match=r"log\.txt, schema\.json.*Move them away, or give another out="):
        train(experiment(), folder, data())
    assert {name: text for name, text in contents(folder).items() if name != "lock"} == before


def test_a_file_called_lock_keeps_its_content(tmp_path):
    folder = written(tmp_path / "x", lock="mine")
    train(experiment(epochs=1), folder, data())
    assert (folder / "lock").read_text() == "mine"


def test_where_there_are_no_locks_the_folder_and_the_switch_are_named(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "FCNTL", SimpleNamespace(flock=none, LOCK_EX=2, LOCK_NB=4, LOCK_SH=1))
    with pytest.raises(RunError, match=rf"{tmp_path / 'run'}: No locks available.* COMMLEARN_LOCKS=off"):
        train(experiment(), tmp_path / "run", data())
    monkeypatch.setenv("COMMLEARN_LOCKS", "off")
    assert (
        train(experiment(), tmp_path / "run", data()).step
        == train(experiment(), tmp_path / "run", data(), resume=True).step
    )


def test_an_embedder_fits_twice_into_a_folder_unless_a_foreign_file_lies_there(tmp_path):
    embedder = cl.Embedder(SCHEMA, epochs=1, out=tmp_path / "run")
    embedder.fit(TABLE).fit(TABLE)
    (tmp_path / "run" / "note.txt").write_text("mine")
    (tmp_path / "run" / "checkpoints" / "best.ckpt").write_text("a copy of the user's")
    before = contents(tmp_path / "run")
    with pytest.raises(RunError, match=r"checkpoints/best\.ckpt, note\.txt.*Nothing was removed.*out="):
        embedder.fit(TABLE)
    assert contents(tmp_path / "run") == before


def test_a_refusal_names_ten_foreign_files_at_most(tmp_path):
    train(experiment(epochs=1), tmp_path / "run", data())
    for number in range(13):
        (tmp_path / "run" / f"photo{number:02}.jpg").write_text("")
    with pytest.raises(RunError, match=r"photo00\.jpg, .*photo09\.jpg and more\. Nothing") as refusal:
        train(experiment(), tmp_path / "run", data(), overwrite=True)
    assert "photo10" not in str(refusal.value)


def test_a_link_to_a_folder_is_foreign_and_not_entered(tmp_path):
    folder = tmp_path / "run"
    train(experiment(epochs=1), folder, data())
    (folder / "checkpoints").rename(tmp_path / "elsewhere")
    (folder / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="checkpoints"):
        train(experiment(), folder, data(), overwrite=True)
    assert (tmp_path / "elsewhere" / "last.ckpt").exists()


OUTSIDE = ("../precious", "a/../../precious", "/precious", "C:precious", "..\\\\precious", "")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"files": [3]}', *(f'{{"files": ["{name}"]}}' for name in OUTSIDE)]
)
@pytest.mark.parametrize("marked", [True, False])
def test_a_list_that_is_damaged_or_names_files_outside_removes_nothing(tmp_path, content, marked):
    (tmp_path / "precious").write_text("mine")
    train(experiment(epochs=1), tmp_path / "run", data())
    if marked and content.startswith("{"):
        content = json.dumps({"commlearn": "run folder", "format": 1, **json.loads(content)})
    (tmp_path / "run" / "files.json").write_text(content)
    before = contents(tmp_path)
    with pytest.raises(RunError, match=r"files\.json"):
        train(experiment(), tmp_path / "run", data(), overwrite=True)
    assert contents(tmp_path) == before


def test_a_list_of_a_newer_format_is_refused(tmp_path):
    train(experiment(epochs=1), tmp_path / "run", data())
    (tmp_path / "run" / "files.json").write_text('{"commlearn": "run folder", "format": 9, "files": []}')
    with pytest.raises(RunError, match=r"format 9.*Update commlearn"):
        train(experiment(), tmp_path / "run", data(), overwrite=True)


def test_only_parts_of_files_of_ours_are_cleared_away(tmp_path):
    folder = tmp_path / "run"
    train(experiment(epochs=1), folder, data())
    foreign = written(
        folder,
        **{"home__downloads__.film_mkv_part": "half", ".note_txt_1_part": "half", "checkpoints__.x_part": ""},
    )
    before = contents(foreign)
    ours = ("checkpoints/.last.ckpt.1.part", ".config.yaml.22.part", ".files.json.3.part")
    for name in ours:
        (folder / name).write_text("half")
    other = RunFolder(folder)
    other.lock()
    other.unlock()
    assert contents(folder) == before


def test_all_that_a_run_leaves_is_listed_and_overwriting_removes_just_that(tmp_path, capsys):
    schema, run = tables(tmp_path), tmp_path / "run"
    words = f"train {schema} --out {run} --training.epochs 1 --model.width 16 --quiet".split()
    assert main([*words, "--probe"]) == 0
    assert main(["probe", str(run)]) == 0
    assert main(["report", str(run), "--target", "shared"]) == 0
    assert main([*words, "--resume"]) == 0
    there = set(contents(run))
    assert {"report/report.html", "report/report.json", "probes.json", "checkpoints/last.ckpt"} <= there
    assert {name for name in there if not name.startswith("tensorboard/")} - {"lock", "files.json"} <= listed(
        run
    )
    assert list(RunFolder(run).files.foreign()) == []
    RunFolder(run).clear()
    assert set(contents(run)) == {"lock", "files.json"}
    assert [path for path in run.iterdir() if path.is_dir()] == []
    assert main(words) == 0
    capsys.readouterr()


@pytest.mark.slow
def test_a_fine_tuned_run_and_a_job_of_a_comparison_are_listed(tmp_path, jobs_in_this_process):
    schema = tables(tmp_path)
    small = {"training.epochs": 1, "model.width": 16}
    cl.compare(
        schema, ["comm", "supervised"], out=tmp_path / "c", overrides=small, jobs=1, targets=["shared"]
    )
    (job,) = (tmp_path / "c" / "comm" / "seed0").iterdir()
    assert set(contents(job)) - {"lock", "files.json"} <= listed(job)
    assert {"job.json", "output.txt", "cost.json", "predictions.npz", "probes.json"} <= listed(job)
    (job,) = (tmp_path / "c" / "supervised" / "seed0").iterdir()
    assert {"job.json", "predictions.npz"} <= listed(job)
    assert set(contents(job / "network")) - {"lock", "files.json"} <= listed(job / "network")
    assert {"finetune.json", "finetuned.json", "validation.jsonl"} <= listed(job / "network")


def tables(folder: Path) -> Path:
    from commlearn.datasets.synthetic_tables import SyntheticTable

    SyntheticTable(rows=90, size=16).write(folder / "tables")
    schema = folder / "two.yaml"
    schema.write_text(
        textwrap.dedent(f"""\
            version: 1
            table: {folder / "tables" / "table.csv"}
            modalities:
              vector: {{kind: vector, column: vector}}
              table: {{kind: tabular, columns: [height, rate, site]}}
            targets: {{shared: class}}
            id: id
            """)
    )
    return schema


def life(folder: Path, **how: bool) -> RunFolder:
    """Write what a training writes, without training."""
    run = RunFolder(folder)
    try:
        state, _ = open_folder(run, experiment(), **{"resume": False, "overwrite": False, **how})
        if state is None:
            run.create(experiment(), data())
        run.log("started")
        run.append("metrics.jsonl", {"step": 1})
        run.save({"step": 1})
        run.write_metrics_table()
    finally:
        run.unlock()
    return run


def test_a_run_killed_between_listing_and_writing_is_overwritten_and_resumed(tmp_path, monkeypatch):
    """It is killed at each file in turn: its name is listed, but the file is absent or only partial."""

    class Killed(BaseException):
        pass

    original, whole = FileList.add, set(contents(life(tmp_path / "whole").path))
    for kill_at in range(1, 30):
        folder, calls = tmp_path / f"run{kill_at}", []

        def dying(self, *names, kill_at=kill_at, calls=calls):
            original(self, *names)
            calls.append(names)
            if len(calls) == kill_at:
                path = self.folder / names[0]
                path.with_name(f".{path.name}.1.part").write_bytes(b"half")
                raise Killed

        monkeypatch.setattr(FileList, "add", dying)
        try:
            life(folder)
        except Killed:
            monkeypatch.setattr(FileList, "add", original)
        else:
            break
        for how in ("resume", "overwrite"):
            left = shutil.copytree(folder, tmp_path / f"{how}{kill_at}")
            life(left, **{how: True})
            assert set(contents(left)) - {"checkpoints/previous.ckpt"} == whole
            assert set(contents(left)) - {"lock", "files.json"} <= listed(left)
    assert kill_at == len(calls) + 1 > 7


@pytest.mark.parametrize(
    ("method", "training"),
    [
        ("comm", {"batch_size": 500}),
        ("comm", {"stand_ins": True}),
        ("supcon", {}),
        ("factorcl", {"micro_batch": 4}),
    ],
)
def test_a_refused_training_leaves_the_run_that_it_would_have_replaced(tmp_path, method, training):
    folder = tmp_path / "run"
    train(experiment(epochs=1), folder, data())
    before = contents(folder)
    unlabelled = replace(data(), train=replace(data().train, targets={}))
    with pytest.raises(CommlearnError):
        train(experiment(method, **training), folder, unlabelled, overwrite=True)
    assert contents(folder) == before
    train(experiment(epochs=2), folder, data(), overwrite=True)
    assert "started at step 0" in (folder / "log.txt").read_text().splitlines()[0]


def test_a_run_stopped_before_its_first_checkpoint_goes_on_but_not_over_foreign_files(tmp_path):
    folder = tmp_path / "run"
    train(experiment(epochs=1), folder, data())
    shutil.rmtree(folder / "checkpoints")
    other = shutil.copytree(folder, tmp_path / "other")
    train(experiment(epochs=1), folder, data(), resume=True)
    (other / "note.txt").write_text("mine")
    before = contents(other)
    with pytest.raises(RunError, match=r"note\.txt.*Nothing was removed"):
        train(experiment(epochs=1), other, data(), resume=True)
    assert contents(other) == before


def test_a_job_stopped_before_its_first_checkpoint_has_its_files_when_it_goes_on(tmp_path):
    job, folder = {"job.json": "{}", "output.txt": "begun", "cost.json": "{}"}, RunFolder(tmp_path / "run")
    train(experiment(epochs=1), folder.path, data())
    for name, text in job.items():
        folder.write(name, text)
    shutil.rmtree(folder.checkpoints)
    train(experiment(epochs=1), folder.path, data(), resume=True)
    assert {name: (folder.path / name).read_text() for name in job} == job
    assert set(contents(folder.path)) - {"lock", "files.json"} <= listed(folder.path)
    train(experiment(epochs=1), folder.path, data(), overwrite=True)  # another run in its place
    assert not set(job) & set(contents(folder.path))


def test_an_old_run_without_a_list_is_resumed_and_probed_but_not_overwritten(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "run")
    (folder / "note.txt").write_text("mine")
    run = cl.load(folder)
    before = contents(folder)
    with pytest.raises(RunError, match=r"no list of what commlearn wrote.*Nothing was removed"):
        train(run.experiment, folder, overwrite=True)
    assert contents(folder) == before
    run.folder.append("metrics.jsonl", {"step": 10**6})
    assert set(before) - {"note.txt"} <= listed(folder)
    assert "note.txt" not in listed(folder)


def test_only_the_last_line_of_the_metrics_may_be_cut_off(tmp_path):
    folder = RunFolder(written(tmp_path / "run", metrics_jsonl='{"step": 1}\n{"step": 2}\n{"st'))
    assert folder.metrics() == [{"step": 1}, {"step": 2}]
    (folder.path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged: line 2 .*Restore it"):
        folder.metrics()


def test_what_looks_like_a_checkpoint_and_is_none_of_ours_is_not_recognised(tmp_path):
    folder = written(tmp_path / "x", config_yaml="port: 80", log_txt="mine\n", checkpoints__last_ckpt="PK")
    RunFolder(folder).write("probes.json", "{}")
    assert listed(folder) == {"probes.json"}


def test_a_file_of_the_user_is_not_replaced_by_a_later_one_of_ours(tmp_path):
    run = train(experiment(epochs=1), tmp_path / "run", data())
    (tmp_path / "run" / "probes.json").write_text("mine")
    with pytest.raises(RunError, match=r"probes\.json.*Move it away"):
        run.folder.write("probes.json", "{}")
    assert (tmp_path / "run" / "probes.json").read_text() == "mine"


def test_bytes_are_written_below_the_folder_and_listed(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_bytes("report/rows.safetensors", b"\0\1")
    assert (tmp_path / "report" / "rows.safetensors").read_bytes() == b"\0\1"
    assert listed(tmp_path) == {"report/rows.safetensors"}


def test_two_that_list_at_once_lose_no_name(tmp_path):
    def list_all(first: str) -> None:
        for number in range(100):
            FileList(tmp_path).add(f"{first}{number}")

    with ThreadPoolExecutor(2) as pool:  # each thread locks through its own descriptor, as processes do
        list(pool.map(list_all, "ab"))
    assert listed(tmp_path) == {f"{first}{number}" for first in "ab" for number in range(100)}


def test_two_writers_of_a_file_write_to_two_files_whatever_their_process_ids(tmp_path):
    parts = []
    for _ in range(2):
        with atomic_file(tmp_path / "x") as file:
            parts.append(Path(file.name).name)
    assert len(set(parts)) == 2
    assert all(PART.fullmatch(part)[1] == "x" for part in parts)


def test_event_files_of_tensorboard_are_listed(tmp_path):
    pytest.importorskip("tensorboard")
    folder = tmp_path / "run"
    train(experiment(epochs=1), folder, data())
    (events,) = (folder / "tensorboard").iterdir()
    (folder / "tensorboard" / "events.out.tfevents.1.mine").write_text("of another program")
    with pytest.raises(RunError, match=r"hold.* tensorboard/events.out.tfevents.1.mine\. "):
        train(experiment(), folder, data(), overwrite=True)
    (folder / "tensorboard" / "events.out.tfevents.1.mine").unlink()
    RunFolder(folder).clear()
    assert not events.exists()
    assert not (folder / "tensorboard").exists()


def test_a_name_that_is_not_utf_8_is_named_all_the_same(tmp_path):
    train(experiment(epochs=1), tmp_path / "run", data())
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "run") + b"/\xff.txt")).write_text("mine")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(RunError, match=r"\?\.txt") as refusal:
        train(experiment(), tmp_path / "run", data(), overwrite=True)
    str(refusal.value).encode()
