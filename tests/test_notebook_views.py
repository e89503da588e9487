"""Notebook views of schemas, runs and results: tables and text, in which no content acts as markup."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest
import sklearn

import commlearn as cl
from commlearn.comparison.table import Comparison
from commlearn.escapes import html_table, html_text
from commlearn.information import pairs, report

HARM = "<img src=x onerror=alert(1)>\x1b[2J&"
TAGS = {"pre", "table", "caption", "tr", "th", "td"}


class Seen(HTMLParser):
    """Collects tags and text, and whether every tag is closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text = set(), [], ""

    def handle_starttag(self, tag, attributes):
        assert not attributes
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def seen(html: str) -> Seen:
    parser = Seen()
    parser.feed(html)
    assert parser.tags <= TAGS
    assert not parser.open
    assert "\x1b" not in parser.text
    return parser


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    draw = np.random.default_rng(0)
    rows = {HARM: draw.normal(size=(40, 3)), "b": draw.normal(size=(40, 3)), "ill": draw.integers(2, size=40)}
    schema = cl.Schema({"left": cl.Vector(HARM), "right": cl.Vector("b")}, targets={"ill": "class"})
    return cl.Embedder(schema, epochs=1, out=tmp_path_factory.mktemp("runs") / "<b>run").fit(rows)


def test_nothing_in_a_cell_or_a_text_is_markup():
    assert seen(html_table(HARM, [HARM], [[HARM], [3]])).text.count("onerror=alert(1)>") == 3
    assert seen(html_text(f"{HARM}\n{HARM}")).text.count("<img") == 2


def test_a_schema_shows_modalities_columns_settings_and_targets():
    kinds = {"photo": cl.Image("path", size=32), "labs": cl.Tabular(["hb", "crp"])}
    schema = cl.Schema(kinds, targets={"ill": "class"}, id="case", group="family")
    view = seen(schema._repr_html_())
    for word in ("photo", "image", "size 32", "hb, crp", "target, class", "case", "group", "family"):
        assert word in view.text
    assert "<img" in seen(cl.Schema({"a": cl.Vector(HARM)})._repr_html_()).text


def test_a_run_shows_what_it_is_and_where(fitted):
    view = seen(cl.load(fitted.out)._repr_html_()).text
    for word in ("Run 'embedder'", "comm", "vector 3, encoder fixed", "1 epochs", "not seen", "<b>run"):
        assert word in view
    assert "folder" not in seen(fitted.trained._repr_html_()).text


def test_an_embedder_shows_scikit_learns_settings_and_what_was_trained(fitted):
    bundle = fitted._repr_mimebundle_()
    assert "sk-container" in bundle["text/html"]
    assert bundle["text/html"].endswith(fitted.trained._repr_html_())
    assert "<img" not in bundle["text/html"]
    assert fitted._repr_html_().endswith(fitted.trained._repr_html_())
    assert "Trained" not in cl.Embedder()._repr_html_()
    with sklearn.config_context(display="text"):
        assert set(fitted._repr_mimebundle_()) == {"text/plain"}


@pytest.mark.parametrize("result", [report.InteractionReport, report.LabelReports, pairs.PairReport])
def test_results_show_their_sentences(result, monkeypatch):
    monkeypatch.setattr(result, "__str__", lambda self: f"3 bits of {HARM}")
    assert seen(result._repr_html_(object.__new__(result))).text.startswith("3 bits of <img")


def test_a_comparison_without_a_verdict_shows_its_table():
    assert "onerror" in seen(Comparison({"a": HARM})._repr_html_()).text
