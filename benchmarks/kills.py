"""Kill commands with SIGKILL at random moments, run them again, and compare with an undisturbed run.

    OMP_NUM_THREADS=1 python benchmarks/kills.py --kills 50

Every kill uses a fresh folder: the command is started, killed, started again and left to finish. Its output
must then be bit for bit that of an undisturbed run, and no part of a file may be left. Half of the kills
happen at a random moment between the start and the usual end. The others happen at the first moment after
such a time at which a partly written file exists.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from commlearn.cli import main as command_line
from commlearn.datasets.synthetic_tables import SyntheticTable
from commlearn.storage.checkpoint import read_checkpoint
from commlearn.trained import shards

LONGEST = 900  # seconds that one process may take
SCHEMA = """\
version: 1
table: table.parquet
modalities:
  text: {kind: text, column: text}
  table: {kind: tabular, columns: [height, rate, site]}
  vector: {kind: vector, column: vector}
targets: {shared: class}
id: id
split: split
"""
SMALL = ["--training.batch_size", "32", "--training.epochs", "3", "--model.width", "16", "--quiet"]
SMALL += ["--training.checkpoint_every", "1", "--training.log_every", "1", "--training.threads", "1"]
TIMES = {"log.txt", "speed.jsonl", "environment.json", "cost.json", "output.txt", "lock"}  # time-dependent
TIMED = {"seconds", "peak_memory_mb", "cost", "minutes"}  # keys in JSON whose values depend on time
LIVES = multiprocessing.get_context("forkserver")
LIVES.set_forkserver_preload(
    [
        "__main__",
        *("commlearn.reports", "commlearn.training.train", "commlearn.training.finetune"),
        *("commlearn.comparison.compare", "matplotlib.figure", "sklearn.linear_model", "lightning_fabric"),
    ]
)


@dataclass(frozen=True)
class Case:
    """A command that is killed."""

    name: str
    words: Callable[[Path], list[str]]  # returns the command's words, given its output folder
    base: Path | None = None  # folder that is copied to the output folder before the start


@dataclass(frozen=True)
class Kill:
    """Result of one kill and the second run of the command."""

    case: str
    moment: float  # seconds after the start
    parts: int  # number of partly written files at that moment
    equal: bool
    left: list[str]  # partly written files that the second run left behind
    problem: str = ""  # failure of the second run, or files that differ


def live(words: list[str], errors: Path) -> None:
    """Run the command line with these words in the current process; stderr goes to `errors`."""
    shards.ROWS = 200  # rows per file of embeddings, so that there are many files
    silence, log = os.open(os.devnull, os.O_WRONLY), os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(silence, 1)
    os.dup2(log, 2)
    sys.exit(command_line(words))


def born(words: list[str], errors: Path) -> BaseProcess:
    life = LIVES.Process(target=live, args=(words, errors))
    life.start()
    return life


def finish(words: list[str], errors: Path) -> str:
    """Run the command undisturbed; return its error output if it failed, and an empty text otherwise."""
    life = born(words, errors)
    life.join(LONGEST)
    if life.exitcode == 0:
        return ""
    life.kill()
    return f"exit {life.exitcode}: {errors.read_text(errors='replace')[-500:]}"


def parts(out: Path) -> list[str]:
    """Return the partly written files in the folder and next to it."""
    return sorted(str(path.relative_to(out.parent)) for path in out.parent.rglob(".*.part"))


def being_written(out: Path) -> bool:
    """Return whether there is a partly written file; faster than `parts`."""
    return any(name.endswith(".part") for _, _, names in os.walk(out.parent) for name in names)


def content(out: Path) -> dict[str, str]:
    """Return a digest of every file that does not depend on time, by name."""
    digests = {}
    for path in sorted(out.rglob("*")):
        if not path.is_file() or path.name in TIMES or "tensorboard" in path.parts or path.suffix == ".part":
            continue
        data = path.read_bytes()
        if path.suffix == ".json":
            data = json.dumps(untimed(json.loads(data)), sort_keys=True).encode()
        elif path.suffix == ".ckpt":  # the same values may be pickled in different ways
            data = "".join(flat(read_checkpoint(path))).encode()
        digests[str(path.relative_to(out))] = hashlib.sha256(data).hexdigest()
    return digests


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: untimed(entry) for key, entry in value.items() if key not in TIMED}
    return [untimed(entry) for entry in value] if isinstance(value, list) else value


def flat(value: Any, where: str = "") -> Iterator[str]:
    """Yield every value with its position; for tensors, all bytes."""
    if isinstance(value, torch.Tensor):
        value = (value.dtype, value.shape, value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict | list | tuple):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            yield from flat(entry, f"{where}/{key}")
        return
    yield f"{where}={value!r}\n"


def killed(
    case: Case, out: Path, chance: random.Random, usual: float, errors: Path
) -> tuple[float, int] | None:
    """Start the command and kill it; return the time and the number of partly written files.

    Returns None if the command had ended before.
    """
    start = time.monotonic()
    life = born(case.words(out), errors)
    moment, writing = start + chance.random() * usual, chance.random() < 0.5
    while life.is_alive() and time.monotonic() < moment:
        time.sleep(0.005)
    while writing and life.is_alive() and not being_written(out):
        pass
    alive = life.is_alive()
    life.kill()
    life.join(LONGEST)
    return (round(time.monotonic() - start, 3), len(parts(out))) if alive else None


def fresh(case: Case, out: Path) -> None:
    shutil.rmtree(out.parent, ignore_errors=True)
    out.parent.mkdir()
    if case.base is not None:
        shutil.copytree(case.base, out)


def try_case(case: Case, folder: Path, kills: int, tell: Callable[[Kill], None]) -> list[Kill]:
    """Run one command twice undisturbed, then kill and repeat it until there are `kills` results."""
    out, errors, chance = folder / "place" / "out", folder / "errors.txt", random.Random(case.name)
    contents, times = [], []
    for _ in range(2):  # both must give the same files
        fresh(case, out)
        start = time.monotonic()
        if problem := finish(case.words(out), errors):
            raise SystemExit(f"{case.name}: {problem}")
        contents.append(content(out))
        times.append(time.monotonic() - start)
    if contents[0] != contents[1]:
        raise SystemExit(f"{case.name} is not repeatable: {difference(*contents)}")
    done: list[Kill] = []
    while len(done) < kills:
        fresh(case, out)
        caught = killed(case, out, chance, min(times), errors)
        if caught is None:
            continue
        problem = finish(case.words(out), errors)
        now = content(out)
        problem = problem or difference(contents[0], now)
        done.append(Kill(case.name, *caught, now == contents[0], parts(out), problem))
        tell(done[-1])
    return done


def difference(one: dict[str, str], other: dict[str, str]) -> str:
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return f"files that differ: {', '.join(names)}" if names else ""


def cases(folder: Path) -> dict[str, Case]:
    """Return the commands, each of which takes seconds, and create the files that they start from."""
    data, run = folder / "data", folder / "run"
    SyntheticTable(rows=160, size=16, missing=0.2, format="parquet").write(data)
    (data / "gaps.yaml").write_text(SCHEMA)
    frame = pd.concat([pd.read_parquet(data / "table.parquet")] * 20, ignore_index=True)
    frame["id"] = [f"r{row}" for row in range(len(frame))]
    columns = ["id", "text", "height", "rate", "site", "vector"]
    pq.write_table(pa.Table.from_pandas(frame[columns]), data / "many.parquet", row_group_size=100)
    tokens = ["--method.name", "comm", "--method.embedding", "fused+tokens"]
    train = ["train", str(data / "gaps.yaml"), "--resume", *SMALL, *tokens]
    if problem := finish([*train, "--out", str(run)], folder / "errors.txt"):
        raise SystemExit(problem)
    tune = ["finetune", str(run), "--target", "shared", "--epochs", "3", "--batch-size", "32", "--resume"]
    compare = ["compare", str(data / "gaps.yaml"), "--methods", "comm,raw", "--seeds", "1", "--jobs", "1"]
    made = [
        Case("train", lambda out: [*train, "--out", str(out)]),
        Case("finetune", lambda out: [*tune, "--out", str(out), "--quiet"]),
        Case("embed", lambda out: ["embed", str(run), str(data / "many.parquet"), "-o", f"{out}/"]),
        Case("export", lambda out: ["export", str(run), str(out)]),
        Case("report", lambda out: ["report", str(out), "--quiet"], run),
        Case("compare", lambda out: [*compare, "--out", str(out), *SMALL]),
    ]
    return {case.name: case for case in made}


def table(kills: list[Kill]) -> str:
    """Return the results as the table that the documentation shows."""
    heads = (
        "command",
        "kills",
        "of these, with a partly written file",
        "bit for bit equal",
        "partial files left",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in dict.fromkeys(kill.case for kill in kills):
        mine = [kill for kill in kills if kill.case == name]
        writing, equal = sum(kill.parts > 0 for kill in mine), sum(kill.equal for kill in mine)
        left = sum(len(kill.left) for kill in mine)
        lines.append(f"| `{name}` | {len(mine)} | {writing} | {equal} | {left} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill commands at random moments and run them again.")
    parser.add_argument("--kills", type=int, default=50, help="number of kills of each command")
    parser.add_argument("--only", help="names of commands, separated by commas")
    parser.add_argument("--out", default=os.devnull, help="write every kill as JSON lines")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    kills: list[Kill] = []
    try:
        chosen = cases(folder)
        with Path(options.out).open("a", encoding="utf-8") as log:

            def tell(kill: Kill) -> None:
                print(json.dumps(asdict(kill)), file=log, flush=True)

            for name in options.only.split(",") if options.only else chosen:
                kills += try_case(chosen[name], folder, options.kills, tell)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(kills))
    return 0 if all(kill.equal and not kill.left for kill in kills) else 1


if __name__ == "__main__":
    sys.exit(main())
