"""Regularisers and objectives without negatives, compared with loops over their equations, in float64."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_objectives import agree, gradients

from commlearn.objectives import alignment, concentration, orthogonality, sigreg, vicreg


def draws(count, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [part.requires_grad_() for part in made]


def deviation(values):
    middle = sum(values) / len(values)
    return (sum((value - middle) ** 2 for value in values) / (len(values) - 1) + 1e-4) ** 0.5


def slow_alignment(first, second, present, least):
    samples, apart, middles = len(first[0]), 0.0, []
    for i in range(samples):
        wholes = []
        for view in (first, second):
            units = [part[i] / part[i].norm() if part[i].norm() > 0 else part[i] for part in view]
            whole = torch.cat(units)
            wholes.append(whole / whole.norm())
        apart = apart + (1 - sum(a * b for a, b in zip(*wholes, strict=True))) ** 2 / samples
        middles.append((wholes[0] + wholes[1]) / 2)
    hinges, start = [], 0
    for part, mask in zip(first, present, strict=True):
        for d in range(start, start + part.shape[1]):
            values = [middle[d] for i, middle in enumerate(middles) if mask is None or mask[i]]
            if len(values) > 1:
                hinges.append(max(0.0 * values[0], least - deviation(values)))
        start += part.shape[1]
    return apart + sum(hinges) / len(hinges)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("least", [0.5, 0.2])
@pytest.mark.parametrize("lacking", [[], [1], [0, 1, 2, 3]])
def test_alignment_equals_the_loop(modalities, least, lacking):
    parts = draws(2 * modalities, (5, 3), seed=modalities)
    mask = torch.ones(5, dtype=torch.bool)
    mask[lacking] = False
    with torch.no_grad():
        parts[0][lacking], parts[modalities][lacking] = 0.0, 0.0
    first, second = parts[:modalities], parts[modalities:]
    present = [mask if lacking else None, *[None] * (modalities - 1)]
    fast, slow = alignment(first, second, present, least), slow_alignment(first, second, present, least)
    agree(fast, slow, [*first[1:], *second[1:]])


def slow_concentration(vectors, limit):
    samples, dims = len(vectors[0]), [part.shape[1] for part in vectors]
    places = list(itertools.product(*map(range, dims)))
    tensor = {
        place: sum(
            math.prod(part[i, d] for part, d in zip(vectors, place, strict=True)) for i in range(samples)
        )
        / samples
        for place in places
    }
    turns = []
    for mode, dim in enumerate(dims):
        unfolded = np.array(
            [[tensor[place].item() for place in places if place[mode] == d] for d in range(dim)]
        )
        turns.append(np.linalg.svd(unfolded)[0])
    core = [
        sum(
            tensor[place] * math.prod(turn[d, k] for turn, d, k in zip(turns, place, target, strict=True))
            for place in places
        )
        for target in places
    ]
    squares = [entry**2 for entry in core]
    return max(0.0 * squares[0], max(squares) / sum(squares) - limit)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("limit", [0.5, 0.1])
def test_concentration_equals_the_loop(modalities, limit):
    vectors = draws(modalities, (6, 3), seed=modalities)
    agree(concentration(vectors, limit), slow_concentration(vectors, limit), vectors)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_concentration_of_what_diverged_is_not_a_number(wrong):
    vectors = [torch.eye(4), torch.eye(4)]
    vectors[0][1, 2] = wrong
    assert concentration(vectors).isnan()


def test_concentration_of_two_has_the_gradient_of_the_singular_values():
    vectors = draws(2, (6, 3), seed=0)
    values = torch.linalg.svdvals(vectors[0].T @ vectors[1] / 6)
    expected = values[0] ** 2 / values.square().sum() - 0.1
    agree(concentration(vectors, 0.1), expected, vectors)


@pytest.mark.parametrize("gaps", [False, True])
def test_orthogonality_equals_the_loop(gaps):
    vectors = draws(3, (5, 4), seed=1)
    masks = [None, torch.arange(5) != 2, torch.arange(5) > 1] if gaps else [None] * 3
    slow = 0.0
    for a, b in itertools.combinations(range(3), 2):
        rows = [i for i in range(5) if all(masks[k] is None or masks[k][i] for k in (a, b))]
        for i in rows:
            one, other = vectors[a][i], vectors[b][i]
            slow = slow + (one @ other / one.norm() / other.norm()) ** 2 / len(rows)
    agree(orthogonality(vectors, masks), slow, vectors)
    nobody = [torch.zeros(5, dtype=torch.bool)] * 3
    assert orthogonality(vectors, nobody) == 0


def slow_sigreg(rows, directions):
    """Compute the integral over all t in closed form, from Gaussian integrals of every pair of samples."""
    count, total = len(rows), 0.0
    for direction in directions.T:
        x = [row @ direction for row in rows]
        pairs = sum(torch.exp(-((a - b) ** 2) / 2) for a in x for b in x) * math.sqrt(2 * math.pi) / count
        single = sum(torch.exp(-(a**2) / 4) for a in x) * 2 * math.sqrt(math.pi)
        total = total + pairs - single + count * math.sqrt(2 * math.pi / 3)
    return total / directions.shape[1]


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(2, 8), seed=st.integers(0, 999))
def test_sigreg_equals_the_closed_form(samples, seed):
    (rows,), directions = draws(1, (samples, 4), seed), draws(1, (4, 3), seed + 1)[0].detach()
    directions = directions / directions.norm(dim=0)
    fast, slow = sigreg(rows, directions, points=401, reach=9.0), slow_sigreg(rows, directions)
    torch.testing.assert_close(fast, slow, atol=1e-9, rtol=1e-7)
    for one, other in zip(gradients(fast, [rows]), gradients(slow, [rows]), strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(sigreg(rows, directions), slow, atol=0.05, rtol=0.05)


def test_sigreg_is_least_for_a_gaussian():
    (normal,) = draws(1, (2000, 1), 0)
    uniform = (torch.rand(2000, 1, dtype=torch.float64) - 0.5) * math.sqrt(12)
    one = torch.ones(1, 1, dtype=torch.float64)
    values = [sigreg(rows, one).item() for rows in (normal, uniform, 1.2 * normal, normal + 0.2)]
    assert min(values) == values[0] < 2.5


def slow_vicreg(first, second):
    count, dim = first.shape
    loss = 25 * sum((first[i, d] - second[i, d]) ** 2 for i in range(count) for d in range(dim)) / count / dim
    for view in (first, second):
        means = [sum(view[i, d] for i in range(count)) / count for d in range(dim)]
        for d in range(dim):
            loss = loss + 25 / (2 * dim) * max(0.0 * means[0], 1 - deviation(list(view[:, d])))
        for a, b in itertools.permutations(range(dim), 2):
            together = sum((view[i, a] - means[a]) * (view[i, b] - means[b]) for i in range(count))
            loss = loss + (together / (count - 1)) ** 2 / dim
    return loss


def test_vicreg_equals_the_loop():
    views = draws(2, (6, 3), seed=3)
    agree(vicreg(*views), slow_vicreg(*views), views)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        vicreg(torch.ones(1, 3), torch.ones(1, 3))
