"""Probes: predictions of targets from frozen embeddings, linear or by nearest neighbours."""

from commlearn.probes.classes import balanced_accuracy, read_classes
from commlearn.probes.probe import (
    PROBES,
    Vectors,
    check_targets,
    chosen_targets,
    has_label,
    parts_to_read,
    probe,
    probe_vectors,
    sort_of,
)
from commlearn.probes.results import (
    MEASURE_OF,
    MEASURES,
    LabelsResult,
    NumberResult,
    Outcome,
    ProbeResult,
    score_of,
    to_json,
)

__all__ = [
    "MEASURES",
    "MEASURE_OF",
    "PROBES",
    "LabelsResult",
    "NumberResult",
    "Outcome",
    "ProbeResult",
    "Vectors",
    "balanced_accuracy",
    "check_targets",
    "chosen_targets",
    "has_label",
    "parts_to_read",
    "probe",
    "probe_vectors",
    "read_classes",
    "score_of",
    "sort_of",
    "to_json",
]
