"""Run the notebooks of this folder without Jupyter, and store their outputs.

python examples/execute.py            # all of them
python examples/execute.py digits     # one
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import shutil
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image

os.environ.setdefault("MPLBACKEND", "agg")

HERE = Path(__file__).resolve().parent
DPI = 66  # resolution of pictures: a verdict is 860 pixels wide


def notebooks() -> list[Path]:
    """Return the paths of the demos, sorted by name."""
    return sorted(HERE.glob("*.ipynb"))


def executed(notebook: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the notebook with the outputs of a full run in `folder`, which gets a copy of the data."""
    shutil.copytree(HERE / "data", folder / "data")
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    with chdir(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                count += 1
                outputs = _outputs("".join(cell["source"]), f"cell {count}", names)
                cell = {**cell, "execution_count": count, "outputs": outputs}
            cells.append(cell)
    return {**notebook, "cells": cells}


def _outputs(code: str, where: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell; returns what it prints, and the value of its last line if that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(tree, where, "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    outputs = []
    if printed.getvalue():
        lines = printed.getvalue().splitlines(keepends=True)
        outputs.append({"name": "stdout", "output_type": "stream", "text": lines})
    if value is not None:
        outputs.append({"data": _shown(value), "metadata": {}, "output_type": "display_data"})
    return outputs


def _shown(value: Any) -> dict[str, Any]:
    if hasattr(value, "savefig"):
        content = io.BytesIO()
        value.savefig(content, format="png", dpi=DPI)
        return {"image/png": small_picture(content.getvalue()), "text/plain": [repr(value)]}
    shown = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "_repr_html_"):
        shown["text/html"] = value._repr_html_().splitlines(keepends=True)
    return shown


def small_picture(content: bytes) -> str:
    """Reduce a PNG file to a palette of 128 colours; returns base64."""
    small = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").quantize(128).save(small, format="PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def main(chosen: list[str]) -> None:
    """Execute the chosen notebooks, or all if none is chosen, and write them back."""
    for path in notebooks():
        if chosen and path.stem not in chosen:
            continue
        start = os.times()
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(json.loads(path.read_text(encoding="utf-8")), Path(folder))
        end = os.times()
        seconds = sum(end[:4]) - sum(start[:4])  # of this process and its children
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        run = {"date": date.today().isoformat(), "cores": cores, "processor_seconds": round(seconds)}
        notebook["metadata"]["executed"] = run
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{path.name}: {run}")


if __name__ == "__main__":
    main(sys.argv[1:])
