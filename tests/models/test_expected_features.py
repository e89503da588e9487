"""Guesses of absent modalities' features from present ones; zero if those carry no information."""

from __future__ import annotations

import numpy as np
import torch

from commlearn.models.features import FeatureBlocks
from commlearn.models.features.blocks import ExpectedFeatures
from commlearn.records import Records, VectorColumn

DIMS = {"a": 3, "b": 2, "c": 2}


def parts(rows: int = 600, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return features where `b` depends on `a`, plus a little noise, and `c` is independent."""
    draw = torch.Generator().manual_seed(seed)
    a = torch.randn(rows, 3, generator=draw)
    b = a[:, :2] + a[:, 2:] + 0.1 * torch.randn(rows, 2, generator=draw)
    return {"a": a, "b": b, "c": torch.randn(rows, 2, generator=draw)}


def absent(values: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {**values, name: torch.zeros_like(values[name])}


def gone(rows: int) -> torch.Tensor:
    return torch.zeros(rows, dtype=torch.bool)


def test_a_guess_is_the_ridge_regression_on_training_rows():
    training = parts()
    expected = ExpectedFeatures(DIMS).learn(training, {}, 0)
    new = parts(50, seed=1)
    filled = expected(absent(new, "b"), {"b": gone(50)})
    x = torch.cat([training["a"], training["c"]], dim=1).double().numpy()
    spread = x.T @ x / len(x)
    penalty = float(expected.ridge[1]) * np.trace(spread) / len(x)
    weights = np.linalg.solve(spread + penalty * np.eye(5), x.T @ training["b"].double().numpy() / len(x))
    wanted = torch.cat([new["a"], new["c"]], dim=1).double().numpy() @ weights
    np.testing.assert_allclose(filled["b"].numpy(), wanted, atol=1e-4)
    assert (filled["b"] - new["b"]).square().mean() < 0.03
    assert torch.equal(filled["a"], new["a"])


def test_what_the_others_say_nothing_of_stays_the_mean():
    expected = ExpectedFeatures(DIMS).learn(parts(), {}, 0)
    filled = expected(absent(parts(50, 1), "c"), {"c": gone(50)})
    assert filled["c"].abs().max() < 0.2


def test_records_that_lack_different_modalities_are_filled_each_from_what_it_has():
    training, new = parts(), parts(3, seed=1)
    expected = ExpectedFeatures(DIMS).learn(training, {}, 0)
    masks = {"b": torch.tensor([False, True, False]), "c": torch.tensor([True, True, False])}
    lacking = {name: new[name] * masks.get(name, torch.ones(3, dtype=torch.bool))[:, None] for name in DIMS}
    filled = expected(lacking, masks)
    for row in range(3):
        alone = {name: lacking[name][row : row + 1] for name in DIMS}
        single = expected(alone, {name: mask[row : row + 1] for name, mask in masks.items()})
        for name in DIMS:
            torch.testing.assert_close(filled[name][row : row + 1], single[name])
    none = expected({name: torch.zeros(1, dim) for name, dim in DIMS.items()}, dict.fromkeys(DIMS, gone(1)))
    assert not any(values.any() for values in none.values())


def test_training_rows_with_gaps_teach_as_complete_ones_do():
    training = parts()
    there = torch.rand(600, generator=torch.Generator().manual_seed(2)) < 0.5
    gaps = {**training, "b": training["b"] * there[:, None]}
    new = parts(50, seed=1)
    filled = ExpectedFeatures(DIMS).learn(gaps, {"b": there}, 0)(absent(new, "b"), {"b": gone(50)})
    assert (filled["b"] - new["b"]).square().mean() < 0.1


def test_blocks_keep_what_they_expect():
    draw = np.random.default_rng(0)
    shared = draw.normal(size=(80, 4))
    columns = {
        name: VectorColumn((shared @ draw.normal(size=(4, 6))).astype(np.float32)) for name in ("x", "y")
    }
    records = Records(columns)
    blocks = FeatureBlocks(records.specs).learn(records, 0)
    view = records.view(np.arange(80))
    whole, alone = blocks(view), blocks(view, ["x"])
    assert torch.equal(alone[:, :6], whole[:, :6])
    assert (alone[:, 6:] - whole[:, 6:]).square().mean() < 0.05 * whole[:, 6:].square().mean()
    again = FeatureBlocks(records.specs).from_bytes(blocks.to_bytes())
    assert torch.equal(again(view, ["x"]), alone)
