"""The whole document, from the templates next to this file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import commlearn
from commlearn.config.configuration import to_mapping
from commlearn.config.places import settings_without_places
from commlearn.probes import MEASURES
from commlearn.probes.ladder import subset_label
from commlearn.reports.cards import MOST, cards_of, rungs_of, warnings_of
from commlearn.reports.charts import Chart
from commlearn.reports.curves import curves
from commlearn.reports.findings import Findings
from commlearn.reports.knowledge import bars_of, doubtful, information_rows, sentences
from commlearn.reports.map import DOTS, SHAPES, code_class, dots, map_data
from commlearn.reports.records import clipped
from commlearn.reports.source import Source
from commlearn.storage.plain_yaml import yaml_text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
PLAIN = {"", "schema", "table", "data", "config", "embedder"}  # names that say nothing about the content


def page(findings: Findings, drawn: list[Chart]) -> str:
    """Return the whole document."""
    trained = findings.source.trained
    projections = list(findings.maps)
    full_subset = list(findings.maps[projections[0]])[-1]
    settings = yaml_text(settings_without_places(to_mapping(trained.experiment)), allow_unicode=True)
    return (
        environment()
        .get_template("page.html")
        .render(
            f=findings,
            title=title_of(findings.source),
            policy=POLICY,
            css=Markup(
                _read_asset("page.css")
                + "".join(s.css(number) for number, s in enumerate(findings.cards.sprites))
            ),
            js=Markup(_read_asset("page.js")),
            about=_about(findings),
            parameters=sum(parameter.numel() for parameter in trained.method.parameters()),
            colour={name: index % len(COLOURS) for index, name in enumerate(trained.specs)},
            cards=cards_of(findings),
            warnings=warnings_of(findings),
            most=MOST,
            rungs={target: rungs_of(findings, target) for target in findings.ladder},
            dots=dots(findings.maps[projections[0]][full_subset], findings.colourings),
            map_data=map_data(findings.maps, findings.colourings, findings.cards, findings.near),
            curves=curves(findings.metrics),
            verdicts={part.name: part.svg for part in drawn if part.svg},
            settings=settings,
            command=command_of(findings.source),
            version=commlearn.__version__,
        )
    )


COLOURS = range(8)  # colours of modalities, --c0 to --c7 in the style sheet


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
    templates.globals |= {
        "bars_of": bars_of,
        "code_class": code_class,
        "doubtful": doubtful,
        "information_rows": information_rows,
        "measures": MEASURES,
        "outlines": DOTS,
        "sentences": sentences,
        "shapes": SHAPES,
    }
    return templates


def title_of(source: Source) -> str:
    """Return the first meaningful name: of the training, its table, or the table's folder."""
    name = source.trained.experiment.name
    table = source.trained.experiment.data.get("table")
    path = Path(str(table)).resolve() if table else None
    candidates = (name,) if path is None else (name, path.stem, path.parent.name)
    return next((part for part in candidates if part.lower() not in PLAIN), "Your records")


def command_of(read: Source) -> str:
    """Return the commands that make the model and the report again."""
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


def _read_asset(name: str) -> str:
    return (resources.files("commlearn.reports") / name).read_text(encoding="utf-8")
