"""From a trained model to the page, made from the templates next to this file, and its files."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import commlearn
from commlearn.config.configuration import to_mapping
from commlearn.config.places import file_inside, settings_without_places
from commlearn.errors import RunError
from commlearn.escapes import spreadsheet_text
from commlearn.plot.style import COLOURS
from commlearn.probes.ladder import subset_label
from commlearn.probes.results import MEASURES, score_of
from commlearn.reports.cards import (
    MOST,
    bars_of,
    cards_of,
    doubtful,
    information_rows,
    rungs_of,
    sentences,
    warnings_of,
)
from commlearn.reports.charts import Chart, curves, draw
from commlearn.reports.findings import Findings
from commlearn.reports.information import information
from commlearn.reports.map import DOTS, SHAPES, code_class, dots, map_data
from commlearn.reports.records import clipped
from commlearn.reports.source import Source, source
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.plain_json import json_text, parse_json, values_of_file
from commlearn.storage.plain_yaml import yaml_text
from commlearn.trained.run import Run
from commlearn.trained.run_folder import make_folder

TABLES = ("report.json", "probes.csv", "map.csv", "information.csv")
PAGE, INTERACTIONS = "report.html", "interactions.json"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
OF_A_REPORT = re.compile(
    r"((verdict|probe|information)-[0-9]+|losses|metric-\w+|audit)\.png|information\.csv"
)  # what not every report has
PLAIN = {"", "schema", "table", "data", "config", "embedder"}  # names that say nothing about the content


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
            first three; if not, the report shows any decompositions of the training's records that the
            run's folder already holds.
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
        raise RunError("The model is not in a folder; specify a folder for the report: out=")
    folder = Path(out) if out is not None else _default_folder(subject)
    _check_folder(folder, TABLES)
    parts = _decompose(subject, bool(targets), seed, tell) if interactions else _load_decompositions(subject)
    findings = Findings(subject, parts, seed, tell)
    tell("drawing")
    charts = list(draw(findings))
    html = page(findings, charts).encode()
    files = {f"{chart.name}.png": chart.png for chart in charts}
    files |= {name: text.encode() for name, text in tables(findings).items()}
    values = findings.to_dict() | {"files": sorted(files)}
    files["report.json"] = json_text(values, 1, ascii_only=False).encode()
    _check_folder(folder, files)
    make_folder(folder)
    _write(folder, {PAGE: html, **files}, subject.run)
    return Written(str(folder / PAGE), tuple(sorted(files)), len(html), round(time.monotonic() - start, 2))


def _check_folder(folder: Path, names: Iterable[str]) -> None:
    """Refuse a file, and a folder in which these names, but no report, exist."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file. Give a folder for the report: out=")
    page = folder / PAGE
    existing = sorted(name for name in {PAGE, *names} if (folder / name).exists())
    if existing and not (page.is_file() and b"commlearn" in page.read_bytes()):
        raise RunError(
            f"{folder} holds files that commlearn did not write and would replace: {', '.join(existing)}. "
            "Move them away, or give another out=."
        )


def _default_folder(subject: Source) -> Path:
    """Return the default folder of a report; a link that leads out of an artifact is rejected."""
    root = Path(subject.root or ".")
    return root / "report" if subject.run is not None else file_inside(root, "report")


def _write(folder: Path, files: Mapping[str, bytes], run: Run | None) -> None:
    """Write the files; those inside a run's folder are registered as the run's.

    Charts and tables that an earlier report lists as its own and this one does not have are removed: they are
    about something other than the page.
    """
    target = folder.resolve()
    if run is not None and target.is_relative_to(root := run.folder.path.resolve()):
        run.folder.writes(*((target / name).relative_to(root).as_posix() for name in files))
    for name in _earlier(folder) - set(files):
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)


def _earlier(folder: Path) -> set[str]:
    """Return the names of the charts and tables that a report in this folder lists as its own."""
    try:
        names = parse_json((folder / "report.json").read_bytes())["files"]
        return {name for name in names if OF_A_REPORT.fullmatch(name) and (folder / name).is_file()}
    except (OSError, ValueError, KeyError, TypeError):  # no report, or an older one, which lists nothing
        return set()


def tables(findings: Findings) -> dict[str, str]:
    """Return the contents of the page's tables, as CSV."""
    probes = [
        (target, name, result.measure, score_of(result), *result.interval, result.test_records)
        for target, rungs in findings.ladder.items()
        for name, result in rungs.items()
    ]
    points = [
        (name, projection, subset, *xy)
        for projection, layouts in findings.maps.items()
        for subset, layout in layouts.items()
        for name, xy in zip(findings.cards.names, layout.tolist(), strict=True)
    ]
    bits = [
        (name, *row)
        for name, values in findings.interactions.items()
        if "problem" not in values
        for row in information_rows(values)
    ]
    files = {
        "probes.csv": _csv("target subset measure score low high test_records", probes),
        "map.csv": _csv("record projection subset x y", points),
    }
    return files | ({"information.csv": _csv("target where part bits low high p", bits)} if bits else {})


