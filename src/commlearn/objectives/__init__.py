"""Losses: pure functions on tensors. No modules, no data, no ranks."""

from commlearn.objectives.bounds import club_bound, leave_one_out_bound, nce_bound, near
from commlearn.objectives.clip import clip_loss
from commlearn.objectives.comm import comm_terms
from commlearn.objectives.coral import orthogonality
from commlearn.objectives.hril import alignment, concentration
from commlearn.objectives.infmasking import masked_contrast
from commlearn.objectives.info_nce import info_nce, retrieval_accuracy
from commlearn.objectives.supcon import supcon
from commlearn.objectives.without_negatives import sigreg, vicreg

__all__ = [
    "alignment",
    "clip_loss",
    "club_bound",
    "comm_terms",
    "concentration",
    "info_nce",
    "leave_one_out_bound",
    "masked_contrast",
    "nce_bound",
    "near",
    "orthogonality",
    "retrieval_accuracy",
    "sigreg",
    "supcon",
    "vicreg",
]
