"""Check FactorCL's bounds with learned critics on Gaussians whose mutual information is known.

    python benchmarks/bounds.py [--steps 2000] [--batch 512]

Two vectors of 4 dimensions correlate coordinate by coordinate. A critic maximises InfoNCE on fresh
samples. The three bounds are then computed on samples that it never saw. InfoNCE tends to the information
I. NCE-CLUB with the best critic tends to I plus the divergence of the product of the marginals from the
joint distribution, 4 r^2 / (1 - r^2) in total: an upper bound that is close to I if I is small. The
leave-one-out bound is an upper bound that tends to I. The conditional rows (two classes) add a class that
shifts both vectors; pairs are then compared only within a class.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from torch import Tensor

from commlearn.methods.factorcl import PairCritic
from commlearn.objectives import club_bound, leave_one_out_bound, nce_bound

DIM = 4


def draw(samples: int, correlation: float, classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draw both vectors and, if there are classes, a mask of the pairs of records that share a class."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, samples, DIM, generator=generator)
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    if classes < 2:
        return x, y, None
    label = torch.randint(0, classes, (samples,), generator=generator)
    code = torch.nn.functional.one_hot(label, classes).float()
    shift = 2.0 * label[:, None]
    return torch.cat([x + shift, code], dim=1), y + shift, (label[:, None] == label).float()


def learn(correlation: float, classes: int, steps: int, batch: int) -> PairCritic:
    torch.manual_seed(0)
    critic = PairCritic(DIM + (classes if classes > 1 else 0), DIM, 64)
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        x, y, among = draw(batch, correlation, classes, step)
        loss = -nce_bound(critic(x, y), among)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return critic


@torch.no_grad()
def measure(
    critic: PairCritic, correlation: float, classes: int, rounds: int = 10
) -> list[tuple[float, float]]:
    """Return mean and standard error of the three bounds over rounds of 2 000 held-out samples."""
    values = []
    for seed in range(rounds):
        x, y, among = draw(2000, correlation, classes, 10**6 + seed)
        scores = critic(x, y)
        bounds = (nce_bound, club_bound, leave_one_out_bound)
        values.append(torch.stack([bound(scores, among) for bound in bounds]))
    estimates = torch.stack(values)  # (rounds, 3)
    errors = estimates.std(dim=0) / math.sqrt(rounds)
    return list(zip(estimates.mean(dim=0).tolist(), errors.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=512)
    options = parser.parse_args()
    bounds = ["InfoNCE", "leave-one-out", "NCE-CLUB", "NCE-CLUB's limit"]
    columns = ["classes", "correlation", "I, nats", *bounds, "seconds"]
    print(f"| {' | '.join(columns)} |")
    print(f"| {' | '.join('---' for _ in columns)} |")
    for classes, correlation in [(1, 0.0), (1, 0.1), (1, 0.2), (1, 0.4), (1, 0.6), (2, 0.1), (2, 0.4)]:
        start = time.perf_counter()
        critic = learn(correlation, classes, options.steps, options.batch)
        lower, upper, tighter = measure(critic, correlation, classes)
        exact = -DIM / 2 * math.log(1 - correlation**2)
        limit = DIM * correlation**2 / (1 - correlation**2)
        print(
            f"| {classes} | {correlation} | {exact:.4f} | {lower[0]:.4f} ± {lower[1]:.4f} | "
            f"{tighter[0]:.4f} ± {tighter[1]:.4f} | "
            f"{upper[0]:.4f} ± {upper[1]:.4f} | {limit:.4f} | {time.perf_counter() - start:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
