"""Summaries of each modality before fusion (mean tokens or textures), to be appended to the fused vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.batch import Subset, all_but_one
from commlearn.models.features.pictures import PATTERNS
from commlearn.models.tokens import Tokens, pool

PACE = 0.02  # weight of the newest batch in the running moments
RIDGE = 0.1  # added to the variances, in units of their mean


class Expectation(nn.Module):
    """Best linear guess of some numbers from others, fitted to recent batches.

    Its moments are running averages, as in a batch norm, and need no gradient. Before the first batch the
    guess is zero.

    Example:
        >>> given = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> line = Expectation(2, 1)
        >>> line.observe(given, given[:, :1] + 3)
        >>> line(torch.zeros(1, 2)).item() > 2.5
        True
    """

    batches: Tensor
    squares: Tensor  # (given + 1, given + 1): mean products of the given numbers and 1
    products: Tensor  # (given + 1, wanted): mean products of the given numbers and 1 with the wanted ones
    weights: Tensor  # (given + 1, wanted): weights of the guess, computed from these moments

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.register_buffer("squares", torch.zeros(given + 1, given + 1))
        self.register_buffer("products", torch.zeros(given + 1, wanted))
        self.register_buffer("weights", torch.zeros(given + 1, wanted))

    @torch.no_grad()
    def observe(self, given: Tensor, wanted: Tensor) -> None:
        """Update the moments with a batch, (rows, given) and (rows, wanted)."""
        with torch.autocast(given.device.type, enabled=False):
            rows = torch.cat([given.float(), torch.ones_like(given[:, :1]).float()], dim=1)
            self.batches += 1
            pace = (1 / self.batches).clamp(min=PACE).float()
            self.squares.lerp_(rows.T @ rows / len(rows), pace)
            self.products.lerp_(rows.T @ wanted.float() / len(rows), pace)
            spread = self.squares.diagonal()[:-1]
            ridge = torch.cat([(RIDGE * spread.mean()).expand_as(spread), spread.new_zeros(1)])
            factor, _ = torch.linalg.cholesky_ex(self.squares + ridge.clamp(min=1e-6).diag())
            self.weights.copy_(torch.cholesky_solve(self.products, factor))

    def forward(self, given: Tensor) -> Tensor:
        """Return the guess, (rows, wanted)."""
        slope, intercept = self.weights[:-1], self.weights[-1]
        return given @ slope.to(given.dtype) + intercept.to(given.dtype)


EACH = 16  # first steps, all of which are observed
EVERY = 4  # later, one step in this many is observed
AT_A_TIME = 4  # single or leave-one-out subsets observed per step, so that cost is linear in the modalities


class TokenMeans(nn.Module):
    """Mean token of each modality, standardised over training records; a guess if the modality is absent.

    A contrast makes the fused vector forget what augmentation changes, but the tokens below it still hold
    it. An absent modality is guessed from the fused vector of the present ones, which describes the same
    record: what modalities share is filled in, and the rest is zero, as for the average record.

    Args:
        modalities: names of the modalities.
        width: width of a token.
        fused: width of a fused vector; that of a token if not given.

    Example:
        >>> means = TokenMeans(["image", "text"], width=4)
        >>> means({"text": Tokens(torch.ones(2, 3, 4))}, fused=torch.ones(2, 4)).shape
        torch.Size([2, 8])
    """

    steps: Tensor

    def __init__(self, modalities: Sequence[str], width: int, fused: int | None = None) -> None:
        super().__init__()
        self.track_running_stats = True
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))  # training steps, observed or not
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(width, affine=False) for name in modalities})
        self.guesses = nn.ModuleDict({name: Expectation(fused or width, width) for name in modalities})

    def chosen(self, tokens: Mapping[str, Tokens]) -> Mapping[str, Tokens]:
        """Return what is averaged: here the tokens themselves."""
        return tokens

    def count_step(self) -> bool:
        """Count a training step; return whether to observe it: all of the first 16, then every fourth."""
        if not (self.training and self.track_running_stats):
            return False
        self.steps += 1
        return bool(self.steps <= EACH or self.steps % EVERY == 0)

    def in_turn(self, subsets: Sequence[Subset]) -> list[Subset]:
        """Return the subsets that this step observes: all if they are few, otherwise the next few in turn."""
        if len(subsets) <= AT_A_TIME:
            return list(subsets)
        step = int(self.steps)
        observations = step if step <= EACH else EACH + (step - EACH) // EVERY
        return [subsets[(AT_A_TIME * observations + offset) % len(subsets)] for offset in range(AT_A_TIME)]

    @torch.no_grad()
    def follow(
        self,
        tokens: Mapping[str, Tokens],
        fused: Mapping[Subset, Tensor],
        fuse: Callable[[list[Subset]], Mapping[Subset, Tensor]],
    ) -> None:
        """Observe a training step, with its records complete and with one modality left out.

        Args:
            tokens: tokens of each modality.
            fused: fused vectors that are already computed.
            fuse: computes the fused vectors of further subsets.
        """
        subsets = self.in_turn(all_but_one(tuple(self.norms)))
        self.observe(tokens, {**fused, **fuse([subset for subset in subsets if subset not in fused])})

    @torch.no_grad()
    def observe(self, tokens: Mapping[str, Tokens], fused: Mapping[Subset, Tensor]) -> None:
        """Update means and deviations, and guesses from fused vectors of others, with training records."""
        if not self.training:
            return
        tokens = self.chosen(tokens)
        present = {name: part.real.any(dim=1) for name, part in tokens.items()}
        for name, norm in self.norms.items():
            means = pool(tokens[name]).float()
            if present[name].sum() < 2:
                continue
            norm(means[present[name]])
            standard, inputs, targets = self._standard(name, means), [], []
            others = [subset for subset in fused if name not in subset]
            singles = self.in_turn([subset for subset in others if len(subset) == 1])
            for subset in [*singles, *(subset for subset in others if len(subset) > 1)]:
                rows = present[name] & torch.stack([present[other] for other in subset]).any(dim=0)
                inputs.append(fused[subset][rows])
                targets.append(standard[rows])
            if sum(map(len, inputs)) > 1:
                self._guess(name).observe(torch.cat(inputs), torch.cat(targets))

    def forward(self, tokens: Mapping[str, Tokens], fused: Tensor) -> Tensor:
        """Return the means or guesses of all modalities side by side, (batch, modalities * width)."""
        parts, tokens = [], self.chosen(tokens)
        for name in self.norms:
            if name not in tokens:
                parts.append(self._guess(name)(fused))
                continue
            means = self._standard(name, pool(tokens[name]))
            padded = tokens[name].padding is not None
            present = tokens[name].real.any(dim=1)[:, None]
            parts.append(torch.where(present, means, self._guess(name)(fused)) if padded else means)
        return torch.cat(parts, dim=1)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        state.setdefault(f"{prefix}steps", torch.zeros((), dtype=torch.long))  # older runs lack it
        super()._load_from_state_dict(state, prefix, *args)

    def _standard(self, name: str, means: Tensor) -> Tensor:
        norm = cast(nn.BatchNorm1d, self.norms[name])
        return F.batch_norm(means, norm.running_mean, norm.running_var)

    def _guess(self, name: str) -> Expectation:
        return cast(Expectation, self.guesses[name])


class TextureMeans(TokenMeans):
    """Texture energies of each modality's pictures in place of their mean tokens.

    A contrast of crops and blurred versions forgets textures, and so, in part, do the tokens below it.
    Energies are measured, not learned, so they lose nothing in training.
    """

    def __init__(self, modalities: Sequence[str], fused: int) -> None:
        super().__init__(modalities, PATTERNS, fused)

    def chosen(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Return the energies as one token; zeros if the tokens hold none, as when only sizes are needed."""
        energies = {}
        for name, part in tokens.items():
            values = part.values.new_zeros(len(part), PATTERNS) if part.textures is None else part.textures
            padding = None if part.padding is None else part.padding.all(dim=1, keepdim=True)
            energies[name] = Tokens(values[:, None], padding, part.present)
        return energies
