"""Plots return Axes that show the given values, whatever the names, and change no global settings."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image as PIL

import commlearn as cl
from commlearn import plot
from commlearn.errors import CommlearnError, DataError
from commlearn.probes.audit import Audit, AuditRow
from commlearn.probes.results import NumberResult, ProbeResult

ENTRIES = [
    {
        "step": step,
        "terms": {"a": 3.0 / step, "_b$x$": 2.0 / step},
        "accuracy": {"a": 0.1 * step},
        "rank": step,
    }
    for step in (1, 2, 3)
]


def result(score, half=0.05):
    return ProbeResult(score, (score - half, score + half), score, 0.5, 2, 1.0, 80, 20)


def estimate(bits):
    return {"bits": bits, "low": bits - 0.1, "high": bits + 0.1, "error": 0.05, "p": None}


def view(names, parts):
    if len(names) == 2:
        pair = dict(
            zip(("redundant", "unique1", "unique2", "synergistic"), map(estimate, parts), strict=True)
        )
        return {
            "pairs": [{"first": names[:1], "second": names[1:], **pair}],
            "spectrum": [estimate(1), estimate(parts[3])],
        }
    return {
        "pairs": [],
        "non_exclusive": estimate(parts[0]),
        "unique": {name: estimate(part) for name, part in zip(names, parts[1:], strict=False)},
        "spectrum": [estimate(1.0), estimate(0.2), estimate(0.1)],
    }


def png_of(shown):
    """Return the PNG that IPython shows for an object."""
    return PIL.open(io.BytesIO(shown._repr_png_()))


def drawn(axes):
    assert isinstance(axes, Axes)
    axes.figure.savefig(io.BytesIO(), format="png")
    return axes


def test_losses_show_every_term_with_its_values():
    axes = drawn(plot.losses(ENTRIES))
    assert [line.get_ydata().tolist() for line in axes.lines] == [[3.0, 1.5, 1.0], [2.0, 1.0, 2 / 3]]
    assert [text.get_text() for text in axes.texts] == ["a", " _b$x$"]  # next to the ends of the lines


def test_further_figures_are_drawn_and_unknown_ones_refused():
    assert drawn(plot.metric(ENTRIES, "rank")).lines[0].get_ydata().tolist() == [1, 2, 3]
    with pytest.raises(CommlearnError, match="No metric 'speed' was logged"):
        plot.metric(ENTRIES, "speed")


def test_the_ladder_shows_scores_intervals_and_chance():
    axes = drawn(plot.ladder({"a": result(0.6), "b": result(0.7), "a+b": result(0.9)}, "y"))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b", "a + b"]
    assert axes.lines[4].get_xdata() == pytest.approx([0.85, 0.95])
    assert axes.get_xlabel() == "balanced accuracy (dashed: chance)"
    number = NumberResult(0.4, (0.3, 0.5), 1.0, 80, 20)
    numbers = drawn(plot.ladder({"a": number}))
    assert numbers.get_xlabel().startswith("R2")
    assert list(numbers.lines[-1].get_xdata()) == [0, 0]  # R2 of a guess


@pytest.mark.parametrize(
    ("names", "parts"), [(["a", "b"], [0.5, 0.2, 0.1, 0.4]), (["a", "b", "c"], [0.5, 0.2, 0.1, 0.3])]
)
def test_bars_of_information_sum_to_the_total(names, parts):
    report = {"views": {"data": view(names, parts), "linear": view(names, [p / 2 for p in parts])}}
    axes = drawn(plot.information(report))
    labels = [label.get_text() for label in axes.get_yticklabels()]
    split = labels.index("what a linear probe can read")
    bars = [bar for container in axes.containers for bar in container]
    data = sum(bar.get_width() for bar in bars if bar.get_y() < split)
    more = 0.3 if len(names) == 3 else 0.0
    assert data == pytest.approx(sum(parts) + more)
    assert {f"only {name}" for name in names} < set(labels)
    assert drawn(plot.information({"y": report, "z": report})).get_xlabel().startswith("bits")


def test_an_interval_of_a_number_that_still_grows_is_open():
    growing = view(["a", "b"], [0.5, 0.2, 0.1, 0.4])
    growing["pairs"][0]["synergistic"] |= {"high": 2.0, "growing": True}
    axes = drawn(plot.information({"views": {"data": growing}}))
    *closed, whisker, arrow = axes.lines
    assert whisker.get_xdata() == pytest.approx([0.3, 0.4])
    assert list(arrow.get_xdata()) == [0.4]
    assert arrow.get_marker() == ">"
    assert [line.get_marker() for line in closed] == ["|"] * 3
    assert axes.get_xlim()[1] < 1


def test_a_map_has_a_colour_for_every_class_and_a_scale_for_numbers():
    points = np.random.default_rng(0).normal(size=(60, 2))
    classes = drawn(plot.embedding_map(points, [f"class {i % 11}" for i in range(60)]))
    assert len(classes.collections) == 11
    partly = drawn(plot.embedding_map(points, [None, *np.linspace(0, 1, 59).tolist()]))  # drawn as numbers
    assert partly.get_legend() is None
    numbers = drawn(plot.embedding_map(points, np.linspace(0, 1, 60)))
    assert len(numbers.figure.axes) == 2
    ages = drawn(plot.embedding_map(points, np.arange(60) % 30))
    assert len(ages.figure.axes) == 2
    codes = drawn(plot.embedding_map(points, np.arange(60) % 14))
    assert len(codes.collections) == 14
    points[3] = np.nan
    assert len(drawn(plot.embedding_map(points)).collections[0].get_offsets()) == 59
    numbers = np.where(np.arange(60) < 9, np.nan, np.arange(60.0))
    grey = drawn(plot.embedding_map(points, numbers)).collections[0]
    assert len(grey.get_offsets()) == 8  # the ninth has no point
    assert len(drawn(plot.embedding_map(points.tolist())).collections[0].get_offsets()) == 59
    for missing in (None, float("nan"), pd.NA):
        partial = drawn(plot.embedding_map(points, ["a", "b", missing] * 20))
        assert [text.get_text() for text in partial.get_legend().get_texts()] == ["a", "b"]
        assert len(partial.collections[0].get_offsets()) == 20
    assert drawn(plot.embedding_map(points, [None] * 60)).get_legend() is None
    with pytest.raises(DataError, match="3 labels for 60 points"):
        plot.embedding_map(points, [1, 2, 3])


@pytest.mark.parametrize("how", ["pca", "tsne"])
def test_records_without_an_embedding_get_no_point(how):
    vectors = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
    some = vectors.copy()
    some[[3, 7]] = np.nan
    points = cl.project(some, how)
    assert np.isnan(points[[3, 7]]).all()
    assert np.array_equal(
        np.delete(points, [3, 7], axis=0), cl.project(np.delete(vectors, [3, 7], axis=0), how)
    )
    assert np.isnan(cl.project(some[[3, 7]], how)).all()
    some[5, 0] = np.inf
    with pytest.raises(DataError, match="row 5 are finite"):
        cl.project(some, how)
    for wrong in (vectors[0], vectors[:, :, None], vectors.astype(str)):
        with pytest.raises(DataError, match="give numbers of shape"):
            cl.project(wrong, how)


def test_one_dimension_keeps_its_values_on_a_map():
    values = np.array([[1.0], [2.0], [6.0]])
    assert cl.project(values).tolist() == [[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]]


def test_an_audit_marks_what_is_destroyed():
    rows = (AuditRow("a", 0, result(0.9), False), AuditRow("a", 1, result(0.55), True))
    assert "destroys y" in Audit("y", rows).warnings[0]
    axes = drawn(plot.audit(Audit("y", rows)))
    assert [line.get_marker() for line in axes.lines[:4]] == ["None", "o", "None", "X"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["a", "not augmented", "augmented as in training: the label is lost"]
    assert drawn(plot.audit(Audit("y", (AuditRow("fused", 0, result(0.9), False),)))).lines


def test_long_names_keep_their_ends_and_leave_room_for_the_chart():
    long = "a modality whose name says far too much about what it holds"
    names = [long, f"{long}+text"]
    axes = drawn(plot.losses([{"step": step, "terms": dict.fromkeys(names, 1.0)} for step in (1, 2)]))
    texts = [text.get_text() for text in axes.texts]
    assert len(set(texts)) == 2
    assert texts[1].endswith("holds+text")
    ladder = drawn(plot.ladder({name: result(0.6) for name in names}))
    for drawing in (axes, ladder):
        assert drawing.get_position().width > 0.5


def test_axes_of_ones_own_are_used_and_settings_stay():
    before = dict(mpl.rcParams)
    own = Figure().subplots()
    assert plot.losses(ENTRIES, axes=own) is own
    assert dict(mpl.rcParams) == before


def test_notebooks_show_pictures_whether_or_not_pyplot_was_imported():
    axes = plot.losses(ENTRIES)
    assert png_of(axes).size == (486, 252)
    assert png_of(axes.figure).size == (486, 252)


def test_a_gallery_shows_clean_and_augmented_records_of_every_kind(tmp_path):
    from commlearn.datasets.synthetic_tables import SyntheticTable

    path = SyntheticTable(rows=30, missing=0.2, size=16).write(tmp_path)
    schema = cl.Schema.from_yaml(tmp_path / "schema.yaml")
    model = cl.Embedder(schema, epochs=1, batch_size=10, features="learned").fit(path)
    on_features = cl.Embedder(schema, epochs=1, batch_size=10).fit(path)
    bars = plot.gallery(on_features, str(path), "image", records=1, versions=1)[0]
    heights = [[bar.get_height() for bar in axes.containers[0]] for axes in bars]
    assert not np.allclose(*heights)
    assert len(heights[0]) == on_features.trained.features.dims["image"]
    for name in schema.modalities:
        grid = plot.gallery(model, str(path), name, records=2, versions=2)
        assert grid.shape == (2, 3)
        for axes in grid.ravel():
            assert axes.has_data() or axes.texts
        if name in ("table", "series", "vector"):
            scales = {axes.get_ylim() for axes in grid[0] if axes.lines or axes.containers}
            assert len(scales) == 1
        titles = [axes.get_title(loc="left") for axes in grid.ravel()]
        assert titles == ["clean", "version 1", "version 2", "", "", ""]
        drawn(grid[0, 0])
        assert png_of(grid).size == tuple(int(90 * side) for side in grid[0, 0].figure.get_size_inches())
    pictures = plot.gallery(model, str(path), "image", records=1, versions=1)
    clean, augmented = (axes.images[0].get_array() for axes in pictures[0])
    assert not np.allclose(clean, augmented)
    with pytest.raises(CommlearnError, match="did you mean 'image'"):
        plot.gallery(model, str(path), "imgae")
