"""The report of a small run: its contents, what it refuses, and that all text from the data is escaped."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cases
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

import commlearn as cl
from commlearn.errors import CommlearnError
from commlearn.information.material import Material, Settings
from commlearn.information.pairs import pair_values
from commlearn.probes.ladder import Embedded, Gain
from commlearn.probes.linear import read_labels, read_numbers
from commlearn.probes.probe import has_label
from commlearn.probes.readout_rows import readout_rows, rows_to_cross_fit
from commlearn.records import Records
from commlearn.reports import build, information
from commlearn.reports.build import environment, title_of
from commlearn.reports.cards import (
    bars_of,
    cards_of,
    gain_words,
    information_rows,
    rung,
    rungs_of,
    sentences,
    warnings_of,
)
from commlearn.reports.charts import curves
from commlearn.reports.findings import (
    _beside_run,
    _colourings,
    alike,
    describe,
    mistakes,
    nearest_records,
    typical_records,
)
from commlearn.reports.map import colouring, layouts
from commlearn.reports.records import _words, line_path
from commlearn.reports.source import Source, _unscored, source
from commlearn.tables.table import read_table

HEAD = ("html", "head", "body", "main", "style", "title")


class Elements(HTMLParser):
    """Collects every element with its attributes, and checks that all are closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in ("meta", "input", "img", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(trained_report):
    return Path(trained_report.out).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements(html):
    parser = Elements()
    parser.feed(html)
    assert parser.open == []
    return parser


def test_the_page_is_whole_and_small(html, elements, trained_report):
    names = [name for name, _ in elements.tags]
    assert all(names.count(name) == 1 for name in ("html", "head", "body", "main"))
    assert trained_report.bytes == len(html.encode()) < 3_000_000
    assert len(elements.ids) == len(set(elements.ids))


def test_it_loads_nothing(html, elements):
    for name, attributes in elements.tags:
        assert name not in ("link", "iframe", "object", "embed", "base")
        for key in ("src", "href", "xlink:href"):
            assert not attributes.get(key) or attributes[key].startswith(("#", "data:image/"))
    assert not re.search(r"@import|url\((?!data:|#)", html)


def test_no_cell_no_name_and_no_label_became_an_element(html, elements):
    scripts = [attributes for name, attributes in elements.tags if name == "script"]
    assert [s.get("type") for s in scripts] == ["application/json", None]
    assert not [
        attributes for _, attributes in elements.tags if any(key.startswith("on") for key in attributes)
    ]
    assert "window.harmed" in html
    assert "<script>window" not in html
    assert "<b>quiet" not in html


def test_every_part_is_there(elements, trained_report):
    for anchor in (
        "targets",
        "data",
        "probes",
        "embeddings",
        "neighbours",
        "mistakes",
        "training",
        "settings",
    ):
        assert anchor in elements.ids
    assert len([name for name in trained_report.files if name.endswith(".png")]) > 6


def test_its_files_hold_what_it_shows(trained_report, trained_run):
    folder = Path(trained_report.out).parent
    values = json.loads((folder / "report.json").read_text())
    ladder = cl.probe_ladder(trained_run, cl.read_data(trained_run.experiment))
    for target, rungs in ladder.items():
        for name, result in rungs.items():
            assert values["probes"][target][name]["interval"] == pytest.approx(list(result.interval))
    rows = list(csv.DictReader((folder / "probes.csv").open()))
    assert {row["subset"] for row in rows} == set(ladder["label"])
    points = list(csv.DictReader((folder / "map.csv").open()))
    assert {row["record"] for row in points} == {f"r{i}" for i in range(120)} & {
        row["record"] for row in points
    }
    for name in trained_report.files:
        if name.endswith(".png"):
            assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_chance_is_what_a_guess_reaches_and_never_the_name_of_a_measure():
    draw = np.random.default_rng(0)
    rows, noise = draw.normal(size=(2, 200, 3))
    truth = np.stack([rows[:, 0] > 0, rows[:, 1] > 1], axis=1)
    split = (rows[:100], truth[:100], rows[100:], truth[100:])
    ladder = {
        "tags": {"a": read_labels(*split).result},
        "size": {"a": read_numbers(rows[:100], rows[:100, 0], rows[100:], rows[100:, 0]).result},
        "noise": {"a": read_numbers(rows[:100], noise[:100, 0], rows[100:], noise[100:, 0]).result},
    }
    chance = {target: rung("a", rungs["a"]).chance for target, rungs in ladder.items()}
    assert chance["size"] == chance["noise"] == 0
    assert chance["tags"] == ladder["tags"]["a"].chance != 0
    assert gain_words(ladder["noise"], None) == "No probe predicts it better than chance."
    assert gain_words(ladder["size"], None).startswith("There is only one modality")


@pytest.mark.parametrize("interval", [(0.0, 1.0), (-np.inf, 1.0)])
def test_a_score_without_an_interval_is_not_called_a_guess(interval):
    """With a single group in the test records, the interval holds every possible score."""
    result = SimpleNamespace(interval=interval, chance=0.5)
    assert gain_words({"a": result}, None) == "There is only one modality, so nothing to compare it with."
    low = SimpleNamespace(interval=(0.4, 0.6), chance=0.5)
    for rungs in ({"a": low}, {"a": low, "b": result}):
        assert gain_words(rungs, None) == "No probe predicts it better than chance."


def test_codes_of_classes_are_not_rounded_to_one():
    """A CSV file with gaps in a column of whole numbers holds them as floats."""
    codes = np.array([10001.0, 10002.0, 10002.0, np.nan])
    drawn = colouring("site", codes, "class")
    assert (drawn.labels, drawn.codes) == (["10001", "10002"], [0, 1, 1, -1])


def test_a_modality_that_one_target_lacks_keeps_its_scores_of_others():
    result = SimpleNamespace(measure="r2", interval=(0.4, 0.6), chance=0.0, test_records=9)
    scores = {"first": {"a": 0.61, "a+b": 0.62}, "second": {"a": 0.63, "b": 0.64, "a+b": 0.65}}
    ladder = {
        target: {name: SimpleNamespace(**vars(result), r2=score) for name, score in rungs.items()}
        for target, rungs in scores.items()
    }
    findings = SimpleNamespace(ladder=ladder, dims={"a": 2, "b": 2, "a+b": 4}, present={"a": 1, "b": 1})
    made = environment()
    parts = made.get_template("parts.html").module
    rungs = {target: rungs_of(findings, target) for target in ladder}
    html = made.get_template("probes.html").render(
        f=findings, rungs=rungs, colour={"a": 0, "b": 1}, parts=parts
    )
    cells = re.findall(r'<td class="h[0-9]">(?:<a [^>]*>)?([^<]*)', html)
    assert cells == ["0.61", "0.63", "-", "0.64", "0.62", "0.65"]


def test_the_same_run_gives_the_same_page(trained_run, trained_report, tmp_path):
    again = cl.report(trained_run, out=tmp_path)
    assert Path(again.out).read_bytes() == Path(trained_report.out).read_bytes()


def test_what_cannot_be_reported_is_told(tmp_path, trained_run):
    with pytest.raises(CommlearnError, match="not a run folder"):
        cl.report(tmp_path)
    with pytest.raises(CommlearnError, match="did you mean 'label'"):
        cl.report(trained_run, targets=["lable"], out=tmp_path)


def test_a_report_replaces_no_file_of_somebody_else(trained_run, tmp_path):
    (tmp_path / "map.csv").write_text("my own")
    with pytest.raises(CommlearnError, match=r"would replace: map\.csv"):
        cl.report(trained_run, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["map.csv"]
    with pytest.raises(CommlearnError, match="is a file"):
        cl.report(trained_run, out=tmp_path / "map.csv")


def test_a_later_report_removes_the_charts_that_it_does_not_draw(tmp_path):
    names = ["probe-1.png", "information.csv", "../mine.png", "report.html", "data.csv", "a\0.png"]
    own = json.dumps({"files": names}).encode()
    earlier = {"probe-1.png": b"", "information.csv": b"", "report.json": own, "report.html": b"first"}
    folder = tmp_path / "report"
    folder.mkdir()
    build._write(folder, earlier, None)
    for path in (folder / "probe-2.png", folder / "data.csv", tmp_path / "mine.png"):
        path.write_text("my own")
    build._write(folder, {"probe-0.png": b"", "report.json": b"{}"}, None)
    left = {"report.html", "report.json", "probe-0.png", "probe-2.png", "data.csv"}
    assert {path.name for path in folder.iterdir()} == left
    assert (tmp_path / "mine.png").exists()


def test_an_earlier_report_lists_its_files(trained_run, tmp_path):
    written = cl.report(trained_run, out=tmp_path)
    listed = json.loads((tmp_path / "report.json").read_text())["files"]
    assert {*listed, "report.json"} == set(written.files)


def test_text_is_escaped_and_nothing_ends_the_script():
    made = environment()
    shown = made.from_string("<p title='{{ text }}'>{{ text }}</p>{{ values|tojson }}")
    evil = "</script><b>'\""
    html = shown.render(text=evil, values={"a": evil})
    assert html.count("<") == 2
    assert html.startswith("<p title='&lt;/script&gt;&lt;b&gt;&#39;&#34;'>")


def test_neighbours_are_those_of_the_slow_way():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(30, 5))
    rows = np.arange(0, 40, 2)
    part = Embedded(("a",), np.arange(5, 35), vectors)
    neighbours = nearest_records({"a": part}, rows, range(20), count=3)["a"]
    for record, others in neighbours.items():
        own = vectors[rows[record] - 5]
        angles = {}
        for other, row in enumerate(rows):
            if other != record and 5 <= row < 35:
                there = vectors[row - 5]
                angles[other] = own @ there / np.linalg.norm(own) / np.linalg.norm(there)
        assert others == sorted(angles, key=lambda other: -angles[other])[:3]
    assert set(neighbours) == {record for record, row in enumerate(rows) if 5 <= row < 35}


def test_records_that_are_asked_for_come_from_different_places():
    places = 9 * np.eye(4)[np.repeat(np.arange(4), [40, 5, 3, 2])]
    vectors = places + np.random.default_rng(0).normal(size=(50, 4))
    part = Embedded(("a",), np.arange(5, 55), vectors)  # the first five records cannot be embedded
    asked = typical_records(part, np.arange(60), seed=0)
    assert sorted(places[record - 5].argmax() for record in asked) == [0, 1, 2, 3]
    assert typical_records(part, np.arange(8), seed=0) == [5, 6, 7]
    same = Embedded(("a",), np.arange(50), np.ones((50, 4)))  # a network that has collapsed
    assert len(typical_records(same, np.arange(50), seed=0)) == 1


def test_the_map_hides_what_a_subset_cannot_embed_and_keeps_its_orientation():
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(50, 4)) * [9, 4, 1, 1]
    turned = vectors * [-1, -1, 1, 1]
    whole, part = (
        Embedded(("a", "b"), np.arange(50), vectors),
        Embedded(("a",), np.arange(0, 50, 2), turned[::2]),
    )
    layout = layouts({"a": part, "a+b": whole}, np.arange(50), ["pca"])["pca"]
    assert np.isnan(layout["a"][1::2]).all()
    assert np.isfinite(layout["a"][::2]).all()
    likeness = np.corrcoef(layout["a"][::2].ravel(), layout["a+b"][::2].ravel())[0, 1]
    assert likeness > 0.95


