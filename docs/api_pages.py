"""Hook of the site: the API page is made from docstrings, and the menu lists the pages that exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import commlearn as cl
from commlearn.errors import CommlearnError

SECTIONS = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples):$")


def on_config(config):
    """Pages that are not there are not in the menu; others are listed at its end."""
    docs = Path(config["docs_dir"])
    config["nav"] = _existing(config["nav"], docs)
    listed = set(_pages(config["nav"]))
    more = [path.relative_to(docs).as_posix() for path in sorted(docs.rglob("*.md"))]
    config["nav"] += [page for page in more if page not in listed]
    return config


def on_files(files, config):
    """The page that exists only in the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "api.md", content=api_page()))
    return files


def api_page() -> str:
    """Every public name with its signature and docstring."""
    names = sorted(cl.__all__, key=str.lower)
    parts = ["# API\n\nEvery public name of `commlearn`, as its docstring tells."]
    for name in names:
        value = getattr(cl, name)
        parts.append(_entry(name, value))
        if inspect.ismodule(value):
            parts += [_entry(f"{name}.{part}", getattr(value, part), 3) for part in value.__all__]
    parts.append(f"## Errors\n\n{_told(CommlearnError)}")
    return "\n\n".join(parts) + "\n"


def _entry(name: str, value: object, level: int = 2) -> str:
    title = f"{'#' * level} {name}\n\n"
    if isinstance(value, dict):
        return f"{title}A registry: {', '.join(f'`{key}`' for key in value)}."
    if inspect.ismodule(value):
        return title + _told(value)
    told = f"{title}```text\n{name}{_signature(value)}\n```\n\n{_told(value)}"
    for part, method in vars(value).items() if inspect.isclass(value) else ():
        function = getattr(method, "__func__", method)
        if not part.startswith("_") and inspect.isfunction(function) and function.__doc__:
            told += f"\n\n**`{part}{_signature(function)}`** - {_told(function)}"
    return told


def _signature(value: object) -> str:
    try:
        return re.sub(r"<function <lambda> at 0x[0-9a-f]+>", "...", str(inspect.signature(value)))
    except (TypeError, ValueError):
        return "(...)"


def _told(value: object) -> str:
    """A Google docstring as Markdown."""
    lines, section = [], ""
    for line in inspect.cleandoc(value.__doc__ or "").splitlines():
        found = SECTIONS.match(line)
        if found:
            _close(lines, section)
            section = found.group(1)
            lines += ["", f"*{section}*", ""]
            lines += ["```pycon"] if section.startswith("Example") else []
        elif section.startswith("Example"):
            lines.append(line.removeprefix("    "))
        elif section and re.match(r"^    \S", line):
            lines.append("- " + re.sub(r"^(\w+(?:, \w+)*):", r"`\1`:", line.strip()))
        elif section and line.strip():
            lines.append("  " + line.strip())
        elif line.startswith("    "):
            lines += ["```text", line, "```"] if lines[-1:] != ["```"] else []
            if lines[-1] != "```":
                lines.append(line)
            elif lines[-2] != line:
                lines[-1:] = [line, "```"]
        else:
            lines.append(line)
    _close(lines, section)
    return "\n".join(lines).strip()


def _close(lines: list[str], section: str) -> None:
    if section.startswith("Example"):
        lines.append("```")


def _existing(nav, docs: Path):
    kept = []
    for entry in nav:
        for title, target in entry.items():
            if isinstance(target, list):
                kept.append({title: _existing(target, docs)})
            elif target == "api.md" or (docs / target).exists():
                kept.append({title: target})
    return kept


def _pages(nav):
    for entry in nav:
        if isinstance(entry, str):
            yield entry
            continue
        for target in entry.values():
            yield from _pages(target) if isinstance(target, list) else [target]
