"""Encoders of sequences, tables with gaps and vectors: padding, missing cells, gradients, shapes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.batch import Modality
from commlearn.errors import ConfigurationError
from commlearn.models.encoders.sequence import gru, series, something_attended, transformer
from commlearn.models.encoders.tabular import mlp, tabular
from commlearn.models.tokens import pool

CHANNELS, WIDTH = 3, 24
SEQUENCES = {
    "series": lambda: series((CHANNELS,), WIDTH, hidden=16),
    "series of stride 1": lambda: series((CHANNELS,), WIDTH, hidden=16, stride=1),
    "series of stride 8": lambda: series((CHANNELS,), WIDTH, hidden=16, stride=8),
    "transformer": lambda: transformer((CHANNELS,), WIDTH, layers=2),
    "gru": lambda: gru((CHANNELS,), WIDTH, hidden=16),
}
STRIDES = {"series": 4, "series of stride 8": 8}
every_sequence = pytest.mark.parametrize("name", SEQUENCES)


def build(name):
    torch.manual_seed(0)
    return SEQUENCES[name]().eval()


def batch(lengths, longest, under_padding=0.0, seed=0):
    """Return records of these lengths, padded to `longest` with the value `under_padding`."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), 64, CHANNELS, generator=generator)[:, :longest]
    padding = torch.arange(longest) >= torch.tensor(lengths)[:, None]
    return Modality(values.masked_fill(padding[..., None], under_padding), padding)


