"""Download and upload of a repository's files on the Hugging Face hub; no other file imports its client.

The client's own settings apply: HF_TOKEN or `hf auth login`, HF_HUB_OFFLINE, HF_HOME, HF_ENDPOINT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commlearn.errors import ConfigurationError, RunError
from commlearn.storage.places import may_fetch

SCHEME = "hf://"
ADDRESS = re.compile(r"(?!.*\.\.)hf://([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
SIGN_IN = "sign in (hf auth login, or HF_TOKEN)"


@dataclass(frozen=True)
class Repository:
    """A model's repository on the hub, and a branch, tag or commit in it."""

    name: str
    revision: str | None = None

    @classmethod
    def of(cls, address: str, revision: str | None = None) -> Repository:
        """Parse an address.

        Args:
            address: hf://user/name, or hf://user/name@revision.
            revision: the revision, if the address has none.

        Example:
            >>> Repository.of("hf://ana/films@v1")
            Repository(name='ana/films', revision='v1')
        """
        full_address = f"{address}@{revision}" if revision else address
        match = ADDRESS.fullmatch(full_address)
        if match is None:
            raise ConfigurationError(
                f"{full_address} is not the address of a model on the hub. Write hf://user/name, or "
                "hf://user/name@revision."
            )
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + (f"@{self.revision}" if self.revision else "")


def on_hub(source: object) -> bool:
    """Return whether a model is named by its address on the hub.

    Example:
        >>> on_hub("hf://ana/films"), on_hub("runs/films")
        (True, False)
    """
    return isinstance(source, str) and source.startswith(SCHEME)


def fetch(repository: Repository, name: str) -> Path:
    """Fetch one file of a repository into the cache of this machine, and return its path there.

    Raises:
        FileNotFoundError: the repository has no such file.
    """
    with _client(repository) as client:
        path = client.hf_hub_download(
            repository.name, name, revision=repository.revision, local_files_only=not may_fetch()
        )
    return Path(path)


def fetch_matching(repository: Repository, patterns: Sequence[str]) -> Path:
    """Fetch all matching files of a repository into this machine's cache, and return their folder there."""
    with _client(repository) as client:
        folder = client.snapshot_download(
            repository.name,
            revision=repository.revision,
            allow_patterns=list(patterns),
            local_files_only=not may_fetch(),
        )
    return Path(folder)


def open_repository(repository: Repository, private: bool) -> set[str]:
    """Make a repository if there is none, and return the names of its files.

    Args:
        repository: the repository to store files in.
        private: whether only its owner may see it; an existing repository that differs is refused.
    """
    with _client(repository) as client:
        if client.get_token() is None:
            raise RunError(f"Storing a model on the hub needs an account: {SIGN_IN}.")
        api = client.HfApi()
        api.create_repo(repository.name, private=private, exist_ok=True)
        info = api.model_info(repository.name)
    if bool(info.private) != private:
        current, requested = ("private", "public") if info.private else ("public", "private")
        raise RunError(
            f"{repository} is already {current}, but this would be {requested}. Nothing was stored. To keep "
            f"it {current}: private={bool(info.private)} (on the command line "
            f"{'without' if info.private else 'with'} --public); otherwise change that on its page on the "
            "hub."
        )
    return {file.rfilename for file in info.siblings or ()}


def store(repository: Repository, files: Mapping[str, bytes], stale: Sequence[str], message: str) -> str:
    """Store files in one commit, and return its hash.

    Args:
        repository: an existing repository.
        files: content of each file, by name.
        stale: names of files to delete.
        message: message of the commit.
    """
    with _client(repository) as client:
        additions = [client.CommitOperationAdd(name, content) for name, content in files.items()]
        deletions = [client.CommitOperationDelete(name) for name in stale]
        commit = client.HfApi().create_commit(
            repository.name, [*additions, *deletions], commit_message=message
        )
    return str(commit.oid)


@contextmanager
def _client(repository: Repository) -> Iterator[Any]:
    """Provide the hub's client, and turn its errors into the library's, each with a way out."""
    try:
        import huggingface_hub
    except ImportError as problem:
        raise ConfigurationError(
            "Models on the hub need the package huggingface_hub, which is not installed. Install the extra: "
            "pip install 'commlearn[hf]'"
        ) from problem
    from huggingface_hub import errors

    name = repository.name
    try:
        yield huggingface_hub
    except errors.GatedRepoError as problem:
        raise RunError(
            f"Access to {name} must be requested: request it on the model's page on the hub, then {SIGN_IN}."
        ) from problem
    except errors.RepositoryNotFoundError as problem:
        raise RunError(
            f"The hub has no model {name}, or it is private and you lack access. Check the name; if it is "
            f"private, {SIGN_IN} with an account that has access."
        ) from problem
    except errors.RevisionNotFoundError as problem:
        raise RunError(
            f"The model {name} has no revision '{repository.revision}'. Give one of its branches, tags or "
            "commits, or none for the newest."
        ) from problem
    except errors.RemoteEntryNotFoundError as problem:
        raise FileNotFoundError(str(problem)) from problem
    except errors.HFValidationError as problem:
        raise ConfigurationError(f"{name} cannot be the name of a model on the hub: {problem}") from problem
    except errors.HfHubHTTPError as problem:
        status = problem.response.status_code
        if status in (401, 403):
            raise RunError(
                f"The hub refuses this for {name} (status {status}). Check the owner's name, and "
                f"{SIGN_IN} with a token that has permission."
            ) from problem
        raise RunError(f"The hub failed for {name}: {_line(problem)} Try again later.") from problem
    except (errors.HTTPError, OSError) as problem:  # errors of the connection or the disk
        raise RunError(
            f"The hub could not be reached for {name}: {_line(problem)} Check the connection and "
            "HF_HUB_OFFLINE. What was downloaded before is read without a connection."
        ) from problem


def _line(problem: BaseException) -> str:
    text = " ".join(str(problem).split())[:200].rstrip(".")
    return f"{text or type(problem).__name__}."
