"""Contract of every image and vector encoder, and shapes that the paper states."""

from __future__ import annotations

import pytest
import torch

from commlearn.data.batch import Modality
from commlearn.errors import ConfigurationError
from commlearn.models.adapters import FeatureTokenizer, sincos_positions
from commlearn.models.encoders import ENCODERS
from commlearn.models.encoders.image import start_as_waves
from commlearn.models.tokens import Tokens, pool

CASES = {
    "alexnet": ((3, 96, 96), 4),
    "resnet18": ((3, 64, 64), 4),
    "resnet50": ((3, 64, 64), 4),
    "small_cnn": ((3, 64, 64), 16),
    "linear": ((7,), 1),
    "features": ((7,), 7),
}


def values_of(shape, batch=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, *shape, generator=generator)


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_learns_and_absent_records_contribute_no_token(name):
    shape, length = CASES[name]
    encoder = ENCODERS[name](shape, 32)
    tokens = encoder(Modality(values_of(shape), present=torch.tensor([True, False, True])))
    assert tokens.values.shape == (3, length, 32)
    assert tokens.padding.all(dim=1).tolist() == [False, True, False]
    weights = torch.randn(tokens.values.shape, generator=torch.Generator().manual_seed(1))
    (tokens.values * weights).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


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
    with pytest.raises(ConfigurationError, match=r"at least 63 pixels a side, got 32 x 32"):
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
    opposite = (others + 1).abs() < 1e-5  # a colour and its complement
    assert others[~opposite].abs().max() < 1e-5
    assert opposite.sum() == 4


@pytest.mark.parametrize("channels", [1, 4])
def test_waves_fit_any_number_of_channels_and_leave_the_rest_alone(channels):
    kernels = torch.full((30, channels, 5, 5), 7.0)
    start_as_waves(kernels)
    assert (kernels[25:] == 7.0).all()
    assert (kernels[:25] != 7.0).any(dim=(1, 2, 3)).all()