def _decompose(
    subject: Source, named: bool, seed: int, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Compute the decompositions, and keep those of the training's records in the run's folder too.

    Those of other targets stay there; a damaged file is replaced.
    """
    decompositions = information(subject, named, seed, tell)
    if not subject.run or not subject.own:
        return decompositions
    with suppress(RunError):
        measured = {values["of"] for values in decompositions.values()}
        earlier = _stored_decompositions(subject).items()
        decompositions = {
            name: values for name, values in earlier if values["of"] not in measured
        } | decompositions
    text = json.dumps(decompositions, indent=1, ensure_ascii=False) + "\n"
    if note := subject.run.folder.write_if_possible(INTERACTIONS, text):
        tell(note)
    return _requested(subject, decompositions)


def _load_decompositions(subject: Source) -> dict[str, dict[str, Any]]:
    """Return those of the report's targets that an earlier report left in the run's folder."""
    return _requested(subject, _stored_decompositions(subject))


def _requested(subject: Source, decompositions: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: values for name, values in decompositions.items() if values["of"] in subject.targets}


def _stored_decompositions(subject: Source) -> dict[str, dict[str, Any]]:
    """Return those that earlier reports left in the run's folder, except old ones without a verdict.

    They are about the training's records, so a report on another table shows none of them.
    """
    path = None if subject.run is None or not subject.own else subject.run.folder.path / INTERACTIONS
    if path is None or not path.exists():
        return {}
    try:
        stored = {name: {**values, "of": values["of"]} for name, values in values_of_file(path).items()}
        return {name: one for name, one in stored.items() if "problem" in one or "verdict" in one}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise RunError(f"{path} is damaged: {problem}. Delete it, or create it again.") from problem


def _csv(head: str, rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(map(spreadsheet_text, row) for row in [head.split(), *rows])
    return text.getvalue()


def page(findings: Findings, drawn: list[Chart]) -> str:
    """Return the whole document."""
    trained = findings.source.trained
    whole = list(next(iter(findings.maps.values())).values())[-1]  # all modalities, by the first projection
    script, css = (
        (resources.files("commlearn.reports") / name).read_text(encoding="utf-8")
        for name in ("page.js", "page.css")
    )
    css += "".join(sprite.css(number) for number, sprite in enumerate(findings.cards.sprites))
    settings = yaml_text(settings_without_places(to_mapping(trained.experiment)), allow_unicode=True)
    template = environment().get_template("page.html")
    return template.render(
        f=findings,
        title=title_of(findings.source),
        policy=POLICY,
        css=Markup(css),
        js=Markup(script),
        about=_about(findings),
        parameters=sum(parameter.numel() for parameter in trained.method.parameters()),
        colour={name: index % len(COLOURS) for index, name in enumerate(trained.specs)},  # --c0 to --c7
        cards=cards_of(findings),
        warnings=warnings_of(findings),
        most=MOST,
        rungs={target: rungs_of(findings, target) for target in findings.ladder},
        dots=dots(whole, findings.colourings),
        map_data=map_data(findings.maps, findings.colourings, findings.cards, findings.near),
        curves=curves(findings.metrics),
        verdicts={part.name: part.svg for part in drawn if part.svg},
        settings=settings,
        command=_command_of(findings.source),
        version=commlearn.__version__,
    )


def environment() -> Environment:
    """Return the templates' environment: it escapes what is not marked as HTML and rejects unknown names."""
    templates = Environment(
        loader=PackageLoader("commlearn.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"subset_label": subset_label, "clipped": clipped}
    functions = (bars_of, code_class, doubtful, information_rows, sentences)
    templates.globals |= {function.__name__: function for function in functions}
    templates.globals |= {"measures": MEASURES, "outlines": DOTS, "shapes": SHAPES}
    return templates


def title_of(source: Source) -> str:
    """Return the first meaningful name: of the training, its table, or the table's folder."""
    names = [source.trained.experiment.name]
    if table := source.trained.experiment.data.get("table"):
        path = Path(str(table)).resolve()
        names += [path.stem, path.parent.name]
    return next((name for name in names if name.lower() not in PLAIN), "Your records")


def _command_of(read: Source) -> str:
    experiment = read.trained.experiment
    saved = "" if read.run else "# the settings below, saved as config.yaml\n"
    return f"{saved}commlearn train config.yaml --out again --seed {experiment.seed}\ncommlearn report again"


def _about(findings: Findings) -> str:
    experiment, run = findings.source.trained.experiment, findings.source.run
    started = findings.source.versions().get("started", "")
    parts: list[Any] = [f"method {experiment.method['name']}", experiment.variant, f"seed {experiment.seed}"]
    kind = "exported" if findings.source.root else ""  # otherwise an Embedder in memory
    parts += [f"{run.step} steps" if run else kind, f"started {started[:10]}" if started else ""]
    return ", ".join(part for part in parts if part)
