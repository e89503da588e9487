"""Parts of a comparison: what to train, the processes that do it, and the table of what came out."""
