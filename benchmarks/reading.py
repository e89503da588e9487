"""Measure the time to read a published pickle: 2 000 samples of three modalities in the MOSI format.

python benchmarks/reading.py --rows 2000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from commlearn.datasets import READERS
from commlearn.datasets.converted import convert
from commlearn.datasets.synthetic_published import write_stand_in

MODALITIES = ("vision", "audio", "text")


def measure(path: Path) -> tuple[float, float]:
    """Return the seconds of wall-clock and processor time of the fastest of three readings."""
    timings = []
    for _ in range(3):
        clock, processor = time.perf_counter(), time.process_time()
        READERS["mosi"](path=str(path), modalities=MODALITIES).read()
        timings.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(timings)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pickled, opened = Path(folder) / "mosi_raw.pkl", Path(folder) / "open"
        write_stand_in("mosi", pickled, options.rows)
        convert(pickled, opened)
        print("| file | MB | wall-clock seconds | processor seconds |")
        print("| --- | --- | --- | --- |")
        for name, path in (("pickle", pickled), ("converted", opened)):
            size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir())) / 1e6
            clock, processor = measure(path)
            print(f"| {name} | {size:.0f} | {clock:.2f} | {processor:.2f} |")


if __name__ == "__main__":
    main()
