"""What a representation holds: embeddings, probes, comparisons and the information of its modalities."""
