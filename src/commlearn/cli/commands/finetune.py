"""`commlearn finetune`: from a trained representation to a supervised one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from commlearn.cli.arguments import Call, add_run, given

HELP = "Train all weights of a run for one target, with early stopping on validation records."
EXAMPLE = """\
Classes: cross-entropy, or the supervised contrast; sets of labels: binary cross-entropy; numbers: squared
error. Without a table, the data of the training are used, which an export does not name. The result is a
run of its own, for embed, probe and export.

Example:
  commlearn finetune runs/films-comm-seed0 --target genre
  commlearn finetune films-model films.csv --target genre
  commlearn finetune runs/comm --target shared --objective supcon --epochs 10
"""

SETTINGS = {
    "objective": ("head", "head, or supcon: the supervised contrast"),
    "epochs": (30, "maximum number of epochs"),
    "patience": (5, "epochs without a better validation loss before it stops"),
    "validation": (0.15, "share of train that is held out, if there is no validation part"),
    "learning_rate": (3e-4, "learning rate of AdamW"),
    "batch_size": (64, "records per step"),
    "weight_decay": (1e-4, "weight decay of AdamW"),
    "seed": (0, "seed of the head, the order, the augmentation and the records held out"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_run(parser, "rows with the target; default: the training's")
    add("--target", required=True, help="target whose labels are learned")
    add("--out", help="run folder; default: RUN-TARGET")
    for name, (default, about) in SETTINGS.items():
        word = f"--{name.replace('_', '-')}"
        add(word, type=type(default), default=default, help=f"{about}; default: {default}")
    add("--resume", action="store_true", help="continue from the last checkpoint")
    add("--overwrite", action="store_true", help="replace the run in the folder")
    add("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> Call:
    changed = given(options, *SETTINGS)
    settings = Call("commlearn.training.finetune:FineTuning", options.target, **changed)
    return Call(
        "cl.finetune",
        options.run_folder,
        settings if changed else options.target,
        _out(options),
        data=options.table,
        **given(options, "resume", "overwrite"),
        assign="run",
    )


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, print_next
    from commlearn.storage.plain_json import values_of_file
    from commlearn.training.callbacks import progress_for
    from commlearn.training.finetune import RESULT

    out = _out(options)
    quiet = options.quiet or (options.json and not options.verbose)
    tuned = python(options).made(progress=progress_for(quiet, options.verbose))
    paths = {name: tuned.folder.path / name for name in (RESULT, "probes.json")}
    results = {name: values_of_file(path) for name, path in paths.items() if path.exists()}
    if options.json:
        print_json({"run": str(out), "result": results[RESULT], "probes": results.get("probes.json")})
        return
    for warning in tuned.warnings:
        print(f"warning: {warning}")
    print(
        "{objective} on {train_records} records: best after epoch {best_epoch} of {epochs}, "
        "validation loss {validation_loss:.4f}".format(**results[RESULT])
    )
    for target, probed in results.get("probes.json", {}).items():
        print(f"probe of {target}: {_score(probed)}")
    print(f"Fine-tuned: {out}")
    print_next(options, ("report", out), ("export", out, f"{out}-model"))


def _score(probed: Mapping[str, Any]) -> str:
    """Return a stored score with its interval, which there is not for too few rows or groups.

    Example:
        >>> _score({"balanced_accuracy": 0.81, "interval": [0.7, 0.9]})
        'balanced accuracy 81.0 % [70.0, 90.0]'
        >>> _score({"r2": 0.5, "interval": [None, None]})
        'R2 0.500'
    """
    from commlearn.probes.results import MEASURES

    measure = next(name for name in MEASURES if name in probed)
    if probed[measure] is None:
        return f"no {MEASURES[measure]}: the test records have one value"
    times, places, unit = (100, 1, " %") if measure == "balanced_accuracy" else (1, 3, "")
    limits = ", ".join(f"{times * limit:.{places}f}" for limit in probed["interval"] if limit is not None)
    score = f"{MEASURES[measure]} {times * probed[measure]:.{places}f}{unit}"
    return f"{score} [{limits}]" if limits else score


def _out(options: argparse.Namespace) -> str:
    run = options.run_folder.rstrip("/")
    name = run.rpartition("/")[2].partition("@")[0] if run.startswith("hf://") else run
    return options.out or f"{name}-{options.target}"
