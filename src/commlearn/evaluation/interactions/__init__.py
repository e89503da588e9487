"""What modalities know about a target, together and apart, estimated from finite data."""

from commlearn.evaluation.interactions.ask import interactions
from commlearn.evaluation.interactions.report import InteractionReport, LabelReports
from commlearn.evaluation.interactions.settings import Settings

__all__ = ["InteractionReport", "LabelReports", "Settings", "interactions"]
