"""Speed of the image augmentation by image size, with equal or smaller output, compared with Pillow.

Pillow applies the same steps to one image after another, as SimCLR's published transforms do: crop and
resize, the four jitters in any order, greyscale, blur, flip, conversion to floats.

python benchmarks/augmentation.py
"""

from __future__ import annotations

import numpy as np
import torch
from machine import Machine, Row, measure, operations, seconds, table
from PIL import Image, ImageEnhance, ImageFilter

from commlearn.augmentations import ImageAugmentation
from commlearn.batch import Modality

SIZES = ((32, 32), (64, 64), (128, 128), (224, 224), (512, 224))  # pixels per side: input, output


def tables(machine: Machine, images: int = 32) -> list[str]:
    rows = []
    for before, after in SIZES:
        pixels = torch.randint(0, 256, (images, before, before, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        change = ImageAugmentation(size=after)
        generator = torch.Generator().manual_seed(0)

        def work(pixels=pixels, change=change, generator=generator) -> None:
            change(Modality(pixels), generator)

        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]
        draw = np.random.default_rng(0)

        def pillow(pictures=pictures, draw=draw, after=after) -> None:
            np.stack([by_pillow(picture, draw, after) for picture in pictures])

        spent, others = seconds(work, rounds=5), seconds(pillow, rounds=5)
        moved = pixels.nbytes + images * 3 * after * after * 4
        note = f"{images / spent:.0f} images/s, {others / spent:.2f} times Pillow"
        rows.append(Row(f"{images} images, {before} to {after} px", spent, operations(work), moved, note))
    return [table("Image augmentation", rows, machine)]


def by_pillow(picture: Image.Image, draw: np.random.Generator, size: int) -> np.ndarray:
    """Augment one image with Pillow; returns floats in 0..1, (channels, size, size)."""
    width, height = picture.size
    area, ratio = draw.uniform(0.08, 1) * width * height, np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3)))
    wide, tall = min(width, round((area * ratio) ** 0.5)), min(height, round((area / ratio) ** 0.5))
    left, top = draw.integers(0, width - wide + 1), draw.integers(0, height - tall + 1)
    box = (left, top, left + wide, top + tall)
    picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for number in draw.permutation(4) if draw.random() < 0.8 else ():
        if number < 3:
            picture = enhancers[number](picture).enhance(draw.uniform(0.6, 1.4))
        else:
            hue, *rest = picture.convert("HSV").split()
            turned = np.array(hue) + np.uint8(int(draw.uniform(-0.1, 0.1) * 255) % 256)
            picture = Image.merge("HSV", (Image.fromarray(turned), *rest)).convert("RGB")
    if draw.random() < 0.2:
        picture = picture.convert("L").convert("RGB")
    if draw.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(draw.uniform(0.1, 2) * size / 224))
    if draw.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1), dtype=np.float32) / 255


if __name__ == "__main__":
    print("\n".join(tables(measure())))
