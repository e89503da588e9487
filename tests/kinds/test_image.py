"""Images: every form and colour mode becomes an RGB square; errors name what cannot be read."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as PIL

from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds import image as image_module
from commlearn.kinds.base import Cells
from commlearn.kinds.image import Image
from commlearn.kinds.rows import first_ten

RED = (250, 10, 10)


def cells(values, root=".", first_row=0):
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return Cells(pd.DataFrame({"path": pd.Series(column)}), root, first_row)


def file_bytes(picture, kind="PNG", **options):
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def read(values, root=".", size=32, white=65_535, **options):
    return Image("path", **options).read(cells(values, root), {"size": size, "white": white})


def pixels(value, **options):
    """Return the pixels of one image, (height, width, 3)."""
    modality = read([value], **options).take(np.array([0]))
    assert modality.values.dtype == torch.uint8
    return modality.values[0].permute(1, 2, 0).numpy()


def noise(width, height):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.fromarray(values)


def test_all_forms_of_a_cell_give_the_same_pixels(tmp_path):
    picture = noise(32, 32)
    expected = np.asarray(picture)
    content = file_bytes(picture)
    (tmp_path / "a.png").write_bytes(content)
    forms = [
        "a.png",
        content,
        bytearray(content),
        {"bytes": content, "path": None},
        {"bytes": None, "path": "a.png"},
        expected,
        expected.tolist(),
        expected / 255.0,
        expected.astype(np.int64),
        picture,
    ]
    column = read(forms, tmp_path)
    assert column.spec.kind == "image"
    assert column.spec.shape == (3, 32, 32)
    assert column.present is None
    taken = column.take(np.arange(len(forms)))
    assert taken.present is None
    for values in taken.values:
        np.testing.assert_array_equal(values.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV"])
def test_every_colour_mode_becomes_rgb(mode):
    picture = PIL.new("RGB", (40, 40), RED).convert(mode)
    np.testing.assert_allclose(pixels(picture).reshape(-1, 3).mean(0), RED, atol=8)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_becomes_three_equal_channels(mode):
    values = pixels(PIL.new("L", (40, 40), 255).convert(mode))
    assert (values == 255).all()


def test_what_is_transparent_lies_on_white():
    assert (pixels(PIL.new("RGBA", (32, 32), (10, 20, 30, 0))) == 255).all()
    half = pixels(PIL.new("RGBA", (32, 32), (0, 0, 0, 128)))
    assert abs(int(half[0, 0, 0]) - 127) <= 1
    palette = PIL.new("RGB", (32, 32), (255, 0, 0)).convert("P")  # a transparent palette colour
    assert (pixels(file_bytes(palette, transparency=palette.getpixel((0, 0)))) == 255).all()


def test_deep_grey_is_scaled_by_the_depth_of_the_training_images():
    deep = PIL.fromarray(np.full((32, 32), 2000, dtype=np.uint16))
    content = file_bytes(deep)
    state = Image("path").learn(cells([content]))
    assert state["white"] == 4095
    assert (pixels(content, white=state["white"]) == round(2000 * 255 / 4095)).all()
    assert (pixels(np.full((32, 32), 2000, dtype=np.uint16), white=4095) == 125).all()
    bright = file_bytes(PIL.fromarray(np.full((32, 32), 60_000, dtype=np.uint16)))
    assert Image("path").learn(cells([bright, content]))["white"] == 65_535


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.linspace(10, 3010, 1024, dtype=np.float32),
            "values from 10 to 3010; give .* fractions from 0 to 1",
        ),
        (np.full(1024, np.inf, dtype=np.float32), "fractions from 0 to 1"),
        (np.arange(1024, dtype=np.int32) * 100, "values up to 102300; give whole numbers from 0 to 65535"),
    ],
)
def test_deep_images_beyond_the_scale_are_refused_and_no_white_square(values, message):
    content = file_bytes(PIL.fromarray(values.reshape(32, 32)), "TIFF")
    with pytest.raises(DataError, match=f"row 0: .*{message}"):
        read([content])
    fractions = file_bytes(PIL.fromarray(np.full((32, 32), 0.5, dtype=np.float32)), "TIFF")
    assert (pixels(fractions) == 128).all()


def test_exif_rotation_is_applied():
    upright = PIL.new("RGB", (40, 40))
    upright.paste(RED, (0, 0, 40, 20))  # the upper half is red
    exif = PIL.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise for display
    stored = upright.rotate(90)
    values = pixels(file_bytes(stored, "JPEG", quality=95, exif=exif))
    assert values[4, 16, 0] > 200
    assert values[28, 16, 0] < 50


def test_the_middle_square_of_a_long_image_is_read():
    picture = PIL.new("RGB", (300, 100))
    picture.paste(RED, (100, 0, 200, 100))
    np.testing.assert_allclose(pixels(picture)[:, 2:-2].reshape(-1, 3).mean(0), RED, atol=3)


def test_large_jpegs_are_decoded_at_a_fraction_close_to_the_truth():
    smooth = PIL.fromarray(np.add.outer(np.arange(800), np.arange(800)).astype(np.float32) / 1600 * 255)
    content = file_bytes(smooth.convert("RGB"), "JPEG", quality=95)
    exact = np.asarray(smooth.convert("RGB").resize((32, 32), PIL.Resampling.BOX), dtype=int)
    assert np.abs(pixels(content).astype(int) - exact).max() < 12


def test_an_animation_shows_its_first_frame():
    frames = [PIL.new("RGB", (32, 32), RED), PIL.new("RGB", (32, 32), (0, 0, 255))]
    content = file_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(pixels(content).reshape(-1, 3).mean(0), RED, atol=3)


@pytest.mark.parametrize(("side", "size"), [(20, 32), (28, 32), (60, 64), (100, 96), (150, 128), (900, 224)])
def test_the_size_follows_the_training_images(side, size):
    state = Image("path").learn(cells([PIL.new("L", (side, side + 5))] * 50_000))
    assert state["size"] == size
    assert json.loads(json.dumps(state)) == state


@pytest.mark.parametrize(("count", "size"), [(3, 64), (1_999, 64), (2_000, 96), (10_000, 128), (50_000, 224)])
def test_few_images_are_read_small(count, size):
    assert Image("path").learn(cells([PIL.new("L", (900, 700))] * count))["size"] == size


def test_a_stated_size_wins():
    kind = Image("path", size=48)
    state = kind.learn(cells([noise(500, 500)]))
    assert state["size"] == 48
    with pytest.raises(ConfigurationError, match="16 to 1024"):
        Image("path", size=8)


def test_absent_images_are_zero_and_marked():
    column = read([noise(32, 32), None, float("nan"), "", {"bytes": None, "path": None}])
    taken = column.take(np.array([2, 0, 4]))
    assert taken.present.tolist() == [False, True, False]
    assert taken.values[0].sum() == 0
    assert taken.values[1].sum() > 0
    assert column.present.tolist() == [True, False, False, False, False]


def test_a_column_without_any_image_is_all_absent():
    taken = read([None, None]).take(np.array([0, 1]))
    assert taken.values.shape == (2, 3, 32, 32)
    assert not taken.present.any()


def test_records_of_one_file_share_its_pixels(tmp_path):
    noise(32, 32).save(tmp_path / "a.png")
    column = read(["a.png", "a.png", None, "a.png"], tmp_path)
    assert len(column.sources) == 1
    taken = column.take(np.array([3, 0, 2])).values
    assert torch.equal(taken[0], taken[1])
    assert taken[2].sum() == 0
    assert column.images.sum() > 0  # `take` returned copies


def test_images_that_do_not_fit_in_memory_are_decoded_when_taken(tmp_path, monkeypatch):
    noise(40, 40).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:1500])
    in_memory = read(["a.png", None], tmp_path)
    monkeypatch.setattr(image_module, "IMAGES_IN_MEMORY", 0)
    streamed = Image("path").read(
        cells(["a.png", None, "cut.png"], tmp_path, 100), {"size": 32, "white": 255}
    )
    assert streamed.images is None
    rows = np.array([1, 0])
    assert torch.equal(streamed.take(rows).values, in_memory.take(rows).values)
    with pytest.raises(DataError, match=r"path row 102: 'cut.png' cannot be decoded .*cut off"):
        streamed.take(np.array([0, 2]))
    with pytest.raises(DataError, match="no such file"):
        read(["nowhere.png"], tmp_path)


def test_a_missing_file_is_named_with_the_folder_in_which_it_was_looked_for(tmp_path):
    for root, where in ((tmp_path, re.escape(f" in {tmp_path}")), (Path(), " in the working folder")):
        with pytest.raises(DataError, match=f"'nowhere.png': there is no such file{where}. Correct the path"):
            read(["nowhere.png"], root)


def test_cut_off_images_are_named_by_row(tmp_path):
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG")):
        content = file_bytes(noise(64, 64), kind)
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as caught:
        Image("path").read(cells(["a.png", "b.jpg"], tmp_path, 7), {"size": 32, "white": 255})
    assert "path: 2 rows cannot be read" in str(caught.value)
    assert "row 7: 'a.png' cannot be decoded" in str(caught.value)
    assert "row 8: 'b.jpg'" in str(caught.value)
    problems = Image("path").check(cells(["a.png", "b.jpg"], tmp_path))
    assert [problem.row for problem in problems] == [0, 1]
    assert all(problem.level == "error" for problem in problems)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("nowhere.png", "no such file"),
        ("img\\a.png", "with / in place of"),
        ("https://example.org/a.png", "Download it"),
        (".", "is outside the table's folder"),
        ("../secret.png", "is outside the table's folder"),
        ("/etc/hostname", "is outside the table's folder"),
        ("text.png", "not an image that PIL recognises"),
        (b"GIF", "not an image that PIL recognises"),
        (3.5, "is not an image"),
        ([["a", "b"]], "An array of type <U1 is not an image"),
        ([[1], [2, 3]], "cannot be decoded"),
        (np.zeros((4, 4, 7)), "4 x 4 x 7 is not an image"),
        (np.zeros((0, 4)), "0 x 4 is not an image"),
        (np.zeros(4), "4 is not an image"),
        (np.full((4, 4), 16.0), "fractions from 0 to 1"),
        (np.full((4, 4), np.nan), "fractions from 0 to 1"),
        (np.full((4, 4), -1), "whole numbers from 0 to 255"),
    ],
)
def test_a_bad_cell_says_what_is_wrong(tmp_path, cell, message):
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataError, match=message):
        read([cell], tmp_path)


def test_paths_may_leave_the_folder_if_allowed(tmp_path):
    noise(32, 32).save(tmp_path / "a.png")
    inside = tmp_path / "table"
    inside.mkdir()
    for cell in ("../a.png", str(tmp_path / "a.png")):
        assert len(read([cell], inside, outside=True).sources) == 1
        with pytest.raises(DataError, match="outside: true"):
            read([cell], inside)
    assert len(read([str(tmp_path / "a.png"), "table/../a.png"], tmp_path).sources) == 2


def bomb(width, height):
    """Return a PNG of a few bytes whose header claims a huge image."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bombs_are_refused(side):
    with pytest.raises(DataError, match="Give a smaller image"):
        read([bomb(side, side)])


