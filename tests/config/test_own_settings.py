"""Settings chosen from the records, such as the strength of augmentations; stated settings are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import commlearn as cl
from commlearn.augmentations import DEFAULT_AUGMENTATION, TabularAugmentation, VectorAugmentation
from commlearn.batch import Spec
from commlearn.config.build import resolved
from commlearn.config.own_data import LADDERS, chosen_augmentations, experiment_for, read_own, recognised
from commlearn.errors import ConfigurationError
from commlearn.kinds.arrays import ArrayColumn
from commlearn.models.encoders import default_encoder
from commlearn.records import Dataset, ImageColumn, Records, VectorColumn
from commlearn.tables.dataset import dataset_of
from commlearn.tables.table import read_table

DRAW = np.random.default_rng(0)


def vectors(features: int, rows: int = 300) -> VectorColumn:
    return VectorColumn(DRAW.normal(size=(rows, features)).astype(np.float32))


def test_recognised_is_what_a_loop_over_the_features_that_were_left_finds():
    column, change = vectors(4, 60), VectorAugmentation(std=0.5, drop=0.3)
    clean = column.take(np.arange(60)).values
    changed = change(column.take(np.arange(60)), torch.Generator().manual_seed(0)).values
    right = 0
    for row in range(60):
        left = [place for place in range(4) if changed[row, place] != 0]
        distances = [sum(float(changed[row, i] - other[i]) ** 2 for i in left) for other in clean]
        right += distances[row] <= min(distances)
    assert recognised(column, change) == pytest.approx(right / 60)
    assert 0.1 < right / 60 < 0.9


def test_recognised_rows_of_a_table_are_what_a_loop_over_the_cells_that_were_left_finds():
    cells = np.c_[DRAW.normal(size=(60, 2)), DRAW.integers(0, 4, (60, 2))].astype(np.float32)
    cells[::7, 0] = np.nan  # missing, as is a category of code 0
    column, change = ArrayColumn(cells, Spec("tabular", (2, 4, 4))), TabularAugmentation(std=0.5, mask=0.3)
    changed = change(column.take(np.arange(60)), torch.Generator().manual_seed(0), column.spec).values
    right = 0
    for place, row in enumerate(changed.tolist()):
        distances = []
        for other in np.nan_to_num(cells).tolist():
            numbers = [(row[i] - other[i]) ** 2 for i in (0, 1) if row[i] == row[i]]
            categories = [2.0 * (row[i] != other[i]) for i in (2, 3) if row[i] != 0]
            distances.append(sum(numbers + categories))
        right += distances[place] <= min(distances) + 1e-6
    assert recognised(column, change) == pytest.approx(right / 60)
    assert 0.1 < right / 60 < 0.9


def test_a_redundant_vector_bears_the_strongest_and_independent_features_what_they_did():
    """If some copies of a feature are dropped, others still show it."""
    factors = DRAW.normal(size=(300, 2))
    for columns in (factors @ DRAW.normal(size=(2, 40)), factors.repeat(20, axis=1)):
        column = VectorColumn((columns / columns.std(axis=0)).astype(np.float32))
        assert chosen_augmentations(Records({"v": column}), {})["v"] == LADDERS["vector"][0]
    for features, place in ((2, 2), (4, 1), (200, 0)):
        chosen = chosen_augmentations(Records({"v": vectors(features)}), {})["v"]
        assert chosen == LADDERS["vector"][place]


def test_many_features_bear_more_than_few():
    strengths = [chosen_augmentations(Records({"v": vectors(n)}), {})["v"] for n in (200, 2)]
    places = [LADDERS["vector"].index(part) for part in strengths]
    assert places[0] == 0 < places[1]


def test_twins_count_as_recognised():
    column = VectorColumn(np.ones((40, 8), np.float32))
    assert recognised(column, VectorAugmentation(std=0.1)) == 1.0


def test_colour_patches_are_cropped_less_than_rich_images():
    shades = np.linspace(0, 255, 200).astype(np.uint8)
    plain = np.broadcast_to(shades[:, None, None, None], (200, 32, 32, 3))
    rich = 255 * DRAW.integers(2, size=(200, 2, 2, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)
    ladder = LADDERS["image"]
    strengths = [
        ladder.index(chosen_augmentations(Records({"i": ImageColumn(images, np.arange(200))}), {})["i"])
        for images in (rich, plain)
    ]
    assert strengths[0] < strengths[1]


def settings(**more):
    schema = cl.Schema({"a": cl.Vector("a"), "t": cl.Vector("t")}).to_mapping()
    return {"name": "own", "data": {"name": "table", "table": "", "schema": schema}, "method": "comm", **more}


def test_the_choice_is_said_and_what_is_stated_stays():
    records = Records({"a": vectors(100), "t": vectors(3)})
    data = Dataset(records, records)
    experiment, note = experiment_for(settings(), data)
    warm = {"temperature": 0.3, "head": [256, 128]}
    assert experiment.method == {"name": "comm", "embedding": "fused+tokens", **warm}
    assert "augmentations.{a,t} vector (std=0 drop=0 swap=0.3)" in note
    assert "method.embedding fused+tokens" in note
    for key in ("t", "vector"):
        stated = {key: {"name": "vector", "std": 0.7}}
        experiment, note = experiment_for(settings(augmentations=stated), data)
        assert experiment.augmentations[key] == {"name": "vector", "std": 0.7}
        assert "augmentations.t" not in note
    plain, note = experiment_for(settings(method={"name": "comm", "embedding": "fused"}), data)
    assert plain.method["embedding"] == "fused"
    assert "embedding" not in note
    rival, note = experiment_for(settings(method="infmasking"), data)
    assert rival.method == {"name": "infmasking", "embedding": "fused+tokens", **warm}
    assert "method.embedding fused+tokens" in note
    clip, note = experiment_for(settings(method="clip"), data)
    assert clip.augmentations == {}
    assert clip.method == {"name": "clip"}


def test_a_text_of_few_records_gets_one_layer_unless_an_encoder_is_stated():
    frame = {"t": [f"some words {row}" for row in range(40)], "v": list(DRAW.normal(size=(40, 3)))}
    schema = cl.Schema({"t": cl.Text("t"), "v": cl.Vector("v")})
    data = dataset_of(read_table(frame), schema, test=0.0)
    learned = {"features": "learned"}
    assert experiment_for(settings(model=learned), data)[0].model.encoders["t"]["layers"] == 1
    stated = {"encoders": {"text": {"name": "text", "layers": 3}}}
    assert experiment_for(settings(model={**learned, **stated}), data)[0].model.encoders == stated["encoders"]


def test_options_without_a_name_go_to_the_part_that_is_chosen():
    records = Records({"a": vectors(100), "t": vectors(3)})
    data = Dataset(records, records)
    chosen = experiment_for(settings(), data)[0].augmentations
    experiment, note = experiment_for(settings(augmentations={"a": {"std": 0.7}}), data)
    assert experiment.augmentations == {**chosen, "a": {**chosen["a"], "std": 0.7}}
    assert "augmentations.a vector (drop=0 swap=0.3)" in note
    of_kind = settings(augmentations={"vector": {"std": 0.7}, "t": {"name": "none"}})
    experiment, _ = experiment_for(of_kind, data)
    assert experiment.augmentations == {"a": {**chosen["a"], "std": 0.7}, "t": {"name": "none"}}
    experiment, _ = experiment_for(settings(model={"encoders": {"t": {"hidden": 8}}}), data)
    assert experiment.model.encoders == {"a": {"name": "fixed"}, "t": {"name": "mlp", "hidden": 8}}


def test_a_section_that_is_left_empty_states_nothing():
    data = Dataset(Records({"a": vectors(10), "t": vectors(3)}), Records({}))
    assert experiment_for(settings(training=None, model=None), data) == experiment_for(settings(), data)


def test_naming_the_method_that_a_schema_states_keeps_its_options(tmp_path):
    rows = DRAW.normal(size=(40, 2)).astype(str)
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *map(",".join, rows)]))
    (tmp_path / "s.yaml").write_text(
        "table: t.csv\nmodalities:\n  a: {kind: tabular, columns: [a]}\n  b: {kind: tabular, columns: [b]}\n"
        "method: {name: comm, temperature: 0.9}\n"
    )
    for method, options in ((None, 0.9), ("comm", 0.9), ("infmasking", 0.3)):
        experiment, _, _ = read_own(tmp_path / "s.yaml", method=method)
        assert experiment.method["temperature"] == options


def test_options_that_fit_nothing_are_told():
    data = Dataset(Records({"a": vectors(10), "t": vectors(3)}), Records({}))
    with pytest.raises(ConfigurationError, match=r"Unknown modality or kind 'aa', did you mean 'a'"):
        experiment_for(settings(augmentations={"aa": {"std": 0.7}}), data)
    with pytest.raises(
        ConfigurationError, match=r"augmentations.a.strd', did you mean 'augmentations.a.std'"
    ):
        experiment_for(settings(augmentations={"a": {"strd": 0.7}}), data)


@pytest.mark.parametrize("own", [{}, {"name": "vector", "std": 0.7}, {"std": 0.7}])
@pytest.mark.parametrize("kind", ["text", "series"])
def test_a_modality_whose_name_is_a_kind_shares_its_parts_with_none_of_that_kind(kind, own):
    """Nor with another modality of the same kind: the name stands for the modality."""
    other = {"text": cl.Text("t"), "series": cl.Series("s")}[kind]
    frame = {"v": list(DRAW.normal(size=(40, 9))), "t": [f"words {row}" for row in range(40)]}
    frame["s"] = list(DRAW.normal(size=(40, 9)))
    data = dataset_of(read_table(frame), cl.Schema({kind: cl.Vector("v"), "other": other}), test=0.0)
    model = {"features": "learned", "encoders": {kind: {"name": "mlp", "hidden": 8}}}
    experiment, _ = experiment_for(settings(model=model, augmentations={kind: own} if own else {}), data)
    whole = resolved(experiment, data.train.specs)
    assert whole.model.encoders[kind]["hidden"] == 8
    assert whole.model.encoders["other"]["name"] == default_encoder(data.train.specs["other"])
    assert whole.augmentations[kind]["name"] == "vector"
    assert whole.augmentations["other"]["name"] == DEFAULT_AUGMENTATION[kind]
    named = dataset_of(read_table(frame), cl.Schema({kind: other, "other": other}), test=0.0)
    alone = {kind: {"name": "noise", "std": 0.7}}
    whole = resolved(experiment_for(settings(augmentations=alone), named)[0], named.train.specs)
    assert [part["name"] for part in whole.augmentations.values()] == ["noise", "vector"]
