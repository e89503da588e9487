"""The verdict: the choice of rivals, the claims that it makes, and data with known answers."""

from __future__ import annotations

import html
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import norm, t
from sklearn.metrics import log_loss

import commlearn as cl
from commlearn import plot
from commlearn.comparison.answers import rivals, verdict
from commlearn.comparison.answers import task as answers_task
from commlearn.comparison.answers.readers import Block, boosted, linear, network, stacked
from commlearn.comparison.answers.readouts import Readout, Result
from commlearn.comparison.answers.rivals import Key, Unit, chosen_rivals, vectors_of
from commlearn.comparison.answers.task import Task, budgets_of, checked_budgets, labelled_rows
from commlearn.comparison.answers.verdict import words_of
from commlearn.comparison.compare import compare
from commlearn.config.build import read_data
from commlearn.config.configuration import experiment_from
from commlearn.errors import ConfigurationError
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.reports import report
from commlearn.training.train import train

SMALL = {"training.epochs": 1, "training.batch_size": 16, "model.width": 16, "training.threads": 1}
LITTLE = {"rivals": ["single", "features", "late fusion"], "budgets": ["20", "all"]}


def task_with(labels, test_labels, sort="class", measure="balanced_accuracy", **more):
    codes = len(np.unique(labels))
    train, test = (np.eye(codes, dtype=np.float32)[each] for each in (labels, test_labels))
    rows, test_rows = np.arange(len(train)), np.arange(len(test))
    return Task("y", sort, measure, rows, test_rows, train, test, **more)


