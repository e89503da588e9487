"""Settings of a run: stated by the user, given by a recipe or chosen from the data; and what they build."""
