"""Program of every rank of a test: loss and gradients of every method, for the whole batch or in parts.

python rank_program.py OUT STRATEGY [METHOD ...]; a launcher sets the variables that determine the rank.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from commlearn.batch import Batch, Modality, Spec, View
from commlearn.config.configuration import Training
from commlearn.methods import METHODS
from commlearn.methods.base import Method
from commlearn.models.build import build_encoders
from commlearn.seeds import SeededDraws
from commlearn.training.batches import cached_loss, split
from commlearn.training.descent import Player, losses
from commlearn.training.sharding import gathered, strategy_of

SPECS = {"left": Spec("vector", (5,)), "middle": Spec("vector", (4,)), "right": Spec("vector", (6,))}
RECORDS = 7  # so that ranks have unequal shares
LACKING = 2  # the record that lacks a modality: one rank has it, the others see no gap
OPTIONS = {
    "infmasking": {"share": (0.0, 0.0)},  # each rank would draw its own masks
    "comm-crossself": {"embedding": "fused"},  # each rank keeps its own moments of tokens, in float32
    "coral": {"share": 0.0},
    "comm sigreg": {"contrast": "sigreg"},
    "comm vicreg": {"contrast": "vicreg"},
}
CHOICES = [*METHODS, *(name for name in OPTIONS if " " in name)]  # methods, some also with other objectives


def build(name: str, modalities: int = 2, dropout: float = 0.0) -> Method:
    """Return a method in float64, always with the same weights."""
    torch.manual_seed(0)
    specs = dict(list(SPECS.items())[:modalities])
    method = METHODS[name.split()[0]].build(build_encoders(specs, 8, {}), 8, **OPTIONS.get(name, {}))
    for encoder in method.encoders.values() if dropout else ():
        encoder.adapter = torch.nn.Sequential(encoder.adapter, torch.nn.Dropout(dropout))
    return method.double().train()


def batch(method: Method, rows: slice = slice(None), gaps: bool = False, modalities: int = 2) -> Batch:
    """Return rows of a fixed batch; with gaps, one record lacks a modality and all belong to groups."""
    generator = torch.Generator().manual_seed(1)
    versions = [
        {
            name: torch.randn(RECORDS, *spec.shape, generator=generator, dtype=torch.float64)
            for name, spec in list(SPECS.items())[:modalities]
        }
        for _ in range(1 + method.views.augmented)
    ]
    present = torch.arange(RECORDS) != LACKING if gaps else None

    def view(version: dict[str, torch.Tensor]) -> View:
        mask = None if present is None else present[rows]
        return {
            name: Modality(values[rows], present=mask if name == "left" else None)
            for name, values in version.items()
        }

    targets = {"label": (torch.arange(RECORDS) % 2)[rows]} if method.views.targets else {}
    plain = view(versions[0]) if method.views.plain else None
    groups = (torch.arange(RECORDS) // 2)[rows] if gaps else None
    return Batch(plain, tuple(view(version) for version in versions[1:]), targets, groups=groups)


def gradients(fabric: Fabric, name: str, gaps: bool, parts: int) -> dict[str, torch.Tensor]:
    """Return the terms and gradients of one method's losses by name, and its running statistics."""
    method = build(name)
    player = fabric.setup(Player(method))
    share = range(fabric.global_rank, RECORDS, fabric.world_size)
    mine = torch.tensor(list(share))
    whole = batch(method, gaps=gaps)

    def some(rows: slice) -> Batch:
        def take(view: View) -> View:
            some = {key: part.apply(lambda values: values[mine[rows]]) for key, part in view.items()}
            if LACKING in share:
                return some
            return {
                key: replace(part, present=None) for key, part in some.items()
            }  # as for rows of a streamed table without gaps

        return Batch(
            None if whole.plain is None else take(whole.plain),
            tuple(take(view) for view in whole.augmented),
            {key: values[mine[rows]] for key, values in whole.targets.items()},
            groups=None if whole.groups is None else whole.groups[mine[rows]],
        )

    gradients_by_name = {}
    made = (
        [cached_loss(fabric, player, method, split(some, len(mine), parts), lambda number: number)]
        if parts
        else losses(fabric, player, method, some(slice(None)), SeededDraws(0))
    )
    for number, descent in enumerate(made):
        method.zero_grad()
        descent.backward()
        groups = method.parameter_groups()
        chosen = {id(parameter) for parameter in groups[descent.step.group]}
        gradients_by_name |= {f"{number} {key}": term.detach() for key, term in descent.step.terms.items()}
        for key, parameter in method.named_parameters():
            if id(parameter) in chosen:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients_by_name[f"{number} {key}"] = gathered(gradient.detach().clone())
    return gradients_by_name | {key: each.clone() for key, each in method.named_buffers() if "running" in key}


def cases(methods: list[str]) -> list[tuple[str, bool, int]]:
    """Return cases: method, whether a record lacks a modality, and the size of parts (0: no parts)."""
    made = []
    for name in methods:
        in_parts = METHODS[name.split()[0]].steps is Method.steps
        made += [(name, gaps, parts) for gaps in (False, True) for parts in ((0, 2) if in_parts else (0,))]
    return made


def main() -> None:
    torch.set_num_threads(1)
    out, strategy, *methods = sys.argv[1:]
    devices = int(os.environ["LOCAL_WORLD_SIZE"])
    chosen = strategy_of(Training(strategy=strategy, devices=devices))
    fabric = Fabric(accelerator="cpu", devices=devices, strategy=chosen)
    fabric.launch()
    gradients_by_case = {str(case): gradients(fabric, *case) for case in cases(methods)}
    torch.save(gradients_by_case, Path(out) / f"{fabric.world_size}-{fabric.global_rank}.pt")


if __name__ == "__main__":
    main()
