"""The image augmentation alone, per image size, with or without the smaller output of a crop.

python benchmarks/augmentation.py
"""

from __future__ import annotations

import torch
from machine import Machine, Row, measure, operations, seconds, table

from commlearn.augmentations import ImageAugmentation
from commlearn.batch import Modality

SIZES = ((32, 32), (64, 64), (128, 128), (224, 224), (512, 224))  # of the image, of the result


def tables(machine: Machine, images: int = 32) -> list[str]:
    rows = []
    for before, after in SIZES:
        pixels = torch.randint(0, 256, (images, before, before, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        change = ImageAugmentation(size=after)
        generator = torch.Generator().manual_seed(0)

        def work(pixels=pixels, change=change, generator=generator) -> None:
            change(Modality(pixels), generator)

        spent = seconds(work)
        moved = pixels.nbytes + images * 3 * after * after * 4
        note = f"{images / spent:.0f} images/s"
        rows.append(Row(f"{images} images, {before} to {after} px", spent, operations(work), moved, note))
    return [table("Image augmentation", rows, machine)]


if __name__ == "__main__":
    print("\n".join(tables(measure())))
