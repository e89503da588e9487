"""Use a loaded artifact in every way, and record which files the process opens and what it connects to.

Usage: python watched_program.py TABLE OUT ARTIFACT [ARTIFACT ...]

The first artifact is used for everything; all are also used without a table, which they must refuse. The
last line of the output is JSON: the refusals, the files opened outside the allowed folders, and the calls
that open sockets, start processes or look up hosts.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

FILES = ("open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.symlink", "os.link")
CALLS = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "urllib.",
    "webbrowser.",
)
SYSTEM = (
    "/proc",
    "/sys",
    "/dev",
    "/etc/localtime",
    "/usr/share",
    "/usr/lib",
    "/usr/local/share",
    "/etc/fonts",
)


def watch(allowed: list[str]) -> tuple[set[str], set[str]]:
    """Return two sets that collect, from now on, files opened outside the allowed folders, and calls."""
    opened: set[str] = set()
    called: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILES:
            for name in arguments[: 2 if event in ("os.rename", "os.symlink", "os.link") else 1]:
                if isinstance(name, str | bytes) and not _inside(
                    os.path.realpath(os.fsdecode(name)), allowed
                ):
                    opened.add(f"{event} {os.fsdecode(name)}")
        elif event.startswith(CALLS):
            called.add(f"{event} {arguments!r:.120}")

    sys.addaudithook(hook)
    return opened, called


def _inside(path: str, allowed: list[str]) -> bool:
    return any(path == place or path.startswith(place + os.sep) for place in allowed)


def installation() -> list[str]:
    """Return the folders of Python, its packages, the library itself, and those open to every program."""
    import matplotlib.font_manager  # queries the system's fonts once

    import commlearn

    platform.processor()  # queries the system once
    paths = {
        *sys.path,
        *matplotlib.font_manager.X11FontDirectories,
        *sysconfig.get_paths().values(),
        sys.prefix,
        sys.base_prefix,
        *SYSTEM,
    }
    paths.add(str(Path(commlearn.__file__).parent))
    return [os.path.realpath(path) for path in paths if path]


def without_table(artifact: Path, out: Path) -> dict[str, str]:
    """Return the refusal of each use that needs a table but is given none, by name."""
    import commlearn as cl
    from commlearn.cli import main

    refused = {}
    without = {
        "read_data": lambda: cl.read_data(cl.load(artifact).experiment),
        "probe": lambda: cl.probe(cl.load(artifact)),
        "interactions": lambda: cl.interactions(artifact, target="ill"),
        "finetune": lambda: cl.finetune(artifact, "ill", out / "none"),
        "report": lambda: cl.report(artifact, out=out / "none"),
    }
    for name, asked in without.items():
        try:
            asked()
            refused[name] = ""
        except cl.errors.CommlearnError as problem:
            refused[name] = str(problem)
    refused["embed --split"] = str(
        main(["embed", str(artifact), "--split", "test", "-o", str(out / "n.npz")])
    )
    return refused


def use(artifact: Path, table: Path, out: Path) -> None:
    """Do everything that an artifact is loaded for."""
    import commlearn as cl
    from commlearn.cli import main
    from commlearn.information import Settings
    from commlearn.training.finetune import FineTuning

    quick = Settings(curve=False, bootstrap=0, permutations=19)
    model = cl.load(artifact)
    cl.embed(model, table)
    cl.probe(model, table)
    cl.interactions(model, table, target="ill", settings=quick)
    tuned = cl.finetune(model, FineTuning("ill", epochs=1, batch_size=32), out / "tuned", table)
    cl.embed(tuned, table)
    cl.report(artifact, table, out / "report")
    cl.export(model, out / "again")
    cl.Embedder.load(artifact).transform(table)
    words = str(artifact), str(table)
    for line in (
        ["embed", *words, "-o", str(out / "z.parquet")],
        ["embed", *words, "-o", str(out / "z")],
        ["probe", *words],
        ["info", str(artifact)],
    ):
        if main(line):
            raise SystemExit(f"{line} was refused")


if __name__ == "__main__":
    table, out, *artifacts = map(Path, sys.argv[1:])
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ[name] = str(out)
    tempfile.tempdir = str(out)
    allowed = [os.path.realpath(path) for path in (*artifacts, table.parent, out)] + installation()
    opened, called = watch(allowed)
    refused = [without_table(artifact, out) for artifact in artifacts]
    use(artifacts[0], table, out)
    print(json.dumps({"refused": refused, "opened": sorted(opened), "called": sorted(called)}))
