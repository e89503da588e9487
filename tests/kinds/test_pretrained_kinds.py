"""Images and texts are prepared as by the pretrained encoder's own library, but without that library."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as PIL
from pretrained_folders import IDS, IMAGES, SPECIAL, TEXTS, processor_of, save, tokenizer_of

import commlearn
from commlearn.augmentations import TextAugmentation
from commlearn.batch import Modality, Spec
from commlearn.errors import ConfigurationError
from commlearn.kinds import Image, Text
from commlearn.kinds.base import Cells
from commlearn.kinds.pretrained import Pretrained
from commlearn.tables.schema import Schema

EXTRA = {"transformers", "tokenizers", "huggingface_hub", "sentence_transformers", "torchvision", "timm"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return {family: save(family, root / family) for family in {*IMAGES, *TEXTS}}


def cells(values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return Cells(pd.DataFrame({"it": pd.Series(column)}))


def pictures(tmp_path):
    draw = np.random.default_rng(0)
    made = [PIL.fromarray(draw.integers(0, 256, (*side, 3), dtype=np.uint8)) for side in ((90, 61), (33, 70))]
    return [*made, made[0].resize((300, 300), PIL.Resampling.BICUBIC), made[0].resize((20, 24))]


@pytest.mark.parametrize("family", IMAGES)
def test_pixels_are_those_of_the_librarys_own_processor(family, folders, tmp_path):
    images = pictures(tmp_path)
    images[2].save(tmp_path / "photo.jpg", quality=95)
    kind = Image("it", encoder=str(folders[family]))
    state = json.loads(json.dumps(kind.learn(cells(images))))
    cell = Cells(cells([*images, "photo.jpg"]).frame, tmp_path)
    taken = kind.read(cell, state).take(np.arange(5)).values
    mean, std = (torch.tensor(state["encoder"][name])[:, None, None] for name in ("mean", "std"))
    wanted = processor_of(family)([*images, PIL.open(tmp_path / "photo.jpg")], return_tensors="pt")
    torch.testing.assert_close((taken / 255 - mean) / std, wanted.pixel_values, atol=2e-6, rtol=1e-5)


def test_an_image_of_one_row_of_pixels_does_not_fill_the_memory(folders):
    kind = Image("it", encoder=str(folders["clip"]))
    line = PIL.new("RGB", (60_000, 1), (255, 0, 0))
    column = kind.read(cells([line]), kind.learn(cells([line])))
    assert column.take(np.array([0])).values[0, 0].eq(255).all()


@pytest.mark.parametrize("family", TEXTS)
def test_ids_are_those_of_the_librarys_own_tokenizer(family, folders):
    texts = ["The cat sat on the mat", "猫 und hund", "x y z", "a " * 40, None, "   "]
    kind = Text("it", encoder=str(folders[family]))
    state = json.loads(json.dumps(kind.learn(cells(texts))))
    column = kind.read(cells(texts), state)
    taken = column.take(np.arange(6))
    tokenizer = tokenizer_of(family)
    limit = state["max_length"]
    assert limit == {"clip": 18, "siglip": 16}.get(family, 18)
    for row, text in enumerate(texts[:4]):
        wanted = tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        assert taken.values[row][~taken.padding[row]].tolist() == wanted
    assert taken.present.tolist() == [True] * 4 + [False] * 2
    assert column.spec.shape[0] == IDS


def test_places_of_the_roberta_family_are_counted_from_the_padding(folders, tmp_path):
    folder = shutil.copytree(folders["xlmr"], tmp_path / "x")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 12}))
    assert Pretrained(str(folder)).for_texts(99)["max_length"] == 10  # positions start after padding's id


def test_masking_spares_what_is_no_text_and_leaves_out_where_no_id_hides(folders):
    text = "the cat sat on the mat and the dog sat on the mat"
    for family in ("bert", "clip"):
        kind = Text("it", encoder=str(folders[family]))
        column = kind.read(cells([text] * 200), kind.learn(cells([text])))
        before = column.take(np.arange(200))
        after = TextAugmentation(mask=0.5)(before, torch.Generator().manual_seed(0), column.spec)
        assert after.values[:, 0].eq(SPECIAL.index("[CLS]")).all()
        assert after.values[:, -1].eq(SPECIAL.index("[SEP]")).all()
        hidden = after.values.eq(SPECIAL.index("[MASK]")) if family == "bert" else after.padding
        assert 0.45 < hidden[:, 1:-1].float().mean() < 0.55
        assert not hidden[:, [0, -1]].any()
        assert family == "clip" or not after.padding.any()
        assert torch.equal(before.values, column.take(np.arange(200)).values)


def test_masking_without_a_pretrained_tokenizer_is_as_before():
    ids = torch.randint(3, 40, (50, 9), generator=torch.Generator().manual_seed(0))
    padding = torch.zeros(50, 9, dtype=torch.bool)
    padding[:, 6:] = True
    made = TextAugmentation(mask=0.4, dropout=0.5)(
        Modality(ids, padding), torch.Generator().manual_seed(1), Spec("text", (40,))
    )
    assert (~made.padding).any(dim=1).all()
    assert made.padding[:, 6:].all()
    assert made.values.eq(1).any()


def test_a_schema_states_the_choice_and_gives_it_back(tmp_path):
    schema = Schema.from_yaml(
        "modalities:\n"
        "  poster: {kind: image, column: path, encoder: models/clip}\n"
        "  plot: {kind: text, column: plot, encoder: {pretrained: owner/model@v2, frozen: false}}\n"
    )
    assert schema.modalities["poster"].encoder == Pretrained("models/clip")
    assert schema.modalities["plot"].encoder == Pretrained("owner/model@v2", frozen=False)
    assert Schema.from_yaml(schema.to_yaml()) == schema
    assert schema.to_mapping()["modalities"]["poster"]["encoder"] == "models/clip"
    same = Schema({"poster": Image("path", encoder="models/clip"), "plot": Text("plot")})
    assert same.modalities["poster"] == schema.modalities["poster"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("{pretrained: a, frozn: true}", "Unknown key 'frozn', did you mean 'frozen'"),
        ("{frozen: true}", "give a folder, or settings such as"),
        ("7", "give a folder"),
        ("{pretrained: a, views: -1, precision: float8}", "precision is 'float8'.*\n.*views is -1"),
        ("{pretrained: a, frozen: 1}", "frozen is 1; give a value of type bool"),
        ("''", "pretrained is empty"),
    ],
)
def test_a_choice_that_does_not_fit_is_told(choice, message):
    with pytest.raises(ConfigurationError, match=r"modalities\.p") as raised:
        Schema.from_yaml(f"modalities:\n  p: {{kind: text, column: plot, encoder: {choice}}}\n")
    assert re.search(message, str(raised.value))


def test_a_size_beside_a_pretrained_encoder_is_refused():
    with pytest.raises(ConfigurationError, match="Image size is 64, but a pretrained encoder sets its own"):
        Image("it", size=64, encoder="models/clip")


def test_each_package_of_the_extra_is_imported_where_it_is_needed_and_then_alone():
    source = Path(commlearn.__file__).parent
    options = {}
    for path in source.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.split(".")[0] for name in names} & EXTRA:
                assert node not in tree.body, f"{path} imports {name} when it is imported itself"
                options.setdefault(name, set()).add(path.name)
    assert options == {
        "transformers": {"pretrained_model.py"},
        "tokenizers": {
            "pretrained.py",
            "networks.py",
        },  # for a folder's encoder, and for a package with weights
        "huggingface_hub": {"hub.py"},
    }


def test_a_text_no_longer_than_what_is_added_to_it_is_refused(folders):
    for length in (1, 2):
        with pytest.raises(ConfigurationError, match=f"max_length is {length}, .* adds 2 tokens .*least 3"):
            Text("it", max_length=length, encoder=str(folders["bert"])).learn(cells(["the cat"]))
    assert Text("it", max_length=3, encoder=str(folders["bert"])).learn(cells(["the cat"]))["max_length"] == 3
