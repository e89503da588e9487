"""Bounds on mutual information, compared with loops, and with Gaussians whose information is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.objectives import club_bound, leave_one_out_bound, nce_bound, near

DIM = 4


def information(correlation: float) -> float:
    """Return the information, in nats, of two Gaussian vectors whose coordinates correlate pairwise."""
    return -DIM / 2 * math.log(1 - correlation**2)


def club_limit(correlation: float) -> float:
    """Return the limit of NCE-CLUB: the divergence of the joint from the product plus the reverse one."""
    return DIM * correlation**2 / (1 - correlation**2)


def gaussians(samples: int, correlation: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, samples, DIM, generator=generator, dtype=torch.float64)
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


def best_scores(x: torch.Tensor, y: torch.Tensor, correlation: float) -> torch.Tensor:
    """Return log p(y | x) / p(y) of all pairs, (N, N)."""
    rest = 1 - correlation**2
    distance = (y[None] - correlation * x[:, None]).square().sum(dim=2)
    return (y.square().sum(dim=1)[None] - distance / rest) / 2 - DIM / 2 * math.log(rest)


def slow_leave_one_out(scores, among):
    values = []
    for i in range(len(scores)):
        others = [j for j in range(len(scores)) if j != i and among[i, j] > 0]
        if others:
            below = sum(among[i, j] * torch.exp(scores[i, j]) for j in others)
            values.append(scores[i, i] - torch.log(below / sum(among[i, j] for j in others)))
    return sum(values) / len(values) if values else 0.0 * scores.sum()


def slow_bounds(scores, among):
    lower, upper, counted = 0.0, 0.0, 0
    for i in range(len(scores)):
        weights = among[i]
        below = sum(weights[j] * torch.exp(scores[i, j]) for j in range(len(scores))) / sum(weights)
        lower = lower + scores[i, i] - torch.log(below)
        others = [j for j in range(len(scores)) if j != i and weights[j] > 0]
        if others:
            total = sum(weights[j] for j in others)
            upper = upper + scores[i, i] - sum(weights[j] * scores[i, j] for j in others) / total
            counted += 1
    return lower / len(scores), upper / max(counted, 1)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 6), seed=st.integers(0, 999), kind=st.sampled_from(["all", "classes", "kernel"]))
def test_bounds_equal_the_loops(count, seed, kind):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, count, generator=generator, dtype=torch.float64, requires_grad=True)
    classes = torch.randint(0, 2, (count,), generator=generator)
    among = {
        "all": torch.ones(count, count, dtype=torch.float64),
        "classes": (classes[:, None] == classes).double(),
        "kernel": near(torch.randn(count, 3, generator=generator, dtype=torch.float64)),
    }[kind]
    lower, upper = slow_bounds(scores, among)
    given_among = None if kind == "all" else among
    torch.testing.assert_close(nce_bound(scores, given_among), lower)
    torch.testing.assert_close(club_bound(scores, given_among), torch.as_tensor(upper, dtype=torch.float64))
    tighter = slow_leave_one_out(scores, among)
    torch.testing.assert_close(leave_one_out_bound(scores, given_among), tighter)
    for fast, plain in ((nce_bound, lower), (club_bound, upper), (leave_one_out_bound, tighter)):
        if isinstance(plain, torch.Tensor) and plain.requires_grad:
            one = torch.autograd.grad(fast(scores, given_among), scores, retain_graph=True)[0]
            torch.testing.assert_close(one, torch.autograd.grad(plain, scores, retain_graph=True)[0])


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.4, 0.7])
def test_the_best_critic_gives_both_bounds_of_correlated_gaussians(correlation):
    lower, upper, tighter = [], [], []
    for seed in range(8):
        scores = best_scores(*gaussians(1000, correlation, seed), correlation)
        tighter.append(leave_one_out_bound(scores).item())
        lower.append(nce_bound(scores).item())
        upper.append(club_bound(scores).item())
    exact = information(correlation)
    assert sum(lower) / 8 == pytest.approx(exact, abs=0.05)
    assert sum(lower) / 8 <= exact + 0.02
    assert sum(upper) / 8 == pytest.approx(club_limit(correlation), abs=0.05)
    assert sum(upper) / 8 >= exact - 0.02
    assert sum(tighter) / 8 == pytest.approx(exact, abs=0.05)
    assert all(above >= below for above, below in zip(tighter, lower, strict=True))


def test_given_a_class_only_draws_from_the_class_count():
    x, y = gaussians(1200, 0.5, 0)
    classes = torch.arange(1200) % 2
    among = (classes[:, None] == classes).double()
    exact, scores = information(0.5), best_scores(x, y, 0.5)
    assert nce_bound(scores, among).item() == pytest.approx(exact, abs=0.05)
    assert club_bound(scores, among).item() == pytest.approx(club_limit(0.5), abs=0.1)
    tells_classes_apart = scores - 100.0 * (1 - among)  # x and y both reveal the class: log 2 nats more
    assert nce_bound(tells_classes_apart).item() == pytest.approx(exact + math.log(2), abs=0.05)
    assert nce_bound(tells_classes_apart, among).item() == pytest.approx(exact, abs=0.05)


def test_the_lower_bound_never_exceeds_the_logarithm_of_the_batch():
    scores = 1000 * torch.eye(16, dtype=torch.float64)
    assert nce_bound(scores).item() == pytest.approx(math.log(16))


def test_scores_of_another_shape_are_refused():
    for shape in ((3, 4), (1, 1), (5,)):
        with pytest.raises(ValueError, match="all pairs of at least 2"):
            nce_bound(torch.ones(shape))


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.1, 0.4, 0.6])
def test_learned_critics_reach_both_bounds(correlation):
    from commlearn.methods.factorcl import PairCritic

    lower, upper, tighter = learned_bounds(PairCritic, correlation)
    exact = information(correlation)
    assert exact - 0.02 <= tighter <= exact + 0.05
    assert exact - 0.05 <= lower <= exact + 0.02
    assert upper >= exact - 0.02
    assert upper == pytest.approx(club_limit(correlation), abs=0.05)


def learned_bounds(critic_type, correlation, steps=3000, batch=512):
    torch.manual_seed(0)
    critic = critic_type(DIM, DIM, 64).double()
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        loss = -nce_bound(critic(*gaussians(batch, correlation, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    with torch.no_grad():
        held = [critic(*gaussians(2000, correlation, 10**6 + seed)) for seed in range(8)]
    bounds = (nce_bound, club_bound, leave_one_out_bound)
    return (sum(bound(scores).item() for scores in held) / 8 for bound in bounds)
