"""Commands that are about data alone: no model is trained or read."""
