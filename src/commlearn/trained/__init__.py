"""What a training leaves: the run folder, the artifact, and embeddings by its model."""
