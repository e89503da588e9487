"""Compare the processor time of this checkout with that of an earlier commit, in one run on one machine.

    python benchmarks/against.py                    # against the commit in benchmarks/baseline.txt
    python benchmarks/against.py HEAD~5 --bar 1.2

pytest-benchmark times the cases of `cases.py` for the two versions in turn, twice, and the shortest times are
compared. Every run is added to benchmarks/history, by machine (not under version control), for
`pytest-benchmark --storage benchmarks/history compare`. Exits with 1 if a case takes more than `--bar` times
as long as before, and compares nothing if git does not have the commit, as in a shallow clone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
HISTORY = HERE / "history"


def unpack(commit: str, folder: Path) -> Path:
    """Extract the commit's `src` into this folder, and return its path."""
    archive = folder / "src.tar"
    subprocess.run(["git", "archive", "--output", archive, commit, "src"], cwd=ROOT, check=True)
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
    return folder / "src"


def times(source: Path, name: str, folder: Path, only: str) -> dict[str, float]:
    """Return the shortest processor time of each case with the package in `source`, in seconds."""
    result = folder / f"{name}.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--quiet",
        "-p",
        "no:cacheprovider",
        "-k",
        only,
        str(HERE / "cases.py"),
    ]
    command += ["--benchmark-timer=time.process_time", "--benchmark-max-time=1.5", "--benchmark-min-rounds=3"]
    command += ["--benchmark-warmup=on", "--benchmark-warmup-iterations=1", "--benchmark-quiet"]
    command += [
        f"--benchmark-json={result}",
        f"--benchmark-save={name}",
        f"--benchmark-storage=file://{HISTORY}",
    ]
    path = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"The cases failed with the package in {source}:\n{run.stdout}{run.stderr}")
    return {case["name"]: case["stats"]["min"] for case in json.loads(result.read_text())["benchmarks"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit", nargs="?", default=(HERE / "baseline.txt").read_text().split()[0])
    parser.add_argument("--bar", type=float, default=1.6, help="largest ratio that passes (default: 1.6)")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each commit (default: 2)")
    parser.add_argument("-k", dest="only", default="", help="cases by name, as pytest takes them")
    options = parser.parse_args()
    present = ["git", "cat-file", "-e", f"{options.commit}^{{commit}}"]
    if subprocess.run(present, cwd=ROOT, capture_output=True).returncode:
        print(f"NOT COMPARED: {options.commit} is not in this clone; fetch the full history.")
        return 0
    before: dict[str, float] = {}
    now: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = ((unpack(options.commit, folder), "before", before), (ROOT / "src", "now", now))
        for _ in range(options.rounds):
            for source, label, shortest in sources:
                for case, spent in times(source, label, folder, options.only).items():
                    shortest[case] = min(spent, shortest.get(case, spent))
    print(f"| case | {options.commit[:8]}, ms | now, ms | ratio |\n| --- | --- | --- | --- |")
    slower = []
    for case, spent in now.items():
        if case not in before:
            continue
        ratio = spent / before[case]
        print(f"| {case} | {1000 * before[case]:.1f} | {1000 * spent:.1f} | {ratio:.2f} |")
        slower += [case] if ratio > options.bar else []
    if slower:
        print(f"More than {options.bar} times as long as at {options.commit[:8]}: {', '.join(slower)}.")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
