"""Checkpoints: written whole or not at all, checked by sum, read without running code.

A file is one line of magic and version, one line with the SHA-256 of the rest, and the rest: a
torch archive of tensors and plain values. The checkpoint before the last one is kept.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from commlearn.errors import CheckpointError, RunError

__all__ = ["last_checkpoint", "read_checkpoint", "write_atomically", "write_checkpoint"]

MAGIC = b"commlearn checkpoint 1\n"
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> Path:
    """Write `state` as the last checkpoint; what was last becomes the previous one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    digest = hashlib.sha256(payload).hexdigest().encode()
    last = folder / LAST
    fresh = _write_beside(last, MAGIC + digest + b"\n" + payload)
    if last.exists():
        os.replace(last, folder / PREVIOUS)
    os.replace(fresh, last)
    return last


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one checkpoint file; a damaged one is refused."""
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{path} is not a commlearn checkpoint of format 1, or its start is damaged.")
    head = len(MAGIC) + 65
    digest, payload = content[len(MAGIC) : head - 1], content[head:]
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise CheckpointError(
            f"{path} is damaged: its content ({len(content)} bytes) does not match its checksum."
        )
    return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)


def last_checkpoint(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The newest whole checkpoint of a folder, and a warning for each that had to be passed over."""
    warnings: list[str] = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            return read_checkpoint(path), warnings
        except CheckpointError as problem:
            warnings.append(f"{problem} It was passed over.")
    told = " ".join(warnings) or "The folder has none: the run was stopped before its first."
    raise CheckpointError(f"No usable checkpoint in {folder}. {told}")


def write_atomically(path: Path, content: bytes) -> None:
    """The file has its old content or the new, never a part of it."""
    os.replace(_write_beside(path, content), path)


def _write_beside(path: Path, content: bytes) -> Path:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        fresh.unlink(missing_ok=True)
        raise RunError(
            f"Cannot write {path}: {problem.strerror}. Free some space or choose another folder."
        ) from problem
    return fresh
