"""Probes find what a linear map can read, and nothing in noise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

import commlearn as cl
from commlearn.errors import DataError, DataWarning, DivergedError
from commlearn.probes import linear
from commlearn.probes.linear import balanced_accuracy, read_classes
from commlearn.probes.probe import Vectors, check_targets, probe, probe_vectors
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.trained.embed import embed


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(1200, 6))


def split(rows, labels):
    return rows[:600], labels[:600], rows[600:], labels[600:]


def linear_probe(*given, **options):
    return read_classes(*given, **options).result


def test_a_linear_target_is_read(rows):
    result = linear_probe(*split(rows, (rows[:, 0] + rows[:, 1] > 0).astype(int)))
    assert result.balanced_accuracy > 0.95
    assert result.interval[0] <= result.balanced_accuracy <= result.interval[1]
    assert result.chance == 0.5


def test_chance_counts_test_classes_that_no_training_row_has(rows):
    labels = np.where(rows[:, 0] > 0, "a", "b")
    labels[600::3] = "c"
    result = linear_probe(*split(rows, labels))
    assert (result.classes, result.chance) == (2, pytest.approx(1 / 3))


def test_a_parity_is_not_linear(rows):
    result = linear_probe(*split(rows, ((rows[:, 0] > 0) ^ (rows[:, 1] > 0)).astype(int)))
    assert abs(result.balanced_accuracy - 0.5) < 0.06


def test_noise_is_at_chance_and_the_interval_says_so(rows):
    labels = np.random.default_rng(1).integers(4, size=1200)
    result = linear_probe(*split(rows, labels))
    assert result.interval[0] < 0.25 < result.interval[1]


def test_a_rare_class_counts_as_much_as_a_frequent_one(rows):
    labels = (rows[:, 0] > 1.3).astype(int)  # about 10 %
    assert labels.mean() < 0.15
    assert linear_probe(*split(rows, labels)).balanced_accuracy > 0.9


def test_scale_and_shift_of_a_feature_do_not_matter(rows):
    labels = (rows[:, 0] > 0).astype(int)
    stretched = rows * np.array([1e4, 1, 1e-4, 1, 1, 1]) + 7
    one, other = (linear_probe(*split(x, labels)).balanced_accuracy for x in (rows, stretched))
    assert one == pytest.approx(other, abs=0.01)


def test_the_strength_of_the_penalty_is_found_on_training_records_alone(rows):
    labels = (rows[:, 0] > 0).astype(int)
    train, train_labels, test, test_labels = split(rows, labels)
    one = linear_probe(train, train_labels, test, test_labels)
    other = linear_probe(train, train_labels, test[::-1] * 3, 1 - test_labels)
    assert one.strength == other.strength


def test_the_interval_covers_the_truth(rows):
    """Over many test samples from one population, about 95 % of the intervals contain its accuracy."""
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        labels = generator.integers(2, size=400)
        features = (labels[:, None] * 2 - 1) * 0.8 + generator.normal(size=(400, 1))
        low, high = linear_probe(features[:200], labels[:200], features[200:], labels[200:], seed).interval
        covered += low <= 0.788 <= high
    assert covered >= 51


@pytest.mark.parametrize("rare", [2, 3])
def test_the_search_sees_every_class_however_rare(rows, rare, monkeypatch):
    """The search samples large tables; a class with at most one sampled row used to raise an error."""
    monkeypatch.setattr(linear, "SEARCH_ROWS", 20)
    labels = np.zeros(1200, dtype=int)
    labels[:rare] = 1
    for seed in range(20):
        chosen, folds = linear._searched(labels, seed)
        assert folds == rare
        assert labels[chosen].sum() == rare
        assert len(set(chosen)) == len(chosen) <= 20 + rare
    far = rows + 9 * labels[:, None]
    assert linear_probe(far, labels, far, labels).balanced_accuracy == 1


def test_a_class_of_one_record_does_not_end_the_search(rows):
    labels = (rows[:, 0] > 0).astype(int)
    without = linear_probe(*split(rows, labels)).strength
    labels[3] = 2
    assert linear_probe(*split(rows, labels)).strength == without != 1.0


def test_a_class_of_one_group_does_not_end_the_search_among_groups(rows):
    """Otherwise C would be 1, which fits noise: 40 of the features are unrelated to the label."""
    draw = np.random.default_rng(3)
    labels = ((rows[:, 0] + draw.normal(size=1200)) > 0).astype(int)
    wide = np.concatenate([rows, draw.normal(size=(1200, 40))], axis=1)
    groups = np.arange(1200) // 10
    assert linear._search(wide, labels, 0, groups) < 0.1
    labels[:6] = 2  # all in one group
    assert linear._searched(labels, 0, groups)[1] == linear.FOLDS
    assert linear._search(wide, labels, 0, groups) < 0.1
    assert linear._searched(groups // 60, 0, groups // 60)[1] == 1  # one group per class


def test_embeddings_that_are_not_finite_are_refused(rows):
    labels = (rows[:, 0] > 0).astype(int)
    records = Records({"v": VectorColumn(rows)}, {"y": labels})
    data = Dataset(records, records)
    broken = rows.copy()
    broken[7, 2] = np.nan
    with pytest.raises(DivergedError, match="1 of 2400 records are not finite"):
        probe_vectors(data, Vectors(rows, records), Vectors(broken, records))


def test_every_target_that_cannot_be_probed_is_told_by_name(rows):
    none, tags = np.full(1200, None, dtype=object), np.empty(1200, dtype=object)
    tags[:] = [() for _ in range(1200)]
    targets = {"same": np.zeros(1200, int), "none": none, "tags": tags, "good": (rows[:, 0] > 0).astype(int)}
    records = Records({"v": VectorColumn(rows)}, targets)
    with pytest.raises(DataError, match="3 problems") as raised:
        check_targets(Dataset(records, records), {"same": "class", "none": "class", "tags": "multilabel"})
    for name in ("same", "none", "tags"):
        assert f"target '{name}'" in str(raised.value)
    check_targets(Dataset(records, records), {"good": "class"})


def test_a_part_without_records_has_no_number_to_fit(rows):
    records = Records({"v": VectorColumn(rows)}, {"y": rows[:, 0]})
    with pytest.raises(DataError, match="no training record has it"):
        check_targets(Dataset(records.choose(np.arange(0)), records), {"y": "number"})


def test_one_class_is_refused(rows):
    with pytest.raises(DataError, match="at least two classes"):
        linear_probe(*split(rows, np.zeros(1200, dtype=int)))


def test_balanced_accuracy_is_the_mean_recall():
    right = np.array([True, True, False, True, False, False])
    assert balanced_accuracy(right, np.array([0, 0, 0, 1, 1, 2])) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_embedding_does_not_depend_on_the_batch_size_and_leaves_the_mode_alone(trained):
    run, data = trained
    run.method.train()
    one, other = embed(run, data.test, batch_size=7), embed(run, data.test, batch_size=32)
    assert run.method.training
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_probes_name_an_unknown_target(trained):
    run, data = trained
    with pytest.raises(DataError, match="'labell', did you mean 'label'"):
        probe(run, data, ["labell"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from commlearn.config.configuration import experiment_from
    from commlearn.training.train import train

    values = np.random.default_rng(0).normal(size=(2, 32, 5)).astype("float32")
    columns = {"left": VectorColumn(values[0]), "right": VectorColumn(values[1])}
    records = Records(columns, {"label": (values[0][:, 0] > 0).astype(int)})
    settings = {"epochs": 1, "batch_size": 8, "log_every": 2}
    experiment = experiment_from(
        {"name": "small", "data": "trifeature", "model": {"width": 16}, "training": settings}
    )
    data = Dataset(records.choose(np.arange(24)), records.choose(np.arange(24, 32)))
    return train(experiment, tmp_path_factory.mktemp("run") / "run", data), data


def test_the_search_for_the_penalty_divides_no_group(rows, monkeypatch):
    """Each fit of the search sees all records of a group, or none."""
    groups = np.arange(len(rows)) // 10
    labels = (np.arange(len(rows)) // 10) % 2
    seen, fit = [], linear._fit

    def watched(chosen, *others, **options):
        seen.append(chosen[:, 0])
        return fit(chosen, *others, **options)

    monkeypatch.setattr(linear, "_fit", watched)
    linear._search(rows, labels, 0, groups)
    parts = {part.tobytes(): np.isin(rows[:, 0], part) for part in seen}
    assert len(parts) == linear.FOLDS
    for inside in parts.values():
        assert set(np.bincount(groups[inside], minlength=groups.max() + 1).tolist()) == {0, 10}


@pytest.mark.parametrize("grouped", [False, True])
def test_the_search_finds_what_trying_every_strength_fold_by_fold_finds(rows, grouped):
    draw = np.random.default_rng(2)
    for noise in (0.0, 0.5, 5.0):
        labels = np.array(["a", "b", "c"])[
            np.digitize(rows[:, 0] + noise * draw.normal(size=len(rows)), [-0.3, 0.5])
        ]
        groups = np.arange(len(rows)) // 8 if grouped else None
        chosen, folds = linear._searched(labels, 0, groups)
        if grouped:
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
        else:
            splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
        scores = np.zeros(len(linear.STRENGTHS))
        taken = groups[chosen] if grouped else None
        for fit, held in splitter.split(rows[chosen], labels[chosen], taken):
            model = LogisticRegression(class_weight="balanced", max_iter=400, tol=1e-3, warm_start=True)
            for place, strength in enumerate(linear.STRENGTHS):
                model.set_params(C=strength).fit(rows[chosen][fit], labels[chosen][fit])
                answers = model.predict(rows[chosen][held])
                scores[place] += balanced_accuracy_score(labels[chosen][held], answers)
        assert linear._search(rows, labels, 0, groups) == linear.STRENGTHS[scores.round(6).argmax()]


def test_the_search_ends_where_no_record_is_read_wrongly(rows, monkeypatch):
    tried, fit = [], linear._fit
    monkeypatch.setattr(
        linear,
        "_fit",
        lambda *given, **options: tried.append(given[2]) or fit(*given, **options),
    )
    far = rows + 9 * (np.arange(len(rows)) % 2)[:, None]
    assert linear._search(far, np.arange(len(rows)) % 2, 0, None) == linear.STRENGTHS[0]
    assert tried == [linear.STRENGTHS[0]] * linear.FOLDS


@pytest.fixture(scope="module")
def halves():
    rows = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    table = {"left": rows[:, :2], "right": rows[:, 2:], "sign": rows[:, 0] > 0, "same": np.arange(90) < 60}
    schema = cl.Schema(
        {"left": cl.Vector("left"), "right": cl.Vector("right")}, targets={"sign": "class", "same": "class"}
    )
    model = cl.Embedder(schema, epochs=1).fit({name: cells[:60] for name, cells in table.items()})
    return model, table


def test_a_target_that_cannot_be_scored_does_not_keep_the_others_from_it(halves):
    model, table = halves  # `same` has one value in all rows to fit on, the other in all rows to score
    with pytest.warns(DataWarning, match="Not probed: .*same"):
        assert list(cl.probe(model, table)) == ["sign"]
    with pytest.raises(DataError, match="same"):
        cl.probe(model, table, "same")


def test_one_modality_needs_no_list(halves):
    model, table = halves
    single, listed = cl.embed(model, table, "left"), cl.embed(model, table, ["left"])
    assert np.array_equal(single, listed)
    assert np.array_equal(model.transform(table, "left"), listed)
    assert cl.probe(model, table, "sign", "left") == cl.probe(model, table, "sign", ["left"])
