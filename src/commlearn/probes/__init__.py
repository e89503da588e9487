"""Probes: predictions of targets from frozen embeddings, linear or by nearest neighbours."""

from commlearn.probes.probe import probe, probe_vectors
from commlearn.probes.results import MEASURES, LabelsResult, NumberResult, ProbeResult

__all__ = ["MEASURES", "LabelsResult", "NumberResult", "ProbeResult", "probe", "probe_vectors"]
