"""The Hugging Face hub: named files of a repository, fetched or stored. No other file imports its client.

Its own settings hold: HF_TOKEN or `hf auth login`, HF_HUB_OFFLINE, HF_HOME, HF_ENDPOINT.
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
    """A model's repository on the hub, and the branch, tag or commit that is meant."""

    name: str
    revision: str | None = None

    @classmethod
    def of(cls, address: str, revision: str | None = None) -> Repository:
        """From an address.

        Args:
            address: hf://user/name, or hf://user/name@revision.
            revision: if the address has none.

        Example:
            >>> Repository.of("hf://ana/films@v1")
            Repository(name='ana/films', revision='v1')
        """
        stated = f"{address}@{revision}" if revision else address
        matched = ADDRESS.fullmatch(stated)
        if matched is None:
            raise ConfigurationError(
                f"{stated} is not the address of a model on the hub. Write hf://user/name, or "
                "hf://user/name@revision."
            )
        return cls(matched[1], matched[2])

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + (f"@{self.revision}" if self.revision else "")


def on_hub(source: object) -> bool:
    """Whether a model is named by its address on the hub.

    Example:
        >>> on_hub("hf://ana/films"), on_hub("runs/films")
        (True, False)
    """
    return isinstance(source, str) and source.startswith(SCHEME)


def fetch(repository: Repository, name: str) -> Path:
    """One file of a repository, in the cache of this machine.

    Raises:
        FileNotFoundError: the repository has no such file.
    """
    client = _client()
    with _errors(repository):
        return Path(
            client.hf_hub_download(
                repository.name, name, revision=repository.revision, local_files_only=not may_fetch()
            )
        )


def fetch_matching(repository: Repository, patterns: Sequence[str]) -> Path:
    """The folder in the cache of this machine with all files of a repository that match."""
    client = _client()
    with _errors(repository):
        return Path(
            client.snapshot_download(
                repository.name,
                revision=repository.revision,
                allow_patterns=list(patterns),
                local_files_only=not may_fetch(),
            )
        )


def open_repository(repository: Repository, private: bool) -> set[str]:
    """Make a repository if there is none; the names of its files.

    Args:
        repository: to be stored in.
        private: whether it is for its owner alone; one that is there already is refused if it is not so.
    """
    client = _client()
    with _errors(repository):
        if client.get_token() is None:
            raise RunError(f"Storing a model on the hub needs an account: {SIGN_IN}.")
        api = client.HfApi()
        api.create_repo(repository.name, private=private, exist_ok=True)
        about = api.model_info(repository.name)
    if bool(about.private) != private:
        now, wanted = ("private", "public") if about.private else ("public", "private")
        raise RunError(
            f"{repository} is {now} already, and this would be {wanted}. Nothing was stored. To keep it "
            f"{now}: private={bool(about.private)} (on the command line "
            f"{'without' if about.private else 'with'} --public); else change that on its page of the hub."
        )
    return {file.rfilename for file in about.siblings or ()}


def store(repository: Repository, files: Mapping[str, bytes], stale: Sequence[str], message: str) -> str:
    """Store files in one commit, whose name is returned.

    Args:
        repository: that is there already.
        files: by name.
        stale: names of files that go.
        message: of the commit.
    """
    client = _client()
    added = [client.CommitOperationAdd(name, content) for name, content in files.items()]
    removed = [client.CommitOperationDelete(name) for name in stale]
    with _errors(repository):
        done = client.HfApi().create_commit(repository.name, [*added, *removed], commit_message=message)
    return str(done.oid)


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError as problem:
        raise ConfigurationError(
            "Models of the hub need the package huggingface_hub, which is not installed. Install the extra: "
            "pip install 'commlearn[hf]'"
        ) from problem
    return huggingface_hub


@contextmanager
def _errors(repository: Repository) -> Iterator[None]:
    """The client's errors as ours, each with the way out."""
    from huggingface_hub import errors

    name = repository.name
    try:
        yield
    except errors.GatedRepoError as problem:
        raise RunError(
            f"Access to {name} must be requested: request it on the model's page of the hub, then {SIGN_IN}."
        ) from problem
    except errors.RepositoryNotFoundError as problem:
        raise RunError(
            f"The hub has no model {name}, or it is private and not shown to you. Check the name; if it is "
            f"private, {SIGN_IN} as somebody who may see it."
        ) from problem
    except errors.RevisionNotFoundError as problem:
        raise RunError(
            f"The model {name} has no revision '{repository.revision}'. Give one of its branches, tags or "
            "commits, or none for the newest."
        ) from problem
    except errors.RemoteEntryNotFoundError as problem:
        raise FileNotFoundError(str(problem)) from problem
    except errors.HFValidationError as problem:
        raise ConfigurationError(f"{name} cannot be the name of a model of the hub: {problem}") from problem
    except errors.HfHubHTTPError as problem:
        status = problem.response.status_code
        if status in (401, 403):
            raise RunError(
                f"The hub refuses this for {name} (status {status}). Check the owner's name, and "
                f"{SIGN_IN} with a token that may do it."
            ) from problem
        raise RunError(f"The hub failed at {name}: {_line(problem)} Try again later.") from problem
    except (errors.HTTPError, OSError) as problem:  # of the connection, or of the disk
        raise RunError(
            f"The hub could not be reached for {name}: {_line(problem)} Check the connection and "
            "HF_HUB_OFFLINE. What was fetched before is read without them."
        ) from problem


def _line(problem: BaseException) -> str:
    text = " ".join(str(problem).split())[:200].rstrip(".")
    return f"{text or type(problem).__name__}."
