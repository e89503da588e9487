"""Compare a CoMM training step with a plain computation of the same loss.

    python benchmarks/training_step.py [--quick] [--batch 16]

The plain computation calls each encoder once per view in the default memory format, computes the full fusion
(all rows, with new keys and values) for every subset, and calls the head and the loss for each view and
subset. The library calls each encoder once for both views, channels last, computes only the [CLS] row, and
reads every modality once for all subsets. Both see the same augmented images, and their losses are checked to
be equal before anything is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from machine import Machine, Row, measure, operations, seconds, table
from objective import plain_info_nce

from commlearn.augmentations import ImageAugmentation, make_batch
from commlearn.batch import Batch, Modality, Spec
from commlearn.methods.comm import CoMM
from commlearn.models.build import build_encoders
from commlearn.models.fusion import Fusion, prepend
from commlearn.models.tokens import Tokens


class Setting(NamedTuple):
    name: str
    size: int  # pixels per side
    encoder: str
    width: int
    batch: int
    rounds: int


QUICK = Setting("trifeature-quick", 64, "small_cnn", 256, 48, 3)
PUBLISHED = Setting("trifeature, 224 px", 224, "alexnet", 512, 64, 1)


def plain_loss(method: CoMM, batch: Batch) -> torch.Tensor:
    projections = []
    for view in batch.augmented:
        tokens = {name: method.encoders[name](modality) for name, modality in view.items()}
        projections.append(
            {subset: method.head(full_fusion(method.fusion, tokens, subset)) for subset in method.subsets}
        )
    first, second = projections
    full = method.modalities
    losses = [
        (plain_info_nce(first[subset], second[full]) + plain_info_nce(second[subset], first[full])) / 2
        for subset in method.subsets
    ]
    return torch.stack(losses).mean()


def full_fusion(fusion: Fusion, tokens: dict[str, Tokens], subset: tuple[str, ...]) -> torch.Tensor:
    sequence = prepend(fusion.cls, [tokens[name] for name in subset])
    for layer in fusion.layers:
        sequence = Tokens(layer(sequence), sequence.padding)
    return fusion.norm(sequence.values)[:, 0]


def build(setting: Setting) -> CoMM:
    torch.manual_seed(0)
    specs = {name: Spec("image", (3, setting.size, setting.size)) for name in ("image1", "image2")}
    return CoMM.build(
        build_encoders(specs, setting.width, {"image": {"name": setting.encoder}}), setting.width
    )


def augment(setting: Setting) -> Callable[[], Batch]:
    """Return a function that makes a batch of two views of two images, from bytes in channels-last order."""
    shape = (setting.batch, setting.size, setting.size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2)
    view = {name: Modality(pixels) for name in ("image1", "image2")}
    generator = torch.Generator().manual_seed(0)
    augmentations = {name: ImageAugmentation() for name in view}
    return lambda: make_batch(view, {}, augmentations, generator, plain=False, augmented=2)


def in_default_format(method: CoMM) -> CoMM:
    """Change the method to store images and kernels channel by channel, the default of modules."""
    for encoder in method.encoders.values():
        encoder.encoder.stack.to(memory_format=torch.contiguous_format)
        encoder.encoder.forward = lambda values, padding, stack=encoder.encoder.stack: (
            stack(((values - 0.5) / 0.25).contiguous()),
            padding,
        )
    return method


def descend(method: CoMM, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def work() -> None:
        method.zero_grad()
        loss().backward()

    return work


def steps(setting: Setting) -> list[Row]:
    ours, plain = build(setting), in_default_format(build(setting))
    make = augment(setting)
    batch = make()
    ours.eval(), plain.eval()  # use running statistics, in which alone one encoder call differs from two
    with torch.no_grad():
        mine, theirs = next(ours.steps(batch)).loss, plain_loss(plain, batch)
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    ours.train(), plain.train()
    work = descend(ours, lambda: next(ours.steps(batch)).loss)
    count = operations(work)
    mine = seconds(work, setting.rounds, warm=False)
    theirs = seconds(descend(plain, lambda: plain_loss(plain, batch)), setting.rounds, warm=False)
    images = seconds(make, setting.rounds + 1, warm=False)
    share = f"{100 * images / (images + mine):.0f} % of the whole step"
    return [
        Row(
            f"{setting.name}, batch {setting.batch}: loss and gradient",
            mine,
            count,
            note=f"plain {1000 * theirs:.4g} ms, {theirs / mine:.2f} times as long",
        ),
        Row(f"{setting.name}: augmentation of its images", images, operations(make), note=share),
    ]


def tables(machine: Machine, settings: tuple[Setting, ...] = (QUICK, PUBLISHED)) -> list[str]:
    rows = [row for setting in settings for row in steps(setting)]
    return [table("One training step of CoMM", rows, machine)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only trifeature-quick")
    parser.add_argument("--batch", type=int, default=PUBLISHED.batch, help="records at 224 px")
    options = parser.parse_args()
    settings = (QUICK,) if options.quick else (QUICK, PUBLISHED._replace(batch=options.batch))
    print("\n".join(tables(measure(), settings)))


if __name__ == "__main__":
    main()
