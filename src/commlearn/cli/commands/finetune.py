"""`commlearn finetune`: from a trained representation to a supervised one."""

from __future__ import annotations

import argparse

from commlearn.cli.python_code import Call

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
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training or of an export")
    parser.add_argument(
        "table", metavar="TABLE", nargs="?", help="rows with the target; default: the training's"
    )
    parser.add_argument("--target", required=True, help="target whose labels are learned")
    parser.add_argument("--out", help="run folder; default: RUN-TARGET")
    for name, (default, about) in SETTINGS.items():
        word = f"--{name.replace('_', '-')}"
        parser.add_argument(word, type=type(default), default=default, help=f"{about}; default: {default}")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    parser.add_argument("--quiet", "-q", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def call(options: argparse.Namespace) -> Call:
    changed = {name: getattr(options, name) for name in SETTINGS}
    changed = {name: value for name, value in changed.items() if value != SETTINGS[name][0]}
    settings = Call("commlearn.training.finetune:FineTuning", options.target, **changed)
    return Call(
        "cl.finetune",
        options.run_folder,
        settings if changed else options.target,
        _out(options),
        data=options.table,
        resume=options.resume or None,
        overwrite=options.overwrite or None,
        assign="run",
    )


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, print_next
    from commlearn.probes import MEASURES
    from commlearn.storage.plain_json import values_of_file
    from commlearn.training.finetune import RESULT
    from commlearn.training.progress import progress_for

    out = _out(options)
    quiet = options.quiet or (options.json and not options.verbose)
    tuned = call(options).made(progress=progress_for(quiet, options.verbose))
    paths = {name: tuned.folder.path / name for name in (RESULT, "probes.json")}
    results = {name: values_of_file(path) for name, path in paths.items() if path.exists()}
    if options.json:
        print_json({"run": str(out), "result": results[RESULT], "probes": results.get("probes.json")})
        return 0
    result = results[RESULT]
    for warning in tuned.warnings:
        print(f"warning: {warning}")
    print(
        f"{result['objective']} on {result['train_records']} records: best after epoch "
        f"{result['best_epoch']} of {result['epochs']}, validation loss {result['validation_loss']:.4f}"
    )
    for target, probed in results.get("probes.json", {}).items():
        measure = next(name for name in MEASURES if name in probed)
        low, high = probed["interval"]
        print(f"probe of {target}: {measure} {probed[measure]:.3f} [{low:.3f}, {high:.3f}]")
    print(f"Fine-tuned: {out}")
    print_next(options, ("report", out), ("export", out, f"{out}-model"))
    return 0


def _out(options: argparse.Namespace) -> str:
    run = options.run_folder.rstrip("/")
    name = run.rpartition("/")[2].partition("@")[0] if run.startswith("hf://") else run
    return options.out or f"{name}-{options.target}"
