"""A folder of embeddings: its parts, what they were made of, and the checksum of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from commlearn.data.checksums import EMBEDDINGS, PLAN, check_part, file_digest
from commlearn.data.fingerprint import differences
from commlearn.data.plain_files import plain_file
from commlearn.data.plain_json import parse_json
from commlearn.errors import ConfigurationError, DataError
from commlearn.training.checkpoint import write_atomically
from commlearn.training.file_list import FileList
from commlearn.training.folder_lock import hold

__all__ = ["EmbeddingFolder"]

FORMAT = 2


class EmbeddingFolder:
    """Parts that appear when they are whole, each with a checksum that is compared when it is met again.

    Args:
        folder: where they lie; it is made when it is opened.
        plan: what they are made of, as plain values: `rows` of each part, `data` for the fingerprint of the
            table, and whatever else must be the same to go on.
    """

    def __init__(self, folder: str | Path, plan: Mapping[str, Any]) -> None:
        self.folder, self.plan = Path(folder), {"format": FORMAT, **plan}
        self.files = FileList(self.folder, kind=EMBEDDINGS)

    @property
    def begun(self) -> bool:
        return (self.folder / PLAN).exists()

    @contextmanager
    def opened(self, alone: bool) -> Iterator[None]:
        """Make the folder, or see that it is the one of this plan; keep other calls out until it is closed.

        Args:
            alone: no other process shares the work.
        """
        doing = "embedding" if alone else "embedding alone"
        with closing(hold(self.folder, doing, shared=not alone)):
            if not self.begun:
                self._begin()
            self._compare()
            self.files.remove_leftovers()
            yield

    def part(self, number: int) -> Path:
        return self.folder / f"part-{number:05}.parquet"

    def has(self, path: Path) -> bool:
        """Whether a part is there; one that is not what was written is refused."""
        if not path.exists():
            return False
        check_part(path, self.files.checksums().get(path.name, ""))
        return True

    def seal(self, name: str, fresh: Path) -> None:
        """Note the checksum of a part that is whole, before it gets its name."""
        self.files.seal(name, file_digest(fresh))

    def _begin(self) -> None:
        parts = [self.part(number).name for number in range(len(self.plan["rows"]))]
        self.files.claim(PLAN, *parts)
        self.files.add(PLAN, *parts)
        write_atomically(self.folder / PLAN, (json.dumps(self.plan, indent=1) + "\n").encode())

    def _compare(self) -> None:
        try:
            stored = parse_json(plain_file(self.folder / PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise DataError(f"{self.folder / PLAN} is damaged: {problem}. Give another folder.") from problem
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise ConfigurationError(
                f"{self.folder / PLAN} is not of format {FORMAT}, which says of what table embeddings were "
                "made; they were begun by another version, or by something else. Give another folder."
            )
        changes = [
            self._difference(key, stored.get(key))
            for key in sorted(stored.keys() | self.plan.keys())
            if stored.get(key) != self.plan.get(key)
        ]
        if changes:
            raise ConfigurationError(
                f"{self.folder} holds embeddings of another model, table or choice of modalities: "
                f"{'; '.join(changes)}. Give another folder."
            )

    def _difference(self, key: str, before: Any) -> str:
        now = self.plan.get(key)
        if key == "data" and isinstance(before, dict):
            return differences(before, self.plan["data"])
        if key == "rows" and isinstance(before, list):
            return f"rows of the parts were {before[:3]}..., and are {self.plan['rows'][:3]}..."
        return f"{key} was {str(before)[:60]}, and is {str(now)[:60]}"
