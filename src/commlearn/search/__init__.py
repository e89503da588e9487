"""Search: the records of a table that are most like one, by any of their modalities, and why."""

from commlearn.search.similar import Searcher, similar

__all__ = ["Searcher", "similar"]
