"""The contract of every encoder, and the published shapes and sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from commlearn.batch import Modality
from commlearn.errors import ConfigurationError
from commlearn.models.adapters import FeatureTokenizer, sincos_positions
from commlearn.models.encoders import ENCODERS
from commlearn.models.encoders.image import start_as_waves
from commlearn.models.encoders.own import OwnEncoder
from commlearn.models.features import FixedFeatures
from commlearn.models.tokens import Tokens, pool
from commlearn.records import VectorColumn
from commlearn.seeds import SeededDraws, may_draw

CASES = {
    "alexnet": ((3, 96, 96), 4),
    "resnet18": ((3, 64, 64), 4),
    "resnet50": ((3, 64, 64), 4),
    "small_cnn": ((3, 64, 64), 16),
    "linear": ((7,), 1),
    "features": ((7,), 7),
    "mlp": ((7,), 1),
    "mlp_tokens": ((5,), 10),
    "perceptron": ((8,), 1),
    "tabular": ((2, 4, 5), 4),
    "text": ((40,), 9),
    "series": ((3,), 3),
    "transformer": ((3,), 9),
    "gru": ((3,), 9),
    "force": ((6,), 1),
    "fixed": ((7,), 1),
    "own module": ((7,), 1),
}
SEQUENCES = ("text", "series", "transformer", "gru", "force")
LENGTHS = (9, 9, 5)


def values_of(shape, batch=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, *shape, generator=generator)


def encoder_of(name, width=32):
    shape, _ = CASES[name]
    if name == "own module":
        return ENCODERS[name](torch.nn.Linear(*shape, 5), width, features=5)
    if name != "fixed":
        return ENCODERS[name](shape, width)
    column = VectorColumn(np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32))
    return ENCODERS[name](FixedFeatures(column.spec).learn(column, 0), width)


def modality_of(name, present=None, longer=0, junk=False):
    """Return three records, with sequences of 9, 9 and 5 steps; padding can be longer, and contain junk."""
    shape, _ = CASES[name]
    generator = torch.Generator().manual_seed(0)
    if name == "tabular":  # two numbers, each missing once; categories with 4 and 5 codes
        codes = torch.tensor([[0.0, 1.0], [2.0, 3.0], [3.0, 4.0]])
        numbers = torch.tensor([[0.3, torch.nan], [torch.nan, 1.0], [-0.4, 0.2]])
        return Modality(torch.cat([numbers, codes], dim=1), present=present)
    if name not in SEQUENCES:
        return Modality(values_of(shape), present=present)
    padding = torch.arange(9 + longer) >= torch.tensor(LENGTHS)[:, None]
    if name == "text":
        values = torch.randint(3, shape[0], (3, 9), generator=generator)
        values = torch.cat([values, values[:, :1].expand(3, longer)], dim=1)
        return Modality(values.masked_fill(padding, 39 if junk else 0), padding, present)
    values = torch.randn(3, 9, *shape, generator=generator)
    values = torch.cat([values, values[:, :1].expand(3, longer, *shape)], dim=1)
    return Modality(values.masked_fill(padding[..., None], torch.nan if junk else 0.0), padding, present)


def test_every_encoder_is_a_case():
    assert set(CASES) == set(ENCODERS)


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_learns_and_absent_records_contribute_no_token(name):
    _, length = CASES[name]
    torch.manual_seed(0)
    encoder = encoder_of(name)
    tokens = encoder(modality_of(name, present=torch.tensor([True, False, True])))
    assert tokens.values.shape == (3, length, 32)
    assert tokens.padding.all(dim=1).tolist() == [False, True, False]
    assert tokens.values[1].abs().sum() == 0
    tokens = encoder(modality_of(name))
    weights = torch.randn(tokens.values.shape, generator=torch.Generator().manual_seed(1))
    (tokens.values * weights).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("name", CASES)
def test_no_encoder_draws_but_where_a_layer_of_torch_may(name):
    encoder, draws = encoder_of(name).train(), SeededDraws(0)
    with draws:
        encoder(modality_of(name))
    assert bool(draws.generators) == may_draw(encoder) == (name == "gru")


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("longer", [0, 1, 6])
def test_content_and_amount_of_padding_have_no_influence(name, longer):
    torch.manual_seed(0)
    encoder = ENCODERS[name](CASES[name][0], 32).eval()
    with torch.no_grad():
        before, after = encoder(modality_of(name)), encoder(modality_of(name, longer=longer, junk=True))
    length = before.values.shape[1]
    torch.testing.assert_close(after.values[:, :length], before.values, atol=1e-5, rtol=1e-4)
    assert torch.equal(after.padding[:, :length], before.padding)
    assert after.padding[:, length:].all()


def test_alexnet_makes_36_tokens_of_224_pixels():
    with torch.no_grad():
        tokens = ENCODERS["alexnet"]((3, 224, 224), 512)(Modality(values_of((3, 224, 224), 1)))
    assert tokens.values.shape == (1, 36, 512)


@pytest.mark.parametrize(("name", "millions"), [("resnet18", 11.18), ("resnet50", 23.51), ("alexnet", 2.47)])
def test_stacks_have_the_size_of_the_published_architectures(name, millions):
    encoder = ENCODERS[name]((3, 224, 224), 8)
    count = sum(p.numel() for p in encoder.encoder.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_bytes_and_floats_are_the_same_image():
    encoder = ENCODERS["small_cnn"]((3, 32, 32), 16).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(
        encoder(Modality(pixels)).values, encoder(Modality(pixels.float() / 255)).values
    )


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ConfigurationError, match=r"at least 63 x 63 pixels, got 32 x 32"):
        ENCODERS["alexnet"]((3, 32, 32), 64)


def test_positions_differ_from_cell_to_cell_and_share_rows_and_columns():
    code = sincos_positions(3, 4, 16).view(3, 4, 16)
    assert len(code.flatten(0, 1).unique(dim=0)) == 12
    assert (code[1, :, :8] == code[1, 0, :8]).all()
    assert (code[:, 2, 8:] == code[0, 2, 8:]).all()


def test_a_feature_token_is_value_times_weight_plus_bias():
    tokenizer = FeatureTokenizer(3, 5)
    values = torch.tensor([[1.0, -2.0, 0.0]])
    tokens = tokenizer(values)
    torch.testing.assert_close(tokens[0, 1], -2 * tokenizer.weight[1] + tokenizer.bias[1])
    torch.testing.assert_close(tokens[0, 2], tokenizer.bias[2])


def test_pooling_leaves_padding_out_and_survives_all_padding():
    values = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [5.0], [5.0]]])
    padding = torch.tensor([[False, False, True], [True, True, True]])
    assert pool(Tokens(values, padding)).tolist() == [[2.0], [0.0]]


def test_brightness_and_contrast_of_an_image_do_not_change_what_the_small_cnn_sees():
    stack = ENCODERS["small_cnn"]((3, 32, 32), 16).encoder.stack
    images = torch.rand(4, 3, 32, 32)
    standard = stack[0]
    shown, changed = standard(images), standard(0.3 + images)
    torch.testing.assert_close(shown, changed, atol=1e-5, rtol=1e-5)
    assert standard(torch.full((1, 3, 8, 8), 0.7)).abs().max() < 1e-4
    stretched = standard(5 * images)
    assert torch.nn.functional.cosine_similarity(shown.flatten(1), stretched.flatten(1)).min() > 0.9999


def test_the_first_layer_starts_as_different_waves():
    kernels = torch.zeros(24, 3, 5, 5)
    start_as_waves(kernels)
    flat = kernels.flatten(1)
    torch.testing.assert_close(flat.norm(dim=1), torch.ones(24))
    cosines = flat @ flat.T
    others = cosines - torch.diag(cosines.diag())
    opposite = (others + 1).abs() < 1e-5  # a colour blob and its complement
    assert others[~opposite].abs().max() < 1e-5
    assert opposite.sum() == 4


@pytest.mark.parametrize("channels", [1, 4])
def test_waves_fit_any_number_of_channels_and_leave_the_rest_alone(channels):
    kernels = torch.full((30, channels, 5, 5), 7.0)
    start_as_waves(kernels)
    assert (kernels[25:] == 7.0).all()
    assert (kernels[:25] != 7.0).any(dim=(1, 2, 3)).all()


def test_the_force_encoder_is_causal_and_its_one_token_has_seen_every_reading():
    torch.manual_seed(0)
    encoder = ENCODERS["force"]((6,), 16).eval()
    readings = torch.randn(1, 32, 6)
    token = encoder(Modality(readings)).values
    assert token.shape == (1, 1, 16)
    for step in range(32):
        changed = readings.clone()
        changed[:, step] += 1
        assert not torch.allclose(encoder(Modality(changed)).values, token)
    layer = encoder.encoder.convolutions[0](readings.transpose(1, 2))  # (1, 16, 16)
    changed = readings.clone()
    changed[:, 10:] = 0
    after = encoder.encoder.convolutions[0](changed.transpose(1, 2))
    assert torch.equal(layer[..., :5], after[..., :5])


def test_the_published_encoders_have_the_published_sizes():
    sizes = [layer.in_channels for layer in ENCODERS["force"]((6,), 128).encoder.convolutions]
    assert sizes == [6, 16, 32, 64, 128]
    linear = [layer for layer in ENCODERS["perceptron"]((8,), 128).encoder.stack if hasattr(layer, "weight")]
    assert [layer.in_features for layer in linear] == [8, 32, 64, 128]
    linear = [layer for layer in ENCODERS["mlp_tokens"]((5,), 512).encoder.stack if hasattr(layer, "weight")]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(5, 10), (10, 10)]
    maps = ENCODERS["resnet18"]((3, 128, 128), 32)(Modality(values_of((3, 128, 128), 2)))
    assert maps.values.shape == (2, 16, 32)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_traced_module_is_an_encoder_that_takes_no_padding():
    traced = torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3))
    features, padding = OwnEncoder(traced)(torch.ones(4, 3), None)
    assert features.shape == (4, 1, 2)
    assert padding is None
