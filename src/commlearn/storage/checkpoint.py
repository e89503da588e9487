"""Checkpoints: written whole or not at all, verified by checksum, read without running code.

A file is a line of magic and version, a line with the SHA-256 of the rest, and the rest: a torch archive
of tensors and plain values. The checkpoint before the last one is kept.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from commlearn.errors import DAMAGED, CheckpointError, RunError
from commlearn.storage.locks import atomic_file
from commlearn.storage.plain_files import plain_file

FORMAT = 1
MAGIC = f"commlearn checkpoint {FORMAT}\n".encode()
KINDRED = MAGIC.rpartition(b" ")[0]  # start of checkpoints of any format
LAST, PREVIOUS, ASIDE = "last.ckpt", "previous.ckpt", "damaged.ckpt"
CHECKPOINTS = tuple(f"checkpoints/{name}" for name in (LAST, PREVIOUS, ASIDE))  # their paths in a run folder
UNREADABLE = (*DAMAGED, OSError, MemoryError, RuntimeError, ImportError, UnpicklingError, zipfile.BadZipFile)


def write_checkpoint(folder: Path, state: dict[str, Any]) -> Path:
    """Write `state` as the last checkpoint; the one that was last becomes the previous one."""
    last = folder / LAST
    content = _packed(state, last)
    with _write_errors(last), atomic_file(last) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if last.exists():
            os.replace(last, folder / PREVIOUS)
    return last


def _packed(state: dict[str, Any], path: Path) -> bytes:
    buffer, head = io.BytesIO(), len(MAGIC) + 2 * hashlib.sha256().digest_size + 1
    try:
        buffer.write(bytes(head))  # reserves the head, known only at the end: no second copy in memory
        torch.save(state, buffer)
        digest = hashlib.sha256(buffer.getbuffer()[head:]).hexdigest().encode()
        buffer.seek(0)
        buffer.write(MAGIC + digest + b"\n")
        return buffer.getvalue()
    except (MemoryError, RuntimeError) as problem:  # torch's own, raised after a MemoryError
        if isinstance(problem, RuntimeError) and not isinstance(problem.__context__, MemoryError):
            raise
        raise RunError(
            f"Cannot write {path}: there is not enough memory. Earlier checkpoints are intact. Close other "
            "programs or use a machine with more memory, then continue with resume=True."
        ) from problem


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in a checkpoint file; a damaged file is refused."""
    try:
        content = plain_file(path).read_bytes()
    except OSError as problem:
        raise CheckpointError(f"{path} cannot be read: {problem.strerror}.") from problem
    magic, _, rest = content.partition(b"\n")
    digest, _, payload = rest.partition(b"\n")
    if not magic.startswith(KINDRED):
        raise CheckpointError(f"{path} is not a commlearn checkpoint, or its start is damaged.")
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise CheckpointError(
            f"{path} is damaged: its content ({len(content)} bytes) does not match its checksum."
        )
    if magic + b"\n" != MAGIC:
        version = magic[len(KINDRED) :].strip().decode("latin-1")
        if version.isascii() and version.isdigit() and len(version) < 9 and int(version) > FORMAT:
            raise RunError(
                f"{path} has format {version}, but this commlearn reads formats up to {FORMAT}. Update "
                "commlearn."
            )
        raise CheckpointError(f"{path} is damaged: its format, {version[:20]!r}, does not exist.")
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > len(payload):  # training never compresses, so it is a trap
            raise ValueError(f"it unpacks to {size:,} bytes, from {len(payload):,}")
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except UNREADABLE as problem:
        reason = str(problem).partition("\n")[0][:200]
        raise CheckpointError(
            f"{path} was not loaded: it is not an archive of only tensors and plain values ({reason})."
        ) from problem
    if not isinstance(state, dict) or not isinstance(state.get("step"), int) or state["step"] < 0:
        raise CheckpointError(f"{path} is not what training wrote: it holds no state with a step.")
    return state


def last_checkpoint(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the newest whole checkpoint of a folder, and a warning for each one that was skipped."""
    warnings: list[str] = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            return read_checkpoint(path), warnings
        except CheckpointError as problem:
            warnings.append(f"{problem} It was skipped.")
    reasons = " ".join(warnings) or "The folder has none: the run was stopped before its first."
    raise CheckpointError(f"No usable checkpoint in {folder}. {reasons}")


def is_checkpoint(path: Path) -> bool:
    """Return whether a file starts as the library's checkpoints do."""
    try:
        with plain_file(path).open("rb") as file:
            return file.read(len(KINDRED)) == KINDRED
    except OSError:
        return False


def set_aside(folder: Path) -> None:
    """Move a damaged last checkpoint away; otherwise the next write would replace the intact one with it."""
    with suppress(OSError):
        os.replace(folder / LAST, folder / ASIDE)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that always has either its old content or the new, never a part of it."""
    with _write_errors(path), atomic_file(path) as file:
        file.write(content)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise RunError(
            f"Cannot write {path}: {problem.strerror}. Free some space or choose another folder."
        ) from problem
