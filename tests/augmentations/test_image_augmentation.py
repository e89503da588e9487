"""The image augmentation: each of its parts does what its name says."""

from __future__ import annotations

import math

import pytest
import torch

from commlearn.augmentations.image import ImageAugmentation, _move_all, _move_each
from commlearn.batch import Modality

NOTHING = {
    "scale": (1.0, 1.0),
    "ratio": (1.0, 1.0),
    "jitter": 0.0,
    "greyscale": 0.0,
    "blur": 0.0,
    "flip": 0.0,
}


def augment(images, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return ImageAugmentation(**{**NOTHING, **options})(Modality(images), generator).values


@pytest.fixture
def images(generator):
    return torch.rand(8, 3, 20, 20, generator=generator)


def test_with_everything_off_an_image_stays_as_it_is(images):
    torch.testing.assert_close(augment(images), images)


def test_bytes_become_shares():
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(augment(pixels), pixels.float() / 255)


def test_a_flip_mirrors_columns(images):
    torch.testing.assert_close(augment(images, flip=1.0), images.flip(-1))


def test_grey_has_equal_channels_and_keeps_luma(images):
    grey = augment(images, greyscale=1.0)
    torch.testing.assert_close(grey[:, 0], grey[:, 1])
    luma = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(grey[:, 0], torch.einsum("bchw,c->bhw", images, luma))


def test_brightness_multiplies_each_image_by_its_own_factor(images):
    off = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    ratio = (augment(images / 2, jitter=1.0, brightness=0.4, **off) / (images / 2)).flatten(1)
    assert ratio.std(dim=1).max() < 1e-4
    assert ratio.mean(dim=1).std() > 0.01
    assert ratio.min() >= 0.6
    assert ratio.max() <= 1.4


def test_contrast_keeps_the_mean_grey(images):
    off = {"brightness": 0.0, "saturation": 0.0, "hue": 0.0}
    middle = 0.4 + images / 5  # far from the clamp
    changed = augment(middle, jitter=1.0, contrast=0.4, **off)
    luma = torch.tensor([0.299, 0.587, 0.114])
    grey = [torch.einsum("bchw,c->b", x, luma) / 400 for x in (middle, changed)]
    torch.testing.assert_close(*grey)
    assert (changed.std(dim=(1, 2, 3)) / middle.std(dim=(1, 2, 3)) - 1).abs().max() > 0.05


@pytest.mark.parametrize("option", ["saturation", "hue"])
def test_colour_changes_keep_greys_and_luma(images, option):
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, option: 0.1, "jitter": 1.0}
    middle = 0.4 + images / 5
    grey = middle[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(augment(grey, **off), grey, atol=2e-4, rtol=0)
    luma = torch.tensor([0.299, 0.587, 0.114])
    before, after = (torch.einsum("bchw,c->bhw", x, luma) for x in (middle, augment(middle, **off)))
    torch.testing.assert_close(after, before, atol=2e-4, rtol=0)


def test_a_blur_smooths_more_with_a_larger_sigma(images):
    roughness = [
        augment(images, blur=1.0, sigma=(s, s)).diff(dim=-1).abs().mean().item() for s in (1e-3, 10.0, 30.0)
    ]
    assert roughness[0] == pytest.approx(images.diff(dim=-1).abs().mean().item(), rel=1e-4)
    assert roughness[0] > roughness[1] > roughness[2]


def test_a_crop_shows_a_part_of_the_image_enlarged():
    ramp = torch.linspace(0, 1, 32).expand(64, 3, 32, 32)
    crops = augment(ramp, scale=(0.25, 0.25))
    span = crops[:, 0, 0, -1] - crops[:, 0, 0, 0]
    assert span.mean().item() == pytest.approx(0.5, abs=0.06)
    assert crops[:, 0, 0, 0].std() > 0.05


def test_the_size_of_the_output_can_be_chosen(images):
    assert augment(images, size=12).shape == (8, 3, 12, 12)
    mean = augment(images, size=10).mean(dim=(2, 3))
    torch.testing.assert_close(mean, images.mean(dim=(2, 3)), atol=0.03, rtol=0)


def test_the_default_stays_in_range_and_is_decided_by_the_generator(images):
    default = ImageAugmentation()
    one, again, other = (
        default(Modality(images), torch.Generator().manual_seed(seed)).values for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert one.shape == images.shape


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_numbers_of_channels_work(channels, generator):
    images = torch.rand(4, channels, 16, 16, generator=generator)
    assert ImageAugmentation()(Modality(images), generator).values.shape == images.shape


def test_each_image_has_its_own_parameters(generator):
    same = torch.rand(1, 3, 16, 16, generator=generator).expand(6, -1, -1, -1)
    augmented = ImageAugmentation()(Modality(same), generator).values
    assert len(augmented.flatten(1).unique(dim=0)) == 6


def slow_move(image, box, mirror, sigma, size):
    """Crop, mirror and blur an image pixel by pixel, with triangle weights and an untruncated Gaussian."""
    top, left, tall, wide = box
    moved = image[:, top : top + tall, left : left + wide].double()
    for axis, (extent, pixels) in enumerate(zip((tall, wide), size, strict=True), start=1):
        step, matrix = extent / pixels, torch.zeros(pixels, extent, dtype=torch.float64)
        for to in range(pixels):
            for source in range(extent):
                distance = abs(source + 0.5 - (to + 0.5) * step) / max(step, 1)
                matrix[to, source] = max(0, 1 - distance)
        bell = torch.eye(pixels, dtype=torch.float64)
        for to in range(pixels if sigma else 0):
            for source in range(pixels):
                bell[to, source] = math.exp(-((to - source) ** 2) / (2 * (sigma * pixels) ** 2))
        for weights in (matrix, bell):
            weights /= weights.sum(dim=1, keepdim=True)
            moved = torch.tensordot(weights, moved, dims=([1], [axis])).movedim(0, axis)
    return moved.flip(-1).float() if mirror else moved.float()


@pytest.mark.parametrize("move", [_move_each, _move_all])
@pytest.mark.parametrize(("kind", "close"), [(torch.float32, 1e-4), (torch.uint8, 1 / 255)])
@pytest.mark.parametrize("size", [(12, 17), (40, 31)])
def test_crop_mirror_and_blur_equal_the_slow_computation(move, kind, close, size, generator):
    images = torch.rand(4, 3, 20, 26, generator=generator)
    boxes = torch.tensor([[0, 0, 20, 26], [3, 5, 9, 21], [19, 25, 1, 1], [4, 0, 16, 7]])
    mirrored, sigma = torch.tensor([False, True, False, True]), torch.tensor([0.0, 0.03, 0.05, 0.0])
    given = images if kind.is_floating_point else (images * 255).round().to(kind)
    moved = move(given, boxes, mirrored, sigma, size)
    expected = torch.stack(
        [
            slow_move(given[i] if kind.is_floating_point else given[i] / 255, *row, size)
            for i, row in enumerate(zip(boxes.tolist(), mirrored.tolist(), sigma.tolist(), strict=True))
        ]
    )
    torch.testing.assert_close(moved, expected, atol=close + 2e-4, rtol=0)  # a byte is rounded twice
    assert (moved - expected).mean().abs() < 0.2 / 255


def test_crops_are_spread_over_area_shape_and_place():
    images, draw = (
        torch.zeros(1, 3, 100, 200),
        torch.rand(6, 20_000, generator=torch.Generator().manual_seed(0)),
    )
    boxes, mirrored, sigma = ImageAugmentation().geometry(images, tuple(draw))
    top, left, tall, wide = boxes.unbind(1)
    assert (boxes[:, :2] >= 0).all()
    assert (top + tall <= 100).all()
    assert (left + wide <= 200).all()
    inside = (tall < 100) & (wide < 200)
    area, shape = (tall * wide / 20_000)[inside], (wide / tall / 2)[inside]
    assert area.min().item() == pytest.approx(0.08, abs=0.01)
    assert shape.log().abs().max().item() == pytest.approx(math.log(4 / 3), abs=0.03)
    assert shape.log().mean().item() == pytest.approx(0, abs=0.01)
    place = (top / (100 - tall))[tall < 90]  # all places are equally likely, from first to last
    assert place.mean().item() == pytest.approx(0.5, abs=0.01)
    assert {0.0, 1.0} <= set(place.tolist())
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (sigma > 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (sigma[sigma > 0] * 224).mean().item() == pytest.approx(1.05, abs=0.02)
