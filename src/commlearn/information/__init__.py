"""Estimates, from finite data, of what modalities know about a target, together and separately."""

from commlearn.information.ask import interactions
from commlearn.information.material import Settings
from commlearn.information.pairs import PairReport
from commlearn.information.report import InteractionReport, LabelReports

__all__ = ["InteractionReport", "LabelReports", "PairReport", "Settings", "interactions"]