def test_targets_of_every_sort_are_described():
    sets = np.empty(3, dtype=object)
    sets[:] = [("a", "b"), ("b",), None]
    assert describe(sets) == {"labelled": 2, "classes": {"b": 2, "a": 1}}
    assert describe(np.array([1, 0, 1, 1])) == {"labelled": 4, "classes": {"1": 3, "0": 1}}
    assert describe(np.zeros((5, 3)))["outputs"] == 3
    assert describe(np.append(np.arange(40.5), np.nan))["quartiles"][2] == 20


def test_numbers_of_several_outputs_colour_nothing():
    targets = {"two": np.random.default_rng(0).normal(size=(30, 2)), "one": np.arange(30.0)}
    test = SimpleNamespace(targets=targets)
    source = SimpleNamespace(
        targets=list(targets), sorts=dict.fromkeys(targets, "number"), data=SimpleNamespace(test=test)
    )
    assert [one.target for one in _colourings(source, np.arange(30))] == ["one"]


def test_colours_of_many_classes_and_of_numbers():
    many = colouring("y", np.array([f"c{i % 40}" for i in range(400)], dtype=object), "class")
    assert len(many.labels) == 24
    assert many.labels[-1] == "all others"
    assert max(many.codes) == 23
    numbers = colouring("y", np.append(np.arange(100.0), np.nan), "number")
    assert numbers.steps
    assert len(numbers.labels) == 7
    assert numbers.codes[-1] == -1
    assert np.bincount(numbers.codes[:-1]).min() >= 14