def test_of_many_bad_rows_ten_are_named_and_the_rest_counted():
    with pytest.raises(DataError) as caught:
        read(["nowhere.png"] * 25)
    message = str(caught.value)
    assert "25 rows" in message
    assert "row 9:" in message
    assert "row 10:" not in message
    assert "15 more" in message
    problems = Image("path").check(cells(["nowhere.png"] * 25))
    assert len(problems) == 11
    assert problems == [*first_ten(problems[:10]), problems[10]]


def test_check_warns_of_constant_and_of_long_images():
    same = Image("path").check(cells([noise(32, 32)] * 4))
    assert [(problem.level, "same image" in problem.message) for problem in same] == [("warning", True)]
    long = Image("path").check(cells([noise(32, 200), noise(33, 32)]))
    assert "1 images have a long side at least 3 times the short one" in long[0].message
    assert Image("path").check(cells([noise(32, 32), noise(33, 33)])) == []
    assert "no row has an image" in Image("path").check(cells([None]))[0].message


def test_a_pil_image_of_a_damaged_file_is_named():
    content = file_bytes(noise(64, 64))
    cut = PIL.open(io.BytesIO(content[: len(content) // 2]))  # PIL notices only when it decodes
    problems = Image("path").check(cells([noise(8, 8), cut]))
    assert [problem.row for problem in problems] == [1]
    with pytest.raises(DataError, match="none of the training rows"):
        Image("path").learn(cells([cut]))


def test_learning_needs_an_image():
    with pytest.raises(DataError, match="none of the training rows"):
        Image("path").learn(cells([None, "nowhere.png"]))


@pytest.mark.parametrize("size", ["64", 64.5, -1, 8])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ConfigurationError, match=f"Image size is {size!r}; give 16 to 1024 pixels"):
        Image("path", size=size)


def test_if_no_image_can_be_read_the_first_reason_is_given():
    with pytest.raises(DataError, match="can be read. The first: 'nowhere.png': there is no such file"):
        Image("path").learn(cells([None, "nowhere.png", "nowhere-else.png"]))


def test_objects_without_a_file_are_absent_and_others_are_named():
    picture = PIL.new("RGB", (4, 4), RED)
    column = Image("path").read(cells([{"bytes": None, "path": None}, picture]), {"size": 16, "white": 255})
    assert column.take(np.arange(2)).present.tolist() == [False, True]
    with pytest.raises(DataError, match="path row 0: .*'url'.* is not an image; give a path"):
        Image("path").read(cells([{"url": "a.png"}, picture]), {"size": 16, "white": 255})
