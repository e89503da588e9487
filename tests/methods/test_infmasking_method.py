"""InfMasking: which tokens are hidden, and how its term enters the loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_contract import batch_for, build

from commlearn.errors import ConfigurationError
from commlearn.methods.comm import CoMM
from commlearn.methods.infmasking import Masking, hide
from commlearn.methods.rows import joined
from commlearn.models.tokens import Tokens


def tokens_of(batch: int, lengths: dict[str, int], padding: torch.Tensor | None = None) -> dict[str, Tokens]:
    return {name: Tokens(torch.zeros(batch, length, 2), padding) for name, length in lengths.items()}


def test_the_share_that_is_hidden_lies_between_its_limits():
    torch.manual_seed(0)
    hidden = hide(tokens_of(500, {"a": 30, "b": 70}), (0.6, 0.8))
    shares = torch.cat([part.padding for part in hidden.values()], dim=1).float().mean(dim=1)
    assert 0.69 < shares.mean() < 0.71
    assert shares.min() > 0.4
    assert shares.max() < 0.95
    assert 0.05 < shares.std() < 0.1  # each record has its own share


def test_one_token_stays_and_padding_stays_padding():
    torch.manual_seed(0)
    padding = torch.arange(6).expand(200, 6) > 2
    hidden = hide(tokens_of(200, {"a": 6, "b": 6}, padding), (1.0, 1.0))
    left = ~torch.cat([part.padding for part in hidden.values()], dim=1)
    assert (left.sum(dim=1) == 1).all()
    assert not (left & torch.cat([padding, padding], dim=1)).any()
    assert len(left.float().argmax(dim=1).unique()) == 6  # any of the real tokens may stay
    nothing = torch.ones(4, 6, dtype=torch.bool)
    assert all(part.padding.all() for part in hide(tokens_of(4, {"a": 6}, nothing), (0.6, 0.8)).values())


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_the_loss_is_comms_plus_the_weighted_masked_term(progress):
    method = build("infmasking", 3)
    batch = replace(batch_for(method, 3), progress=progress)
    step = next(method.steps(batch))
    assert list(step.terms) == ["image", "vector", "other", "image+vector+other", "masked"]
    own = sum(term for name, term in step.terms.items() if name != "masked") / 4
    torch.testing.assert_close(step.loss, own + progress * step.terms["masked"])
    assert isinstance(method, CoMM)


def test_the_weight_moves_from_its_start_to_its_end():
    masking = Masking(weight=(1.0, 0.2))
    assert [round(masking.weight_at(p), 3) for p in (0, 0.5, 1)] == [1.0, 0.6, 0.2]
    with pytest.raises(ConfigurationError, match="at least 2 versions"):
        Masking(versions=1)
    with pytest.raises(ConfigurationError, match="least <= most"):
        Masking(share=(0.8, 0.6))


def test_parts_of_a_batch_know_how_far_training_is():
    method = build("infmasking", 2)
    rows = method.represent(replace(batch_for(method, 2), progress=0.25))
    assert joined([rows, rows]).progress == rows.gathered().progress == 0.25
    assert rows.apply(lambda tensor: tensor[:2]).progress == 0.25
