"""Losses: pure functions on tensors. No modules, no data, no ranks."""

from commlearn.objectives.bounds import club_bound, leave_one_out_bound, nce_bound, near
from commlearn.objectives.comm import comm_terms
from commlearn.objectives.contrasts import clip_loss, info_nce, masked_contrast, retrieval_accuracy, supcon
from commlearn.objectives.regularisers import alignment, concentration, orthogonality, sigreg, vicreg

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
