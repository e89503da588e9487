"""Answers of a comparison: the scores of every reader at every budget of labels, and a verdict in words."""
