"""How often the forecast of `commlearn check`, before any training, agrees with the verdict after it.

    python benchmarks/forecasts.py --verdicts results.jsonl --tables runs/few-labels

`results.jsonl` is what `benchmarks/verdicts.py` wrote: tables whose answers are known, made again here.
`runs/few-labels` is the folder of `benchmarks/few_labels.py`: real tables with their verdicts. The advice
agrees with a verdict if that says

- nothing: that the target is not read
- combine: that the combination adds something
- one: that the combination adds nothing and no other modality than the named one is needed
- align: that the combination adds nothing and no modality is needed
- features: that the combination and the embedding add nothing with all labels
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
    """The modality that reads the target best by itself."""
    readers = values["budgets"]["all"]["readers"]
    return max(values["modalities"], key=lambda name: readers[alone(name)]["score"])


def agrees(advice: str, best: str, verdict: Mapping[str, Any]) -> bool:
    """Whether the verdict says what the advice supposed."""
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
    """Tables of `verdicts.py`: is the advice the right one, and does the verdict agree?"""
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
    print(f"\nadvice as the answer asks: {sum(right)} of {len(right)}; the verdict agrees: {sum(agreed)}\n")


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
    print("| table | advice before | modalities needed after | combination adds | agree | processor time |")
    print("| --- | --- | --- | --- | --- | --- |")
    if options.verdicts:
        known_tables(options.verdicts)
    if options.tables:
        real_tables(options.tables)


if __name__ == "__main__":
    main()
