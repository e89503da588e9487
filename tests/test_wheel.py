"""A wheel in an empty environment: it installs, has its data files, and trains once."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_wheel_installs_and_trains(tmp_path):
    """The environment sees the dependencies of this one, and of commlearn the wheel alone."""

    def run(*words, where=tmp_path):
        done = subprocess.run([*map(str, words)], cwd=where, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    source = tmp_path / "source"
    source.mkdir()
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        run("cp", "-r", ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist", source)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "py.typed",
        "recipes/trifeature-quick.yaml",
        "evaluation/report/page.css",
        "evaluation/report/page.js",
    ):
        assert f"commlearn/{needed}" in names
    own = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", own, wheel)
    code = (
        f"import sys; sys.path.insert(0, {str(own)!r})\n"
        "import commlearn\n"
        f"assert commlearn.__file__.startswith({str(own)!r}), commlearn.__file__\n"
        "from commlearn.cli import main\n"
        "assert main(['synth', 'tables', '--out', 't', '--rows', '60', '--size', '16']) == 0\n"
        "assert main(['train', 't/schema.yaml', '--out', 'run', '--training.epochs', '1', '-q']) == 0\n"
        "assert main(['report', 'run', '--target', 'shared']) == 0\n"
    )
    assert "report.html" in run(sys.executable, "-c", code)
