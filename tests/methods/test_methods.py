"""What each method's loss is made of, against the paper's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_contract import batch_for, build, specs

from commlearn.batch import merge
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.models.build import build_encoders
from commlearn.models.tokens import pool
from commlearn.objectives import clip_loss, info_nce, supcon
from commlearn.records import Records, VectorColumn


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


def test_clip_embeds_its_encoders_outputs_unless_projections_are_chosen():
    made = {}
    for chosen in ("encoders", "projections"):
        torch.manual_seed(0)
        made[chosen] = METHODS["clip"].build(build_encoders(specs(2), 16, {}), 16, embedding=chosen).eval()
    here = batch_for(made["encoders"], 2).plain
    outputs = [pool(made["encoders"].encoders[name](here[name])) for name in specs(2)]
    assert torch.equal(build("clip", 2).eval().embed(here), torch.cat(outputs, dim=1))
    assert torch.equal(made["encoders"].embed(here), torch.cat(outputs, dim=1))
    projected = [
        made["projections"].projectors[name](row) for name, row in zip(specs(2), outputs, strict=True)
    ]
    torch.testing.assert_close(made["projections"].embed(here), torch.cat(projected, dim=1))


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


def test_cmc_is_the_mean_over_pairs_of_linear_projections_of_one_view():
    method = build("cmc", 3)
    batch = batch_for(method, 3)
    step = next(method.steps(batch))
    assert list(step.terms) == ["image+vector", "image+other", "vector+other"]
    torch.testing.assert_close(step.loss, sum(step.terms.values()) / 3)
    (view,) = batch.augmented
    projected = [method.heads[n](method.encoders[n](view[n]).values[:, 0]) for n in ("vector", "other")]
    torch.testing.assert_close(step.terms["vector+other"], info_nce(*projected, 0.1))


def test_simclr_has_one_term_a_modality_and_never_mixes_two():
    method = build("simclr", 3)
    step = next(method.steps(batch_for(method, 3)))
    assert list(step.terms) == ["image", "vector", "other"]
    torch.testing.assert_close(step.loss, sum(step.terms.values()) / 3)
    step.terms["vector"].backward()
    assert all(p.grad is None for p in method.encoders["other"].parameters())


def test_crossself_within_some_modalities_only():
    method = METHODS["crossself"].build(build_encoders(specs(3), 16, {}), 16, within=["image"])
    step = next(method.steps(batch_for(method, 3)))
    assert list(step.terms) == ["image+vector", "image+other", "vector+other", "image"]
    cross = sum(term for name, term in step.terms.items() if "+" in name) / 3
    torch.testing.assert_close(step.loss, cross + step.terms["image"] / 2)
    with pytest.raises(ConfigurationError, match="method.within: Unknown modality 'imagee', did you mean"):
        METHODS["crossself"].build(build_encoders(specs(2), 16, {}), 16, within=["imagee"])


def test_supcon_contrasts_the_full_fusion_by_class():
    method = build("supcon", 3)
    batch = batch_for(method, 3)
    step = next(method.steps(batch))
    full = method.modalities
    fused = method.fusion(method.encode(merge(batch.augmented)), [full])[full]
    expected = supcon(*method.head(fused).chunk(2), batch.targets["label"], 0.07)
    torch.testing.assert_close(step.terms["label"], expected)


def test_supcon_names_what_its_labels_lack():
    column = VectorColumn(np.zeros((4, 3), np.float32))
    classes, numbers = np.array(["a", "b", None, "a"], dtype=object), np.array([0.5, 1.0, 2.0, 3.0])

    def check(target="", **targets):
        method = METHODS["supcon"].build(build_encoders({"v": column.spec}, 16, {}), 16, target=target)
        method.check_records(Records({"v": column}, targets))
        return method.target

    assert check(kind=classes, age=numbers) == "kind"
    assert check("kind", kind=classes, other=classes) == "kind"
    for message, given in [
        ("the data have no target", {}),
        ("2: one, other. Name one with --method.target", {"one": classes, "other": classes}),
        ("age holds numbers or sets", {"age": numbers}),
        ("Unknown target 'knd', did you mean 'kind'", {"target": "knd", "kind": classes}),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            check(**given)
