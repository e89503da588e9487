"""Losses and their gradients, compared with loops written from the paper, in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from commlearn.objectives import (
    alignment,
    clip_loss,
    comm_terms,
    concentration,
    info_nce,
    log_sums,
    masked_contrast,
    orthogonality,
    retrieval_accuracy,
    supcon,
)


def slow_info_nce(first, second, temperature, groups=None):
    """Contrast each row's other view with all rows except the row itself and other samples of its group."""
    rows = [row / row.norm() for row in [*first, *second]]
    count = len(first)
    total = 0.0
    for i in range(2 * count):
        positive = (i + count) % (2 * count)
        against = [k for k in range(2 * count) if k == positive or negative(i % count, k % count, groups)]
        others = sum(torch.exp(rows[i] @ rows[k] / temperature) for k in against)
        total = total - torch.log(torch.exp(rows[i] @ rows[positive] / temperature) / others)
    return total / (2 * count)


def slow_clip(first, second, scale, groups=None):
    total, count = 0.0, len(first)
    for one, other in ((first, second), (second, first)):
        for i in range(count):
            against = [k for k in range(count) if k == i or negative(i, k, groups)]
            cosines = {k: one[i] @ other[k] / one[i].norm() / other[k].norm() for k in against}
            total = total - torch.log(
                torch.exp(scale * cosines[i]) / sum(torch.exp(scale * c) for c in cosines.values())
            )
    return total / (2 * count)


def negative(sample, other, groups):
    """Whether one sample is another's negative: all samples are, except itself and those of its group."""
    return sample != other and (groups is None or bool(groups[sample] != groups[other]))


def pair(count, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(count, dim, generator=generator, dtype=torch.float64, requires_grad=True) for _ in "ab"
    ]


@pytest.fixture(params=[2, 3, 512])
def block(request, monkeypatch):
    """Block size that divides matrices into many blocks, the last one smaller, or leaves a single block."""
    monkeypatch.setitem(log_sums.BLOCK, "cpu", request.param)
    return request.param


def gradients(loss, tensors):
    return torch.autograd.grad(loss, tensors)


def agree(fast, slow, tensors):
    torch.testing.assert_close(fast, slow)
    for one, other in zip(gradients(fast, tensors), gradients(slow, tensors), strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(2, 6), dim=st.integers(1, 5), seed=st.integers(0, 999), temperature=st.floats(0.05, 2.0)
)
def test_info_nce_equals_the_loop(count, dim, seed, temperature):
    views = pair(count, dim, seed)
    fast, slow = info_nce(*views, temperature), slow_info_nce(*views, temperature)
    agree(fast, slow, views)


def test_info_nce_of_indistinguishable_rows_is_the_log_of_the_choices():
    rows = torch.ones(5, 3, dtype=torch.float64)
    assert info_nce(rows, rows, 0.1).item() == pytest.approx(math.log(2 * 5 - 1))


def test_info_nce_is_symmetric_and_ignores_scale():
    one, other = pair(6, 4, 0)
    torch.testing.assert_close(info_nce(one, other), info_nce(other, one))
    torch.testing.assert_close(info_nce(3 * one, 0.5 * other), info_nce(one, other))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_samples_are_refused(count):
    with pytest.raises(ValueError, match=f"at least 2 samples, got {count}"):
        info_nce(torch.ones(count, 3), torch.ones(count, 3))


def test_views_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(5, 3\)"):
        info_nce(torch.ones(4, 3), torch.ones(5, 3))


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_each_term_of_comm_has_its_temperature(names):
    subsets = [*((name,) for name in names), names]
    views = [{subset: pair(5, 3, seed)[view] for seed, subset in enumerate(subsets)} for view in (0, 1)]
    by_term = {subset: 0.2 if len(subset) == 1 else 0.7 for subset in subsets}
    by_term["a",] = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(5) != 2
    terms = comm_terms(*views, names, by_term, {("b",): mask})
    for subset, term in terms.items():
        rows = mask if subset == ("b",) else slice(None)
        halves = [
            slow_info_nce(one[subset][rows], two[names][rows], by_term[subset])
            for one, two in (views, views[::-1])
        ]
        torch.testing.assert_close(term, sum(halves) / 2)
        if subset == ("a",):
            agree(term, sum(halves) / 2, [by_term[subset], views[0][names]])


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_comm_terms_equal_the_loop(names, block):
    subsets = [*((name,) for name in names), names]
    first = {subset: pair(5, 3, seed)[0] for seed, subset in enumerate(subsets)}
    second = {subset: pair(5, 3, seed)[1] for seed, subset in enumerate(subsets)}
    terms = comm_terms(first, second, full=names, temperature=0.2)
    assert list(terms) == subsets
    slow = {
        subset: (
            slow_info_nce(first[subset], second[names], 0.2)
            + slow_info_nce(second[subset], first[names], 0.2)
        )
        / 2
        for subset in subsets
    }
    leaves = [*first.values(), *second.values()]
    for subset in subsets:
        torch.testing.assert_close(terms[subset], slow[subset])
    agree(torch.stack(list(terms.values())).mean(), sum(slow.values()) / len(subsets), leaves)


