"""`commlearn check`: everything wrong with a table, in one report."""

from __future__ import annotations

import argparse
from typing import Any

from commlearn.cli.names import add_targets
from commlearn.cli.python_code import Call, program
from commlearn.escapes import one_line

HELP = "Check a table against its schema: every problem in one report. Exit code 2 if any must be fixed."
EXAMPLE = """\
Example:
  commlearn check films.csv --schema films.yaml
  commlearn check films.parquet --json
  commlearn check films.csv --target genre    # with a forecast: is it worth it?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help="Parquet, tar, CSV, TSV or JSON lines")
    parser.add_argument(
        "--schema", metavar="YAML", default="schema.yaml", help="schema; default: schema.yaml"
    )
    add_targets(parser, "none; named targets get a forecast from features only, in minutes")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def python(options: argparse.Namespace) -> str:
    return program(
        "from commlearn.tables.table import read_table",
        "from commlearn.tables.check import check",
        "",
        Call("cl.Schema.from_yaml", options.schema, assign="schema"),
        f"report = check(read_table({options.table!r}, reading=schema.reading()), schema)",
        "print(report.errors, report.warnings)",
        *(_forecast_code(options) if options.targets else ()),
    )


def _forecast_code(options: argparse.Namespace) -> list[str]:
    arguments = (options.schema, options.table, options.targets)
    return [
        "from commlearn.comparison.answers.forecast import forecast",
        f"print({Call('forecast', *arguments)})",
    ]


def run(options: argparse.Namespace) -> int:
    from pathlib import Path

    from commlearn.cli.output import print_json, print_next, progress_printer
    from commlearn.cli.shell_words import command_line_message
    from commlearn.tables.check import check
    from commlearn.tables.schema import Schema
    from commlearn.tables.table import read_table

    schema = Schema.from_yaml(Path(options.schema))
    with progress_printer(options) as tell:
        tell(f"reading {options.table}")
        table = read_table(options.table, reading=schema.reading())
        tell(f"checking {len(table)} rows")
        report = check(table, schema)
        forecasts = {}
        if options.targets and not report.errors:
            from commlearn.comparison.answers.forecast import forecast

            forecasts = forecast(options.schema, options.table, options.targets, tell)
    if options.json:
        print_json({**report.to_json(), **({"forecast": forecasts} if forecasts else {})})
    else:
        lines = [*_lines(options.table, report), *_forecast_lines(forecasts)]
        print(command_line_message("\n".join(map(one_line, lines))))
    if not report.errors:
        print_next(options, ("train", options.schema, "--table", options.table))
    return 2 if report.errors else 0


def _forecast_lines(forecasts: dict[str, Any]) -> list[str]:
    lines = []
    for target, values in forecasts.items():
        lines += [f"forecast of {target}, from features only:", *(f"  {line}" for line in values["words"])]
    return lines


def _lines(table: str, report: Any) -> list[str]:
    facts = report.facts
    splits = ", ".join(f"{count} {name}" for name, count in facts["splits"].items())
    lines = [f"{table}: {facts['rows']} rows ({splits})"]
    for name, fact in facts["modalities"].items():
        lines.append(f"  {name}: {fact['kind']}, in {fact['present']} rows{_lengths(fact)}{_overlap(fact)}")
    for name, fact in facts["targets"].items():
        lines.append(f"  target {name}: {_target(fact)}")
    if "expected" in facts:
        expected = facts["expected"]
        lines.append(
            f"  roughly {expected['records_megabytes']} MB of records and {expected['seconds_per_epoch']} s "
            f"per epoch, assuming {expected['assumes']}"
        )
    lines += [f"error    {problem}" for problem in report.errors]
    lines += [f"warning  {problem}" for problem in report.warnings]
    lines.append(f"{len(report.errors)} errors, {len(report.warnings)} warnings")
    return lines


def _lengths(fact: dict[str, Any]) -> str:
    if "lengths" not in fact:
        return ""
    lengths = fact["lengths"]
    return f", {lengths['min']} to {lengths['max']} steps long (median {lengths['median']:g})"


def _overlap(fact: dict[str, Any]) -> str:
    share = fact.get("test_cells_seen_in_training", 0)
    return f", {100 * share:.0f} % of test cells occur in training" if share else ""


def _target(fact: dict[str, Any]) -> str:
    missing = f", {fact['missing']} missing" if fact["missing"] else ""
    if "classes" not in fact:
        numbers = f", {fact['min']:g} to {fact['max']:g}, mean {fact['mean']:g}" if "mean" in fact else ""
        return f"{fact['type']}{numbers}{missing}"
    listed = ", ".join(f"{label} {count}" for label, count in list(fact["classes"].items())[:8])
    ellipsis = ", ..." if fact["number_of_classes"] > 8 else ""
    return f"{fact['number_of_classes']} classes ({listed}{ellipsis}){missing}"