@pytest.mark.parametrize(
    ("name", "table", "title"),
    [
        ("films", "t.csv", "films"),
        ("embedder", "shop/table.csv", "shop"),
        ("schema", "new/sales.parquet", "sales"),
        ("embedder", "", "Your records"),
        ("table", None, "Your records"),
    ],
)
def test_the_title_is_the_name_that_says_something(name, table, title):
    experiment = SimpleNamespace(name=name, data={"table": table})
    assert title_of(SimpleNamespace(trained=SimpleNamespace(experiment=experiment))) == title


def test_pairs_of_many_modalities_find_the_pair_that_says_something_only_together():
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, size=(3, 150))
    arrays = {
        name: bit[:, None] + 0.1 * draw.normal(size=(150, 2)) for name, bit in zip("abc", bits, strict=True)
    }
    settings = Settings(curve=False, bootstrap=2, permutations=19)
    log_lines = []
    values = pair_values(Material(arrays), bits[0] ^ bits[1], "parity", None, settings, log_lines.append)
    synergy = {"+".join(p["first"] + p["second"]): p["synergistic"]["bits"] for p in values["pairs"]}
    assert synergy["a+b"] > 0.9
    assert max(synergy["a+c"], synergy["b+c"]) < 0.05
    assert values["total"]["bits"] == pytest.approx(values["entropy"], abs=0.1)
    assert log_lines[:2] == ["fitting experts for a (1 of 7)", "fitting experts for b (2 of 7)"]
    lines = sentences(values)
    assert lines[2:4] == ["none of them provides anything on its own", "no two of them share anything"]
    assert lines[4].startswith("a and b have the largest synergy: 1.00 bits")
    assert "chance" not in lines[4]  # there are enough permutations for the correction
    tested = {pair["name"]: pair["synergistic"] for pair in values["pairs"]}
    assert tested["a + b"]["p"] < tested["a + b"]["p_corrected"] <= 0.05
    tested["a + b"].update(p=0.02, p_corrected=0.06)
    assert sentences(values)[4].endswith("or nothing: it could be chance")
    rows = information_rows(values)
    assert len(rows) == 3 + 3 * 5 + 1
    json.dumps(values)
    best = next(iter(bars_of(values).values()))
    assert {part.label for part in best if part.modality} == {"only a", "only b"}


