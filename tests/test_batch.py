"""Views that are stacked for a single pass through an encoder."""

from __future__ import annotations

import torch

from commlearn.augmentations import plan_batch
from commlearn.batch import Modality, merge
from commlearn.models.features import Texts
from commlearn.models.tokens import Tokens


def test_stacked_views_of_which_some_say_nothing_keep_a_mask_for_every_record():
    values = torch.randn(2, 3, 4)
    padding, present = torch.tensor([[False, False, True]] * 2), torch.tensor([True, False])
    views = [
        {"text": Modality(values)},
        {"text": Modality(values, padding=padding)},
        {"text": Modality(values, present=present)},
    ]
    merged = merge(views)["text"]
    assert merged.values.shape == (6, 3, 4)
    nothing, everybody = torch.zeros_like(padding), torch.ones_like(present)
    assert torch.equal(merged.padding, torch.cat([nothing, padding, nothing]))
    assert torch.equal(merged.present, torch.cat([everybody, everybody, present]))


def test_stacked_views_without_masks_have_none():
    tokens = merge([{"text": Tokens(torch.zeros(2, 1, 3))}] * 2)["text"]
    assert isinstance(tokens, Tokens)
    assert tokens.padding is None
    assert tokens.present is None


def test_texts_stay_with_their_records():
    texts = Texts(torch.arange(6)[:, None], texts=tuple("abcdef"))
    for change in (
        lambda rows: rows[1:4],
        lambda rows: rows.flip(0),
        lambda rows: rows[torch.tensor([5, 0])],
    ):
        changed = texts.apply(change)
        assert changed.texts == tuple("abcdef"[row] for row in changed.values[:, 0].tolist())
    parts = plan_batch({"notes": texts}, {}, {}, torch.Generator(), plain=True, augmented=2)(slice(2, 4))
    assert parts.plain["notes"].texts == ("c", "d")
    assert merge(parts.augmented)["notes"].texts == ("c", "d", "c", "d")
