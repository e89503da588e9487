"""Methods by name: CoMM and what it is compared with."""

from __future__ import annotations

from commlearn.methods.base import Method, Step, Views
from commlearn.methods.clip import CLIP
from commlearn.methods.cmc import CMC
from commlearn.methods.comm import CoMM, CoMMCrossSelf
from commlearn.methods.comm_loss import CoMMLoss
from commlearn.methods.crossself import CrossSelf
from commlearn.methods.factorcl import FactorCL, SupervisedFactorCL
from commlearn.methods.hril import HRIL
from commlearn.methods.infmasking import InfMasking
from commlearn.methods.simclr import SimCLR
from commlearn.methods.supcon import SupCon

__all__ = [
    "CLIP",
    "CMC",
    "HRIL",
    "METHODS",
    "CoMM",
    "CoMMCrossSelf",
    "CoMMLoss",
    "CrossSelf",
    "FactorCL",
    "InfMasking",
    "Method",
    "SimCLR",
    "Step",
    "SupCon",
    "SupervisedFactorCL",
    "Views",
]

METHODS: dict[str, type[Method]] = {
    "comm": CoMM,
    "comm-crossself": CoMMCrossSelf,
    "clip": CLIP,
    "cmc": CMC,
    "crossself": CrossSelf,
    "factorcl": FactorCL,
    "factorcl-sup": SupervisedFactorCL,
    "hril": HRIL,
    "infmasking": InfMasking,
    "simclr": SimCLR,
    "supcon": SupCon,
}
