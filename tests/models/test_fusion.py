"""The fusion's shortcuts are exact: its output equals a plain computation of all rows of all layers."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from commlearn.models.fusion import Fusion, prepend
from commlearn.models.tokens import Tokens

NAMES = ("image", "text", "table")
SUBSETS = [("image",), ("text",), ("table",), ("image", "table"), NAMES]


def plain(fusion: Fusion, tokens: dict[str, Tokens], subset: tuple[str, ...]) -> torch.Tensor:
    """Compute every layer in full and return the [CLS] row of the result."""
    sequence = prepend(fusion.cls, [tokens[name] for name in subset])
    for layer in fusion.layers:
        sequence = Tokens(layer(sequence), sequence.padding)
    return fusion.norm(sequence.values)[:, 0]


def tokens_of(generator, padded: bool, lengths=(4, 7, 1), dtype=torch.float64) -> dict[str, Tokens]:
    tokens = {}
    for name, length in zip(NAMES, lengths, strict=True):
        values = torch.randn(5, length, 16, generator=generator, dtype=dtype, requires_grad=True)
        padding = torch.rand(5, length, generator=generator) < 0.4 if padded else None
        tokens[name] = Tokens(values, padding)
    return tokens


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_equal_to_the_plain_computation_in_value_and_gradient(layers, padded, generator):
    fusion = Fusion(16, layers, heads=4).double()
    tokens = tokens_of(generator, padded, (4, 17, 1))  # more than FEW tokens
    weights = torch.randn(16, generator=generator, dtype=torch.float64)
    fast = fusion(tokens, SUBSETS)
    slow = {subset: plain(fusion, tokens, subset) for subset in SUBSETS}
    for subset in SUBSETS:
        torch.testing.assert_close(fast[subset], slow[subset], atol=1e-10, rtol=1e-8)
    leaves = [*(part.values for part in tokens.values()), *fusion.parameters()]
    fast_gradients = torch.autograd.grad(sum((z @ weights).square().sum() for z in fast.values()), leaves)
    slow_gradients = torch.autograd.grad(sum((z @ weights).square().sum() for z in slow.values()), leaves)
    for one, other in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("subset", SUBSETS)
def test_few_tokens_are_equal_to_the_plain_computation(subset, padded, generator):
    fusion, tokens = Fusion(16, heads=4).double(), tokens_of(generator, padded)
    slow = plain(fusion, tokens, subset)
    of_slow = torch.autograd.grad(slow.square().sum(), [*fusion.parameters()])
    with mock.patch.object(Fusion, "first_layer", side_effect=AssertionError("not few")):
        fast = fusion(tokens, [subset, NAMES])[subset]
        with torch.inference_mode():
            without = fusion(tokens, [subset])[subset]
    torch.testing.assert_close(fast, slow, atol=1e-10, rtol=1e-8)
    torch.testing.assert_close(without, slow.detach(), atol=1e-10, rtol=1e-8)
    of_fast = torch.autograd.grad(fast.square().sum(), [*fusion.parameters()])
    torch.testing.assert_close(of_fast, of_slow, atol=1e-10, rtol=1e-8)
    single = {name: part.apply(_single) for name, part in tokens.items()}
    with torch.inference_mode():
        torch.testing.assert_close(
            fusion.float()(single, [subset])[subset], fast.float(), atol=1e-5, rtol=1e-5
        )


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor


def test_equal_to_the_plain_computation_in_single_precision(generator):
    fusion, tokens = Fusion(512, heads=8), {}
    for name, length in zip(NAMES, (36, 36, 50), strict=True):
        tokens[name] = Tokens(torch.randn(8, length, 512, generator=generator))
    for subset, embedding in fusion(tokens, SUBSETS).items():
        torch.testing.assert_close(embedding, plain(fusion, tokens, subset), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", [(4, 7, 1), (4, 17, 1)])
@pytest.mark.parametrize("layers", [1, 2])
def test_padding_is_never_attended(layers, lengths, generator):
    fusion, tokens = Fusion(16, layers, heads=4).double(), tokens_of(generator, padded=True, lengths=lengths)
    before = fusion(tokens, SUBSETS)
    changed = {
        name: Tokens(torch.where(part.padding[..., None], part.values + 100, part.values), part.padding)
        for name, part in tokens.items()
    }
    for subset, embedding in fusion(changed, SUBSETS).items():
        torch.testing.assert_close(embedding, before[subset])


@pytest.mark.parametrize("lengths", [(4, 7, 1), (4, 17, 1)])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_modality_that_is_all_padding_is_as_if_it_were_not_in_the_subset(layers, lengths, generator):
    fusion, tokens = Fusion(16, layers, heads=4).double(), tokens_of(generator, padded=False, lengths=lengths)
    nothing = torch.ones(5, lengths[1], dtype=torch.bool)
    tokens["text"] = Tokens(tokens["text"].values, nothing)
    embedding = fusion(tokens, SUBSETS)
    torch.testing.assert_close(embedding[NAMES], embedding[("image", "table")])
    assert embedding[("text",)].isfinite().all()


def test_large_scores_do_not_overflow(generator):
    fusion = Fusion(16, heads=4)
    with torch.no_grad():
        fusion.layers[0].query.weight.mul_(1e4)
    tokens = tokens_of(generator, padded=True, dtype=torch.float32)
    assert all(z.isfinite().all() for z in fusion(tokens, SUBSETS).values())


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="6 heads, width 16"):
        Fusion(16, heads=6)
