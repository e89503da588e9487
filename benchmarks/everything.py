"""Run the benchmarks, and write their results with date and hardware to benchmarks/RESULTS.md.

    python benchmarks/everything.py [--only rendering objective]

Benchmarks that are not run keep their last table. `make bench` runs all of them, in minutes on one core.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import platform
from pathlib import Path

import torch
from machine import Machine, measure

QUESTIONS = ("rendering", "augmentation", "training_step", "fusion", "objective", "tables", "parts", "cost")
RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """# Measured

Written by `make bench` (`python benchmarks/everything.py`, or one benchmark with `--only`). Times are
processor times of one thread in fp32. The floor of a task is the larger of two times: its operations divided
by the rate of large products, and its bytes divided by the rate of copies, both measured in the same run. A
share above 100 % means that convolutions run faster than large products. `pid.py` and the sections whose
headings begin with "Apart" are not part of that run.
"""


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def described(machine: Machine) -> str:
    today = datetime.date.today().isoformat()
    return f"*{today}, one thread of {processor()}, torch {torch.__version__}: {machine}.*"


def sections(text: str) -> dict[str, str]:
    """Split the text of the file into sections, by heading."""
    return {part.splitlines()[0]: f"## {part.rstrip()}" for part in text.split("\n## ")[1:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for question in options.only:
        machine = measure()
        for made in importlib.import_module(question).tables(machine):
            text = f"{made}\n\n{described(machine)}"
            print(f"{text}\n", flush=True)
            before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
            every_section = sections(before) | sections(f"\n{text}")
            RESULTS.write_text("\n\n".join([HEAD.rstrip(), *every_section.values()]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
