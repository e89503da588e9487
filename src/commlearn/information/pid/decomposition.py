"""Partial information decomposition: what modalities know about a target, together and apart.

``broja`` splits the information of two modalities into redundant, unique and synergistic parts;
``order_spectrum`` asks the same of any number of them; ``union_information`` is the quantity behind both.
Tables are joint probabilities with the target on the last axis; information is in bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from commlearn.errors import DataError
from commlearn.information.pid.marginals import checked_table, information
from commlearn.information.pid.order_spectrum import OrderSpectrum, order_spectrum
from commlearn.information.pid.union_information import UnionInformation, union_information

__all__ = ["OrderSpectrum", "Pid", "UnionInformation", "broja", "order_spectrum", "union_information"]


@dataclass(frozen=True)
class Pid:
    """The information of two modalities about a target, split in four, in bits.

    Attributes:
        redundant: what either of them says.
        unique1: what only the first says.
        unique2: what only the second says.
        synergistic: what neither says alone.
        total: I(X1, X2; Y), the sum of the four.
        gap: the certificate: no part is further from its true value.
    """

    redundant: float
    unique1: float
    unique2: float
    synergistic: float
    total: float
    gap: float


def broja(p: ArrayLike, tolerance: float = 1e-6) -> Pid:
    """Decompose the information that two modalities hold about a target (Bertschinger et al. 2014).

        I_u = min over q with q(x1, y) = p(x1, y) and q(x2, y) = p(x2, y) of I_q(Y; X1, X2)
        unique1 = I_u - I(X2; Y)                       unique2 = I_u - I(X1; Y)
        redundant = I(X1; Y) + I(X2; Y) - I_u          synergistic = I(X1, X2; Y) - I_u

    I_u is the certified lower bound, raised to max(I(X1; Y), I(X2; Y)) where rounding left it below. So no
    part is negative, the four sum to the total, unique parts err low and the others high, by at most ``gap``.
    The one assumption: unique (hence redundant) information depends only on p(x1, y) and p(x2, y).

    Args:
        p: joint probabilities p[x1, x2, y]; they sum to 1.
        tolerance: wanted certificate in bits.

    Returns:
        The four parts, their sum and the certificate.

    Raises:
        DataError: ``p`` is not a joint distribution of three variables.

    Example:
        >>> import numpy as np
        >>> p = np.zeros((2, 2, 2))
        >>> for x1 in (0, 1):
        ...     for x2 in (0, 1):
        ...         p[x1, x2, x1 ^ x2] = 1 / 4
        >>> parts = broja(p)
        >>> round(parts.synergistic, 4), round(parts.redundant, 4)
        (1.0, 0.0)
    """
    table = checked_table(p, "p", 3)
    if table.ndim != 3:
        raise DataError(
            f"p has {table.ndim} axes, shape {table.shape}; broja needs p[x1, x2, y]. "
            "For more modalities use order_spectrum."
        )
    first, second = table.sum(axis=1), table.sum(axis=0)
    bits = float(np.log(2))
    alone1, alone2 = information(first) / bits, information(second) / bits
    total = max(information(table.reshape(-1, table.shape[2])) / bits, alone1, alone2)
    solution = union_information([first, second], tolerance)
    union = min(max(solution.lower, alone1, alone2), alone1 + alone2, total)
    return Pid(
        redundant=alone1 + alone2 - union,
        unique1=union - alone2,
        unique2=union - alone1,
        synergistic=total - union,
        total=total,
        gap=max(0.0, min(solution.upper, total) - union),
    )
