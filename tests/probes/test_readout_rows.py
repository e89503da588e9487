"""No readout scores a row whose label the model has seen, through any entry point."""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl
from commlearn.cli import main
from commlearn.config.configuration import experiment_from
from commlearn.errors import DataError, DataWarning
from commlearn.information.material import Settings
from commlearn.information.sources import gather
from commlearn.probes.audit import audit_augmentations
from commlearn.probes.readout_rows import readout_rows, rows_to_cross_fit, without_overlap
from commlearn.probes.retrieval import retrieval
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.tables.dataset import dataset_of
from commlearn.tables.splits import name_keys
from commlearn.tables.table import Table
from commlearn.trained.training_rows import TrainingRows
from commlearn.training.finetune import FineTuning, finetune

QUICK = Settings(repeats=1, curve=False, bootstrap=0, permutations=19)


def noise(rows=300, seed=0, per_group=1):
    """Return a table of two vectors and a label, all unrelated; each group has one label."""
    draw = np.random.default_rng(seed)
    groups = np.arange(rows) // per_group
    label = draw.permutation(np.arange(groups.max() + 1) % 2)[groups]
    return pd.DataFrame(
        {
            "case": [f"{seed}-{row}" for row in range(rows)],
            "who": [f"{seed}-{group}" for group in groups],
            "part": np.where(groups % 5 == 0, "test", "train"),
            "left": list(draw.normal(size=(rows, 4)).astype(np.float32)),
            "right": list(draw.normal(size=(rows, 4)).astype(np.float32)),
            "ill": label,
        }
    )


def schema(**named):
    return cl.Schema({"left": cl.Vector("left"), "right": cl.Vector("right")}, {"ill": "class"}, **named)


def trained(table, tmp_path, method="supcon", name="run", epochs=1, **named):
    """Train on the table, stored as a file, as the command line does."""
    path = tmp_path / f"{name}.parquet"
    table.to_parquet(path)
    data = {"name": "table", "table": str(path), "schema": schema(**named).to_mapping()}
    training = {"epochs": epochs, "batch_size": 32, "learning_rate": 1e-3}
    settings = {"name": "noise", "method": method, "data": data, "training": training}
    return cl.train(experiment_from(settings | {"model": {"width": 16}}), tmp_path / name)


def overlap(records, run):
    return int(run.rows.used_in_training(records.keys, records.groups).sum())


