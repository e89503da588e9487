"""Views of token states: some tokens are left out, or one of the stored versions is drawn."""

from __future__ import annotations

import pytest
import torch

from commlearn.augmentations import TokenDropout, TokenVersion
from commlearn.batch import Modality
from commlearn.errors import ConfigurationError


def test_each_record_loses_a_share_of_its_own(generator):
    values = torch.randn(400, 50, 3, generator=generator)
    made = TokenDropout(most=0.8)(Modality(values), generator)
    lost = made.padding.float().mean(dim=1)
    assert torch.equal(made.values, values)
    assert 0.37 < lost.mean() < 0.43
    assert lost.min() < 0.05 < 0.72 < lost.max()
    assert (lost[:-1] != lost[1:]).float().mean() > 0.8


@pytest.mark.parametrize("most", [0.0, 0.5, 1.0])
def test_padding_stays_and_one_token_stays(most, generator):
    padding = torch.arange(6) >= torch.tensor([1, 2, 6])[:, None]
    padding = padding.repeat(50, 1)
    made = TokenDropout(most)(Modality(torch.zeros(150, 6, 2), padding), generator)
    assert made.padding[padding].all()
    assert (~made.padding).any(dim=1).all()
    assert most or torch.equal(made.padding, padding)


def test_a_version_is_one_of_the_augmented_and_never_the_record_as_it_is(generator):
    values = torch.arange(4.0)[:, None, None].expand(300, 4, 5, 2)
    padding = torch.arange(4)[:, None].ne(2).expand(300, 4, 5)
    made = TokenVersion()(Modality(values, padding), generator)
    chosen = made.values[:, 0, 0]
    assert set(chosen.tolist()) == {1.0, 2.0, 3.0}
    assert torch.equal(made.padding[:, 0], chosen != 2)
    assert made.values.shape == (300, 5, 2)


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ConfigurationError, match=r"most is 1\.5"):
        TokenDropout(1.5)
