"""Published networks equal their original implementations and are part of picture and text features."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import commlearn as cl
from commlearn.errors import ConfigurationError, RunError
from commlearn.kinds.base import Cells
from commlearn.models.features import FeatureBlocks, FixedFeatures, networks
from commlearn.models.features.networks import EFFICIENTNET, MINILM, EfficientNetLite0, Published
from commlearn.records import ImageColumn, Records
from commlearn.trained.model_card import model_card
from commlearn.trained.onnx_export import export_program

PLACES = [2, 187, 340, 468, 602, 778, 930, 1089]
PUBLISHED = [0.13219, 0.12969, 0.07585, 1.98964, 0.11637, 0.95347, 4.25030, 0.42619]
WORDS = ("a slow film", "I loved every scene of it", "", "what a waste of time", "音楽 and naïve strings")


@pytest.fixture(autouse=True)
def networks_are_used(monkeypatch):
    monkeypatch.setenv("COMMLEARN_NETWORKS", "1")
    monkeypatch.setattr(networks, "_MEMORY", type(networks._MEMORY)())


def needed(network: Published) -> None:
    if network.weights() is None:
        pytest.skip(f"NOT RUN: {network.name} needs commlearn[encoders]")


def photos(size: int = 40, channels: int = 3, rows: int = 20) -> Records:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, size=(rows, size, size, channels)).astype(np.uint8)
    return Records({"photo": ImageColumn(images, np.arange(rows))})


def reviews(rows: int = 20) -> Records:
    cells = Cells(
        pd.DataFrame({"review": [f"{WORDS[row % 5]}{' again' * (row // 5)}" for row in range(rows)]})
    )
    kind = cl.Text("review")
    return Records({"review": kind.read(cells, kind.learn(cells))})


BOTH = pytest.mark.parametrize(
    ("network", "records"), [(EFFICIENTNET, photos), (MINILM, reviews)], ids=["pictures", "texts"]
)


def test_the_features_of_a_picture_are_those_of_the_published_implementation():
    """The expected numbers are from the package efficientnet_lite_pytorch 0.1.0 with the same weights."""
    needed(EFFICIENTNET)
    y, x = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    picture = torch.stack([x, y, (x - 112) ** 2 / 60 + (y - 112) ** 2 / 60]).clamp(0, 255)
    outputs = EfficientNetLite0.published(EFFICIENTNET.weights())(picture[None])[0]
    assert outputs.shape == (1280,)
    torch.testing.assert_close(outputs[PLACES], torch.tensor(PUBLISHED), atol=1e-4, rtol=1e-4)
    assert outputs.mean().item() == pytest.approx(0.080683, abs=1e-5)


def test_the_vector_of_a_text_is_that_of_sentence_transformers():
    needed(MINILM)
    library = pytest.importorskip("sentence_transformers", reason="NOT RUN: needs sentence-transformers")
    features = FeatureBlocks(reviews().specs).learn(reviews(), 0).each["review"].raw
    texts = [text for text in WORDS if text]
    model = library.SentenceTransformer(str(MINILM.weights().parent), device="cpu")
    view = reviews().view(np.array([row for row, text in enumerate(WORDS) if text]))
    vectors = torch.cat(features(view["review"])[1:], dim=1)
    published = model.encode(texts, show_progress_bar=False)
    torch.testing.assert_close(vectors, torch.from_numpy(published), atol=1e-5, rtol=1e-5)


@BOTH
def test_outputs_are_the_same_bits_alone_in_company_and_when_remembered(network, records, monkeypatch):
    needed(network)
    name = next(iter(records().columns))
    blocks = FeatureBlocks(records().specs).learn(records(), 0)
    together = blocks(records().view(np.arange(20)))
    assert torch.equal(blocks(records().view(np.arange(20))), together)
    networks._MEMORY.clear()
    raw = blocks.each[name].raw
    first, last = (raw(records().view(np.array([row]))[name])[1] for row in (0, 19))
    networks._MEMORY.clear()
    whole = raw(records().view(np.arange(20))[name])[1]
    assert torch.equal(first[0], whole[0])
    assert torch.equal(last[0], whole[19])
    calls = []
    monkeypatch.setattr(Published, "_network", lambda *given: calls.append(given))
    blocks(records().view(np.arange(20)))
    assert not calls


@BOTH
def test_features_hold_the_network_and_say_so(network, records):
    needed(network)
    lines: list[str] = []
    name = next(iter(records().columns))
    blocks = FeatureBlocks(records().specs).learn(records(), 0, lines.append)
    assert blocks.each[name].raw.uses_network
    assert lines == [f"{name}: fixed features are {blocks.each[name].raw.source}"]
    assert f"outputs of {network.name} (package {network.package}" in lines[0]
    content = blocks.to_bytes()
    assert len(content) < 4_000_000  # the weights are not included
    again = FeatureBlocks(records().specs).from_bytes(content)
    view = records().view(np.arange(5))
    assert torch.equal(again(view), blocks(view))


@BOTH
def test_outputs_of_a_network_count_twice_as_much_as_other_features(network, records):
    """Groups have equal weight, and the network's outputs make up two of three groups."""
    needed(network)
    data = records()
    (block,) = FeatureBlocks(data.specs).learn(data, 0).each.values()
    (column,) = data.columns.values()
    own, *outputs = block.raw(column.take(np.arange(len(data))))
    assert len(outputs) == 2
    assert sum(part.shape[1] for part in outputs) == {"EfficientNet-lite0": 1280, "MiniLM": 384}[network.name]
    if network is MINILM:  # without the network, letters of the texts would be counted too
        column = replace(column, texts=())
    without = FixedFeatures(column.spec, networks=False).learn(column, 0)
    alone = without.raw(column.take(np.arange(len(data))))
    if network is not MINILM:
        del alone[-2]  # patches, which the network replaces
    torch.testing.assert_close(own, torch.cat(alone, dim=1))


