"""FactorCL: what two modalities share and what is unique to each, as separate factors.

Lower bounds on mutual information (InfoNCE) are raised for what a factor should keep, and upper bounds
(NCE-CLUB) are lowered for what it should not. An upper bound is valid for the critic that maximises
InfoNCE, so two players take turns: the critics of the upper bounds catch up, then everything else takes
a step. (Liang et al., NeurIPS 2023.) With s_i and u_i the shared and the unique factor of modality i,
and T a stand-in for the task, it maximises

    I(s_1; s_2) - I(s_1; s_2 | T)  +  I(u_1; T) + I(u_2; T) - I(u_1; u_2) + I(u_1; u_2 | T).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import Parameter

from commlearn.batch import Batch, View
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method, Step, Views, pooled
from commlearn.methods.rows import gather
from commlearn.methods.separate import concatenated
from commlearn.methods.supcon import class_target
from commlearn.models.heads import positive
from commlearn.objectives import club_bound, leave_one_out_bound, nce_bound, near
from commlearn.records import Records

UPPER: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "club": club_bound,  # the paper's choice
    "leave_one_out": leave_one_out_bound,
}

Pair = tuple[Tensor, Tensor]
"""One factor of both modalities, each (records, factor)."""
Condition = tuple[Tensor, Tensor]
"""Each record's condition, (records, features), and the weights of draws given it, (records, records)."""
Scored = dict[str, tuple[Tensor, Tensor, Tensor | None]]
"""By term: both sides that a critic scores, and the weights of draws given the condition, if it has one."""


class PairCritic(nn.Module):
    """Critic that scores every row of one side with every row of the other: f(x, y) = g(x) . h(y).

    With enough outputs, g and h can express any score, and scoring all pairs takes one matrix product.
    """

    def __init__(self, first: int, second: int, hidden: int = 256) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(
                nn.Linear(features, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
            )
            for features in (first, second)
        )
        self.scale = 1 / math.sqrt(hidden)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:  # (N, first), (M, second)
        return self.first(first) @ self.second(second).T * self.scale  # (N, M)


class FactorCL(Method):
    """FactorCL without labels: the factors of augmented versions stand in for the task.

    I(u_i; T) uses the augmented version of modality i, and conditions use those of both modalities.
    Records with a similar condition, weighted by a kernel, serve as draws given a condition. Only
    records that have both modalities are used.

    Args:
        encoders: one for each of the two modalities.
        factors: for each modality, a map to its shared and its unique factor side by side.
        keepers: critics of lower bounds, by term.
        removers: critics of upper bounds, by term.
        upper: computes the upper bound from the scores of all pairs.

    Example:
        >>> import torch
        >>> from commlearn.batch import Modality
        >>> from commlearn.models.encoders import ENCODERS
        >>> encoders = {name: ENCODERS["linear"]((3,), width=8) for name in ("left", "right")}
        >>> view = {name: Modality(torch.ones(4, 3)) for name in encoders}
        >>> method = FactorCL.build(encoders, width=8)
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 512]), torch.Size([4, 256]))
    """

    views = Views(plain=True, augmented=1)
    steps_per_batch = 2
    modality_count = (2, 2)

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        factors: Mapping[str, nn.Module],
        keepers: Mapping[str, nn.Module],
        removers: Mapping[str, nn.Module],
        upper: Callable[[Tensor, Tensor | None], Tensor] = club_bound,
    ) -> None:
        super().__init__(encoders)
        self.factors = nn.ModuleDict(factors)
        self.keepers = nn.ModuleDict(keepers)
        self.removers = nn.ModuleDict(removers)
        self.upper = upper

    @classmethod
    def build(
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        factor: int = 128,
        upper: Literal["club", "leave_one_out"] = "club",
    ) -> FactorCL:
        """Build FactorCL with linear factors and critics that have three layers on each side."""
        return cls(encoders, **parts(encoders, width, factor, condition=2 * factor), upper=UPPER[upper])

    def parameter_groups(self) -> dict[str, list[Parameter]]:
        critics = list(self.removers.parameters())
        ids = {id(parameter) for parameter in critics}
        return {"main": [p for p in self.parameters() if id(p) not in ids], "critics": critics}

    def steps(self, batch: Batch) -> Iterator[Step]:
        scored = self.scored(batch)
        yield self.zero_step("critics") if scored is None else self.critic_step(scored[1])
        yield self.zero_step("main") if scored is None else self.main_step(*scored)  # after the first step

    def scored(self, batch: Batch) -> tuple[Scored, Scored] | None:
        """Return what lower bounds raise and what upper bounds lower, from the records of all ranks.

        None if fewer than two records have both modalities.
        """
        plain, augmented = batch.plain or {}, batch.augmented[0]
        rows = complete_rows(plain, self.modalities)
        if len(rows) < 2:
            return None
        s, u = (choose(pair, rows) for pair in self.factorise(plain))  # plain images may be larger than crops
        s_augmented, u_augmented = (choose(pair, rows) for pair in self.factorise(augmented))
        values = [torch.cat(pair, dim=1).detach() for pair in (s_augmented, u_augmented)]
        return scored_pairs(s, u, u_augmented, *((condition, near(condition)) for condition in values))

    def factorise(self, view: View) -> tuple[Pair, Pair]:
        """Return the shared and the unique factor of both modalities, normalised to one scale."""
        first, second = (
            [F.layer_norm(half, half.shape[1:]) for half in self.factors[name](rows).chunk(2, dim=1)]
            for name, rows in pooled(self, view).items()
        )
        return (first[0], second[0]), (first[1], second[1])

    def critic_step(self, upper: Scored) -> Step:
        """Return the step in which the upper bounds' critics maximise InfoNCE on fixed factors."""
        terms = {
            name: nce_bound(self.removers[name](left.detach(), right.detach()), among)
            for name, (left, right, among) in upper.items()
        }
        return Step(-torch.stack(list(terms.values())).sum(), terms, group="critics")

    def main_step(self, lower: Scored, upper: Scored) -> Step:
        """Return the step of encoders, factors and lower bounds' critics, with fixed upper bounds."""
        scores, raised = {}, {}
        for name, (left, right, among) in lower.items():
            scores[name] = self.keepers[name](left, right)
            raised[name] = nce_bound(scores[name], among)
        lowered = {
            name: self.upper(fixed_critic_scores(self.removers[name], left, right), among)
            for name, (left, right, among) in upper.items()
        }
        loss = torch.stack(list(lowered.values())).sum() - torch.stack(list(raised.values())).sum()
        targets = torch.arange(len(scores["shared"]), device=loss.device)
        accuracy = {name: (part.argmax(dim=1) == targets).float().mean() for name, part in scores.items()}
        return Step(loss, {**raised, **lowered}, accuracy=accuracy)

    def zero_step(self, group: str) -> Step:
        """Return a step with zero gradient for a parameter group, if a batch has too few usable records."""
        zero = 0.0 * torch.stack([parameter.sum() for parameter in self.parameters()]).sum()
        return Step(zero, {"nothing": zero}, group=group)

    def embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        return concatenated(self, view, modalities, self.factors)


