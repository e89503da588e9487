"""Commands that work on data only: no model is trained or read."""