@pytest.fixture(scope="module", params=["supcon", "comm-sup"])
def supervised(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("supervised")
    return trained(noise(), folder, request.param), noise(), folder


def test_a_run_an_artifact_and_a_pickle_remember_keys_parts_groups_and_labels(tmp_path):
    run = trained(noise(per_group=6), tmp_path, group="who", id="case")
    assert run.rows.labels == ("ill",)
    assert len(run.rows.keys) == 300
    assert len(np.unique(run.rows.groups)) == 50
    copies = [cl.load(tmp_path / "run").rows, cl.load(cl.export(run, tmp_path / "artifact")).rows]
    model = cl.Embedder.load(tmp_path / "artifact")
    copies.append(pickle.loads(pickle.dumps(model)).trained.rows)
    assert run.rows.label_counts == {"ill": len(run.rows.keys[run.rows.parts == 0])}
    for rows in copies:
        assert rows.label_counts == run.rows.label_counts
        for name in ("keys", "parts", "groups", "labels"):
            assert np.array_equal(getattr(rows, name), getattr(run.rows, name)), name


def test_probes_of_the_own_table_and_of_a_file_score_what_was_not_trained_on(supervised):
    run, table, _ = supervised
    for data in (readout_rows(run), readout_rows(run, table)):
        assert overlap(data.test, run) == 0
        assert len(data.test) > 30
        assert overlap(data.fit, run) == len(data.fit)


def test_new_rows_are_parted_by_their_keys_and_known_ones_stay(supervised):
    run, table, _ = supervised
    both = pd.concat([noise(100, seed=9), table]).reset_index(drop=True)
    data = readout_rows(run, both)
    assert overlap(data.test, run) == 0
    alone = readout_rows(run, noise(100, seed=9))
    assert set(alone.test.keys.tolist()) <= set(data.test.keys.tolist())


def test_interactions_of_a_method_that_saw_labels_leave_its_training_rows_out(supervised):
    run, table, _ = supervised
    for data in (None, table, cl.read_data(run.experiment)):
        rows = rows_to_cross_fit(run, data)
        assert overlap(rows.records, run) == 0
        assert 0 < len(rows.records) < 100
    assert "were trained on with labels (ill)" in rows_to_cross_fit(run, table).warning
    gathered = gather(run, table, None, None)
    assert len(gathered.about("ill").values) == len(rows_to_cross_fit(run, table).records)
    asked = gathered.about(table["ill"].to_numpy())
    assert len(asked.values) == len(gathered.about("ill").values)
    assert (asked.positions == rows_to_cross_fit(run, table).positions).all()
    assert (asked.select(table["ill"].to_numpy()) == gathered.about("ill").values).all()


@pytest.mark.parametrize("surplus", [-1, 1])
def test_values_of_other_rows_than_the_offered_ones_are_refused(supervised, surplus):
    """A longer target used to be read at the wrong rows in silence."""
    run, table, _ = supervised
    values = np.arange(len(table) + surplus) % 2
    with pytest.raises(DataError, match=f"target 'target' has {len(values)} values"):
        gather(run, table, None, None).about(values)
    with pytest.raises(DataError, match=f"groups has {len(values)} values"):
        gather(run, table, None, values)


def test_rows_that_were_all_seen_with_labels_are_refused_through_every_door(supervised, tmp_path):
    run, table, _ = supervised
    seen = readout_rows(run, table).fit
    model = cl.Embedder(schema(), method="supcon", epochs=1, batch_size=32).fit(table)
    doors = {
        "probe": lambda: cl.probe(model, table),
        "ladder": lambda: cl.probe_ladder(model, table),
        "audit": lambda: audit_augmentations(model, table, "ill"),
        "interactions": lambda: cl.interactions(model, table, target="ill"),
        "interactions of records": lambda: cl.interactions(run, seen, target="ill"),
        "report": lambda: cl.report(model, _parquet(table, tmp_path), tmp_path / "report"),
        "fine-tuning": lambda: finetune(model.trained, "ill", tmp_path / "tuned", readout_rows(model, table)),
    }
    for door in doors.values():
        with pytest.raises(DataError, match="rows were trained on with labels"):
            door()


def test_labels_of_noise_are_read_off_rows_that_were_seen_and_off_no_others(tmp_path):
    """Folds of rows whose labels were learned score far above chance; the library's readouts do not."""
    draw = np.random.default_rng(5)
    wide = {name: list(draw.normal(size=(400, 32)).astype(np.float32)) for name in ("left", "right")}
    table = noise(400).assign(**wide)
    given = draw.random(400) < 0.5  # the others are unlabelled
    method = {"name": "comm-sup", "label_weight": 3.0}
    quick = {"epochs": 25, "batch_size": 32, "learning_rate": 3e-3}
    by_heart = {"augmentations": {"vector": {"name": "none"}}, "training.stand_ins": False}
    model = cl.Embedder(schema(split="part"), method, **quick, settings=by_heart)
    model.fit(table.assign(ill=table["ill"].where(given)))

    learned = np.flatnonzero(given & (table["part"] == "train"))
    readout = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    vectors, labels = model.transform(table, blocks="learned")[learned], table["ill"].to_numpy()[learned]
    assert cross_val_score(readout, vectors, labels, cv=5).mean() > 0.9  # although the labels are noise

    assert overlap(readout_rows(model, table).test, model.trained) == 0
    low, high = cl.probe(model, table)["ill"].interval  # it gets all labels
    assert low < 0.5 < high
    cl.report(model, _parquet(table, tmp_path), tmp_path / "report")
    read = json.loads((tmp_path / "report" / "report.json").read_text())["probes"]["ill"]
    assert all(part["interval"][0] < 0.5 < part["interval"][1] for part in read.values())
    report = cl.interactions(model, table, target="ill", settings=QUICK)
    assert report.data.total.bits < 0.1
    assert report.records == (table["part"] == "test").sum()
    hidden = table[~given & (table["part"] == "train")]  # refused even if labels were unknown
    for door in (cl.probe, lambda *asked: cl.interactions(*asked, target="ill", settings=QUICK)):
        with pytest.raises(DataError, match="rows were trained on with labels"):
            door(model, hidden)


def test_a_comparison_scores_labels_of_noise_at_chance_and_asks_nothing_of_few(
    tmp_path, jobs_in_this_process
):
    """A method that learned from all training labels is not compared at budgets of few labels."""
    small = {"training.epochs": 4, "model.width": 16, "augmentations.vector.name": "none"}
    options = {"seeds": 1, "jobs": 1, "rivals": ["features"], "budgets": ["5", "all"]}
    compared = cl.compare(
        schema(split="part"),
        ["comm", "comm-sup"],
        table=_parquet(noise(), tmp_path),
        out=tmp_path / "compared",
        overrides=small,
        tell=lambda line: None,
        **options,
    )
    (probe,) = compared["methods"]["comm-sup"]["probes"].values()
    low, high = probe["ill"]["interval"]
    assert low < 0.5 < high
    assert "labels of all training rows" in compared.verdict["not_tried"]["comm-sup"]
    assert not [name for name in compared.to_frame()["reader"] if "comm-sup" in name]


def _parquet(table, folder):
    table.to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def test_an_embedder_keeps_to_the_training_part_that_its_schema_names():
    table = noise()
    model = cl.Embedder(schema(split="part"), epochs=1, batch_size=32).fit(table)
    parts = table["part"].to_numpy()
    data = readout_rows(model, table)
    assert (len(data.fit), len(data.test)) == ((parts == "train").sum(), (parts == "test").sum())
    assert overlap(data.test, model.trained) == 0
    supervised = cl.Embedder(schema(split="part"), method="supcon", epochs=1, batch_size=32).fit(table)
    assert overlap(readout_rows(supervised, table).test, supervised.trained) == 0


def test_without_a_split_rows_beside_those_of_the_fit_are_scored_and_else_it_is_said():
    table = noise()
    model = cl.Embedder(schema(), epochs=1, batch_size=32).fit(table)
    assert len(model.trained.rows.keys) == len(table)
    with pytest.warns(DataWarning, match="trained, without labels, on all 300 rows"):
        readout_rows(model, table)
    both = pd.concat([table, noise(100, seed=3)]).reset_index(drop=True)
    data = readout_rows(model, both)
    assert (len(data.fit), len(data.test)) == (300, 100)
    fresh = readout_rows(model, noise(200, seed=4))
    assert len(fresh.fit) + len(fresh.test) == 200
    beside_one = readout_rows(model, pd.concat([table[:1], noise(200, seed=4)]).reset_index(drop=True))
    assert np.array_equal(beside_one.test.keys, fresh.test.keys)  # a single training row changes nothing


def test_a_new_row_of_a_group_that_was_seen_with_labels_is_not_scored(tmp_path):
    table = noise(per_group=6)
    run = trained(table, tmp_path, group="who", id="case")
    later = table.assign(case=[f"later {row}" for row in range(len(table))])
    data = readout_rows(run, later)
    assert overlap(data.test, run) == 0
    parts = {"fit": data.fit, "test": data.test}
    assert not np.intersect1d(*(np.unique(part.groups) for part in parts.values())).size


def test_a_group_whose_rows_copy_those_of_others_is_remembered(tmp_path):
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"who": [f"p{row // 2}" for row in range(80)], "ill": np.arange(80) % 2})
    table = table.assign(sex=draw.integers(2, size=80), smokes=draw.integers(2, size=80))
    named = {"modalities": {name: cl.Tabular([name]) for name in ("sex", "smokes")}, "group": "who"}
    model = cl.Embedder(cl.Schema(targets={"ill": "class"}, **named), "supcon", epochs=1).fit(table)
    assert set(model.trained.rows.groups.tolist()) == set(name_keys(table["who"])[0].tolist())
    with pytest.raises(DataError, match="trained on with labels"):
        readout_rows(model, table.assign(sex=2))  # other rows of the same people


