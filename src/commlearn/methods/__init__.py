"""Methods by name: CoMM and what it is compared with."""

from __future__ import annotations

from commlearn.methods.base import Method, Step, Views
from commlearn.methods.clip import CLIP
from commlearn.methods.comm import CoMM
from commlearn.methods.crossself import CrossSelf

__all__ = ["CLIP", "METHODS", "CoMM", "CrossSelf", "Method", "Step", "Views"]

METHODS: dict[str, type[Method]] = {"comm": CoMM, "clip": CLIP, "crossself": CrossSelf}
