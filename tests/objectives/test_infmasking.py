"""The contrast with infinitely many masks, compared with its equation and with many draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_objectives import agree

from commlearn.objectives import masked_contrast


def drawn(samples, versions, dim, seed, spread=0.5):
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randn(samples, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(versions, samples, dim, generator=generator, dtype=torch.float64)
    masked = whole + spread * noise
    return whole.requires_grad_(), masked.requires_grad_()


def slow(whole, masked, temperature, groups=None):
    """Compute the loss from full means and covariances; other samples of a group are not negatives."""
    z = [row / row.norm() for row in whole]
    draws = [[masked[k, j] / masked[k, j].norm() for k in range(len(masked))] for j in range(len(whole))]
    means = [sum(rows) / len(rows) for rows in draws]
    covariances = [
        sum(torch.outer(row - mean, row - mean) for row in rows) / (len(rows) - 1)
        for rows, mean in zip(draws, means, strict=True)
    ]
    total = 0.0
    for i, row in enumerate(z):
        below = sum(
            torch.exp(row @ mean / temperature + row @ covariance @ row / (2 * temperature**2))
            for j, (mean, covariance) in enumerate(zip(means, covariances, strict=True))
            if j == i or groups is None or groups[j] != groups[i]
        )
        total = total - row @ means[i] / temperature + torch.log(below)
    return total / len(z)


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(2, 5), versions=st.integers(2, 5), seed=st.integers(0, 999), t=st.floats(0.1, 2.0))
def test_it_equals_the_loop_with_covariance_matrices(samples, versions, seed, t):
    tensors = drawn(samples, versions, 3, seed)
    fast, plain = masked_contrast(*tensors, t), slow(*tensors, t)
    agree(fast, plain, tensors)


@pytest.mark.parametrize("groups", [[0, 1, 0, 2, 1], [3, 3, 3, 3, 3], [0, 1, 2, 3, 4]])
def test_samples_of_one_group_are_not_each_others_negatives(groups):
    tensors, numbers = drawn(5, 3, 3, 0), torch.tensor(groups)
    fast, plain = masked_contrast(*tensors, 0.3, numbers), slow(*tensors, 0.3, numbers)
    agree(fast, plain, tensors)
    alone = torch.equal(fast, masked_contrast(*tensors, 0.3))
    assert alone is (len(set(groups)) == len(groups))


def test_it_bounds_the_mean_contrast_over_many_masks_and_is_near_to_it():
    whole, masked = drawn(6, 4000, 8, 0, spread=0.3)
    z, draws = (torch.nn.functional.normalize(part, dim=-1) for part in (whole, masked))
    logits = torch.einsum("id,kjd->kij", z, draws) / 0.5
    drawn_mean = (logits.logsumexp(dim=2) - logits.diagonal(dim1=1, dim2=2)).mean()
    closed = masked_contrast(whole, masked, 0.5)
    assert drawn_mean - 1e-3 < closed < drawn_mean + 0.05


def test_too_few_samples_or_versions_are_refused():
    for whole, masked in ((torch.ones(3, 2), torch.ones(1, 3, 2)), (torch.ones(1, 2), torch.ones(4, 1, 2))):
        with pytest.raises(ValueError, match="at least 2 masked versions"):
            masked_contrast(whole, masked)
