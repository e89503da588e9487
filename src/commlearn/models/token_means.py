"""What each modality says before fusion, to be appended to the fused vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.batch import Subset, all_but_one
from commlearn.models.textures import PATTERNS
from commlearn.models.tokens import Tokens, pool

PACE = 0.02  # weight of the newest batch in the running moments
RIDGE = 0.1  # added to the variances, in units of their mean


class Expectation(nn.Module):
    """The best linear guess of some numbers from others, over the batches seen last.

    Moments run along with training, as those of a batch norm do; no gradient is needed. Before the first
    batch the guess is zero. As in a batch norm, `track_running_stats` says whether the moments move.

    Example:
        >>> given = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> line = Expectation(2, 1)
        >>> line.observe(given, given[:, :1] + 3)
        >>> line(torch.zeros(1, 2)).item() > 2.5
        True
    """

    batches: Tensor
    squares: Tensor  # (given + 1, given + 1): mean products of the given numbers and 1
    products: Tensor  # (given + 1, wanted): theirs with the wanted ones
    weights: Tensor  # (given + 1, wanted): what these moments make of a guess

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.track_running_stats = True
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.register_buffer("squares", torch.zeros(given + 1, given + 1))
        self.register_buffer("products", torch.zeros(given + 1, wanted))
        self.register_buffer("weights", torch.zeros(given + 1, wanted))

    @torch.no_grad()
    def observe(self, given: Tensor, wanted: Tensor) -> None:
        """Take a batch into the moments, (rows, given) and (rows, wanted)."""
        if not self.track_running_stats:
            return
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
        """The guess, (rows, wanted)."""
        slope, start = self.weights[:-1], self.weights[-1]
        return given @ slope.to(given.dtype) + start.to(given.dtype)


EACH = 16  # steps at the beginning, each of which is observed
EVERY = 4  # later, one step in this many is observed
AT_A_TIME = 4  # subsets less a modality that one step looks at, so that its cost is linear in the modalities


class TokenMeans(nn.Module):
    """The mean token of each modality, standardised over training records; a guess where there is none.

    A contrast makes the fused vector forget what augmentation changes; the tokens below it still hold
    it. A modality that is absent is guessed from the fused vector of those that are there, which points
    to the same record: what modalities share is filled in, the rest is zero, the average record.

    Args:
        modalities: their names.
        width: of a token.
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
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))  # of training, looked at or not
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(width, affine=False) for name in modalities})
        self.guesses = nn.ModuleDict({name: Expectation(fused or width, width) for name in modalities})

    def chosen(self, tokens: Mapping[str, Tokens]) -> Mapping[str, Tokens]:
        """What means are taken of: here the tokens themselves."""
        return tokens

    def count_step(self) -> bool:
        """Count a step of training; whether it is to be observed: each of the first, then every fourth."""
        if not (self.training and self.track_running_stats):
            return False
        self.steps += 1
        return bool(self.steps <= EACH or self.steps % EVERY == 0)

    def in_turn(self, subsets: Sequence[Subset]) -> list[Subset]:
        """Those of the subsets that this step looks at: all of a few, of many the next ones in turn."""
        if len(subsets) <= AT_A_TIME:
            return list(subsets)
        step = int(self.steps)
        looks = step if step <= EACH else EACH + (step - EACH) // EVERY
        return [subsets[(AT_A_TIME * looks + place) % len(subsets)] for place in range(AT_A_TIME)]

    @torch.no_grad()
    def follow(
        self,
        tokens: Mapping[str, Tokens],
        fused: Mapping[Subset, Tensor],
        fuse: Callable[[list[Subset]], Mapping[Subset, Tensor]],
    ) -> None:
        """Observe a step of training, its records whole and less a modality.

        Args:
            tokens: of each modality.
            fused: the vectors that there are.
            fuse: makes those of further subsets.
        """
        rests = self.in_turn(all_but_one(tuple(self.norms)))
        self.observe(tokens, {**fused, **fuse([subset for subset in rests if subset not in fused])})

    @torch.no_grad()
    def observe(self, tokens: Mapping[str, Tokens], fused: Mapping[Subset, Tensor]) -> None:
        """Follow training records: mean and deviation, and what fused vectors of the others let expect."""
        if not self.training:
            return
        tokens = self.chosen(tokens)
        there = {name: _there(part) for name, part in tokens.items()}
        for name, norm in self.norms.items():
            means = pool(tokens[name]).float()
            if there[name].sum() < 2:
                continue
            norm(means[there[name]])
            standard, given, wanted = self._standard(name, means), [], []
            others = [subset for subset in fused if name not in subset]
            alone = self.in_turn([subset for subset in others if len(subset) == 1])
            for subset in [*alone, *(subset for subset in others if len(subset) > 1)]:
                rows = there[name] & torch.stack([there[other] for other in subset]).any(dim=0)
                given.append(fused[subset][rows])
                wanted.append(standard[rows])
            if sum(map(len, given)) > 1:
                self._guess(name).observe(torch.cat(given), torch.cat(wanted))

    def forward(self, tokens: Mapping[str, Tokens], fused: Tensor) -> Tensor:
        """Side by side for all modalities, (batch, modalities * width)."""
        parts, tokens = [], self.chosen(tokens)
        for name in self.norms:
            if name not in tokens:
                parts.append(self._guess(name)(fused))
                continue
            means = self._standard(name, pool(tokens[name]))
            absent = tokens[name].padding is not None
            present = _there(tokens[name])[:, None]
            parts.append(torch.where(present, means, self._guess(name)(fused)) if absent else means)
        return torch.cat(parts, dim=1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        state_dict.setdefault(f"{prefix}steps", torch.zeros((), dtype=torch.long))  # of older runs
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _standard(self, name: str, means: Tensor) -> Tensor:
        norm = cast(nn.BatchNorm1d, self.norms[name])
        return F.batch_norm(means, norm.running_mean, norm.running_var)

    def _guess(self, name: str) -> Expectation:
        return cast(Expectation, self.guesses[name])


class TextureMeans(TokenMeans):
    """The texture energies of each modality's pictures in place of their mean tokens.

    A contrast of crops and blurred versions forgets textures, and so do the tokens below it, in part. What
    is measured and not learned forgets nothing.
    """

    def __init__(self, modalities: Sequence[str], fused: int) -> None:
        super().__init__(modalities, PATTERNS, fused)

    def chosen(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        return {name: _textures(part) for name, part in tokens.items()}


def _textures(tokens: Tokens) -> Tokens:
    """The energies as one token; zeros where tokens were made without them, to ask for sizes."""
    energies = tokens.textures
    if energies is None:
        energies = tokens.values.new_zeros(len(tokens), PATTERNS)
    padding = None if tokens.padding is None else tokens.padding.all(dim=1, keepdim=True)
    return Tokens(energies[:, None], padding, tokens.present)


def _there(tokens: Tokens) -> Tensor:
    """Which records have a token at all, (batch,) bool."""
    if tokens.padding is None:
        return torch.ones(tokens.values.shape[0], dtype=torch.bool, device=tokens.values.device)
    return ~tokens.padding.all(dim=1)