class SupervisedFactorCL(FactorCL):
    """FactorCL with labels: a learned vector of the class stands in for the task.

    The records of a class in the batch serve as draws given that class. Records without a label are left
    out.

    Args:
        encoders: one for each of the two modalities.
        classes: a vector for each class.
        target: target whose classes are used; may be empty if the data have one target of classes.
        parts: FactorCL's factors, keepers and removers.
    """

    views = Views(augmented=1, targets=True)

    def __init__(
        self, encoders: Mapping[str, nn.Module], classes: nn.Embedding, target: str = "", **parts: Any
    ) -> None:
        super().__init__(encoders, **parts)
        self.classes = classes
        self.target = target

    @classmethod
    def build(  # type: ignore[override]
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        factor: int = 128,
        target: str = "",
        most_classes: int = 1000,
    ) -> SupervisedFactorCL:
        """Build FactorCL with labels, with room for `most_classes` classes."""
        positive(most_classes, "method.most_classes")
        modules = parts(encoders, width, factor, condition=factor)
        return cls(encoders, nn.Embedding(most_classes, factor), target, **modules)

    def check_records(self, records: Records) -> None:
        self.target = class_target("factorcl-sup", self.target, records)
        count = int(records.classes[self.target].max()) + 1
        if count > self.classes.num_embeddings:
            raise ConfigurationError(
                f"Target '{self.target}' has {count} classes; there is room for "
                f"{self.classes.num_embeddings}. Set method.most_classes to {count}."
            )

    def scored(self, batch: Batch) -> tuple[Scored, Scored] | None:
        (view,) = batch.augmented
        labels = gather(batch.targets[self.target or next(iter(batch.targets))])
        rows = complete_rows(view, self.modalities)
        rows = rows[labels[rows] >= 0]
        if len(rows) < 2:
            return None
        s, u = (choose(pair, rows) for pair in self.factorise(view))
        labels = labels[rows]
        task = self.classes(labels)
        condition = task.detach(), (labels[:, None] == labels).to(task.dtype)
        return scored_pairs(s, u, (task, task), condition, condition)


def parts(encoders: Mapping[str, nn.Module], width: int, factor: int, condition: int) -> dict[str, Any]:
    """Return the maps to factors, and the critics of the lower and of the upper bounds."""
    positive(factor, "method.factor")
    factors = {name: nn.Linear(width, 2 * factor) for name in encoders}
    keepers = {name: PairCritic(factor, factor) for name in ("shared", "unique1", "unique2")}
    keepers["unique_given"] = PairCritic(factor + condition, factor)
    removers = {
        "shared_given": PairCritic(factor + condition, factor),
        "unique_both": PairCritic(factor, factor),
    }
    return {"factors": factors, "keepers": keepers, "removers": removers}


def scored_pairs(
    shared: Pair, unique: Pair, tasks: Pair, shared_condition: Condition, unique_condition: Condition
) -> tuple[Scored, Scored]:
    """Return what lower bounds raise and what upper bounds lower; `tasks` stand in for the task."""
    given, weights = unique_condition
    lower: Scored = {
        "shared": (*shared, None),
        "unique1": (unique[0], tasks[0], None),
        "unique2": (unique[1], tasks[1], None),
        "unique_given": (torch.cat([unique[0], given], dim=1), unique[1], weights),
    }
    given, weights = shared_condition
    upper: Scored = {
        "shared_given": (torch.cat([shared[0], given], dim=1), shared[1], weights),
        "unique_both": (*unique, None),
    }
    return lower, upper


def fixed_critic_scores(critic: nn.Module, left: Tensor, right: Tensor) -> Tensor:
    """Return the critic's scores, without a gradient for the critic."""
    return functional_call(critic, {name: p.detach() for name, p in critic.named_parameters()}, (left, right))


def complete_rows(view: View, modalities: Sequence[str]) -> Tensor:
    """Return the positions, over all ranks, of the records that have all modalities."""
    return gather(torch.stack([view[name].presence for name in modalities]).all(dim=0)).nonzero()[:, 0]


def choose(pair: Pair, rows: Tensor) -> Pair:
    """Return the rows of these records, over all ranks, for both modalities."""
    first, second = (gather(part)[rows] for part in pair)
    return first, second
