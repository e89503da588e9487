"""The fusion alone at the shape of MM-IMDb, against n+1 full passes.

    python benchmarks/fusion.py [--batch 16]

50 image tokens and 77 text tokens of width 768, one layer, 8 heads; forward and backward of all three
subsets, into the tokens too.
"""

from __future__ import annotations

import argparse

import torch
from machine import Machine, Row, measure, operations, seconds, table
from training_step import full_fusion

from commlearn.models.fusion import Fusion
from commlearn.models.tokens import Tokens

SUBSETS = [("image",), ("text",), ("image", "text")]


def tables(machine: Machine, batch: int = 64, rounds: int = 1) -> list[str]:
    torch.manual_seed(0)
    fusion = Fusion(768)
    padding = torch.arange(77) >= torch.randint(20, 78, (batch, 1))
    tokens = {
        "image": Tokens(torch.randn(batch, 50, 768, requires_grad=True)),
        "text": Tokens(torch.randn(batch, 77, 768, requires_grad=True), padding),
    }

    def plain() -> torch.Tensor:
        return torch.stack([full_fusion(fusion, tokens, subset) for subset in SUBSETS])

    def ours() -> torch.Tensor:
        return torch.stack(list(fusion(tokens, SUBSETS).values()))

    with torch.no_grad():
        difference = (plain() - ours()).abs().max().item()
    count = operations(lambda: ours().square().sum().backward())
    mine = seconds(lambda: ours().square().sum().backward(), rounds + 2)
    theirs = seconds(lambda: plain().square().sum().backward(), rounds, warm=False)
    note = f"{len(SUBSETS)} full passes {1000 * theirs:.4g} ms: {theirs / mine:.1f} times ours"
    rows = [
        Row(f"batch {batch}, 50 + 77 tokens", mine, count, note=f"{note}; outputs differ by {difference:.0e}")
    ]
    return [table("The fusion alone, width 768", rows, machine)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    print("\n".join(tables(measure(), parser.parse_args().batch)))


if __name__ == "__main__":
    main()