@pytest.mark.parametrize("method", ["supcon", "comm"])
def test_rows_that_lack_the_groups_of_the_training_are_scored_by_no_model_that_saw_labels(method, tmp_path):
    table = noise(per_group=6)
    run = trained(table, tmp_path, method, group="who", id="case")
    later = table.drop(columns="who").assign(case=[f"later {row}" for row in range(len(table))])
    doors = (lambda: readout_rows(run, later, False), lambda: rows_to_cross_fit(run, later))
    for door in doors:
        if method == "supcon":
            with pytest.raises(DataError, match="whole groups, and these rows lack the column"):
                door()
        else:
            with pytest.warns(DataWarning, match="a column of groups, which these rows lack"):
                door()


def test_a_run_without_its_table_gives_what_it_gives_with_it(tmp_path):
    run = trained(noise(per_group=6), tmp_path, method="comm", group="who")
    alone = cl.interactions(run, target="ill", settings=QUICK)
    given = cl.interactions(run, noise(per_group=6), target="ill", settings=QUICK)
    assert alone.data.total.bits == given.data.total.bits
    assert alone.records == given.records == 300
    assert alone.data.total.bits < 0.1  # about 1 if groups are ignored


def test_rows_without_a_label_of_the_fine_tuning_stay_in_the_part_that_they_had(tmp_path):
    table = noise(90, per_group=3).assign(well=np.arange(90) % 2)
    table.loc[np.arange(90) % 9 >= 3, "ill"] = None
    named = cl.Schema(schema().modalities, {"ill": "class", "well": "class"}, id="case")
    base = cl.Embedder(named, epochs=1, batch_size=32).fit(table[:60]).trained
    tuned = finetune(base, FineTuning("ill", epochs=1), tmp_path / "tuned", table)
    before, now = readout_rows(base, table), readout_rows(cl.load(tmp_path / "tuned"), table)
    assert len(now.test) == 30
    assert set(now.test.keys) == set(before.test.keys)
    unlabelled = np.isin(before.fit.keys, tuned.rows.keys[tuned.rows.parts == 3])
    assert unlabelled.sum() == 39
    assert len(rows_to_cross_fit(tuned, table).records) == 30 + 39  # no label of these was seen


