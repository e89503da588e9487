"""Readers of published data sets, in the format in which each is published."""