def test_what_was_not_decomposed_is_said_with_the_way_to_ask():
    values = {"b": {"problem": "class 'x' has 3 records", "of": "b"}}
    findings = SimpleNamespace(interactions=values, source=SimpleNamespace(targets=("a", "b", "<c>")))
    made = environment().get_template("page.html").environment
    text = "{% import 'parts.html' as parts with context %}{% include 'interactions.html' %}"
    shown = made.from_string(text).render(f=findings, colour={}, cards=[])
    assert "b could not be decomposed: class &#39;x&#39; has 3 records" in shown
    assert "Not decomposed: a, &lt;c&gt;. Name those that you want: --interactions --target a" in shown


def test_masked_words_are_struck_and_others_are_not():
    assert _words(("a", "b"), ("a", "\u25ae")) == (("a", False), ("b", True))
    assert _words(("a", "b", "c"), ("a", "\u25ae")) == (("a", False), ("\u25ae", True))  # a word was left out


def test_gaps_of_a_line_stay_gaps():
    assert line_path(np.array([0.0, np.nan, 1.0, 1.0]), 0, 1, 30, 10) == "M0 9M20 1L30 1"


def test_names_of_lines_do_not_cover_each_other():
    entries = [{"step": step, "terms": {name: 1.0 for name in "abcdefghij"}} for step in (1, 2)]
    (chart,) = curves(entries)
    heights = sorted(line.height for line in chart.lines)
    assert min(np.diff(heights)) >= 14.9
    assert 0 < heights[0] < heights[-1] < chart.tall
    assert curves(entries[:1]) == []  # a single step makes no line