def test_accuracy_in_blocks_equals_the_loop(block):
    views = pair(7, 3, 0)
    accuracy = retrieval_accuracy(*views).item()
    own = sum(F.cosine_similarity(x[None], views[1]).argmax().item() == i for i, x in enumerate(views[0]))
    assert accuracy == pytest.approx(own / 7)


GROUPS = {
    "none": None,
    "some share a group": torch.tensor([5, -3, 5, 9, -3, 5, 0]),
    "each of its own": torch.arange(7),
    "all of one": torch.zeros(7, dtype=torch.long),
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_losses_in_blocks_equal_the_loop_in_which_rows_of_one_group_are_no_negatives(groups, block):
    views = pair(7, 3, 0)
    losses = [
        (info_nce(*views, 0.2, groups), slow_info_nce(*views, 0.2, groups)),
        (clip_loss(*views, 3.0, groups), slow_clip(*views, 3.0, groups)),
    ]
    for fast, slow in losses:
        agree(fast, slow, views)


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_terms_with_groups_and_gaps_equal_the_loop(names, groups, block):
    subsets = [*((name,) for name in names), names]
    present = {("a",): torch.tensor([True, False, True, True, False, True, True])}
    first, second = ({s: pair(7, 3, i)[view] for i, s in enumerate(subsets)} for view in (0, 1))
    terms = comm_terms(first, second, names, 0.3, present, groups)
    slow = {}
    for s in subsets:
        rows = present.get(s, torch.ones(7, dtype=torch.bool))
        halves = ((first[s], second[names]), (second[s], first[names]))
        some = None if groups is None else groups[rows]
        slow[s] = sum(slow_info_nce(one[rows], two[rows], 0.3, some) for one, two in halves) / 2
        torch.testing.assert_close(terms[s], slow[s])
    leaves = [*first.values(), *second.values()]
    agree(sum(terms.values()), sum(slow.values()), leaves)


def test_groups_of_one_row_each_change_nothing_at_all(block):
    names, alone = ("a", "b"), torch.arange(7)
    first, second = ({s: pair(7, 3, i)[view] for i, s in enumerate([("a",), names])} for view in (0, 1))
    views = first[names], second[names]
    assert torch.equal(info_nce(*views, 0.2, alone), info_nce(*views, 0.2))
    assert torch.equal(clip_loss(*views, 3.0, alone), clip_loss(*views, 3.0))
    with_groups, without = (comm_terms(first, second, names, groups=some) for some in (alone, None))
    assert all(torch.equal(with_groups[subset], without[subset]) for subset in without)


def test_groups_that_are_not_one_a_sample_are_refused():
    views = pair(5, 3, 0)
    for loss in (info_nce, clip_loss):
        with pytest.raises(ValueError, match=r"5 samples.*groups of shape \(4,\)"):
            loss(*views, 0.5, torch.arange(4))


def test_a_learned_temperature_gets_its_gradient():
    views = pair(5, 3, 0)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    fast, slow = info_nce(*views, temperature), slow_info_nce(*views, temperature)
    torch.testing.assert_close(*(gradients(loss, [temperature])[0] for loss in (fast, slow)))
    fast, slow = clip_loss(*views, 1 / temperature), slow_clip(*views, 1 / temperature)
    torch.testing.assert_close(*(gradients(loss, [temperature])[0] for loss in (fast, slow)))


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 10.0])
def test_extreme_temperatures_stay_finite_and_right(temperature):
    views = [rows.detach().float().requires_grad_() for rows in pair(40, 8, 0)]
    loss = info_nce(*views, temperature)
    rows = F.normalize(torch.cat(views).double(), dim=1)
    similarity = (rows @ rows.T / temperature).fill_diagonal_(-math.inf)
    plain = F.cross_entropy(similarity, torch.arange(80).roll(40))
    torch.testing.assert_close(loss.double(), plain, atol=1e-5, rtol=1e-5)
    for one, other in zip(gradients(loss, views), gradients(plain, views), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * other.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        info_nce,
        lambda one, two: clip_loss(one, two, 3.0),
        lambda one, two: supcon(one, two, torch.arange(16) % 3),
        lambda one, two: masked_contrast(one, torch.stack([one, two])),
        lambda one, two: orthogonality([one, two]),
        lambda one, two: alignment([one, two], [two, one]),
        lambda one, two: concentration([one, two]),
    ],
)
def test_under_autocast_the_loss_is_computed_in_full_precision(loss):
    views = [rows.detach().float() for rows in pair(16, 8, 0)]
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(*views)
    assert torch.equal(inside, loss(*views))
    assert loss(*(view.bfloat16() for view in views)).dtype == torch.float32


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that any operation returned."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.most = max(self.most, *sizes, 0)
        return out


