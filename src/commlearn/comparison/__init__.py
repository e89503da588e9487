"""Comparisons: what to train, the processes that do it, and the table of results."""
