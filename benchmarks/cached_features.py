"""An epoch on frozen token states: read from disk against computed in every step.

    python benchmarks/cached_features.py [--pairs 1000] [--steps 2] [--threads 1]

Shaped like MM-IMDb: images of 224 pixels through a ViT-B/32 (50 tokens of width 768), texts of 77
tokens through a 12-layer transformer of width 768, both with random weights, which cost what trained
ones do. Each step is a step of CoMM: two views, fusion, head, loss, backward, AdamW. Of the epoch with
the encoders in the loop some steps are timed and the rest follows; the epoch from disk is timed whole.
The one pass that fills the files is timed apart. On a machine that is busy otherwise, the processor's
seconds say more than the clock's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from commlearn.augmentations import make_batch
from commlearn.data.records import Dataset, ImageColumn, Records
from commlearn.kinds.text import Sentences
from commlearn.training.build import build_augmentations, build_method
from commlearn.training.configuration import Experiment, experiment_from
from commlearn.training.kept_tokens import with_kept_tokens
from commlearn.training.optimization import adamw

BATCH, LENGTH, IDS = 64, 77, 30_522


def described(model: Any, folder: Path, **more: Any) -> dict[str, Any]:
    """A saved model as a schema's kinds describe it."""
    from commlearn.models.encoders.pretrained_folder import fingerprint

    model.save_pretrained(folder)
    about = {"cache": True, "views": 0, "precision": "float16", "sha256": fingerprint(folder)}
    names = {"pretrained": str(folder), "architecture": type(model).__name__, "features": 768}
    names["config"] = model.config.to_dict()
    return about | names | more


def encoders(folder: Path) -> dict[str, Any]:
    import transformers as t

    torch.manual_seed(0)
    image = t.CLIPVisionModel(t.CLIPVisionConfig())  # ViT-B/32 at 224 pixels
    text = t.BertModel(t.BertConfig(max_position_embeddings=LENGTH), add_pooling_layer=False)
    return {
        "image": {"encoder": described(image, folder / "image", mean=(0.5,) * 3, std=(0.3,) * 3)},
        "text": {"encoder": described(text, folder / "text", padding=0)},
    }


def pairs(count: int) -> Records:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
    tokens = draw.integers(1000, IDS, count * LENGTH).astype(np.int32)
    texts = Sentences(tokens, np.arange(count + 1) * LENGTH, IDS, (103, 101, 102))
    return Records({"image": ImageColumn(images, np.arange(count)), "text": texts})


def epoch(method: Any, records: Records, augmentations: Any, steps: int) -> np.ndarray:
    """Seconds on the clock and of the processor for so many steps."""
    optimizer = adamw(method.parameter_groups()["main"], settings().training)
    generator = torch.Generator().manual_seed(0)
    order = np.random.default_rng(0).permutation(len(records))
    start = now()
    for step in range(steps):
        view = records.view(order[step * BATCH : (step + 1) * BATCH])
        batch = make_batch(view, {}, augmentations, generator, False, 2, records.specs)
        optimizer.zero_grad()
        next(method.steps(batch)).loss.backward()
        optimizer.step()
    return now() - start


def now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def settings() -> Experiment:
    return experiment_from({"name": "mm_imdb shape", "data": "trifeature", "model": {"width": 768}})


def timed(work: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    start = now()
    return work(), now() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2, help="timed with the encoders in the loop")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = options.pairs // BATCH
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COMMLEARN_CACHE"] = folder
        state, records, experiment = encoders(Path(folder)), pairs(options.pairs), settings()
        method = build_method(experiment, records.specs, state).train()
        data = Dataset(train=records, test=records)
        fabric = Fabric(accelerator="cpu", devices=1)
        raw = build_augmentations(experiment, records.specs)
        epoch(method, records, raw, 1)
        loop = epoch(method, records, raw, options.steps) / options.steps * steps
        (kept, views), filling = timed(
            lambda: with_kept_tokens(data, method, experiment, state, fabric, lambda line: None)
        )
        _, opening = timed(
            lambda: with_kept_tokens(data, method, experiment, state, fabric, lambda line: None)
        )
        epoch(method, kept.train, views, 1)
        disk = epoch(method, kept.train, views, steps)
        size = sum(path.stat().st_size for path in (Path(folder) / "tokens").iterdir())
    print(
        f"{options.pairs} pairs, {steps} steps of {BATCH}, {options.threads} threads, "
        f"torch {torch.__version__}"
    )
    print(f"{'seconds':48}{'clock':>10}{'processor':>12}")
    rows = {
        f"epoch, encoders in the loop (from {options.steps} steps)": loop,
        "epoch, token states from disk": disk,
        "ratio": loop / disk,
        "filling the files once": filling,
        "finding them again": opening,
    }
    for name, (clock, processor) in rows.items():
        print(f"{name:48}{clock:10.1f}{processor:12.1f}")
    print(f"files, MB (float16): {size / 1e6:.1f}")


if __name__ == "__main__":
    main()
