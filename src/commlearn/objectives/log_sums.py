"""Logarithms of sums of exponentials over similarity matrices that are never held as a whole.

From the N x N matrix of products, a contrast needs only log sum_k exp(x_i . y_k) for every row, and in its
backward pass exp(x_i . y_k) divided by that sum. Both are computed block by block. The backward pass
recomputes the products unless there are few, so that memory grows with N and not with its square. A block
is used for its rows and its columns at once, and a matrix of one view with itself is symmetric, so half of
it is enough. Together this needs fewer operations than the whole matrix, although every product is computed
twice. Pairs of one group are left out of the sums block by block as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

BLOCK = {"cpu": 512}  # rows and columns of a block: 1 MB stays in the processor's cache
LARGE_BLOCK = 4096  # on other devices, where a block must be large to be worth its launch

FEW = 512  # most rows whose products are kept for the backward pass: 1 MB


def log_sums_between(first: Tensor, second: Tensor, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return log sum_k exp(x_i . y_k) for every row x_i of `first`, and log sum_i for every y_k of `second`.

    Args:
        first: (N, dim); several such matrices at once as (..., N, dim).
        second: (M, dim).
        groups: group of each row of both, (N,) integers with M = N; pairs i != k of one group are left out.

    Returns:
        Tensors of N and of M numbers, (..., N) and (..., M).

    Example:
        >>> rows, columns = log_sums_between(torch.zeros(3, 2), torch.zeros(4, 2))
        >>> rows.exp(), columns.exp()
        (tensor([4., 4., 4.]), tensor([3., 3., 3., 3.]))
    """
    with torch.autocast(first.device.type, enabled=False):
        return _Between.apply(first, second, groups)


def log_sums_within(rows: Tensor, groups: Tensor | None = None) -> Tensor:
    """Return log sum_{k != i} exp(x_i . x_k) for every row x_i, (..., N).

    Args:
        rows: (N, dim), at least two; several such matrices at once as (..., N, dim).
        groups: group of each row, (N,) integers; pairs of one group are left out. An empty sum gives -inf.

    Example:
        >>> log_sums_within(torch.zeros(3, 2)).exp()
        tensor([2., 2., 2.])
    """
    with torch.autocast(rows.device.type, enabled=False):
        return _Within.apply(rows, groups)


def in_one_block(rows: Tensor) -> bool:
    """Return whether the rows are few enough for their products to be kept for the backward pass."""
    return rows.shape[-2] <= min(FEW, BLOCK.get(rows.device.type, LARGE_BLOCK))


def blocks(rows: Tensor) -> Iterator[slice]:
    """Return slices that cover all rows in order."""
    size = BLOCK.get(rows.device.type, LARGE_BLOCK)
    return (slice(start, start + size) for start in range(0, rows.shape[-2], size))


class _Between(Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
        rows, columns = _empty_sums(first), _empty_sums(first, len(second))
        for i in blocks(first):
            for k in blocks(second):
                products = _products(first, second, i, k, groups)
                _include(rows[..., i], products, -1)
                _include(columns[..., k], products, -2)
        cached = _keep_if_few(products, first.shape[-2], len(second))
        ctx.save_for_backward(first, second, groups, rows, columns, cached)
        return rows, columns

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, row_gradients: Tensor, column_gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        first, second, groups, rows, columns, cached = ctx.saved_tensors
        first_gradient, second_gradient = torch.zeros_like(first), torch.zeros_like(second)
        for i in blocks(first):
            for k in blocks(second):
                products = _products(first, second, i, k, groups) if cached is None else cached
                weights = _shares(products, rows[..., i, None], row_gradients[..., i, None])
                weights += _shares(products, columns[..., None, k], column_gradients[..., None, k])
                first_gradient[..., i, :].add_(weights @ second[k])
                second_gradient[k].addmm_(weights.flatten(0, -2).T, first[..., i, :].flatten(0, -2))
        return first_gradient, second_gradient, None


class _Within(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: Tensor | None) -> Tensor:
        sums = _empty_sums(rows)
        for i in blocks(rows):
            for k in blocks(rows):
                if k.start < i.start:
                    continue  # the mirror image of an earlier block
                products = _products_of_others(rows, i, k, groups)
                _include(sums[..., i], products, -1)
                if i != k:
                    _include(sums[..., k], products, -2)
        count = rows.shape[-2]
        ctx.save_for_backward(rows, groups, sums, _keep_if_few(products, count, count))
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, sum_gradients: Tensor) -> tuple[Tensor, None]:
        rows, groups, sums, cached = ctx.saved_tensors
        sums = sums.masked_fill(sums.isinf(), 0.0)  # every share of an empty sum is 0, not 0 / 0
        gradient = torch.zeros_like(rows)
        for i in blocks(rows):
            for k in blocks(rows):
                if k.start < i.start:
                    continue
                products = _products_of_others(rows, i, k, groups) if cached is None else cached
                weights = _shares(products, sums[..., i, None], sum_gradients[..., i, None])
                if i == k:  # symmetric: the shares of the columns are those of the rows
                    gradient[..., i, :].add_((weights + weights.mT) @ rows[..., i, :])
                    continue
                weights += _shares(products, sums[..., None, k], sum_gradients[..., None, k])
                gradient[..., i, :].add_(weights @ rows[..., k, :])
                gradient[..., k, :].add_(weights.mT @ rows[..., i, :])
        return gradient, None


def _empty_sums(rows: Tensor, count: int | None = None) -> Tensor:
    """Return the logarithm of an empty sum for each row, or for each of `count` rows."""
    return rows.new_full((*rows.shape[:-2], count or rows.shape[-2]), float("-inf"))


def _products(first: Tensor, second: Tensor, i: slice, k: slice, groups: Tensor | None) -> Tensor:
    """Return the products of a block of both, -inf for a pair of one group except a row's own pair."""
    products = first[..., i, :] @ second[..., k, :].mT  # (..., block, block)
    if groups is not None:
        same_group = groups[i, None] == groups[k]
        products.masked_fill_(same_group.fill_diagonal_(False) if i == k else same_group, float("-inf"))
    return products


def _products_of_others(rows: Tensor, i: slice, k: slice, groups: Tensor | None) -> Tensor:
    """Return the products of two blocks of rows, -inf for a row with itself, so that its exponential is 0."""
    products = _products(rows, rows, i, k, groups)
    if i == k:
        products.diagonal(dim1=-2, dim2=-1).fill_(float("-inf"))
    return products


def _keep_if_few(products: Tensor, rows: int, columns: int) -> Tensor | None:
    """Return the products if they are in one block and few enough to be kept for the backward pass."""
    return products if products.shape[-2:] == (rows, columns) and max(rows, columns) <= FEW else None


def _include(sums: Tensor, products: Tensor, dim: int) -> None:
    """Add the exponentials of more products to the running sums, in place."""
    torch.logaddexp(sums, products.logsumexp(dim=dim), out=sums)


def _shares(products: Tensor, sums: Tensor, weights: Tensor) -> Tensor:
    """Return each product's share of its sum, weighted."""
    return (products - sums).exp_().mul_(weights)