def test_mistakes_and_near_duplicates_are_those_of_the_slow_way():
    labels = np.array(["x", "y", "z", "x", None], dtype=object)
    fitted = SimpleNamespace(targets={"t": np.array(["x", "y", "z", None], dtype=object)})
    source = SimpleNamespace(
        data=SimpleNamespace(test=SimpleNamespace(targets={"t": labels}), fit=fitted),
        sorts={"t": "class"},
        cells=None,
    )
    shown = SimpleNamespace(rows=np.arange(5), names=list("abcde"))
    vectors = np.array([[1.0, 0], [0, 1], [-1, 0], [1, 1e-3], [0, -1]])
    whole = Embedded(("m",), np.arange(5), vectors)
    outcome = SimpleNamespace(truth=np.array([0, 1, 2, 0]), predicted=np.array([0, 2, 2, 1]))
    near = {1: [0, 3], 3: [0, 1]}
    one = mistakes(source, "t", outcome, np.arange(4), whole, shown, near)
    assert (one.wrong, one.records) == (2, 4)
    assert [entry[:3] for entry in one.hardest] == [
        (1, "y", "z"),
        (3, "x", "y"),
    ]  # none, then one of the neighbours has the true class
    assert one.matrix == ((1, 1, 0), (0, 0, 1), (0, 0, 1))
    source.sorts["t"] = "multilabel"  # no mistakes are listed for sets of labels
    assert mistakes(source, "t", outcome, np.arange(4), whole, shown, near) is None
    pairs = alike(source, whole, shown)
    assert [pair[:2] for pair in pairs.pairs] == [(0, 3)]
    assert pairs.count == 1


def test_the_page_shows_five_warnings_at_most_each_with_its_way_out(html, trained_report):
    before = html[: html.index('id="data"')]
    assert 1 <= before.split("more warning")[0].count('class="warn"') <= 5
    texts = [f"thing {place} is wrong" for place in range(8)]
    findings = SimpleNamespace(
        ranks={"a": 1.0},
        dims={"a": 8},
        ladder={},
        audit=None,
        metrics=[{"warnings": texts}],
        source=SimpleNamespace(trained=SimpleNamespace(warnings=()), data=SimpleNamespace(signs=())),
        interactions={},
        counts={"test": 100},
        alike=None,
        present={"a": 0.3},
    )
    warned = warnings_of(findings)
    assert len(warned) == 10
    assert all(one.remedy and one.text for one in warned)
    assert "almost at the same point" in warned[0].text
    findings.counts = {"test": 9}
    assert not any("interval" in one.text for one in warnings_of(findings))  # no scores, so no intervals
    findings.ladder = {"y": cases.rungs_of(["a", "b"])}
    assert any("interval is wide" in one.text for one in warnings_of(findings))
    few = "90 records are fewer than 500; expect each part to be off by up to"
    findings.interactions = {
        "x": {"of": "x", "warnings": [f"{few} 0.40 bits", "a copies x. Leave out a"]},
        "y: red": {"of": "y", "warnings": [f"{few} 0.90 bits"]},
        "z": {"problem": "one class", "of": "z"},
    }
    decomposed = [(one.text, one.remedy) for one in warnings_of(findings) if "decompos" in one.text.lower()]
    assert decomposed == [
        (
            "Too few records to decompose x, y: red: 90 records are fewer than 500.",
            "Take the bits as a hint, and label more records that have all modalities.",
        ),
        ("Decomposing x: a copies x.", "Leave out a."),
    ]


