"""Methods by name: CoMM and the methods that it is compared with.

Example:
    >>> METHODS["comm"].__name__, "clip" in METHODS
    ('CoMM', True)
"""

from __future__ import annotations

from commlearn.methods.base import Method, Step, Views
from commlearn.methods.clip import CLIP
from commlearn.methods.cmc import CMC
from commlearn.methods.comm import CoMM
from commlearn.methods.comm_loss import CoMMLoss
from commlearn.methods.coral import COrAL
from commlearn.methods.crossself import CoMMCrossSelf, CrossSelf
from commlearn.methods.factorcl import FactorCL, SupervisedFactorCL
from commlearn.methods.hril import HRIL
from commlearn.methods.infmasking import InfMasking
from commlearn.methods.simclr import SimCLR
from commlearn.methods.supcon import CoMMSup, SupCon

__all__ = [
    "CLIP",
    "CMC",
    "HRIL",
    "METHODS",
    "COrAL",
    "CoMM",
    "CoMMCrossSelf",
    "CoMMLoss",
    "CoMMSup",
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
    "comm-sup": CoMMSup,
    "clip": CLIP,
    "cmc": CMC,
    "coral": COrAL,
    "crossself": CrossSelf,
    "factorcl": FactorCL,
    "factorcl-sup": SupervisedFactorCL,
    "hril": HRIL,
    "infmasking": InfMasking,
    "simclr": SimCLR,
    "supcon": SupCon,
}
"""Method classes by the names that settings and the command line use. Add your own methods here."""
