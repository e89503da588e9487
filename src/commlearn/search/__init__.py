"""Search: the records of a table that are most similar to a query, by any of their modalities, and why."""

from commlearn.search.similar import Searcher, similar

__all__ = ["Searcher", "similar"]