def test_no_matrix_of_all_pairs_is_ever_made(monkeypatch):
    monkeypatch.setitem(log_sums.BLOCK, "cpu", 16)
    names, samples, dim = ("a", "b"), 256, 4
    subsets = [("a",), ("b",), names]
    first, second = (
        {s: torch.randn(samples, dim, requires_grad=True) for s in subsets} for _ in ("first", "second")
    )
    with Largest() as largest:
        for groups in (None, torch.arange(samples) // 2):
            loss = sum(comm_terms(first, second, full=names, groups=groups).values())
            (loss + clip_loss(first[names], second[names], 2.0, groups)).backward()
    assert largest.most <= samples * max(dim, 16)
    with Largest() as largest:
        retrieval_accuracy(first[names], second[names])
    assert largest.most <= samples * max(dim, 16)


@pytest.mark.parametrize(("few", "products"), [(512, 2), (39, 4)])  # within a view, and between both
def test_products_of_few_samples_are_made_once(few, products, monkeypatch):
    class Products(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            self.count += func is torch.ops.aten.mm.default and out.shape == (40, 40)
            return out

    monkeypatch.setattr(log_sums, "FEW", few)
    first, second = pair(40, 3, 0)
    with Products() as made:
        sums = log_sums.log_sums_within(first).sum() + sum(
            part.sum() for part in log_sums.log_sums_between(first, second)
        )
        sums.backward()
    assert made.count == products


@pytest.mark.parametrize(("few", "products"), [(512, [6, 6]), (19, [33, 69])])
def test_terms_of_few_samples_take_as_many_products_whatever_the_modalities(few, products, monkeypatch):
    class Products(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr(log_sums, "FEW", few)
    counts = []
    for names in (("a", "b"), ("a", "b", "c", "d", "e")):
        subsets = [*((name,) for name in names), names]
        views = [{subset: torch.randn(20, 3, requires_grad=True) for subset in subsets} for _ in range(2)]
        with Products() as made:
            torch.stack(list(comm_terms(*views, full=names).values())).sum().backward()
        counts.append(made.count)
    assert counts == products


def test_a_term_is_computed_over_the_samples_that_have_its_modalities():
    names, present = ("a", "b"), torch.tensor([True, False, True, True, False])
    views = [
        {subset: pair(5, 3, seed)[view] for seed, subset in enumerate([("a",), names])} for view in (0, 1)
    ]
    terms = comm_terms(*views, full=names, present={("a",): present})
    complete = [{subset: rows[present] for subset, rows in view.items()} for view in views]
    torch.testing.assert_close(terms[("a",)], comm_terms(*complete, full=names)[("a",)])
    torch.testing.assert_close(terms[names], comm_terms(*views, full=names)[names])


def test_a_term_without_two_samples_is_zero_and_has_a_gradient():
    names, present = ("a", "b"), torch.tensor([True, False, False])
    views = [
        {subset: pair(3, 3, seed)[view] for seed, subset in enumerate([("a",), names])} for view in (0, 1)
    ]
    term = comm_terms(*views, full=names, present={("a",): present})[("a",)]
    assert term.item() == 0
    assert gradients(term, views[0][("a",)])[0].abs().sum() == 0


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 6), seed=st.integers(0, 999), scale=st.floats(0.5, 50))
def test_clip_equals_the_loop(count, seed, scale):
    views = pair(count, 4, seed)
    fast, slow = clip_loss(*views, scale), slow_clip(*views, scale)
    agree(fast, slow, views)


def test_retrieval_accuracy_counts_own_samples():
    first = torch.eye(4)
    assert retrieval_accuracy(first, first[[0, 1, 3, 2]]).item() == 0.5
