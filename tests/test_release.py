"""The files of a release state one version, and a tree that is not ready is not released."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from check_release import ROOT, problems, versions

FILES = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "src/commlearn/__init__.py")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that is ready for the release of its version."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    dated = text.replace("## Unreleased\n", "## Unreleased\n\n## 0.1.0 - 2027-01-31\n", 1)
    changelog.write_text(dated.replace("## 0.1.0\n", ""), encoding="utf-8")
    commit(tmp_path, "init", "--quiet")
    commit(tmp_path, "add", "--all")
    commit(tmp_path, "commit", "--quiet", "--message", "All")
    return tmp_path


def commit(tree: Path, *words: str) -> None:
    name = ("-c", "user.name=Anyone", "-c", "user.email=anyone@example.org")
    subprocess.run(["git", *name, *words], cwd=tree, check=True)


def test_all_files_state_one_version():
    assert len(set(versions().values())) == 1


def test_a_tree_that_is_ready_has_no_problems(tree):
    assert not problems(f"v{versions()['pyproject.toml']}", tree)


@pytest.mark.parametrize("tag", ["", "0.1.0", "v0.1", "v9.9.9"])
def test_another_tag_is_refused(tree, tag):
    assert problems(tag, tree)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_says_otherwise_or_is_not_committed_is_named(tree, name):
    file = tree / name
    file.write_text(file.read_text(encoding="utf-8").replace("0.1.0", "0.0.9"), encoding="utf-8")
    reasons = problems("v0.1.0", tree)
    assert any(name in problem and "committed" not in problem for problem in reasons)
    assert any(name in problem and "committed" in problem for problem in reasons)
