"""`commlearn check`: everything wrong with a table, in one report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from commlearn.cli import command_line_message
from commlearn.cli.arguments import Call, add_targets
from commlearn.escapes import one_line

HELP = "Check a table against its schema: every problem in one report. Exit code 2 if any must be fixed."
EXAMPLE = """\
Example:
  commlearn check films.csv --schema films.yaml
  commlearn check films.parquet --json
  commlearn check films.csv --target genre    # with a forecast: is it worth it?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("table", metavar="TABLE", help="Parquet, tar, CSV, TSV or JSON lines")
    add("--schema", metavar="YAML", default="schema.yaml", help="schema; default: schema.yaml")
    add_targets(parser, "none; a named target gets a forecast from plain features, which takes minutes")
    add("--json", action="store_true", help="print the report as JSON")


def python(options: argparse.Namespace) -> list[str]:
    lines = [
        "from commlearn.tables.table import read_table",
        "from commlearn.tables.check import check",
        "",
        Call("cl.Schema.from_yaml", options.schema, assign="schema"),
        f"report = check(read_table({options.table!r}, reading=schema.reading()), schema)",
        "print(report.errors, report.warnings)",
    ]
    if options.targets:
        forecast = Call("forecast", options.schema, options.table, options.targets)
        lines += ["from commlearn.comparison.answers.forecast import forecast", f"print({forecast})"]
    return lines


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, print_next, progress_printer
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
        print_json(report.to_json() | ({"forecast": forecasts} if forecasts else {}))
    else:
        lines = _lines(options.table, report)
        for target, values in forecasts.items():
            lines.append(f"forecast of {target}, from features only:")
            lines += [f"  {line}" for line in values["words"]]
        print(command_line_message("\n".join(map(one_line, lines))))
    if not report.errors:
        print_next(options, ("train", options.schema, "--table", options.table))
    return 2 if report.errors else 0


def _lines(table: str, report: Any) -> list[str]:
    facts = report.facts
    splits = ", ".join(f"{count} {name}" for name, count in facts["splits"].items())
    parts = f" ({splits})" if len(facts["splits"]) > 1 else ""  # a table without parts is divided in training
    lines = [f"{table}: {facts['rows']} rows{parts}"]
    for name, fact in facts["modalities"].items():
        line = f"  {name}: {fact['kind']}, in {fact['present']} rows"
        if lengths := fact.get("lengths"):
            line += f", {lengths['min']} to {lengths['max']} steps long (median {lengths['median']:g})"
        if share := fact.get("test_cells_seen_in_training", 0):
            line += f", {100 * share:.0f} % of test cells occur in training"
        lines.append(line)
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
    counts = {"error": len(report.errors), "warning": len(report.warnings)}
    lines.append(", ".join(f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items()))
    return lines


def _target(fact: dict[str, Any]) -> str:
    missing = f", {fact['missing']} missing" if fact["missing"] else ""
    if "classes" not in fact:
        numbers = f", {fact['min']:g} to {fact['max']:g}, mean {fact['mean']:g}" if "mean" in fact else ""
        return f"{fact['type']}{numbers}{missing}"
    listed = ", ".join(f"{label}: {count}" for label, count in list(fact["classes"].items())[:8])
    ellipsis = ", ..." if fact["number_of_classes"] > 8 else ""
    return f"{fact['number_of_classes']} classes ({listed}{ellipsis}){missing}"
