"""FactorCL: its two players, the parameters that each one moves, and the records that count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_contract import batch_for, build, specs, view

from commlearn.augmentations import make_batch
from commlearn.batch import Modality
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.models.build import build_encoders
from commlearn.objectives import club_bound, leave_one_out_bound, nce_bound
from commlearn.records import Records, VectorColumn

LOWER, UPPER = ["shared", "unique1", "unique2", "unique_given"], ["shared_given", "unique_both"]
both = pytest.mark.parametrize("name", ["factorcl", "factorcl-sup"])


def gradients(method, step) -> tuple[bool, bool]:
    """Return whether a step moves the critics of upper bounds, and whether it moves other parameters."""
    method.zero_grad()
    step.loss.backward()
    groups = method.parameter_groups()
    return tuple(any(p.grad is not None for p in groups[name]) for name in ("critics", "main"))


@both
def test_each_player_moves_its_own_parameters_alone(name):
    method = build(name, 2)
    players = method.steps(batch_for(method, 2))
    catching_up = next(players)
    assert (catching_up.group, list(catching_up.terms)) == ("critics", UPPER)
    assert gradients(method, catching_up) == (True, False)
    advancing = next(players)
    assert (advancing.group, list(advancing.terms)) == ("main", LOWER + UPPER)
    assert gradients(method, advancing) == (False, True)


@both
def test_losses_are_the_bounds_of_the_papers_sum(name):
    method = build(name, 2)
    batch = batch_for(method, 2)
    raised, lowered = method.scored(batch)
    first, second = method.critic_step(lowered), method.main_step(raised, lowered)
    lower = {
        key: nce_bound(method.keepers[key](left, right), among)
        for key, (left, right, among) in raised.items()
    }
    upper = {
        key: club_bound(method.removers[key](left, right), among)
        for key, (left, right, among) in lowered.items()
    }
    torch.testing.assert_close(second.terms, {**lower, **upper})
    torch.testing.assert_close(second.loss, sum(upper.values()) - sum(lower.values()))
    learned = [nce_bound(method.removers[key](a, b), among) for key, (a, b, among) in lowered.items()]
    torch.testing.assert_close(first.loss, -sum(learned))


def test_the_second_player_sees_what_the_first_one_did():
    method = build("factorcl", 2)
    players = method.steps(batch_for(method, 2))
    next(players)
    with torch.no_grad():
        for parameter in method.removers.parameters():
            parameter.zero_()
    assert next(players).terms["unique_both"].item() == 0


@both
def test_only_records_with_both_modalities_count(name):
    method = build(name, 2).eval()
    here = view(2, gaps=True)
    changed = here["vector"].values.clone()
    changed[0] += 5.0  # its image is missing
    targets = {"label": torch.arange(6) % 2} if method.views.targets else {}
    losses = []
    for values in (here["vector"].values, changed):
        given = {**here, "vector": here["vector"].with_values(values)}
        needed = method.views
        batch = make_batch(given, targets, {}, torch.Generator(), needed.plain, needed.augmented)
        losses.append([step.loss.item() for step in method.steps(batch)])
    assert losses[0] == losses[1]


@both
def test_a_batch_without_two_complete_records_changes_nothing(name):
    method = build(name, 2)
    alone = torch.tensor([True, False, False])
    parts = {
        key: Modality(torch.rand(3, *spec.shape), present=alone if key == "image" else None)
        for key, spec in specs(2).items()
    }
    batch = make_batch(parts, {"label": torch.zeros(3, dtype=torch.long)}, {}, torch.Generator(), True, 1)
    for step in method.steps(batch):
        step.loss.backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in method.parameters())


def test_records_without_a_label_are_left_out():
    method = build("factorcl-sup", 2)
    batch = batch_for(method, 2)
    batch.targets["label"][:2] = -1
    raised, _ = method.scored(batch)
    assert len(raised["shared"][0]) == 4


def test_more_classes_than_there_is_room_for_are_named():
    column = VectorColumn(np.zeros((5, 3), np.float32))
    encoders = build_encoders({"a": column.spec, "b": column.spec}, 16, {})
    method = METHODS["factorcl-sup"].build(encoders, 16, most_classes=3)
    with pytest.raises(ConfigurationError, match="5 classes; there is room for 3.*most_classes to 5"):
        method.check_records(Records({"a": column, "b": column}, {"kind": np.arange(5)}))


def test_the_upper_bound_is_a_part():
    torch.manual_seed(0)
    tighter = METHODS["factorcl"].build(build_encoders(specs(2), 16, {}), 16, upper="leave_one_out")
    batch = batch_for(tighter, 2)
    raised, lowered = tighter.scored(batch)
    left, right, _ = lowered["unique_both"]
    expected = leave_one_out_bound(tighter.removers["unique_both"](left, right))
    torch.testing.assert_close(tighter.main_step(raised, lowered).terms["unique_both"], expected)
