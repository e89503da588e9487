"""Tuning: the same budget for every method, no choice on scored rows, and resuming after a stop."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import commlearn as cl
from commlearn.cli import main
from commlearn.cli.arguments import out_folder
from commlearn.cli.commands import tune as tune_command
from commlearn.cli.commands.tune import EXAMPLE
from commlearn.comparison import tune as tuning
from commlearn.comparison.plan import ComparisonSource, without_test
from commlearn.comparison.tune import settings_to_try, values_of
from commlearn.errors import ConfigurationError
from commlearn.records import Dataset, Records, VectorColumn

SMALL = {
    "training.epochs": 1,
    "training.batch_size": 32,
    "model.width": 16,
    "data.train_records": 200,
    "data.test_records": 200,
    "data.levels": 2,
    "training.diagnose": 0,
}
RECIPE = "trifeature-three-quick"


def quiet(line):
    pass


def small_tuning(out, over, methods=("comm", "simclr"), tell=quiet, **more):
    return cl.tune(
        RECIPE, over, methods, out=out, overrides=SMALL, jobs=1, tell=tell, targets=["shared"], **more
    )


def test_a_score_that_a_guess_always_reaches_says_nothing_about_a_setting():
    scores = {"tags": {"mean": 100.0}, "y": {"mean": 75.0}}
    table = {"methods": {"comm": {"scores": scores}}, "chance": {"tags": 100.0, "y": 50.0}}
    assert tuning._mean_above_chance(table, "comm") == 25.0


def test_a_grid_is_the_same_for_every_method_and_goes_on_where_it_stopped(tmp_path, jobs_in_this_process):
    lines = []
    over = {"method.temperature": ".2,1", "comm:method.subsets": ["each_and_all"]}
    result = small_tuning(tmp_path, over, tell=lines.append, seeds=2)
    for method, own in (("comm", {"method.subsets": "each_and_all"}), ("simclr", {})):
        row = result["methods"][method]
        tried = [each["setting"] for each in row["tried"]]
        assert tried == [{}, {"method.temperature": 0.2, **own}, {"method.temperature": 1, **own}]
        values = [each["above_chance"] for each in row["tried"]]
        assert row["chosen"] == tried[int(np.argmax(values))]
        for part in ("default", "best"):
            assert set(row[part]["scores"]["shared"]["values"]) == {"0", "1"}
    assert (result["chosen_on"], result["scored_on"]) == ("data seed 1", "data seed 0")
    spec = json.loads((tmp_path / "tried/default/comm/seed0/unbiased/job.json").read_text())
    assert spec["source"]["overrides"]["data.seed"] == 1
    spec = json.loads((tmp_path / "scored/default/comm/seed0/unbiased/job.json").read_text())
    assert "data.seed" not in spec["source"]["overrides"]
    assert json.loads((tmp_path / "tuning.json").read_text()) == result
    again = []
    more = small_tuning(tmp_path, {**over, "method.temperature": ".2,1,3"}, tell=again.append, seeds=2)
    assert len(more["methods"]["simclr"]["tried"]) == 4
    started = [line for line in again if "started: " in line and line.startswith("tried")]
    assert len(started) == 2  # the third value, for each method
    assert all("temperature=3" in line for line in started)


def test_methods_with_their_own_values_for_one_key_are_listed_apart():
    over = {"comm:a": ".1..1", "clip:a": "1,2", "comm:b": "x"}
    axes = [
        tuning.Axis(name, name[5:], values_of(name, values), (name[:4],)) for name, values in over.items()
    ]
    assert tuning._describe(axes) == {
        "comm:a": {"values": "0.1..1", "methods": ["comm"]},
        "clip:a": {"values": [1, 2], "methods": ["clip"]},
        "b": {"values": ["x"], "methods": ["comm"]},
    }


def test_the_chosen_setting_is_the_best_of_those_tried():
    def table(comm, clip):
        rows = {"comm": comm, "clip": clip}
        scores = {name: {"scores": {"R": {"mean": r}, "S": {"mean": s}}} for name, (r, s) in rows.items()}
        return {"methods": scores, "chance": {"R": 10.0, "S": 50.0}}

    trials = {
        "default": table((100, 50), (100, 50)),
        "a=1": table((55, 80), (60, 50)),  # 50 % and 60 % of the way from chance: more than 100 % and 0 %
        "a=2": table((None, 90), (100, 50)),
    }
    settings = [{}, {"a": 1}, {"a": 2}]
    best = {name: max(settings, key=lambda one: tuning._rank(trials, name, one)) for name in ("comm", "clip")}
    assert best == {"comm": {"a": 1}, "clip": {}}  # failures are not chosen; of equals, the first is


@pytest.mark.parametrize(
    ("over", "methods", "words"),
    [
        ({"method.temperature": ".1,.2"}, ["comm", "pca"], "pca has no setting .*comm:method.temp"),
        ({"method.subsets": "each_and_all"}, ["comm", "simclr"], "simclr has no setting method.subsets"),
        ({"method.temperatur": ".1"}, ["comm"], "comm has no setting method.temperatur. Correct its name"),
        ({"clip:method.temperature": ".1"}, ["comm"], "Unknown method 'clip'"),
        ({"method.temperature": ".1,.2"}, ["comm", "raw:one"], "raw:one has no setting .*comm:method.temp"),
        ({"method.temperature": "1..1"}, ["comm"], "not a range"),
        ({"method.temperature": ".1..1"}, ["comm"], "give budget="),
        ({"method.temperature": "warm"}, ["comm"], "comm with --method.temperature warm: .*give"),
        ({"training.learning_rat": "1,2"}, ["comm"], "did you mean 'training.learning_rate'"),
        ({"training.epochs": "1,2"}, ["comm"], "training.epochs is set to 1"),
        ({"data.seed": "1,2"}, ["comm"], "not a setting of a method"),
        (
            {"method.temperature": ".1,.2", "comm:method.temperature": ".3"}, ["comm", "simclr"],
            "over method.temperature and comm:method.temperature both give values for comm; use one",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_tried_is_refused_before_anything_is_trained(over, methods, words, tmp_path):
    with pytest.raises(ConfigurationError, match=words):
        small_tuning(tmp_path / "new", over, methods)
    assert not (tmp_path / "new").exists()


def test_draws_are_the_same_for_every_method_and_a_larger_budget_begins_with_the_smaller():
    over = {"a": values_of("a", ".01..1"), "b": values_of("b", "1..4"), "c": values_of("c", "x,y")}
    small, large = (settings_to_try(over, budget, 0) for budget in (5, 40))
    assert len(large) == 40
    assert large[:5] == small
    assert small != settings_to_try(over, 5, 1)
    drawn = large[1:]
    assert 0.05 < np.median([each["a"] for each in drawn]) < 0.2  # logarithmic: half below .1
    assert {each["b"] for each in drawn} == {1, 2, 3, 4}
    assert {each["c"] for each in drawn} == {"x", "y"}
    assert len(settings_to_try({"a": [1, 2, 3, 4]}, 3, 0)) == 3
    assert len(settings_to_try({"b": (1, 2)}, 9, 0)) == 3  # there are no more settings
    assert values_of("a", 0.1) == [0.1]


@pytest.mark.parametrize("stated", [".1,.2", "1e-1,2e-1", "1E-1,+.2e0"])
def test_what_a_recipe_has_already_is_not_tried_twice(stated, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        tuning, "compared", lambda source, names, *rest, **more: asked.append(source) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        small_tuning(tmp_path, {"method.temperature": stated.partition(",")[0]}, ["simclr"])
    source = ComparisonSource(RECIPE)
    experiment = cl.read_experiment(RECIPE)
    key = "method.temperature"
    axes = [tuning.Axis(key, key, values_of(key, stated), ("simclr",))]
    assert tuning._settings("simclr", axes, None, 0, source, experiment) == [{}, {"method.temperature": 0.2}]


@pytest.mark.parametrize("stated", [".05,.1,.3", ".05,.1,.3,.5", ".095...105"])
def test_a_draw_that_equals_the_recipes_own_setting_takes_no_place_in_the_budget(stated):
    key, source, experiment = "method.temperature", ComparisonSource(RECIPE), cl.read_experiment(RECIPE)
    axes = [tuning.Axis(key, key, values_of(key, stated), ("simclr", "comm-crossself"))]
    for seed in range(8):
        for method in ("simclr", "comm-crossself"):  # their own temperatures are 0.1 and 0.5
            tried = tuning._settings(method, axes, 3, seed, source, experiment)
            assert len(tried) == 3
            assert {key: tuning._current_values(method, source, experiment)[key]} not in tried


def test_the_folder_of_a_tuning_is_named_as_those_of_the_other_commands():
    parser = argparse.ArgumentParser()
    tune_command.add_arguments(parser)
    parser.set_defaults(command="tune")
    for recipe, folder in (("films/schema.yaml", "films"), ("films.yaml", "films"), (RECIPE, RECIPE)):
        options = parser.parse_args([recipe, "--over", "seed=1"])
        assert out_folder(options) == Path(f"runs/tune-{folder}")


def test_settings_of_a_table_are_chosen_without_its_test_rows(tmp_path, jobs_in_this_process):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(160, 4)).round(3)
    frame = pd.DataFrame(rows, columns=["a0", "a1", "b0", "b1"])
    frame["y"] = np.where(rows[:, 0] > 0, "yes", "no")
    frame["split"] = ["train"] * 100 + ["test"] * 60
    changed = frame.copy()
    changed.loc[100:, "y"] = generator.permutation(changed.loc[100:, "y"])
    schema = (
        "table: table.csv\nmodalities:\n  a: {kind: tabular, columns: [a0, a1]}\n"
        "  b: {kind: tabular, columns: [b0, b1]}\ntargets: {y: class}\nsplit: split\n"
    )
    settings = {key: SMALL[key] for key in ("training.epochs", "training.batch_size", "model.width")}
    results = []
    for name, table in (("one", frame), ("other", changed)):
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / "table.csv", index=False)
        (tmp_path / name / "schema.yaml").write_text(schema)
        words = (tmp_path / name / "schema.yaml", {"simclr:method.temperature": ".2,1"}, ["simclr", "pca"])
        results.append(cl.tune(*words, out=tmp_path / name / "out", overrides=settings, jobs=1, tell=quiet))
    wrong = {"method.temperature": "warm,.2"}  # not only the last value is checked
    with pytest.raises(ConfigurationError, match=r"simclr with --method\.temperature warm: .*give"):
        cl.tune(words[0], wrong, ["simclr"], out=tmp_path / "new", overrides=settings, tell=quiet)
    assert not (tmp_path / "new").exists()
    one = results[0]
    assert one["scored_on"] == "test rows"
    assert [len(row["tried"]) for row in one["methods"].values()] == [3, 1]
    for method in ("simclr", "pca"):
        first, second = (
            [each["scores"] for each in result["methods"][method]["tried"]] for result in results
        )
        assert first == second  # test labels do not affect the choice
    scored = [result["methods"]["pca"]["best"]["scores"]["y"]["mean"] for result in results]
    assert scored[0] > 80 > scored[1]


def test_what_is_held_out_keeps_groups_together_and_takes_validation_rows_where_there_are_any():
    count = 400
    groups = np.arange(count, dtype=np.uint64) // 8

    def records(first):
        column = VectorColumn(np.full((count, 1), first, np.float32))
        return Records(
            {"a": column}, {"y": np.arange(count)}, keys=np.arange(first, first + count), groups=groups
        )

    data = without_test(Dataset(records(0), records(1000)))
    assert not set(data.train.groups) & set(data.test.groups)
    assert set(data.train.targets["y"]) | set(data.test.targets["y"]) == set(range(count))
    assert 0.1 < len(data.test) / count < 0.4
    with_validation = without_test(Dataset(records(0), records(1000), records(2000)))
    assert with_validation.test.keys[0] == 2000
    assert len(with_validation.train) == count
    assert with_validation.validation is None


def test_the_command_prints_what_each_method_was_given(tmp_path, jobs_in_this_process, capsys):
    words = ["tune", RECIPE, "--methods", "cmc", "--over", "method.temperature=.2", "--target", "shared"]
    words += ["--out", str(tmp_path), "--jobs", "1"]
    words += [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "up to 2 settings for each method\n  chosen on data seed 1\n  scored on data seed 0" in printed
    (following,) = (line for line in printed.splitlines() if line.startswith("Next: "))
    assert following.startswith("Next: commlearn train trifeature-three-quick --method cmc --")
    assert all(f"--{key} {value}" in following for key, value in SMALL.items())
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "tuning.json").read_text())
    assert main([*words, "--over", "training.epochs"]) == 2
    assert "give KEY=VALUES" in capsys.readouterr().err


def test_the_examples_of_the_help_search_over_settings_that_their_methods_have():
    examples = EXAMPLE.partition("Example:\n")[2].replace("\\\n", " ").splitlines()
    assert len(examples) == 2
    for words in map(str.split, examples):
        given = [words[place + 1] for place, word in enumerate(words) if word == "--over"]
        methods = words[words.index("--methods") + 1].split(",") if "--methods" in words else tuning.USUAL
        over = dict(word.split("=", 1) for word in given)
        assert len(tuning._axes(over, methods, ComparisonSource(words[2]))) == len(given)


@pytest.mark.slow
def test_a_tuning_that_was_killed_goes_on_where_it_was(tmp_path):
    """The command runs in separate processes; the first is killed after some of its trainings have ended."""
    words = [sys.executable, "-m", "commlearn", "tune", RECIPE, "--methods", "cmc,simclr"]
    words += [
        "--over",
        "method.temperature=.2,1",
        "--target",
        "shared",
        "--out",
        str(tmp_path),
        "--jobs",
        "1",
    ]
    words += [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 300
        while len(list(tmp_path.glob("tried/*/*/*/*/probes.json"))) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        os.kill(first.pid, signal.SIGKILL)
    finally:
        first.kill()
        first.communicate()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("tried/*/*/*/*/probes.json")}
    assert 2 <= len(done) < 6
    assert not (tmp_path / "tuning.json").exists()
    second = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("done before: ") >= len(done)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    rows = json.loads((tmp_path / "tuning.json").read_text())["methods"]
    assert [len(row["tried"]) for row in rows.values()] == [3, 3]