def test_a_fine_tuned_run_remembers_whose_labels_it_saw(tmp_path):
    run = trained(noise(), tmp_path, method="comm")
    tuned = finetune(run, FineTuning("ill", epochs=1), tmp_path / "tuned")
    again = cl.load(tmp_path / "tuned")
    assert again.rows.labels == tuned.rows.labels == ("ill",)
    rows = rows_to_cross_fit(again)
    assert overlap(rows.records, again) == 0
    assert len(rows.records) == len(readout_rows(again).test)


def test_rows_of_both_parts_are_not_scored_and_divided_groups_are_named():
    data = readout_rows(cl.Embedder(schema(), epochs=1, batch_size=32).fit(noise()), noise(200, seed=4))
    model = cl.Embedder(schema(), epochs=1, batch_size=32).fit(noise(seed=5))
    mixed = replace(data, test=data.fit.choose(np.arange(5)))
    with pytest.raises(DataError, match="All 5 test rows are among the rows"):
        readout_rows(model, mixed)
    validated = replace(data, validation=data.test.choose(np.arange(3)))
    with pytest.warns(
        DataWarning, match="3 of .* test rows are also among the rows to fit or to validate on"
    ):
        assert len(readout_rows(model, validated).test) == len(data.test) - 3
    fit, test = data.fit, data.test
    divided = replace(
        data,
        train=replace(fit, groups=np.zeros(len(fit), dtype=np.uint64)),
        test=replace(test, groups=np.zeros(len(test), dtype=np.uint64)),
    )
    with pytest.warns(DataWarning, match="1 groups have rows both to fit on and to score"):
        readout_rows(model, divided)