@BOTH
def test_without_the_package_there_are_fewer_features_and_the_line_says_how_to_get_more(
    network, records, monkeypatch
):
    monkeypatch.setattr(networks, "find_spec", lambda name: None)
    lines: list[str] = []
    blocks = FeatureBlocks(records().specs).learn(records(), 0, lines.append)
    assert ("runs of letters" if network is MINILM else "typical") in lines[0]
    assert f"outputs of {network.name} are not included (pip install 'commlearn[encoders]'" in lines[0]
    assert blocks(records().view(np.arange(5))).isfinite().all()


@BOTH
def test_features_of_a_network_are_refused_where_it_is_absent_or_another(network, records, monkeypatch):
    needed(network)
    content = FeatureBlocks(records().specs).learn(records(), 0).to_bytes()
    with monkeypatch.context() as absent:
        absent.setattr(networks, "find_spec", lambda name: None)
        with pytest.raises(
            RunError, match=rf"{network.name}.*{network.package} is not installed.*\[encoders\]"
        ):
            FeatureBlocks(records().specs).from_bytes(content)
    monkeypatch.setattr(networks, "cached_digest", lambda file: "00" * 32)
    with pytest.raises(RunError, match=f"{network.package} has other weights"):
        FeatureBlocks(records().specs).from_bytes(content)


@pytest.mark.parametrize(("size", "channels"), [(12, 3), (40, 1), (40, 4)])
def test_tiny_pictures_and_those_without_three_colours_do_without(size, channels):
    records = photos(size, channels)
    assert not FeatureBlocks(records.specs).learn(records, 0).each["photo"].raw.uses_network


def test_networks_are_left_out_where_that_is_stated():
    records = photos()
    blocks = FeatureBlocks(records.specs, networks=False).learn(records, 0)
    assert not blocks.each["photo"].raw.uses_network


def test_a_run_a_card_and_graphs_name_the_network(tmp_path, monkeypatch):
    needed(EFFICIENTNET)
    needed(MINILM)
    draw = np.random.default_rng(0)
    pictures = list(draw.integers(0, 255, size=(40, 32, 32, 3)).astype(np.uint8))
    table = {"photo": pictures, "review": [f"{WORDS[row % 5]} {row}" for row in range(40)]}
    schema = cl.Schema({"photo": cl.Image("photo"), "review": cl.Text("review")})
    model = cl.Embedder(schema, epochs=1, out=tmp_path / "run").fit(table)
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    card = model_card(model.trained, {})
    for network in (EFFICIENTNET, MINILM):
        assert log.count(f"outputs of {network.name}") == 1
        assert f"outputs of {network.name}" in card
    again = cl.Embedder.load(model.save(tmp_path / "saved"))
    np.testing.assert_array_equal(again.transform(table), model.transform(table))
    with pytest.raises(
        ConfigurationError, match=r"photo reads outputs of EfficientNet-lite0.*networks=false"
    ):
        export_program(model.trained, ["photo"])
    monkeypatch.setenv("COMMLEARN_NETWORKS", "0")
    for folder in ("run", "saved"):
        with pytest.raises(RunError, match="EfficientNet-lite0.*is not installed"):
            cl.load(tmp_path / folder)
    plain = cl.Embedder(schema, epochs=1, networks=False).fit(table)
    assert not plain.trained.features.each["photo"].raw.uses_network


def test_nothing_of_a_package_is_run():
    needed(MINILM)
    code = (
        "import sys; from commlearn.models.features.networks import EFFICIENTNET, MINILM; MINILM.sha256(); "
        "EFFICIENTNET.sha256(); print([name for name in (MINILM.folder, EFFICIENTNET.folder, 'transformers') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
