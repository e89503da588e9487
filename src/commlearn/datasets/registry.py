"""All readers by name.

Example:
    >>> READERS["mosi"].__name__, "table" in READERS
    ('Mosi', True)
"""

from __future__ import annotations

import pkgutil
from collections import UserDict
from typing import Any


class Readers(UserDict[str, Any]):
    """Names of data sets and the classes that read them, which are imported on first use.

    Readers that need a kind of modality, such as text, belong to a layer above this one, so this layer
    refers to them by name only.
    """

    def __getitem__(self, name: str) -> type[Any]:
        entry = self.data[name]
        return pkgutil.resolve_name(entry) if isinstance(entry, str) else entry

    def add(self, name: str, reader: type[Any]) -> None:
        """Add your own reader under a name, for this process."""
        self[name] = reader


READERS = Readers(
    {
        "hateful_memes": "commlearn.datasets.image_text:HatefulMemes",
        "mimic": "commlearn.datasets.mimic:Mimic",
        "mm_imdb": "commlearn.datasets.image_text:MMIMDb",
        "mosei": "commlearn.datasets.utterances:Mosei",
        "mosi": "commlearn.datasets.utterances:Mosi",
        "mustard": "commlearn.datasets.utterances:Mustard",
        "table": "commlearn.tables.dataset:TableData",
        "trifeature": "commlearn.datasets.trifeature:Trifeature",
        "trifeature_three": "commlearn.datasets.trifeature_three:TrifeatureThree",
        "ur_funny": "commlearn.datasets.utterances:UrFunny",
        "vision_touch": "commlearn.datasets.vision_touch:VisionTouch",
    }
)
"""Published data sets, Trifeature and tables; a reader is imported on first use."""
