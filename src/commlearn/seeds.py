"""One named random generator per purpose: the draws of one part never affect those of another.

A generator is made from (seed, purpose, counters) and nothing else, so that a resumed run needs no
stored random state: step 17 always gets the same augmentation.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def numpy_generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return a separate numpy generator for one purpose.

    Example:
        >>> a, b = numpy_generator(0, "split"), numpy_generator(0, "render")
        >>> bool(a.integers(1 << 30) == b.integers(1 << 30))
        False
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *counters])


def torch_seed(seed: int, purpose: str, *counters: int) -> int:
    """Return a 63-bit seed for torch."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *counters])
    return int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """Return a separate CPU torch generator for one purpose."""
    return torch.Generator().manual_seed(torch_seed(seed, purpose, *counters))
