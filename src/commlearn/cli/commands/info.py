"""`commlearn info`: the available choices, or what a run is."""

from __future__ import annotations

import argparse
import textwrap

from commlearn.cli.arguments import EXPORTED, Call

HELP = "Show versions, recipes, methods and encoders, or describe a run."
EXAMPLE = """\
Example:
  commlearn info
  commlearn info runs/comm
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", nargs="?", metavar="RUN", help=EXPORTED)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def python(options: argparse.Namespace) -> list[str]:
    if options.run_folder:
        return [Call("cl.load", options.run_folder, assign="run"), "print(run.experiment, run.specs)"]
    return ["print(cl.__version__, list(cl.METHODS), list(cl.READERS))"]


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json

    facts = _run(options.run_folder) if options.run_folder else _library()
    if options.json:
        print_json(facts)
        return
    for key, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        lines = textwrap.wrap(text, 66, break_on_hyphens=False)
        print(f"{key:14}" + f"\n{'':14}".join(lines))


def _library() -> dict[str, object]:
    import platform

    import torch

    import commlearn
    from commlearn.augmentations import AUGMENTATIONS
    from commlearn.comparison.baselines import BASELINES
    from commlearn.config.configuration import recipes
    from commlearn.datasets import READERS
    from commlearn.methods import METHODS
    from commlearn.models.encoders import ENCODERS

    threads = torch.get_num_threads()
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "commlearn": commlearn.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": devices or [f"cpu, {threads} thread{'s' if threads > 1 else ''}"],
        "recipes": list(recipes()),
        "methods": list(METHODS),
        "baselines": list(BASELINES),
        "readers": list(READERS),
        "encoders": list(ENCODERS),
        "augmentations": [*AUGMENTATIONS, "none"],
    }


def _run(path: str) -> dict[str, object]:
    from commlearn.trained.artifact import load

    loaded = load(path)
    experiment = loaded.experiment
    return {
        "run": path,
        "recipe": experiment.name,
        "variant": experiment.variant or "-",
        "method": experiment.method["name"],
        "seed": experiment.seed,
        "step": getattr(loaded, "step", "exported"),
        "parameters": sum(p.numel() for p in loaded.method.parameters()),
        "modalities": [
            f"{name} ({spec.kind} {'x'.join(map(str, spec.shape))})" for name, spec in loaded.specs.items()
        ],
        "warnings": list(loaded.warnings) or ["none"],
    }