@every_sequence
def test_a_token_stands_for_a_stride_and_padding_stays_padding(name):
    stride = STRIDES.get(name, 1)
    tokens = build(name)(batch([13, 1, 8, 0], 13))
    assert tokens.values.shape == (4, -(-13 // stride), WIDTH)
    assert (~tokens.padding).sum(dim=1).tolist() == [-(-length // stride) for length in (13, 1, 8, 0)]
    assert tokens.values[tokens.padding].abs().sum() == 0


@every_sequence
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=4),
    more=st.integers(0, 13),
    junk=st.sampled_from([0.0, 7.0, float("nan"), float("inf")]),
)
def test_neither_content_nor_amount_of_padding_changes_a_token(name, lengths, more, junk):
    encoder, longest = build(name), max(*lengths, 1)
    with torch.no_grad():
        tokens = encoder(batch(lengths, longest))
        longer = encoder(batch(lengths, longest + more, junk))
        count = tokens.values.shape[1]
        assert longer.values.isfinite().all()
        torch.testing.assert_close(longer.values[:, :count], tokens.values, atol=2e-5, rtol=1e-4)
        assert torch.equal(longer.padding[:, :count], tokens.padding)
        assert longer.padding[:, count:].all()
        torch.testing.assert_close(pool(longer), pool(tokens), atol=2e-5, rtol=1e-4)
        for row, length in enumerate(lengths):
            if length:  # compare with the record alone, without padding
                values = batch(lengths, longest).values[row : row + 1, :length]
                alone = encoder(Modality(values)).values
                torch.testing.assert_close(
                    tokens.values[row : row + 1, : alone.shape[1]], alone, atol=2e-5, rtol=1e-4
                )


@every_sequence
def test_every_step_counts_and_so_does_the_last_one(name):
    encoder, modality = build(name), batch([13, 9], 13)
    values = modality.values.clone()
    values[0, 12] += 1
    values[1, 8] += 1
    with torch.no_grad():
        before, after = pool(encoder(modality)), pool(encoder(modality.with_values(values)))
    assert ((after - before).abs().amax(dim=1) > 1e-4).all()


@every_sequence
def test_every_parameter_learns_and_nothing_missing_makes_a_gradient_nan(name):
    encoder, modality = build(name).train(), batch([13, 9, 0], 13, under_padding=float("nan"))
    values = modality.values.clone()
    values[0, 4:6] = float("nan")  # gaps
    values.requires_grad_()
    present = torch.tensor([True, True, False])
    tokens = encoder(Modality(values, modality.padding, present))
    weights = torch.randn(tokens.values.shape, generator=torch.Generator().manual_seed(1))
    (tokens.values * weights).sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
    assert values.grad.isfinite().all()
    assert values.grad[modality.padding].abs().sum() == 0


@every_sequence
def test_a_fresh_instance_that_loads_the_state_embeds_equally(name):
    encoder = build(name)
    torch.manual_seed(5)
    fresh = SEQUENCES[name]().eval()
    fresh.load_state_dict(encoder.state_dict())
    assert torch.equal(fresh(batch([9, 4], 9)).values, encoder(batch([9, 4], 9)).values)


def test_the_series_encoder_knows_places_and_the_papers_transformer_does_not():
    steps = torch.zeros(1, 16, CHANNELS)
    for name, alike in (("series", False), ("transformer", True)):
        tokens = build(name)(Modality(steps)).values[0]
        assert torch.allclose(tokens[1], tokens[2], atol=1e-5) == alike


def test_the_papers_transformer_has_its_width_heads_and_layers():
    encoder = transformer((74,), 512)
    assert len(encoder.encoder.layers) == 5
    assert {layer.heads for layer in encoder.encoder.layers} == {5}
    assert encoder.adapter.project.in_features == 40
    assert {layer.expand.out_features for layer in encoder.encoder.layers} == {160}
    published = transformer((74,), 512, feed_forward=2048)
    assert {layer.contract.in_features for layer in published.encoder.layers} == {2048}


def test_a_record_that_is_all_padding_attends_to_something():
    padding = torch.tensor([[False, True], [True, True]])
    assert something_attended(padding).tolist() == [[False, True], [False, False]]


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(ConfigurationError, match="stride is 3; give 1, 2, 4 or 8"):
        series((3,), 8, stride=3)
    with pytest.raises(ConfigurationError, match="5 heads must divide hidden, 16"):
        transformer((3,), 8, hidden=16)
    with pytest.raises(ConfigurationError, match="feed_forward is 0; give 1 or more"):
        transformer((3,), 8, feed_forward=0)
    with pytest.raises(ConfigurationError, match="at least 2 layers"):
        mlp((3,), 8, layers=1)


SHAPE = (2, 4, 3)  # two numbers, and categories with 4 and 3 codes
CELLS = torch.tensor(
    [
        [0.5, -1.0, 2.0, 0.0],
        [float("nan"), 3.0, 1.0, 2.0],
        [1.0, float("nan"), 3.0, 1.0],
        [float("nan"), float("nan"), 0.0, 0.0],
    ]
)


def table_encoder(shape=SHAPE):
    torch.manual_seed(0)
    return tabular(shape, WIDTH)


def test_every_column_is_a_token_and_a_missing_number_one_of_its_own():
    encoder = table_encoder()
    tokens, tokenizer = encoder(Modality(CELLS)).values, encoder.adapter
    assert tokens.shape == (4, 4, WIDTH)
    weight, bias = tokenizer.numbers.weight, tokenizer.numbers.bias
    torch.testing.assert_close(tokens[0, 1], -1.0 * weight[1] + bias[1])
    torch.testing.assert_close(tokens[1, 0], tokenizer.missing[0])
    torch.testing.assert_close(tokens[0, 2], tokenizer.categories[2])
    torch.testing.assert_close(tokens[1, 3], tokenizer.categories[4 + 2])
    assert not torch.allclose(tokens[1, 0], tokens[2, 1])


def test_an_unseen_category_reads_as_missing_until_training_says_otherwise():
    encoder = table_encoder()
    unseen, missing = CELLS[:1].clone(), CELLS[:1].clone()
    unseen[0, 2], missing[0, 2] = 1.0, 0.0
    torch.testing.assert_close(encoder(Modality(unseen)).values, encoder(Modality(missing)).values)
    with torch.no_grad():
        encoder.adapter.categories[1] += 1.0
    assert not torch.allclose(encoder(Modality(unseen)).values, encoder(Modality(missing)).values)


@pytest.mark.parametrize(("shape", "columns"), [(SHAPE, [0, 1, 2, 3]), ((2,), [0, 1]), ((0, 4, 3), [2, 3])])
def test_every_parameter_of_a_table_learns_and_no_gradient_is_nan(shape, columns):
    encoder, cells = table_encoder(shape), CELLS[:, columns].clone().requires_grad_()
    present = torch.tensor([True, True, True, False])
    tokens = encoder(Modality(cells, present=present))
    assert tokens.padding.all(dim=1).tolist() == [False, False, False, True]
    (tokens.values * torch.randn_like(tokens.values)).sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), key
        assert (parameter.grad.abs().sum(dim=-1) > 0).sum() >= min(2, len(parameter)), key
    assert cells.grad is None or cells.grad.isfinite().all()


def test_codes_that_are_not_whole_or_out_of_range_do_not_read_another_columns():
    encoder = table_encoder()
    strange = CELLS[:1].clone()
    strange[0, 2:] = torch.tensor([99.0, 2.1])
    tokens = encoder(Modality(strange)).values
    torch.testing.assert_close(tokens[0, 2], encoder.adapter.categories[3])
    torch.testing.assert_close(tokens[0, 3], encoder.adapter.categories[4 + 2])


def test_a_vector_becomes_one_token_and_every_parameter_learns():
    torch.manual_seed(0)
    encoder = mlp((6,), WIDTH, hidden=32, layers=3)
    values = torch.randn(5, 6)
    values[0, 0] = float("nan")
    tokens = encoder(Modality(values.requires_grad_()))
    assert tokens.values.shape == (5, 1, WIDTH)
    assert sum(isinstance(part, torch.nn.Linear) for part in encoder.modules()) == 3
    (tokens.values * torch.randn_like(tokens.values)).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in encoder.parameters())
    assert values.grad.isfinite().all()
