"""Check whether a tag may be released: `make check-release TAG=v0.2.0`. RELEASING.md has the other steps."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def versions(root: Path = ROOT) -> dict[str, str]:
    """Return the version that each file states."""
    package = (root / "src" / "commlearn" / "__init__.py").read_text(encoding="utf-8")
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    return {
        "pyproject.toml": tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "version"
        ],
        "src/commlearn/__init__.py": "".join(
            re.findall(r'^__version__ = "(.+)"$', package, flags=re.MULTILINE)
        ),
        "CITATION.cff": "".join(re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE)),
    }


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """Return what must be fixed in a tree before a tag is released."""
    version = tag.removeprefix("v")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$"
    sections = re.findall(r"^## (\S+)", changelog, flags=re.MULTILINE)
    uncommitted = subprocess.run(
        ["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [
        *([] if re.fullmatch(r"v\d+\.\d+\.\d+", tag) else [f"The tag is '{tag}'; give one such as v0.2.0."]),
        *(
            f"{file} says {stated}, the tag {tag}."
            for file, stated in versions(root).items()
            if stated != version
        ),
        *([] if sections[:1] == ["Unreleased"] else ["CHANGELOG.md does not begin with ## Unreleased."]),
        *(
            []
            if re.search(heading, changelog, flags=re.MULTILINE)
            else [f"CHANGELOG.md has no line '## {version} - YYYY-MM-DD'."]
        ),
        *(f"Not committed: {line}" for line in uncommitted),
    ]


if __name__ == "__main__":
    reasons = problems(sys.argv[1] if len(sys.argv) > 1 else "")
    print("\n".join(reasons) or f"{sys.argv[1]} can be tagged and built.")
    sys.exit(1 if reasons else 0)
