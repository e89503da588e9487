"""Mean tokens beside the fused vector: standardised, zero where absent, untouched by padding."""

from __future__ import annotations

import pytest
import torch

from commlearn.data.batch import Batch, Modality
from commlearn.data.records import Spec
from commlearn.methods.comm import CoMM
from commlearn.models.build import build_encoders
from commlearn.models.token_means import TokenMeans
from commlearn.models.tokens import Tokens

SPECS = {"one": Spec("vector", (5,)), "two": Spec("vector", (3,))}
WIDTH = 8


def test_means_follow_what_training_saw_and_absent_records_are_zero():
    draw = torch.Generator().manual_seed(0)
    means = TokenMeans(["a"], WIDTH)
    values = 3 + 2 * torch.randn(400, 2, WIDTH, generator=draw)
    padding = torch.zeros(400, 2, dtype=torch.bool)
    padding[:40] = True
    values[:40] = 1e6  # under padding: nothing may see it
    for _ in range(60):
        means.observe({"a": Tokens(values, padding)})
    out = means.eval()({"a": Tokens(values, padding)})
    assert (out[:40] == 0).all()
    plain = values[40:].double().mean(dim=1)
    wanted = (plain - plain.mean(dim=0)) / plain.std(dim=0)
    torch.testing.assert_close(out[40:].double(), wanted, atol=2e-2, rtol=2e-2)


def test_observing_changes_nothing_outside_training():
    means = TokenMeans(["a"], WIDTH).eval()
    before = {name: value.clone() for name, value in means.state_dict().items()}
    means.observe({"a": Tokens(torch.randn(4, 1, WIDTH))})
    assert all(torch.equal(before[name], value) for name, value in means.state_dict().items())


def build(embedding: str) -> CoMM:
    torch.manual_seed(0)
    return CoMM.build(build_encoders(SPECS, WIDTH, {}), WIDTH, embedding=embedding)


def view(present=None):
    draw = torch.Generator().manual_seed(1)
    return {
        name: Modality(
            torch.randn(6, *spec.shape, generator=draw), present=present if name == "one" else None
        )
        for name, spec in SPECS.items()
    }


def test_the_fused_vector_stays_and_every_subset_has_one_width():
    plain, wide = build("fused").eval(), build("fused+tokens").eval()
    for subset in (None, ["one"], ["two"]):
        embedding = wide.embed(view(), subset)
        assert embedding.shape == (6, 3 * WIDTH)
        torch.testing.assert_close(embedding[:, :WIDTH], plain.embed(view(), subset))
    assert (wide.embed(view(), ["two"])[:, WIDTH : 2 * WIDTH] == 0).all()


def test_a_record_without_a_modality_embeds_as_if_it_was_not_asked_for():
    present = torch.tensor([True, False] * 3)
    wide = build("fused+tokens").eval()
    some, without = wide.embed(view(present)), wide.embed(view(), ["two"])
    torch.testing.assert_close(some[~present], without[~present])
    assert not torch.allclose(some[present], without[present])


@pytest.mark.parametrize("embedding", ["fused", "fused+tokens"])
def test_the_loss_is_the_same_whatever_stands_beside(embedding):
    method = build(embedding)
    loss = next(method.steps(Batch(augmented=(view(), view())))).loss
    reference = next(build("fused").steps(Batch(augmented=(view(), view())))).loss
    assert torch.equal(loss, reference)