def quiet(line):
    pass


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """Schema of a table whose targets depend on the first modality; the second is noise."""
    folder = tmp_path_factory.mktemp("verdict")
    rows = np.random.default_rng(0).normal(size=(220, 4)).round(3)
    lines = ["a0,a1,b0,b1,y,size,split"]
    for number, row in enumerate(rows):
        part = "train" if number < 120 else "test"
        lines.append(f"{','.join(map(str, row))},{'yes' if row[0] > 0 else 'no'},{row[1]},{part}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    modalities = {name: {"kind": "tabular", "columns": [f"{name}0", f"{name}1"]} for name in ("a", "b")}
    stated = {
        "table": "table.csv",
        "modalities": modalities,
        "targets": {"y": "class", "size": "number"},
        "split": "split",
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(stated))
    return folder / "schema.yaml"


@pytest.fixture(scope="module")
def compared(schema, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared")
    return out, compare(schema, ["comm"], 1, out, SMALL, 1, quiet, **LITTLE)


@pytest.fixture
def copied(compared, tmp_path):
    """The same comparison in a copy of its folder, which a test may change."""
    out, comparison = compared
    return shutil.copytree(out, tmp_path / "compared"), comparison


def test_a_table_gets_a_verdict_in_words_and_figures(compared):
    out, comparison = compared
    assert json.loads((out / "verdict.json").read_text()) == comparison.verdict
    assert json.loads((out / "table.json").read_text()) == comparison
    target = comparison.verdict["targets"]["y"]
    assert list(target["budgets"]) == ["20", "all"]
    assert target["budgets"]["20"]["labelled_rows"] == 40
    assert target["budgets"]["all"]["rival"] in ("a alone", "features", "late fusion")
    assert target["modalities"]["a"]["refit"]["claim"] == "less"
    assert target["modalities"]["b"]["refit"]["claim"] == "none"
    assert target["modalities"]["a"]["comm"]["left_out"]["claim"] == "less"
    assert any(sentence.startswith("Keep a") for sentence in target["words"])
    assert "Keep a" in str(comparison)
    assert comparison.verdict["targets"]["size"]["budgets"]["all"]["readers"]["a alone"]["score"] > 95
    frame = comparison.to_frame()
    assert len(frame) == 2 * 2 * 5  # targets, budgets, readers
    assert set(frame["reader"]) == {"a alone", "b alone", "features", "late fusion", "comm"}
    assert frame.loc[frame["rival"], "difference"].isna().all()
    assert frame["seconds"].ge(0).all()
    page = comparison._repr_html_()
    assert "Keep a" in page
    assert not (out / "readouts" / "vectors").exists()


def test_what_was_read_is_not_read_again_and_a_new_rival_is_read_alone(copied, schema):
    out, comparison = copied
    before = {path: path.read_bytes() for path in out.glob("readouts/*/*.npz")}
    assert len(before) == 2 * (5 + 1 + 2)  # draws of labels, all labels, each modality left out
    lines = []
    again = compare(schema, ["comm"], 1, out, SMALL, 1, lines.append, **LITTLE)
    assert again.verdict == comparison.verdict
    assert all(line.startswith("done before") for line in lines)
    more = compare(
        schema, ["comm"], 1, out, SMALL, 1, quiet, rivals=[*LITTLE["rivals"], "pca"], budgets=["20", "all"]
    )
    old, new = (each.verdict["targets"]["y"]["budgets"]["all"]["readers"] for each in (comparison, more))
    assert new.pop("pca")["score"] > 60
    assert {name: one["score"] for name, one in new.items()} == {
        name: one["score"] for name, one in old.items()
    }


@pytest.mark.slow
def test_units_that_were_done_before_a_kill_stay(copied, schema):
    out, comparison = copied
    lost = sorted(out.glob("readouts/*/*.npz"))[:3]
    before = {path: path.stat().st_mtime_ns for path in out.glob("readouts/*/*.npz") if path not in lost}
    for path in lost:
        path.unlink()
    again = compare(schema, ["comm"], 1, out, SMALL, 1, quiet, **LITTLE)
    figures = [
        {
            name: one["score"]
            for name, one in each.verdict["targets"][target]["budgets"]["20"]["readers"].items()
        }
        for target in ("y", "size")
        for each in (comparison, again)
    ]
    assert figures[0] == figures[1]
    assert figures[2] == figures[3]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_without_rivals_there_is_no_verdict(schema, tmp_path, jobs_in_this_process):
    comparison = compare(schema, ["raw"], 1, tmp_path, SMALL, 1, quiet)
    assert comparison.verdict is None
    for read in (comparison.to_frame, comparison.plot):
        with pytest.raises(ConfigurationError, match="no verdict: .*without labels.* in methods="):
            read()


def test_a_verdict_covers_the_variant_whose_records_were_read(schema, tmp_path, jobs_in_this_process):
    stated = yaml.safe_load(schema.read_text())
    table = str(schema.parent / stated.pop("table"))
    recipe = {
        "data": {"name": "table", "table": table, "schema": stated},
        "method": "comm",
        "variants": {"one": {}, "two": {"set": {"training.epochs": 2}}},
        "scores": {"A": {"variant": "two", "targets": ["y"]}, "B": {"variant": "one", "targets": ["size"]}},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    words = (["comm"], 1, tmp_path / "out", SMALL, 1, quiet)
    comparison = compare(path, *words, rivals=["features"], budgets=["all"])
    assert set(comparison["scores"]) == {"A", "B"}
    assert list(comparison.verdict["targets"]) == ["size"]
    assert comparison.verdict["not_tried"] == {"score A": "it is of variant two; the verdict covers one"}
    recipe["variant"] = "two"
    del recipe["scores"]["A"]
    path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(ConfigurationError, match="No score is of the variant two"):
        compare(path, *words[:2], tmp_path / "new", *words[3:], rivals=["features"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rivals": ["boost"]}, "did you mean 'boosting'"),
        ({"budgets": ["5 per cent"]}, "share of the labels"),
        ({"rivals": "boost"}, "did you mean 'boosting'"),
        ({"budgets": "5 per cent"}, "'5 per cent'"),
    ],
)
def test_unknown_rivals_and_budgets_are_refused_before_anything_is_trained(given, expected, schema, tmp_path):
    with pytest.raises(ConfigurationError, match=expected):
        compare(schema, ["comm"], 1, tmp_path / "new", SMALL, 1, quiet, **given)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("seeds", [0, [], 1.5, [1.5], [-1], "2"])
def test_seeds_that_are_none_are_refused_before_anything_is_trained(seeds, schema, tmp_path):
    with pytest.raises(ConfigurationError, match="seeds is "):
        compare(schema, "comm", seeds, tmp_path / "new", SMALL, 1, quiet)
    with pytest.raises(ConfigurationError, match="seeds is "):
        cl.tune(schema, {"training.batch_size": 8}, "comm", seeds=seeds, out=tmp_path / "new", tell=quiet)
    assert not (tmp_path / "new").exists()


def test_one_method_needs_no_list_and_seeds_may_be_numpys(schema, tmp_path, jobs_in_this_process):
    seeds = list(np.arange(1))
    table = compare(schema, "raw", seeds, tmp_path, SMALL, 1, quiet, rivals=[])
    assert list(table["methods"]["raw"]["scores"]["y"]["values"]) == ["0"]


def results_of(scores, selection, count=400, noise=0.02, seed=0):
    """Return readers' results at one budget, from their scores on test rows and on training rows."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(0, noise, 1000)
    return {
        (name, ""): Result(selection[name], 0.5, 1.0, 100.0, np.append(score, score + shared + extra))
        for name, score in scores.items()
        for extra in [generator.normal(0, noise / 4, 1000)]
    }


def target_of(scores, selection, **more):
    labels = np.arange(400) % 2
    task = task_with(labels, labels)
    results = {Readout("y", "all"): results_of(scores, selection, **more)}
    names = [name for name in scores if name != "comm#0"]
    return verdict.TargetVerdict(task, results, ["a"], names, ["comm#0"]).values()


def test_the_rival_is_chosen_on_training_rows_and_never_on_test_rows():
    scores = {"features": 0.80, "boosting": 0.70, "comm#0": 0.75}
    chosen = target_of(scores, {"features": 0.6, "boosting": 0.9, "comm#0": 0.5})["budgets"]["all"]
    assert chosen["rival"] == "boosting"
    assert chosen["differences"]["comm"]["points"] == pytest.approx(5)
    other = target_of(scores, {"features": 0.9, "boosting": 0.6, "comm#0": 0.5})["budgets"]["all"]
    assert other["rival"] == "features"


@pytest.mark.parametrize(
    ("gain", "noise", "claim"),
    [(0.05, 0.02, "more"), (0.005, 0.0001, "none"), (0.03, 0.2, "none"), (-0.05, 0.02, "less")],
)
def test_a_claim_needs_an_interval_off_zero_and_a_point(gain, noise, claim):
    selection = {"features": 0.8, "comm#0": 0.8}
    values = target_of({"features": 0.8, "comm#0": 0.8 + gain}, selection, noise=noise)
    difference = values["budgets"]["all"]["differences"]["comm"]
    assert difference["claim"] == claim
    low, high = difference["interval"]
    assert low <= difference["points"] <= high


def test_draws_of_labels_widen_the_interval():
    labels = np.arange(400) % 2
    scores = [np.full(1001, 0.5 + 0.05 * draw) for draw in range(5)]
    target = verdict.TargetVerdict(task_with(labels, labels), {}, [], [], [])
    low, high = target._interval(np.stack(scores), 0.95)
    assert low < 0.55
    assert high > 0.65
    low, high = target._interval(np.stack(scores[:1] * 5), 0.95)
    assert high - low < 0.02  # errors that 200 records per class may hide from every sample


def test_noise_is_no_addition():
    """If readers guess on the same draws, a gain is claimed for hardly any of 60 targets."""
    claims = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        task = task_with(generator.integers(2, size=50), generator.integers(2, size=150))
        results = {}
        for budget, draws in (("5%", 5), ("50%", 5), ("all", 1)):
            for draw in range(draws):
                one = {}
                for name in ("features", "boosting", "comm#0"):
                    shares = np.eye(2)[generator.integers(2, size=150)]
                    scores = task.scores(task.test, shares, np.full(2, 0.5), task.weights)
                    one[name, ""] = Result(generator.normal(0.5, 0.02), 0.7, 1.0, 1.0, scores)
                results[Readout("y", budget, draw)] = one
        values = verdict.TargetVerdict(task, results, ["a"], ["features", "boosting"], ["comm#0"]).values()
        claims.append(
            any(part["differences"]["comm"]["claim"] == "more" for part in values["budgets"].values())
        )
    assert np.mean(claims) <= 0.05


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_intervals_of_few_groups_are_those_of_students_t_at_every_level(level):
    labels = np.arange(16) % 2
    task = task_with(labels, labels, test_groups=np.repeat(np.arange(8), 2))
    target = verdict.TargetVerdict(task, {}, [], [], [])
    normal = norm.ppf((np.arange(1000) + 0.5) / 1000)
    low, high = target._interval(np.append(0, 0.01 * normal)[None, None], level)
    assert high == pytest.approx(0.01 * t.ppf((1 + level) / 2, 7), rel=0.02)
    assert low == pytest.approx(-high)


def test_a_modality_that_disturbs_does_not_hide_what_the_others_say_together():
    labels = np.arange(400) % 2
    task, names = task_with(labels, labels), ["a alone", "b alone", "c alone", "boosting"]
    near_chance = dict.fromkeys([*names, "comm#0"], 0.51)
    results = {Readout("y", "all"): results_of(near_chance, near_chance)}
    for missing in "abc":
        read = {
            name: 0.9 if (name, missing) == ("boosting", "c") else 0.51
            for name in near_chance
            if name != f"{missing} alone"
        }
        results[Readout("y", "all", 0, missing)] = results_of(read, read)
    values = verdict.TargetVerdict(task, results, list("abc"), names, ["comm#0"]).values()
    assert values["best"]["claim"] == values["combination"]["claim"] == "more"
    assert values["combination"]["without"] == values["best"]["without"] == "c"
    words = " ".join(words_of(values))
    assert words.startswith("On training rows, boosting without c is best; on the test rows it scores 90.0 %")
    assert "boosting, which reads all modalities but c together, is +39.0 [" in words
    assert "Leave out c: this changes the score by +39.0 [" in words
    assert "left out with little loss: c" not in words


def test_rivals_without_any_training_that_succeeded_get_a_verdict():
    labels = np.arange(400) % 2
    scores = {"a alone": 0.9, "b alone": 0.6, "c alone": 0.6, "pca": 0.8}  # pca is not fitted without one
    results = {Readout("y", "all"): results_of(scores, scores)}
    for missing in "abc":
        rest = {name: 0.6 for name in scores if name not in ("pca", f"{missing} alone")}
        results[Readout("y", "all", 0, missing)] = results_of(rest, rest)
    task = task_with(labels, labels)
    values = verdict.TargetVerdict(task, results, list("abc"), list(scores), []).values()
    assert values["best"]["reader"] == "a alone"
    assert values["combination"]["joint"] == "pca"


def test_nobody_of_a_group_is_predicted_by_what_saw_the_group():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    labels = generator.integers(2, size=200)
    task = task_with(labels, labels, groups=groups, test_groups=groups + 100)
    labelled = labelled_rows(task, "10%", 1)
    assert not set(groups[labelled.rest]) & set(groups[labelled.rows])
    for chosen, held in labelled_rows(task, "all").parts():
        assert not set(groups[chosen]) & set(groups[held])
    own = np.eye(40)[groups] * 5  # features that only identify the group
    reading = linear({"x": Block(own, own)}, labelled_rows(task, "all"))
    right = reading.train.argmax(axis=1) == labels
    assert right.mean() < 0.65


def test_settings_are_chosen_by_a_loss_that_counts_classes_alike_where_these_are_scored():
    labels = np.array([0] * 9 + [1])
    shares_alone = np.tile([0.9, 0.1], (10, 1))
    by_recall = labelled_rows(task_with(labels, labels), "all")
    assert by_recall.mean_loss(shares_alone) == pytest.approx(np.log(2), abs=1e-3)
    finds_the_rare = np.array([[0.95, 0.05]] * 9 + [[0.7, 0.3]])  # three times its share
    frequent_only = np.tile([0.99, 0.01], (10, 1))
    assert by_recall.mean_loss(finds_the_rare) < np.log(2) < by_recall.mean_loss(frequent_only)
    by_rank = labelled_rows(task_with(labels, labels, measure="auroc"), "all")
    assert by_rank.mean_loss(shares_alone) == pytest.approx(-np.log(0.9**9 * 0.1) / 10, abs=1e-2)


def test_labelled_rows_are_predicted_out_of_fold():
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=120)
    wide = generator.normal(size=(120, 300)).astype(np.float32)  # any labels can be memorised
    for read in (linear, boosted, network):
        labelled = labelled_rows(task_with(labels, labels), "50%")
        reading = read({"x": Block(wide, wide)}, labelled)
        assert np.isfinite(reading.train).all()
        assert (reading.train.argmax(axis=1) == labels).mean() < 0.65


def test_the_scale_of_a_block_is_chosen():
    """A block of three informative features, and one of three hundred of noise."""
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=500)
    telling = labels[:, None] + generator.normal(0, 0.7, (500, 3))
    noise = generator.normal(size=(500, 300))
    task = task_with(labels[:150], labels[150:])
    blocks = {name: Block(rows[:150], rows[150:]) for name, rows in (("told", telling), ("noise", noise))}
    together, joined = (
        linear(blocks, labelled_rows(task, "all")),
        linear(
            {"x": Block(*(np.concatenate([a, b], axis=1) for a, b in zip(*blocks.values(), strict=True)))},
            labelled_rows(task, "all"),
        ),
    )
    scores = [
        float(task.scores(task.test, reading.test, np.full(2, 0.5))[0]) for reading in (together, joined)
    ]
    assert scores[0] > scores[1] + 0.05


@pytest.mark.parametrize("sort", ["class", "number", "multilabel"])
def test_every_reader_reads_every_sort_of_target(sort):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(300, 2)).astype(np.float32)
    truth = {"class": np.eye(2)[(rows[:, 0] > 0).astype(int)], "multilabel": rows > 0, "number": rows}[sort]
    measure = {"class": "balanced_accuracy", "multilabel": "auroc", "number": "r2"}[sort]
    places = np.arange(150)
    values = truth.astype(np.float64)
    task = Task("y", sort, measure, places, places, values[:150], values[150:])
    labelled, block = labelled_rows(task, "all"), Block(rows[:150], rows[150:])
    readings = [read({"x": block}, labelled) for read in (linear, boosted, network)]
    readings.append(stacked(readings[:2], labelled))
    for reading in readings:
        assert reading.test.shape == task.test.shape
        assert float(task.scores(task.test, reading.test, labelled.prior)[0]) > 0.8
        assert float(task.scores(task.train, reading.train, labelled.prior)[0]) > 0.8


def test_log_loss_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(3), size=50)
    labels = generator.integers(3, size=50)
    task = task_with(np.arange(6) % 3, labels)
    assert task.losses(task.test, shares).mean() == pytest.approx(log_loss(labels, shares), rel=1e-2)


def test_a_combination_is_read_by_what_reads_together():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 800, 1)).astype(np.float32)
    labels = ((first > 0) ^ (second > 0))[:, 0].astype(int)
    task = task_with(labels[:500], labels[500:])
    blocks = {}
    for name, rows in (("a", first), ("b", second)):
        blocks[Key("alone", name)] = blocks[Key("beside", name)] = Block(rows[:500], rows[500:])
    unit = Unit(blocks, labelled_rows(task, "all"))
    scores = {
        name: float(task.scores(task.test, unit.reading(name).test, np.full(2, 0.5))[0])
        for name in ("boosting", "late fusion")
    }
    assert scores["boosting"] > 0.9
    assert scores["late fusion"] < 0.65


def test_a_modality_may_have_any_name():
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=120)
    task = task_with(labels[:80], labels[80:])
    noise = generator.normal(size=(120, 1)).astype(np.float32)
    shows_it = labels[:, None].astype(np.float32)
    for name in ("learned", "untrained", "components"):
        vectors = {Key(sort, name): Block(noise[:80], noise[80:]) for sort in ("alone", "beside")}
        embedding = Block(shows_it[:80], shows_it[80:])
        vectors |= {Key("learned", "comm#0"): embedding, Key("untrained"): embedding}
        unit = Unit(vectors, labelled_rows(task, "all"))
        for reader in ("comm#0", "untrained"):
            assert (unit.reading(reader).test.argmax(axis=1) == labels[80:]).all(), name


def test_budgets_that_say_the_same_are_one():
    labels = np.arange(30) % 3
    task = task_with(labels, labels)
    assert budgets_of(task, ["1%", "5%", "10%", "50%", "all"]) == ["1%", "50%", "all"]
    assert checked_budgets(["20", "all"]) == ("20", "all")
    assert (checked_budgets("5%"), checked_budgets(20)) == (("5%",), ("20",))
    assert len(labelled_rows(task, "1%").rows) == 6
    drawn = [tuple(labelled_rows(task, "50%", draw).rows) for draw in range(5)]
    assert len(set(drawn)) == 5


@pytest.mark.parametrize("sort", ["number", "multilabel"])
@pytest.mark.parametrize("grouped", [False, True])
def test_one_label_of_what_has_no_classes_is_read_as_two(sort, grouped):
    values = np.random.default_rng(0).normal(size=(40, 1))
    values = (values > 0).astype(float) if sort == "multilabel" else values
    places, groups = np.arange(40), np.zeros(40, dtype=np.uint64) if grouped else None
    task = Task("y", sort, "r2", places, places, values, values, groups)
    labelled = labelled_rows(task, "1")
    assert len(labelled.rows) == 2
    assert [len(fit) for fit, _ in labelled.parts()] == [1, 1]


def test_rivals_none_of_which_can_be_read_are_refused_before_anything_is_trained(schema, tmp_path):
    one = yaml.safe_load(schema.read_text())
    one["table"] = str(schema.parent / "table.csv")
    del one["modalities"]["b"]
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(one))
    with pytest.raises(ConfigurationError, match="None of the rivals can be used .*is only one modality"):
        compare(tmp_path / "one.yaml", ["comm"], 1, tmp_path / "out", SMALL, 1, quiet, rivals=["late fusion"])
    assert not (tmp_path / "out").exists()


def test_a_modality_that_no_test_row_has_is_zeros(schema, tmp_path):
    table = pd.read_csv(schema.parent / "table.csv")
    table.loc[table["split"] == "test", ["b0", "b1"]] = np.nan
    table.to_csv(tmp_path / "table.csv", index=False)
    stated = {**yaml.safe_load(schema.read_text()), "table": str(tmp_path / "table.csv")}
    run = train(
        experiment_from(
            {
                "name": "absent",
                "method": "comm",
                "data": {"name": "table", "table": stated.pop("table"), "schema": stated},
                "training": {"epochs": 1, "batch_size": 16},
                "model": {"width": 16},
            }
        ),
        tmp_path / "run",
    )
    data = read_data(run.experiment)
    block = vectors_of(run.experiment, data, {"comm#0": run.folder.path}, untrained=False)[
        Key("learned", "comm#0", "a")
    ]
    assert block.train.shape[1] == block.test.shape[1] > 0
    assert not block.test.any()


def test_a_pretrained_rival_that_is_not_there_is_skipped_with_a_word(monkeypatch):
    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: None)
    chosen, left_out = chosen_rivals(["features", "tabicl"], ["a", "b"], 100)
    assert chosen == ["features"]
    assert "commlearn[tabular]" in left_out["tabicl"]

    class Broken:
        def fit(self, rows, labels):
            raise RuntimeError("no weights here")

    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(rivals, "estimators", lambda name: (Broken, Broken))
    _, left_out = chosen_rivals(["tabicl"], ["a", "b"], 100)
    assert "no weights here" in left_out["tabicl"]


def test_a_pretrained_rival_reads_like_any_other(monkeypatch):
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(rivals, "estimators", lambda name: (KNeighborsClassifier, KNeighborsRegressor))
    chosen, _ = chosen_rivals(["tabicl"], ["a"], 100)
    assert chosen == ["tabicl"]
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 2)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(int)
    task = task_with(labels[:100], labels[100:])
    block = Block(rows[:100], rows[100:])
    blocks = {Key("alone", "a"): block, Key("beside", "a"): block}
    unit = Unit(blocks, labelled_rows(task, "all"))
    assert float(task.scores(task.test, unit.reading("tabicl").test, np.full(2, 0.5))[0]) > 0.8


def test_a_pretrained_rival_never_downloads_its_weights(monkeypatch):
    asked = []
    module = SimpleNamespace(TabICLClassifier=lambda **options: asked.append(options), TabICLRegressor=dict)
    monkeypatch.setattr(rivals.importlib, "import_module", lambda name: module)
    classifier, regressor = rivals.estimators("tabicl")
    classifier()
    assert asked == [regressor()] == [{"allow_auto_download": False}]


def test_the_verdict_is_drawn(compared):
    _, comparison = compared
    curves, gaps, absent = panels = comparison.plot("y")
    assert panels._repr_png_().startswith(b"\x89PNG")  # what a notebook shows
    named = {text.get_text(): text.get_position()[1] for text in curves.texts}
    assert {"comm", "chance"} <= named.keys()
    ends = sorted(place for name, place in named.items() if name != "chance")
    low, high = curves.get_ylim()
    assert min(np.diff([-np.inf, *ends])) > (high - low) / 25, "names at the ends of lines cover each other"
    labels = [label.get_text() for label in gaps.get_yticklabels()]
    assert len(labels) == 2
    assert labels[0].startswith("comm, 20 per class\nover ")
    labels = [label.get_text() for label in absent.get_yticklabels()]
    first, second = labels[: labels.index("b")], labels[labels.index("b") :]
    assert first[0] == "a"
    for wanted in ("comm, left out", "features, filled with the mean", "features, fitted without it"):
        assert wanted in first
        assert wanted in second
    sizes = plot.differences(comparison.verdict, "size")
    assert sizes.get_xlabel() == "points above the best rival"
    assert sizes.get_yticklabels()[0].get_text().startswith("comm, 20 rows\nover ")
    with pytest.raises(ConfigurationError, match="did you mean 'size'"):
        comparison.plot("sise")


def test_the_report_of_a_run_opens_with_the_verdict_of_its_comparison(compared, tmp_path):
    out, comparison = compared
    written = report(out / "comm" / "seed0" / "run", out=tmp_path)
    page = (tmp_path / "report.html").read_text()
    first = html.unescape(page[: page.index("Your data</h2>")])
    assert comparison.verdict["targets"]["y"]["words"][0] in first  # on the target's card
    assert "verdict-0.png" in written.files


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"5%": "none", "all": "none"}, r"Plain features are enough: 80.0 % .* adds nothing: \+0.0"),
        ({"5%": "none", "all": "less"}, r"\(comm\) loses: -5.0"),
        (
            {"5%": "more", "all": "none"},
            r"With 5 % of the labels \(20 rows\) .* \+5.0 .*with all labels it adds nothing",
        ),
        ({"5%": "more", "all": "less"}, r"the best rival, features; with all labels it loses \(-5.0 \[-6.0"),
        ({"5%": "none", "all": "more"}, r"adds \+5.0 \[\+4.0, \+6.0\] points to the best rival, features"),
        ({"5%": "less", "all": "none"}, r"With 5 % of the labels features is better than the embedding"),
    ],
)
def test_the_words_say_what_the_claims_are(claims, expected):
    points = {"more": 5.0, "less": -5.0, "none": 0.0}

    def claim(sort):
        value = points[sort]
        return {"points": value, "interval": [value - 1, value + 1], "claim": sort}

    parts = {
        budget: {
            "labelled_rows": 20,
            "rival": "features",
            "differences": {"comm": claim(sort)},
            "readers": {"features": {"score": 80.0}},
        }
        for budget, sort in claims.items()
    }
    values = {
        "sort": "class",
        "measure": "auroc",
        "best": {"reader": "features", **claim("more")},
        "budgets": parts,
        "combination": {"joint": "boosting", "apart": "late fusion", **claim("more")},
        "modalities": {"ecg": {"refit": claim("less")}, "notes": {"refit": claim("none")}},
    }
    sentences = words_of(values)
    assert re.search(expected, " ".join(sentences))
    assert "The combination matters: boosting" in " ".join(sentences)
    assert "Keep ecg: leaving it out changes the score by -5.0 [-6.0, -4.0] points." in sentences
    assert sentences[-1] == "Each of these can be left out with little loss: notes (+0.0 [-1.0, +1.0])."
    nothing = words_of({**values, "best": {"reader": "features", **claim("none")}})
    assert nothing == [
        "Nothing here predicts it: the best reader, features, differs from chance by +0.0 [-1.0, +1.0] "
        "points (AUROC)."
    ]
    unsure = {"points": 45.0, "interval": [None, None], "claim": "none"}
    assert words_of({**values, "best": {"reader": "features", **unsure}}) == [
        "It cannot be said whether anything predicts it: the best reader, features, differs from chance by "
        "+45.0 [no interval: too few groups] points (AUROC)."
    ]


@pytest.mark.parametrize(
    ("sort", "labels"),
    [
        ("class", "20 labels per class (60 rows)"),
        ("number", "20 labelled rows"),
        ("multilabel", "20 labelled rows"),
    ],
)
@pytest.mark.parametrize("claim", ["more", "less"])
def test_a_number_of_labels_is_one_of_rows_where_there_are_no_classes(sort, labels, claim):
    none = {"points": 0.0, "interval": [-1.0, 1.0], "claim": "none"}
    some = {"points": 5.0, "interval": [4.0, 6.0], "claim": claim}
    readers = {"features": {"score": 80.0}}
    rows = {"20": 60 if sort == "class" else 20, "all": 400}
    parts = {
        budget: {
            "labelled_rows": count,
            "rival": "features",
            "differences": {"comm": gap},
            "readers": readers,
        }
        for (budget, count), gap in zip(rows.items(), (some, none), strict=True)
    }
    best = {"reader": "features", **none, "claim": "more"}
    values = {"sort": sort, "measure": "auroc", "best": best, "budgets": parts, "combination": None}
    sentence = words_of({**values, "modalities": {}})[0 if claim == "more" else 1]
    assert sentence.startswith(f"With {labels if claim == 'more' else labels.partition(' (')[0]} ")


def test_a_measure_of_many_rows_is_taken_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    task = task_with(np.arange(10) % 2, generator.integers(2, size=40), measure="auroc")
    shares = generator.dirichlet(np.ones(2), size=40)
    whole = task.scores(task.test, shares, np.full(2, 0.5), task.weights)
    monkeypatch.setattr(answers_task, "AT_A_TIME", 1000)
    np.testing.assert_allclose(task.scores(task.test, shares, np.full(2, 0.5), task.weights), whole)


def test_rare_classes_are_scored_by_their_rank():
    rows = np.arange(100)
    data = Dataset(
        Records(
            {"a": VectorColumn(np.zeros((100, 2), np.float32))}, {"ill": rows % 10 == 0, "old": rows % 2}
        ),
        Records({"a": VectorColumn(np.zeros((100, 2), np.float32))}, {"ill": rows % 9 == 0, "old": rows % 2}),
    )
    assert answers_task.task_of(data, "ill", "class").measure == "auroc"
    assert answers_task.task_of(data, "old", "class").measure == "balanced_accuracy"
