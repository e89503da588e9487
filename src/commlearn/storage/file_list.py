"""Lists of the files that the library wrote into a folder: only those are ever removed or replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from commlearn.errors import RunError
from commlearn.storage.checkpoint import CHECKPOINTS, is_checkpoint, write_atomically
from commlearn.storage.fingerprint import LIST
from commlearn.storage.locks import LOCK, PART, remove_if_abandoned, turn
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import json_text, parse_json

RUN, FORMAT = "run folder", 1
EVENTS = "tensorboard/events.out.tfevents.*.commlearn"  # TensorBoard fills in the star
OUTSIDE = re.compile(r"^$|^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")  # matches names outside the folder
SHOWN = 10  # most names in a message


class FileList:
    """The files that the library wrote into a folder; the list itself marks the folder as the library's.

    A name is listed before its file is written: a process that is killed in between leaves a name without a
    file, never a file without a name.

    Args:
        folder: folder whose files are listed.
        usual: names that count as listed in a folder without a list; in a run only next to a checkpoint.
        kind: what the folder is.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> FileList(folder).add("metrics.csv")
        >>> for name in ("metrics.csv", "note.txt"):
        ...     _ = (folder / name).write_text("")
        >>> list(FileList(folder).foreign())
        ['note.txt']
    """

    def __init__(self, folder: Path, usual: Sequence[str] = (), kind: str = RUN) -> None:
        self.folder, self.usual, self.kind = folder, usual, kind
        self.path = folder / LIST

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def names(self) -> set[str]:
        """Return the listed names; in a folder without a list, those recognised as the library's."""
        return self._recognised_names() if not self.exists else set(self._stored()["files"])

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 of the files that were sealed, by name."""
        return dict(self._stored()["sha256"]) if self.exists else {}

    def seal(self, name: str, digest: str) -> None:
        """Record the SHA-256 of a listed file that is complete, even before it gets its name."""
        with turn(self.folder):
            self._store(self.names(), {**self.checksums(), name: digest})

    def _stored(self) -> dict[str, Any]:
        try:
            stored = parse_json(plain_file(self.path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise self._unusable(f"is damaged: {str(problem).partition(chr(10))[0]}") from problem
        if not isinstance(stored, dict) or stored.get("commlearn") != self.kind:
            raise self._unusable(f"is not the list of files that commlearn writes for a {self.kind}")
        if stored.get("format") != FORMAT:
            raise RunError(
                f"{self.path} has format {stored.get('format')!r:.20}, but this commlearn reads format "
                f"{FORMAT}. Update commlearn."
            )
        names = stored.get("files")
        if not isinstance(names, list) or not all(
            isinstance(name, str) and not OUTSIDE.search(name) for name in names
        ):
            raise self._unusable("lists a name outside its folder")
        sums = stored.setdefault("sha256", {})
        if not isinstance(sums, dict) or not all(isinstance(digest, str) for digest in sums.values()):
            raise self._unusable("contains invalid checksums")
        return stored

    def add(self, *names: str) -> None:
        """List files that are about to be written; a file that exists without being listed is refused."""
        if self.exists and self.names().issuperset(names):
            return
        with turn(self.folder):  # another process may be adding names
            listed = self.names()
            if self.exists:
                self._refuse_to_replace(set(names) - listed)
            self._store(listed.union(names))

    def claim(self, *names: str) -> None:
        """Begin a list if there is none; refuse if a file of somebody else has one of these names."""
        with turn(self.folder):
            listed = self.names()
            self._refuse_to_replace(set(names) - listed)
            if not self.exists:
                self._store(listed)

    def foreign(self) -> Iterator[str]:
        """Yield the names of files and links that the library did not write."""
        listed = self.names()
        return (name for name in _walk(self.folder) if name != LOCK and not self._is_ours(name, listed))

    def check_removable(self) -> None:
        """Check that the library wrote everything in the folder."""
        remedy = "Nothing was removed. {}, or give another out=."
        if not self.exists:
            raise RunError(
                f"{self.folder} has no list of what commlearn wrote there ({LIST}), so its files may be "
                f"somebody else's. {remedy.format('Move it away or delete it yourself')}"
            )
        foreign = list(islice(self.foreign(), SHOWN + 1))
        if foreign:
            suffix = " and more" if len(foreign) > SHOWN else ""
            raise RunError(
                f"{self.folder} holds files that commlearn did not write: {_listing(foreign[:SHOWN])}{suffix}"
                f". {remedy.format('Move them away')}"
            )

    def remove(self, last: str, stay: Sequence[str] = ()) -> None:
        """Remove the library's files, and folders that are then empty; refuse if the folder holds others.

        Args:
            last: the name to remove last, because it makes the folder a run.
            stay: names of files that are not removed.
        """
        self.check_removable()
        listed, spared = self.names(), {LIST, *stay}
        names = [name for name in _walk(self.folder) if name not in spared and self._is_ours(name, listed)]
        try:
            for name in sorted(names, key=lambda name: name == last):
                (self.folder / name).unlink(missing_ok=True)
        except OSError as problem:
            raise RunError(f"Cannot remove {problem.filename}: {problem.strerror}.") from problem
        for parent in sorted(_parents(names), key=len, reverse=True):
            with suppress(OSError):  # it holds a foreign folder
                (self.folder / parent).rmdir()
        self._store(listed.intersection(stay))

    def remove_leftovers(self) -> None:
        """Remove what processes that were killed had begun to write in place of listed files.

        Files that a live process is writing stay.
        """
        listed = self.names()
        for parent in {"", *_parents(listed)}:
            directory = self.folder / parent
            for path in () if parent and directory.is_symlink() else directory.glob(".*.part"):
                name = path.relative_to(self.folder).as_posix()
                if name not in listed and self._is_ours(name, listed):
                    remove_if_abandoned(path)

    def _is_ours(self, name: str, listed: set[str]) -> bool:
        path = PurePosixPath(name)
        part = PART.fullmatch(path.name)
        target = path.with_name(part[1]).as_posix() if part else name
        return bool(target in listed or target == LIST or (EVENTS in listed and fnmatchcase(name, EVENTS)))

    def _recognised_names(self) -> set[str]:
        """Return what versions without lists wrote: usual names, in a run only if it has checkpoints."""
        if self.kind != RUN:
            return set(self.usual)
        checkpoints = {name for name in CHECKPOINTS if is_checkpoint(self.folder / name)}
        return checkpoints | {name for name in self.usual if checkpoints and (self.folder / name).is_file()}

    def _refuse_to_replace(self, names: Iterable[str]) -> None:
        existing = sorted(name for name in names if os.path.lexists(self.folder / name))
        if existing:
            raise RunError(
                f"{self.folder} holds files that commlearn did not write and would replace: "
                f"{_listing(existing[:SHOWN])}. Move {'it' if len(existing) == 1 else 'them'} away, or give "
                f"another {'out=' if self.kind == RUN else 'folder'}."
            )

    def _store(self, names: set[str], checksums: Mapping[str, str] | None = None) -> None:
        sums = self.checksums() if checksums is None else checksums
        stored: dict[str, Any] = {"commlearn": self.kind, "format": FORMAT, "files": sorted(names)}
        if sums := {name: sums[name] for name in sorted(names & sums.keys())}:
            stored["sha256"] = sums
        write_atomically(self.path, json_text(stored, 1).encode())

    def _unusable(self, reason: str) -> RunError:
        return RunError(
            f"{self.path} {reason}. Nothing was removed. Move it away to continue, or give another out=."
        )


def _parents(names: Iterable[str]) -> set[str]:
    """Return the folders of these files below the listed folder."""
    return {parent.as_posix() for name in names for parent in PurePosixPath(name).parents} - {"."}


def _walk(folder: Path, prefix: str = "") -> Iterator[str]:
    """Yield the names of all but folders; unreadable folders and links to folders count as files."""
    try:
        with os.scandir(folder / prefix) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield prefix
        return
    for entry in children:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}"


def _listing(names: Sequence[str]) -> str:
    return ", ".join(name.encode("utf-8", "replace").decode() for name in names)
