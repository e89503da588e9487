"""No text of a figure covers another or leaves the figure, for many modalities and for long names."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from commlearn import plot
from commlearn.information import LabelReports
from commlearn.information.pairs import PairReport
from commlearn.plot import comparison
from commlearn.plot.decomposition import information, interaction_figure, pairs_figure
from commlearn.plot.style import COLOURS, modality_colours, spread_out

sys.path.insert(0, str(Path(__file__).parent))
import cases

JARGON = ("unique1", "redundan", "synerg", "I(", "experts", "posterior")


def figures(names, long):
    values = cases.interactions_of(names)
    yield plot.losses(cases.metrics_of(names))
    yield plot.ladder(cases.rungs_of(names), "mortality")
    yield plot.audit(cases.audit_of(names))
    yield plot.verdict(cases.verdict_of(names))[0]
    classes = {2: 2, 3: 14, 5: 20, 6: 40}[len(names)]
    yield plot.embedding_map(*cases.points_of(classes, long), title="mortality")
    yield (pairs_figure if "alone" in values else interaction_figure)(values)
    yield information(values)
    yield chart_of(cases.table_of(names))


def chart_of(table):
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
        comparison.comparison_chart(table, Path("chart.png"))
    return drawn[0]


def words_of(figure):
    """Return every visible text with its bounding box."""
    texts = [figure._suptitle] if figure._suptitle else []
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    shown = [text for text in texts if text.get_text() and text.get_visible()]
    return [
        (text.get_text(), Text.get_window_extent(text)) for text in shown
    ]  # not counting an annotation's line


def overlaps(figure):
    FigureCanvasAgg(figure).draw()
    whole, words = figure.bbox, words_of(figure)
    outside = [text for text, box in words if not (whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1)]
    outside += [text for text, box in words if not (whole.y0 - 1 <= box.y0 and box.y1 <= whole.y1 + 1)]
    pairs = [
        (text, other)
        for place, (text, box) in enumerate(words)
        for other, beside in words[:place]
        if min(box.x1, beside.x1) - max(box.x0, beside.x0) > 1
        and min(box.y1, beside.y1) - max(box.y0, beside.y0) > 1.5
    ]
    return outside, pairs


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_no_word_covers_another_or_leaves_the_picture(count, long):
    for drawn in figures(cases.modalities(count, long), long):
        figure = drawn if isinstance(drawn, Figure) else drawn.figure
        outside, pairs = overlaps(figure)
        assert outside == []
        assert pairs == []
        assert min(axes.get_position().width for axes in figure.axes) > 0.1, (
            "names leave no room for the chart"
        )
        for text, _ in words_of(figure):
            assert not any(word in text for word in JARGON), text


def test_overlaps_are_seen():
    axes = plot.losses(cases.metrics_of(["a", "b"]))
    axes.text(0.5, 0.5, "one word over", transform=axes.transAxes)
    axes.text(0.5, 0.5, "another", transform=axes.transAxes)
    axes.text(5, 0.5, "far", transform=axes.transAxes).set_in_layout(False)
    assert overlaps(axes.figure) == (["far"], [("another", "one word over")])


@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_names_at_an_axis_can_be_told_apart(count):
    for long in (False, True):
        names = cases.modalities(count, long)
        values = cases.interactions_of(names)
        right = [] if "alone" in values else [interaction_figure(values).axes[1]]
        for axes in [plot.ladder(cases.rungs_of(names)), *right]:
            labels = [label.get_text() for label in axes.get_yticklabels()]
            assert len(set(labels)) == len(labels) == len(cases.subsets(names))
    terms = {name: 1.0 for name in [*cases.subsets(names), "fused"]}
    drawn = plot.losses([{"step": step, "terms": terms} for step in (1, 2)])
    assert len(drawn.texts) == len(terms)


def test_every_pair_is_drawn_and_every_label_whatever_their_names_are():
    """Of several names that look alike when shortened, only one used to be drawn."""
    alike = [f"a modality whose name is {word} and as long as that of others" for word in ("this", "that")]
    pairs = PairReport(cases.interactions_of([*alike, "a", "b", "c", "d"]))
    two = SimpleNamespace(to_dict=lambda: cases.interactions_of(["a", "b"]))
    labels = LabelReports("diseases", {"flu": pairs, "gout": two})
    for report, count in ((pairs, 15), (labels, 16), ({"x": pairs, "data": two, "z": labels}, 32)):
        axes = information(report)
        bold = [label.get_text() for label in axes.get_yticklabels() if label.get_fontweight() == "bold"]
        assert len(bold) == count
        assert len(axes.patches) == 4 * count
    assert "data" in bold
    assert len(pairs_figure(pairs.values).axes[0].patches) == 4 * 6


def test_further_methods_have_colours_too():
    values = cases.verdict_of(["a", "b"])
    for budget in values["targets"]["mortality"]["budgets"].values():
        claim, reader = budget["differences"]["comm"], budget["readers"]["comm"]
        budget["differences"] |= {f"method {place}": claim for place in range(9)}
        budget["readers"] |= {f"method {place}": reader for place in range(9)}
    assert len(plot.verdict(values)[0].lines) > 11


def test_a_modality_has_the_colour_of_the_report_in_every_picture():
    names = cases.modalities(3, False)
    colours = dict(zip(names, COLOURS, strict=False))
    assert modality_colours([*names, "image+note", "fused"]) == colours
    ladder = plot.ladder(cases.rungs_of(names))
    assert [line.get_color() for line in ladder.lines[1:6:2]] == list(colours.values())
    losses = plot.losses(cases.metrics_of(names))
    assert [line.get_color() for line in losses.lines[:3]] == list(colours.values())
    page = (Path(plot.__file__).parents[1] / "reports" / "page.css").read_text()
    light = page[: page.index("@media")]
    assert all(f"--c{place}:{colour}" in light for place, colour in enumerate(COLOURS[:7]))


def test_moved_places_keep_their_order_and_their_distance():
    places = np.random.default_rng(0).uniform(0, 10, 9).tolist()
    moved = spread_out(places, 1, 0, 10)
    assert np.argsort(moved).tolist() == np.argsort(places).tolist()
    assert np.diff(np.sort(moved)).min() >= 1 - 1e-9
    assert 0 <= min(moved) <= max(moved) <= 10
