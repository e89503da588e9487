"""Methods by name: CoMM and what it is compared with."""

from __future__ import annotations

from commlearn.methods.base import Method, Step, Views
from commlearn.methods.clip import CLIP
from commlearn.methods.cmc import CMC
from commlearn.methods.comm import CoMM
from commlearn.methods.crossself import CrossSelf
from commlearn.methods.simclr import SimCLR
from commlearn.methods.supcon import SupCon

__all__ = ["CLIP", "CMC", "METHODS", "CoMM", "CrossSelf", "Method", "SimCLR", "Step", "SupCon", "Views"]

METHODS: dict[str, type[Method]] = {
    "comm": CoMM,
    "clip": CLIP,
    "cmc": CMC,
    "crossself": CrossSelf,
    "simclr": SimCLR,
    "supcon": SupCon,
}
