"""Text: words and punctuation learned from training rows; unknown words as hashed character 3-grams.

No file is downloaded: a regular expression splits text into words, and the training rows determine which
words get their own id. A word that was not learned is still read, through its letters.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from commlearn.batch import Modality, Spec
from commlearn.errors import DataError
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.pretrained import Pretrained, ids_of
from commlearn.kinds.rows import brief, column_name, first_ten, is_empty, map_rows, raise_errors, store_whole
from commlearn.models.features import Texts

UNKNOWN = 2  # the id of a text without words
RESERVED = 3  # number of ids before those of words: padding, the mask and UNKNOWN
HASHED = 1024  # number of ids for character 3-grams
WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Text(Kind):
    """One column of text, in any language and script.

    With a pretrained encoder, its tokenizer replaces the learned words.

    Example:
        >>> Text("notes").columns()
        ('notes',)
    """

    name: ClassVar[str] = "text"

    column: str
    max_length: int = 128  # most tokens of a text that are read
    vocabulary: int = 8192  # most words that get their own id
    encoder: Any = None  # a torch module, the folder of a pretrained encoder, or settings of `Pretrained`

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", column_name(self.column))
        object.__setattr__(self, "encoder", Pretrained.of(self.encoder))
        store_whole(self, "max_length", "Text max_length", 1, "at least 1 token")
        store_whole(self, "vocabulary", "Text vocabulary", 0, "0 words or more")

    def names(self) -> Sequence[str]:
        return (self.column,)

    def learn(self, cells: Cells) -> dict[str, Any]:
        """Return the words that occur twice or more in training rows, most frequent first; or a tokenizer."""
        if isinstance(self.encoder, Pretrained):
            return self.encoder.for_texts(self.max_length)
        texts = self._texts(cells)
        if not any(texts):
            raise DataError(f"{self.column}: none of the training rows has text.")
        words = self._words(texts)
        cut = self._count_cut(texts, Tokenizer(words))
        return {"words": words} | ({"cut": cut} if cut else {})

    def notes(self, state: Mapping[str, Any]) -> Sequence[str]:
        return [self._cut_note(state["cut"], "tokens")] if "cut" in state else []

    def read(self, cells: Cells, state: dict[str, Any]) -> Sentences:
        if "tokenizer" in state:
            lists = ids_of(self._texts(cells), state["tokenizer"], state["max_length"])
            return _concatenate(lists, state["ids"], (state["mask"], *state["special"]))
        tokenizer = Tokenizer(state["words"])
        texts = self._texts(cells)
        lists = [tokenizer(text)[: self.max_length] if text else [] for text in texts]
        return _concatenate(lists, tokenizer.ids, texts=texts)

    def check(self, cells: Cells) -> list[Problem]:
        texts, problems = self._decoded(cells)
        problems = first_ten(problems)
        filled = [text for text in texts if text]
        if not filled and not problems:
            return [Problem("no row has text; name another column or drop the modality", self.column)]
        if len(filled) > 1 and len(set(filled)) == 1:
            message = f"every text is the same: '{filled[0][:60]}'"
            problems.append(Problem(message, self.column, level="warning"))
        pretrained = isinstance(self.encoder, Pretrained)  # its tokenizer is not loaded here
        cut = self._count_cut(filled, split if pretrained else Tokenizer(self._words(filled)))
        if cut:
            message = self._cut_note(cut, "words" if pretrained else "tokens")
            problems.append(Problem(message, self.column, level="warning"))
        return problems

    def _words(self, texts: Sequence[str]) -> list[str]:
        """Return the words that occur at least twice in the texts, most frequent first."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split(text))
        ranked = sorted((-count, word) for word, count in counts.items() if count > 1)
        return [word for _, word in ranked[: self.vocabulary]]

    def _count_cut(self, texts: Sequence[str], tokenize: Callable[[str], Sequence[Any]]) -> int:
        """Return how many texts are longer than the part that is read."""
        return sum(len(text) > self.max_length and len(tokenize(text)) > self.max_length for text in texts)

    def _cut_note(self, cut: int, unit: str) -> str:
        reason = " (a word without a token of its own takes one per letter)" if unit == "tokens" else ""
        return (
            f"{cut} texts have more than {self.max_length} {unit}{reason} and are cut there; raise max_length"
        )

    def _texts(self, cells: Cells) -> list[str]:
        texts, problems = self._decoded(cells)
        raise_errors(self.column, problems)
        return [text or "" for text in texts]

    def _decoded(self, cells: Cells) -> tuple[list[str | None], list[Problem]]:
        """Return the text of each row ("" = none), and a problem for each cell that is not text."""
        return map_rows(cells.frame[self.column].tolist(), _text_of, self.column, cells.first_row)


