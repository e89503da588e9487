"""The Trifeature renderer, also compared with a loop over pixels (`benchmarks/rendering.py`)."""

import importlib.util
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from commlearn.datasets import trifeature_render
from commlearn.datasets.trifeature_render import (
    BACKGROUND,
    COLOURS,
    PATTERNS,
    SHAPES,
    TEXTURES,
    Poses,
    draw_poses,
    gallery,
    render,
)
from commlearn.errors import DataError

WHITE = list(COLOURS).index("white")
LOOP = Path(__file__).parents[2] / "benchmarks" / "rendering.py"


def random_kinds(count, seed=0):
    return np.random.default_rng(seed).integers(0, 10, (3, count))


def draw(shapes, textures, colours, size=64, seed=0):
    return render(shapes, textures, colours, size, np.random.default_rng(seed))


@pytest.fixture
def upright(monkeypatch):
    """Place every object in the middle without rotation, its texture rotated a little."""

    def same(count, size, rng):
        return Poses(*(np.full(count, value) for value in (size / 2, size / 2, 0.0, 0.3, 0.2, 0.4)))

    monkeypatch.setattr(trifeature_render, "draw_poses", same)


def test_names_are_those_of_the_paper():
    shapes = "triangle square plus circle tee rhombus pentagon star fivesquare trapezoid"
    textures = "solid stripes grid hexgrid dots noise triangles zigzags rain pluses"
    assert " ".join(SHAPES) == shapes
    assert " ".join(TEXTURES) == textures
    assert " ".join(COLOURS) == "red green blue yellow pink cyan purple ocean orange white"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    kinds = random_kinds(30)
    first = draw(*kinds, seed=3)
    assert first.dtype == np.uint8
    assert first.shape == (30, 64, 64, 3)
    assert np.array_equal(first, draw(*kinds, seed=3))
    assert not np.array_equal(first, draw(*kinds, seed=4))


@pytest.mark.parametrize("pixels", [1, 10**9])
def test_an_image_does_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch, pixels):
    kinds = random_kinds(60) % 2
    expected = draw(*kinds)
    monkeypatch.setattr(trifeature_render, "WINDOW_PIXELS", pixels)
    assert np.array_equal(draw(*kinds), expected)


def test_an_image_does_not_depend_on_those_after_it():
    kinds = random_kinds(40)
    assert np.array_equal(draw(*kinds)[:5], draw(*kinds[:, :5]))


def test_the_loop_over_pixels_gives_the_same_images(monkeypatch):
    monkeypatch.syspath_prepend(LOOP.parent)  # benchmarks import one another as scripts do
    spec = importlib.util.spec_from_file_location("rendering", LOOP)
    loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    kinds = np.stack([np.arange(10), np.arange(10), np.arange(10)[::-1]])
    with np.errstate(over="ignore"):
        expected = loop.render_by_pixel(*kinds, 40, np.random.default_rng(5)).astype(int)
    difference = np.abs(draw(*kinds, size=40, seed=5) - expected)
    # In float32, a point on the edge of a noise cell may fall on either side, which changes part of a pixel.
    assert difference.max() <= 128 / 5
    assert difference.mean() < 0.01


def pairwise_differences(images):
    return [np.abs(a - b).mean() for a, b in combinations(images[..., 0].astype(float), 2)]


@pytest.mark.usefixtures("upright")
def test_all_shapes_differ():
    images = draw(np.arange(10), [0] * 10, [WHITE] * 10)
    assert min(pairwise_differences(images)) > 1.4  # a tenth of an object's difference from the background


@pytest.mark.usefixtures("upright")
def test_all_textures_differ():
    images = draw([1] * 10, np.arange(10), [WHITE] * 10)
    assert min(pairwise_differences(images)) > 2


@pytest.mark.parametrize("texture", TEXTURES[1:])
def test_every_texture_paints_a_part(texture):
    u, v = np.random.default_rng(0).uniform(0, 500, (2, 100_000)).astype(np.float32)
    assert 0.25 < (PATTERNS[texture](u, v) < 0).mean() < 0.7


@pytest.mark.parametrize("size", [64, 224])
def test_a_solid_object_shows_its_exact_colour_on_exact_grey(size):
    images = draw([1] * 10, [0] * 10, np.arange(10), size=size)
    poses = draw_poses(10, size, np.random.default_rng(0))
    for image, rgb, x, y in zip(images, COLOURS.values(), poses.x, poses.y, strict=True):
        inside = image[int(y) - 5 : int(y) + 5, int(x) - 5 : int(x) + 5].reshape(-1, 3)
        assert (inside == np.rint(255 * np.array(rgb))).all()
        rows, columns = np.mgrid[:size, :size] + 0.5
        far = np.hypot(columns - x, rows - y) > size * 0.72 * 128 / 224
        assert far.any()
        assert (image[far] == BACKGROUND).all()


@pytest.mark.usefixtures("upright")
def test_every_shape_spans_its_box():
    images = draw(np.arange(10), [0] * 10, [WHITE] * 10, size=224)[..., 0]
    for image in images:
        rows, columns = np.nonzero(image != BACKGROUND)
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 0.85 * 128 <= longest <= 1.02 * 128


def test_the_painted_area_scales_with_the_image():
    shapes, textures = np.divmod(np.arange(100), 10)
    small, large = (
        (draw(shapes, textures, [WHITE] * 100, size=size)[..., 0].astype(float) - BACKGROUND).mean((1, 2))
        for size in (64, 224)
    )
    assert small == pytest.approx(large, rel=0.1)


def test_objects_lie_everywhere_and_boxes_inside_the_image():
    poses = draw_poses(2000, 224, np.random.default_rng(0))
    for centre in (poses.x, poses.y):
        assert 64 <= centre.min() < 66
        assert 158 < centre.max() <= 160
    for angle in (poses.angle, poses.texture_angle):
        assert -np.pi / 4 <= angle.min() < -0.75
        assert 0.75 < angle.max() <= np.pi / 4


def test_noise_differs_from_sample_to_sample():
    images = draw([1] * 2, [TEXTURES.index("noise")] * 2, [WHITE] * 2)
    assert not np.array_equal(images[0], images[1])


def test_no_samples_give_no_images():
    assert draw([], [], []).shape == (0, 64, 64, 3)


@pytest.mark.parametrize(
    ("kinds", "size", "message"),
    [
        (([0, 10], [0, 0], [0, 0]), 64, r"shapes\[1\] is 10; use 0 \(triangle\) to 9 \(trapezoid\)"),
        (([0], [-1], [0]), 64, r"textures\[0\] is -1"),
        (([0], [0], [12]), 64, r"colours\[0\] is 12; use 0 \(red\) to 9 \(white\)"),
        (([0], [0.5], [0]), 64, "textures must be a list of whole numbers, got float64"),
        ((0, [0], [0]), 64, "shapes must be a list"),
        (([0, 1], [0], [0]), 64, "2 shapes, 1 textures and 1 colours"),
        (([0], [0], [0]), 8, "size is 8 pixels; use 24 or more"),
    ],
)
def test_errors_name_the_value(kinds, size, message):
    with pytest.raises(DataError, match=message):
        draw(*kinds, size=size)


def test_all_errors_are_told_at_once():
    with pytest.raises(DataError, match=r"shapes\[0\] is 11; .*; colours\[0\] is 17"):
        draw([11], [0], [17])


def test_the_gallery_shows_every_colour():
    picture = gallery(size=32)
    assert picture.shape == (340, 340, 3)
    shown = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert {tuple(np.rint(255 * np.array(rgb)).astype(int).tolist()) for rgb in COLOURS.values()} <= shown
