"""One training of a comparison in its own process: train or fit, embed, probe, and write the results.

The process reads `job.json` in its folder. Each file is written atomically, `probes.json` last.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commlearn.comparison.answers.readouts import READOUTS, read_share
from commlearn.comparison.baselines import BaselineInputs, find_baseline
from commlearn.comparison.plan import PREDICTIONS, PROBES, ComparisonSource, arrays_of, with_method
from commlearn.comparison.workers import peak_memory
from commlearn.config.configuration import Experiment
from commlearn.errors import CommlearnError, DivergedError
from commlearn.methods import METHODS
from commlearn.probes.probe import Vectors, probe_vectors
from commlearn.probes.results import Outcome
from commlearn.records import Dataset, Records
from commlearn.storage.locks import hold
from commlearn.storage.plain_json import json_text, values_of_file
from commlearn.trained.embed import embed
from commlearn.trained.run_folder import COST, JOB, RunFolder
from commlearn.trained.training_rows import check_same_data
from commlearn.training.callbacks import Lines
from commlearn.training.train import train

FAILED, DIVERGED = 2, 3  # exit codes
PATIENCE = 60.0  # seconds to wait until a job of a killed comparison has written its last checkpoint


def work(folder: Path) -> None:
    """Run the job that `job.json` describes."""
    spec = values_of_file(folder / JOB)
    if spec["method"] == READOUTS:
        read_share(Path(spec["options"]["out"]), spec["options"])
        return
    source = ComparisonSource(**spec["source"])
    overrides = {"seed": spec["seed"], "training.threads": spec["threads"]}
    experiment, data = source.read(spec["variant"], overrides)
    remedy = "Restore the original data, or give another out=."
    check_same_data("The comparison", {"files": spec.get("files")}, {"files": data.files}, remedy)
    if spec["method"] in METHODS and METHODS[spec["method"]].views.targets:
        data = replace(data, train=data.fit)  # with labels, train on the records that probes are fitted on
    parts = [data.fit, data.test]
    if data.validation is not None and len(data.validation):
        parts.append(data.validation)
    experiment = experiment_of_job(spec, source, experiment, list(data.train.specs))
    previous = values_of_file(folder / COST) if (folder / COST).exists() else {}
    files, started = RunFolder(folder), time.monotonic()
    try:
        rows = _vectors(spec, experiment, data, parts, folder)
    finally:  # the time of an interrupted training counts when it resumes
        seconds = round(previous.get("seconds", 0.0) + time.monotonic() - started, 2)
        peaks = filter(None, (previous.get("peak_memory_mb"), peak_memory()))
        cost = {"seconds": seconds, "peak_memory_mb": max(peaks, default=None)}
        files.write(COST, json_text(cost))
    files.write(COST, json_text({**cost, "width": rows[0].shape[1]}))
    vectors = [Vectors(part, records) for part, records in zip(rows, parts, strict=True)]
    outcomes = probe_vectors(data, *vectors, targets=spec["targets"])
    results: dict[str, Any] = {name: outcome.result for name, outcome in outcomes.items()}
    arrays = _arrays(outcomes)
    if all((folder / name).exists() for name in (PROBES, PREDICTIONS)):  # results of other targets
        results = {**values_of_file(folder / PROBES), **results}
        arrays = {**arrays_of(folder / PREDICTIONS), **arrays}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    files.write_bytes(PREDICTIONS, content.getvalue())
    files.write(PROBES, json_text(results))


def experiment_of_job(
    spec: dict[str, Any], source: ComparisonSource, experiment: Experiment, modalities: Sequence[str]
) -> Experiment:
    """Return the experiment with the job's method and options; CoMM's for baselines that use its network."""
    baseline = find_baseline(spec["method"], modalities)
    if baseline is not None and not baseline.drawn:
        return experiment
    name = "comm" if baseline else spec["method"]
    return with_method(experiment, {**spec["options"], **source.method_options(name, experiment)})


def _vectors(
    spec: dict[str, Any], experiment: Experiment, data: Dataset, parts: Sequence[Records], folder: Path
) -> list[np.ndarray]:
    baseline = find_baseline(spec["method"], list(data.train.specs))
    if baseline is not None:
        if experiment.training.threads:
            torch.set_num_threads(experiment.training.threads)
        return baseline.make(BaselineInputs(experiment, data, spec["targets"], folder, Lines()), parts)
    run = train(experiment, folder, data=data, resume=True, progress=Lines())
    return [embed(run, records, blocks="learned") for records in parts]


def _arrays(outcomes: dict[str, Outcome]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, outcome in outcomes.items():
        arrays |= {f"{name}/truth": outcome.truth, f"{name}/predicted": outcome.predicted}
        if outcome.groups is not None:
            arrays[f"{name}/groups"] = outcome.groups
    return arrays


def end_with(parent: int) -> None:
    """Treat the death of the comparison as SIGTERM: a training writes a checkpoint and ends.

    `parent` is the descriptor of a pipe whose other end the comparison holds.
    """

    def watch() -> None:
        while os.read(parent, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="commlearn-parent", daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    folder = Path(arguments[0])
    try:
        hold(folder, "training", patience=PATIENCE).close()
        work(folder)
    except DivergedError as problem:
        print(f"diverged: {problem}")
        return DIVERGED
    except CommlearnError as problem:
        print(" ".join(str(problem).split()))  # the comparison reports the last line
        return FAILED
    return 0


if __name__ == "__main__":
    end_with(sys.stdin.fileno())
    sys.exit(main(sys.argv[1:]))
