"""`commlearn train`: one training into one run folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commlearn.cli.arguments import Call, Code, add_recipe, given, names, recipe_settings, short_name
from commlearn.errors import ConfigurationError

if TYPE_CHECKING:
    from commlearn.config.configuration import Experiment

HELP = "Train a recipe, or on a table that a schema describes, and write a run folder."
EXAMPLE = """\
Any setting can be given as --section.key value. Settings that neither a schema's file nor the command
line specifies are chosen from the data and logged.

Example:
  commlearn train films.yaml --out runs/films
  commlearn train films.yaml --table films.parquet --method clip
  commlearn train mosi --data mosi_raw.pkl --out runs/mosi
  commlearn train trifeature-quick --out runs/comm --training.epochs 4
  commlearn train trifeature-quick --out runs/comm --training.epochs 4 --resume
  commlearn train films.yaml --tracker mlflow
"""
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_recipe(parser, "trained")
    add("--out", help="run folder; default: runs/RECIPE-METHOD[-VARIANT]-seedN")
    add("--method", help="replaces the recipe's method")
    add("--seed", type=int, help="seed of weights, order and augmentation")
    add("--variant", help="which of the recipe's trainings; default: its first")
    add("--resume", action="store_true", help="continue from the run's last checkpoint")
    add("--overwrite", action="store_true", help="replace the run in the folder")
    about = "probe afterwards: all, or comma-separated names"
    add("--probe", nargs="?", type=names, const="all", metavar="TARGETS", help=about)
    about = "send metrics to mlflow, trackio or wandb; comma-separated names"
    add("--tracker", type=names, metavar="NAMES", help=about)
    add("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> list[str]:
    reading = _reading_call(options)
    training = Call(
        "cl.train",
        Code("experiment"),
        options.out or Call(f"{__name__}:default_folder", options.recipe, Code("experiment")),
        data=Code("data"),
        **given(options, "resume", "overwrite"),
        callbacks=options.tracker,
        assign="run",
    )
    data = [] if reading.module else ["data = cl.read_data(experiment)"]
    probed = []
    if options.probe:
        probed = [f"print({Call('cl.probe', Code('run'), Code('data'), _targets(options))})"]
    return [reading, *data, training, *probed]


def default_folder(recipe: str, experiment: Experiment) -> str:
    """Return the run folder of a training for which none is given."""
    name = short_name(recipe) if experiment.name == "schema" else experiment.name
    parts = [name, experiment.method["name"], experiment.variant, f"seed{experiment.seed}"]
    return "runs/" + "-".join(part for part in parts if part)


def _reading_call(options: argparse.Namespace) -> Call:
    """Return the call that reads a schema with its table, or a recipe."""
    from commlearn.config.own_data import is_schema

    settings = (recipe_settings(options) or {}) | given(options, "seed") or None
    recipe, method = options.recipe, options.method
    if is_schema(recipe):
        read_own, results = "commlearn.config.own_data:read_own", "experiment, data, note"
        return Call(read_own, recipe, options.table, settings, method, assign=results)
    chosen = {"variant": options.variant, "method": method}
    return Call("cl.read_experiment", recipe, settings, **chosen, assign="experiment")


def _targets(options: argparse.Namespace) -> list[str] | None:
    return None if options.probe == ["all"] else options.probe


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, print_next, print_probes
    from commlearn.probes.probe import chosen_targets, probe
    from commlearn.training.callbacks import progress_for
    from commlearn.training.train import train

    experiment, data, note = _read(options)
    if options.probe:
        chosen_targets(data, _targets(options))  # refuses unknown names before the training
    out = options.out or default_folder(options.recipe, experiment)
    others = [name for name in experiment.variants if name != experiment.variant]
    if others and not (options.quiet or options.json or options.variant):
        print(f"Training '{experiment.variant}'; others of this recipe: --variant {', '.join(others)}")
    quiet = options.quiet or (options.json and not options.verbose)
    for line in (note, *data.notes):
        if line and not (options.quiet or options.json):
            print(line)
    result = train(
        experiment,
        out,
        data=data,
        resume=options.resume,
        overwrite=options.overwrite,
        progress=progress_for(quiet, options.verbose),
        note=note,
        callbacks=options.tracker or (),
    )
    if result.rank:
        return
    probes = None
    if options.probe:
        from commlearn.storage.plain_json import json_text

        probes = probe(result, data, _targets(options))
        if note := result.folder.write_probes(json_text(probes)):
            print(f"commlearn: note: {note}", file=sys.stderr)
    if options.json:
        print_json({"run": str(out), "step": result.step, "probes": probes, "warnings": result.warnings})
        return
    for warning in result.warnings:
        print(f"warning: {warning}")
    if probes is not None:
        print_probes(probes)
    print(f"Trained to step {result.step}: {out}")
    commands = ("report", "probe") if data.train.targets else ("report",)
    print_next(options, *((command, out) for command in commands))


def _read(options: argparse.Namespace) -> tuple[Any, Any, str]:
    """Return what to train, what to train it on, and which settings were chosen."""
    from commlearn.config.build import read_data

    reading = _reading_call(options)
    if reading.module:
        if options.data:
            raise ConfigurationError("--data is for recipes; give a schema's table with --table.")
        if options.variant:
            raise ConfigurationError("--variant is for recipes; a schema has no variants.")
        return reading.made()
    if options.table:
        raise ConfigurationError(
            f"--table: {options.recipe} is a recipe, not a schema; give its data with --data."
        )
    if options.data:
        options.data = str(Path(options.data).resolve())
    experiment = _reading_call(options).made()
    return experiment, read_data(experiment), ""
