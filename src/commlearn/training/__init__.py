"""Configuration, the training loop, checkpoints and the run folder."""
