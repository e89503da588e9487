"""Text: training words get ids, all others are hashed by their letters, and padding changes nothing."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.augmentations.sequence import MASK, TextAugmentation
from commlearn.batch import Modality
from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.base import Cells
from commlearn.kinds.text import HASHED, UNKNOWN, Text, Tokenizer, split
from commlearn.models.encoders.sequence import text as text_encoder
from commlearn.models.tokens import pool

TEXTS = ["The cat sat.", "the dog sat!", "a cat", None]


def cells(values, first_row=0):
    return Cells(pd.DataFrame({"notes": pd.Series(values, dtype=object)}), first_row=first_row)


def read(values, kind=None, **state):
    kind = kind or Text("notes")
    return kind.read(cells(values), state or kind.learn(cells(values)))


def test_words_seen_twice_get_ids_the_most_frequent_first():
    state = Text("notes").learn(cells(["b b b a a", "once c c"]))
    assert state == {"words": ["b", "a", "c"]}
    assert json.loads(json.dumps(state)) == state
    assert Text("notes", vocabulary=1).learn(cells(["b b b a a"])) == {"words": ["b"]}


def test_ids_beyond_the_reserved_are_words_then_letters():
    tokenizer = Tokenizer(["cat", "."])
    assert tokenizer.ids == 3 + 2 + HASHED
    assert tokenizer("Cat.") == [3, 4]
    hashed = tokenizer("zebra")  # <ze zeb ebr bra ra>
    assert len(hashed) == 5
    assert all(5 <= token < tokenizer.ids for token in hashed)
    assert tokenizer("zebra zebras")[:4] == hashed[:4]  # words with the same stem share 3-grams
    assert tokenizer("x") == Tokenizer(["cat", "."])("x")  # the same in every process


def test_splitting_reads_any_script():
    assert split("Größe: 5µm, ΑΒΓ") == ["größe", ":", "5μm", ",", "αβγ"]
    assert split("ﬁne") == ["fine"]
    assert split("ok 👍") == ["ok", "👍"]


def test_a_batch_is_padded_to_its_longest_text():
    column = read(TEXTS)
    assert column.spec.kind == "text"
    taken = column.take(np.array([1, 2, 3]))
    assert taken.values.dtype == torch.int64
    assert taken.present.tolist() == [True, True, False]
    lengths = (~taken.padding).sum(dim=1).tolist()
    assert taken.values.shape[1] == max(lengths)
    assert (taken.values[taken.padding] == 0).all()
    assert taken.values[2, 0] == UNKNOWN  # an absent text keeps one token, so attention has an input
    assert (taken.values < column.spec.shape[0]).all()
    assert column.take(np.array([2])).values.shape[1] < taken.values.shape[1]


def test_all_present_needs_no_mask():
    assert read(["a a", "a"]).take(np.array([0])).present is None


@pytest.mark.parametrize("empty", ["", "  \n", None, float("nan"), pd.NA, b""])
def test_empty_text_is_absent(empty):
    assert read([empty, "words words"]).present.tolist() == [False, True]


def test_long_texts_are_cut():
    kind = Text("notes", max_length=5)
    taken = read(["word " * 50], kind).take(np.array([0]))
    assert taken.values.shape == (1, 5)
    problems = kind.check(cells(["word " * 50, "short"]))
    assert "1 texts have more than 5 tokens" in problems[0].message
    assert problems[0].level == "warning"


def test_what_is_cut_is_counted_in_tokens():
    unknown = ["".join(letters) for letters in zip(*["abcdefghijklmnop"] * 4, strict=True)]  # once each
    texts = ["word word", f"word {' '.join(unknown)}"]  # 17 words, 65 tokens
    kind = Text("notes", max_length=20)
    for messages in (
        [problem.message for problem in kind.check(cells(texts))],
        kind.notes(kind.learn(cells(texts))),
    ):
        assert len(messages) == 1
        assert messages[0].startswith("1 texts have more than 20 tokens")
    longer = Text("notes", max_length=65)
    assert longer.check(cells(texts)) == []
    assert longer.notes(longer.learn(cells(texts))) == []


def test_signs_without_a_letter_still_count():
    assert read(["\u200b\u0301", "a a"]).take(np.array([0])).values.numel() >= 1


def test_bytes_are_utf8():
    assert torch.equal(
        read(["grün grün".encode()]).take(np.array([0])).values,
        read(["grün grün"]).take(np.array([0])).values,
    )


def test_what_is_not_utf8_or_no_text_is_named_by_row():
    bad = ["fine", "größe".encode("latin-1"), 3, "\udcff"]
    with pytest.raises(DataError) as caught:
        Text("notes").learn(cells(bad, first_row=10))
    message = str(caught.value)
    assert "notes: 3 rows" in message
    assert "row 11" in message
    assert "not UTF-8 at position 3" in message
    assert "row 12: 3 is of type int" in message
    assert "row 13" in message
    problems = Text("notes").check(cells(bad))
    assert [problem.row for problem in problems] == [1, 2, 3]


def test_check_tells_constant_and_empty_columns():
    assert "every text is the same" in Text("notes").check(cells(["a", "a"]))[0].message
    assert Text("notes").check(cells(["a", "b"])) == []
    empty = Text("notes").check(cells([None, ""]))
    assert (empty[0].level, "no row has text" in empty[0].message) == ("error", True)
    with pytest.raises(DataError, match="none of the training rows"):
        Text("notes").learn(cells([None]))


@pytest.mark.parametrize("options", [{"max_length": 0}, {"max_length": 2.5}, {"vocabulary": -1}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ConfigurationError):
        Text("notes", **options)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.lists(st.text(max_size=12), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_in_any_order(texts, words):
    try:
        column = Text("notes").read(
            cells(texts), {"words": sorted({w for word in words for w in split(word)})}
        )
    except DataError:  # lone surrogates
        return
    order = np.arange(len(texts))[::-1]
    taken = column.take(order.copy())
    assert taken.values.shape == taken.padding.shape
    assert (~taken.padding).any(dim=1).all()
    assert int(taken.values.max()) < column.spec.shape[0]
    assert (taken.values[~taken.padding] >= UNKNOWN).all()
    alone = column.take(np.array([0]))
    length = alone.values.shape[1]
    assert torch.equal(taken.values[-1, :length], alone.values[0])


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return text_encoder((50,), width=32, hidden=16, heads=2).eval()


def test_nothing_under_padding_changes_an_embedding(encoder, generator):
    ids = torch.randint(3, 50, (4, 9), generator=generator)
    padding = torch.arange(9) >= torch.tensor([9, 5, 1, 3])[:, None]
    clean = pool(encoder(Modality(ids.masked_fill(padding, 0), padding)))
    dirty = pool(encoder(Modality(torch.where(padding, 49 - ids % 40, ids), padding)))
    torch.testing.assert_close(clean, dirty, rtol=0, atol=0)
    longer = torch.nn.functional.pad(ids.masked_fill(padding, 0), (0, 20))
    more = pool(encoder(Modality(longer, torch.nn.functional.pad(padding, (0, 20), value=True))))
    torch.testing.assert_close(clean, more)
    alone = pool(encoder(Modality(ids[1:2, :5])))
    torch.testing.assert_close(clean[1:2], alone)


def test_the_order_of_words_matters(encoder):
    ids = torch.tensor([[3, 4, 5, 6]])
    first, second = (pool(encoder(Modality(ids[:, order]))) for order in ([0, 1, 2, 3], [3, 1, 2, 0]))
    assert (first - second).abs().max() > 1e-4


def test_a_text_of_padding_alone_stays_finite_in_both_directions(encoder):
    padding = torch.tensor([[True, True], [False, True]])
    tokens = encoder(Modality(torch.tensor([[0, 0], [5, 0]]), padding))
    pool(tokens).square().sum().backward()
    assert tokens.values.isfinite().all()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_absent_texts_hand_on_nothing(encoder):
    taken = read(["a a a", None]).take(np.array([0, 1]))
    ids = taken.values % 50
    tokens = encoder(Modality(ids, taken.padding, taken.present))
    assert tokens.padding[1].all()
    assert (tokens.values[1] == 0).all()


def long_texts():
    ids = torch.randint(3, 1000, (64, 200), generator=torch.Generator().manual_seed(1))
    padding = torch.arange(200) >= torch.randint(1, 200, (64, 1), generator=torch.Generator().manual_seed(2))
    return Modality(ids.masked_fill(padding, 0), padding)


def test_a_share_of_tokens_is_masked_and_padding_is_not(generator):
    plain = long_texts()
    masked = TextAugmentation()(plain, generator)
    hidden = masked.values == MASK
    assert not hidden[plain.padding].any()
    assert abs(hidden[~plain.padding].float().mean() - 0.15) < 0.02
    assert torch.equal(masked.values[~hidden], plain.values[~hidden])
    assert torch.equal(masked.padding, plain.padding)
    assert len({tuple(row.tolist()) for row in hidden}) > 50  # each record has its own draw


def test_dropout_leaves_tokens_out_but_never_all(generator):
    plain = long_texts()
    dropped = TextAugmentation(mask=0.0, dropout=0.9)(plain, generator)
    assert (~dropped.padding).any(dim=1).all()
    assert (dropped.padding | ~plain.padding).all()
    share = (dropped.padding & ~plain.padding).sum() / (~plain.padding).sum()
    assert abs(share - 0.9) < 0.02
    unpadded = TextAugmentation(dropout=0.5)(Modality(plain.values), generator)
    assert unpadded.padding.any()


def test_an_augmentation_repeats_with_its_generator():
    first, second = (TextAugmentation()(long_texts(), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.values, second.values)
