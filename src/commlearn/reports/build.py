"""From a trained model to the page and its files."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commlearn.config.places import file_inside
from commlearn.errors import RunError
from commlearn.escapes import spreadsheet_text
from commlearn.reports.charts import draw
from commlearn.reports.findings import Findings, find
from commlearn.reports.information import information
from commlearn.reports.knowledge import information_rows
from commlearn.reports.page import page
from commlearn.reports.source import Source, source
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.plain_json import json_text, values_of_file
from commlearn.trained.run import Run

PAGE, INTERACTIONS = "report.html", "interactions.json"


@dataclass(frozen=True)
class Written:
    """What a report consists of."""

    out: str  # the page
    files: tuple[str, ...]  # other files, in the same folder
    bytes: int  # size of the page
    seconds: float


def report(
    model: Any,
    table: str | Path | None = None,
    out: str | Path | None = None,
    targets: Sequence[str] | None = None,
    interactions: bool = False,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Written:
    """Write one page that shows what a training found, and the same as PNG, CSV and JSON next to it.

    Args:
        model: a run, an artifact or an Embedder, or a folder of one.
        table: rows to examine, split as the training's were; those of the training if not given.
        out: folder; `report` in the run's folder if not given.
        targets: which to show; all if not given.
        interactions: whether to decompose what the modalities know together, for the named targets or the
            first three; if not, the report shows any decompositions that the run's folder already holds.
        seed: seed of folds, bootstrap and the choice of records.
        tell: receives a line for each part of the work.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:], "sign": rows[:, 0] > 0}
        >>> halves = {"left": cl.Vector("left"), "right": cl.Vector("right")}
        >>> schema = cl.Schema(halves, targets={"sign": "class"})
        >>> model = cl.Embedder(schema, epochs=1).fit({name: cells[:60] for name, cells in table.items()})
        >>> report(model, table, "page").out
        'page/report.html'
    """
    start = time.monotonic()
    tell("reading records")
    subject = source(model, table, targets)
    if out is None and subject.root is None:
        raise RunError("The model is not in a folder; specify a folder for the report: out=...")
    folder = Path(out) if out is not None else _default_folder(subject)
    decompositions = (
        _decompose(subject, bool(targets), seed, tell) if interactions else _load_decompositions(subject)
    )
    findings = find(subject, decompositions, seed, tell)
    tell("drawing")
    charts = draw(findings)
    html = page(findings, charts).encode()
    files = {f"{chart.name}.png": chart.png for chart in charts}
    files["report.json"] = json_text(findings.to_dict(), 1, ascii_only=False).encode()
    files |= {name: text.encode() for name, text in tables(findings).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"Cannot make the folder {folder}: {problem.strerror}.") from problem
    _write(folder, {**files, PAGE: html}, subject.run)
    return Written(str(folder / PAGE), tuple(sorted(files)), len(html), round(time.monotonic() - start, 2))


def _default_folder(subject: Source) -> Path:
    """Return the default folder of a report; a link that leads out of an artifact is rejected."""
    root = Path(subject.root or ".")
    return root / "report" if subject.run is not None else file_inside(root, "report")


def _write(folder: Path, files: Mapping[str, bytes], run: Run | None) -> None:
    """Write the files; those inside a run's folder are registered as the run's."""
    target = folder.resolve()
    if run is not None and target.is_relative_to(root := run.folder.path.resolve()):
        run.folder.writes(*((target / name).relative_to(root).as_posix() for name in files))
    for name, content in files.items():
        write_atomically(folder / name, content)


def tables(findings: Findings) -> dict[str, str]:
    """Return the contents of the page's tables, as CSV."""
    probes: list[Sequence[Any]] = [("target", "subset", "measure", "score", "low", "high", "test_records")]
    for target, rungs in findings.ladder.items():
        for name, result in rungs.items():
            score = getattr(result, result.measure)
            probes.append((target, name, result.measure, score, *result.interval, result.test_records))
    points: list[Sequence[Any]] = [("record", "projection", "subset", "x", "y")]
    for projection, layouts in findings.maps.items():
        for subset, layout in layouts.items():
            points += [
                (name, projection, subset, *xy)
                for name, xy in zip(findings.cards.names, layout.tolist(), strict=True)
            ]
    bits: list[Sequence[Any]] = [("target", "where", "part", "bits", "low", "high", "p")]
    for name, values in findings.interactions.items():
        bits += [(name, *row) for row in information_rows(values)] if "problem" not in values else []
    extra = {"information.csv": _csv(bits)} if len(bits) > 1 else {}
    return {"probes.csv": _csv(probes), "map.csv": _csv(points), **extra}


def _decompose(
    subject: Source, named: bool, seed: int, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Compute the decompositions, and keep them in the run's folder too."""
    decompositions = information(subject, named, seed, tell)
    if subject.run:
        text = json.dumps(decompositions, indent=1, ensure_ascii=False) + "\n"
        if note := subject.run.folder.write_if_possible(INTERACTIONS, text):
            tell(note)
    return decompositions


def _load_decompositions(subject: Source) -> dict[str, dict[str, Any]]:
    """Return those that an earlier report left in the run's folder, except old ones without a verdict."""
    path = None if subject.run is None else subject.run.folder.path / INTERACTIONS
    if path is None or not path.exists():
        return {}
    try:
        stored = values_of_file(path)
        requested = {name: values for name, values in stored.items() if values["of"] in subject.targets}
        return {
            name: values for name, values in requested.items() if "problem" in values or "verdict" in values
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise RunError(f"{path} is damaged: {problem}. Delete it, or create it again.") from problem


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([map(spreadsheet_text, row) for row in rows])
    return text.getvalue()
