"""The composition of each method's loss, compared with the paper's formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_contract import batch_for, build, specs

from commlearn.batch import merge
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.methods.comm import CoMM
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
    method.self_weight = 0.3
    torch.testing.assert_close(method.combine(step.terms), cross + 0.3 * step.terms["image"])
    with pytest.raises(ConfigurationError, match="method.within: Unknown modality 'imagee', did you mean"):
        METHODS["crossself"].build(build_encoders(specs(2), 16, {}), 16, within=["imagee"])


def test_the_weight_of_self_rises_in_the_first_steps_of_the_training():
    torch.manual_seed(0)
    method = METHODS["crossself"].build(build_encoders(specs(2), 16, {}), 16, self_weight=0.4, self_rise=4)
    batch = batch_for(method, 2)

    def weight(method):
        step = next(method.steps(batch))
        own = step.terms["image"] + step.terms["vector"]
        return ((step.loss - step.terms["image+vector"]) / own).item()

    weights = [weight(method) for _ in range(3)]
    resumed = METHODS["crossself"].build(build_encoders(specs(2), 16, {}), 16, self_weight=0.4, self_rise=4)
    resumed.load_state_dict(method.state_dict())
    resumed.eval()
    assert weight(resumed) == pytest.approx(0.3, abs=1e-5)  # only training counts
    weights += [weight(resumed.train()) for _ in range(2)]
    assert weights == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4], abs=1e-5)


def test_supcon_contrasts_the_full_fusion_by_class():
    method = build("supcon", 3)
    batch = batch_for(method, 3)
    step = next(method.steps(batch))
    full = method.modalities
    fused = method.fusion(method.encode(merge(batch.augmented)), [full])[full]
    expected = supcon(*method.head(fused).chunk(2), batch.targets["label"], 0.07)
    torch.testing.assert_close(step.terms["label"], expected)


def slow_labelled_contrast(first, second, classes, temperature):
    """Compute SupCon of the labelled records by the paper's formula, one pair of views at a time."""
    views = [
        (z, c) for rows in (first, second) for z, c in zip(rows, classes.tolist(), strict=True) if c >= 0
    ]
    unit = [z / z.norm() for z, _ in views]
    total = 0.0
    for i, (_, own) in enumerate(views):
        others = [k for k in range(len(views)) if k != i]
        below = sum(torch.exp(unit[i] @ unit[k] / temperature) for k in others)
        alike = [k for k in others if views[k][1] == own]
        total = total - sum(
            torch.log(torch.exp(unit[i] @ unit[p] / temperature) / below) for p in alike
        ) / len(alike)
    return total / len(views)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_comm_sup_is_comm_and_the_supervised_contrast_of_the_labelled_records(count, gaps):
    method = METHODS["comm-sup"].build(
        build_encoders(specs(count), 16, {}), 16, label_weight=0.3, label_temperature=0.2, temperature=0.4
    )
    method = method.double().eval()  # fixed norms, so that a head treats each record independently
    batch = in_float64(replace(batch_for(method, count, gaps), targets={"label": SOME_LABELS}))
    rows = method.represent(batch)
    step = method.compare(rows)
    comm = CoMM.compare(method, rows)
    first, second = method.label_head(rows.stacked(method.modalities)).chunk(2)
    labelled = slow_labelled_contrast(first, second, SOME_LABELS, 0.2)
    torch.testing.assert_close(step.terms["labels: label"], labelled)
    torch.testing.assert_close(step.loss, comm.loss + 0.3 * 4 / 6 * labelled)  # 4 of 6 records have a label
    assert list(step.terms) == [*comm.terms, "labels: label"]


SOME_LABELS = torch.tensor([0, -1, 1, 0, -1, 1])


def in_float64(batch):
    views = tuple(
        {name: part.with_values(part.values.double()) for name, part in view.items()}
        for view in batch.augmented
    )
    return replace(batch, augmented=views)


def test_unlabelled_records_leave_the_supervised_term_and_its_head_alone():
    method = build("comm-sup", 2).train()
    rows = method.represent(batch_for(method, 2))
    classes = rows.targets["label"].where(torch.arange(6) < 4, -1)
    few = replace(
        rows, vectors={key: value[:4] for key, value in rows.vectors.items()}, targets={"label": classes[:4]}
    )
    terms, moments = [], []
    for given in (few, replace(rows, targets={"label": classes})):
        again = build("comm-sup", 2).train()
        terms.append(again.compare(given).terms["labels: label"])
        moments.append(again.label_head.state_dict())
    torch.testing.assert_close(*terms)
    for key, value in moments[0].items():
        torch.testing.assert_close(moments[1][key], value)


def test_a_batch_without_labels_has_comm_s_loss_and_moves_no_label_head():
    method = build("comm-sup", 2).train()
    before = {key: value.clone() for key, value in method.label_head.state_dict().items()}
    rows = method.represent(batch_for(method, 2))
    step = method.compare(replace(rows, targets={"label": torch.full((6,), -1)}))
    step.loss.backward()
    names = [name for name in step.terms if not name.startswith("labels")]
    torch.testing.assert_close(step.loss, sum(step.terms[name] for name in names) / len(names))
    assert step.terms["labels: label"] == 0
    assert all(parameter.grad is not None for parameter in method.parameters())  # DDP waits for each gradient
    assert not any(parameter.grad.abs().any() for parameter in method.label_head.parameters())
    for key, value in method.label_head.state_dict().items():
        torch.testing.assert_close(value, before[key])


def test_a_single_labelled_record_is_no_trouble():
    method = build("comm-sup", 2).train()
    rows = method.represent(batch_for(method, 2))
    step = method.compare(replace(rows, targets={"label": torch.tensor([-1, -1, 3, -1, -1, -1])}))
    step.loss.backward()
    assert step.loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("label_weight", -1.0, "give 0 or more"),
        ("label_weight", float("nan"), "give 0 or more"),
        ("label_temperature", 0.0, "give more than 0"),
    ],
)
def test_a_weight_and_a_temperature_of_labels_that_cannot_be_are_refused(option, value, message):
    with pytest.raises(ConfigurationError, match=f"method.{option} is .*{message}"):
        METHODS["comm-sup"].build(build_encoders(specs(2), 16, {}), 16, **{option: value})


@pytest.mark.parametrize("name", ["supcon", "comm-sup"])
def test_supcon_names_what_its_labels_lack(name):
    column = VectorColumn(np.zeros((4, 3), np.float32))
    classes, numbers = np.array(["a", "b", None, "a"], dtype=object), np.array([0.5, 1.0, 2.0, 3.0])

    def check(target="", **targets):
        method = METHODS[name].build(build_encoders({"v": column.spec}, 16, {}), 16, target=target)
        method.check_records(Records({"v": column}, targets))
        return method.target

    assert check(kind=classes, age=numbers) == "kind"
    assert check("kind", kind=classes, other=classes) == "kind"
    for message, given in [
        ("the data have no target", {}),
        ("2: one, other. Name one with method.target", {"one": classes, "other": classes}),
        ("age holds numbers or sets.*pandas.qcut", {"age": numbers}),
        ("fewer than two of them in 'kind'", {"kind": np.array(["a", None, "a", "a"], dtype=object)}),
        ("fewer than two of them in 'kind'", {"kind": np.full(4, np.nan)}),
        ("Unknown target 'knd', did you mean 'kind'", {"target": "knd", "kind": classes}),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            check(**given)
