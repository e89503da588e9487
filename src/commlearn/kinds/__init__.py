"""The kinds of modality by name; each has its own file."""

from __future__ import annotations

from commlearn.kinds.audio import Audio
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.image import Image
from commlearn.kinds.series import Series
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.text import Text
from commlearn.kinds.vector import Vector

__all__ = ["KINDS", "Audio", "Cells", "Image", "Kind", "Problem", "Series", "Tabular", "Text", "Vector"]

KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Image, Text, Tabular, Series, Vector, Audio)}
