"""HRIL: its loss equals the published sum, and its joint moment stays small."""

from __future__ import annotations

import pytest
import torch
from test_contract import batch_for, build

from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.objectives import alignment, concentration, info_nce


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize(("align", "synergy"), [(0.0, 0.0), (1.0, 0.0), (0.5, 2.0)])
def test_the_loss_is_the_published_sum(modalities, align, synergy):
    method = build("hril", modalities)
    method.regularisers = (align, synergy)
    rows = method.represent(batch_for(method, modalities))
    first, second = method.project(rows)
    single, full = [(name,) for name in method.modalities], method.modalities
    contrasts = sum(
        (info_nce(first[one], second[full]) + info_nce(second[one], first[full])) / 2 for one in single
    )
    aligned = alignment([first[one] for one in single], [second[one] for one in single])
    turned = [
        [torch.nn.functional.normalize(view[one], dim=1) @ method.turn for one in single]
        for view in (first, second)
    ]
    together = (concentration(turned[0]) + concentration(turned[1])) / 2
    step = method.compare(rows)
    torch.testing.assert_close(step.loss, contrasts + align * aligned + synergy * together)
    assert list(step.terms) == [*method.modalities, "align", "synergy"]
    torch.testing.assert_close(method.turn.T @ method.turn, torch.eye(method.turn.shape[1]))


def test_the_joint_moment_of_many_modalities_stays_small():
    encoders = {f"m{place}": torch.nn.Linear(3, 16) for place in range(5)}
    directions = METHODS["hril"].build(encoders, width=16).turn.shape[1]
    assert directions == 6  # the largest number whose fifth power is at most 24^3
    pair = {name: encoders[name] for name in ("m0", "m1")}
    assert METHODS["hril"].build(pair, width=16).turn.shape[1] == 24


def test_weights_below_zero_are_refused():
    with pytest.raises(ConfigurationError, match=r"method.align is -1 .* at least 0"):
        METHODS["hril"].build({name: torch.nn.Linear(3, 8) for name in "ab"}, width=8, align=-1)
