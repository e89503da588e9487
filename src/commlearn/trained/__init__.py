"""Results of a training: the run folder, the artifact, and embeddings by the trained model."""
