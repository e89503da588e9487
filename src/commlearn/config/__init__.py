"""Settings of a run: what is stated, what a recipe says, what is chosen from the data; what they build."""
