"""What a comparison answers: every reader on every budget of labels, and the verdict in words."""
