"""Labels that an Embedder learns from: a column of the table or y, some of them unknown."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import commlearn as cl
from commlearn.errors import ConfigurationError, DataError

QUICK = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3}


def rows(count=64, seed=0):
    """Return a frame with two vectors, of which the left one shows a class; its index starts at 7."""
    draw = np.random.default_rng(seed)
    classes = draw.integers(2, size=count)
    return pd.DataFrame(
        {
            "left": list((draw.normal(size=(count, 6)) + classes[:, None]).astype(np.float32)),
            "right": list(draw.normal(size=(count, 5)).astype(np.float32)),
            "ill": np.array(["no", "yes"], dtype=object)[classes],
        },
        index=np.arange(count) + 7,
    )


def schema(**targets):
    return cl.Schema({"left": cl.Vector("left"), "right": cl.Vector("right")}, targets)


def embedder(targets=None, **options):
    return cl.Embedder(schema(**targets or {}), **{"method": "comm-sup", **QUICK, **options})


def labels_of(model):
    return dict(model.trained.rows.label_counts)


def test_y_is_what_the_column_of_a_target_is():
    table = rows()
    by_column = embedder({"ill": "class"}).fit(table)
    for y in (table["ill"], table["ill"].astype("category")):
        by_y = embedder().fit(table.drop(columns="ill"), y)
        assert np.array_equal(by_y.transform(table), by_column.transform(table))
        assert by_y.schema_.targets == {"ill": "class"}
        assert labels_of(by_y) == {"ill": 64}
    unlike = embedder().fit(table, np.roll(table["ill"].to_numpy(), 1))
    assert not np.allclose(unlike.transform(table), by_column.transform(table))


@pytest.mark.parametrize("unknown", [None, float("nan"), pd.NA])
@pytest.mark.parametrize("sort", ["list", "array", "series", "frame", "numbers"])
def test_labels_that_are_unknown_are_not_seen_in_whatever_they_come(unknown, sort):
    table = rows()
    y = [label if place < 12 else unknown for place, label in enumerate(table["ill"])]
    if sort == "numbers":
        y = [unknown if label is unknown else int(label == "yes") for label in y]
    made = {
        "array": lambda: np.array(y, dtype=object),
        "series": lambda: pd.Series(y, index=np.arange(64)[::-1]),  # labels are matched by position
        "frame": lambda: pd.DataFrame({"any": y}),
    }
    model = embedder().fit(table, made.get(sort, lambda: y)())
    assert labels_of(model) == {"y": 12}
    assert np.isfinite(model.transform(table)).all()
    names = np.where(np.arange(64) < 12, table["ill"], None)
    assert np.array_equal(model.transform(table), embedder().fit(table, names).transform(table))


def test_labels_and_cells_that_an_array_masks_are_unknown():
    table = rows()
    masked = np.ma.array(table["ill"].to_numpy(), mask=np.arange(64) >= 12)
    assert labels_of(embedder().fit(table, masked)) == {"y": 12}
    nullable = pd.array(np.where(masked.mask, None, table["ill"] == "yes"), dtype="boolean")
    assert labels_of(embedder().fit(table, nullable)) == {"y": 12}
    with pytest.raises(ValueError, match="contains NaN"):
        cl.Embedder(epochs=1).fit(np.ma.array(np.ones((64, 3)), mask=np.eye(64, 3)))


def test_other_methods_ignore_y_whatever_it_holds():
    table = rows()
    plain = embedder(method="comm").fit(table)
    for y in (table["ill"], np.arange(64) / 7, [1, 2]):
        model = embedder(method="comm").fit(table, y)
        assert np.array_equal(model.transform(table), plain.transform(table))
        assert not model.trained.saw_labels


def test_what_is_wrong_with_y_is_named():
    table = rows()
    given = {
        "y has 63 labels, but X has 64 rows": table["ill"][:-1],
        r"y has the shape \(64, 2\)": np.zeros((64, 2)),
        "holds numbers or sets of labels.*pandas.qcut": np.linspace(0, 1, 64),
        "fewer than two of them in 'y'": [None] * 63 + ["yes"],
        "is not a class; give one label": [("a", "b")] * 64,
        "y has the name 'left', which the schema uses as an input": pd.Series([0, 1] * 32, name="left"),
    }
    for message, y in given.items():
        with pytest.raises((DataError, ConfigurationError), match=message):
            embedder().fit(table, y)
    with pytest.raises(ConfigurationError, match="2: ill, y. Name one"):
        embedder({"ill": "class"}).fit(table, list(table["ill"]))
    named = {"name": "comm-sup", "target": "y"}
    assert (
        embedder({"ill": "class"}, method=named).fit(table, list(table["ill"])).trained.method.target == "y"
    )
    with pytest.raises(ConfigurationError, match="the data have no target"):
        embedder().fit(table)


def test_a_guess_makes_no_input_of_the_column_that_y_is_called_after():
    draw = np.random.default_rng(0)
    table = pd.DataFrame(draw.normal(size=(64, 4)), columns=list("abcd")).assign(ill=[0, 1] * 32, y=1.5)
    model = cl.Embedder(method="comm-sup", **QUICK).fit(table, table["ill"])
    assert "ill" not in model.schema_.columns(with_targets=False)
    assert model.schema_.targets == {"ill": "class"}
    unnamed = cl.Embedder(method="comm-sup", **QUICK).fit(table.drop(columns="ill"), [0, 1] * 32)
    assert unnamed.schema_.targets == {"y_": "class"}


def test_a_guess_takes_no_label_for_an_empty_cell():
    draw = np.random.default_rng(0)
    table = pd.DataFrame(draw.normal(size=(64, 4)), columns=list("abcd"))
    model = cl.Embedder(method="comm-sup", **QUICK).fit(table, ["+", "-"] * 32)
    assert labels_of(model) == {"y": 64}
    assert not model.schema_.missing


def test_targets_by_name_do_as_well():
    table = rows()
    model = embedder(targets=None)
    named = clone(model).set_params(targets="ill").fit(table)
    assert np.array_equal(named.transform(table), model.fit(table, table["ill"]).transform(table))


def test_it_works_in_a_pipeline_on_frames_and_on_plain_arrays():
    table, later = rows(), rows(seed=1)
    readout = LogisticRegression(max_iter=500)
    pipeline = make_pipeline(embedder(), StandardScaler(), readout).fit(table, table["ill"])
    assert pipeline.score(later, later["ill"]) > 0.7
    plain = cl.Embedder(method="comm-sup", **QUICK)
    values = np.stack(table["left"])
    pipeline = make_pipeline(plain, StandardScaler(), clone(readout)).fit(values, table["ill"].to_numpy())
    assert pipeline.score(np.stack(later["left"]), later["ill"].to_numpy()) > 0.7


def test_a_model_that_saw_labels_is_saved_loaded_pickled_and_cloned(tmp_path):
    table = rows()
    model = embedder().fit(table, table["ill"].where(np.arange(64) < 20))
    model.save(tmp_path / "model")
    for again in (cl.Embedder.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(again.transform(table), model.transform(table))
        assert labels_of(again) == {"ill": 20}
        assert again.trained.labels_seen == "20 labels of ill"
    copy = clone(model)
    assert not hasattr(copy, "trained_")
    assert np.array_equal(
        copy.fit(table, table["ill"].where(np.arange(64) < 20)).transform(table), model.transform(table)
    )
    loaded = cl.Embedder.load(tmp_path / "model").fit(table, table["ill"])  # trained again, with all labels
    assert labels_of(loaded) == {"ill": 64}


def test_the_card_names_the_labels_that_were_seen(tmp_path):
    table = rows()
    card = (
        embedder().fit(table, table["ill"].where(np.arange(64) < 20)).save(tmp_path) / "README.md"
    ).read_text()
    assert "Trained with commlearn (method comm-sup), with 20 labels of ill" in card
    assert "self-supervised" not in card
    assert json.loads((tmp_path / "config.json").read_text())


def test_labels_from_a_column_of_the_frame_are_no_input_whatever_their_container():
    numbered = pd.DataFrame(np.random.default_rng(0).normal(size=(64, 4)))
    numbered[4] = [0, 1] * 32
    frame = numbered.set_axis([*"abcd", "ill"], axis=1)
    arrow = pa.table({"ill": frame["ill"].tolist()})
    for table, y, name in (
        (frame, frame[["ill"]], "ill"),
        (numbered, numbered[4], "4"),
        (frame, arrow, "ill"),
    ):
        model = cl.Embedder(method="comm-sup", **QUICK).fit(table, y)
        assert name not in model.schema_.columns(with_targets=False)
        assert model.schema_.targets == {name: "class"}
