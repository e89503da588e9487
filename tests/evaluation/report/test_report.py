"""The report of a small run: what it holds, what it refuses, and that nothing in it came in unescaped."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import commlearn as cl
from commlearn.errors import CommlearnError
from commlearn.evaluation.ladder import Embedded
from commlearn.evaluation.report.html import Safe, script_json, tag
from commlearn.evaluation.report.map import colouring, layouts
from commlearn.evaluation.report.neighbours import nearest_records

HEAD = ("html", "head", "body", "main", "style", "title")


class Elements(HTMLParser):
    """Every element with its attributes, and whether all were closed."""

    def __init__(self):
        super().__init__()
        self.found, self.open, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in ("meta", "input", "img", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
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
    names = [name for name, _ in elements.found]
    assert all(names.count(name) == 1 for name in ("html", "head", "body", "main"))
    assert trained_report.bytes == len(html.encode()) < 3_000_000
    assert len(elements.ids) == len(set(elements.ids))


def test_it_loads_nothing(html, elements):
    for name, attributes in elements.found:
        assert name not in ("link", "iframe", "object", "embed", "base")
        for key in ("src", "href", "xlink:href"):
            assert not attributes.get(key) or attributes[key].startswith(("#", "data:image/"))
    assert not re.search(r"@import|url\((?!data:|#)", html)


def test_no_cell_no_name_and_no_label_became_an_element(html, elements):
    scripts = [attributes for name, attributes in elements.found if name == "script"]
    assert [s.get("type") for s in scripts] == ["application/json", None]
    assert not [
        attributes for _, attributes in elements.found if any(key.startswith("on") for key in attributes)
    ]
    assert "window.harmed" in html
    assert "<script>window" not in html
    assert "<b>quiet" not in html


def test_every_part_is_there(elements, trained_report):
    for anchor in ("short", "data", "training", "probes", "embeddings", "neighbours", "seen", "settings"):
        assert anchor in elements.ids
    charts = [a for name, a in elements.found if name == "svg" and a.get("role") == "img"]
    pngs = [name for name in trained_report.files if name.endswith(".png")]
    assert len(charts) == len(pngs) > 6


def test_its_files_hold_what_it_shows(trained_report, trained_run):
    folder = Path(trained_report.out).parent
    told = json.loads((folder / "report.json").read_text())
    ladder = cl.probe_ladder(trained_run, cl.read_data(trained_run.experiment))
    for target, rungs in ladder.items():
        for name, result in rungs.items():
            assert told["probes"][target][name]["interval"] == pytest.approx(list(result.interval))
    rows = list(csv.DictReader((folder / "probes.csv").open()))
    assert {row["subset"] for row in rows} == set(ladder["label"])
    points = list(csv.DictReader((folder / "map.csv").open()))
    assert {row["record"] for row in points} == {f"r{i}" for i in range(120)} & {
        row["record"] for row in points
    }
    for name in trained_report.files:
        if name.endswith(".png"):
            assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_the_same_run_gives_the_same_page(trained_run, trained_report, tmp_path):
    again = cl.report(trained_run, out=tmp_path)
    assert Path(again.out).read_bytes() == Path(trained_report.out).read_bytes()


def test_what_cannot_be_reported_is_told(tmp_path, trained_run):
    with pytest.raises(CommlearnError, match="not a run folder"):
        cl.report(tmp_path)
    with pytest.raises(CommlearnError, match="did you mean 'label'"):
        cl.report(trained_run, targets=["lable"], out=tmp_path)


def test_text_is_escaped_and_safe_is_not():
    assert tag("p", "<b>", Safe("<i>x</i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i>x</i></p>'
    hidden = script_json({"a": "</script><!--\u2028"}, "x")
    assert hidden.count("<") == 2
    assert json.loads(re.sub(r"<[^>]*>", "", hidden)) == {"a": "</script><!--\u2028"}


def test_neighbours_are_those_of_the_slow_way():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(30, 5))
    rows = np.arange(0, 40, 2)
    part = Embedded(("a",), np.arange(5, 35), vectors)
    found = nearest_records({"a": part}, rows, asked=20, nearest=3)["a"]
    for record, others in found.items():
        own = vectors[rows[record] - 5]
        angles = {}
        for other, row in enumerate(rows):
            if other != record and 5 <= row < 35:
                there = vectors[row - 5]
                angles[other] = own @ there / np.linalg.norm(own) / np.linalg.norm(there)
        assert others == sorted(angles, key=lambda other: -angles[other])[:3]
    assert set(found) == {record for record, row in enumerate(rows) if 5 <= row < 35}


def test_the_map_hides_what_a_subset_cannot_embed_and_keeps_its_orientation():
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(50, 4)) * [9, 4, 1, 1]
    turned = vectors * [-1, -1, 1, 1]
    whole, part = (
        Embedded(("a", "b"), np.arange(50), vectors),
        Embedded(("a",), np.arange(0, 50, 2), turned[::2]),
    )
    found = layouts({"a": part, "a+b": whole}, np.arange(50), ["pca"])["pca"]
    assert np.isnan(found["a"][1::2]).all()
    assert np.isfinite(found["a"][::2]).all()
    likeness = np.corrcoef(found["a"][::2].ravel(), found["a+b"][::2].ravel())[0, 1]
    assert likeness > 0.95


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
