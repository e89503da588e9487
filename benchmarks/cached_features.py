"""Compare an epoch on frozen token states read from disk with one that computes them in every step.

    python benchmarks/cached_features.py [--pairs 1000] [--loop 16] [--threads 1]

The data have the shape of MM-IMDb: images of 224 pixels through a ViT-B/32 (50 tokens of width 768) and
texts of 77 tokens through a 12-layer transformer of width 768. Both have random weights, which cost as much
as trained ones. Each step is a step of CoMM: two views, fusion, head, loss, backward, AdamW.

The epoch from disk is timed in full. With the encoders in the loop, an epoch takes minutes, and all of its
batches cost the same. Only `--loop` pairs are therefore trained on, as one batch; the shorter of two times
is scaled up to the number of pairs. The pass that fills the files is also timed on these pairs. The epoch
reads files of random states, which takes as long as reading real ones. On a busy machine, processor time is
more reliable than wall-clock time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from commlearn.augmentations import make_batch
from commlearn.config.build import build_augmentations, build_method
from commlearn.config.configuration import Experiment, experiment_from
from commlearn.kinds.text import Sentences
from commlearn.records import Dataset, ImageColumn, Records
from commlearn.training.descent import adamw
from commlearn.training.kept_tokens import (
    SHARD,
    TokenColumn,
    TokenShard,
    open_shard,
    with_kept_tokens,
    write_shard,
)

BATCH, LENGTH, IDS = 64, 77, 30_522


def described(model: Any, folder: Path, **more: Any) -> dict[str, Any]:
    """Save the model, and return its description in the form that a schema's kinds use."""
    from commlearn.models.encoders.pretrained_model import fingerprint

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


def states_on_disk(count: int, folder: Path) -> Records:
    """Write random token states of `count` pairs to files, and return them as training reads them."""
    draw = np.random.default_rng(0)
    columns = {}
    for name, length in (("image", 50), ("text", LENGTH)):
        shards = []
        for start in range(0, count, SHARD):
            shape = (min(SHARD, count - start), 1, length, 768)
            values = draw.standard_normal(shape, dtype=np.float32).astype(np.float16)
            path = folder / f"{name}{start}.tokens"
            write_shard(path, TokenShard(values, None, np.ones(len(values), dtype=bool)))
            shards.append(open_shard(path))
        columns[name] = TokenColumn(shards)
    return Records(columns)


def epoch(method: Any, records: Records, augmentations: Any, batch: int) -> np.ndarray:
    """Train for one epoch; returns seconds of wall-clock and processor time."""
    optimizer = adamw(method, method.parameter_groups()["main"], settings().training)
    generator = torch.Generator().manual_seed(0)
    order = np.random.default_rng(0).permutation(len(records))
    start = now()
    for rows in np.split(order, range(batch, len(order), batch)):
        view = records.view(rows)
        made = make_batch(view, {}, augmentations, generator, False, 2, records.specs)
        optimizer.zero_grad()
        next(method.steps(made)).loss.backward()
        optimizer.step()
    return now() - start


def now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def settings() -> Experiment:
    return experiment_from({"name": "mm_imdb shape", "data": "trifeature", "model": {"width": 768}})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=16, help="pairs that pass through the encoders")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    heading = (
        f"{options.pairs} pairs, batches of {BATCH}, {options.threads} threads, torch {torch.__version__}"
    )
    print(f"{heading}\n{'seconds':52}{'wall clock':>12}{'processor':>12}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COMMLEARN_CACHE"] = folder
        state, records, experiment = encoders(Path(folder)), pairs(options.loop), settings()
        method = build_method(experiment, records.specs, state).train()
        data = Dataset(train=records, test=records, state=state)
        fabric = Fabric(accelerator="cpu", devices=1)
        epoch(method, records.choose(np.arange(2)), build_augmentations(experiment, records.specs), 2)
        start = now()
        _, views = with_kept_tokens(data, method, experiment, fabric, lambda line: None)
        more = options.pairs / options.loop
        show(f"filling the files once (from {options.loop} pairs)", (now() - start) * more)
        stored = states_on_disk(options.pairs, Path(folder))
        epoch(method, stored.choose(np.arange(2 * BATCH)), views, BATCH)
        disk = epoch(method, stored, views, BATCH)
        show("epoch, token states from disk", disk)
        raw = build_augmentations(experiment, records.specs)
        twice = [epoch(method, records, raw, options.loop) for _ in range(2)]
        loop = np.min(twice, axis=0) * more
        show(f"epoch, encoders in the loop (from {options.loop} pairs)", loop)
        show("ratio", loop / disk)
        size = sum(path.stat().st_size for path in Path(folder).glob("*.tokens"))
    print(f"files, MB (float16): {size / 1e6:.1f}")


def show(name: str, times: np.ndarray) -> None:
    print(f"{name:52}{times[0]:12.1f}{times[1]:12.1f}", flush=True)


if __name__ == "__main__":
    main()
