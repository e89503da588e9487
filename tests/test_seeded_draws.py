"""Trainings in threads: each draws from its own generators, and the caller's are left unchanged."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from commlearn import Embedder
from commlearn.errors import ConfigurationError
from commlearn.seeds import TAKE_A_GENERATOR, SeededDraws, may_draw, numpy_generator, torch_generator
from commlearn.trained.artifact import load

SCHEMA = {"modalities": {name: {"kind": "vector", "column": name} for name in ("one", "two")}}


def table(seed: int) -> pd.DataFrame:
    rows = np.random.default_rng(seed).normal(size=(48, 8)).astype("float32")
    return pd.DataFrame({"one": list(rows[:, :4]), "two": list(rows[:, 3:])})


@pytest.mark.parametrize("generator", [numpy_generator, torch_generator])
def test_a_negative_seed_is_named(generator):
    with pytest.raises(ConfigurationError, match="seed is -1; give 0 or more"):
        generator(-1, "split")


def embedding(case: tuple[str, int]) -> np.ndarray:
    method, seed = case
    model = Embedder(SCHEMA, method, epochs=4, batch_size=16, random_state=seed)
    return model.fit(table(seed)).transform(table(9))


@pytest.mark.parametrize("method", ["comm", "infmasking"])
def test_fits_in_threads_equal_the_same_fits_one_after_the_other(method):
    cases = [(method, seed) for seed in range(4)]
    alone = [embedding(case) for case in cases]
    with ThreadPoolExecutor(len(cases)) as pool:
        together = list(pool.map(embedding, cases))
    for first, second in zip(alone, together, strict=True):
        assert np.array_equal(first, second)


def test_a_thread_that_draws_all_the_while_changes_no_fit():
    alone, ended = embedding(("infmasking", 0)), threading.Event()

    def draw() -> None:
        while not ended.is_set():
            torch.rand(3)

    other = threading.Thread(target=draw)
    other.start()
    try:
        assert np.array_equal(embedding(("infmasking", 0)), alone)
    finally:
        ended.set()
        other.join()


def test_the_generators_of_the_caller_stay_as_they_were(tmp_path):
    def states() -> tuple[bytes, ...]:
        others = (np.random.get_state(), random.getstate())
        return (torch.get_rng_state().numpy().tobytes(), *(repr(state).encode() for state in others))

    before = states()
    model = Embedder(SCHEMA, "infmasking", epochs=1, batch_size=16).fit(table(0))
    load(model.save(tmp_path / "artifact"))
    model.transform(table(1))
    assert states() == before


DRAWS = {
    "linear": lambda: nn.Linear(3, 5).weight,
    "convolution": lambda: nn.Conv2d(3, 4, 3).weight,
    "embedding": lambda: nn.Embedding(5, 4).weight,
    "recurrent": lambda: nn.GRU(3, 4, 2, dropout=0.5)(torch.ones(5, 2, 3))[0],
    "attention": lambda: nn.MultiheadAttention(4, 2, dropout=0.5)(*[torch.ones(3, 2, 4)] * 3)[0],
    "scaled attention": lambda: F.scaled_dot_product_attention(*[torch.ones(2, 3, 4)] * 3, dropout_p=0.5),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5)(torch.ones(3, 2, 4)),
    "dropouts": lambda: nn.AlphaDropout()(nn.Dropout2d()(nn.Dropout()(torch.ones(2, 3, 4, 4)))),
    "rectifier": lambda: nn.RReLU()(torch.linspace(-1, 1, 9)),
    "like": lambda: torch.rand_like(torch.ones(4)) + torch.randn_like(torch.ones(4)),
    "distribution": lambda: torch.distributions.Normal(torch.zeros(3), 1.0).sample((4,)),
    "gumbel": lambda: F.gumbel_softmax(torch.ones(2, 5)),
    "in place": lambda: torch.empty(9).uniform_() + torch.empty(9).exponential_() + torch.empty(9).normal_(),
    "order": lambda: torch.randperm(20) + torch.randint(9, (20,)),
    "chosen": lambda: torch.multinomial(torch.ones(9), 4) + torch.bernoulli(torch.full((4,), 0.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_drawn_is_what_the_global_generator_draws_after_that_seed(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        expected = [DRAWS[name](), DRAWS[name]()]
    before, draws = torch.get_rng_state(), SeededDraws(7)
    with draws:
        first = DRAWS[name]()
    torch.rand(1, generator=torch.Generator())
    with draws:
        second = DRAWS[name]()
    assert torch.equal(first, expected[0])
    assert torch.equal(second, expected[1])
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_first_value_of_torch_is_one_that_takes_our_generator():
    """If a later torch has more initialisers, add them to the list."""
    names = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    assert {name for name in names if "generator" in _parameters(getattr(nn.init, name))} <= TAKE_A_GENERATOR


class Doubtful(nn.Linear):
    """A module that the library does not know, so it may draw."""


@pytest.mark.parametrize("part", [nn.Dropout(), nn.GRU(2, 3), Doubtful(2, 3)])
def test_only_what_draws_nothing_for_sure_is_spared_the_watch(part):
    assert may_draw(nn.Sequential(nn.ReLU(), part))
    plain = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert not may_draw(plain)
    plain[0].register_forward_hook(lambda module, given, made: F.dropout(made))
    assert may_draw(plain)


@pytest.mark.parametrize(("method", "watched"), [("comm", False), ("infmasking", True)])
def test_steps_are_watched_for_draws_only_where_a_method_may_draw(method, watched, monkeypatch):
    entered = []

    class Noted(SeededDraws):
        def __enter__(self):
            entered.append(self.seed)
            return super().__enter__()

    monkeypatch.setattr("commlearn.training.train.SeededDraws", Noted)
    Embedder(SCHEMA, method, epochs=1, batch_size=16).fit(table(0))
    assert bool(entered) == watched


def _parameters(function: object) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code else ()
