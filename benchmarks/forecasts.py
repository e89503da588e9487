"""Measure how often the forecast of `commlearn check`, before any training, agrees with the later verdict.

    python benchmarks/forecasts.py --verdicts results.jsonl --tables runs/few-labels

`results.jsonl` is the output of `benchmarks/verdicts.py`, whose tables with known answers are generated again
here. `runs/few-labels` is the folder of `benchmarks/few_labels.py`, with real tables and their verdicts. A
verdict agrees with the advice if it says the following. For the last three, the target must also be readable.

- nothing: the target cannot be read
- combine: the combination adds something
- one: the combination adds nothing, and no modality is needed except the best single one
- align: the combination adds nothing, and no modality is needed
- features: the combination adds nothing, and with all labels the embedding adds nothing either
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verdicts import statements, write_table

from commlearn.comparison.answers.forecast import forecast
from commlearn.comparison.answers.rivals import alone

RIGHT = {
    "redundant": {"align"},
    "unique": {"one"},
    "synergy": {"combine"},
    "noise": {"nothing"},
}


def best_alone(values: Mapping[str, Any]) -> str:
    """Return the modality that predicts the target best on its own."""
    readers = values["budgets"]["all"]["readers"]
    return max(values["modalities"], key=lambda name: readers[alone(name)]["score"])


def agrees(advice: str, best: str, verdict: Mapping[str, Any]) -> bool:
    """Return whether the verdict agrees with the advice."""
    if advice in ("nothing", "combine"):
        return not verdict["readable"] if advice == "nothing" else bool(verdict["combination"])
    if not verdict["readable"] or verdict["combination"]:
        return False
    if advice == "features":
        return "all" not in verdict["added"]
    return set(verdict["needed"]) <= ({best} if advice == "one" else set())


def show(name: str, values: Mapping[str, Any], verdict: Mapping[str, Any], seconds: float) -> bool:
    agreed = agrees(values["advice"], best_alone(values), verdict)
    needed = ", ".join(verdict["needed"]) or "none"
    combines, same = ("yes" if verdict["combination"] else "no"), ("yes" if agreed else "NO")
    cells = [name, values["advice"], needed, combines, same, f"{seconds:.0f} s"]
    print(f"| {' | '.join(cells)} |", flush=True)
    return agreed


def known_tables(verdicts: Path) -> None:
    """Compare the advice on the tables of `verdicts.py` with the known answers and with the verdicts."""
    lines = [json.loads(line) for line in verdicts.read_text(encoding="utf-8").splitlines()]
    right, agreed = [], []
    for rows, seed in sorted({(line["rows"], line["seed"]) for line in lines}):
        own = {line["kind"]: line for line in lines if (line["rows"], line["seed"]) == (rows, seed)}
        with tempfile.TemporaryDirectory() as folder:
            busy = time.process_time()
            by_target = forecast(write_table(Path(folder), rows, seed))
            seconds = (time.process_time() - busy) / len(by_target)
        for kind, values in by_target.items():
            right.append(values["advice"] in RIGHT[kind])
            agreed.append(show(f"{kind}, {rows} rows, seed {seed}", values, own[kind], seconds))
    print(f"\ncorrect advice: {sum(right)} of {len(right)}; the verdict agrees: {sum(agreed)}\n")


def real_tables(folder: Path) -> None:
    agreed = []
    for path in sorted(folder.glob("*/comparison/verdict.json")):
        verdict = json.loads(path.read_text(encoding="utf-8"))["targets"]
        busy = time.process_time()
        by_target = forecast(path.parent.parent / "schema.yaml")
        seconds = (time.process_time() - busy) / len(by_target)
        for target, values in by_target.items():
            name = f"{path.parent.parent.name}, {target}"
            agreed.append(show(name, values, statements(verdict[target]), seconds))
    print(f"\nthe verdict agrees: {sum(agreed)} of {len(agreed)}")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--verdicts", type=Path, help="JSON lines of benchmarks/verdicts.py")
    parser.add_argument("--tables", type=Path, help="folder of benchmarks/few_labels.py")
    options = parser.parse_args()
    print(
        "| table | advice before | needed according to the verdict | the combination adds | agree "
        "| processor time |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    if options.verdicts:
        known_tables(options.verdicts)
    if options.tables:
        real_tables(options.tables)


if __name__ == "__main__":
    main()
