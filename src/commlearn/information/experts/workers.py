"""Independent fits side by side on all cores: matrices are multiplied outside of Python's lock."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sklearn.exceptions import ConvergenceWarning

from commlearn.cores import cores, stated_threads

_MOST = 8  # threads: what Python itself does is done by one at a time


def threads() -> int:
    """As many as OMP_NUM_THREADS states, or one for each core that this process may use."""
    return min(stated_threads() or cores(), _MOST)


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A pool that forgets what has not begun when something goes wrong or the user interrupts."""
    pool = ThreadPoolExecutor(threads())
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # whoever needs a result has waited for it


@contextmanager
def unsaid_convergence() -> Iterator[None]:
    """Probes may stop before they converged: 200 steps are as good a probe.

    Filters of warnings belong to all threads, so this is said once around them and not in each.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
