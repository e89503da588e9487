"""Partial information decomposition of a table of probabilities: what is redundant, unique, synergistic."""

from commlearn.information.pid.decomposition import OrderSpectrum, Pid, broja, order_spectrum
from commlearn.information.pid.union_information import UnionInformation, union_information

__all__ = ["OrderSpectrum", "Pid", "UnionInformation", "broja", "order_spectrum", "union_information"]