@pytest.mark.slow
def test_a_decomposition_is_kept_and_shown_again(trained_run, tmp_path):
    log_lines = []
    cl.report(trained_run, out=tmp_path / "one", targets=["label"], interactions=True, tell=log_lines.append)
    assert any(line.startswith("decomposing label (1 of 1): ") for line in log_lines)
    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    assert "bits needed for certainty" in page
    cl.report(trained_run, out=tmp_path / "two")
    again = json.loads((tmp_path / "two" / "report.json").read_text())
    assert list(again["interactions"]) == ["label"]
    assert "Not decomposed: size." in (tmp_path / "two" / "report.html").read_text(encoding="utf-8")
    trained_run.folder.path.joinpath("interactions.json").unlink()


def test_a_report_on_another_table_shows_and_stores_nothing_about_the_training_records(
    trained_run, monkeypatch
):
    folder, table = trained_run.folder.path, Path(trained_run.experiment.data["table"])
    stored, verdict, other = folder / "interactions.json", folder / "verdict.json", table.with_name("b.csv")
    text = json.dumps({"label": {"of": "label", "problem": "too few"}})
    stored.write_text(text)
    verdict.write_text(json.dumps({"targets": {}}))
    other.write_text(table.read_text())
    monkeypatch.setattr(build, "information", lambda *_: {"label": {"of": "label", "problem": "none"}})
    try:
        for given, own in ((None, True), (table, True), (other, False)):
            subject = source(trained_run, given, None)
            assert bool(build._load_decompositions(subject)) == own
            assert (_beside_run(subject, "verdict.json", "targets") is not None) == own
        build._decompose(subject, True, 0, print)
        assert stored.read_text() == text
    finally:
        for path in (stored, verdict, other):
            path.unlink()


def test_only_trainings_of_a_comparison_show_its_results(trained_run, monkeypatch):
    """A fine-tuned run is stored next to the run of the comparison, whose scores are not its own."""
    subject, folder = source(trained_run, None, None), trained_run.folder.path
    verdict, job = folder.parent / "verdict.json", folder / "job.json"
    try:
        verdict.write_text(json.dumps({"targets": {}}))
        assert _beside_run(subject, "verdict.json", "targets") is None
        job.write_text("{}")
        assert _beside_run(subject, "verdict.json", "targets") == {"targets": {}}
        monkeypatch.chdir(folder)
        assert _beside_run(source(".", None, None), "verdict.json", "targets") == {"targets": {}}
    finally:
        verdict.unlink()
        job.unlink(missing_ok=True)


def test_a_decomposition_of_one_target_leaves_those_of_others(trained_run, monkeypatch):
    stored = trained_run.folder.path / "interactions.json"
    answers = {name: {"of": name, "problem": "too few"} for name in ("label", "size")}
    monkeypatch.setattr(build, "information", lambda read, *_: {name: answers[name] for name in read.targets})
    try:
        for target in answers:
            shown = build._decompose(source(trained_run, None, [target]), True, 0, print)
            assert list(shown) == [target]
        assert json.loads(stored.read_text()) == answers
        stored.write_text("{")
        build._decompose(source(trained_run, None, ["size"]), True, 0, print)
        assert json.loads(stored.read_text()) == {"size": answers["size"]}
    finally:
        stored.unlink()


