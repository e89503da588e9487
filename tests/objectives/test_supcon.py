"""The supervised contrast and its gradients, compared with loops over its equation, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_objectives import agree, pair, slow_info_nce

from commlearn.objectives import info_nce, supcon


def slow_supcon(first, second, classes, temperature):
    rows = [row / row.norm() for row in [*first, *second]]
    group = [*classes.tolist(), *classes.tolist()]
    count, total = len(first), 0.0
    for i in range(2 * count):
        other_view = (i + count) % (2 * count)
        alike = [p for p in range(2 * count) if p != i and group[p] == group[i] and group[i] >= 0]
        positives = alike or [other_view]
        below = sum(torch.exp(rows[i] @ rows[k] / temperature) for k in range(2 * count) if k != i)
        for p in positives:
            total = total - torch.log(torch.exp(rows[i] @ rows[p] / temperature) / below) / len(positives)
    return total / (2 * count)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 6), seed=st.integers(0, 999), temperature=st.floats(0.05, 2.0))
def test_supcon_equals_the_loop_with_and_without_classes(count, seed, temperature):
    views = pair(count, 4, seed)
    classes = torch.randint(-1, 3, (count,), generator=torch.Generator().manual_seed(seed))
    fast, slow = supcon(*views, classes, temperature), slow_supcon(*views, classes, temperature)
    agree(fast, slow, views)


def test_without_classes_it_is_nt_xent():
    views = pair(5, 3, 0)
    for classes in (torch.full((5,), -1), torch.arange(5)):
        torch.testing.assert_close(supcon(*views, classes, 0.3), info_nce(*views, 0.3))
    torch.testing.assert_close(supcon(*views, torch.arange(5), 0.3), slow_info_nce(*views, 0.3))


def test_classes_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"5 samples, classes of shape \(4,\)"):
        supcon(*pair(5, 3, 0), torch.zeros(4, dtype=torch.long))
