"""Measure search: the cost of an exact query, the recall of faiss lists, and recall across modalities.

    python benchmarks/search.py cost                     # 1 000 000 x 384, processor time
    python benchmarks/search.py recall                   # halves of digits; numerals too with --mfeat FILE
    python benchmarks/search.py recall --emoji FOLDER    # of the npm package emoji-datasource-google

The vectors of `cost` are random: clouds around 20 000 centres. Recall is computed on the last fifth of the
rows, which was used neither for training (the first three) nor to choose the search space (the fourth).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import commlearn as cl
from commlearn.cores import use_free_cores
from commlearn.probes.nearest import nearest, unit
from commlearn.probes.retrieval import retrieval
from commlearn.search.similar import Lists

RECORDS, DIM, MIDDLES, QUERIES = 1_000_000, 384, 20_000, 50


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("cost", "recall"))
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--mfeat", type=Path, help="mfeat.npz: six sets of features of handwritten numerals")
    parser.add_argument("--emoji", type=Path, help="folder with emoji.json and img/google/64")
    options = parser.parse_args()
    use_free_cores()
    cost(options.records) if options.what == "cost" else recall(options)


def cost(records: int) -> None:
    draw = np.random.default_rng(0)
    middles = draw.normal(size=(MIDDLES, DIM)).astype(np.float32)
    vectors = np.empty((records, DIM), dtype=np.float32)
    for start in range(0, records, 100_000):
        rows = min(100_000, records - start)
        cloud = draw.normal(size=(rows, DIM)).astype(np.float32)
        vectors[start : start + rows] = unit(middles[draw.integers(0, MIDDLES, rows)] + cloud)
    queries = vectors[draw.integers(0, records, QUERIES)]
    nearest(queries[:1], vectors, 10)
    start = time.process_time()
    exact = np.concatenate([nearest(queries[[row]], vectors, 11)[0] for row in range(QUERIES)])
    print(f"exact: {(time.process_time() - start) / QUERIES:.3f} s of processor time per query")
    if importlib.util.find_spec("faiss") is None:
        return print("faiss is not installed: approximate search is not measured")
    start = time.process_time()
    lists = Lists(vectors)
    print(f"{lists.index.nlist} lists: {time.process_time() - start:.0f} s of processor time to build")
    usual = lists.index.nprobe
    for visited in (usual // 4, usual, 4 * usual):
        lists.index.nprobe = visited
        start = time.process_time()
        close = np.concatenate([lists.nearest(queries[[row]], 11)[0] for row in range(QUERIES)])
        seconds = (time.process_time() - start) / QUERIES
        share = np.mean([len(set(a[1:]) & set(b[1:])) / 10 for a, b in zip(exact, close, strict=True)])
        print(
            f"  {visited} visited: recall@10 {share:.3f} of exact search, {1000 * seconds:.1f} ms per query"
        )
    return None


def recall(options: argparse.Namespace) -> None:
    images = load_digits().images.astype(np.float32) / 16
    tables = {"digits": {"left": images[:, :, :4].reshape(-1, 32), "right": images[:, :, 4:].reshape(-1, 32)}}
    schemas = {"digits": {name: cl.Vector(name) for name in tables["digits"]}}
    pairs = {"digits": [("left", "right")]}
    if options.mfeat:
        with np.load(options.mfeat, allow_pickle=False) as arrays:
            tables["numerals"] = {name: arrays[name] for name in arrays if name != "label"}
        schemas["numerals"] = {name: cl.Vector(name) for name in tables["numerals"]}
        pairs["numerals"] = [("fac", "fou"), ("kar", "zer"), ("pix", "mor")]
    if options.emoji:
        tables["emoji"] = emoji(options.emoji)
        schemas["emoji"] = {"picture": cl.Image("picture", outside=True), "name": cl.Text("name")}
        pairs["emoji"] = [("picture", "name")]
    for name, table in tables.items():
        count = len(next(iter(table.values())))
        order = np.random.default_rng(0).permutation(count)
        train, test = order[: int(0.6 * count)], order[int(0.8 * count) :]
        start = time.process_time()
        model = cl.Embedder(cl.Schema(schemas[name])).fit(rows_of(table, train))
        print(
            f"{name}: {len(train)} rows trained in {time.process_time() - start:.0f} s; {len(test)} searched"
        )
        records = model.trained.records(rows_of(table, test))
        for one, other in [side for pair in pairs[name] for side in (pair, pair[::-1])]:
            shares = {
                blocks: retrieval(model, records, [one], [other], (1, 10), blocks=blocks).recall
                for blocks in ("all", "learned", "features")
            }
            words = ", ".join(f"{blocks} {part[1]:.3f} {part[10]:.3f}" for blocks, part in shares.items())
            print(f"  {one} -> {other}: recall@1 and @10 by {words}; chance {10 / len(test):.3f}")


def rows_of(table: dict, rows: np.ndarray) -> dict:
    return {
        name: [cells[row] for row in rows] if isinstance(cells, list) else cells[rows]
        for name, cells in table.items()
    }


def emoji(folder: Path) -> dict[str, list[str]]:
    """Read the paths of pictures of 64 pixels, and their names and short names."""
    entries = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    entries = [entry for entry in entries if (folder / "img/google/64" / entry["image"]).exists()]
    names = [
        f"{entry['name'].lower()} {' '.join(entry['short_names']).replace('_', ' ')}" for entry in entries
    ]
    return {"picture": [str(folder / "img/google/64" / entry["image"]) for entry in entries], "name": names}


if __name__ == "__main__":
    main()