def luminance(colour):
    short = colour.lstrip("#")
    whole = "".join(sign * 2 for sign in short) if len(short) == 3 else short
    parts = [int(whole[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_seen_on_their_ground_in_light_and_dark():
    """Contrast by WCAG 2.2 AA: 4.5 for text, 3 for graphics."""
    from importlib import resources

    css = (resources.files("commlearn.reports") / "page.css").read_text()
    for theme in re.findall(r":root\{([^}]*--q0:[^}]*)\}", css):
        colours = dict(re.findall(r"--(\w+):(#[0-9a-f]+)", theme))
        for name, colour in colours.items():
            needed = {
                "ink": 4.5,
                "quiet": 4.5,
                "accent": 4.5,
                "line": 1,
                "paper": 1,
                "panel": 1,
                "onheat": 4.5,
            }.get(name, 3)
            for ground in ("heat",) if name == "onheat" else ("paper", "panel"):
                pair = sorted((luminance(colour), luminance(colours[ground])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= needed, f"{name} {colour} on {ground}"
    assert len(re.findall(r"--q0:", css)) == 2


def test_numbers_that_cannot_be_trusted_are_on_no_card_and_under_a_warning():
    values = cases.interactions_of(["a", "b"], "y") | {
        "of": "y",
        "verdict": "CANNOT BE TRUSTED: b copies <a>",
    }
    ladder = {"y": cases.rungs_of(["a", "b"])}
    findings = SimpleNamespace(
        gains={"y": None},
        interactions={"y": values},
        ladder=ladder,
        verdict=None,
        source=SimpleNamespace(targets=("y",)),
    )
    (card,) = cards_of(findings)
    doubt = card.doubt
    assert (card.bar, card.doubt) == ([], "CANNOT BE TRUSTED: b copies <a>")
    values["verdict"] = "Can be used."
    (card,) = cards_of(findings)
    assert 0.5 < card.bits < card.entropy == values["entropy"]
    bar = environment().from_string(
        "{% import 'parts.html' as parts %}{{ parts.stack(bar, colour, entropy) }}"
    )
    drawn = bar.render(bar=card.bar, colour={"a": 0, "b": 1}, entropy=card.entropy)
    lengths = {
        look: float(share) for look, share in re.findall(r'<i class="(\w+)" style="flex:([.\d]+)"', drawn)
    }
    assert sum(lengths.values()) == pytest.approx(1, abs=0.02)
    assert lengths["none"] == pytest.approx(1 - card.bits / card.entropy, abs=1e-3)
    values["verdict"] = doubt
    made = environment().get_template("page.html").environment
    text = "{% import 'parts.html' as parts with context %}{% include 'interactions.html' %}"
    shown = made.from_string(text).render(f=findings, colour={"a": 0, "b": 1}, cards=[])
    assert '<p class="warn"><b>CANNOT BE TRUSTED: b copies &lt;a&gt;</b></p>' in shown
    assert shown.count("CANNOT BE TRUSTED") == 1


def test_few_test_records_compare_no_modalities():
    rungs = {name: replace(one, test_records=4) for name, one in cases.rungs_of(["a", "b"]).items()}
    rungs["a"] = replace(rungs["a"], interval=(1.0, 1.0))
    words = gain_words(rungs, Gain("a", 0.1, (0.05, 0.2), 4, 0))
    assert words == "Only 4 test records: too few to say which modality is better."


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Gain("a", 0.1, (0.05, 0.2), 40, 0), "; together they add 10 points (+5 to +20)."),
        (Gain("a", 0.0, (-0.02, 0.03), 40, 0), "; what they add together could be chance (-2 to +3)."),
        (Gain("a", 0.0, (0.0, 0.0), 40, 0), "; together they add nothing (+0 to +0)."),
        (
            Gain("a", -0.1, (-0.2, -0.05), 40, 9),
            " on the 40 records that have it; on these together they score 10 points less: the others add "
            "noise (-20 to -5).",
        ),
        (Gain("a", 0.1, (-np.inf, np.inf), 40, 0), "; there are too few groups to say what the others add."),
    ],
)
def test_what_the_others_add_is_said_with_its_interval(gain, words):
    best = "The best single modality is a with 52 % [48, 56]"
    assert gain_words(cases.rungs_of(["a", "b"]), gain) == best + words


@pytest.mark.parametrize(("method", "score"), [("clip", 70), ("comm", 80), ("comm-sup", None)])
def test_a_card_shows_the_method_that_the_report_is_of(method, score):
    """Not the best method on the test rows; a method missing from the verdict is not compared."""
    readers = {"comm": 80.0, "clip": 70.0, "features": 75.0}
    budget = {
        "differences": {"clip": {}, "comm": {}},
        "readers": {name: {"score": value, "interval": [60, None]} for name, value in readers.items()},
        "rival": "features",
    }
    words = ["Of both.", "The embedding (clip) loses.", "The embedding (comm) adds."]
    values = {"budgets": {"all": budget}, "measure": "auroc", "chance": 50.0, "words": words}
    findings = SimpleNamespace(
        source=SimpleNamespace(trained=SimpleNamespace(experiment=SimpleNamespace(method={"name": method}))),
        verdict={"targets": {"y": values}},
        interactions={},
        ladder={"y": cases.rungs_of(["a", "b"])},
        gains={"y": Gain("a", 0.1, (0.05, 0.2), 40, 0)},
        present={"a": 1.0, "b": 1.0},
    )
    (card,) = cards_of(findings)
    if score is None:
        assert not card.compared
        return
    assert (card.whole.label, card.whole.score, card.measure) == (method, score / 100, "AUROC")
    assert card.verdict == next(line for line in words if method in line)


def test_records_that_are_decomposed_have_a_label(tmp_path, monkeypatch):
    """Of 200 rows, 13 have a label: a sample of 5 of all rows would usually contain none."""
    monkeypatch.setattr(information, "RECORDS", 5)
    draw = np.random.default_rng(0)
    table = pd.DataFrame(draw.normal(size=(200, 4)), columns=["a0", "a1", "b0", "b1"])
    table["y"] = np.where(np.arange(200) % 16 == 0, np.where(table["a0"] > 0, "yes", "no"), None)
    table.to_csv(tmp_path / "table.csv", index=False)
    halves = {name: cl.Tabular([f"{name}0", f"{name}1"]) for name in ("a", "b")}
    model = cl.Embedder(cl.Schema(halves, targets={"y": "class"}), epochs=1, batch_size=32).fit(table)
    read = Source(model.trained, readout_rows(model, table), ("y",), read_table(table), None, None)
    for of_table in (True, False):
        source = read if of_table else replace(read, table=None)
        monkeypatch.setattr(information, "own_records", lambda _: rows_to_cross_fit(model, table, None, True))
        records, _ = information.select_records(source, ["y"], 0)
        assert len(records) == 5
        assert has_label(records.targets["y"]).all()


UNSCORED = {
    "unscored": {
        "unseen": "None of the 20 test records has a value. Fill it in some test rows,",
        "unlearned": "None of the 40 training records has a value. Fill it in some training rows,",
        "same": "Every training record has the value <b>a</b>, so there is nothing to tell apart. Choose",
        "tags": "No training record has any label. Choose another target,",
    },
    "lone": dict.fromkeys(
        ("y", "size"), "Only one test record has a value, which is not enough for a score. Score more rows:"
    ),
}


@pytest.mark.parametrize("state_report", list(UNSCORED), indirect=True)
def test_a_target_that_cannot_be_scored_has_a_card_that_says_why_and_what_to_do(state_report):
    page = Path(state_report.out)
    html = page.read_text(encoding="utf-8")
    values = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    words_by_target = next(words for words in UNSCORED.values() if list(words) == list(values["unscored"]))
    assert values["probes"] == {}
    assert "method comm, seed 0, 4" in html  # the parameter count comes next: neither a run nor exported
    for target, words in words_by_target.items():
        assert values["unscored"][target].startswith(words)
        card = re.search(rf'<article class="target" aria-label="{target}">.*?</article>', html, re.DOTALL)
        assert "Not scored" in card.group(0)
        assert str(escape(words.split(". ")[0])) in card.group(0)
    for section in ("data", "embeddings", "neighbours", "training"):  # sections that need no score
        assert f'<section id="{section}"' in html
    for section in ("probes", "interactions", "mistakes"):
        assert f'<section id="{section}"' not in html


def test_a_number_that_never_differs_is_not_scored():
    labels = {"fit": np.arange(9.0), "test": np.full(4, 2.0)}
    data = SimpleNamespace(**{name: Records({}, {"v": values}) for name, values in labels.items()})
    assert (
        _unscored(data, "v", "number")[0]
        == "Every test record has the same value, so there is nothing to explain."
    )
    data.test.targets["v"][0] = 3
    assert _unscored(data, "v", "number") is None
