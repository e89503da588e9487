"""COrAL: complementary masks, and a loss that equals the published sum."""

from __future__ import annotations

import pytest
import torch
from test_contract import batch_for, build

from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.methods.coral import hide_complements
from commlearn.models.tokens import Tokens
from commlearn.objectives import info_nce, orthogonality

RECORDS = 300


def shown(lengths: dict[str, int], share: float = 0.75, padding: torch.Tensor | None = None):
    """Return which tokens each view shows, by modality, (2, records, length)."""
    torch.manual_seed(0)
    tokens = {name: Tokens(torch.zeros(2 * RECORDS, length, 2), padding) for name, length in lengths.items()}
    return {
        name: (~part.padding).unflatten(0, (2, -1)) for name, part in hide_complements(tokens, share).items()
    }


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_a_token_is_shown_in_one_view_and_half_of_the_modalities_show_few_in_each(modalities):
    views = shown({f"m{place}": 8 for place in range(modalities)})
    counts = torch.stack([part.sum(dim=2) for part in views.values()])  # (modalities, 2, records)
    assert all((first ^ second).all() for first, second in views.values())
    assert {*counts.flatten().tolist()} == {2, 6}
    few = (counts == 2).sum(dim=0)  # (2, records): number of modalities of which a view shows few tokens
    assert {*few.flatten().tolist()} == {modalities // 2, modalities - modalities // 2}
    for part in views.values():  # drawn for each record: the view that shows few tokens, and which tokens
        assert 0.4 < (part[0].sum(dim=1) == 2).float().mean() < 0.6
        assert (part[0].float().mean(dim=0) - 0.5).abs().max() < 0.12


def test_one_token_at_least_stays_and_padding_stays_padding():
    padding = torch.arange(6) >= torch.arange(2 * RECORDS)[:, None] % 7  # 0 to 6 real tokens
    for share in (0.01, 0.75, 1.0):
        (views,) = shown({"a": 6}, share, padding).values()
        there = (~padding).unflatten(0, (2, -1))
        assert not (views & ~there).any()
        assert torch.equal(views.any(dim=2), there.any(dim=2))
    first, second = shown({"vector": 1, "text": 5})["vector"]
    assert first.all()
    assert second.all()  # a modality of one token hides nothing


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_loss_is_the_published_sum(modalities, gaps):
    method = build("coral", modalities)
    rows = method.represent(batch_for(method, modalities, gaps))
    first, second = method.project(rows)
    terms, masks = {}, []
    for subset in [*((name,) for name in method.modalities), method.modalities]:
        mask = None if len(subset) > 1 else rows.presence_mask(subset)
        chosen = torch.arange(6) if mask is None else mask.nonzero()[:, 0]
        terms["+".join(subset)] = info_nce(first[subset][chosen], second[subset][chosen])
        masks.append(mask)
    views = [[rows.vectors[subset][:, view] for subset in method.subsets] for view in range(2)]
    apart = sum(orthogonality(view, masks) for view in views) / 2
    step = method.compare(rows)
    torch.testing.assert_close(step.loss, sum(terms.values()) + 10 * apart)
    torch.testing.assert_close(step.terms, {**terms, "orthogonal": apart})


def test_unique_vectors_are_zeros_where_a_modality_is_absent_and_may_be_left_out():
    method = build("coral", 2).eval()
    batch = batch_for(method, 2, gaps=True)
    embedding = method.embed(batch.augmented[0])
    fused, image, vector = embedding.split(16, dim=1)
    assert torch.equal(image.any(dim=1), batch.augmented[0]["image"].present)
    assert torch.equal(vector.any(dim=1), batch.augmented[0]["vector"].present)
    method.embedding = "fused"
    assert torch.equal(method.embed(batch.augmented[0]), fused)


@pytest.mark.parametrize("options", [{"share": 1.5}, {"orthogonal": -1}])
def test_impossible_shares_and_weights_are_refused(options):
    with pytest.raises(ConfigurationError, match=r"give a share from 0 to 1 and a weight of at least 0"):
        METHODS["coral"].build({name: torch.nn.Linear(3, 8) for name in "ab"}, width=8, **options)
