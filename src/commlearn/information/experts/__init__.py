"""Held-out posteriors of a target from several kinds of experts, stacked."""
