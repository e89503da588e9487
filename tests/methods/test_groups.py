"""Rows of one group are not each other's negatives, in any method with a contrast."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_contract import RECORDS, batch_for, build

from commlearn.methods.rows import joined
from commlearn.objectives import clip_loss, comm_terms, info_nce

CONTRASTS = ("comm", "comm-crossself", "hril", "infmasking", "coral", "clip", "cmc", "crossself", "simclr")
contrasts = pytest.mark.parametrize("name", CONTRASTS)
with_gaps = pytest.mark.parametrize("gaps", [False, True])
PAIRS = torch.arange(RECORDS) // 2
NO_CONTRAST = ("align", "synergy", "orthogonal")
WITHOUT_NEGATIVES = ("masked", *NO_CONTRAST)  # terms that are not zero if all rows are in one group


def step_of(name, groups, gaps):
    torch.manual_seed(2)  # masks are random
    method = build(name, 3)
    return next(method.steps(replace(batch_for(method, 3, gaps), groups=groups)))


@contrasts
@with_gaps
def test_groups_of_one_record_each_change_nothing(name, gaps):
    alone, without = (step_of(name, groups, gaps) for groups in (torch.arange(RECORDS), None))
    assert torch.equal(alone.loss, without.loss)
    assert alone.terms == without.terms


@contrasts
@with_gaps
def test_a_batch_of_one_group_has_no_negatives(name, gaps):
    step = step_of(name, torch.full((RECORDS,), 7), gaps)
    for term in (term for key, term in step.terms.items() if key not in WITHOUT_NEGATIVES):
        torch.testing.assert_close(term, torch.zeros(()), atol=1e-5, rtol=0)
    step.loss.backward()


@contrasts
@with_gaps
def test_the_accuracies_stay_as_they_are(name, gaps):
    pairs, without = (step_of(name, groups, gaps) for groups in (PAIRS, None))
    assert pairs.accuracy == without.accuracy
    assert all(pairs.terms[key] < without.terms[key] for key in pairs.terms if key not in NO_CONTRAST)


def test_terms_are_those_of_the_objectives_with_groups():
    groups, full = PAIRS, ("image", "vector", "other")
    method = build("comm", 3)
    rows = method.represent(replace(batch_for(method, 3, gaps=True), groups=groups))
    first, second = method.project(rows)
    expected = comm_terms(first, second, full, 0.1, {("image",): rows.present["image"]}, groups)
    terms = method.compare(rows).terms
    torch.testing.assert_close(terms["image"], expected["image",])
    torch.testing.assert_close(terms["image+vector+other"], expected[full])

    method = build("cmc", 3)
    rows = method.represent(replace(batch_for(method, 3, gaps=True), groups=groups))
    (view,), both = method.project(rows), rows.presence_mask(("image", "vector"))
    expected = info_nce(view["image"][both], view["vector"][both], 0.1, groups[both])
    torch.testing.assert_close(method.compare(rows).terms["image+vector"], expected)

    method = build("clip", 3)
    rows = method.represent(replace(batch_for(method, 3, gaps=True), groups=groups))
    one, other = (method.projectors[n](rows.stacked((n,)))[both] for n in ("image", "vector"))
    expected = clip_loss(one, other, method.log_scale.exp(), groups[both])
    torch.testing.assert_close(method.compare(rows).terms["image+vector"], expected)


def test_groups_go_with_their_rows():
    method = build("comm", 2)
    rows = method.represent(replace(batch_for(method, 2), groups=PAIRS))
    assert torch.equal(rows.groups, PAIRS)
    assert torch.equal(rows.gathered().groups, PAIRS)
    assert torch.equal(joined([rows, rows]).groups, torch.cat([PAIRS, PAIRS]))
    assert torch.equal(rows.apply(lambda tensor: tensor[:2]).groups, PAIRS[:2])
    assert method.represent(batch_for(method, 2)).groups is None
