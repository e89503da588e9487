"""Losses: pure functions on tensors. No modules, no data, no ranks."""

from commlearn.objectives.clip import clip_loss
from commlearn.objectives.comm import Subset, comm_terms
from commlearn.objectives.info_nce import info_nce, retrieval_accuracy
from commlearn.objectives.supcon import supcon

__all__ = ["Subset", "clip_loss", "comm_terms", "info_nce", "retrieval_accuracy", "supcon"]