def test_a_model_with_labels_that_does_not_say_its_rows_scores_nothing(supervised):
    run, table, _ = supervised
    with pytest.raises(DataError, match="which rows those were is not recorded"):
        cl.probe(replace(run, rows=None), table)


def test_a_label_free_model_of_earlier_versions_still_reads(tmp_path):
    run = trained(noise(), tmp_path, method="comm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cl.probe(replace(run, rows=None), noise())["ill"].test_records > 30


def test_damaged_memory_of_rows_is_refused_by_name(supervised, tmp_path):
    run, _, folder = supervised
    good = run.rows.to_bytes()
    for content in (b"", good[:40], good[:-9], b"\xff" * 64):
        with pytest.raises(ValueError):
            TrainingRows.from_bytes(content)
    path = folder / "run" / "rows.safetensors"
    path.write_bytes(good[:40])
    with pytest.raises(cl.errors.RunError, match="rows.safetensors is missing or damaged"):
        cl.load(folder / "run")
    path.write_bytes(good)
    assert np.array_equal(cl.load(folder / "run").rows.keys, run.rows.keys)


def test_joined_memories_keep_what_either_saw():
    one = TrainingRows(np.array([1, 2], np.uint64), np.array([0, 2], np.int8), None, ("a",), {"a": 1})
    two = TrainingRows(np.array([2, 3], np.uint64), np.array([0, 2], np.int8), labels=("b",))
    both = one.joined(two)
    assert both.used_in_training(np.array([1, 2, 3, 4], np.uint64)).tolist() == [True, True, False, False]
    assert both.labels == ("a", "b")
    again = TrainingRows.from_bytes(both.to_bytes())
    assert (again.labels, dict(again.label_counts)) == (("a", "b"), {"a": 1})  # the number for b is unknown


def test_a_memory_of_an_earlier_version_names_its_labels_without_their_number():
    now = TrainingRows(np.array([1, 2], np.uint64), np.array([0, 2], np.int8), None, ("a",), {"a": 1})
    tensors = safetensors.torch.load(now.to_bytes())
    before = TrainingRows.from_bytes(safetensors.torch.save(tensors, metadata={"labels": '["a"]'}))
    assert (before.labels, dict(before.label_counts)) == (("a",), {})


def test_a_group_that_a_split_column_divides_is_seen_as_a_whole(tmp_path):
    """The column marks single rows, but labels of the same patient were learned nevertheless."""
    table = noise(per_group=6).assign(part="train")
    table.loc[::6, "part"] = "test"
    run = trained(table, tmp_path, group="who", split="part", id="case")
    with pytest.raises(DataError, match="or belong to a group that was"):
        cl.probe(run)
    fresh = noise(60, seed=8, per_group=6).assign(part="test")
    both = pd.concat([table, fresh]).reset_index(drop=True)
    assert set(readout_rows(run, both).test.keys.tolist()) == set(
        rows_to_cross_fit(run, fresh).records.keys.tolist()
    )


@pytest.mark.parametrize("command", ["probe", "report"])
def test_a_command_warns_once(command, tmp_path, capsys):
    table = noise(per_group=6).assign(part=lambda rows: np.where(np.arange(len(rows)) % 6, "train", "test"))
    trained(table, tmp_path, "comm", group="who", split="part", id="case")
    capsys.readouterr()
    assert main([command, str(tmp_path / "run"), "--quiet"]) == 0
    assert capsys.readouterr().err.count("groups have rows both to fit on and to score") == 1


def test_intervals_of_retrieval_draw_whole_groups():
    values = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    other = values.copy()
    other[:60] = other[:60][::-1]  # found for the other half of the groups only
    model = cl.Embedder(schema(), epochs=1, batch_size=32).fit(noise())
    widths = []
    for groups in (None, np.repeat(np.arange(8), 15).astype(np.uint64)):
        columns = {"left": VectorColumn(values[:, :4]), "right": VectorColumn(other[:, :4])}
        low, high = retrieval(
            model, Records(columns, groups=groups), ["left"], ["right"], top=[20]
        ).intervals[20]
        widths.append(high - low)
    assert widths[0] != widths[1]


def parts_of(cells, copies):
    """Return data with 60 rows to fit on, and other rows to score, each repeated `copies` times."""
    parts = np.arange(60), np.repeat(np.arange(60, len(cells)), copies)
    train, test = (
        Records(
            {"a": VectorColumn(cells[rows].astype(np.float32))}, {"y": rows % 2}, keys=rows.astype(np.uint64)
        )
        for rows in parts
    )
    return Dataset(train, test)


def test_copies_among_the_test_rows_count_as_one():
    generator = np.random.default_rng(0)
    with pytest.warns(DataWarning, match="270 of 300 test rows are copies"):
        data = without_overlap(parts_of(generator.normal(size=(90, 3)), copies=10))
    assert len(np.unique(data.test.resampled)) == 30
    unlike = without_overlap(parts_of(generator.normal(size=(90, 3)), copies=1))
    assert unlike.test.resampled is None
    discrete = parts_of(generator.integers(2, size=(90, 3)), copies=1)
    eight = replace(discrete.test, keys=discrete.test.columns["a"].values @ np.array([1, 2, 4]) + 1000)
    assert without_overlap(replace(discrete, test=eight)).test.resampled is None


def test_copies_under_other_ids_are_neither_scored_twice_nor_scored_and_fitted_on():
    """Noise, every row exported again with a new id: a probe read 92 % off the copies."""
    once = noise(150)
    twice = pd.concat([once, once.assign(case=[f"again-{row}" for row in range(150)])], ignore_index=True)
    whole = dataset_of(Table(twice), schema(id="case"), validation=0.2, test=0.3)
    with pytest.warns(DataWarning, match="not scored"):
        data = without_overlap(whole)
    fit, validation, test = (_left(part) for part in (data.train, data.validation, data.test))
    assert set(test).isdisjoint(fit + validation)
    assert 0 < len(set(test)) < len(test)
    assert len(np.unique(data.test.units)) == len(set(test))
    assert np.isin(data.test.keys, name_keys(twice["case"])[0]).all()


@pytest.mark.parametrize("values", [2, "ages", "cities", None])
def test_rows_that_differ_or_have_few_values_are_scored_under_their_ids(values):
    table = noise(200)
    if values == "ages":  # whole years, and what follows from them
        ages = np.random.default_rng(1).integers(18, 90, size=200)
        cells = np.stack([ages, ages // 10, ages > 65, ages < 30], axis=1).astype(np.float32)
        table = table.assign(left=list(cells), right=list(cells))
    elif values == "cities":  # each of ten with its own values
        city = np.random.default_rng(1).integers(0, 10, size=200)
        cells = np.random.default_rng(2).normal(size=(10, 4)).astype(np.float32)[city]
        table = table.assign(left=list(cells), right=list(cells))
    elif values:
        cells = np.random.default_rng(1).integers(0, values, size=(2, 200, 4)).astype(np.float32)
        table = table.assign(left=list(cells[0]), right=list(cells[1] * [1, 0, 0, 0]))
    whole = dataset_of(Table(table), schema(id="case"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = without_overlap(whole)
    assert len(data.test) == len(whole.test)
    assert data.test.units is None


def _left(records):
    return [row.tobytes() for row in records.columns["left"].take(np.arange(len(records))).values.numpy()]
