"""Mean tokens next to the fused vector: standardised, unaffected by padding, and guessed if absent."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from commlearn.batch import Batch, Modality, Spec
from commlearn.methods.comm import CoMM
from commlearn.models.build import build_encoders
from commlearn.models.token_means import TokenMeans
from commlearn.models.tokens import Tokens, frozen_moments

SPECS = {"one": Spec("vector", (5,)), "two": Spec("vector", (3,))}
WIDTH = 8


def test_means_follow_what_training_saw_and_absent_records_are_zero():
    draw = torch.Generator().manual_seed(0)
    means = TokenMeans(["a"], WIDTH)
    values = 3 + 2 * torch.randn(400, 2, WIDTH, generator=draw)
    padding = torch.zeros(400, 2, dtype=torch.bool)
    padding[:40] = True
    values[:40] = 1e6  # under padding, so it must have no effect
    for _ in range(60):
        means.observe({"a": Tokens(values, padding)}, {})
    out = means.eval()({"a": Tokens(values, padding)}, torch.randn(400, WIDTH))
    assert (out[:40] == 0).all()  # there is no other modality to guess from
    plain = values[40:].double().mean(dim=1)
    wanted = (plain - plain.mean(dim=0)) / plain.std(dim=0)
    torch.testing.assert_close(out[40:].double(), wanted, atol=2e-2, rtol=2e-2)


def test_observing_changes_nothing_outside_training():
    means = TokenMeans(["a"], WIDTH).eval()
    before = {name: value.clone() for name, value in means.state_dict().items()}
    tokens = {"a": Tokens(torch.randn(4, 1, WIDTH))}
    means.observe(tokens, {("b",): torch.randn(4, WIDTH)})
    assert all(torch.equal(before[name], value) for name, value in means.state_dict().items())


def build(embedding: str) -> CoMM:
    torch.manual_seed(0)
    return CoMM.build(build_encoders(SPECS, WIDTH, {}), WIDTH, embedding=embedding)


def view(present=None):
    draw = torch.Generator().manual_seed(1)
    return {
        name: Modality(
            torch.randn(6, *spec.shape, generator=draw), present=present if name == "one" else None
        )
        for name, spec in SPECS.items()
    }


def test_the_fused_vector_stays_and_every_subset_has_one_width():
    plain, wide = build("fused").eval(), build("fused+tokens").eval()
    for subset in (None, ["one"], ["two"]):
        embedding = wide.embed(view(), subset)
        assert embedding.shape == (6, 3 * WIDTH)
        torch.testing.assert_close(embedding[:, :WIDTH], plain.embed(view(), subset))
    assert (wide.embed(view(), ["two"])[:, WIDTH : 2 * WIDTH] == 0).all()  # nothing has been observed yet


def test_what_is_absent_is_what_ridge_regression_expects_of_the_fused_vector():
    draw = torch.Generator().manual_seed(0)
    means = TokenMeans(["a", "b"], WIDTH)
    fused = 2 * torch.randn(600, WIDTH, generator=draw) + 1
    a = fused @ torch.randn(WIDTH, WIDTH, generator=draw) + torch.randn(600, WIDTH, generator=draw)
    gone = torch.arange(600) < 100
    a[gone] = 1e6
    tokens = {"a": Tokens(a[:, None], gone[:, None]), "b": Tokens(torch.randn(600, 1, WIDTH))}
    for _ in range(200):
        means.observe(tokens, {("b",): fused, ("a", "b"): torch.full_like(fused, 1e6)})
    out = means.eval()({"b": tokens["b"]}, fused)[:, :WIDTH]
    torch.testing.assert_close(means(tokens, fused)[gone, :WIDTH], out[gone])
    x, y = fused[~gone].double(), a[~gone].double()
    y = (y - y.mean(dim=0)) / y.std(dim=0)
    ridge = 0.1 * x.square().mean(dim=0).mean()  # the intercept is not penalised
    centred = x - x.mean(dim=0)
    slope = torch.linalg.solve(
        centred.T @ centred / len(x) + ridge * torch.eye(WIDTH), centred.T @ y / len(x)
    )
    torch.testing.assert_close(out[~gone].double(), centred @ slope, atol=2e-2, rtol=2e-2)


def test_a_pair_of_twins_fills_each_other_in():
    """If two modalities are identical, one of them alone embeds almost like both."""
    torch.manual_seed(0)
    method = CoMM.build(
        build_encoders({"one": Spec("vector", (5,)), "two": Spec("vector", (5,))}, 16, {}),
        16,
        embedding="fused+tokens",
    )
    for _ in range(100):
        values = torch.randn(64, 5)
        twins = {"one": Modality(values), "two": Modality(values)}
        method.represent(Batch(augmented=(twins, twins)))
    method.eval()
    values = torch.randn(200, 5)
    both = method.embed({"one": Modality(values), "two": Modality(values)})[:, 16:32]
    alone = method.embed({"two": Modality(values)}, ["two"])[:, 16:32]
    assert (alone - both).square().mean() < 0.75 * both.square().mean()


def test_a_record_without_a_modality_embeds_as_if_it_was_not_asked_for():
    present = torch.tensor([True, False] * 3)
    wide = build("fused+tokens").eval()
    some, without = wide.embed(view(present)), wide.embed(view(), ["two"])
    torch.testing.assert_close(some[~present], without[~present])
    assert not torch.allclose(some[present], without[present])


@pytest.mark.parametrize("embedding", ["fused", "fused+tokens"])
def test_the_loss_is_the_same_whatever_stands_beside(embedding):
    method = build(embedding)
    loss = next(method.steps(Batch(augmented=(view(), view())))).loss
    reference = next(build("fused").steps(Batch(augmented=(view(), view())))).loss
    assert torch.equal(loss, reference)


def test_each_of_the_first_steps_is_observed_and_later_every_fourth():
    means = TokenMeans(["a", "b"], 4)
    due = [means.count_step() for _ in range(24)]
    assert due == [True] * 16 + [False, False, False, True] * 2
    with frozen_moments(means):
        assert not means.count_step()
    assert not means.eval().count_step()
    assert means.steps == 24


def test_states_of_older_runs_do_not_count_steps():
    means, state = TokenMeans(["a"], 4), TokenMeans(["a"], 4).state_dict()
    del state["steps"]
    means.count_step()
    means.load_state_dict(state)
    assert means.steps == 0


def test_of_many_modalities_each_rest_is_looked_at_equally_often_and_of_few_every_time():
    means = TokenMeans([f"m{number}" for number in range(9)], width=4)
    rests = [(f"rest {number}",) for number in range(9)]
    looks: Counter[tuple[str, ...]] = Counter()
    for _ in range(16 + 4 * 20):  # all of the first 16 steps are observed, then every fourth
        if means.count_step():
            chosen = means.in_turn(rests)
            assert len(set(chosen)) == 4
            looks.update(chosen)
    assert looks.keys() == set(rests)
    assert looks.total() == 4 * 36
    assert max(looks.values()) - min(looks.values()) <= 1
    assert means.in_turn(rests[:4]) == rests[:4]
