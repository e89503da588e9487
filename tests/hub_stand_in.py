"""A stand-in for the model hub that huggingface_hub contacts; it needs no network."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
from huggingface_hub import errors

REAL = {name: getattr(huggingface_hub, name) for name in ("hf_hub_download", "snapshot_download")}


class HubStandIn:
    """Stored files by repository and commit, and a cache with the layout of huggingface_hub's.

    Attributes:
        commits: for each repository, the files of each commit by name; the newest commit is last.
        private: whether each repository is private.
        asked: names of the files that were fetched.
        failure: an error that every request raises; None if the hub can be reached.
        token: the caller's access token.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.token: str | None = "token of a test"

    def install(self, monkeypatch) -> None:
        for name in ("hf_hub_download", "snapshot_download", "get_token"):
            monkeypatch.setattr(huggingface_hub, name, getattr(self, name))
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)

    def get_token(self) -> str | None:
        return self.token

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        self._answer()
        if name not in self.commits:
            self.private[name] = private
            self.store(name, {".gitattributes": b""})
        assert exist_ok

    def model_info(self, name: str) -> SimpleNamespace:
        _, files = self._at(name, None)
        return SimpleNamespace(
            private=self.private[name], siblings=[SimpleNamespace(rfilename=one) for one in files]
        )

    def create_commit(self, name: str, operations: list, *, commit_message: str) -> SimpleNamespace:
        _, before = self._at(name, None)
        added = {
            one.path_in_repo: one.path_or_fileobj for one in operations if hasattr(one, "path_or_fileobj")
        }
        removed = {one.path_in_repo for one in operations} - added.keys()
        assert commit_message
        assert removed <= before.keys(), "the hub refuses to remove what is not there"
        remaining = {key: content for key, content in before.items() if key not in removed}
        return SimpleNamespace(oid=self.store(name, remaining | added))

    def store(self, name: str, files: dict[str, bytes]) -> str:
        """Store files as a new commit, and return its name."""
        commits = self.commits.setdefault(name, {})
        self.private.setdefault(name, True)
        commit = hashlib.sha1(repr((len(commits), sorted(files))).encode()).hexdigest()
        commits[commit] = dict(files)
        return commit

    def files(self, name: str) -> dict[str, bytes]:
        """Return the files of the newest commit, except the hub's own."""
        newest = list(self.commits[name].values())[-1]
        return {key: content for key, content in newest.items() if key != ".gitattributes"}

    def hf_hub_download(self, name: str, file: str, *, revision=None, local_files_only=False) -> str:
        if local_files_only:
            return REAL["hf_hub_download"](
                name, file, revision=revision, cache_dir=self.cache, local_files_only=True
            )
        commit, files = self._at(name, revision)
        if file not in files:
            raise errors.RemoteEntryNotFoundError(f"{name} has no {file}", response=response(404))
        self.asked.append(file)
        folder = self.cache / f"models--{name.replace('/', '--')}"
        blob = folder / "blobs" / hashlib.sha256(files[file]).hexdigest()
        link = folder / "snapshots" / commit / file
        for path in (blob, link, folder / "refs" / "main"):
            path.parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
        blob.write_bytes(files[file])
        if not link.is_symlink():
            os.symlink(os.path.relpath(blob, link.parent), link)
        return str(link)

    def snapshot_download(self, name: str, **options) -> str:
        self._at(name, options.get("revision"))
        raise AssertionError("models are fetched file by file")

    def _at(self, name: str, revision: str | None) -> tuple[str, dict[str, bytes]]:
        self._answer()
        commits = self.commits.get(name)
        if commits is None:
            raise errors.RepositoryNotFoundError("404 Client Error.", response=response(404))
        commit = list(commits)[-1] if revision in (None, "main") else revision
        if commit not in commits:
            raise errors.RevisionNotFoundError("404 Client Error.", response=response(404))
        return commit, commits[commit]

    def _answer(self) -> None:
        if self.failure is not None:
            raise self.failure


def response(status: int) -> errors.Response:
    """Return a server's response with the given status."""
    from httpx2 import Request

    return errors.Response(status, request=Request("GET", "https://hub.invalid"))
