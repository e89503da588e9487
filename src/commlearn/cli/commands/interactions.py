"""`commlearn interactions`: what modalities know about a target, together and apart, in bits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from commlearn.cli import command_line_message
from commlearn.cli.arguments import Call, Code, add_modalities, add_run, add_targets, given
from commlearn.errors import ConfigurationError, DataError
from commlearn.escapes import file_name_part

MOST_TARGETS = 3  # most targets that are analysed if none is named and there are many modalities
HELP = "Report how much modalities share, add alone and provide only together, in bits with intervals."
EXAMPLE = """\
RUN is the folder of a training or of an export; or a schema (.yaml), to use the raw columns of the table
without any model. Without TABLE, the data set that the run was trained on is used.

Example:
  commlearn interactions runs/films films.csv --target genre --plot genre.png
  commlearn interactions films.yaml films.csv --modalities plot,cast
  commlearn interactions runs/comm --target synergy --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_run(parser, "rows with the target", "folder of a training or an export, or a schema")
    add_targets(parser)
    add_modalities(parser, "compare")
    add("--groups", metavar="COLUMN", help="column of groups; rows of one group stay in one fold")
    add("--bins", type=int, help="quantile classes of a numeric target; default: 8")
    add("--quick", action="store_true", help="without a learning curve, with fewer resamplings")
    add("--seed", type=int, default=0, help="seed of folds, experts and resamplings; default: 0")
    add("--plot", metavar="PNG", help="draw the report; several targets: one file each")
    add("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> list[str]:
    source, changed = options.run_folder, _changed_settings(options)
    source = Call("cl.Schema.from_yaml", source) if _is_schema(source) else source
    settings = Call("Settings", **changed) if changed else None
    lines = ["from commlearn.information import Settings"] if changed else []
    if not options.targets:  # only reading the data tells which there are
        return [*lines, *_python_of_all_targets(options, source, settings)]
    for target in options.targets:
        report = Call(
            "cl.interactions",
            source,
            options.table,
            target=target,
            **given(options, "modalities", "groups"),
            settings=settings,
            assign="report",
        )
        lines += [report, "print(report)"]
        if options.plot:
            lines.append(Call("report.plot", str(_plot_path(options, target, len(options.targets)))))
    return lines


def _python_of_all_targets(options: argparse.Namespace, source: str, settings: Call | None) -> list[str]:
    values = (source, options.table, options.modalities, options.groups)
    lines = [
        "from commlearn.information.ask import ask",
        "from commlearn.information.sources import gather",
        "",
        f"sources = gather({', '.join(map(repr, values))})",
        "for target in sources.targets:",
        f"    {Call('ask', Code('sources'), Code('target'), settings=settings, assign='report')}",
        "    print(report)",
    ]
    if options.plot:
        path = Path(options.plot)
        name = f"{path.stem + '-'!r} + file_name_part(target) + {path.suffix!r}"
        lines = ["from commlearn.escapes import file_name_part", *lines]
        lines.append(f"    report.plot({f'{path.parent}/'!r} + {name})")
    return lines


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, progress_printer
    from commlearn.information.ask import ask
    from commlearn.information.material import Settings
    from commlearn.information.sources import gather

    _check_plot(options.plot)
    reports: dict[str, Any] = {}
    skipped = {}
    with progress_printer(options) as tell:
        tell("reading and embedding")
        sources = gather(_source(options), options.table, options.modalities, options.groups)
        targets = _targets(options, sources)
        for target in targets:
            try:
                settings = Settings(**_changed_settings(options))
                reports[target] = ask(sources, target, settings=settings, tell=tell)
            except DataError as problem:
                if len(targets) == 1:
                    raise
                skipped[target] = str(problem)
                continue
            if options.plot:
                reports[target].plot(_plot_path(options, target, len(targets)))
    for target, reason in skipped.items():
        print(f"commlearn: no report on '{target}': {reason}", file=sys.stderr)
    if not reports:
        raise DataError(f"No report could be made on any of {', '.join(targets)}.")
    if options.json:
        values = {target: report.to_dict() for target, report in reports.items()}
        print_json(values if len(targets) > 1 else next(iter(values.values())))
    else:
        words = (command_line_message(str(report), options.command_parser) for report in reports.values())
        print("\n\n".join(words))


def _source(options: argparse.Namespace) -> Any:
    from commlearn.tables.schema import Schema

    if not _is_schema(options.run_folder):
        return options.run_folder
    if options.table is None:
        call = f"commlearn interactions {options.run_folder} TABLE"
        raise ConfigurationError(f"{options.run_folder} is a schema, which needs a table. Add one: {call}")
    return Schema.from_yaml(options.run_folder)


def _is_schema(source: str) -> bool:
    return Path(source).suffix in (".yaml", ".yml")


def _targets(options: argparse.Namespace, sources: Any) -> list[str]:
    from commlearn.information.material import MOST_MODALITIES

    chosen = options.targets or list(sources.targets)
    if not options.targets and len(sources.material.arrays) > MOST_MODALITIES and len(chosen) > MOST_TARGETS:
        omitted = ", ".join(chosen[MOST_TARGETS:])
        print(f"commlearn: left out: {omitted}. Name those that you want: --target NAMES", file=sys.stderr)
        chosen = chosen[:MOST_TARGETS]
    if not chosen:
        raise ConfigurationError("There is no target. Name a column: --target COLUMN.")
    return chosen


def _changed_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that are not at their default."""
    quick = {"curve": False, "bootstrap": 5, "permutations": 39} if options.quick else {}
    return quick | given(options, "bins", "seed")


def _plot_path(options: argparse.Namespace, target: str | None, targets: int) -> Path:
    """Return the file of a target's plot; if there are several targets, each has its own."""
    path = Path(options.plot)
    return path.with_stem(f"{path.stem}-{file_name_part(target)}") if targets > 1 else path


def _check_plot(path: str | None) -> None:
    """Reject a path that could not be written, before minutes are spent."""
    if path is None:
        return
    if Path(path).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigurationError(f"--plot {path}: give a file that ends in .png, .pdf or .svg.")
    if not Path(path).resolve().parent.is_dir():
        raise ConfigurationError(f"--plot {path}: there is no folder {Path(path).parent}. Make it first.")
