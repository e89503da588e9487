"""Compare the fusion, at the shape of MM-IMDb, with n+1 full passes.

    python benchmarks/fusion.py [--batch 16]

There are 50 image tokens and 77 text tokens of width 768, and 8 heads. Forward and backward passes of all
three subsets are timed, including gradients of the tokens. One layer is compared with full passes; two layers
of class attention are compared with two of a transformer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from machine import Machine, Row, measure, operations, seconds, table
from training_step import full_fusion

from commlearn.models.fusion import ClassAttentionFusion, Fusion
from commlearn.models.tokens import Tokens

SUBSETS = [("image",), ("text",), ("image", "text")]


def tables(machine: Machine, batch: int = 64, rounds: int = 1) -> list[str]:
    torch.manual_seed(0)
    fusion, twice, deep = Fusion(768), ClassAttentionFusion(768, layers=2), Fusion(768, layers=2)
    padding = torch.arange(77) >= torch.randint(20, 78, (batch, 1))
    tokens = {
        "image": Tokens(torch.randn(batch, 50, 768, requires_grad=True)),
        "text": Tokens(torch.randn(batch, 77, 768, requires_grad=True), padding),
    }

    def plain() -> torch.Tensor:
        return torch.stack([full_fusion(fusion, tokens, subset) for subset in SUBSETS])

    def ours(fusion: Fusion = fusion) -> torch.Tensor:
        return torch.stack(list(fusion(tokens, SUBSETS).values()))

    def step(made: Callable[[], torch.Tensor]) -> Callable[[], None]:
        return lambda: made().square().sum().backward()

    def row(
        what: str, mine: Callable[[], torch.Tensor], theirs: Callable[[], torch.Tensor], named: str
    ) -> Row:
        took = seconds(step(mine), rounds + 2)
        other = seconds(step(theirs), rounds, warm=False)
        note = f"{named} {1000 * other:.4g} ms, {other / took:.1f} times as long"
        return Row(f"batch {batch}, 50 + 77 tokens, {what}", took, operations(step(mine)), note=note)

    with torch.no_grad():
        difference = (plain() - ours()).abs().max().item()
    full = f"{len(SUBSETS)} full passes (outputs differ by {difference:.0e})"
    rows = [
        row("one layer", ours, plain, full),
        row(
            "two layers of class attention",
            partial(ours, twice),
            partial(ours, deep),
            "two layers of a transformer",
        ),
    ]
    return [table("The fusion alone, width 768", rows, machine)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    print("\n".join(tables(measure(), parser.parse_args().batch)))


if __name__ == "__main__":
    main()
