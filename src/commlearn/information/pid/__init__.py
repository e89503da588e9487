"""Partial information decomposition of a probability table into redundant, unique and synergistic parts."""

from commlearn.information.pid.decomposition import OrderSpectrum, Pid, broja, order_spectrum
from commlearn.information.pid.union_information import UnionInformation, union_information

__all__ = ["OrderSpectrum", "Pid", "UnionInformation", "broja", "order_spectrum", "union_information"]
