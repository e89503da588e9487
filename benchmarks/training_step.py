"""One CoMM training step against the plain computation of the same loss.

    python benchmarks/training_step.py [--size 64] [--encoder small_cnn] [--threads 1]

Plain: each encoder once for each view, the fusion in full (all rows, keys and values anew) for every
subset, one head call and one loss for each view and subset. Ours: each encoder once for both views,
the [CLS] row alone, every modality read once for all subsets. Augmentation is timed apart; both use
the same. Losses are checked to be equal before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from commlearn.augmentations import ImageAugmentation, make_batch
from commlearn.data.batch import Batch, Modality
from commlearn.data.records import Spec
from commlearn.methods.comm import CoMM
from commlearn.models.build import build_encoders
from commlearn.models.fusion import prepend
from commlearn.models.tokens import Tokens
from commlearn.objectives import info_nce


def plain_loss(method: CoMM, batch: Batch) -> torch.Tensor:
    projections = []
    for view in batch.augmented:
        tokens = {name: method.encoders[name](modality) for name, modality in view.items()}
        projections.append(
            {subset: method.head(full_fusion(method, tokens, subset)) for subset in method.subsets}
        )
    first, second = projections
    full = method.modalities
    losses = [
        (info_nce(first[subset], second[full]) + info_nce(second[subset], first[full])) / 2
        for subset in method.subsets
    ]
    return torch.stack(losses).mean()


def full_fusion(method: CoMM, tokens: dict[str, Tokens], subset: tuple[str, ...]) -> torch.Tensor:
    fusion = method.fusion
    sequence = prepend(fusion.cls, [tokens[name] for name in subset])
    for layer in fusion.layers:
        sequence = Tokens(layer(sequence), sequence.padding)
    return fusion.norm(sequence.values)[:, 0]


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--encoder", default="small_cnn")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    specs = {name: Spec("image", (3, options.size, options.size)) for name in ("image1", "image2")}
    encoders = build_encoders(specs, options.width, {"image": {"name": options.encoder}})
    method = CoMM.build(encoders, options.width)
    pixels = torch.randint(0, 256, (options.batch, options.size, options.size, 3), dtype=torch.uint8)
    view = {name: Modality(pixels.permute(0, 3, 1, 2)) for name in specs}
    augmentations = {name: ImageAugmentation() for name in specs}
    generator = torch.Generator().manual_seed(0)

    def augment() -> Batch:
        return make_batch(view, {}, augmentations, generator, plain=False, augmented=2)

    batch = augment()
    method.eval()  # running statistics of batch norm: the only way in which one call differs from two
    torch.testing.assert_close(
        next(method.steps(batch)).loss, plain_loss(method, batch), atol=1e-5, rtol=1e-5
    )
    method.train()

    def descend(loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def work() -> None:
            method.zero_grad()
            loss().backward()

        return work

    plain = milliseconds(descend(lambda: plain_loss(method, batch)), options.rounds)
    ours = milliseconds(descend(lambda: next(method.steps(batch)).loss), options.rounds)
    augmentation = milliseconds(augment, options.rounds)
    tokens = {name: Tokens(rows.values.detach()) for name, rows in method.encode(batch.augmented[0]).items()}
    plain_fusion = milliseconds(
        descend(lambda: sum(full_fusion(method, tokens, s).square().sum() for s in method.subsets)),
        options.rounds,
    )
    fusion = milliseconds(
        descend(lambda: sum(z.square().sum() for z in method.fusion(tokens, method.subsets).values())),
        options.rounds,
    )
    print(
        f"batch {options.batch} x 2 images of {options.size} px, {options.encoder}, width {options.width}, "
        f"{options.threads} threads, fp32, torch {torch.__version__}"
    )
    print(f"{'':34}{'plain':>10}{'ours':>10}{'ratio':>8}")
    print(f"{'loss and gradient of a step, ms':34}{plain:10.1f}{ours:10.1f}{plain / ours:8.2f}")
    print(
        f"{'fusion of one view alone, ms':34}{plain_fusion:10.1f}{fusion:10.1f}{plain_fusion / fusion:8.2f}"
    )
    print(
        f"{'augmentation of a step, ms':34}{'':10}{augmentation:10.1f}{'':8}"
        f"  {100 * augmentation / (augmentation + ours):.0f} % of the whole"
    )


if __name__ == "__main__":
    main()
