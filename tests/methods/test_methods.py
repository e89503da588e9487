"""What each method's loss is made of, against the paper's formulas."""

from __future__ import annotations

import torch
from test_contract import batch_for, build

from commlearn.objectives import clip_loss, info_nce


def test_comm_is_the_mean_of_one_term_a_modality_and_one_of_all():
    method = build("comm", 3).train()
    batch = batch_for(method, 3)
    step = next(method.steps(batch))
    assert list(step.terms) == ["image", "vector", "other", "image+vector+other"]
    torch.testing.assert_close(step.loss, sum(step.terms.values()) / 4)
    first, second = method.project(method.represent(batch))
    full = ("image", "vector", "other")
    torch.testing.assert_close(step.terms["image+vector+other"], info_nce(first[full], second[full], 0.1))


def test_clip_is_the_mean_over_pairs_with_a_learned_scale():
    method = build("clip", 3)
    batch = batch_for(method, 3)
    step = next(method.steps(batch))
    assert list(step.terms) == ["image+vector", "image+other", "vector+other"]
    torch.testing.assert_close(step.loss, sum(step.terms.values()) / 3)
    projected = [
        method.projectors[n](method.encoders[n](batch.plain[n]).values[:, 0]) for n in ("vector", "other")
    ]
    torch.testing.assert_close(step.terms["vector+other"], clip_loss(*projected, scale=1 / 0.07))


def test_the_scale_of_clip_never_passes_a_hundred():
    method = build("clip", 2)
    with torch.no_grad():
        method.log_scale.fill_(100.0)
    assert next(method.steps(batch_for(method, 2))).loss.isfinite()


def test_crossself_is_the_cross_term_plus_half_of_the_self_terms():
    method = build("crossself", 2)
    step = next(method.steps(batch_for(method, 2)))
    cross, one, other = (step.terms[name] for name in ("image+vector", "image", "vector"))
    torch.testing.assert_close(step.loss, cross + (one + other) / 2)
