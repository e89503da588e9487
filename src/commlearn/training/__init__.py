"""The training loop, fine-tuning, and what happens at each step."""
