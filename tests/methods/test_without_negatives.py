"""CoMM's terms without negatives: their values, and directions that follow the training steps."""

from __future__ import annotations

import pytest
import torch
from test_contract import RECORDS, batch_for, specs

from commlearn.errors import ConfigurationError
from commlearn.methods.comm import CoMM
from commlearn.models.build import build_encoders
from commlearn.objectives import sigreg, vicreg


def comm(contrast, **options):
    torch.manual_seed(0)
    return CoMM.build(build_encoders(specs(3), 16, {}), 16, contrast=contrast, **options)


def slow(contrast, directions, one, other):
    if contrast == "vicreg":
        return vicreg(one, other)
    middle = (one + other) / 2
    apart = ((one - middle).square().mean() + (other - middle).square().mean()) / 2
    return 0.95 * apart + 0.05 * sigreg(one, directions)


@pytest.mark.parametrize("contrast", ["sigreg", "vicreg"])
@pytest.mark.parametrize("gaps", [False, True])
def test_a_term_is_that_of_the_subset_and_the_full_fusion_of_the_other_view(contrast, gaps):
    method = comm(contrast)
    rows = method.represent(batch_for(method, 3, gaps))
    first, second = method.project(rows)
    directions = method.objective.directions(256) if contrast == "sigreg" else None
    step, full = method.compare(rows), method.modalities
    for subset in method.subsets:
        mask = None if subset == full else rows.presence_mask(subset)
        some = torch.ones(RECORDS, dtype=torch.bool) if mask is None else mask
        halves = [
            slow(contrast, directions, one[subset][some], other[full][some])
            for one, other in ((first, second), (second, first))
        ]
        torch.testing.assert_close(step.terms["+".join(subset)], sum(halves) / 2)
    torch.testing.assert_close(step.loss, sum(step.terms.values()) / 4)
    step.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


@pytest.mark.parametrize("contrast", ["sigreg", "vicreg"])
def test_a_modality_of_too_few_has_a_term_of_zero(contrast):
    method = comm(contrast)
    rows = method.represent(batch_for(method, 3, gaps=True))
    rows.present["image"][:] = torch.arange(RECORDS) == 4
    step = method.compare(rows)
    assert step.terms["image"] == 0
    assert step.loss.isfinite()


def test_directions_are_drawn_anew_in_training_and_follow_the_stored_step():
    part = comm("sigreg").objective
    draws = torch.randn(2, 8, 4)
    views = ({("a",): draws[0]}, {("a",): draws[1]}, ("a",))
    first = part.directions(4)
    torch.testing.assert_close(first.norm(dim=0), torch.ones(256))
    terms = [part(*views)["a",] for _ in range(2)]
    assert terms[0] != terms[1]
    fresh = comm("sigreg").objective
    fresh.load_state_dict(part.state_dict())
    assert torch.equal(fresh.directions(4), part.directions(4))
    assert not torch.equal(first, part.directions(4))
    assert part.eval()(*views) == part(*views)  # nothing moves outside training


def test_views_agree_after_some_steps_and_records_do_not_collapse():
    for contrast in ("sigreg", "vicreg"):
        method = comm(contrast)
        batch = batch_for(method, 3)
        optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
        for _ in range(30):
            step = next(method.steps(batch))
            optimizer.zero_grad()
            step.loss.backward()
            optimizer.step()
        assert step.accuracy["image+vector+other"] == 1


def test_a_temperature_that_is_learned_or_moves_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"contrast vicreg does not use a temperature, but .* learned"
    ):
        comm("vicreg", temperature="learned")
