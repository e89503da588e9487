"""Small pieces of the library's work that must not become slower, timed by pytest-benchmark.

    pytest benchmarks/cases.py --benchmark-timer=time.process_time

`benchmarks/against.py` runs them for two commits in turn, so they may only use names that exist in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import commlearn as cl
from commlearn.augmentations import ImageAugmentation
from commlearn.batch import Modality
from commlearn.information.pid import broja
from commlearn.models.encoders import ENCODERS
from commlearn.models.fusion import Fusion
from commlearn.models.tokens import Tokens
from commlearn.objectives import comm_terms

SUBSETS = [("image",), ("text",), ("image", "text")]


@pytest.fixture(autouse=True)
def one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def step(method: cl.CoMM, view: dict[str, torch.Tensor]) -> Callable[[], None]:
    """Return a function that runs one step of CoMM, including backward, as in a user's own loop."""
    loss_of = cl.CoMMLoss()

    def work() -> None:
        loss, _ = loss_of(*method(view, view))
        loss.backward()

    return work


def test_loss_of_512_records(benchmark: Any) -> None:
    views = [
        {subset: torch.randn(512, 256, requires_grad=True) for subset in SUBSETS} for _ in ("first", "second")
    ]
    benchmark(lambda: torch.stack(list(comm_terms(*views, full=SUBSETS[-1]).values())).mean().backward())


def test_step_of_three_vectors(benchmark: Any) -> None:
    names = ("a", "b", "c")
    method = cl.CoMM.build({name: torch.nn.Linear(20, 128) for name in names}, width=128)
    benchmark(step(method, {name: torch.randn(128, 20) for name in names}))


def test_step_of_pictures_at_64_pixels(benchmark: Any) -> None:
    encoders = {name: ENCODERS["small_cnn"]((3, 64, 64), width=256) for name in ("left", "right")}
    view = {name: Modality(torch.rand(24, 3, 64, 64)) for name in encoders}
    benchmark(step(cl.CoMM.build(encoders, width=256), view))


def test_fusion_of_many_tokens(benchmark: Any) -> None:
    fusion = Fusion(256)
    tokens = {name: Tokens(torch.randn(32, 50, 256, requires_grad=True)) for name in ("image", "text")}
    benchmark(lambda: torch.stack(list(fusion(tokens, SUBSETS).values())).square().sum().backward())


@pytest.mark.parametrize(("pixels", "images"), [(64, 32), (224, 8)])
def test_augmentation(benchmark: Any, pixels: int, images: int) -> None:
    stored = torch.randint(0, 256, (images, 3, pixels, pixels), dtype=torch.uint8)
    draw = torch.Generator().manual_seed(0)
    benchmark(lambda: ImageAugmentation(size=pixels)(Modality(stored), draw))


def test_parts_of_information(benchmark: Any) -> None:
    counts = np.random.default_rng(0).integers(1, 9, (6, 6, 3)).astype(float)
    benchmark(lambda: broja(counts / counts.sum()))


def test_fit_and_transform_of_a_table(benchmark: Any) -> None:
    rows = np.random.default_rng(0).standard_normal((400, 12))
    table = pd.DataFrame(rows, columns=[f"{name}{number}" for name in "abc" for number in range(4)])
    groups = {name: [f"{name}{number}" for number in range(4)] for name in "abc"}
    schema = cl.Schema(modalities={name: cl.Tabular(columns) for name, columns in groups.items()})
    embedder = cl.Embedder(schema, epochs=4)
    benchmark.pedantic(lambda: embedder.fit(table).transform(table), rounds=2, warmup_rounds=1)
