"""Comparisons: the plan of trainings, the processes that run them, and the table of results."""