class Tokenizer:
    """Tokenizer that turns text into ids, given the words that were learned.

    Args:
        words: words that each get their own id; all others share the ids of their character 3-grams.

    Example:
        >>> tokenizer = Tokenizer(["the", "cat"])
        >>> tokenizer("The cat")
        [3, 4]
        >>> len(tokenizer("dog"))  # <do, dog, og>
        3
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.tokens_of = {word: [RESERVED + position] for position, word in enumerate(words)}
        self.first_hashed = RESERVED + len(self.tokens_of)
        self.ids = self.first_hashed + HASHED

    def __call__(self, text: str) -> list[int]:
        tokens: list[int] = []
        for word in split(text):
            if word not in self.tokens_of:
                self.tokens_of[word] = self.letters(word)
            tokens += self.tokens_of[word]
        return tokens or [UNKNOWN]

    def letters(self, word: str) -> list[int]:
        """Return an id for each run of 3 characters of a word, whose ends are marked."""
        marked = f"<{word}>"
        grams = (marked[start : start + 3].encode() for start in range(len(marked) - 2))
        return [self.first_hashed + zlib.crc32(gram) % HASHED for gram in grams]


def split(text: str) -> list[str]:
    """Split text into lower-case words and single punctuation marks.

    Example:
        >>> split("It's 12 µm!")
        ['it', "'", 's', '12', 'μm', '!']
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


@dataclass(frozen=True)
class Sentences:
    """Token ids of many records, end to end in memory; padded to the longest of a batch when taken."""

    tokens: np.ndarray  # (all tokens,) int32
    starts: np.ndarray  # (records + 1,): record i has tokens[starts[i]:starts[i + 1]]; none = absent
    ids: int  # number of different ids
    reserved: tuple[int, ...] = ()  # a pretrained tokenizer's mask id (-1 = none), then its special ids
    texts: tuple[str, ...] = ()  # text of each record, for features that read it

    @property
    def spec(self) -> Spec:
        return Spec("text", (self.ids, *self.reserved))

    @cached_property
    def present(self) -> np.ndarray | None:
        """(records,): False if a record has no text; None if all have one."""
        filled = np.diff(self.starts) > 0
        return None if filled.all() else filled

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: np.ndarray) -> Modality:
        lengths = (self.starts[1:] - self.starts[:-1])[rows]
        positions = np.arange(max(lengths.max(initial=0), 1))
        filled = positions < lengths[:, None]  # (batch, length)
        values = np.zeros(filled.shape, dtype=np.int64)
        values[filled] = self.tokens[(self.starts[rows][:, None] + positions)[filled]]
        absent = lengths == 0
        values[absent, 0], filled[absent, 0] = UNKNOWN, True  # one token to attend to; its output is not used
        present = None if self.present is None else torch.from_numpy(~absent)
        tensors = torch.from_numpy(values), torch.from_numpy(~filled), present
        return Texts(*tensors, tuple(self.texts[row] for row in rows)) if self.texts else Modality(*tensors)


def _concatenate(
    lists: list[list[int]], ids: int, reserved: tuple[int, ...] = (), texts: Sequence[str] = ()
) -> Sentences:
    starts = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    flat = np.fromiter((token for tokens in lists for token in tokens), np.int32, int(starts[-1]))
    return Sentences(flat, starts, ids, reserved, tuple(texts))


def _text_of(cell: Any) -> str:
    if is_empty(cell):
        return ""
    if not isinstance(cell, str | bytes):
        raise DataError(f"{brief(cell)} is of type {type(cell).__name__}; give text")
    try:
        text = cell.decode() if isinstance(cell, bytes) else cell
        text.encode()
    except (UnicodeEncodeError, UnicodeDecodeError) as problem:
        position = problem.start + 1
        raise DataError(
            f"{brief(cell)} is not UTF-8 at position {position}; save the text as UTF-8"
        ) from problem
    return "" if is_empty(text) else text
