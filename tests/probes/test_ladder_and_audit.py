"""Each rung of the ladder equals the probe; the audit finds an augmentation that destroys a target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import commlearn as cl
from commlearn.config.configuration import experiment_from
from commlearn.errors import CommlearnError, ConfigurationError, DataError, DataWarning
from commlearn.methods import base
from commlearn.models.features import fixed
from commlearn.plot.projection import aligned, project
from commlearn.probes import ladder as ladders
from commlearn.probes.audit import _destroys
from commlearn.probes.ladder import Embedded, embed_subsets, gain_of, outcomes_of, subsets_of
from commlearn.probes.linear import read_labels
from commlearn.probes.measures import unseen_errors
from commlearn.probes.results import NumberResult, Outcome, score_of
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import Table, read_table
from commlearn.trained import embed as embeddings

SCHEMA = cl.Schema({"a": cl.Vector("a"), "b": cl.Vector("b")}, targets={"y": "class", "v": "number"})


def table(rows=240, missing=0):
    draw = np.random.default_rng(0)
    label = draw.integers(0, 2, rows)
    a = draw.normal(size=(rows, 6)) + 4 * label[:, None]
    b = draw.normal(size=(rows, 6))
    cells = {"a": list(a.astype("float32")), "b": list(b.astype("float32")), "y": label, "v": b[:, 0] + label}
    for row in range(missing):
        cells["b"][row * 3] = None
    return cells


def trained(folder, augmentations, missing=0):
    data = dataset_of(read_table(table(missing=missing)), SCHEMA)
    settings = {
        "name": "small",
        "data": {"name": "table", "table": "", "schema": SCHEMA.to_mapping()},
        "model": {"width": 32},
        "augmentations": augmentations,
        "training": {"epochs": 3, "batch_size": 32, "threads": 1},
    }
    return cl.train(experiment_from(settings), folder, data=data), data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("ladder") / "run", {})


def test_rungs_are_what_probe_finds(run):
    model, data = run
    ladder = cl.probe_ladder(model, data)
    assert list(ladder) == ["y", "v"]
    assert list(ladder["y"]) == ["a", "b", "a+b"]
    for subset in ("a", "b", "a+b"):
        alone = cl.probe(model, data, modalities=subset.split("+"))
        assert ladder["y"][subset] == alone["y"]
        assert ladder["v"][subset] == alone["v"]
    assert ladder["y"]["a"].balanced_accuracy > 0.9


def test_records_without_a_subset_are_left_out_and_counted(tmp_path):
    model, data = trained(tmp_path / "run", {}, missing=60)
    ladder = cl.probe_ladder(model, data, "y")["y"]
    assert ladder["b"].dropped > 0
    assert ladder["a"].dropped == 0
    assert ladder["b"].test_records < ladder["a"].test_records == ladder["a+b"].test_records


def test_subsets_are_singles_pairs_of_few_and_all(monkeypatch):
    assert subsets_of(["a"]) == [("a",)]
    assert subsets_of(["a", "b", "c"])[3:] == [("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    assert len(subsets_of("abcde")) == 6
    monkeypatch.setattr(ladders, "PAIRS_UP_TO", 5)
    assert len(subsets_of("abcde")) == 16


def test_what_cannot_be_probed_is_told(run):
    model, data = run
    with pytest.raises(CommlearnError, match="Unknown target 'z'"):
        cl.probe_ladder(model, data, ["z"])
    nothing = data.test.choose(np.zeros(0, dtype=int))
    with pytest.raises(CommlearnError, match="no test records"):
        cl.probe_ladder(model, Dataset(data.train, nothing))


@pytest.mark.parametrize("subsets", [[["bb"]], ["bb"], [[]]])
def test_subsets_are_names_and_those_that_there_are(run, subsets):
    model, data = run
    assert list(cl.probe_ladder(model, data, "y", subsets=["b", ["a", "b"]])["y"]) == ["b", "a+b"]
    with pytest.raises(CommlearnError, match="Unknown modality '(bb)?'"):
        cl.probe_ladder(model, data, "y", subsets=subsets)


def test_a_ladder_of_all_targets_leaves_out_those_that_cannot_be_scored(run):
    model, data = run
    same = replace(data.test, targets={**data.test.targets, "y": np.zeros_like(data.test.targets["y"])})
    with pytest.warns(DataWarning, match="Not probed: .*'y'"):
        assert list(cl.probe_ladder(model, replace(data, test=same))) == ["v"]
    with pytest.raises(DataError, match="'y'"):
        cl.probe_ladder(model, replace(data, test=same), ["y"])


def test_a_modality_that_is_named_twice_is_one(run):
    assert list(cl.probe_ladder(*run, "y", [["a", "a"]])["y"]) == ["a"]


def test_every_rung_that_is_missing_has_its_reason():
    records = Records({"a": np.zeros((4, 1))}, {"y": np.array([0, 1, 0, 1])})
    vectors = np.arange(4.0)[:, None]

    def part(rows_of_each):
        return {name: Embedded((name,), np.array(rows), vectors[rows]) for name, rows in rows_of_each.items()}

    fit = part({"a": [0, 2], "b": [1, 3], "c": [0, 1, 2, 3]})
    test = part({"a": [0, 1, 2, 3], "b": [0, 1, 2, 3], "c": [0, 1, 2, 3]})
    outcomes, problems = outcomes_of([fit, test], Dataset(records, replace(records)), ["y"])
    assert list(outcomes["y"]) == ["c"]
    assert [problem.partition(":")[0] for problem in problems] == ["y from a", "y from b"]


@pytest.mark.parametrize(
    "given", [{"strengths": 1}, {"strengths": [1.5]}, {"strengths": [0]}, {"records": 0}, {"records": -1}]
)
def test_an_audit_names_the_argument_that_is_wrong(run, given):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(given))} is "):
        cl.audit_augmentations(*run, "y", **given)


def test_rungs_choose_thresholds_where_the_probe_does(run):
    model, data = run
    draw = np.random.default_rng(1)

    def tagged(records):
        tags = np.empty(len(records), dtype=object)
        tags[:] = [tuple(name for name in "st" if draw.random() < 0.4) for _ in range(len(records))]
        return replace(records, targets={"tags": tags})

    places = np.arange(len(data.train))
    parts = [data.train.choose(places[:120]), data.test, data.train.choose(places[120:])]
    with_validation = Dataset(*map(tagged, parts))
    alone = cl.probe(model, with_validation, modalities=["a"])["tags"]
    assert cl.probe_ladder(model, with_validation)["tags"]["a"] == alone
    assert alone.validation_records == len(parts[2])


def test_an_augmentation_that_drowns_the_values_is_found(run, tmp_path):
    model, data = run
    mild = cl.audit_augmentations(model, data, "y", strengths=[1])
    assert [row.destroys for row in mild.rows if row.modality == "a"] == [False, False]
    assert not mild.warnings
    loud, data = trained(tmp_path / "run", {"a": {"name": "noise", "std": 40.0}})
    audit = cl.audit_augmentations(loud, data, "y", strengths=[1])
    rows = {(row.modality, row.strength): row for row in audit.rows}
    if rows["a", 0].result.interval[0] > 0.75:  # readable without augmentation, so it can be judged
        assert rows["a", 1].destroys
        assert "augmentations.a" in audit.warnings[0]
    assert not rows["b", 1].destroys
    assert str(audit).startswith("augmentation audit of y")
    with pytest.raises(CommlearnError, match="strengths is"):
        cl.audit_augmentations(model, data, "y", strengths=[0])


def test_label_sets_are_destroyed_down_to_what_a_guess_reaches():
    """If half of the records have each label, predicting every label always has an F1 of two thirds."""
    draw = np.random.default_rng(0)
    rows, noise = draw.normal(size=(2, 800, 3))
    truth = rows[:, :2] > 0
    clean, lost, half = (
        read_labels(seen[:400], truth[:400], seen[400:], truth[400:])
        for seen in (rows, noise, rows + 0.3 * noise)
    )
    assert lost.result.weighted_f1 > 0.5 * clean.result.weighted_f1
    assert _destroys(clean, lost.result)
    assert not _destroys(clean, half.result)
    assert not _destroys(lost, lost.result)


def test_a_target_that_some_rungs_cannot_show_is_told(run):
    model, data = run
    few = data.test.choose(np.arange(40))
    few.targets["y"] = np.where(np.arange(40) < 0, few.targets["y"], np.nan)
    with pytest.raises(CommlearnError, match="target 'y': no test record has it"):
        cl.probe_ladder(model, Dataset(data.train, few, schema=data.schema), ["y", "v"])


def test_projection_keeps_most_of_the_variance():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(200, 5)) * [5, 3, 0.1, 0.1, 0.1] @ np.linalg.qr(draw.normal(size=(5, 5)))[0]
    assert project(rows).var(axis=0).sum() > 0.99 * rows.var(axis=0).sum()
    assert project(rows[:1]).shape == (1, 2)
    with pytest.raises(CommlearnError, match="did you mean 'pca'"):
        project(rows, "pcaa")


@pytest.mark.parametrize("shape", [(60, 9), (9, 60), (9, 9)])
def test_projection_is_onto_the_first_singular_vectors(shape):
    rows = np.random.default_rng(0).normal(size=shape)
    centred = rows - rows.mean(axis=0)
    slow = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    points = project(rows)
    np.testing.assert_allclose(points * np.sign(points[0] * slow[0]), slow, atol=1e-10)


def test_alignment_undoes_turns_and_mirrors():
    draw = np.random.default_rng(0)
    points = draw.normal(size=(30, 2))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) @ np.diag([1.0, -1.0])
    back = aligned(points @ turn + 7, points)
    centred = points - points.mean(axis=0)
    np.testing.assert_allclose(back, centred / np.abs(centred).max(), atol=1e-12)
    assert np.abs(back).max() == pytest.approx(1)


def test_a_table_in_memory_has_a_ladder_too():
    model = cl.Embedder(SCHEMA, epochs=1, batch_size=32).fit(table(80))
    assert set(cl.probe_ladder(model, table(80), "y")["y"]) == {"a", "b", "a+b"}
    assert isinstance(read_table(table(4)), Table)


def test_fixed_features_are_computed_once_for_all_subsets(monkeypatch):
    data = dataset_of(read_table(table(120)), SCHEMA)
    model = cl.Embedder(SCHEMA, epochs=1, batch_size=32, features="fixed").fit(table(120))
    subsets = subsets_of(("a", "b"))
    slow = ["+".join(names) for names in subsets], [cl.embed(model, data.test, names) for names in subsets]
    rows, compute = [], fixed._computed
    monkeypatch.setattr(
        fixed, "_computed", lambda *given: rows.append(len(given[1].values)) or compute(*given)
    )
    embedded = embed_subsets(model, data.test, subsets)
    assert sum(rows) == 2 * len(data.test)  # each modality of each record, once
    assert list(embedded) == slow[0]
    for fast, vectors in zip(embedded.values(), slow[1], strict=True):
        np.testing.assert_allclose(fast.vectors, vectors, atol=1e-6)


def test_learned_encoders_read_each_record_once_for_all_subsets(monkeypatch):
    data = dataset_of(read_table(table(120, missing=20)), SCHEMA)
    model = cl.Embedder(SCHEMA, epochs=1, batch_size=32, features="learned").fit(table(120, missing=20))
    subsets = subsets_of(("a", "b"))
    slow = [cl.embed(model, data.train, list(names)) for names in subsets]
    rows, encode, log_lines = [], base.encode_present, []
    monkeypatch.setattr(
        base, "encode_present", lambda net, part: rows.append(len(part.values)) or encode(net, part)
    )
    monkeypatch.setattr(ladders, "ENCODED", 50)
    embedded = embed_subsets(model, data.train, subsets, log_lines.append)
    assert sum(rows) == 2 * len(data.train)
    assert log_lines[0] == f"embedding records 1 to 50 of {len(data.train)}"
    for fast, vectors in zip(embedded.values(), slow, strict=True):
        assert np.isnan(np.delete(vectors, fast.rows, axis=0)).all()
        np.testing.assert_allclose(fast.vectors, vectors[fast.rows], atol=1e-6)
    assert len(embedded["b"].rows) < len(data.train)


def test_rows_whose_embedding_is_not_finite_are_named_by_their_place_among_all(monkeypatch):
    data = dataset_of(read_table(table(120)), SCHEMA)
    model = cl.Embedder(SCHEMA, epochs=1, batch_size=32, features="learned").fit(table(120))
    monkeypatch.setattr(ladders, "ENCODED", 50)
    records = data.train
    values = records.view(slice(0, len(records)))["a"].values.numpy().copy()
    values[70] = np.inf
    records.columns["a"] = VectorColumn(values)
    with pytest.raises(CommlearnError, match="row 70 is not finite"):
        embed_subsets(model, records, subsets_of(("a", "b")))


def test_an_audit_names_the_part_that_has_no_label(run):
    model, data = run
    for part, name in (("test", "test"), ("train", "training")):
        few = getattr(data, part).choose(np.arange(40))
        few.targets["v"] = np.full(40, np.nan)
        with pytest.raises(CommlearnError, match=f"no {name} record has a and v"):
            cl.audit_augmentations(model, replace(data, **{part: few}), "v")


def test_texts_of_many_lengths_are_embedded_as_alone(monkeypatch):
    monkeypatch.setattr(embeddings, "CACHED", 1)  # few records at a time, so lengths differ between batches
    schema = cl.Schema({"a": cl.Vector("a"), "words": cl.Text("words")})
    cells = {
        "a": table(90)["a"],
        "words": [" ".join(["sea", "storm", "calm"][: row % 3 + 1] * (row // 8)) for row in range(90)],
    }
    model = cl.Embedder(schema, epochs=1, batch_size=32, features="learned").fit(cells)
    records = dataset_of(read_table(cells), schema).train
    for names, part in embed_subsets(model, records, subsets_of(("a", "words"))).items():
        slow = cl.embed(model, records, names.split("+"))
        np.testing.assert_allclose(part.vectors, slow[part.rows], atol=1e-5)


def test_what_others_add_is_measured_on_the_records_that_have_the_best_modality():
    draw = np.random.default_rng(0)
    labels, there = draw.integers(0, 2, 400), np.arange(400) % 4 > 0  # a quarter lacks `a`
    a, b = labels[:, None] + 0.1 * draw.normal(size=(400, 2)), draw.normal(size=(400, 2))
    records = Records({"a": a}, {"y": labels})
    data = Dataset(records.choose(np.arange(200)), records.choose(np.arange(200, 400)))
    vectors = {"a": a, "b": b, "a+b": np.hstack([a * there[:, None], b])}
    rows = {"a": np.flatnonzero(there[:200]), "b": np.arange(200), "a+b": np.arange(200)}

    def part(start):
        return {
            name: Embedded(tuple(name.split("+")), rows[name], each[start : start + 200][rows[name]])
            for name, each in vectors.items()
        }

    fit, test = part(0), part(200)
    outcomes, _ = outcomes_of([fit, test], data, ["y"])
    gain = gain_of(outcomes["y"], test, data.test.targets["y"], "class")
    assert (gain.best, gain.records, gain.without) == ("a", 150, 50)
    whole, alone = (outcomes["y"][name] for name in ("a+b", "a"))
    shared = rows["a"]
    slow = [
        np.mean([(one.predicted == one.truth)[keep & (one.truth == c)].mean() for c in (0, 1)])
        for one, keep in ((whole, np.isin(np.arange(200), shared)), (alone, np.ones(150, bool)))
    ]
    assert gain.score == pytest.approx(slow[0] - slow[1], abs=1e-6)
    assert gain.interval[0] <= gain.score <= gain.interval[1]
    assert score_of(whole.result) < score_of(alone.result) - 0.05  # they are measured on different records
    assert abs(gain.score) < 0.03


@pytest.mark.parametrize("sort", ["class", "multilabel"])
def test_a_gain_that_no_draw_changes_is_not_certain(sort):
    """Two readers with errors of 0 and 3 % agree in 50 of 50 records in a fifth of the cases."""
    truth = np.arange(50) % 2 if sort == "class" else np.arange(100).reshape(50, 2) % 2
    outcomes = {
        name: Outcome(NumberResult(1.0, (1.0, 1.0), 1.0, 50, 50), truth, truth) for name in ("a", "a+b")
    }
    test = {name: Embedded(tuple(name.split("+")), np.arange(50), np.zeros((50, 1))) for name in outcomes}
    gain = gain_of(outcomes, test, truth, sort)
    assert gain.score == 0
    assert gain.interval[0] == -gain.interval[1]
    assert gain.interval[1] == pytest.approx(unseen_errors(truth if sort == "class" else np.zeros(50), None))
